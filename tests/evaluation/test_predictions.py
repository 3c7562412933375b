"""Predictions that a run keeps: what they are, when they are made anew, and scikit-learn's view of them."""

import json

import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from alexnet_keras import AlexNet
from alexnet_keras.data.pipeline import evaluation_batches
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.evaluation.predictions import predictions_of
from alexnet_keras.evaluation.predictor import Predictor, evaluate
from alexnet_keras.runs import Run


@pytest.fixture(scope="module")
def run(tiny, prepared, tmp_path_factory):
    """A run with a model that knows nothing, and does not need to."""
    run = Run.create(
        tmp_path_factory.mktemp("runs") / "tiny",
        tiny,
        {"classes": list(prepared.classes), "data": prepared.facts, "status": "finished"},
    )
    AlexNet(tiny, classes=3, seed=3).save(run.model_path)
    return run


@pytest.fixture
def count_of(run, monkeypatch):
    """How often the model is loaded, which is how often something is computed."""
    calls = []
    load = Run.load_model
    monkeypatch.setattr(Run, "load_model", lambda self, which="best": calls.append(which) or load(self, which))
    return lambda: len(calls)


@pytest.mark.parametrize("views", ["centre", "ten-crop"])
def test_they_are_the_models_and_the_errors_are_scikit_learns(run, prepared, views):
    found = predictions_of(run, prepared, "train", views)
    predictor = Predictor(run.load_model(), views)
    expected = [
        (predictor(images), labels, names) for images, labels, names in evaluation_batches(prepared, "train", 9)
    ]
    np.testing.assert_allclose(found.probabilities, np.concatenate([part[0] for part in expected]), rtol=1e-4)
    np.testing.assert_array_equal(found.labels, np.concatenate([part[1] for part in expected]))
    assert found.filenames == [name.decode() for part in expected for name in part[2].numpy()]
    evaluation = found.evaluation()
    for k, rate in ((1, evaluation.top1), (2, None)):
        accuracy = top_k_accuracy_score(found.labels, found.probabilities, k=k, labels=[0, 1, 2])
        if rate:
            assert rate.error == pytest.approx(1 - accuracy)
    direct = evaluate(predictor, prepared, "train")
    assert direct.top1 == evaluation.top1
    assert direct.loss == pytest.approx(evaluation.loss, rel=1e-5)


def test_nothing_is_computed_twice(run, prepared, count_of):
    first = predictions_of(run, prepared, "val")
    before = count_of()
    again = predictions_of(run, prepared, "val", on_start=lambda: pytest.fail("nothing has to be computed"))
    assert count_of() == before
    np.testing.assert_array_equal(first.probabilities, again.probabilities)


def test_another_model_is_asked_anew(run, prepared, tiny, count_of):
    first = predictions_of(run, prepared, "val")
    AlexNet(tiny, classes=3, seed=4).save(run.model_path)
    before = count_of()
    second = predictions_of(run, prepared, "val")
    assert count_of() == before + 1
    assert not np.allclose(first.probabilities, second.probabilities)


@pytest.mark.parametrize("damage", ["cut", "no facts", "not json"])
def test_damaged_predictions_are_made_anew(run, prepared, damage, count_of):
    first = predictions_of(run, prepared, "val")
    expected = np.array(first.probabilities)
    if damage == "cut":
        (first.path / "probabilities.npy").write_bytes((first.path / "probabilities.npy").read_bytes()[:150])
    elif damage == "no facts":
        (first.path / "facts.json").unlink()
    else:
        (first.path / "facts.json").write_text("{")
    before = count_of()
    np.testing.assert_allclose(predictions_of(run, prepared, "val").probabilities, expected, rtol=1e-5)
    assert count_of() == before + 1
    assert json.loads((first.path / "facts.json").read_text())["split"] == "val"


def test_a_run_without_a_model_and_a_split_that_is_not_there_are_told(run, prepared, tiny, tmp_path):
    with pytest.raises(UsageError, match="no split 'test'"):
        predictions_of(run, prepared, "test")
    with pytest.raises(UsageError, match="train it for at least one epoch"):
        predictions_of(run, prepared, "val", which="last")
    other = Run.create(tmp_path / "other", tiny, {"classes": ["a", "b"], "data": prepared.facts})
    AlexNet(tiny, classes=2, seed=0).save(other.model_path)
    with pytest.raises(DataError, match="2 classes"):
        predictions_of(other, prepared, "val")
