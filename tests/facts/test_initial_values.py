"""Rows 2.6 and 2.7: initial weights and biases of every layer, in both sources and in Caffe's two networks."""

import numpy as np
import pytest

from alexnet_keras import AlexNet

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


def test_the_weights_of_source_at_full_size(full_source):
    for name, std, bias in zip(LAYERS, STDS["source"], BIASES["source"], strict=True):
        layer = full_source.get_layer(name)
        for kernel, biases in zip(layer.kernels, layer.biases, strict=True):
            numbers = kernel.numpy().ravel()[:400_000]
            assert np.std(numbers) == pytest.approx(std, rel=0.02), kernel.path
            assert abs(np.mean(numbers)) < 4 * std / np.sqrt(len(numbers)), kernel.path
            assert np.mean(np.abs(numbers) < std) == pytest.approx(0.6827, abs=0.02), "normal"
            assert np.abs(numbers).max() > 3 * std, "not truncated"
            np.testing.assert_array_equal(biases.numpy(), bias, err_msg=kernel.path)


@pytest.mark.parametrize("recipe", STDS)
def test_the_initialisers_and_biases_of_every_layer(recipe, narrow):
    model = AlexNet(narrow(recipe), classes=3, seed=0)
    for name, std, bias in zip(LAYERS, STDS[recipe], BIASES[recipe], strict=True):
        layer = model.get_layer(name)
        assert type(layer.kernel_initializer).__name__ == "RandomNormal"
        assert (layer.kernel_initializer.mean, layer.kernel_initializer.stddev) == (0, std), name
        for biases in layer.biases:
            np.testing.assert_array_equal(biases.numpy(), np.float32(bias), err_msg=name)


def test_torchvisions_weights_are_as_wide_as_pytorchs_uniform_ones(narrow):
    """PyTorch draws them from +-1 / sqrt(inputs) of the layer: a standard deviation of 1 / sqrt(3 inputs)."""
    from alexnet_keras import load_recipe

    inputs = (11 * 11 * 3, 5 * 5 * 64, 3 * 3 * 192, 3 * 3 * 384, 3 * 3 * 256, 6 * 6 * 256, 4096)
    network = load_recipe("torchvision").network
    for layer, count in zip((*network.convolutions, *network.dense), inputs, strict=True):
        assert layer.initial_std == pytest.approx(1 / np.sqrt(3 * count)), layer.name
    assert network.classifier_std == pytest.approx(1 / np.sqrt(3 * 4096))
    model = AlexNet(narrow("torchvision"), classes=3, seed=0)
    assert not any(np.any(bias.numpy()) for name in LAYERS for bias in model.get_layer(name).biases)
