"""Section 3.3: a four-layer CNN has 13 % test error on CIFAR-10 without local response normalisation, 11 % with."""

from pathlib import Path
from typing import Any

from alexnet_keras.experiments import figures
from alexnet_keras.experiments.cifar import CifarImages, CifarNetwork, CifarRun, CifarTrainer, error_on, load_cifar
from alexnet_keras.experiments.lab import Lab
from alexnet_keras.experiments.outcome import Comparison, Outcome, OverSeeds, claimed_positive
from alexnet_keras.visualization.style import INK, SERIES

CLAIMS = {"without": "13 %", "with": "11 %"}
SIDE = 24  # pixels of the crops, as cuda-convnet's --crop-border=4 makes of 32
DECAY = 0.004  # cuda-convnet: wc of local3, local4 and fc10
# The released network's: about 450, then 10 each at a tenth and a hundredth of the rates.
EPOCHS = {"mini": 16, "photos": 156, "full": 470}
LAST = {"mini": 2, "photos": 3, "full": 10}  # epochs at each of the two lower rates


def run(lab: Lab) -> Outcome:
    """Train both networks, once per seed; needs CIFAR-10 as `--data`."""
    images = load_cifar(lab.options.data or "tfds:cifar10", lab.reporter)
    lab.fingerprints.add(images.digest)
    scale = lab.options.scale
    epochs = lab.options.epochs or EPOCHS[scale]
    last = min(LAST[scale], epochs // 3)
    drops = (epochs - 2 * last, epochs - last) if last else ()
    runs, left_out = lab.converged(
        lab.seeds, lambda seed: {name: train_and_test(lab, images, name, seed, epochs, drops) for name in CLAIMS}
    )
    errors = {name: OverSeeds(tuple(each[name]["error"] for each in runs.values())) for name in CLAIMS}
    length = f"{epochs} epochs, of which the last {2 * last} at lower rates" if last else f"{epochs} epochs"
    return Outcome(
        summary=(
            f"The network of the paper's footnote, two convolutional and two locally-connected layers, was trained "
            f"with and without normalisation on random 24x24 crops of the {len(images.train):,} training images of "
            f"{images.given} for {length}; the authors trained for about 470. The test error, by ten crops on "
            f"{len(images.test):,} images, was {100 * errors['without'].mean:.1f} % without and "
            f"{100 * errors['with'].mean:.1f} % with normalisation.{left_out}"
        ),
        comparisons=(
            *(Comparison(f"test error {name} normalisation", errors[name], claim=CLAIMS[name]) for name in CLAIMS),
            claimed_positive("test error without minus with", errors["without"].minus(errors["with"]), "+2 points"),
        ),
        configuration=(
            "conv1 64 5x5, [LRN], max-pooling 3/2, conv2 64 5x5, [LRN], max-pooling 3/2, local3 32 3x3, local4 32 3x3, "
            "fc10 (cuda-convnet's layers-conv-local-13pct.cfg and -11pct.cfg), batches of 128, momentum 0.9, rates "
            "0.001 and 0.002, weight decay 0.004 from local3 on, crops and flips, ten crops in the test",
            f"rates divided by ten after epochs {', '.join(map(str, drops)) or '-'} of {epochs}",
        ),
        facts={"runs": runs, "epochs": epochs, "data": images.given},
    )


def train_and_test(
    lab: Lab, images: CifarImages, name: str, seed: int, epochs: int, drops: tuple[int, ...]
) -> dict[str, Any]:
    """The final test error of one network, "error", and the history of its training, "rows"."""
    network = CifarNetwork("local", normalize=name == "with", side=SIDE, decay=DECAY)
    label = f"{name}-seed-{seed}"
    training = CifarRun(
        lab.folder / "states", f"{label}-{epochs}-epochs", network, images, seed, lab.options.precision, drops
    )

    def compute() -> dict[str, Any]:
        trainer = CifarTrainer(training)
        rows = trainer.train(epochs, reporter=lab.reporter)
        return {"error": error_on(trainer.model, images.test, SIDE), "rows": rows}

    inputs = {**training.about, "epochs": epochs}
    if images.split == "test":
        inputs["split"] = "test"  # without it, parts of earlier versions, which tested on val even so
    return lab.kept(label, inputs, compute)


def draw(outcome: Outcome, path: Path) -> None:
    """Draw the training error over the epochs and the final test error of both networks and all seeds."""
    axes = figures.epoch_axes("error")
    for (name, claim), color in zip(CLAIMS.items(), SERIES, strict=False):
        for number, each in enumerate(outcome.facts["runs"].values()):
            rows, label = each[name]["rows"], f"{name} normalisation (paper: {claim})"
            epochs, errors = [row["epoch"] for row in rows], [row["error"] for row in rows]
            axes.plot(epochs, errors, color=color, lw=1.2, alpha=0.8, label=None if number else label)
            axes.plot(epochs[-1] * 1.02, each[name]["error"], "o", color=color, ms=5, clip_on=False)
    axes.set_title("training error (lines) and final test error (dots)", fontsize=10, color=INK)
    figures.write_epochs(axes, path)
