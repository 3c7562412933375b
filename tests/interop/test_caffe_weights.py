"""Caffe's weights give Caffe's answers: groups, colours, mean image, normalisation over groups, layouts."""

import numpy as np
import pytest
from plain_networks import caffe_logits, random_arrays
from small_networks import CLASSES, DENSE, FILTERS, assert_same, crops, our_logits, small
from written_files import binaryproto, caffemodel, python_2_pickle, torontos_layers, write_npy, write_toronto

from alexnet_keras.interop.caffe_file import recipe_of_caffe
from alexnet_keras.interop.formats import CAFFE_MEAN
from alexnet_keras.interop.weights_in import import_network

SIDE = 227


@pytest.fixture(scope="module")
def arrays():
    return random_arrays(FILTERS["caffe"], DENSE)


@pytest.fixture(scope="module")
def mean():
    """(3, 256, 256), B, G, R."""
    random = np.random.default_rng(3)
    return (random.uniform(-10, 10, (3, 256, 256)) + np.array([104, 117, 123])[:, None, None]).astype(np.float32)


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("recipe", ["caffe", "caffenet"])
def test_an_imported_caffemodel_answers_as_caffe_does(recipe, old, arrays, mean, tmp_path):
    pool_first = recipe == "caffenet"
    path, mean_path = tmp_path / "net.caffemodel", tmp_path / "mean.binaryproto"
    path.write_bytes(caffemodel(arrays, old, pool_first))
    mean_path.write_bytes(binaryproto(mean, old))
    assert recipe_of_caffe(path) == recipe
    network = import_network(path, "caffe", recipe=small(recipe), mean=mean_path)
    pictures = crops(SIDE)
    centre = mean[:, 14 : 14 + SIDE, 14 : 14 + SIDE]
    expected = [caffe_logits(arrays, crop, centre, pool_first) for crop in pictures]
    assert_same(our_logits(network.model, pictures), expected)
    assert network.classes == CLASSES


def test_without_a_mean_image_the_mean_colour_is_subtracted(arrays, tmp_path):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffemodel(arrays))
    network = import_network(path, "caffe", recipe=small("caffe"))
    pictures = crops(SIDE)
    blue_first = np.array(CAFFE_MEAN)[::-1, None, None]
    assert_same(our_logits(network.model, pictures), [caffe_logits(arrays, crop, blue_first) for crop in pictures])


@pytest.mark.parametrize("protocol", [2, 4])
def test_torontos_file_answers_as_caffe_does(protocol, arrays, tmp_path):
    path = tmp_path / "bvlc_alexnet.npy"
    write_toronto(path, arrays, protocol)
    network = import_network(path, "toronto", recipe=small("caffe"))
    pictures = crops(SIDE)
    blue_first = np.array(CAFFE_MEAN)[::-1, None, None]
    assert_same(our_logits(network.model, pictures), [caffe_logits(arrays, crop, blue_first) for crop in pictures])


def test_torontos_file_as_python_2_wrote_it_answers_as_caffe_does(arrays, tmp_path):
    path = write_npy(tmp_path / "bvlc_alexnet.npy", python_2_pickle(torontos_layers(arrays)))
    network = import_network(path, "toronto", recipe=small("caffe"))
    pictures = crops(SIDE)
    blue_first = np.array(CAFFE_MEAN)[::-1, None, None]
    assert_same(our_logits(network.model, pictures), [caffe_logits(arrays, crop, blue_first) for crop in pictures])


def test_the_normalisation_reaches_over_the_groups(arrays, mean, tmp_path):
    """With windows inside towers the answers differ, so that the recipe's `windows` is needed and looked at above."""
    from alexnet_keras.recipe_files import with_overrides

    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffemodel(arrays))
    # an alpha that makes normalisation strong in so small a network
    whole = with_overrides(small("caffe"), ["network.lrn.alpha=0.1"])
    apart = with_overrides(whole, ["network.lrn.windows=tower"])
    answers = [our_logits(import_network(path, "caffe", recipe=recipe).model, crops(SIDE)) for recipe in (whole, apart)]
    assert np.abs(answers[0] - answers[1]).max() > 1e-3 * np.abs(answers[0]).max()


def test_the_network_is_caffes_in_pytorch_too(arrays, mean, tmp_path):
    torch = pytest.importorskip("torch")
    from torch.nn import functional as f

    path, mean_path = tmp_path / "net.caffemodel", tmp_path / "mean.binaryproto"
    path.write_bytes(caffemodel(arrays))
    mean_path.write_bytes(binaryproto(mean))
    network = import_network(path, "caffe", recipe=small("caffe"), mean=mean_path)
    pictures = crops(SIDE)
    w = {name: tuple(map(torch.from_numpy, pair)) for name, pair in arrays.items()}
    x = torch.from_numpy(pictures.transpose(0, 3, 1, 2)[:, ::-1].astype(np.float32))
    x = x - torch.from_numpy(mean[:, 14 : 14 + SIDE, 14 : 14 + SIDE])
    x = f.local_response_norm(f.relu(f.conv2d(x, *w["conv1"], stride=4)), 5, 1e-4, 0.75, 1.0)
    x = f.relu(f.conv2d(f.max_pool2d(x, 3, 2, ceil_mode=True), *w["conv2"], padding=2, groups=2))
    x = f.max_pool2d(f.local_response_norm(x, 5, 1e-4, 0.75, 1.0), 3, 2, ceil_mode=True)
    x = f.relu(f.conv2d(x, *w["conv3"], padding=1))
    x = f.relu(f.conv2d(x, *w["conv4"], padding=1, groups=2))
    x = f.max_pool2d(f.relu(f.conv2d(x, *w["conv5"], padding=1, groups=2)), 3, 2, ceil_mode=True).flatten(1)
    for name in ("fc6", "fc7"):
        x = f.relu(f.linear(x, *w[name]))
    assert_same(our_logits(network.model, pictures), f.linear(x, *w["fc8"]).numpy())


def test_training_with_the_plain_mask_sees_what_inverted_dropout_shows_in_caffe(arrays, tmp_path):
    """A neuron that is kept counts for twice as much there; here the kernels behind it are twice as large."""
    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffemodel(arrays))
    model = import_network(path, "caffe", recipe=small("caffe")).model
    kernels = np.concatenate([kernel.numpy() for kernel in model.get_layer("fc7").kernels], axis=1)
    np.testing.assert_array_equal(kernels, 2 * arrays["fc7"][0].T)
    np.testing.assert_array_equal(model.get_layer("fc8").kernels[0].numpy(), 2 * arrays["fc8"][0].T)


def test_the_first_kernels_are_rgb(arrays, tmp_path):
    from alexnet_keras.kernel_grid import first_kernels

    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffemodel(arrays))
    a, b = first_kernels(import_network(path, "caffe", recipe=small("caffe")).model)
    red_of_first = arrays["conv1"][0][0, 2]
    np.testing.assert_array_equal(a[:, :, 0, 0], red_of_first)
    np.testing.assert_array_equal(b[:, :, 2, 0], arrays["conv1"][0][6, 0])
