"""Verdicts on numbers over seeds, and how they are written."""

import numpy as np
import pytest
from scipy import stats

from alexnet_keras.experiments.outcome import (
    Comparison,
    OverSeeds,
    difference,
    part_of,
    sign_verdict,
    value_verdict,
    with_unit,
)


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
    found = difference("top-1 error, no dropout", *runs, "top1", '"substantial overfitting"', sign=1)
    assert found.verdict == "undecided" and found.note == "3 of the 6 networks compared never left ln(classes)"
    assert found.ours.mean == pytest.approx(0.6)
    learnt = {seed: {**each, "stalled": False, "top1": 0.9 + seed / 1000} for seed, each in runs[0].items()}
    assert difference("", learnt, runs[1], "top1", "+1.4 / +1.2", sign=1).verdict == "agrees"
    assert difference("", learnt, runs[1], "top5", "over +1 / -", sign=1).verdict == "not compared"


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


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("47.1 / 28.2 %", ("47.1 %", "28.2 %")),
        ("+1.4 / +1.2 (148)", ("+1.4 (148)", "+1.2 (148)")),
        ("39.0 / 16.6 % (146-2012-2011)", ("39.0 % (146-2012-2011)", "16.6 % (146-2012-2011)")),
        ("over +1 / -", ("over +1", "")),
        ("about +2 points", ("about +2 points", "")),
        ("", ("", "")),
    ],
)
def test_a_claim_on_both_errors_has_two_parts(text, parts):
    assert (part_of(text, "top1"), part_of(text, "top5")) == parts
