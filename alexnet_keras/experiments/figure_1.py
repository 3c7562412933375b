"""Figure 1: ReLUs reach 25 % training error on CIFAR-10 six times sooner than tanh (paper, section 3.1).

"The learning rates for each network were chosen independently to make training as fast as possible. No regularization
of any kind was employed." The choice is a race: every rate trains for some epochs, the better half goes on, and the
last two run until one is at 25 %.
"""

from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure

from alexnet_keras.errors import DivergedError
from alexnet_keras.experiments.cifar import CifarImages, CifarNetwork, CifarRun, CifarTrainer, load_cifar
from alexnet_keras.experiments.lab import Lab
from alexnet_keras.experiments.outcome import Estimate, Finding, Outcome, direction, shown
from alexnet_keras.visualization.style import INK, QUIET, SERIES, save_figure

TARGET = 0.25  # training error
CLAIM = 6.0  # times sooner
Activation = Literal["relu", "tanh"]
ACTIVATIONS: tuple[Activation, ...] = ("relu", "tanh")
NAMES: dict[Activation, str] = {"relu": "ReLU", "tanh": "tanh"}
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)  # of the weights; the biases have twice as much, as in the released code
ROUNDS = (2, 5)  # epochs after which the worse half leaves the race
MOST_EPOCHS = 80
Rows = list[dict[str, float]]


def run(lab: Lab) -> Outcome:
    """Both races, a seed each; needs CIFAR-10 as `--data`."""
    with lab.watcher.progress("reading CIFAR-10", 60_000) as advance:
        images = load_cifar(lab.request.data or "tfds:cifar10", advance)
    most = lab.request.epochs or MOST_EPOCHS
    races = {seed: {kind: race(lab, images, kind, seed, most) for kind in ACTIVATIONS} for seed in lab.seeds}
    reached = {kind: [epochs_to_target(found[kind]["winner"]["rows"]) for found in races.values()] for kind in NAMES}
    whole = {
        kind: Estimate(tuple(there))
        for kind, epochs in reached.items()
        if len(there := [each for each in epochs if each is not None]) == len(epochs)
    }
    findings = [
        Finding(
            f"epochs to 25 % training error, {NAMES[kind]}",
            "",
            "",
            whole.get(kind),
            "number",
            note="" if kind in whole else f"not reached in {most} epochs",
        )
        for kind in ACTIVATIONS
    ]
    ratio = None
    if len(whole) == 2:
        ratio = Estimate(tuple(slow / fast for fast, slow in zip(*(whole[kind].values for kind in NAMES), strict=True)))
    verdict = "undecided" if ratio is None else direction(Estimate(tuple(r - 1 for r in ratio.values)), 1)
    findings.append(Finding("how much sooner ReLUs are there", "six times", "", ratio, "times", verdict))
    rates = {kind: sorted({found[kind]["winner"]["rate"] for found in races.values()}) for kind in ACTIVATIONS}
    return Outcome(
        summary=_summary(images, whole, ratio, rates, most),
        findings=tuple(findings),
        configuration=(
            "conv1 32 5x5, max-pooling 3/2, conv2 32 5x5, pooling 3/2, conv3 64 5x5, pooling 3/2, fc10 "
            "(cuda-convnet's layers-19pct.cfg), batches of 128, momentum 0.9, no weight decay, no augmentation",
            f"rates of the weights in the race: {', '.join(f'{rate:g}' for rate in RATES)}; biases twice as much",
        ),
        facts={"races": {str(seed): found for seed, found in races.items()}, "data": images.given},
    )


def race(lab: Lab, images: CifarImages, activation: Activation, seed: int, most: int) -> dict[str, Any]:
    """Every rate's history, and the winner's: `{"rate": ..., "rows": [...]}`."""
    rows: dict[float, Rows] = {}

    def run_to(rate: float, epochs: int) -> Rows:
        if epochs_to_target(rows.get(rate, [])) is None:
            rows[rate] = train(lab, images, activation, rate, seed, epochs)
        return rows[rate]

    entrants = list(RATES)
    for epochs in ROUNDS:
        for rate in entrants:
            run_to(rate, min(epochs, most))
        alive = sorted((rate for rate in entrants if rows[rate]), key=lambda rate: _standing(rows[rate]))
        entrants = alive[: max(2, (len(entrants) + 1) // 2)]
    if not entrants:
        raise DivergedError(f"The network with {NAMES[activation]} left the finite numbers at every rate.")
    limit = most
    for rate in entrants:  # the second need not go on for longer than the first took
        reached = epochs_to_target(run_to(rate, limit))
        limit = min(limit, int(reached) + 1) if reached is not None else limit
    finalists = [rate for rate in entrants if rows[rate]]
    winner = min(finalists, key=lambda rate: (epochs_to_target(rows[rate]) or float("inf"), _standing(rows[rate])))
    return {
        "winner": {"rate": winner, "rows": rows[winner]},
        "entrants": {f"{rate:g}": found for rate, found in rows.items()},
    }


def train(lab: Lab, images: CifarImages, activation: Activation, rate: float, seed: int, epochs: int) -> Rows:
    """The history of one rate up to 25 % or so many epochs; empty if it diverged."""
    network = CifarNetwork("convolutional", activation, weight_rate=rate, bias_rate=2 * rate)
    name = f"{activation}-{rate:g}-seed-{seed}"
    described = CifarRun(lab.folder / "states" / name, network, images, seed, lab.request.precision)

    def compute() -> dict[str, Any]:
        trainer = CifarTrainer(described)
        done = int(trainer.position.epoch)
        with lab.watcher.progress(f"{name}, epoch {done + 1} to {epochs}", 4 * (epochs - done), "quarters") as advance:

            def on_stretch(row: dict[str, float]) -> bool:
                advance(1, text=f"error {row['error']:.1%}")
                return row["error"] <= TARGET

            try:
                trainer.train(epochs, on_stretch)
            except DivergedError:
                return {"rows": []}
        return {"rows": trainer.position.history}

    return lab.part(f"{name}-{epochs}", described.about, compute)["rows"]


def epochs_to_target(rows: Rows) -> float | None:
    """When the training error crossed 25 %, between the middles of two stretches; None if it did not."""
    before = None
    for row in rows:
        middle, error = row["epoch"] - rows[0]["epoch"] / 2, row["error"]
        if error <= TARGET:
            if before is None:
                return middle
            share = (before[1] - TARGET) / (before[1] - error)
            return before[0] + share * (middle - before[0])
        before = (middle, error)
    return None


def draw(outcome: Outcome, path: Path) -> None:
    """The paper's figure 1: training error over epochs, ReLU solid and tanh dashed; other rates of the race thin."""
    figure = Figure(figsize=(6.4, 4.0))
    axes = figure.add_subplot()
    races = outcome.facts["races"]
    for kind, color, line in zip(ACTIVATIONS, SERIES, ("-", "--"), strict=False):
        for number, found in enumerate(races.values()):
            for rows in found[kind]["entrants"].values():
                axes.plot(*_curve(rows), line, color=color, lw=0.6, alpha=0.35)
            rate, rows = found[kind]["winner"]["rate"], found[kind]["winner"]["rows"]
            label = f"{NAMES[kind]}, rate {rate:g}" if number == 0 else None
            axes.plot(*_curve(rows), line, color=color, lw=2, label=label)
    axes.axhline(TARGET, color=QUIET, lw=0.8, ls=":")
    axes.annotate("25 %", (1, TARGET), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                  va="center", color=QUIET)  # fmt: skip
    axes.set(xlabel="epochs", ylabel="training error", ylim=(0.15, 0.8), xlim=(0, None))
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.legend(frameon=False, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def _curve(rows: Rows) -> tuple[list[float], list[float]]:
    return [row["epoch"] - rows[0]["epoch"] / 2 for row in rows], [row["error"] for row in rows]


def _standing(rows: Rows) -> tuple[float, float]:
    """What a candidate is judged by after a round: when it was there, then its last error."""
    return (epochs_to_target(rows) or float("inf"), rows[-1]["error"])


def _summary(images: CifarImages, whole: dict, ratio: Estimate | None, rates: dict, most: int) -> str:
    text = (
        f"Two networks that differ in their nonlinearity alone were trained on all {len(images.train):,} images of "
        f"{images.given}, without regularisation, each at the best of {len(RATES)} learning rates ("
        + ", ".join(f"{NAMES[kind]} {', '.join(f'{rate:g}' for rate in found)}" for kind, found in rates.items())
        + "). "
    )
    times = [f"{NAMES[kind]} after {estimate.mean:.1f} epochs" for kind, estimate in whole.items()]
    text += f"A training error of 25 % was reached by {' and by '.join(times) or f'neither within {most} epochs'}"
    if ratio is None:
        return text + "."
    return text + f": ReLUs were {shown(ratio.mean, 'times')} as fast, where the paper has six times."
