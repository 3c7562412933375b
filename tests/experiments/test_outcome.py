"""What is said of numbers over seeds."""

import numpy as np
import pytest
from scipy import stats

from alexnet_keras.experiments import ablations
from alexnet_keras.experiments.outcome import Estimate, Finding, direction, shown, value


def test_the_interval_is_students():
    values = (0.2, 0.25, 0.21, 0.28)
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert Estimate(values).interval == pytest.approx(expected)


def test_one_seed_has_no_interval_and_decides_nothing():
    assert Estimate((0.3,)).interval is None
    assert direction(Estimate((0.3,)), 1) == "undecided" and value(Estimate((0.3,)), 0.3) == "undecided"


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
    assert direction(Estimate(values), sign) == verdict


def test_a_number_agrees_where_the_interval_holds_it():
    ours = Estimate((0.40, 0.41, 0.42))
    assert value(ours, 0.407) == "agrees" and value(ours, 0.5) == "disagrees"


def test_a_network_that_learnt_nothing_is_told_and_proves_nothing():
    runs = [{seed: {"top1": error, "top5": 0.1, "stalled": error > 0.8} for seed in (1, 2, 3)} for error in (0.9, 0.3)]
    found = ablations._difference(ablations.ABLATIONS["no-dropout"], "top1", "top-1", *runs)
    assert found.verdict == "undecided" and found.note == "3 of the 6 networks compared never left ln(classes)"
    assert found.ours.mean == pytest.approx(0.6)
    learnt = {seed: {**each, "stalled": False, "top1": 0.9 + seed / 1000} for seed, each in runs[0].items()}
    assert ablations._difference(ablations.ABLATIONS["no-lrn"], "top1", "top-1", learnt, runs[1]).verdict == "agrees"


def test_findings_read_back_as_they_were():
    for ours in (Estimate((0.1, 0.2)), Estimate((0.1,)), None):
        finding = Finding("top-1 error", "40.7 %", "40.7 % (145)", ours, "percent", "agrees", "note")
        assert Finding.from_dict(finding.to_dict()) == finding


def test_what_is_measured_is_told_with_its_interval_and_seeds():
    finding = Finding("difference", "", "", Estimate((0.01, 0.01, 0.01)), "points")
    assert finding.measured == "+1.0 points (+1.0 to +1.0), 3 seeds"
    assert Finding("difference", "", "", None, "points", note="diverged").measured == "diverged"


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
    assert shown(number, unit) == text
