"""Figure 1: ReLUs reach 25 % training error on CIFAR-10 six times sooner than tanh (paper, section 3.1).

"The learning rates for each network were chosen independently to make training as fast as possible. No regularization
of any kind was employed." The choice is a race: every rate trains for some epochs, the better half continues, and the
last two run until one is at 25 %.
"""

import math
from pathlib import Path
from typing import Any, Literal

from alexnet_keras.errors import DivergedError
from alexnet_keras.experiments import figures
from alexnet_keras.experiments.cifar import CifarImages, CifarNetwork, CifarRun, CifarTrainer, load_cifar
from alexnet_keras.experiments.lab import Lab
from alexnet_keras.experiments.outcome import (
    Comparison,
    Outcome,
    OverSeeds,
    Verdict,
    seeds_text,
    sign_verdict,
    with_unit,
)
from alexnet_keras.visualization.style import QUIET, SERIES

TARGET = 0.25  # training error
Activation = Literal["relu", "tanh"]
NAMES: dict[Activation, str] = {"relu": "ReLU", "tanh": "tanh"}
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)  # of the weights; the biases have twice as much, as in the released code
ROUNDS = (2, 5)  # epochs after which the worse half leaves the race
MOST_EPOCHS = 80
Rows = list[dict[str, float]]  # a training's history


def run(lab: Lab) -> Outcome:
    """Run both races, once per seed; needs CIFAR-10 as `--data`."""
    images = load_cifar(lab.options.data or "tfds:cifar10", lab.reporter)
    lab.fingerprints.add(images.digest)
    most = lab.options.epochs or MOST_EPOCHS
    races, left_out = lab.converged(
        lab.seeds, lambda seed: {kind: race(lab, images, kind, seed, most) for kind in NAMES}
    )
    winners = {kind: [found[kind]["winner"] for found in races.values()] for kind in NAMES}
    epochs = {kind: OverSeeds(tuple(epochs_to_target(each["rows"]) for each in winners[kind])) for kind in NAMES}
    lacking = {kind: sum(map(math.isinf, found.values)) for kind, found in epochs.items()}  # seeds
    comparisons = [
        Comparison(
            f"epochs to 25 % training error, {name}",
            None if lacking[kind] else epochs[kind],
            "number",
            note=f"{lacking[kind]} of {len(races)} not in {most} epochs" if lacking[kind] else "",
        )
        for kind, name in NAMES.items()
    ]
    ratio: OverSeeds | None = None
    verdict: Verdict = "undecided"
    if not any(lacking.values()):
        pairs = zip(epochs["relu"].values, epochs["tanh"].values, strict=True)
        ratio = OverSeeds(tuple(tanh / relu for relu, tanh in pairs))
        verdict = sign_verdict(ratio.minus(1), 1)
    comparisons.append(Comparison("how much sooner ReLUs reach it", ratio, "times", "six times", verdict=verdict))
    rates = {kind: sorted({each["rate"] for each in winners[kind]}) for kind in NAMES}
    return Outcome(
        summary=_summary(images, epochs, ratio, rates, most) + left_out,
        comparisons=tuple(comparisons),
        configuration=(
            "conv1 32 5x5, max-pooling 3/2, conv2 32 5x5, pooling 3/2, conv3 64 5x5, pooling 3/2, fc10 "
            "(cuda-convnet's layers-19pct.cfg), batches of 128, momentum 0.9, no weight decay, no augmentation",
            f"rates of the weights in the race: {', '.join(f'{rate:g}' for rate in RATES)}; biases twice as much",
        ),
        facts={"races": races, "data": images.given},
    )


def race(lab: Lab, images: CifarImages, activation: Activation, seed: int, most: int) -> dict[str, Any]:
    """Race the learning rates: the history of each, and that of the winner, `{"rate": ..., "rows": [...]}`.

    Raises:
        DivergedError: Every rate diverged.
    """
    rows: dict[float, Rows] = {}

    def train_to(rate: float, epochs: int) -> float:
        if math.isinf(epochs_to_target(rows.get(rate, []))):
            rows[rate] = train(lab, images, activation, rate, seed, epochs)
        return epochs_to_target(rows[rate])

    def standing(rate: float) -> tuple[float, float]:
        return epochs_to_target(rows[rate]), rows[rate][-1]["error"]

    entrants = list(RATES)
    for epochs in ROUNDS:
        for rate in entrants:
            train_to(rate, min(epochs, most))
        alive = sorted((rate for rate in entrants if rows[rate]), key=standing)
        entrants = alive[: max(2, (len(entrants) + 1) // 2)]
    limit = most
    for rate in entrants:  # the second need not train for longer than the first took
        limit = int(min(limit, train_to(rate, limit) + 1))
    finalists = [rate for rate in entrants if rows[rate]]
    if not finalists:
        raise DivergedError(f"The network with {NAMES[activation]} diverged at every learning rate.")
    winner = min(finalists, key=standing)
    return {
        "winner": {"rate": winner, "rows": rows[winner]},
        "entrants": {f"{rate:g}": history for rate, history in rows.items()},
    }


def train(lab: Lab, images: CifarImages, activation: Activation, rate: float, seed: int, epochs: int) -> Rows:
    """The history of one rate up to 25 % or a number of epochs; empty if it diverged."""
    network = CifarNetwork("convolutional", activation, weight_rate=rate, bias_rate=2 * rate)
    name = f"{activation}-{rate:g}-seed-{seed}"
    training = CifarRun(lab.folder / "states", name, network, images, seed, lab.options.precision)

    def compute() -> dict[str, Any]:
        try:
            return {"rows": CifarTrainer(training).train(epochs, TARGET, lab.reporter)}
        except DivergedError:
            return {"rows": []}

    return lab.kept(f"{name}-{epochs}", training.about, compute)["rows"]


def epochs_to_target(rows: Rows) -> float:
    """When the training error crossed 25 %, between the middles of two segments; infinity if it did not."""
    before = None
    for row in rows:
        middle, error = row["epoch"] - rows[0]["epoch"] / 2, row["error"]
        if error <= TARGET:
            if before is None:
                return middle
            share = (before[1] - TARGET) / (before[1] - error)
            return before[0] + share * (middle - before[0])
        before = (middle, error)
    return math.inf


def draw(outcome: Outcome, path: Path) -> None:
    """Draw the paper's figure 1, ReLU solid and tanh dashed: training error over epochs; other rates of a race thin."""
    axes = figures.epoch_axes("training error")
    for (kind, name), color, line in zip(NAMES.items(), SERIES, ("-", "--"), strict=False):
        for number, found in enumerate(outcome.facts["races"].values()):
            for rows in found[kind]["entrants"].values():
                axes.plot(*_curve(rows), line, color=color, lw=0.6, alpha=0.35)
            winner = found[kind]["winner"]
            label = None if number else f"{name}, rate {winner['rate']:g}"
            axes.plot(*_curve(winner["rows"]), line, color=color, lw=2, label=label)
    axes.axhline(TARGET, color=QUIET, lw=0.8, ls=":")
    axes.annotate("25 %", (1, TARGET), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                  va="center", color=QUIET)  # fmt: skip
    figures.write_epochs(axes, path, errors=(0.15, 0.8))


def _curve(rows: Rows) -> tuple[list[float], list[float]]:
    return [row["epoch"] - rows[0]["epoch"] / 2 for row in rows], [row["error"] for row in rows]


def _summary(
    images: CifarImages,
    epochs: dict[Activation, OverSeeds],
    ratio: OverSeeds | None,
    rates: dict[Activation, list[float]],
    most: int,
) -> str:
    chosen = ", ".join(f"{NAMES[kind]} {', '.join(f'{rate:g}' for rate in found)}" for kind, found in rates.items())
    times = []
    for kind, found in epochs.items():
        reached = sum(map(math.isfinite, found.values))
        if reached == len(found.values):
            times.append(f"{NAMES[kind]} after {found.mean:.1f} epochs")
        else:
            times.append(f"{NAMES[kind]} with {reached} of {seeds_text(len(found.values))} within {most} epochs")
    text = (
        f"Two networks that differ in their nonlinearity alone were trained on all {len(images.train):,} images of "
        f"{images.given}, without regularisation, each at the best of {len(RATES)} learning rates ({chosen}). A "
        f"training error of 25 % was reached by {' and by '.join(times)}"
    )
    if ratio is None:
        return f"{text}."
    return f"{text}: ReLUs were {with_unit(ratio.mean, 'times')} as fast, where the paper has six times."
