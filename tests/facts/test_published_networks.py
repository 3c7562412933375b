"""Section 4: the networks of Caffe and torchvision as built from their recipes, in numbers.

tests/interop/test_caffe_weights.py and tests/interop/test_torchvision_weights.py have the whole forward passes in NumPy
and PyTorch (groups, BGR, the mean image's centre, pool before norm, normalisation over the groups);
test_normalization.py k = 1 and the division by n; test_initial_values.py the initial weights and biases;
test_learning_rates.py the schedules; tests/data/test_ilsvrc_source.py the two orders of ImageNet's classes.
"""

import pytest

from alexnet_keras import AlexNet, load_recipe
from alexnet_keras.network.summary import summarize
from alexnet_keras.recipes.toml import with_overrides


def wide(name):
    """The network of a recipe with all its kernels and few neurons, which are most of the weights."""
    return AlexNet(with_overrides(load_recipe(name), ["network.fc6.units=6", "network.fc7.units=5"]), classes=3)


def shapes(model):
    """(output of each tower, kernel) of every layer with weights."""
    return {each.name: (each.output, tuple(model.get_layer(each.name).kernels[0].shape)) for each in summarize(model)}


@pytest.mark.parametrize(
    ("name", "first"), [("caffe", ["relu1", "norm1", "pool1"]), ("caffenet", ["relu1", "pool1", "norm1"])]
)
def test_caffe_and_caffenet(name, first):
    model = wide(name)
    assert model.input_shape == (None, 227, 227, 3)
    assert shapes(model) == {
        "conv1": ((55, 55, 48), (11, 11, 3, 48)),
        "conv2": ((27, 27, 128), (5, 5, 48, 128)),
        "conv3": ((13, 13, 192), (3, 3, 256, 192)),
        "conv4": ((13, 13, 192), (3, 3, 192, 192)),
        "conv5": ((13, 13, 128), (3, 3, 192, 128)),
        "fc6": ((6,), (9216, 6)),
        "fc7": ((5,), (12, 5)),
        "fc8": ((3,), (10, 3)),
    }
    second = [each.replace("1", "2") for each in first]
    names = [layer.name for layer in model.layers]
    assert names[names.index("conv1") : names.index("fc6")] == [
        "conv1", *first, "conv2", *second, "conv3", "relu3", "conv4", "relu4", "conv5", "relu5", "pool5", "flatten",
    ]  # fmt: skip
    assert "color_noise" not in {layer.name for layer in model.layers}, "no relighting"
    assert (model.get_layer("pool1").layer.pool_size, model.get_layer("pool1").layer.strides) == ((3, 3), (2, 2))


def test_torchvision_is_one_tower_of_64_192_384_256_256_without_normalisation():
    model = wide("torchvision")
    assert shapes(model) == {
        "conv1": ((55, 55, 64), (11, 11, 3, 64)),
        "conv2": ((27, 27, 192), (5, 5, 64, 192)),
        "conv3": ((13, 13, 384), (3, 3, 192, 384)),
        "conv4": ((13, 13, 256), (3, 3, 384, 256)),
        "conv5": ((13, 13, 256), (3, 3, 256, 256)),
        "fc6": ((6,), (9216, 6)),
        "fc7": ((5,), (6, 5)),
        "fc8": ((3,), (5, 3)),
    }
    assert model.input_shape == (None, 224, 224, 3)
    assert all(len(getattr(layer, "kernels", [0])) == 1 for layer in model.layers), "no groups"
    names = [layer.name for layer in model.layers]
    assert names[names.index("conv1") : names.index("fc6")] == [
        "conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "conv3", "relu3", "conv4", "relu4", "conv5", "relu5",
        "pool5", "flatten",
    ]  # fmt: skip


def test_torchvision_has_61_100_840_parameters():
    """Of which the dense layers, counted here and not built, have 58,631,144."""
    convolutions = sum(each.parameters for each in summarize(wide("torchvision")) if each.name.startswith("conv"))
    assert convolutions == 2_469_696
    assert [layer.units for layer in load_recipe("torchvision").network.dense] == [4096, 4096]
    assert convolutions + 9217 * 4096 + 4097 * 4096 + 4097 * 1000 == 61_100_840


@pytest.mark.parametrize(
    ("name", "top1", "top5"),
    [("caffe", "57.1 %", "80.2 %"), ("caffenet", "57.4 %", "80.4 %"), ("torchvision", "56.522 %", "79.066 %")],
)
def test_the_summaries_tell_the_published_accuracies(name, top1, top5):
    assert f"{top1} top-1, {top5} top-5 accuracy" in load_recipe(name).summary


@pytest.mark.parametrize(
    ("name", "momentum", "decay", "bias_decay"),
    [("caffe", 0.9, 0.0005, 0.0), ("caffenet", 0.9, 0.0005, 0.0), ("torchvision", 0.9, 1e-4, 1e-4)],
)
def test_how_they_were_trained(name, momentum, decay, bias_decay):
    training = load_recipe(name).training
    assert (training.momentum, training.weight_decay, training.bias_decay) == (momentum, decay, bias_decay)
