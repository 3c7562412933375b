"""Evaluation from Python: the errors, what the run keeps of them, and ensembles."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from recorded import Recorded, Work
from untrained import untrained_run

from alexnet_keras import Classifier, evaluate, publish
from alexnet_keras.data.preparation import prepare
from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.evaluation.evaluate import _combine, evaluate_ensemble, evaluate_runs
from alexnet_keras.evaluation.predictor import Predictor
from alexnet_keras.runs import Run
from alexnet_keras.storage import files


@pytest.fixture(scope="module")
def runs(tiny, prepared, tmp_path_factory):
    """Two runs of other weights, which were not trained."""
    root = tmp_path_factory.mktemp("runs")
    return [untrained_run(root / name, tiny, prepared, seed) for seed, name in enumerate(("first", "second"))]


def test_a_run_is_evaluated_on_its_own_data_and_keeps_the_result(runs, prepared):
    found = evaluate(runs[0])
    direct = Predictor(runs[0].load_model()).evaluate(prepared, "val")
    assert (found.split, found.views, found.images, found.classes) == ("val", "centre", 12, 3)
    assert found.top1 == direct.top1 and found.loss == pytest.approx(direct.loss, rel=1e-5)
    kept = json.loads((runs[0].path / "evaluations/best-colors-val-centre.json").read_text())
    assert kept["top1"]["error"] == found.top1.error and kept["data_fingerprint"] == prepared.fingerprint
    for same in (str(runs[0].path), runs[0].path):
        for data in (prepared, prepared.path, str(prepared.path), None):
            assert evaluate(same, data) == found


def test_the_latest_run_is_evaluated_where_none_is_named(runs, monkeypatch, tmp_path):
    (tmp_path / "saved_models").mkdir()
    shutil.copytree(runs[1].path, tmp_path / "saved_models/mine")
    monkeypatch.setenv("ALEXNET_HOME", str(tmp_path))
    assert evaluate(data=runs[1].data_path).top1 == evaluate("mine", runs[1].data_path).top1


def test_an_ensemble_is_the_mean_of_its_members_or_weighted(runs):
    both = evaluate_ensemble(runs, split="train")
    averaged = np.mean([member.probabilities for member in both.ensemble.members], axis=0)
    assert both.evaluation.top1.error == np.mean(averaged.argmax(axis=1) != both.ensemble.members[0].labels)
    assert both.weights == {"first": 0.5, "second": 0.5}
    searched = evaluate_ensemble(runs, split="val", weights="search", search_on="train")
    assert (searched.evaluation.split, searched.evaluation.images) == ("val", 12)
    assert sum(searched.weights.values()) == pytest.approx(1)
    assert searched.results[-1]["top1"]["error"] == searched.evaluation.top1.error
    halves = evaluate_ensemble(runs, weights="search", search_on="val")
    assert halves.evaluation.images == 6, "errors are those of the half that was not searched"


def test_members_of_the_same_name_are_told_apart_by_their_paths(runs, tmp_path):
    twin = Run(shutil.copytree(runs[1].path, tmp_path / "first"))
    both = evaluate_ensemble([runs[0], twin])
    assert both.weights == {str(runs[0].path): 0.5, str(twin.path): 0.5}
    assert [result["run"] for result in both.results] == [str(runs[0].path), str(twin.path), "2 CNNs, mean"]


def test_images_that_a_run_may_have_been_trained_on_are_told(runs, images, tmp_path):
    reporter = Recorded()
    evaluate(runs[0], reporter=reporter)
    assert reporter.warnings == []
    other = prepare(folder_source(images), tmp_path / "data/other", seed=1)
    evaluate(runs[0], other, reporter=reporter)
    assert reporter.warnings == [
        f"the run {runs[0].path} was not trained on {other.path} as it is now: errors on images that it was "
        "trained on are too low."
    ]
    with pytest.warns(UserWarning, match="was not trained on") as caught:
        evaluate(runs[0], other)
    assert [warning.filename for warning in caught] == [__file__]


def test_one_image_has_no_halves_to_search_weights_on(monkeypatch):
    monkeypatch.setattr("alexnet_keras.evaluation.evaluate.mean", lambda members: None)
    alone = SimpleNamespace(facts={"split": "val"}, summary=SimpleNamespace(ranks=np.zeros(1)))
    with pytest.raises(UsageError, match="split val has one image and no halves"):
        _combine("search", ["a", "b"], "best", [alone, alone], "val", None)


def test_what_cannot_be_evaluated_is_refused(runs, tiny, prepared, tmp_path):
    with pytest.raises(UsageError, match="There is no run 'nobody'"):
        evaluate("nobody")
    with pytest.raises(UsageError, match="no split 'test'"):
        evaluate(runs[0], split="test")
    with pytest.raises(UsageError, match="two different runs"):
        evaluate_ensemble([runs[0], runs[0].path])
    with pytest.raises(UsageError, match="--ensemble of several"):
        evaluate_runs(runs, submission=tmp_path / "out.txt")
    other = Run.create(tmp_path / "other", tiny, {"classes": ["a", "b"], "data": prepared.facts})
    with pytest.raises(DataError, match="only in the data"):
        evaluate(other)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda runs: evaluate(runs[0], views="ten_crop"),
            "views must be one of 'centre', 'ten-crop'. Received: views=",
        ),
        (lambda runs: evaluate_runs(runs, views=["centre", "ten_crop"]), "Received: views='ten_crop'"),
        (lambda runs: Predictor(None, "ten_crop"), "Received: views='ten_crop'"),
        (lambda runs: evaluate(runs[0], which="lst"), "which must be one of 'best', 'last'. Received: which='lst'"),
        (lambda runs: Classifier(runs[0], which="lst"), "Received: which='lst'"),
        (lambda runs: publish(runs[0], runs[0].path / "shared", which="lst"), "Received: which='lst'"),
        (
            lambda runs: evaluate_ensemble(runs, weights="serach"),
            "weights must be one of 'mean', 'search'. Received: w",
        ),
        (lambda runs: evaluate_ensemble(runs, weights="search", search_on="vall"), "no split 'vall'"),
        (lambda runs: evaluate_ensemble(runs, search_on="train"), "search_on is for weights='search'. Received: weig"),
        (lambda runs: publish(runs[0], runs[0].path / "shared", private=True), "private is for the hub"),
    ],
)
def test_a_misspelt_argument_is_refused_with_its_choices_before_anything_is_computed(
    runs, tmp_path, monkeypatch, call, sentence
):
    copies = [Run(shutil.copytree(run.path, tmp_path / run.name)) for run in runs]
    for module in ("evaluation.predictions._predict", "network.loading.load_model", "api.model_card"):
        monkeypatch.setattr(f"alexnet_keras.{module}", None)
    with pytest.raises(UsageError, match=sentence):
        call(copies)


def test_progress_is_reported_only_where_something_is_computed(runs, tmp_path):
    copy = shutil.copytree(runs[0].path, tmp_path / "copy", ignore=shutil.ignore_patterns("evaluations"))
    reporter = Recorded()
    for _ in range(2):
        evaluate(copy, views="ten-crop", reporter=reporter)
    assert reporter.work == [Work("copy, val, ten-crop", 12, done=12)]


@pytest.mark.slow
def test_the_model_is_hashed_once(runs, tmp_path, monkeypatch):
    copy = Run(shutil.copytree(runs[0].path, tmp_path / "copy", ignore=shutil.ignore_patterns("evaluations")))
    hashed, sha256_of = [], files.sha256_of
    monkeypatch.setattr(files, "sha256_of", lambda path: hashed.append(path) or sha256_of(path))
    evaluate_runs([copy], views=("centre", "ten-crop"))
    assert hashed.count(copy.model_path) == 1
    shutil.copy(runs[1].model_path, copy.model_path)
    assert files.known_sha256(copy.model_path) == sha256_of(runs[1].model_path), "another file is hashed again"
