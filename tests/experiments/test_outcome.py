"""Verdicts on numbers over seeds, and how they are written."""

import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from alexnet_keras.errors import DataError, DivergedError
from alexnet_keras.evaluation.errors import PairedTest
from alexnet_keras.experiments import initialisation, table_1
from alexnet_keras.experiments.figure_3 import chance_apart, verdict_on_runs
from alexnet_keras.experiments.lab import Lab, Options
from alexnet_keras.experiments.outcome import (
    Comparison,
    OverSeeds,
    batches_text,
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
from alexnet_keras.recipes.edits import edit
from alexnet_keras.recipes.toml import load_recipe


def test_the_interval_is_students():
    values = (0.2, 0.25, 0.21, 0.28)
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert OverSeeds(values).interval == pytest.approx(expected)


def test_networks_that_are_no_pairs_are_compared_by_welchs_test():
    ours, stars = (0.451, 0.450, 0.452, 0.449, 0.453), (0.47, 0.41)
    found = OverSeeds(ours, stars)
    test = stats.ttest_ind(ours, stars, equal_var=False)
    assert found.interval == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert found.mean == pytest.approx(0.011) and sign_verdict(found, 1) == "undecided"
    row = Comparison("", found, "points")
    assert row.measured.startswith("+1.1 points (-36.9 to +39.1") and row.measured.endswith("), 5 and 2 seeds")
    assert Comparison.from_dict(json.loads(json.dumps(row.to_dict()))) == row
    assert OverSeeds(ours, stars[:1]).interval is OverSeeds(ours[:1], stars).interval is None
    assert OverSeeds((0.4, 0.4), (0.3, 0.3)).interval is None and OverSeeds((0.4, 0.4), (0.3, 0.5)).interval


@pytest.mark.parametrize("values", [(0.3,), (0.3, 0.3), (0.3, 0.1 + 0.2)])
def test_one_seed_and_seeds_that_do_not_differ_have_no_interval_and_decide_nothing(values):
    ours = OverSeeds(values)
    assert ours.interval is None
    assert sign_verdict(ours, 1) == "undecided" and value_verdict(ours, 0.3) == "undecided"


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
        ((0.01, 0.01), [(60, 20), (25, 20)], "undecided"),
        ((0.31 - 0.3, 0.21 - 0.2), [(60, 20), (90, 20)], "agrees for these networks"),
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
    assert found.verdict == "undecided" and found.note == "3 of the 6 networks compared ended no better than guessing"
    assert found.ours.mean == pytest.approx(0.6)
    learnt = {seed: {**each, "stalled": False, "top1": 0.9 + seed / 1000} for seed, each in runs[0].items()}
    assert difference("", learnt, runs[1], "top1", "+1.4 / +1.2", sign=1).verdict == "agrees"
    assert difference("", learnt, runs[1], "top5", "over +1 / -", sign=1).verdict == "not compared"


TRASHNET = (403, 501, 410, 594, 482, 137)  # guessing by their frequencies has a loss of 1.723, ln(6) is 1.792


@pytest.mark.parametrize(
    ("loss", "wrong", "stalled"),
    # the most frequent class is 594 of 2,527: one and the same answer is wrong of 76.5 %
    [(1.73, 0.77, True), (1.72, 0.77, True), (1.60, 0.77, False), (1.73, 0.6, False)],
)
def test_a_network_that_learnt_how_frequent_classes_are_has_learnt_nothing(monkeypatch, tmp_path, loss, wrong, stalled):
    data = SimpleNamespace(path=tmp_path, fingerprint="", class_counts=lambda split: TRASHNET)
    row = {"loss": loss, "top1_error": 0.7, "val_top1_error": 0.7, "seconds": 1.0}
    evaluation = SimpleNamespace(top1=SimpleNamespace(error=wrong), top5=SimpleNamespace(error=0.0), images=4)
    ranks = SimpleNamespace(ranks=np.zeros(4, np.int32))
    found = SimpleNamespace(summary=ranks, evaluation=lambda: evaluation)
    monkeypatch.setattr(Lab, "trained", lambda *arguments: SimpleNamespace(name="net", history=[row]))
    monkeypatch.setattr(Lab, "predictions", lambda *arguments: found)
    lab = Lab(Options(seeds=1), tmp_path / "experiment", nets=tmp_path)
    assert train_and_test(lab, "net", load_recipe("source"), data)[1]["stalled"] is stalled


MEASURED = json.loads(
    (Path(__file__).parents[2] / "docs/evidence/ablations-photos/parts/source-seed-1.json").read_text()
)


@pytest.mark.parametrize(
    "change",
    [
        {"top1": "0.5"},
        {"top1": 7.5},
        {"top5": math.nan},
        {"stalled": None},
        {"misses": {"top1": "00", "top5": "00"}},
        {"misses": {"top1": "0", "top5": "xy"}},
        {"validation_top1": []},
        {"seconds": math.inf},
    ],
)
def test_a_part_that_was_changed_by_hand_is_refused(monkeypatch, tmp_path, change):
    data = SimpleNamespace(path=tmp_path, fingerprint="")
    lab, recipe = Lab(Options(seeds=1), tmp_path / "experiment", nets=tmp_path), load_recipe("source")
    inputs = {"net": lab.network("net", recipe, data, 1).name, "data": ""}
    lab.kept("net-seed-1", inputs, lambda: MEASURED["found"])
    assert train_and_test(lab, "net", recipe, data) == {1: MEASURED["found"]}
    for found in ({**MEASURED["found"], **change}, {}, [], {"diverged": 3}):
        (lab.folder / "parts" / "net-seed-1.json").write_text(json.dumps({"about": inputs, "found": found}))
        with pytest.raises(
            DataError, match=r"parts/net-seed-1\.json is damaged: remove it, and the same command makes"
        ):
            train_and_test(lab, "net", recipe, data)


def test_a_start_that_learns_how_frequent_classes_are_has_not_left_the_loss_of_guessing(monkeypatch, tmp_path):
    data = SimpleNamespace(
        path=tmp_path,
        classes=range(6),
        class_counts=lambda split: TRASHNET,
        statistics=SimpleNamespace(standard_deviations=np.ones(3)),
    )
    losses = {"source": [1.79] * 20 + [1.60] * 20, "paper": [1.79] * 20 + [1.73] * 20}
    found = {name: {"signal": [{"spread": 0.1}], "losses": each} for name, each in losses.items()}
    monkeypatch.setattr(initialisation, "cached", lambda *arguments, **options: data)
    monkeypatch.setattr(initialisation, "_kept", lambda lab, recipe, name, *arguments: found[name])
    monkeypatch.setattr(Lab, "open", lambda lab: data)
    outcome = initialisation.run(Lab(Options(seeds=1, only=tuple(losses)), tmp_path))
    rows = {row.what: row.measured for row in outcome.comparisons if "steps until" in row.what}
    assert rows == {
        "source: steps until the loss is 0.05 below that of guessing": "26, 1 seed",
        "paper: steps until the loss is 0.05 below that of guessing": "1 of 1 not in 120 steps",
    }
    assert outcome.facts["chance"] == pytest.approx(1.723, abs=1e-3)


def test_comparisons_read_back_as_they_were():
    for ours in (OverSeeds((0.1, 0.2)), OverSeeds((0.1,)), None):
        row = Comparison("", ours, "percent", "40.7 %", "40.7 % (145)", "agrees", "note", (PairedTest(3, 1, 0.625),))
        assert Comparison.from_dict(json.loads(json.dumps(row.to_dict()))) == row
    old = Comparison("top-1 error", OverSeeds((0.1,))).to_dict()
    del old["pairs"]  # as version 0.1 wrote them
    assert Comparison.from_dict(old).pairs == ()


def test_the_interval_of_a_share_ends_where_shares_do():
    assert Comparison("error", OverSeeds((0.75, 0.75 - 1e-9, 0.2))).measured.startswith("56.7 % (0.0 to 100.0), 3")
    assert (
        Comparison("difference", OverSeeds((0.5, -0.5)), "points").measured == "+0.0 points (-635.3 to +635.3), 2 seeds"
    )


def test_batches_are_no_larger_than_the_training_set():
    images = [SimpleNamespace(examples=lambda split, count=count: count) for count in (25, 9469)]
    assert [batches_text(load_recipe("source"), data) for data in images] == ["batches of 25", "batches of 128"]


def test_a_measurement_is_written_with_its_interval_and_seeds():
    row = Comparison("difference", OverSeeds((0.00, 0.01, 0.02)), "points")
    assert row.measured == "+1.0 points (-1.5 to +3.5), 3 seeds"
    assert Comparison("difference", None, "points", note="diverged").measured == "diverged"
    pairs = (PairedTest(30, 5, 2e-5), PairedTest(3, 1, 0.625))
    tested = Comparison("difference", OverSeeds((0.01, 0.01)), "points", note="centre crop", pairs=pairs).measured
    assert tested == "+1.0 points, 2 seeds; McNemar's p < 0.001, 0.62; centre crop"
    assert Comparison("5 CNNs", OverSeeds((0.4,)), measured_on="one ensemble").measured == "40.0 %, one ensemble"


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


@pytest.mark.parametrize(
    ("clear", "runs", "verdict"),
    [
        (1, 1, "undecided"),
        (2, 2, "agrees"),
        (3, 3, "agrees"),
        (2, 3, "undecided"),
        (0, 3, "undecided"),
        (0, 30, "disagrees"),
    ],
)
def test_towers_that_specialise_in_no_run_disagree(clear, runs, verdict):
    assert verdict_on_runs(clear, runs) == verdict


def test_towers_that_do_not_differ_are_a_little_apart_by_chance():
    random = np.random.default_rng(0)
    towers = random.normal(size=(2000, 2, 24))
    found = [abs(stats.mannwhitneyu(*pair).statistic / 24**2 - 0.5) for pair in towers]
    assert chance_apart(24, 24) == pytest.approx(np.mean(found), rel=0.05)
