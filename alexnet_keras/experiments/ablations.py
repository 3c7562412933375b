"""Ablations: one part of the network or of its training changed at a time, compared with the same seeds."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from alexnet_keras.experiments import variants
from alexnet_keras.experiments.figures import draw_over_seeds
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
from alexnet_keras.recipes.schema import Recipe

BASE = "source"


@dataclass(frozen=True)
class Ablation:
    """One change, and by how much it is said to raise the top-1 and top-5 error.

    Attributes:
        title: What the changed network has or lacks, for a table.
        change: Makes the changed recipe from a recipe.
        claim: The paper's words.
        log: The lab's numbers, compared with the unchanged network.
        sign: The sign of the change of the error in the paper or the log; 0 where neither has one.
    """

    title: str
    change: Callable[[Recipe], Recipe]
    claim: str = ""
    log: str = ""
    sign: int = 1


def _removal(name: str) -> Ablation:
    claim = "removing any of the middle layers: about +2 points" if name not in ("conv1", "conv5") else ""
    return Ablation(f"without {name}", partial(variants.without, name=name), claim, sign=1 if claim else 0)


# Differences in points of top-1 / top-5 error. Nets 147, 148 and 150 against 145 on the 2012 validation images,
# 145-half against 145-2010 on the 2010 test images.
ABLATIONS = {
    "no-lrn": Ablation("no normalisation", variants.no_normalization, "+1.4 / +1.2", "+1.4 / +1.2 (148)"),
    "no-overlap": Ablation("pooling without overlap", variants.no_overlap, "+0.4 / +0.3", "+0.4 / +0.3 (147)"),
    "one-tower": Ablation("one tower", variants.one_tower, "+1.7 / +1.2", "+1.7 / +1.2 (145-half)"),
    "separate-towers": Ablation("towers that never communicate", variants.separate_towers, "", "+1.2 / +1.1 (150)"),
    "no-color-noise": Ablation("no colour noise", variants.no_color_noise, "over +1 / -"),
    "no-crops": Ablation("no crops and flips", variants.no_crops, '"substantial overfitting"'),
    "no-dropout": Ablation("no dropout", variants.no_dropout, '"substantial overfitting"'),
    "no-decay": Ablation("no weight decay", variants.no_weight_decay, '"important for the model to learn"'),
    "tanh": Ablation("tanh instead of ReLU", variants.tanh, '"several times" slower', sign=0),
    **{f"no-{name}": _removal(name) for name in ("conv1", "conv2", "conv3", "conv4", "conv5")},
    "paper-init": Ablation("initial weights of the paper's prose", variants.paper_initial_weights, sign=0),
}


def run(lab: Lab) -> Outcome:
    """Train the base and the chosen ablations, once per seed, and test them with ten crops of the validation images."""
    data, base = lab.open(), lab.base_recipe
    ablations = {name: ABLATIONS[name] for name in lab.options.chosen(list(ABLATIONS))}
    recipes = {BASE: base, **{name: ablation.change(base) for name, ablation in ablations.items()}}
    results = {name: train_and_test(lab, name, recipe, data) for name, recipe in recipes.items()}
    comparisons = []
    for kind, title in error_kinds(data).items():
        comparisons.append(error(f"{title} of the network as it is", results[BASE], kind))
        comparisons += [
            difference(f"{title}, {each.title}", results[name], results[BASE], kind, each.claim, each.log, each.sign)
            for name, each in ablations.items()
        ]
    epochs = base.training.epochs
    return Outcome(
        summary=(
            f"{_networks(len(ablations))} derived from "
            f"(recipe {base.name}), were trained for {counted(epochs, 'epoch')} on the {images_text(data)}, with "
            f"{seeds_text(lab.options.seeds)} each, and tested with ten crops on its {data.examples('val'):,} "
            "validation images. A difference is taken between networks of the same seed; its interval is over the "
            "seeds."
        ),
        comparisons=tuple(comparisons),
        configuration=(
            f"base: {base.name}, {counted(epochs, 'epoch')}, {batches_text(base, data)}, {lab.options.precision}",
            *(f"{name}: {ablation.title}" for name, ablation in ablations.items()),
            training_text(results.values()),
        ),
        facts={"runs": results},
    )


def _networks(number: int) -> str:
    if number == 1:
        return "1 network that lacks or changes one thing, and the network it is"
    return f"{number} networks that each lack or change one thing, and the network they are"


def draw(outcome: Outcome, path: Path) -> None:
    """Draw every ablation's difference in top-1 error, with its interval and one dot per seed."""
    differences = [row for row in outcome.comparisons if row.unit == "points" and row.what.startswith("top-1")]
    rows = {row.what.partition(", ")[2]: row.ours for row in differences}
    draw_over_seeds(rows, path, "change of the top-1 error, points", reference=0)
