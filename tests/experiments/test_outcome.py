"""Verdicts on numbers over seeds, and how they are written."""

import json
import shutil

import numpy as np
import pytest
from scipy import stats

from alexnet_keras.errors import DivergedError
from alexnet_keras.evaluation.errors import PairedTest
from alexnet_keras.experiments import table_1
from alexnet_keras.experiments.lab import Lab, Options
from alexnet_keras.experiments.outcome import (
    Comparison,
    OverSeeds,
    difference,
    error,
    packed_misses,
    paired_test,
    part_of,
    sign_verdict,
    train_and_test,
    training_text,
    value_verdict,
    with_unit,
)
from alexnet_keras.recipes.toml import edit


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


MISSES = packed_misses(np.zeros(8, np.int32))


def test_mcnemars_test_counts_the_images_that_one_alone_gets_wrong():
    first, second = np.array([7, 7, 1, 0, 0, 1, 2, 1, 1, 1]), np.array([7, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    found = paired_test({"misses": packed_misses(first)}, {"misses": packed_misses(second)}, "top1")
    assert (found.only_first, found.only_second) == (7, 1)
    assert found.p_value == pytest.approx(2 * (1 + 8) / 2**8)  # 0, 1, 7 or 8 heads of 8 coins
    top5 = paired_test({"misses": packed_misses(first)}, {"misses": packed_misses(second)}, "top5")
    assert top5 == PairedTest(1, 0, 1.0)
    same = paired_test({"misses": packed_misses(first)}, {"misses": packed_misses(first)}, "top1")
    assert same == PairedTest(0, 0, 1.0)


@pytest.mark.parametrize(
    ("values", "sides", "verdict"),
    [
        ((0.01,), [(60, 20)], "agrees for these networks"),
        ((-0.01,), [(20, 60)], "disagrees for these networks"),
        ((0.01, 0.05), [(60, 20), (90, 20)], "agrees for these networks"),
        ((0.01, 0.05), [(60, 20), (25, 20)], "undecided"),  # one pair is not apart
        ((0.01, -0.05), [(60, 20), (20, 60)], "undecided"),
        ((0.010, 0.011, 0.012), [(25, 20)] * 3, "agrees"),  # over the seeds
        ((0.01,), [], "undecided"),
    ],
)
def test_where_seeds_decide_nothing_all_pairs_on_one_side_speak_for_themselves(values, sides, verdict):
    pairs = [PairedTest(one, other, stats.binomtest(one, one + other).pvalue) for one, other in sides]
    assert sign_verdict(OverSeeds(values), 1, pairs) == verdict


def test_a_network_that_learnt_nothing_is_reported_and_proves_nothing():
    runs = [
        {seed: {"top1": error, "top5": 0.1, "stalled": error > 0.8, "misses": MISSES} for seed in (1, 2, 3)}
        for error in (0.9, 0.3)
    ]
    found = difference("top-1 error, no dropout", *runs, "top1", '"substantial overfitting"', sign=1)
    assert found.verdict == "undecided" and found.note == "3 of the 6 networks compared never left ln(classes)"
    assert found.ours.mean == pytest.approx(0.6)
    learnt = {seed: {**each, "stalled": False, "top1": 0.9 + seed / 1000} for seed, each in runs[0].items()}
    assert difference("", learnt, runs[1], "top1", "+1.4 / +1.2", sign=1).verdict == "agrees"
    assert difference("", learnt, runs[1], "top5", "over +1 / -", sign=1).verdict == "not compared"


def test_comparisons_read_back_as_they_were():
    for ours in (OverSeeds((0.1, 0.2)), OverSeeds((0.1,)), None):
        row = Comparison("", ours, "percent", "40.7 %", "40.7 % (145)", "agrees", "note", (PairedTest(3, 1, 0.625),))
        assert Comparison.from_dict(json.loads(json.dumps(row.to_dict()))) == row
    old = Comparison("top-1 error", OverSeeds((0.1,))).to_dict()
    del old["pairs"]  # as version 0.1 wrote them
    assert Comparison.from_dict(old).pairs == ()


def test_a_measurement_is_written_with_its_interval_and_seeds():
    row = Comparison("difference", OverSeeds((0.01, 0.01, 0.01)), "points")
    assert row.measured == "+1.0 points (+1.0 to +1.0), 3 seeds"
    assert Comparison("difference", None, "points", note="diverged").measured == "diverged"
    pairs = (PairedTest(30, 5, 2e-5), PairedTest(3, 1, 0.625))
    tested = Comparison("difference", OverSeeds((0.01, 0.01)), "points", note="centre crop", pairs=pairs).measured
    assert tested == "+1.0 points (+1.0 to +1.0), 2 seeds; McNemar's p < 0.001, 0.62; centre crop"


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


def test_the_error_of_one_seed_has_its_interval_over_the_images():
    result = {"top1": 0.224, "top5": 0.0, "images": 1000}
    low, high = stats.binomtest(224, 1000).proportion_ci(0.95, "wilson")
    assert error("top-1 error", {1: result}, "top1").note == f"{100 * low:.1f} to {100 * high:.1f} % over images"
    assert error("top-1 error", {1: result, 2: result}, "top1").note == ""
    assert error("top-1 error", {1: {"diverged": "It diverged."}}, "top1").note == "diverged"


def test_a_result_says_how_long_when_and_where_its_networks_were_trained():
    one = {"seconds": 3480.0, "date": "2026-11-30", "processor": "A"}
    other = {"seconds": 65.0 * 60, "date": "2026-11-29", "processor": "B"}
    said = "58 to 65 minutes of training a network; tested 2026-11-29, 2026-11-30 on A, B"
    assert training_text([{1: one, 2: {"diverged": "It diverged."}}, {1: other}]) == said
    assert training_text([{1: one}, {1: one}]) == "58 minutes of training a network; tested 2026-11-30 on A"
    assert training_text([{1: {"diverged": "It diverged."}}]) == "no network was trained to its end"


def test_table_1_compares_fisher_vectors_and_the_cnn_image_by_image(tmp_path, prepared, monkeypatch):
    ranks = {"fisher-vectors": [0] * 9 + [1], "cnn": [0] + [1] * 8 + [0]}  # alone wrong on 1 and on 8 images
    found = {
        name: {"top1": np.mean(each), "images": 10, "misses": packed_misses(np.array(each)), "stalled": False}
        for name, each in ranks.items()
    }
    monkeypatch.setattr(table_1, "tested", lambda lab, name, data, split: {1: found[name]})
    monkeypatch.setattr(table_1, "_settings_of", lambda lab, name: name)
    lab = Lab(Options(seeds=1, data=str(prepared.path), only=tuple(ranks)), tmp_path)
    with lab.holding:
        gain = table_1.run(lab).comparisons[-1]
    assert gain.what == "top-1 error, SIFT + FVs minus CNN" and gain.claim == "+8.2 points"
    assert gain.measured == "-70.0 points, 1 seed; McNemar's p 0.039"  # twice (1 + 9) / 512
    assert gain.verdict == "disagrees for these networks"


@pytest.mark.slow
def test_what_was_found_of_a_network_is_kept_when_the_network_is_gone(tmp_path, tiny, prepared, monkeypatch):
    lab = Lab(Options(seeds=1), tmp_path / "experiment", nets=tmp_path / "nets")
    found = train_and_test(lab, "tiny", tiny, prepared)
    assert (
        found[1]["seconds"] > 0
        and len(found[1]["validation_top1"]) == tiny.training.epochs
        and set(found[1]["misses"]) == {"top1", "top5"}
    )
    centre = train_and_test(lab, "tiny", tiny, prepared, "val", "centre")
    assert centre[1]["top1"] == centre[1]["validation_top1"][-1] and centre[1]["run"] == found[1]["run"]
    shutil.rmtree(lab.nets)
    assert train_and_test(lab, "tiny", tiny, prepared) == found and not lab.nets.exists()
    assert train_and_test(lab, "tiny", tiny, prepared, "val", "centre") == centre
    other = edit(tiny, {"training.momentum": 0.8})
    trained = []
    monkeypatch.setattr(Lab, "trained", lambda lab, name, recipe, data, seed: trained.append(recipe) or diverge())
    for _ in range(2):  # which is found of it once, and not tried until it converges
        assert train_and_test(lab, "tiny", other, prepared) == {1: {"diverged": "It diverged."}} and trained == [other]
    assert train_and_test(lab, "tiny", tiny, prepared) == found


def diverge():
    raise DivergedError("It diverged.")
