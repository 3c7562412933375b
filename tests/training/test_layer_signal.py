"""Signal and gradient of every layer, against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_keras import AlexNet
from alexnet_keras.experiments.variants import initialisation_variants
from alexnet_keras.recipes.toml import load_recipe, with_overrides
from alexnet_keras.training.diagnostics import measure_signal

pytestmark = pytest.mark.slow  # a network for every initialisation


random = np.random.default_rng(0)
IMAGES = random.integers(0, 256, (6, 224, 224, 3), np.uint8)
LABELS = np.array([0, 2, 1, 1, 0, 2])


def new(recipe):
    return AlexNet(recipe, classes=3, seed=0), recipe


@pytest.fixture(scope="module")
def measured(tiny):
    recipe = with_overrides(tiny, ["network.conv2.rate_factor=0.5"])
    model, _ = new(recipe)
    before = model.get_weights()
    found = {layer.name: layer for layer in measure_signal(model, recipe, IMAGES, LABELS)}
    for old, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
    return model, found


def values(model, name):
    """A layer's outputs in all towers, float64 `(images, units)`, without dropout."""
    outputs = keras.Model(model.input, model.get_layer(name).output)(IMAGES, training=False)
    towers = outputs if isinstance(outputs, list) else [outputs]
    return np.concatenate([np.reshape(tower, (len(IMAGES), -1)) for tower in towers], axis=1).astype(np.float64)


def kernels(model, name):
    return [kernel.numpy().astype(np.float64) for kernel in model.get_layer(name).kernels]


READ_NEXT = {"conv1": "relu1", "conv2": "pool2", "conv3": "relu3", "conv4": "relu4", "conv5": "pool5"}
READ_NEXT |= {"fc6": "drop6", "fc7": "drop7", "fc8": "fc8"}


@pytest.mark.parametrize(("layer", "read"), READ_NEXT.items())
def test_activations_are_those_that_the_next_layer_reads(measured, layer, read):
    model, found = measured
    units = values(model, read)
    signal = found[layer]
    assert signal.activation_std == pytest.approx(units.std(), rel=1e-4)
    assert signal.activation_size == pytest.approx(np.abs(units).mean(), rel=1e-4)
    assert signal.zeros == pytest.approx((units == 0).mean(), abs=1e-6)
    assert signal.spread == pytest.approx(units.std(axis=0).mean(), rel=1e-3)


def test_the_layers_come_in_the_order_of_the_network(measured):
    assert list(measured[1]) == list(READ_NEXT)


def test_gradients_are_those_of_the_mean_cross_entropy(measured):
    model, found = measured
    logits, hidden, read = values(model, "fc8"), values(model, "drop7"), values(model, "drop6")
    (last,) = kernels(model, "fc8")
    odds = np.exp(logits)
    slope = (odds / odds.sum(axis=1, keepdims=True) - np.eye(3)[LABELS]) / len(LABELS)
    assert found["fc8"].gradient_rms == pytest.approx(np.sqrt(np.mean((hidden.T @ slope) ** 2)), rel=1e-4)
    before = 0.5 * (slope @ last.T) * (hidden > 0)  # through dropout, which halves, and ReLU
    both = read.T @ before  # a column a neuron, of tower a and then of tower b: all read both towers
    assert found["fc7"].gradient_rms == pytest.approx(np.sqrt(np.mean(both**2)), rel=1e-4)


@pytest.mark.parametrize("layer", ["conv1", "conv3"])
def test_gradients_of_convolutions_are_how_the_loss_changes_with_their_weights(measured, layer):
    """The mean square of the change along random directions of +-1 is the gradient's sum of squares, about."""
    model, found = measured
    variables = model.get_layer(layer).kernels
    starts = [kernel.numpy() for kernel in variables]
    forward = tf.function(lambda images: model(images, training=False), autograph=False)
    step, directions = 0.01 * found[layer].weight_rms, np.random.default_rng(1)

    def loss_at(offsets):
        for kernel, start, offset in zip(variables, starts, offsets, strict=True):
            kernel.assign(start + step * offset)
        likely = forward(IMAGES).numpy().astype(np.float64)[np.arange(len(LABELS)), LABELS]
        return -np.log(likely).mean()

    slopes = []
    for _ in range(60):
        offsets = [directions.choice([-1.0, 1.0], start.shape) for start in starts]
        slopes.append((loss_at(offsets) - loss_at([-offset for offset in offsets])) / (2 * step))
    loss_at([0.0 * start for start in starts])
    count = sum(start.size for start in starts)
    assert np.sqrt(np.mean(np.square(slopes)) / count) == pytest.approx(found[layer].gradient_rms, rel=0.3)


def test_the_update_is_in_proportion_to_the_layers_own_rate(measured):
    model, found = measured
    for name, rate in (("conv1", 0.002), ("conv2", 0.001), ("fc8", 0.002)):
        weights = np.concatenate([kernel.ravel() for kernel in kernels(model, name)])
        signal = found[name]
        assert signal.weight_rms == pytest.approx(np.sqrt(np.mean(weights**2)), rel=1e-4)
        assert signal.rate == pytest.approx(rate)
        assert signal.update_ratio == pytest.approx(rate * signal.gradient_rms / signal.weight_rms)


def test_images_that_are_the_same_have_no_spread(tiny):
    found = measure_signal(*new(tiny), np.repeat(IMAGES[:1], 4, axis=0), LABELS[:4])
    assert all(layer.spread < 1e-4 * layer.activation_size < layer.activation_std for layer in found)


def test_towers_count_together_and_one_tower_is_measured_too(tiny):
    (*_, logits) = measure_signal(*new(with_overrides(tiny, ["network.towers=1"])), IMAGES, LABELS)
    assert logits.name == "fc8" and logits.spread > 0 and logits.gradient_rms > 0


@pytest.mark.slow
def test_the_prose_tells_images_apart_less_than_the_source_and_least_on_pixels_of_variance_1():
    """In quickstart's widths, whose layers add up enough inputs for differences this small to be more than rounding."""
    starts = initialisation_variants(load_recipe("quickstart"))
    spreads = {name: measure_signal(*new(recipe), IMAGES, LABELS)[-1].spread for name, recipe in starts.items()}
    assert spreads["source"] > 10 * spreads["paper"] > 100 * spreads["unit-variance"] > 0, spreads
