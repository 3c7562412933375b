"""Verdicts on numbers over seeds, and how they are written."""

import numpy as np
import pytest
from scipy import stats

from alexnet_keras.experiments import ablations
from alexnet_keras.experiments.outcome import Comparison, OverSeeds, sign_verdict, value_verdict, with_unit


def test_the_interval_is_students():
    values = (0.2, 0.25, 0.21, 0.28)
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert OverSeeds(values).interval == pytest.approx(expected)


def test_one_seed_has_no_interval_and_decides_nothing():
    assert OverSeeds((0.3,)).interval is None
    assert sign_verdict(OverSeeds((0.3,)), 1) == "undecided" and value_verdict(OverSeeds((0.3,)), 0.3) == "undecided"


@pytest.mark.parametrize(
    ("values", "sign", "verdict"),
    [
        ((0.010, 0.011, 0.012), 1, "agrees"),
        ((0.010, 0.011, 0.012), -1, "disagrees"),
        ((-0.010, -0.011, -0.012), 1, "disagrees"),
        ((-0.010, 0.011, 0.012), 1, "undecided"),
    ],
)
def test_a_direction_needs_the_whole_interval_on_one_side(values, sign, verdict):
    assert sign_verdict(OverSeeds(values), sign) == verdict


def test_a_number_agrees_where_the_interval_holds_it():
    ours = OverSeeds((0.40, 0.41, 0.42))
    assert value_verdict(ours, 0.407) == "agrees" and value_verdict(ours, 0.5) == "disagrees"


def test_a_network_that_learnt_nothing_is_reported_and_proves_nothing():
    runs = [{seed: {"top1": error, "top5": 0.1, "stalled": error > 0.8} for seed in (1, 2, 3)} for error in (0.9, 0.3)]
    found = ablations.compare(ablations.ABLATIONS["no-dropout"], "top1", "top-1", *runs)
    assert found.verdict == "undecided" and found.note == "3 of the 6 networks compared never left ln(classes)"
    assert found.ours.mean == pytest.approx(0.6)
    learnt = {seed: {**each, "stalled": False, "top1": 0.9 + seed / 1000} for seed, each in runs[0].items()}
    assert ablations.compare(ablations.ABLATIONS["no-lrn"], "top1", "top-1", learnt, runs[1]).verdict == "agrees"


def test_comparisons_read_back_as_they_were():
    for ours in (OverSeeds((0.1, 0.2)), OverSeeds((0.1,)), None):
        row = Comparison("top-1 error", ours, "percent", "40.7 %", "40.7 % (145)", "agrees", "note")
        assert Comparison.from_dict(row.to_dict()) == row


def test_a_measurement_is_written_with_its_interval_and_seeds():
    row = Comparison("difference", OverSeeds((0.01, 0.01, 0.01)), "points")
    assert row.measured == "+1.0 points (+1.0 to +1.0), 3 seeds"
    assert Comparison("difference", None, "points", note="diverged").measured == "diverged"


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [
        (0.407, "percent", "40.7 %"),
        (-0.014, "points", "-1.4 points"),
        (6.04, "times", "6.0 times"),
        (3.456, "number", "3.46"),
    ],
)
def test_numbers_have_their_unit(number, unit, text):
    assert with_unit(number, unit) == text
