"""What an earlier version wrote still opens, goes on, and gives the same numbers. `make.py` made the files."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from click.testing import CliRunner

from alexnet_keras import AlexNet, Classifier
from alexnet_keras.cli.main import cli
from alexnet_keras.data.dataset import open_prepared
from alexnet_keras.data.pipeline import evaluation_batches
from alexnet_keras.evaluation.predictor import Predictor
from alexnet_keras.interop.onnx import open_onnx
from alexnet_keras.interop.safetensors import open_safetensors
from alexnet_keras.network.model import features_of, logits_of
from alexnet_keras.network.summary import parameters_of
from alexnet_keras.runs import Run
from alexnet_keras.training.checkpoint import saved_states

HERE = Path(__file__).parent
GENERATIONS = sorted(path.parent.name for path in HERE.glob("*/expected.json"))
CLOCK = ("seconds", "images_per_second")  # of a row of the history
ROUNDINGS = (  # the kernels of oneDNN differ from processor to processor, and with the threads the order of adding
    {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_NUM_INTRAOP_THREADS": "2"},
    {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_NUM_INTRAOP_THREADS": "1"},
)
CROP = slice(16, 240)  # the centre 224 of 256


@dataclass(frozen=True)
class Golden:
    """A copy of a generation's files in the current directory, and what they gave when they were made."""

    expected: dict
    arrays: dict[str, np.ndarray]

    @property
    def squares(self) -> np.ndarray:
        return self.arrays["squares"]

    @property
    def crops(self) -> np.ndarray:
        return self.squares[:, CROP, CROP]


@pytest.fixture(scope="module", params=GENERATIONS)
def unpacked(request, tmp_path_factory):
    """The files of a generation, which no test writes to, and what is expected of them."""
    files, folder = HERE / request.param, tmp_path_factory.mktemp("golden")
    for path in files.glob("*.tar.xz"):
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
    with np.load(files / "expected.npz") as arrays:
        return folder, Golden(json.loads((files / "expected.json").read_text()), dict(arrays))


@pytest.fixture
def golden(unpacked, tmp_path, monkeypatch):
    folder, golden = unpacked
    shutil.copytree(folder, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return golden


def alexnet(*arguments):
    """What a command prints on stdout."""
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def same(found, expected, atol=1e-6):
    """Equal to the rounding of float32."""
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=atol)


def records(data, split):
    """Pixels, file names and labels of a split, in stored order."""
    batches = list(evaluation_batches(data, split, 8))
    named = [
        [name.decode(), int(label)]
        for _, labels, names in batches
        for name, label in zip(names.numpy(), labels, strict=True)
    ]
    return np.concatenate([images for images, _, _ in batches]).astype(int), named


def test_there_are_golden_files_of_the_first_version():
    assert "0.1" in GENERATIONS


def test_a_prepared_dataset_holds_what_it_held(golden):
    data, expected = open_prepared("cells"), golden.expected["dataset"]
    assert [data.name, data.source, list(data.classes)] == [expected[key] for key in ("name", "source", "classes")]
    assert data.fingerprint == expected["fingerprint"]
    assert data.encoding.kind == expected["encoding"]
    assert {split: data.class_counts(split) for split in data.splits} == expected["class_counts"]
    assert [{key: each[key] for key in ("split", "filename")} for each in data.rejected] == expected["rejected"]
    for split in data.splits:
        assert records(data, split)[1] == expected["records"][split]
    for name in ("rgb_mean", "covariance", "standard_deviations"):
        np.testing.assert_allclose(getattr(data.statistics, name), expected[name], rtol=1e-9)
    np.testing.assert_array_equal(data.statistics.mean_image, golden.arrays["mean_image"])
    decoded = records(data, "train")[0]
    assert np.abs(decoded.mean(axis=0) - data.statistics.mean_image).mean() < 1, "what JPEG loses"


def test_a_prepared_dataset_is_whole(golden):
    found = json.loads(alexnet("prepare", "--verify", "data/cells", "--json"))
    assert found["problems"] == []
    assert found["examples"] == sum(map(sum, golden.expected["dataset"]["class_counts"].values()))


def test_a_prepared_dataset_opens_with_tfds_alone(golden):
    builder, expected = tfds.builder_from_directory("data/cells"), golden.expected["dataset"]
    assert builder.info.features["label"].names == expected["classes"]
    own = open_prepared("cells")
    for split, counts in expected["class_counts"].items():
        assert builder.info.splits[split].num_examples == sum(counts)
        found = list(tfds.as_numpy(builder.as_dataset(split, shuffle_files=False)))
        assert [[each["filename"].decode(), int(each["label"])] for each in found] == expected["records"][split]
        difference = np.stack([each["image"] for each in found]) - records(own, split)[0]
        assert np.abs(difference).mean() < 0.5, "TFDS decodes JPEG by a faster and coarser method"


def test_the_same_images_are_prepared_as_they_were(golden):
    """Which image comes where, what is left out, the statistics and the pixels; encoders may round otherwise."""
    alexnet("prepare", "pictures", "--out", "data/again", "--name", "cells", "--seed", "5", "--shard-examples", "16")
    old, new = open_prepared("cells"), open_prepared("again")
    assert new.manifest["options"] == old.manifest["options"]
    assert new.rejected == old.rejected
    assert {split: [shard.examples for shard in new.splits[split]] for split in new.splits} == {
        split: [shard.examples for shard in old.splits[split]] for split in old.splits
    }
    for split in old.splits:
        (pixels, named), (before, named_before) = records(new, split), records(old, split)
        assert named == named_before
        difference = np.abs(pixels - before)
        assert difference.max() <= 8 and difference.mean() < 0.1
    np.testing.assert_allclose(new.statistics.mean_image, golden.arrays["mean_image"], atol=0.5)
    np.testing.assert_allclose(new.statistics.rgb_mean, old.statistics.rgb_mean, rtol=1e-4)
    np.testing.assert_allclose(new.statistics.covariance, old.statistics.covariance, rtol=1e-3)


def test_a_model_file_loads_without_custom_objects_in_safe_mode(golden):
    model = keras.saving.load_model("saved_models/stopped/model.keras", compile=False, safe_mode=True)
    assert parameters_of(model) == golden.expected["run"]["parameters"]
    same(model.predict(golden.crops, verbose=0), golden.arrays["probabilities/centre"])
    same(logits_of(model).predict(golden.crops, verbose=0), golden.arrays["logits"])
    # features reach 3, and another processor rounds otherwise: 3.4e-6 was seen
    same(features_of(model).predict(golden.crops, verbose=0), golden.arrays["features"], atol=5e-6)


def test_the_weights_of_a_model_file_go_into_a_network_of_its_recipe(golden):
    run, statistics = Path("saved_models/stopped"), open_prepared("cells").statistics
    model = AlexNet(
        run / "recipe.toml", run / "model.keras", classes=3, mean_image=statistics.mean_image, name="another"
    )
    same(model.predict(golden.crops, verbose=0), golden.arrays["probabilities/centre"])


@pytest.mark.parametrize("views", ["centre", "ten-crop"])
def test_a_run_says_the_same_of_images(golden, views):
    classifier = Classifier("stopped", ten_crop=views == "ten-crop")
    same(classifier.predictor(golden.squares), golden.arrays[f"probabilities/{views}"])
    same(Predictor(Run.load("stopped").load_model(), views)(golden.squares), golden.arrays[f"probabilities/{views}"])
    if views == "centre":
        photo = golden.expected["run"]["photo"]
        same(classifier.predictor(classifier.square(photo)[None])[0], golden.arrays["probabilities/photo"])
        assert classifier(photo)[0].name == golden.expected["run"]["guess"]


def test_a_stopped_run_is_listed(golden):
    (row,) = json.loads(alexnet("runs", "--json"))
    best, stopped_at = (golden.expected["run"][key] for key in ("best", "stopped_at"))
    expected = ("stopped", "interrupted", stopped_at["epoch"], 4, best["val_top1_error"], "source", "cells")
    keys = ("run", "state", "epochs", "of", "best_val_top1_error", "recipe", "data")
    assert tuple(row[key] for key in keys) == expected


@pytest.mark.parametrize("kept", [True, False], ids=["kept predictions", "new predictions"])
def test_a_run_has_the_error_it_had(golden, monkeypatch, kept):
    if kept:  # what an earlier version computed is used as it is
        monkeypatch.setattr(Run, "load_model", lambda *_: pytest.fail("the kept predictions were not used"))
    else:
        shutil.rmtree("saved_models/stopped/evaluations")
    results = {each["views"]: each for each in json.loads(alexnet("eval", "stopped", "--ten-crop", "--json"))}
    assert results.keys() == golden.expected["evaluations"].keys()
    for views, expected in golden.expected["evaluations"].items():
        assert results[views]["images"] == expected["images"]
        assert results[views]["top1"] == pytest.approx(expected["top1"])
        assert results[views]["loss"] == pytest.approx(expected["loss"], rel=1e-5)


@pytest.mark.slow
def test_a_run_goes_on_in_the_middle_of_an_epoch_and_ends_as_it_would_have(golden, monkeypatch):
    """Order, crops, colour noise, dropout, rates and update rule: each weight ends where uninterrupted training led it,
    to a few ten-thousandths of the way it had still to go. Other orders of adding make a tenth of that, training
    without weight decay twice as much. But where two inputs of a pooling are nearly the same, rounding decides which is
    the maximum, and the weights move by more: one of several roundings has to lead to where it did.
    """
    exact = []  # set for the whole process, so only noted here
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: exact.append(True))
    stopped = Run.load("stopped")
    with np.load(saved_states(stopped.states_path)[0]) as state:
        before = {name: state[name] for name in state.files}
    expected = golden.expected["run"]
    run = Run(shutil.copytree(stopped.path, stopped.path.with_name("resumed")))
    alexnet("train", "--resume", "resumed")
    assert exact, "the run was started with --deterministic"
    for number, rounding in enumerate(ROUNDINGS):
        losses = [float(line.split(",")[2]) for line in run.steps_path.read_text().splitlines()[1:]]
        if np.allclose(losses, expected["ended"]["step_losses"], rtol=1e-5, atol=0):
            break
        run = Run(shutil.copytree(stopped.path, stopped.path.with_name(f"resumed-{number}")))
        command = [Path(sys.executable).with_name("alexnet"), "train", "--resume", run.name]
        subprocess.run(command, env=os.environ | rounding, check=True)
    losses = [float(line.split(",")[2]) for line in run.steps_path.read_text().splitlines()[1:]]
    assert run.status == "finished"
    best = min(expected["ended"]["history"], key=lambda row: row["val_top1_error"])
    assert run.facts["best"] == pytest.approx({key: best[key] for key in ("epoch", "val_top1_error")})
    assert best["epoch"] >= golden.expected["run"]["stopped_at"]["epoch"], "better than what was kept when it stopped"
    np.testing.assert_allclose(losses, expected["ended"]["step_losses"], rtol=1e-5)
    history = [{key: value for key, value in row.items() if key not in CLOCK} for row in run.history]
    assert len(history) == len(expected["ended"]["history"])
    for found, row in zip(history, expected["ended"]["history"], strict=True):
        assert found == pytest.approx({key: value for key, value in row.items() if key not in CLOCK}, rel=1e-5)
    for variable in run.load_model("last").trainable_variables:
        ended, wanted = np.asarray(variable), golden.arrays[f"last/{variable.path}"]
        way = np.abs(wanted - before[variable.path]).max()
        assert way > 0, f"{variable.path} was not trained"
        assert np.abs(ended - wanted).max() < 3e-4 * way, f"{variable.path} ended elsewhere"


def test_a_saved_model_answers_as_it_did(golden):
    """With TensorFlow alone."""
    signatures = tf.saved_model.load("saved_models/stopped/exports/saved-model").signatures
    found = signatures["serving_default"](images=tf.constant(golden.squares))["probabilities"]
    same(found, golden.arrays["probabilities/centre"])
    photo = tf.io.read_file(golden.expected["run"]["photo"])
    same(signatures["file"](encoded=photo)["probabilities"], golden.arrays["probabilities/photo"])
    assert [name.decode() for name in signatures["labels"]()["names"].numpy()] == golden.expected["dataset"]["classes"]


@pytest.mark.parametrize(("name", "opened"), [("model.onnx", open_onnx), ("model.safetensors", open_safetensors)])
def test_an_export_answers_as_it_did(golden, name, opened):
    found = opened(Path("saved_models/stopped/exports") / name)(golden.squares)
    same(found, golden.arrays["probabilities/centre"])
