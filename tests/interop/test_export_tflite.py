"""TFLite: labels in the file, half the size in float16, and int8 that leaves the normalisations alone."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from alexnet_keras.interop.export_run import export_run
from alexnet_keras.interop.exported import exported_network, samples_of
from alexnet_keras.interop.tensorflow_formats import open_tflite, write_tflite

pytestmark = pytest.mark.slow  # the conversion is


def operations(path):
    interpreter = tf.lite.Interpreter(
        str(path), experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    types = {tensor["index"]: tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    return [(each["op_name"], types[each["outputs"][0]]) for each in interpreter._get_ops_details()]


def test_it_has_no_operation_that_the_plain_interpreter_lacks(run, tmp_path):
    write_tflite(exported_network(run), tmp_path / "model.tflite")
    names = {name for name, _ in operations(tmp_path / "model.tflite")}
    assert {"CONV_2D", "MAX_POOL_2D", "FULLY_CONNECTED", "SOFTMAX"} <= names
    assert not any(name.startswith(("Flex", "CUSTOM")) for name in names)


def test_labels_and_provenance_are_in_the_file(run, tmp_path):
    network = replace(exported_network(run), titles=["Blau", "grün\n", "красный"])
    write_tflite(network, tmp_path / "model.tflite")
    with zipfile.ZipFile(tmp_path / "model.tflite") as archive:
        assert archive.read("labels.txt").decode() == "Blau\ngrün\nкрасный\n"
        assert json.loads(archive.read("provenance.json"))["run"] == run.name


def test_any_number_of_images_at_once(run, samples, tmp_path):
    write_tflite(exported_network(run), tmp_path / "model.tflite")
    network = open_tflite(tmp_path / "model.tflite")
    one_by_one = np.concatenate([network(image[None]) for image in samples.images[:3]])
    np.testing.assert_allclose(network(samples.images[:3]), one_by_one, atol=1e-6)


@pytest.mark.parametrize("quantize", ["float16", "int8"])
def test_quantised_exports_are_smaller_and_nearly_the_same(run, prepared, samples, quantize, tmp_path):
    calibration = samples_of(prepared, "train", 16).images
    sizes = {}
    for kind in (None, quantize):
        out = tmp_path / f"{kind}.tflite"
        found = export_run(run, "tflite", out, samples, quantize=kind, calibration=calibration)
        sizes[kind] = out.stat().st_size
    assert sizes[quantize] < sizes[None]
    assert found.moved < 0.05 and found.difference > 0


def test_int8_is_of_layers_with_weights_alone(run, prepared, tmp_path):
    calibration = samples_of(prepared, "train", 16).images
    write_tflite(exported_network(run), tmp_path / "model.tflite", "int8", calibration)
    found = operations(tmp_path / "model.tflite")
    assert {dtype for name, dtype in found if name in ("CONV_2D", "FULLY_CONNECTED")} == {np.int8}
    assert {dtype for name, dtype in found if name in ("SQUARE", "RSQRT", "SQRT", "MUL")} == {np.float32}
