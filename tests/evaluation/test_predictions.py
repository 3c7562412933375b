"""Predictions that a run keeps: what they are, when they are made again, and scikit-learn's view of them."""

import json
import shutil
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score
from tiers import rest_slow
from untrained import untrained_run

from alexnet_keras import AlexNet
from alexnet_keras.data.pipeline import evaluation_batches
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.evaluation import predictions as predictions_module
from alexnet_keras.evaluation.analysis import Outcomes
from alexnet_keras.evaluation.ensemble import mean
from alexnet_keras.evaluation.predictions import predictions_of
from alexnet_keras.evaluation.predictor import Predictor
from alexnet_keras.reporter import Reporter
from alexnet_keras.runs import Run
from alexnet_keras.storage.files import sha256_of


@pytest.fixture(scope="module")
def run(tiny, prepared, tmp_path_factory):
    """A run with a model that knows nothing, and does not need to."""
    return untrained_run(tmp_path_factory.mktemp("runs") / "tiny", tiny, prepared)


class Refusing(Reporter):
    def progress(self, *_):
        pytest.fail("nothing has to be computed")


@pytest.fixture
def count_of(run, monkeypatch):
    """How often the model is loaded, which is how often something is computed."""
    calls = []
    load = Run.load_model
    monkeypatch.setattr(Run, "load_model", lambda self, which="best": calls.append(which) or load(self, which))
    return lambda: len(calls)


@pytest.mark.parametrize("views", rest_slow(("ten-crop", "centre")))
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
    direct = predictor.evaluate(prepared, "train")
    assert direct.top1 == evaluation.top1
    assert direct.loss == pytest.approx(evaluation.loss, rel=1e-5)


def test_nothing_is_computed_twice(run, prepared, count_of):
    first = predictions_of(run, prepared, "val")
    before = count_of()
    again = predictions_of(run, prepared, "val", reporter=Refusing())
    assert count_of() == before
    np.testing.assert_array_equal(first.probabilities, again.probabilities)


def test_another_model_is_evaluated_again(run, prepared, tiny, count_of):
    first = predictions_of(run, prepared, "val")
    AlexNet(tiny, classes=3, seed=4).save(run.model_path)
    before = count_of()
    second = predictions_of(run, prepared, "val")
    assert count_of() == before + 1
    assert not np.allclose(first.probabilities, second.probabilities)


@pytest.mark.parametrize("damage", rest_slow(("cut", "no facts", "not json")))
def test_damaged_predictions_are_made_again(run, prepared, damage, count_of):
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


def test_a_run_without_a_model_and_a_split_that_is_not_there_are_refused(run, prepared, tiny, tmp_path):
    with pytest.raises(UsageError, match="no split 'test'"):
        predictions_of(run, prepared, "test")
    with pytest.raises(UsageError, match="train it for at least one epoch"):
        predictions_of(run, prepared, "val", which="last")
    other = untrained_run(tmp_path / "other", tiny, prepared, classes=["a", "b"])
    with pytest.raises(DataError, match="2 classes"):
        predictions_of(other, prepared, "val")


def test_of_too_many_probabilities_what_figures_and_tables_need_is_kept(run, prepared, monkeypatch, tmp_path):
    whole = predictions_of(run, prepared, "val", "ten-crop")
    monkeypatch.setattr(predictions_module, "MOST_BYTES", 12 * 3 * 4 - 1)
    monkeypatch.setattr(Run, "predictions_path", lambda self, name: tmp_path / name)
    for found in (predictions_of(run, prepared, "val", "ten-crop"), predictions_of(run, prepared, "val", "ten-crop")):
        assert found.probabilities is None and not (found.path / "probabilities.npy").exists()
        assert (found.path / "summary.npz").stat().st_size < 4096
        assert found.classes == 3 and found.filenames == whole.filenames
        for name in ("top", "top_probabilities", "at_label", "ranks"):
            np.testing.assert_array_equal(getattr(found.summary, name), getattr(whole.summary, name))
        assert found.evaluation() == whole.evaluation()
        one, other = (Outcomes.of(each) for each in (found, whole))
        assert one.by_class() == other.by_class() and one.calibration() == other.calibration()
    with pytest.raises(UsageError, match=r"has the 5 likeliest classes of each image, .* an ensemble needs them all"):
        mean([found, whole]).evaluation()


@pytest.mark.slow
def test_a_summary_is_what_sorting_says(run, prepared):
    found = predictions_of(run, prepared, "train")
    order = np.argsort(-found.probabilities, axis=1)
    np.testing.assert_array_equal(found.summary.top, order)
    np.testing.assert_array_equal(found.summary.at_label, found.probabilities[np.arange(36), found.labels])
    np.testing.assert_array_equal(found.summary.ranks, np.argmax(order == found.labels[:, None], axis=1))


@pytest.mark.parametrize("name", rest_slow(("probabilities.npy", "labels.npy", "filenames.json")))
def test_what_is_not_what_was_written_is_computed_again(run, prepared, count_of, name):
    first = predictions_of(run, prepared, "val")
    content, expected = (first.path / name).read_bytes(), np.array(first.probabilities)
    (first.path / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    before = count_of()
    again = predictions_of(run, prepared, "val")
    assert count_of() == before + 1 and (first.path / name).read_bytes() == content
    np.testing.assert_array_equal(again.probabilities, expected)


def test_space_is_taken_before_the_first_image_is_looked_at(run, prepared, monkeypatch):
    """On a disk that is full, a page of a mapped file that is not there would end the process without a word."""

    def full(path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(predictions_module, "allocate", full)
    monkeypatch.setattr(predictions_module, "known_sha256", lambda path: "another model")
    with pytest.raises(OSError, match="No space left"):
        predictions_of(run, prepared, "train", "ten-crop")


def test_where_the_run_cannot_be_written_it_is_evaluated_all_the_same(run, prepared, monkeypatch):
    kept = predictions_of(run, prepared, "val")
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    monkeypatch.setattr(Run, "is_writable", False)
    monkeypatch.setattr(Run, "predictions_path", lambda self, name: self.path / "none" / name)
    found = predictions_of(run, prepared, "val")
    assert run.path not in found.path.parents
    np.testing.assert_array_equal(found.probabilities, kept.probabilities)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_of_two_processes_the_second_waits_and_computes_nothing(run, prepared, tmp_path, monkeypatch, count_of):
    monkeypatch.setattr(Run, "predictions_path", lambda self, name: tmp_path / name)
    others, waited, threads = [], [], []

    class Waiting(Refusing):
        def note(self, text):
            waited.append(text)

    def other():
        others.append(predictions_of(run, prepared, "val", reporter=Waiting()))

    class Slow(Reporter):
        @contextmanager
        def progress(self, *_):
            yield self.advance

        def advance(self, n=1, text=""):
            if not threads:  # with the first images
                threads.append(threading.Thread(target=other))
                threads[0].start()
                while not waited:
                    time.sleep(0.01)

    mine = predictions_of(run, prepared, "val", reporter=Slow())
    threads[0].join()
    assert waited == ["Waiting for another process that evaluates tiny on the same images."] and count_of() == 1
    np.testing.assert_array_equal(others[0].probabilities, mine.probabilities)


def test_the_file_names_of_other_predictions_are_not_taken_for_these(run, prepared):
    """Of data of the same name in another directory, which another process evaluates the run on meanwhile."""
    found = predictions_of(run, prepared, "val")
    names = json.loads((found.path / "filenames.json").read_text())
    (found.path / "filenames.json").write_text(json.dumps(names[::-1]))
    with pytest.raises(UsageError, match="was changed by another process meanwhile"):
        found.filenames  # noqa: B018
    assert predictions_of(run, prepared, "val").filenames == names


@pytest.mark.slow
def test_a_model_that_is_written_meanwhile_is_looked_at_again(run, prepared, tmp_path, monkeypatch, tiny):
    """Its training goes on: the checksum that is kept is that of the model that answered."""
    copy = Run(shutil.copytree(run.path, tmp_path / "run", ignore=shutil.ignore_patterns("evaluations")))
    load, new = Run.load_model, AlexNet(tiny, classes=3, seed=9)

    def loaded(self, which="best"):
        found = load(self, which)
        if new.name != "written":
            new.name = "written"
            new.save(self.model_path)
        return found

    monkeypatch.setattr(Run, "load_model", loaded)
    found = predictions_of(copy, prepared, "val")
    assert found.facts["model_sha256"] == sha256_of(copy.model_path)
    images = np.concatenate([images for images, *_ in evaluation_batches(prepared, "val", 12)])
    np.testing.assert_allclose(found.probabilities, Predictor(new)(images), rtol=1e-4)
