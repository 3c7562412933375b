"""Data classes that carry results are values: nobody changes one after it was made, and they can be keys."""

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import numpy as np
import pytest

from alexnet_keras.data.statistics import PixelSums, Statistics
from alexnet_keras.evaluation.ensemble import Ensemble, Subset, _Margins
from alexnet_keras.evaluation.errors import ErrorRate, Evaluation, Tally
from alexnet_keras.evaluation.predictions import Predictions
from alexnet_keras.network.kernels import ColorReport, TowerColor, TowerDifference
from alexnet_keras.training.checkpoint import Position, State
from alexnet_keras.training.optimizer import LossScale
from alexnet_keras.training.schedule import EpochPlan

ARRAY = np.zeros((3, 3))
RATE = ErrorRate(0.5, 0.4, 0.6)


def two_members():
    facts = {"run": "a", "data_fingerprint": "", "split": "val"}
    return [Predictions(Path(), facts, np.ones((1, 2), np.float32), np.zeros(1, int))] * 2


VALUES = {
    "Tally": lambda: Tally(3, 1.5, 1, 0),
    "ErrorRate": lambda: ErrorRate(0.5, 0.4, 0.6),
    "Evaluation": lambda: Evaluation("val", "centre", 10, 5, 1.5, RATE, RATE),
    "Subset": lambda: Subset(1, 2),
    "LossScale": lambda: LossScale(8.0, 3),
    "TowerDifference": lambda: TowerDifference("a", "b", 0.75, 0.01),
    "ColorReport": lambda: ColorReport((), ()),
}
ONLY_THEMSELVES = {  # arrays have no one answer to "equal", so that two of these are never
    "Statistics": lambda: Statistics(ARRAY, ARRAY, ARRAY),
    "Ensemble": lambda: Ensemble(two_members(), np.ones(2)),
    "Margins": lambda: _Margins(ARRAY, ARRAY, ARRAY, False),
}
OTHERS = {  # with a dictionary or an array in them
    "EpochPlan": lambda: EpochPlan({}, True),
    "State": lambda: State(Path(), {}, Position(), {}),
    "TowerColor": lambda: TowerColor("a", ARRAY, ARRAY),
}


@pytest.mark.parametrize("make", [*VALUES.values(), *ONLY_THEMSELVES.values(), *OTHERS.values()])
def test_a_value_cannot_be_changed(make):
    value = make()
    with pytest.raises(FrozenInstanceError):
        setattr(value, fields(value)[0].name, None)


@pytest.mark.parametrize("make", VALUES.values(), ids=VALUES)
def test_equal_values_are_the_same_key(make):
    assert {make(): "found"}[make()] == "found"


@pytest.mark.parametrize("make", [*ONLY_THEMSELVES.values(), PixelSums], ids=[*ONLY_THEMSELVES, "PixelSums"])
def test_what_holds_arrays_equals_itself_alone(make):
    one, other = make(), make()
    assert one == one and one != other
    assert {one: 1, other: 2} == {one: 1, other: 2}
