"""What each part of the network and of its training is worth: one thing changed at a time, against the same seeds."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from alexnet_keras.experiments import variants
from alexnet_keras.experiments.lab import Lab, base_recipe, chosen_data
from alexnet_keras.experiments.outcome import (
    Finding,
    Kind,
    Measured,
    Outcome,
    difference,
    error,
    kinds,
    measure,
    seeds_text,
)
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.visualization.style import INK, QUIET, SERIES, save_figure

BASE = "source"


@dataclass(frozen=True)
class Ablation:
    """One change, and by how much it is said to raise the top-1 and top-5 error.

    Attributes:
        title: In a table: what the network then has or lacks.
        change: From a recipe to the changed one.
        claim: The paper's words.
        log: The lab's numbers, against the network as it is.
        sign: Of the change of the error in the paper or the log; 0 where neither says anything.
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
    "tanh": Ablation("tanh instead of ReLU", variants.tanh, '"several times" slower'),
    **{f"no-{name}": _removal(name) for name in ("conv1", "conv2", "conv3", "conv4", "conv5")},
    "paper-init": Ablation("initial weights of the paper's prose", variants.paper_initial_weights, sign=0),
}


def run(lab: Lab) -> Outcome:
    """The base and the chosen ablations, a seed each; ten crops of the validation images."""
    data = chosen_data(lab)
    base = base_recipe(lab.request)
    names = lab.request.chosen(list(ABLATIONS))
    found = {BASE: measure(lab, BASE, base, data)}
    found |= {name: measure(lab, name, ABLATIONS[name].change(base), data) for name in names}
    findings = []
    for kind, title in kinds(data).items():
        findings.append(error(f"{title} error of the network as it is", found[BASE], kind))
        findings += [_difference(ABLATIONS[name], kind, title, found[name], found[BASE]) for name in names]
    epochs = base.training.epochs
    return Outcome(
        summary=(
            f"{len(names)} networks that each lack or change one thing, and the network they are derived from (recipe "
            f"{base.name}), were trained for {epochs} epochs on the {data.examples('train'):,} training images of "
            f"{data.path.name}, {len(data.classes)} classes, with {seeds_text(lab.request.seeds)} each, and tested "
            f"with ten crops on its {data.examples('val'):,} validation images. A difference is taken between "
            "networks of the same seed; its interval is over the seeds."
        ),
        findings=tuple(findings),
        configuration=(
            f"base: {base.name}, {epochs} epochs, batches of {base.training.batch_size}, {lab.request.precision}",
            *(f"{name}: {ABLATIONS[name].title}" for name in names),
        ),
        facts={"runs": {name: {str(seed): each for seed, each in seeds.items()} for name, seeds in found.items()}},
    )


def draw(outcome: Outcome, path: Path) -> None:
    """Every ablation's difference in top-1 error, with its interval and a dot a seed."""
    rows = [finding for finding in outcome.findings if finding.unit == "points" and finding.what.startswith("top-1")]
    figure = Figure(figsize=(7.2, 0.8 + 0.36 * max(1, len(rows))))
    axes = figure.add_subplot()
    for place, finding in enumerate(reversed(rows)):
        if finding.ours is None:
            axes.text(0, place, "diverged", color=QUIET, va="center")
            continue
        values = [100 * number for number in finding.ours.values]
        axes.plot(values, [place] * len(values), "o", color=SERIES[0], ms=3.5, alpha=0.6)
        axes.plot(100 * finding.ours.mean, place, "D", color=INK, ms=5)
        if finding.ours.interval:
            axes.plot([100 * end for end in finding.ours.interval], [place, place], color=INK, lw=1)
    axes.axvline(0, color=QUIET, lw=0.8)
    axes.set_yticks(range(len(rows)), [finding.what.partition(", ")[2] for finding in reversed(rows)])
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlabel("change of the top-1 error, points; dots: seeds, line: 95 % interval of the mean")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    save_figure(figure, path)


def _difference(ablation: Ablation, kind: Kind, title: str, found: Measured, base: Measured) -> Finding:
    half = 0 if kind == "top1" else 1
    claim, log = (_half(text, half) for text in (ablation.claim, ablation.log))
    what, sign = f"{title} error, {ablation.title}", ablation.sign if claim or log else 0
    return difference(what, found, base, kind, claim=claim, log=log, sign=sign)


def _half(text: str, index: int) -> str:
    """The top-1 or the top-5 part of "+1.4 / +1.2 (148)"; words belong to the top-1 error."""
    if " / " not in text:
        return text if index == 0 else ""
    numbers, _, net = text.partition(" (")
    part = numbers.split(" / ")[index]
    return "" if part == "-" else part + (f" ({net}" if net else "")
