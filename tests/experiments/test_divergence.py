"""Where a network diverges, an experiment reports the others and names that one."""

from types import SimpleNamespace

import numpy as np
import pytest
from recorded import Recorded

from alexnet_keras.errors import AlexNetError, DivergedError
from alexnet_keras.evaluation.errors import Evaluation, Tally
from alexnet_keras.experiments import cifar_lrn, fall_2009, figure_1, figure_3, figure_4, initialisation, table_2
from alexnet_keras.experiments.lab import Lab, Options
from alexnet_keras.experiments.outcome import Comparison, OverSeeds, difference, error, packed_misses


@pytest.fixture
def run(prepared, tmp_path, monkeypatch):
    """Runs an experiment with three seeds, whose network `lost` (variant, seed) diverges; returns outcome and lab."""

    def trained(lab, variant, recipe, data, seed, initial=None):
        check(variant, seed)
        return SimpleNamespace(name=f"{variant}-{data.path.name}-{seed}", recipe=recipe, seed=seed)

    def check(variant, seed):
        if (variant, seed) in lost:
            raise DivergedError(f"{variant} {seed} has diverged.")

    def errors(lab, net, data):
        return Evaluation.of(Tally(100, 1.0, 10 * net.seed, 0), "val", "ten-crop", 3)

    def kernels(lab, seed, data):
        check("source", seed)
        if ("zero", seed) in lost:
            return [np.ones((3, 3, 3, 8)), np.zeros((3, 3, 3, 8))]
        return list(np.random.default_rng(seed).normal(size=(2, 3, 3, 3, 8)))

    def cifar(lab, images, name, seed, *_):
        check(name, seed)
        return {"error": seed / 100 + 0.02 * (name == "without"), "rows": []}

    def race(lab, images, kind, seed, most):
        check(kind, seed)
        return {"winner": {"rate": 0.1, "rows": [{"epoch": seed * (1.0 if kind == "relu" else 6.0), "error": 0.2}]}}

    images = SimpleNamespace(train=[], test=[], given="drawn", digest="of the drawn")
    found = {"same_class": 0.5, "pixel_same_class": 0.4, "pixel_rank": 0.1}
    for name, value in {
        "lab.Lab.trained": trained,
        "lab.Lab.errors": errors,
        "figure_3.kernels_of": kernels,
        "figure_4._kept": lambda lab, net, data, seed: found,
        "figure_4.draw_halves": lambda lab, net, data: None,
        "cifar_lrn.load_cifar": lambda *_: images,
        "cifar_lrn.train_and_test": cifar,
        "figure_1.load_cifar": lambda *_: images,
        "figure_1.race": race,
        "table_2.compare_ensembles": lambda *_: [],
        "table_2._gain_of_ensemble": lambda lab, cnns, *_: Comparison("", OverSeeds((float(len(cnns)),)), "count"),
        "fall_2009.HALF": (0, 1),
    }.items():
        monkeypatch.setattr(f"alexnet_keras.experiments.{name}", value)
    lost = []

    def call(module, *diverging, pretrain=()):
        lost[:] = diverging
        lab = Lab(Options(data=str(prepared.path), pretrain=pretrain), tmp_path / "experiment", Recorded())
        with lab.holding:
            return module.run(lab), lab

    return call


@pytest.mark.parametrize(
    ("module", "variant", "measured"),
    [
        (figure_1, "tanh", ["1 (-5.35 to 7.35), 2 seeds", "6 (-32.1 to 44.1), 2 seeds", "6.0 times, 2 seeds"]),
        (figure_3, "source", None),
        (figure_4, "source", None),
        (table_2, "source", ["20.0 % (0.0 to 100.0), 2 seeds"]),
        (fall_2009, "six-conv", ["20.0 % (0.0 to 100.0), 2 seeds"]),
        (
            cifar_lrn,
            "with",
            ["4.0 % (0.0 to 16.7), 2 seeds", "2.0 % (0.0 to 14.7), 2 seeds", "+2.0 points, 2 seeds"],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", "").rpartition(".")[2] or None,
)
def test_the_other_seeds_are_reported_and_the_one_that_diverged_is_named(run, module, variant, measured):
    outcome, lab = run(module, (variant, 2))
    assert outcome.summary.endswith(" Left out: seed 2 diverged.")
    assert lab.reporter.warnings == [f"{variant} 2 has diverged."]
    assert ("of the drawn" in lab.settings["fingerprints"]) == (module.__name__.endswith(("figure_1", "cifar_lrn")))
    rows = [row for row in outcome.comparisons if row.unit != "count"]
    if measured:
        assert [row.measured for row in rows] == measured
    assert {len(row.ours.values) for row in rows} == {2}
    whole, _ = run(module)
    assert "Left out" not in whole.summary
    with pytest.raises(DivergedError, match=f"{variant} 1 has diverged"):
        run(module, *((variant, seed) for seed in (1, 2, 3)))


def test_the_kernels_drawn_are_of_a_network_that_did_not_diverge(run):
    outcome, _ = run(figure_3, ("source", 1))
    assert outcome.facts["kernels"] == ["kernels-seed-2.npz", "kernels-seed-3.npz"]
    assert outcome.comparisons[0].note == "of 2"


def test_a_network_with_a_tower_of_zeros_is_named_and_not_compared(run):
    outcome, _ = run(figure_3, ("zero", 1), ("zero", 3))
    assert outcome.summary.endswith(" Left out, because every kernel of a tower is zero: seed 1, seed 3.")
    assert outcome.facts["kernels"] == ["kernels-seed-2.npz"] and outcome.comparisons[0].note == "of 1"
    assert {len(row.ours.values) for row in outcome.comparisons} == {1}
    with pytest.raises(AlexNetError, match="every kernel of a tower is zero"):
        run(figure_3, *(("zero", seed) for seed in (1, 2, 3)))


@pytest.mark.parametrize(
    ("pretrain", "lost", "nets", "alike", "left_out"),
    [
        (1, ("fine-tuned", 2), 4, 1, " Left out: CNN* of seed 2 diverged."),
        (1, ("six-conv", 1), 4, 1, " Left out: CNN* of seed 1 diverged."),
        (2, ("six-conv", 1), 3, 0, " Left out: CNN* after 1 of 2 sets, CNN* after 2 of 2 sets diverged."),
        (2, (), 5, 1, "average probabilities."),
    ],
)
def test_a_star_that_diverged_is_left_out_of_table_2(run, prepared, pretrain, lost, nets, alike, left_out):
    outcome, _ = run(table_2, lost, pretrain=(str(prepared.path),) * pretrain)
    assert outcome.summary.endswith(left_out) and len(outcome.facts["nets"]) == nets
    stars = [len(row.ours.values) for row in outcome.comparisons if row.what == "top-1 error, 1 CNN*"]
    assert stars == [alike] * bool(alike)


def test_an_error_is_of_the_seeds_that_did_not_diverge():
    learnt = {"top1": 0.3, "images": 100, "stalled": False, "misses": packed_misses(np.arange(100) < 30)}
    results = {seed: learnt | {"top1": 0.3 + seed / 1000} for seed in (1, 2, 3)}
    some = {**results, 2: {"diverged": "It did."}}
    assert error("", some, "top1").measured == "30.2 % (28.9 to 31.5), 2 seeds; seed 2 diverged"
    one = {1: some[2], 2: some[2], 3: results[3]}
    assert error("", one, "top1").note == "21.9 to 39.6 % over images; seed 1, seed 2 diverged"
    for pair in ((some, results), (results, some)):
        found = difference("", *pair, "top1", "+1.4 / +1.2", sign=1)
        assert (found.verdict, found.note, len(found.pairs)) == ("undecided", "seed 2 diverged", 2)
        assert found.ours.values == (0, 0)
    assert difference("", one, {**results, 3: some[2]}, "top1").measured == "diverged"
    stalled = {seed: each | {"stalled": True} for seed, each in results.items()}
    assert difference("", stalled, results, "top1").verdict == "not compared", "there is no claim"


def test_a_start_ends_where_its_loss_is_no_number(tiny, prepared, tmp_path, monkeypatch):
    losses = iter([1.5, 1.25, np.nan, 1.0])
    step = lambda *_: SimpleNamespace(loss=next(losses))  # noqa: E731
    monkeypatch.setattr(initialisation, "TrainingStep", lambda *_, **options: step)
    monkeypatch.setattr(initialisation, "new_network", lambda *_: (None, None))
    monkeypatch.setattr(initialisation, "measure_signal", lambda *_: [])
    lab = Lab(Options(), tmp_path, Recorded())
    found = initialisation.train(lab, tiny, "paper", prepared, seed=2, steps=4)
    assert found["losses"] == [1.5, 1.25] and "the loss became nan in step 3" in lab.reporter.warnings[0]
    found["signal"] = [{"spread": 0.1}]
    whole = {**found, "losses": [1.0] * 4}
    *_, row = initialisation._rows("paper", {1: whole, 2: found}, 4, chance=1.1)
    assert row.measured == "1, 1 seed; seed 2 diverged"
    *_, row = initialisation._rows("paper", {2: found}, 4, chance=1.1)
    assert row.measured == "seed 2 diverged"
