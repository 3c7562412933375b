"""What follows from the sizes in a recipe, against arithmetic from the paper and against the network itself."""

from dataclasses import replace

import pytest

from alexnet_keras import AlexNet
from alexnet_keras.network.summary import summarize
from alexnet_keras.recipes.geometry import fan_ins, operations
from alexnet_keras.recipes.toml import load_recipe, with_overrides

# Output positions, kernels of both towers, and the inputs of one kernel: paper, section 3.5 and figure 2.
CONV1 = 55 * 55 * 96 * (11 * 11 * 3)
OTHERS = (
    27 * 27 * 256 * (5 * 5 * 48)
    + 13 * 13 * 384 * (3 * 3 * 256)
    + 13 * 13 * 384 * (3 * 3 * 192)
    + 13 * 13 * 256 * (3 * 3 * 192)
    + 4096 * (6 * 6 * 256)
    + 4096 * 4096
    + 1000 * 4096
)


def test_the_forward_pass_is_two_operations_a_multiply_add():
    counted = operations(load_recipe("source"), 1000, training=False)
    assert counted == 2 * (CONV1 + OTHERS)
    assert counted == pytest.approx(1.45e9, rel=0.005)


def test_training_adds_two_gradients_and_none_for_the_image():
    counted = operations(load_recipe("source"), 1000, training=True)
    assert counted == 2 * (2 * CONV1 + 3 * OTHERS)
    assert counted == pytest.approx(4.13e9, rel=0.005)


def test_a_network_in_one_tower_is_counted_as_well(tiny):
    conv1 = 55 * 55 * 6 * (11 * 11 * 3)
    others = 27 * 27 * 8 * (25 * 6) + 13 * 13 * (8 * 9 * 8 * 2 + 6 * 9 * 8) + 16 * (36 * 6) + 12 * 16 + 3 * 12
    one = with_overrides(tiny, ["network.towers=1"])
    assert operations(one, 3, training=True) == 2 * (2 * conv1 + 3 * others)


@pytest.mark.parametrize("name", ["quickstart", "caffenet", "torchvision"])
def test_operations_of_a_recipe_are_those_of_its_network(name):
    layers = summarize(AlexNet(name, classes=37))
    assert operations(load_recipe(name), 37, training=False) == 2 * sum(layer.multiply_adds for layer in layers)
    assert [layer.reads for layer in layers].index("image") == 0 and layers[1].reads != "image"


def test_a_layer_that_pools_twice_leaves_smaller_maps():
    net = load_recipe("source").network
    conv1, *others = net.convolutions
    twice = replace(net, convolutions=(replace(conv1, followed_by=(*conv1.followed_by, "pool")), *others))
    assert (fan_ins(net)["fc6"], fan_ins(twice)["fc6"]) == (6 * 6 * 256, 2 * 2 * 256)


def test_what_neurons_read_of_one_tower_or_of_all():
    net = load_recipe("torchvision").network
    assert fan_ins(net) == {
        "conv1": 363, "conv2": 1600, "conv3": 1728, "conv4": 3456, "conv5": 2304, "fc6": 9216, "fc7": 4096, "fc8": 4096,
    }  # fmt: skip
    own = with_overrides(load_recipe("source"), ["network.fc6.reads=own", "network.fc7.units=7"]).network
    assert fan_ins(own) == {
        "conv1": 363, "conv2": 1200, "conv3": 2304, "conv4": 1728, "conv5": 1728, "fc6": 4608, "fc7": 4096, "fc8": 14,
    }  # fmt: skip
    twice = ["network.conv4.followed_by=['relu', 'pool', 'pool']", "network.conv5.followed_by=['relu']"]
    assert fan_ins(with_overrides(load_recipe("source"), twice).network)["fc6"] == 2 * 2 * 256  # 13, 6 and 2 pixels
