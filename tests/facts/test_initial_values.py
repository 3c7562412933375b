"""Rows 2.6 and 2.7: initial weights and biases of every layer, in both sources and in the published networks.

test_network.py has the weights themselves, of `source` at full size.
"""

import numpy as np
import pytest
from narrow import narrow

from alexnet_keras import AlexNet, load_recipe
from alexnet_keras.network.model import logits_of
from alexnet_keras.recipes.toml import with_overrides

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
STDS = {  # of N(0, std)
    "source": (0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01),
    "paper": (0.01,) * 8,
    "caffe": (0.01, 0.01, 0.01, 0.01, 0.01, 0.005, 0.005, 0.01),
    "caffenet": (0.01, 0.01, 0.01, 0.01, 0.01, 0.005, 0.005, 0.01),
}
BIASES = {
    "source": (0, 1, 0, 1, 1, 1, 1, 0),
    "paper": (0, 1, 0, 1, 1, 1, 1, 0),
    "caffe": (0, 0.1, 0, 0.1, 0.1, 0.1, 0.1, 0),
    "caffenet": (0, 1, 0, 1, 1, 1, 1, 0),
}


@pytest.mark.parametrize("recipe", STDS)
def test_the_initialisers_and_biases_of_every_layer(recipe):
    model = AlexNet(narrow(recipe), classes=3, seed=0)
    for name, std, bias in zip(LAYERS, STDS[recipe], BIASES[recipe], strict=True):
        layer = model.get_layer(name)
        assert type(layer.kernel_initializer).__name__ == "RandomNormal"
        assert (layer.kernel_initializer.mean, layer.kernel_initializer.stddev) == (0, std), name
        for biases in layer.biases:
            np.testing.assert_array_equal(biases.numpy(), np.float32(bias), err_msg=name)


def test_torchvisions_weights_are_as_wide_as_pytorchs_uniform_ones():
    """PyTorch draws them from +-1 / sqrt(inputs) of the layer: a standard deviation of 1 / sqrt(3 inputs)."""
    inputs = (11 * 11 * 3, 5 * 5 * 64, 3 * 3 * 192, 3 * 3 * 384, 3 * 3 * 256, 6 * 6 * 256, 4096)
    network = load_recipe("torchvision").network
    for layer, count in zip(network.layers[:-1], inputs, strict=True):
        assert layer.initial_std == pytest.approx(1 / np.sqrt(3 * count)), layer.name
    assert network.classifier.initial_std == pytest.approx(1 / np.sqrt(3 * 4096))
    model = AlexNet(narrow("torchvision"), classes=3, seed=0)
    assert not any(np.any(bias.numpy()) for name in LAYERS for bias in model.get_layer(name).biases)


@pytest.mark.slow
def test_the_spread_of_the_logits_at_the_start_depends_on_the_weights_and_on_the_scale_of_the_input():
    """Over synthetic images 0.137 with net 145's weights, 0.009 with the prose's, 0.0002 if pixels have variance 1.

    The figures are of other images than these and of all the dense neurons; their ratios, 15 and 45, are compared.
    """
    coarse = np.random.default_rng(0).integers(0, 256, (4, 7, 7, 3)).astype(np.uint8)
    images = coarse.repeat(32, axis=1).repeat(32, axis=2)

    def spread(name, *changes):
        recipe = with_overrides(load_recipe(name), ["network.fc6.units=256", "network.fc7.units=256", *changes])
        logits = logits_of(AlexNet(recipe, classes=50, seed=0))(images, training=False).numpy()
        return logits.std(axis=0).mean()

    source, paper = spread("source"), spread("paper")
    unit_variance = spread("paper", f"augmentation.input_scale={1 / 74.4}")  # the standard deviation of pixels
    assert 10 < source / paper < 22
    assert 30 < paper / unit_variance < 65
