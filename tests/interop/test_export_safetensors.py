"""safetensors: names, shapes and metadata that others can rely on, and the network read back from them alone."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from alexnet_keras.errors import DataError, NotFiniteError, UsageError
from alexnet_keras.interop.exported import exported_network
from alexnet_keras.interop.safetensors import read_safetensors, write_safetensors
from alexnet_keras.recipes.toml import load_recipe
from alexnet_keras.weights.formats import read_weights


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.safetensors"
    write_safetensors(exported_network(run), path)
    return path


def test_names_and_shapes(written, run):
    tensors = load_file(written)
    layers = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"]
    expected = {f"{layer}.{part}_{tower}" for layer in layers for part in ("kernel", "bias") for tower in "ab"}
    assert set(tensors) == expected | {"mean.mean", "fc8.kernel_a", "fc8.bias_a"}
    assert tensors["conv2.kernel_b"].shape == (5, 5, 6, 8) and tensors["mean.mean"].shape == (224, 224, 3)
    kernel = run.load_model().get_layer("conv2").kernels[1]
    assert np.array_equal(tensors["conv2.kernel_b"], kernel.numpy())


def test_it_is_written_as_any_file_is(run, tmp_path):
    (tmp_path / "plain").touch()
    write_safetensors(exported_network(run), tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
    with pytest.raises(FileNotFoundError):  # a full disk, too, raises what Python does
        write_safetensors(exported_network(run), tmp_path / "none" / "model.safetensors")


def test_metadata(written, run):
    with safe_open(written, framework="np") as file:
        metadata = file.metadata()
    assert metadata["format"] == "alexnet-keras weights, version 1"
    assert json.loads(metadata["titles"]) == ["Blau", "grün", "красный"]
    provenance = json.loads(metadata["provenance"])
    assert provenance["run"] == run.name and len(provenance["model_sha256"]) == 64


def test_the_file_is_all_that_is_needed(written, run):
    model, own = read_safetensors(written), run.load_model()
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), own.get_weights(), strict=True))
    assert np.array_equal(model.get_layer("mean").mean_image, own.get_layer("mean").mean_image)
    assert model.get_layer("color_noise").magnitudes == own.get_layer("color_noise").magnitudes


def test_an_export_that_is_imported_as_weights_is_named_as_what_it_is(written):
    with pytest.raises(DataError, match=r"is an export of this program's, .* import what `alexnet publish` writes"):
        read_weights(written, "safetensors", load_recipe("torchvision"))


def test_what_cannot_be_read_is_a_sentence(written, tmp_path):
    with pytest.raises(UsageError, match="no file"):
        read_safetensors(tmp_path / "none.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(written.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"cut\.safetensors cannot be used as alexnet-keras weights, version 1: "):
        read_safetensors(cut)
    with safe_open(written, framework="np") as file:
        metadata = file.metadata()
    save_file({"a": np.zeros(1)}, tmp_path / "other.safetensors")
    save_file({"mean.mean": np.zeros((1, 1, 3))}, tmp_path / "part.safetensors", metadata)
    tensors = load_file(written)
    save_file({**tensors, "fc7.bias_a": np.zeros(3)}, tmp_path / "shape.safetensors", metadata)
    save_file({**tensors, "foo": np.zeros(3, np.float32)}, tmp_path / "more.safetensors", metadata)
    save_file({**tensors, "fc8.bias_a": np.zeros(3, np.int32)}, tmp_path / "kind.safetensors", metadata)
    changed = {"names": '"abc"', "color": '{"magnitudes": [1], "vectors": [2]}'}
    for entry, value in changed.items():
        save_file(tensors, tmp_path / f"{entry}.safetensors", {**metadata, entry: value})
    for name in ("other", "part", "shape", "more", "kind", *changed):
        with pytest.raises(DataError, match="cannot be used as alexnet-keras weights, version 1: "):
            read_safetensors(tmp_path / f"{name}.safetensors")


def test_weights_that_are_not_finite_are_not_read(written, tmp_path):
    with safe_open(written, framework="np") as file:
        metadata = file.metadata()
    tensors = load_file(written)
    tensors["conv1.kernel_a"].flat[0] = np.nan
    save_file(tensors, tmp_path / "nan.safetensors", metadata)
    with pytest.raises(NotFiniteError, match=r"nan.safetensors has weights conv1/kernel_a that are not finite"):
        read_safetensors(tmp_path / "nan.safetensors")
