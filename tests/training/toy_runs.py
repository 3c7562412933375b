"""Whole runs at toy size, watched and disturbed."""

import csv

import numpy as np

from alexnet_keras.runs import Run
from alexnet_keras.training.devices import Placement
from alexnet_keras.training.trainer import Trainer, TrainingOptions

ONE = Placement("one", ("/CPU:0",))
TOWERS = Placement("towers", ("/CPU:0", "/CPU:1"))


class Watching:
    """An observer that notes what it is told, and does what a test asks at the end of a step (epoch, step)."""

    def __init__(self, at=None, do=None):
        self.at, self.do = at, do
        self.warnings, self.origins, self.steps = [], [], []

    def on_start(self, position): ...

    def on_layers(self, origins):
        self.origins = origins

    def on_epoch_begin(self, epoch, first_step, steps, rates): ...

    def on_step(self, epoch, step, result):
        self.steps.append((epoch, step))
        if (epoch, step) == self.at:
            self.do()

    def on_validation(self, images): ...

    def on_epoch_end(self, row, layers): ...

    def on_warning(self, text):
        self.warnings.append(text)


def crash():
    """Ends a run as a power cut would: nothing is saved."""
    raise MemoryError


def trainer(run, data, placement=ONE, seed=3, precision="float32", observer=None, **options):
    options = TrainingOptions(seed, precision, **options)
    return Trainer(run, run.recipe, data, placement, options, observer or Watching())


def new_run(path, recipe):
    return Run.create(path, recipe, {"status": "running"})


def step_losses(run):
    with run.steps_path.open(newline="") as file:
        return np.array([float(row["loss"]) for row in csv.DictReader(file)])


def last_weights(run):
    """Every weight of the finished model."""
    return run.load_model("last").get_weights()
