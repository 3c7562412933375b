"""Rows 2.2, 2.3 and 2.5: what both normalisations compute, against SciPy's windows in float64.

`scipy.ndimage.uniform_filter` gives the mean over a window with zeros outside the tensor. That mean is the released
code's convention, the sum divided by n or by size^2; times n it is the paper's. Gradients are compared with complex
steps through the same reference, which are exact to rounding.

tests/layers/test_layers_against_numpy.py has the formula with n = 5 written as loops, TensorFlow's own normalisation
(the sum convention), odd shapes, and windows that end at a tower's edge.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from narrow import narrow
from scipy.ndimage import uniform_filter, uniform_filter1d

from alexnet_keras import AlexNet
from alexnet_keras.layers import LocalResponseNormalization, SpatialResponseNormalization

random = np.random.default_rng(11)


def lrn(x, n, alpha, beta, k, convention="mean"):
    mean = uniform_filter1d(x**2, n, axis=-1, mode="constant")
    return x / (k + alpha * (mean if convention == "mean" else n * mean)) ** beta


def spatial(x, size, scale, beta, k):
    return x / (k + scale * uniform_filter(x**2, (1, size, size, 1), mode="constant")) ** beta


def gradient(function, x, upstream):
    """Of sum(function(x) * upstream), one complex step a number."""
    found = np.empty(x.size)
    for index in range(x.size):
        step = np.zeros(x.size, complex)
        step[index] = 1e-30j
        found[index] = np.sum(function(x + step.reshape(x.shape)) * upstream).imag / 1e-30
    return found.reshape(x.shape)


def written_gradient(layer, x, upstream):
    inputs = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = layer(inputs)
    return tape.gradient(output, inputs, tf.constant(upstream, tf.float32)).numpy()


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6 * np.abs(expected).max())


# Both sources have windows of 5, a power of 0.75 and constants of 2 and 1.
LRN = [(3, 0.01, 0.75, 0.7), (7, 0.003, 1.0, 3.0)]  # n, alpha, beta, k
SPATIAL = [(3, 0.02, 0.5, 2.5), (7, 0.05, 0.75, 0.6)]  # size, scale, beta, k


@pytest.mark.parametrize("convention", ["sum", "mean"])
@pytest.mark.parametrize(("n", "alpha", "beta", "k"), LRN)
def test_local_response_normalization_and_its_gradient(n, alpha, beta, k, convention):
    x = random.normal(0, 60, (2, 2, 3, 11))
    upstream = random.normal(size=x.shape)
    layer = LocalResponseNormalization(n, alpha, beta, k, convention)
    assert_close(layer(x.astype(np.float32)), lrn(x, n, alpha, beta, k, convention))
    expected = gradient(lambda x: lrn(x, n, alpha, beta, k, convention), x, upstream)
    assert_close(written_gradient(layer, x, upstream), expected)


@pytest.mark.parametrize(("size", "scale", "beta", "k"), SPATIAL)
def test_spatial_normalization_and_its_gradient(size, scale, beta, k):
    x = random.normal(0, 60, (2, 6, 5, 2))
    upstream = random.normal(size=x.shape)
    layer = SpatialResponseNormalization(size, scale, beta, k)
    assert_close(layer(x.astype(np.float32)), spatial(x, size, scale, beta, k))
    expected = gradient(lambda x: spatial(x, size, scale, beta, k), x, upstream)
    assert_close(written_gradient(layer, x, upstream), expected)


def of_two_towers(model, name, scale=300.0):
    """A normalisation of the built network, its inputs as a tower each (a, b) and its outputs in the same way."""
    a, b = random.normal(0, scale, (2, 2, 7, 7, 6))
    found = model.get_layer(name)([tf.constant(a, tf.float32), tf.constant(b, tf.float32)])
    return (a, b), [keras.ops.convert_to_numpy(x) for x in found]


# In net 145's terms alpha is divided by n = 5: 2e-5 of the sum. In the paper's it is not: 1e-4 of the sum.
@pytest.mark.parametrize(("recipe", "alpha_of_sum", "k"), [("source", 2e-5, 2.0), ("paper", 1e-4, 2.0)])
def test_the_recipes_normalise_five_maps_of_one_tower(recipe, alpha_of_sum, k):
    for x, found in zip(*of_two_towers(AlexNet(narrow(recipe), classes=2), "norm1"), strict=True):
        assert_close(found, lrn(x, 5, alpha_of_sum, 0.75, k, "sum"))


@pytest.mark.parametrize("recipe", ["caffe", "caffenet"])
def test_caffe_has_k_1_divides_by_n_and_looks_across_the_towers(recipe):
    (a, b), found = of_two_towers(AlexNet(narrow(recipe), classes=2), "norm1")
    assert_close(np.concatenate(found, -1), lrn(np.concatenate([a, b], -1), 5, 1e-4, 0.75, 1.0, "mean"))


@pytest.mark.parametrize("convention", ["sum", "mean"])
def test_a_recipe_reaches_every_number_of_the_normalisation_across_maps(convention):
    changes = [f"network.lrn.{change}" for change in ("n=3", "alpha=0.004", "beta=0.55", "k=1.6")]
    model = AlexNet(narrow("source", *changes, f"network.lrn.alpha_convention={convention}"), classes=2)
    for x, found in zip(*of_two_towers(model, "norm2"), strict=True):
        assert_close(found, lrn(x, 3, 0.004, 0.55, 1.6, convention))


def test_source_divides_each_map_by_its_5x5_neighbourhood():
    for x, found in zip(*of_two_towers(AlexNet(narrow("source"), classes=2), "spatial2"), strict=True):
        sums = 25 * uniform_filter(x**2, (1, 5, 5, 1), mode="constant")
        assert_close(found, x / (1 + 0.001 / 25 * sums) ** 0.75)


def test_a_recipe_reaches_every_number_of_the_spatial_normalisation():
    changes = [f"network.spatial_norm.{change}" for change in ("size=3", "scale=0.004", "beta=0.55", "k=1.6")]
    for x, found in zip(*of_two_towers(AlexNet(narrow("source", *changes), classes=2), "spatial2"), strict=True):
        assert_close(found, spatial(x, 3, 0.004, 0.55, 1.6))


@pytest.mark.parametrize("recipe", ["paper", "caffe", "caffenet"])
def test_only_the_released_code_has_a_spatial_normalisation(recipe):
    names = {layer.name for layer in AlexNet(narrow(recipe), classes=2).layers}
    assert {"norm1", "norm2"} <= names and "spatial2" not in names
