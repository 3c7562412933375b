"""Section 3.3: a four-layer CNN has 13 % test error on CIFAR-10 without local response normalisation, 11 % with."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from alexnet_keras.experiments.cifar import CifarImages, CifarNetwork, CifarRun, CifarTrainer, error_on, load_cifar
from alexnet_keras.experiments.lab import Lab
from alexnet_keras.experiments.outcome import Estimate, Finding, Outcome, direction
from alexnet_keras.visualization.style import INK, SERIES, save_figure

CLAIMS = {"without": "13 %", "with": "11 %"}
SIDE = 24  # pixels of the crops, as cuda-convnet's --crop-border=4 makes of 32
DECAY = 0.004  # cuda-convnet: wc of local3, local4 and fc10
EPOCHS = {"mini": 16, "full": 470}  # the released network's: about 450, then 10 each at a tenth and a hundredth
LAST = {"mini": 2, "full": 10}  # epochs at each of the two lower rates


def run(lab: Lab) -> Outcome:
    """Both networks, once a seed; needs CIFAR-10 as `--data`."""
    with lab.watcher.progress("reading CIFAR-10", 60_000) as advance:
        images = load_cifar(lab.request.data or "tfds:cifar10", advance)
    scale = lab.request.scale
    epochs = lab.request.epochs or EPOCHS[scale]
    last = min(LAST[scale], epochs // 3)
    drops = (epochs - 2 * last, epochs - last) if last else ()
    found = {seed: {name: measure(lab, images, name, seed, epochs, drops) for name in CLAIMS} for seed in lab.seeds}
    errors = {name: Estimate(tuple(each[name]["error"] for each in found.values())) for name in CLAIMS}
    gain = Estimate(tuple(each["without"]["error"] - each["with"]["error"] for each in found.values()))
    findings = [
        Finding(f"test error {name} normalisation", CLAIMS[name], "", errors[name], "percent") for name in CLAIMS
    ]
    findings.append(Finding("test error without minus with", "+2 points", "", gain, "points", direction(gain, 1)))
    told = f"{epochs} epochs, of which the last {2 * last} at lower rates" if last else f"{epochs} epochs"
    return Outcome(
        summary=(
            f"The network of the paper's footnote, two convolutional and two locally-connected layers, was trained "
            f"with and without normalisation on random 24x24 crops of the {len(images.train):,} training images of "
            f"{images.given} for {told}; the authors trained for about 470. The test error, by ten crops on "
            f"{len(images.test):,} images, was {100 * errors['without'].mean:.1f} % without and "
            f"{100 * errors['with'].mean:.1f} % with normalisation."
        ),
        findings=tuple(findings),
        configuration=(
            "conv1 64 5x5, [LRN], max-pooling 3/2, conv2 64 5x5, [LRN], max-pooling 3/2, local3 32 3x3, local4 32 3x3, "
            "fc10 (cuda-convnet's layers-conv-local-13pct.cfg and -11pct.cfg), batches of 128, momentum 0.9, rates "
            "0.001 and 0.002, weight decay 0.004 from local3 on, crops and flips, ten crops in the test",
            f"rates divided by ten after epochs {', '.join(map(str, drops)) or '-'} of {epochs}",
        ),
        facts={"runs": {str(seed): each for seed, each in found.items()}, "epochs": epochs, "data": images.given},
    )


def measure(lab: Lab, images: CifarImages, name: str, seed: int, epochs: int, drops: tuple[int, ...]) -> dict[str, Any]:
    """Test error in the end, and the history of the training, of one network."""
    network = CifarNetwork("local", normalize=name == "with", side=SIDE, decay=DECAY)
    label = f"{name}-seed-{seed}"
    states = lab.folder / "states" / label
    described = CifarRun(states, network, images, seed, lab.request.precision, drops)

    def compute() -> dict[str, Any]:
        trainer = CifarTrainer(described)
        left = 4 * (epochs - trainer.position.epoch)
        with lab.watcher.progress(f"{label}, {epochs} epochs", left, "quarters") as advance:
            trainer.train(epochs, lambda row: advance(1, text=f"error {row['error']:.1%}"))
        return {"error": error_on(trainer.model, images.test, SIDE), "rows": trainer.position.history}

    return lab.part(label, {**described.about, "epochs": epochs}, compute)


def draw(outcome: Outcome, path: Path) -> None:
    """Training error over the epochs, and test error at the end, of both networks and all seeds."""
    figure = Figure(figsize=(6.4, 4.0))
    axes = figure.add_subplot()
    for (name, claim), color in zip(CLAIMS.items(), SERIES, strict=False):
        for number, each in enumerate(outcome.facts["runs"].values()):
            rows, label = each[name]["rows"], f"{name} normalisation (paper: {claim})"
            epochs, errors = [row["epoch"] for row in rows], [row["error"] for row in rows]
            axes.plot(epochs, errors, color=color, lw=1.2, alpha=0.8, label=None if number else label)
            axes.plot(epochs[-1] * 1.02, each[name]["error"], "o", color=color, ms=5, clip_on=False)
    axes.set(xlabel="epochs", ylabel="error", ylim=(0, None), xlim=(0, None))
    axes.set_title("training error (lines) and test error in the end (dots)", fontsize=10, color=INK)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.legend(frameon=False, labelcolor=INK)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
