"""The recipe `modern` against `source` in half the epochs, and `modern` without each of its choices in turn."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from alexnet_keras.experiments.lab import Lab, base_recipe, chosen_data, with_epochs
from alexnet_keras.experiments.outcome import Outcome, difference, error, kinds, measure, seeds_text
from alexnet_keras.recipes.built_in import CHOICES, modernised
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.visualization.style import INK, QUIET, SERIES, save_figure

BASE, MODERN = "source", "modern"
WITHOUT = {f"without-{choice}": choice for choice in CHOICES}


def recipes(base: Recipe) -> dict[str, Recipe]:
    """All that is compared, by name: the base, and in half its epochs `modern`, whole and without each choice."""
    half = with_epochs(base, max(1, base.training.epochs // 2))
    without = {name: modernised(half, choice) for name, choice in WITHOUT.items()}
    return {BASE: base, MODERN: modernised(half), **without}


def run(lab: Lab) -> Outcome:
    """The base, `modern`, and of `modern` without one choice those that were asked for; ten crops of val."""
    data = chosen_data(lab)
    compared = recipes(base_recipe(lab.request))
    parts = lab.request.chosen(list(WITHOUT))
    found = {name: measure(lab, name, compared[name], data) for name in (BASE, MODERN, *parts)}
    findings = []
    for kind, title in kinds(data).items():
        for name in (BASE, MODERN):
            epochs = compared[name].training.epochs
            findings.append(error(f"{title} error, {name}, {epochs} epochs", found[name], kind))
        what = f"{title} error, modern minus source"
        findings.append(difference(what, found[MODERN], found[BASE], kind, claim="lower", sign=-1))
        for name in parts:
            what = f"{title} error, modern without {WITHOUT[name]} minus modern"
            findings.append(difference(what, found[name], found[MODERN], kind))
    base, modern = compared[BASE].training, compared[MODERN].training
    return Outcome(
        summary=(
            f"The recipe {compared[BASE].name} was trained for {base.epochs} epochs, and with the choices of `modern` "
            f"for {modern.epochs}, on the {data.examples('train'):,} training images of {data.path.name}, "
            f"{len(data.classes)} classes, with {seeds_text(lab.request.seeds)} each; the layers and their sizes are "
            f"the same. Both were tested with ten crops on its {data.examples('val'):,} validation images. A "
            "difference is taken between networks of the same seed; its interval is over the seeds."
        ),
        findings=tuple(findings),
        configuration=(
            f"source: {compared[BASE].name}, {base.epochs} epochs, batches of {base.batch_size}",
            *(f"{choice}: {(function.__doc__ or choice).splitlines()[0]}" for choice, function in CHOICES.items()),
            lab.request.precision,
        ),
        facts={
            "runs": {name: {str(seed): each for seed, each in seeds.items()} for name, seeds in found.items()},
            "epochs": {name: compared[name].training.epochs for name in found},
        },
    )


def draw(outcome: Outcome, path: Path) -> None:
    """Validation error over the epochs, a line a network: `source` and `modern`, their means thick."""
    figure = Figure(figsize=(7.2, 4.2))
    axes = figure.add_subplot()
    for name, color in ((BASE, INK), (MODERN, SERIES[0])):
        lines = [each["validation_top1"] for each in outcome.facts["runs"][name].values() if "validation_top1" in each]
        for line in lines:
            axes.plot(range(1, len(line) + 1), [100 * error for error in line], color=color, lw=0.8, alpha=0.45)
        if lines:
            mean = [100 * sum(errors) / len(errors) for errors in zip(*lines, strict=True)]
            axes.plot(range(1, len(mean) + 1), mean, color=color, lw=2, label=name)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("top-1 error, centre crop of val, %")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=QUIET, lw=0.4, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    save_figure(figure, path)
