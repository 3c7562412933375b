"""Every export says what the run says, and one that does not is not kept."""

import errno
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from alexnet_keras import AlexNet
from alexnet_keras.errors import AlexNetError, DataError, UsageError
from alexnet_keras.evaluation.predictor import Predictor
from alexnet_keras.interop import export_run as export_module
from alexnet_keras.interop.export_run import FORMATS, check_can_export, comparison_path, default_path, export_run
from alexnet_keras.interop.exported import (
    Samples,
    Tolerance,
    compare,
    exported_network,
    generated_samples,
    outputs_of,
)
from alexnet_keras.recipes.toml import with_overrides
from alexnet_keras.runs import Run
from alexnet_keras.storage.documents import seal_of
from alexnet_keras.storage.files import sha256_of

EACH_FORMAT = pytest.mark.parametrize(
    "to", [to if to == "safetensors" else pytest.param(to, marks=pytest.mark.slow) for to in FORMATS]
)


@pytest.fixture
def compared_in_tf32(monkeypatch):
    """Whether TF32 was allowed when an export was compared with its run."""
    found = []

    def noted(*arguments):
        found.append(tf.config.experimental.tensor_float_32_execution_enabled())
        return compare(*arguments)

    monkeypatch.setattr(export_module, "compare", noted)
    return found


@pytest.mark.slow
def test_the_images_tell_networks_apart(run, samples):
    found = outputs_of(Predictor(run.load_model()), samples)
    assert np.ptp(found, axis=0).max() > 0.01


@EACH_FORMAT
def test_an_export_agrees_with_its_run(run, samples, to, compared_in_tf32):
    out = default_path(run, to)
    agreement = export_run(run, to, out, samples)
    assert compared_in_tf32 == [False] and tf.config.experimental.tensor_float_32_execution_enabled()
    assert out.exists() and agreement.images == 12
    assert agreement.difference < 1e-5 and agreement.same_top1 == agreement.same_top5 == 1
    assert agreement.error == agreement.own_error
    written = json.loads(comparison_path(out).read_text())
    assert written["agreement"] == agreement.to_dict()
    assert written["provenance"]["data_fingerprint"] == run.facts["data"]["fingerprint"]
    there = [file for file in (out, *out.rglob("*")) if file.is_file()]
    assert written["files"] == {file.relative_to(out.parent).as_posix(): seal_of(file) for file in there}


@pytest.mark.slow
@EACH_FORMAT
def test_one_that_differs_too_much_is_not_kept(run, samples, to, tmp_path):
    out = tmp_path / "made"
    export_run(run, to, out, samples)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(AlexNetError, match="was not written"):
        export_run(run, to, out, samples, tolerance=Tolerance(difference=-1.0))
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
    with pytest.raises(AlexNetError, match="was not written"):
        export_run(run, to, tmp_path / "new", samples, tolerance=Tolerance(moved=-1.0))
    assert not list(tmp_path.glob("*new*"))


def test_what_fails_last_leaves_the_older_export_and_its_comparison(run, samples, tmp_path, monkeypatch):
    out = tmp_path / "made"
    export_run(run, "safetensors", out, samples)
    before, flush = {file: file.read_bytes() for file in tmp_path.iterdir()}, export_module.flush

    def full(path):
        if path.name.endswith("made"):
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(path)

    monkeypatch.setattr(export_module, "flush", full)
    with pytest.raises(OSError, match="No space left"):
        export_run(run, "safetensors", out, generated_samples(2))
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_interruption_at_any_rename_leaves_what_the_next_export_replaces(
    run, samples, tmp_path, monkeypatch, number
):
    out, renamed, replace = tmp_path / "made", [], Path.replace

    def interrupted(path, to):
        renamed.append(to)
        if len(renamed) == number:
            raise KeyboardInterrupt
        return replace(path, to)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", interrupted)
        export_run(run, "safetensors", out, samples)
    assert not out.exists() or comparison_path(out).exists()
    assert export_run(run, "safetensors", out, samples).same_top1 == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["made", "made.json"]


def test_an_export_has_the_checksum_of_the_model_that_is_in_it(run, tiny, samples, tmp_path, monkeypatch):
    training = Run(shutil.copytree(run.path, tmp_path / "training"))
    load, better = Run.load_model, AlexNet(tiny, classes=3, seed=7)

    def load_and_replace(self, which="best"):
        model = load(self, which)
        monkeypatch.setattr(Run, "load_model", load)
        better.save(training.model_path)
        return model

    monkeypatch.setattr(Run, "load_model", load_and_replace)
    network = exported_network(training)
    assert network.provenance["model_sha256"] == sha256_of(training.model_path) != sha256_of(run.model_path)
    np.testing.assert_array_equal(outputs_of(Predictor(network.model), samples), outputs_of(Predictor(better), samples))


@pytest.mark.slow
def test_a_run_in_bfloat16_is_exported_in_float32(run_of, tiny, samples, tmp_path):
    run = run_of(tiny, precision="mixed_bfloat16")
    agreement = export_run(run, "saved-model", tmp_path / "out", samples)
    assert agreement.difference < 1e-5 < agreement.as_trained < 0.1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("network.fc6.units=12", r"not of its model \(fc6, fc7, fc6: units is 16 there\): restore that file"),
        ("network.lrn.alpha=0.5", r"not of its model \(norm1: alpha is 0.0001 there, norm2"),
        ("augmentation.color_noise=0", r"not of its model \(color_noise"),
        ("network.fc6.dropout=0", r"not of its model \(it has drop6\)"),
        ("network.conv1.followed_by=['pool', 'lrn', 'relu']", r"not of its model \(norm1 is before pool1 there\)"),
    ],
)
def test_a_recipe_that_is_not_the_models_is_refused(run_of, tiny, samples, tmp_path, change, said):
    run = run_of(tiny)
    run.write_recipe(with_overrides(tiny, [change]))
    with pytest.raises(DataError, match=said):
        export_run(run, "safetensors", tmp_path / "out", samples)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_mean_colour_is_exported_too(run_of, tiny, samples, tmp_path):
    run = run_of(with_overrides(tiny, ["augmentation.mean=channel"]))
    for to in ("onnx", "safetensors"):
        assert export_run(run, to, tmp_path / to, samples).difference < 1e-5


def test_agreement_counts_what_moved():
    samples = Samples(np.zeros((2, 1), np.uint8), np.array([0, 0]), "two")
    own = np.array([[0.6, 0.4], [0.8, 0.2]], np.float32)
    exported = np.array([[0.4, 0.6], [0.8, 0.2]], np.float32)
    found = compare(exported, own, own, samples, Tolerance(moved=0.05))
    assert found.difference == pytest.approx(0.2) and found.moved == pytest.approx(0.1)
    assert (found.same_top1, found.own_error, found.error) == (0.5, 0, 0.5)
    assert not found.holds
    assert not compare(exported * np.nan, own, own, samples, Tolerance()).holds
    with pytest.raises(AlexNetError, match="shape"):
        compare(exported[:, :1], own, own, samples, Tolerance())


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_a_missing_library_is_a_sentence(run, samples, name, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=rf"needs {name}: pip install 'alexnet-keras\[export\]'"):
        export_run(run, "onnx", tmp_path / "out", samples)


def test_what_is_no_export_is_not_overwritten(run, samples, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(b"")
    for to in FORMATS:
        with pytest.raises(UsageError, match="--out"):
            export_run(run, to, tmp_path / "photos", samples)
    with pytest.raises(UsageError, match="--quantize"):
        export_run(run, "onnx", tmp_path / "model.onnx", samples, quantize="int8")


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"to": "onx"}, "to must be one of 'saved-model', 'onnx', 'tflite', 'safetensors'. Received: to='onx'"),
        ({"to": "tflite", "quantize": "int4"}, "quantize must be one of None, 'float16', 'int8'. Received: quantize="),
        ({"to": "tflite", "which": "lst"}, "which must be one of 'best', 'last'. Received: which='lst'"),
    ],
)
def test_a_misspelt_argument_is_refused_with_its_choices(run, samples, tmp_path, choices, sentence):
    with pytest.raises(UsageError, match=sentence):
        export_run(run, out=tmp_path / "out", samples=samples, **choices)
    assert not any(tmp_path.iterdir())


def test_nothing_but_an_export_of_its_kind_is_replaced(run, tmp_path):
    out = tmp_path / "model.onnx"
    check_can_export("tflite", None, out)
    out.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists and is no tflite export"):
        check_can_export("tflite", None, out)
    with pytest.raises(
        UsageError, match=r"export, or model\.onnx\.json is not beside it: choose .* --out, or remove it"
    ):
        check_can_export("tflite", None, out)
    comparison_path(out).write_text(json.dumps({"export": "tflite"}))
    check_can_export("tflite", None, out)
    with pytest.raises(UsageError, match="exists and is no safetensors export"):
        check_can_export("safetensors", None, out)
    (tmp_path / "labels.json").write_text('["cat"]')
    with pytest.raises(UsageError, match=r"labels\.json exists and is not the comparison of an export"):
        check_can_export("saved-model", None, tmp_path / "labels")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "saved_model.pb").touch()
    with pytest.raises(UsageError, match="there exists and is no saved-model export"):
        check_can_export("saved-model", None, tmp_path / "there")  # another program's
    comparison_path(tmp_path / "there").write_text(json.dumps({"export": "saved-model"}))
    check_can_export("saved-model", None, tmp_path / "there")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with pytest.raises(UsageError, match="link exists and is no saved-model export"):
        check_can_export("saved-model", None, tmp_path / "link")


def test_the_last_model_has_an_export_of_its_own(run):
    names = [
        default_path(run, "tflite", quantize, which).name for which in ("best", "last") for quantize in (None, "int8")
    ]
    assert names == ["model.tflite", "model-int8.tflite", "model-last.tflite", "model-last-int8.tflite"]
