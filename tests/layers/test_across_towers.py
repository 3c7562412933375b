"""Caffe's normalisation looks at the kernel maps of all towers side by side."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_keras import AlexNet
from alexnet_keras.backend import tower_devices
from alexnet_keras.layers import AcrossTowers, LocalResponseNormalization
from alexnet_keras.recipes.toml import with_overrides


def test_windows_reach_over_the_towers_edge():
    a, b = np.random.default_rng(0).normal(0, 30, (2, 2, 5, 5, 6)).astype(np.float32)
    lrn = LocalResponseNormalization(5, 1e-2)
    towers = AcrossTowers(LocalResponseNormalization(5, 1e-2))([a, b])
    np.testing.assert_allclose(np.concatenate(towers, -1), lrn(np.concatenate([a, b], -1)), rtol=1e-6)
    assert not np.allclose(towers[0], lrn(a), rtol=1e-3)


@pytest.mark.parametrize("layer", [LocalResponseNormalization(3, 1e-2), keras.layers.Activation("relu")])
def test_one_tower_is_the_layer_itself(layer):
    x = np.random.default_rng(0).normal(0, 9, (2, 5, 5, 6)).astype(np.float32)
    np.testing.assert_array_equal(AcrossTowers(layer)([x])[0], layer(x))


def test_two_devices_compute_the_same_forward_and_backward():
    tensors = [tf.constant(x) for x in np.random.default_rng(0).normal(0, 30, (2, 2, 5, 5, 6)).astype(np.float32)]

    def answers(layer):
        @tf.function
        def compute(a, b):
            with tf.GradientTape() as tape:
                tape.watch([a, b])
                first, second = layer([a, b])
                loss = tf.reduce_sum(first**2) + tf.reduce_sum(second**3)
            return first, second, *tape.gradient(loss, [a, b])

        return compute(*tensors)

    with tower_devices("/CPU:0", "/CPU:1"):
        placed = AcrossTowers(LocalResponseNormalization(5, 1e-2))
    for there, here in zip(answers(placed), answers(AcrossTowers(LocalResponseNormalization(5, 1e-2))), strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-3)


def test_a_recipe_says_where_windows_end(tiny):
    model = AlexNet(with_overrides(tiny, ["network.lrn.windows=layer"]), classes=3)
    assert [type(model.get_layer(f"norm{index}")).__name__ for index in (1, 2)] == ["AcrossTowers"] * 2
    assert type(AlexNet(tiny, classes=3).get_layer("norm1")).__name__ == "EachTower"
