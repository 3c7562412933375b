"""ReLU against NumPy, and its gradient in bfloat16 against TensorFlow's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_keras.backend import plain
from alexnet_keras.layers import EachTower
from alexnet_keras.layers.relu import relu


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("maps", [6, 5])
def test_values_and_gradients_are_those_of_tensorflow(dtype, maps):
    random = np.random.default_rng(0)
    values = random.normal(size=(3, 4, maps))
    values[0, 0, :3] = 0.0, -0.0, 1e-30
    x, upstream = tf.cast(values, dtype), tf.cast(random.normal(size=values.shape), dtype)

    def both(function):
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = function(x)
        gradient = tape.gradient(output, x, upstream)
        assert output.dtype == gradient.dtype == x.dtype
        return [tf.cast(each, tf.float32).numpy() for each in (output, gradient)]

    for ours, theirs in zip(both(relu), both(tf.nn.relu), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_gradient_in_bfloat16_is_one_pass_but_in_a_graph_for_others():
    def operations(function):
        def gradient(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                output = function(x)
            return tape.gradient(output, x)

        graph = tf.function(gradient, autograph=False).get_concrete_function(tf.TensorSpec((2, 8), tf.bfloat16)).graph
        return {operation.type for operation in graph.get_operations()}

    assert "ReluGrad" not in operations(relu)
    with plain():
        assert "ReluGrad" in operations(relu)


def test_a_second_derivative_in_bfloat16_raises_but_in_plain():
    x = tf.constant([[-1.0, 2.0, 3.0, -4.0]], tf.bfloat16)

    def curvature():
        with tf.GradientTape() as outer, tf.GradientTape() as inner:
            for tape in (outer, inner):
                tape.watch(x)
            slope = inner.gradient(relu(x) ** 2, x)
        return outer.gradient(slope, x)

    with pytest.raises(NotImplementedError, match="have no second derivative under TensorFlow"):
        curvature()
    with plain():
        np.testing.assert_array_equal(tf.cast(curvature(), tf.float32), [[0, 2, 2, 0]])


@pytest.mark.parametrize("loaded", [False, True])
def test_towers_compute_it_and_saved_models_have_that_of_keras(tmp_path, loaded):
    towers = [keras.Input((4,), dtype="bfloat16"), keras.Input((4,), dtype="bfloat16")]
    model = keras.Model(towers, EachTower(keras.layers.Activation("relu", dtype="bfloat16"))(towers))
    if loaded:
        model.save(tmp_path / "a.keras")
        model = keras.saving.load_model(tmp_path / "a.keras")
    layer = model.layers[-1]
    assert layer.layer.get_config()["activation"] == "relu"
    assert [copy.activation for copy in layer.copies] == [relu, relu]
