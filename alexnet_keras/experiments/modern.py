"""The recipe `modern` against `source` in half the epochs, and `modern` without each of its choices in turn."""

from pathlib import Path

from matplotlib.ticker import MaxNLocator

from alexnet_keras.experiments import figures
from alexnet_keras.experiments.lab import Lab
from alexnet_keras.experiments.outcome import (
    Outcome,
    batches_text,
    counted,
    difference,
    error,
    error_kinds,
    images_text,
    seeds_text,
    train_and_test,
    training_text,
)
from alexnet_keras.recipes.built_in import CHOICES, modernised
from alexnet_keras.recipes.edits import edit
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.visualization.style import INK, QUIET, SERIES

BASE, MODERN = "source", "modern"
WITHOUT = {f"without-{choice}": choice for choice in CHOICES}
PARTS = (MODERN, *WITHOUT)  # the first is the comparison of the two alone


def recipes(base: Recipe) -> dict[str, Recipe]:
    """The recipes compared, by name: the base, and in half its epochs `modern`, whole and without each choice."""
    half = edit(base, {"training.epochs": max(1, base.training.epochs // 2)})
    without = {name: modernised(half, choice) for name, choice in WITHOUT.items()}
    return {BASE: base, MODERN: modernised(half), **without}


def run(lab: Lab) -> Outcome:
    """Train the base, `modern`, and `modern` without each chosen part; test with ten crops of the validation images."""
    data = lab.open()
    compared = recipes(lab.base_recipe)
    parts = [part for part in lab.options.chosen(list(PARTS)) if part != MODERN]
    results = {name: train_and_test(lab, name, compared[name], data) for name in (BASE, MODERN, *parts)}
    comparisons = []
    for kind, title in error_kinds(data).items():
        for name in (BASE, MODERN):
            epochs = compared[name].training.epochs
            comparisons.append(error(f"{title}, {name}, {epochs} epochs", results[name], kind))
        what, claim = f"{title}, modern minus source", "lower / lower"
        comparisons.append(difference(what, results[MODERN], results[BASE], kind, claim, sign=-1))
        for name in parts:
            what = f"{title}, modern without {WITHOUT[name]} minus modern"
            comparisons.append(difference(what, results[name], results[MODERN], kind))
    base, modern = compared[BASE].training, compared[MODERN].training
    return Outcome(
        summary=(
            f"The recipe {compared[BASE].name} was trained for {base.epochs} epochs, and with the choices of `modern` "
            f"for {modern.epochs}, on the {images_text(data)}, with {seeds_text(lab.options.seeds)} each; the layers "
            f"and their sizes are the same. Both were tested with ten crops on its {data.examples('val'):,} validation "
            "images. A difference is taken between networks of the same seed; its interval is over the seeds."
        ),
        comparisons=tuple(comparisons),
        configuration=(
            f"source: {compared[BASE].name}, {counted(base.epochs, 'epoch')}, {batches_text(compared[BASE], data)}",
            *(f"{choice}: {(function.__doc__ or choice).splitlines()[0]}" for choice, function in CHOICES.items()),
            lab.options.precision,
            training_text(results.values()),
        ),
        facts={"runs": results, "epochs": {name: compared[name].training.epochs for name in results}},
    )


def draw(outcome: Outcome, path: Path) -> None:
    """Draw the validation error over the epochs, one line per network: `source` and `modern`, their means thick."""
    axes = figures.epoch_axes("top-1 error, centre crop of val")
    for name, color in ((BASE, INK), (MODERN, SERIES[0])):
        lines = [each["validation_top1"] for each in outcome.facts["runs"][name].values() if "validation_top1" in each]
        for line in lines:
            axes.plot(range(1, len(line) + 1), line, color=color, lw=0.8, alpha=0.45)
        if lines:
            mean = [sum(errors) / len(errors) for errors in zip(*lines, strict=True)]
            axes.plot(range(1, len(mean) + 1), mean, color=color, lw=2, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=QUIET, lw=0.4, alpha=0.5)
    figures.write_epochs(axes, path)
