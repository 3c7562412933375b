"""Every experiment: what the paper claims, what the lab's logs recorded, what is run, and what it costs.

This module imports neither Keras nor TensorFlow.
"""

import importlib
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Experiment:
    """One figure, table or claim of the paper.

    Attributes:
        name: On the command line.
        title: In a sentence's middle.
        section: Where it is in the paper.
        claim: What the paper says.
        log: What the lab's logs recorded; "" where they have nothing on it.
        method: What is run, exactly, at either scale.
        data: What `--data` has to name.
        cost_full: On ImageNet; estimates, by the paper's five to six days on two GPUs for one network.
        cost_mini: On two processor cores.
        seeds: How many by default.
        parts: Whether `--only` chooses among parts of it.
        pretrain: Whether it takes `--pretrain`.
    """

    name: str
    title: str
    section: str
    claim: str
    method: str
    data: str
    cost_full: str
    cost_mini: str
    log: str = ""
    seeds: int = 3
    parts: bool = False
    pretrain: bool = False

    @property
    def module(self) -> ModuleType:
        """Where it is: `run(lab)` and `draw(outcome, path)`."""
        return importlib.import_module(f"alexnet_keras.experiments.{self.name.replace('-', '_')}")


PREPARED = "a prepared dataset, by name under data/ or by path; the latest by default"
CIFAR = "CIFAR-10: a folder with train and test above class folders, or tfds:cifar10, the default"

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            "figure-1",
            "ReLU against tanh on CIFAR-10",
            "section 3.1, figure 1",
            "A four-layer convolutional network reaches 25 % training error six times sooner with ReLUs than with tanh "
            "neurons, the learning rate of each chosen to make training as fast as possible, without regularisation.",
            "cuda-convnet's four-layer network (three convolutions of 32, 32 and 64 5x5 kernels, fc10), batches of "
            "128, momentum 0.9. Five rates race: all train 2 epochs, the better ones 5, the last two on to 25 %. Both "
            "scales are the same.",
            CIFAR,
            "as in miniature",
            "about an hour",
            seeds=1,
        ),
        Experiment(
            "ablations",
            "what each part is worth",
            "sections 3.1 to 3.4, 4.1, 4.2, 5 and 7",
            "Without normalisation +1.4 / +1.2 points of top-1 / top-5 error; pooling without overlap +0.4 / +0.3; one "
            "tower of half the kernels +1.7 / +1.2; no colour noise over +1; without any middle layer about +2.",
            "The recipe source, and recipes derived from it by naming what changes: no-lrn, no-overlap, one-tower, "
            "separate-towers, no-color-noise, no-crops, no-dropout, tanh, no-conv1 to no-conv5, paper-init. Ten crops. "
            "In miniature: the recipe quickstart, 20 epochs.",
            PREPARED,
            "about 250 GPU-hours of 2012 a network and seed",
            "3 minutes a network and seed on 3,000 pictures",
            log="148 (no normalisation) +1.4 / +1.2; 147 (no overlap) +0.4 / +0.3; 145-half (one tower) +1.7 / +1.2; "
            "150 (towers that never communicate) +1.2 / +1.1",
            parts=True,
        ),
        Experiment(
            "cifar-lrn",
            "normalisation on CIFAR-10",
            "section 3.3",
            "A four-layer CNN has 13 % test error on CIFAR-10 without normalisation and 11 % with it.",
            "cuda-convnet's networks behind these numbers (two convolutions of 64 5x5 kernels, two locally-connected "
            "layers of 32 3x3, fc10), random 24x24 crops and flips, ten crops in the test. Full: 470 epochs; in "
            "miniature: 16, the last 4 at lower rates.",
            CIFAR,
            "a day on two processor cores a network and seed",
            "10 minutes a network and seed",
        ),
    )
}
