"""Whole runs at toy size, watched and disturbed."""

import csv

import numpy as np

from alexnet_keras.reporter import Reporter
from alexnet_keras.runs import Run
from alexnet_keras.training.devices import Placement
from alexnet_keras.training.trainer import Trainer

ONE = Placement("one", ("/CPU:0",))
TOWERS = Placement("towers", ("/CPU:0", "/CPU:1"))


class Watching(Reporter):
    """Keeps what is reported, and does what a test asks at the end of a step (epoch, step)."""

    def __init__(self, at=None, do=None):
        self.at, self.do = at, do
        self.notes, self.warnings, self.origins, self.steps = [], [], [], []

    def note(self, text):
        self.notes.append(text)

    def warn(self, text):
        self.warnings.append(text)

    def on_initial_weights(self, origins):
        self.origins = origins

    def on_step(self, epoch, step, result):
        self.steps.append((epoch, step))
        if (epoch, step) == self.at:
            self.do()


def crash():
    """Ends a run as a power cut would: nothing is saved."""
    raise MemoryError


def trainer(run, data, placement=ONE, seed=3, reporter=None, **options):
    return Trainer(run, run.recipe, data, placement, seed=seed, reporter=reporter or Watching(), **options)


def new_run(path, recipe):
    return Run.create(path, recipe, {"status": "running"})


def step_losses(run):
    with run.steps_path.open(newline="") as file:
        return np.array([float(row["loss"]) for row in csv.DictReader(file)])


def last_weights(run):
    """Every weight of the finished model."""
    return run.load_model("last").get_weights()
