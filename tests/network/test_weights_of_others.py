"""`AlexNet(weights=...)` with ImageNet's published weights, and with the files of other frameworks."""

import warnings

import numpy as np
import pytest
from plain_networks import random_arrays, torchvision_logits
from published_files import publish_torchvision
from small_networks import CLASSES, DENSE, FILTERS, assert_same, crops, our_logits, small
from torch_networks import torch_alexnet, torch_logits
from written_files import caffemodel, state_names, write_caffe_hdf5, write_pth, write_safetensors, write_toronto

from alexnet_keras import AlexNet
from alexnet_keras.errors import DataError, NotFiniteError, UsageError
from alexnet_keras.interop.import_run import import_network
from alexnet_keras.reporter import ProgressBar
from alexnet_keras.weights.formats import FORMATS

ARRAYS = random_arrays(FILTERS["torchvision"], DENSE, groups=1)
CAFFES = random_arrays(FILTERS["caffe"], DENSE)


def write_caffemodel(path, arrays):
    path.write_bytes(caffemodel(arrays))


def write_states(path, arrays):
    write_pth(path, state_names(arrays))


def write_safe_states(path, arrays):
    write_safetensors(path, state_names(arrays))


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A small network as torchvision's published weights."""
    publish_torchvision(monkeypatch, tmp_path / "torch", lambda path: write_states(path, ARRAYS))


@pytest.mark.slow
def test_the_whole_network_by_name_answers_as_in_pytorch(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    theirs = torch_alexnet()
    publish_torchvision(monkeypatch, tmp_path, lambda path: torch.save(theirs.state_dict(), path))
    model = AlexNet("torchvision", weights="imagenet")
    assert model.count_params() - 3 * 224 * 224 == 61_100_840
    assert_same(our_logits(model, crops(224)), torch_logits(theirs, crops(224)))


@pytest.mark.parametrize("weights", ["imagenet", "torchvision"])
def test_published_weights_answer_as_where_they_are_of(weights, published):
    model = AlexNet(small("torchvision"), weights=weights, classes=CLASSES)
    images = crops(224)
    assert_same(our_logits(model, images), [torchvision_logits(ARRAYS, crop) for crop in images])


@pytest.mark.parametrize("other", [{"classes": 3}, {"include_top": False}])
def test_for_other_classes_or_none_all_but_the_classifier_is_loaded(other, published):
    whole = AlexNet(small("torchvision"), weights="imagenet", classes=CLASSES)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = AlexNet(small("torchvision"), weights="imagenet", seed=3, **other)
    initial = AlexNet(small("torchvision"), seed=3, **other)
    assert [("has other classes" in str(each.message)) for each in said] == [True] * ("classes" in other)
    for layer in model.layers:
        expected = initial if layer.name == "fc8" else whole
        for ours, theirs in zip(layer.get_weights(), expected.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_recipes_for_which_nobody_published_weights_name_those_with_some(tiny, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"ImageNet weights exist for the recipes torchvision, caffe, caffenet. Rec"):
        AlexNet(tiny, weights="imagenet")


def test_a_path_is_a_file_even_if_it_is_called_like_published_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_states(tmp_path / "torchvision", ARRAYS)
    model = AlexNet(small("torchvision"), weights="./torchvision", classes=CLASSES)
    assert_same(our_logits(model, crops(224)), [torchvision_logits(ARRAYS, crop) for crop in crops(224)])


@pytest.mark.parametrize(
    ("name", "recipe", "kind", "write", "arrays"),
    [
        ("net.pth", "torchvision", "torchvision", write_states, ARRAYS),
        ("net.safetensors", "torchvision", "safetensors", write_safe_states, ARRAYS),
        ("net.caffemodel", "caffe", "caffe", write_caffemodel, CAFFES),
        ("net.caffemodel.h5", "caffenet", "caffe", write_caffe_hdf5, CAFFES),
        ("net.npy", "caffe", "toronto", write_toronto, CAFFES),
    ],
)
def test_a_file_that_import_takes_gives_the_network_that_import_makes(name, recipe, kind, write, arrays, tmp_path):
    write(tmp_path / name, arrays)
    imported = import_network(tmp_path / name, kind, recipe=small(recipe)).model
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = AlexNet(small(recipe), weights=tmp_path / name, classes=CLASSES)
    for ours, theirs in zip(model.get_weights(), imported.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_mean_image_that_is_given_stays(tmp_path):
    write_caffemodel(tmp_path / "net.caffemodel", CAFFES)
    given = np.random.default_rng(0).uniform(90, 130, (256, 256, 3)).astype(np.float32)
    for mean, expected in ((given, given[14:-15, 14:-15]), (None, np.float32(FORMATS["caffe"].mean))):
        model = AlexNet(small("caffe"), weights=tmp_path / "net.caffemodel", classes=CLASSES, mean_image=mean)
        found = model.get_layer("mean").mean_image
        np.testing.assert_array_equal(found, np.broadcast_to(expected, found.shape))


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_mean_image_that_is_given_stays_with_keras_own_files(tmp_path, suffix):
    theirs, ours = (np.random.default_rng(seed).uniform(90, 130, (256, 256, 3)).astype(np.float32) for seed in (0, 1))
    trained = AlexNet(small("source"), classes=CLASSES, mean_image=theirs)
    file = tmp_path / f"model{suffix}"
    trained.save(file) if suffix == ".keras" else trained.save_weights(file)
    for given, expected in ((ours, ours), (None, theirs)):
        model = AlexNet(small("source"), weights=file, classes=CLASSES, mean_image=given)
        np.testing.assert_array_equal(model.get_layer("mean").mean_image, expected[16:-16, 16:-16])
        np.testing.assert_array_equal(model.get_layer("conv1").kernels[0], trained.get_layer("conv1").kernels[0])


def test_the_same_weights_in_another_network_are_warned_of(tmp_path):
    write_caffemodel(tmp_path / "net.caffemodel", CAFFES)
    said = r"something else with them \(network.conv1.followed_by is relu, lrn, pool .*: the recipe caffe has that one"
    with pytest.warns(UserWarning, match=said):
        AlexNet(small("caffenet"), weights=tmp_path / "net.caffemodel", classes=CLASSES)


def test_a_download_shows_the_progress_bar_of_keras(capsys):
    with ProgressBar().progress("downloading", 244, "MB", done=100) as advance:
        advance(0)
        advance(144)
    shown = capsys.readouterr().out
    assert "100/244" in shown and "244/244" in shown
    with pytest.warns(UserWarning, match="not the published file"):
        ProgressBar().warn("a.pth is not the published file")


def test_what_is_no_weights_is_refused(tmp_path):
    def refused(name, content):
        (tmp_path / name).write_bytes(content)
        with pytest.raises((DataError, UsageError)) as error:
            AlexNet(small("torchvision"), weights=tmp_path / name, classes=CLASSES)
        return type(error.value), str(error.value).replace(f"{tmp_path}/", "")

    assert refused("a.pth", b"<!doctype html>")[1].startswith("a.pth is a web page (HTML)")
    assert refused("a.npz", b"") == (DataError, "a.npz is empty: copy or download it again.")
    kind, said = refused("a.bin", b"\0\1\2")
    assert kind is UsageError and said.startswith("The name of a.bin does not say what wrote it")
    kind, said = refused("a.caffemodel", caffemodel(CAFFES))
    assert kind is DataError and said.endswith("12×3×11×11 and the recipe torchvision has 8×3×11×11 there.")
    with pytest.raises(UsageError, match=r"https://example.org/a.pth is a URL"):
        AlexNet(small("torchvision"), weights="https://example.org/a.pth")
    with pytest.raises(UsageError, match=r"There is no file torchvison, .* Did you mean torchvision\?"):
        AlexNet(small("torchvision"), weights="torchvison")


@pytest.mark.parametrize("layer", ["conv1", "conv5", "fc6", "fc8"])
@pytest.mark.parametrize(("value", "suffix"), [(np.nan, ".keras"), (np.nan, ".weights.h5"), (np.inf, ".weights.h5")])
def test_weights_that_are_not_finite_are_refused_wherever_they_are(layer, value, suffix, tmp_path):
    """Of conv1 to fc7 TensorFlow's rectifiers and pooling would make finite probabilities of them, on processors."""
    damaged, file = AlexNet(small("source"), classes=CLASSES), tmp_path / f"model{suffix}"
    kernel = damaged.get_layer(layer).kernels[0]
    numbers = kernel.numpy()
    numbers.flat[0] = value
    kernel.assign(numbers)
    damaged.save(file) if suffix == ".keras" else damaged.save_weights(file)
    with pytest.raises(NotFiniteError, match=rf"model{suffix} has weights {layer}/kernel_a that are not finite"):
        AlexNet(small("source"), weights=file, classes=CLASSES)


def test_a_layer_of_which_a_part_has_another_shape_is_not_loaded(tmp_path):
    """Keras assigns the kernel, and leaves the rest of the layer as it was."""
    h5py = pytest.importorskip("h5py")
    file = tmp_path / "model.weights.h5"
    AlexNet(small("source"), classes=CLASSES).save_weights(file)
    with h5py.File(file, "r+") as content:
        del content["layers/tower_conv2d/vars/1"]  # conv1's first bias
        content["layers/tower_conv2d/vars/1"] = np.zeros(99, np.float32)
    with pytest.raises(DataError, match=r"is of another network: it has no conv1 of the same shape"):
        AlexNet(small("source"), weights=file, classes=CLASSES)
