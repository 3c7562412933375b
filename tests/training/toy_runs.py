"""Whole runs at toy size, watched and disturbed."""

import csv

import numpy as np
from recorded import Recorded

from alexnet_keras.runs import Run
from alexnet_keras.training.devices import Placement
from alexnet_keras.training.start import copy_layers
from alexnet_keras.training.trainer import Trainer

ONE = Placement("one", ("/CPU:0",))
TOWERS = Placement("towers", ("/CPU:0", "/CPU:1"))


def crash():
    """Ends a run as a power cut would: nothing is saved."""
    raise MemoryError


def trainer(run, data, placement=ONE, seed=3, reporter=None, **options):
    return Trainer(run, run.recipe, data, placement, seed=seed, reporter=reporter or Recorded(), **options)


def start_from(run):
    """What copies the weights of a run into a model."""
    return lambda model: copy_layers(model, run.load_model())


def new_run(path, recipe):
    return Run.create(path, recipe, {"status": "running"})


def step_losses(run):
    with run.steps_path.open(newline="") as file:
        return np.array([float(row["loss"]) for row in csv.DictReader(file)])


def last_weights(run):
    """Every weight of the finished model."""
    return run.load_model("last").get_weights()
