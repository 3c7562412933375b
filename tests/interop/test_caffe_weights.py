"""Caffe's weights give Caffe's answers: groups, colours, mean image, normalisation over groups, layouts."""

import numpy as np
import pytest
from plain_networks import caffe_logits, random_arrays
from small_networks import CLASSES, DENSE, FILTERS, assert_same, crops, our_logits, small
from tiers import rest_slow
from written_files import (
    binaryproto,
    caffemodel,
    python_2_pickle,
    torontos_layers,
    write_caffe_hdf5,
    write_caffemodel,
    write_npy,
    write_old_caffemodel,
    write_toronto,
)

from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.interop.import_run import import_network
from alexnet_keras.weights.caffe import read_caffe_mean, recipe_of_caffe
from alexnet_keras.weights.formats import CAFFE_MEAN, FORMATS

SIDE = 227


@pytest.fixture(scope="module")
def arrays():
    return random_arrays(FILTERS["caffe"], DENSE)


@pytest.fixture(scope="module")
def mean():
    """(3, 256, 256), B, G, R."""
    random = np.random.default_rng(3)
    return (random.uniform(-10, 10, (3, 256, 256)) + np.array([104, 117, 123])[:, None, None]).astype(np.float32)


@pytest.mark.parametrize("old", rest_slow((False, True)))
@pytest.mark.parametrize("recipe", ["caffe", "caffenet"])
def test_an_imported_caffemodel_answers_as_caffe_does(recipe, old, arrays, mean, tmp_path):
    pool_first = recipe == "caffenet"
    path, mean_path = tmp_path / "net.caffemodel", tmp_path / "mean.binaryproto"
    path.write_bytes(caffemodel(arrays, old, pool_first))
    mean_path.write_bytes(binaryproto(mean, old))
    assert recipe_of_caffe(path) == recipe
    network = import_network(path, "caffe", recipe=small(recipe), mean=mean_path)
    images = crops(SIDE)
    centre = mean[:, 14 : 14 + SIDE, 14 : 14 + SIDE]
    expected = [caffe_logits(arrays, crop, centre, pool_first) for crop in images]
    assert_same(our_logits(network.model, images), expected)
    assert network.classes == CLASSES


def test_without_a_mean_image_the_mean_colour_is_subtracted(arrays, tmp_path):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffemodel(arrays))
    network = import_network(path, "caffe", recipe=small("caffe"))
    images = crops(SIDE)
    blue_first = np.array(CAFFE_MEAN)[::-1, None, None]
    assert_same(our_logits(network.model, images), [caffe_logits(arrays, crop, blue_first) for crop in images])


def assert_read(path, arrays):
    """Whether a file's arrays are these, bit by bit; returns what is said of how it was read."""
    weights, notes = FORMATS["caffe"].weights(path, small("caffe"))
    for name, pair in arrays.items():
        for found, array in zip(weights[name], pair, strict=True):
            np.testing.assert_array_equal(found, array)
    return notes


@pytest.mark.parametrize("numbers", ["data", "double_data", "raw 0", "raw 1", "raw 2"])
@pytest.mark.parametrize("old", [2013, True, False])
def test_every_generation_of_files_and_their_numbers_is_read(numbers, old, arrays, tmp_path):
    """float64, as Caffe in double precision has them, and NVIDIA's raw data: its types 0, 1, 2 are <f8, <f4, <f2."""
    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffemodel(arrays, old, numbers=numbers, pool_first=True))
    assert recipe_of_caffe(path) == "caffenet"
    half = numbers == "raw 2"
    assert_read(path, {name: [a.astype("<f2" if half else "<f4") for a in pair] for name, pair in arrays.items()})


@pytest.mark.parametrize("write", [write_caffemodel, write_old_caffemodel, write_caffe_hdf5, write_toronto])
def test_a_fine_tuned_last_layer_may_have_another_name(write, arrays, tmp_path):
    path = tmp_path / "net"
    tuned = {("fc8_flickr" if name == "fc8" else name): pair for name, pair in arrays.items()}
    write(path, tuned)
    weights, notes = FORMATS["toronto" if write is write_toronto else "caffe"].weights(path, small("caffe"))
    kernel = weights["fc8"][0]
    np.testing.assert_array_equal(kernel.T if write is write_toronto else kernel, arrays["fc8"][0])
    assert notes == ["Read 'fc8_flickr[0]' and 'fc8_flickr[1]' as the last layer, in place of 'fc8[0]' and 'fc8[1]'."]
    write(path, {**tuned, "fc8_flickr": tuple(array[:1] for array in tuned["fc8_flickr"])})  # a single class
    assert FORMATS["toronto" if write is write_toronto else "caffe"].weights(path, small("caffe"))[0]["fc8"][
        1
    ].shape == (1,)


def test_two_last_layers_or_one_of_another_shape_are_none(arrays, tmp_path):
    path = tmp_path / "net.caffemodel"
    rest = {name: pair for name, pair in arrays.items() if name != "fc8"}
    kernel, bias = arrays["fc8"]
    for heads in (
        {"fc8_a": (kernel, bias), "fc8_b": (kernel, bias)},
        {"fc8_a": (kernel[:, 1:], bias)},
        {"a": (kernel,)},
    ):
        path.write_bytes(caffemodel(rest | heads))
        with pytest.raises(DataError, match="lacks the arrays 'fc8"):
            assert_read(path, {})


@pytest.mark.parametrize("legacy_shapes", [True, False])
def test_weights_in_hdf5_are_read_and_do_not_name_their_recipe(legacy_shapes, arrays, tmp_path):
    path = write_caffe_hdf5(tmp_path / "net.caffemodel.h5", arrays, legacy_shapes)
    assert not assert_read(path, arrays)
    with pytest.raises(UsageError, match="say --recipe caffe or --recipe caffenet"):
        recipe_of_caffe(path)


MEAN_FILES = {
    "image.npy": lambda mean: mean.astype(np.float64),
    "batch.npy": lambda mean: mean[None].astype(np.float32),
    "crop.npy": lambda mean: mean[:, 14 : 14 + SIDE, 14 : 14 + SIDE],
    "color.npy": lambda mean: mean.mean(axis=(1, 2)),
    "color.binaryproto": lambda mean: mean.mean(axis=(1, 2))[:, None, None],
}


@pytest.mark.parametrize("name", MEAN_FILES)
def test_a_mean_may_be_numpys_or_a_colour(name, mean, tmp_path):
    path, numbers = tmp_path / name, MEAN_FILES[name](mean)
    np.save(path, numbers) if path.suffix == ".npy" else path.write_bytes(binaryproto(numbers))
    found = read_caffe_mean(path, SIDE)
    if "color" in name:
        np.testing.assert_allclose(found, mean.mean(axis=(1, 2))[::-1], rtol=1e-6)
    else:
        shown = mean[:, 14 : 14 + SIDE, 14 : 14 + SIDE] if name == "crop.npy" else mean
        np.testing.assert_array_equal(found, shown.transpose(1, 2, 0)[:, :, ::-1])
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (np.zeros((256, 256, 3)), "256×256×3, and no mean image"),  # whose colours could be in either order
        (np.zeros((3, 200, 227)), "3×200×227, and no mean image"),
        (np.full((3, 256, 256), np.nan), "not all from 0 to 255"),
        (np.full(3, 300.0), "not all from 0 to 255"),
        (np.full(3, 1e300), "not all from 0 to 255"),
        (np.array([0.406, 0.456, 0.485]), "its numbers are 0 to 0.485, and pixels 0 to 255: multiply them by 255"),
        (np.array({"mean": 3}, dtype=object), "Python objects"),
        (np.zeros((3, 4000, 4000), bool), "larger than any mean image"),
    ],
)
def test_what_is_no_mean_in_numpys_file_is_refused(numbers, said, tmp_path):
    np.save(tmp_path / "mean.npy", numbers)
    with pytest.raises(DataError, match=said):
        read_caffe_mean(tmp_path / "mean.npy", SIDE)


@pytest.mark.parametrize("protocol", [2, 4, "Python 2's"])
def test_torontos_file_answers_as_caffe_does(protocol, arrays, tmp_path):
    path = tmp_path / "bvlc_alexnet.npy"
    if protocol == "Python 2's":
        write_npy(path, python_2_pickle(torontos_layers(arrays)))
    else:
        write_toronto(path, arrays, protocol)
    network = import_network(path, "toronto", recipe=small("caffe"))
    images = crops(SIDE)
    blue_first = np.array(CAFFE_MEAN)[::-1, None, None]
    assert_same(our_logits(network.model, images), [caffe_logits(arrays, crop, blue_first) for crop in images])


def test_the_normalisation_reaches_over_the_groups(arrays, mean, tmp_path):
    """With windows inside towers the answers differ, so that the recipe's `windows` is needed and looked at above."""
    from alexnet_keras.recipes.toml import with_overrides

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
    images = crops(SIDE)
    w = {name: tuple(map(torch.from_numpy, pair)) for name, pair in arrays.items()}
    x = torch.from_numpy(images.transpose(0, 3, 1, 2)[:, ::-1].astype(np.float32))
    x = x - torch.from_numpy(mean[:, 14 : 14 + SIDE, 14 : 14 + SIDE])
    x = f.local_response_norm(f.relu(f.conv2d(x, *w["conv1"], stride=4)), 5, 1e-4, 0.75, 1.0)
    x = f.relu(f.conv2d(f.max_pool2d(x, 3, 2, ceil_mode=True), *w["conv2"], padding=2, groups=2))
    x = f.max_pool2d(f.local_response_norm(x, 5, 1e-4, 0.75, 1.0), 3, 2, ceil_mode=True)
    x = f.relu(f.conv2d(x, *w["conv3"], padding=1))
    x = f.relu(f.conv2d(x, *w["conv4"], padding=1, groups=2))
    x = f.max_pool2d(f.relu(f.conv2d(x, *w["conv5"], padding=1, groups=2)), 3, 2, ceil_mode=True).flatten(1)
    for name in ("fc6", "fc7"):
        x = f.relu(f.linear(x, *w[name]))
    assert_same(our_logits(network.model, images), f.linear(x, *w["fc8"]).numpy())


def test_the_first_kernels_are_rgb(arrays, tmp_path):
    from alexnet_keras.network.kernels import first_kernels

    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffemodel(arrays))
    a, b = first_kernels(import_network(path, "caffe", recipe=small("caffe")).model)
    red_of_first = arrays["conv1"][0][0, 2]
    np.testing.assert_array_equal(a[:, :, 0, 0], red_of_first)
    np.testing.assert_array_equal(b[:, :, 2, 0], arrays["conv1"][0][6, 0])
