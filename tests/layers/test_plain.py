"""Inside `plain`, layers are ordinary operations with the results of the compiled ones."""

import numpy as np
import pytest
import tensorflow as tf
from tiers import rest_slow

from alexnet_keras import AlexNet
from alexnet_keras.backend import compiled, is_plain, plain
from alexnet_keras.layers import LocalResponseNormalization, MeanSubtraction, SpatialResponseNormalization

LAYERS = [
    LocalResponseNormalization(),
    LocalResponseNormalization(3, 0.01, 0.5, 1.0, "sum"),
    LocalResponseNormalization(9, 0.1, 0.75, 2.0, "sum"),
    SpatialResponseNormalization(),
    SpatialResponseNormalization(3, 0.5, 0.6, 2.0),
    MeanSubtraction((1, 1, 3), (1.0, 2.0, 3.0), 0.5),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
@pytest.mark.parametrize("dtype", rest_slow(("float32", "bfloat16")))
def test_plain_layers_compute_what_compiled_ones_do(layer, dtype):
    maps = 3 if isinstance(layer, MeanSubtraction) else 7
    x = tf.cast(np.random.default_rng(5).normal(0, 9, (4, 6, 5, maps)), dtype)
    compiled = layer(x)
    with plain():
        plainly = layer(x)
    assert plainly.dtype == compiled.dtype
    tolerance = 2e-6 if compiled.dtype == tf.float32 else 8e-3
    np.testing.assert_allclose(tf.cast(plainly, tf.float32), tf.cast(compiled, tf.float32), rtol=tolerance, atol=1e-6)


@pytest.mark.parametrize("layer", rest_slow(LAYERS[:5], first=2), ids=lambda layer: layer.name)
def test_gradients_are_the_written_ones(layer):
    x = tf.Variable(np.random.default_rng(6).normal(0, 9, (4, 6, 5, 7)).astype(np.float32))
    upstream = np.random.default_rng(7).normal(size=x.shape).astype(np.float32)

    def gradient():
        with tf.GradientTape() as tape:
            y = tf.reduce_sum(layer(x) * upstream)
        return tape.gradient(y, x)

    written = gradient()
    with plain():
        np.testing.assert_allclose(gradient(), written, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("compute", [lambda f: f, tf.function, lambda f: tf.function(f, jit_compile=True)])
@pytest.mark.parametrize("layer", [LAYERS[2], LAYERS[4]], ids=lambda layer: layer.name)
def test_a_second_derivative_raises_but_in_plain(layer, compute):
    random = np.random.default_rng(8)
    x, upstream, direction = (random.normal(size=(3, 6, 5, 7)).astype(np.float32) for _ in range(3))

    def slopes(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(layer(x) * upstream)
        return tape.gradient(y, x)

    def curvature(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            slope = tf.reduce_sum(slopes(x) * direction)
        return tape.gradient(slope, x)

    with pytest.raises(NotImplementedError, match="have no second derivative under TensorFlow"):
        compute(curvature)(tf.constant(x))
    with plain():
        found = compute(curvature)(tf.constant(x))
    ahead, behind = (slopes(tf.constant(x + step * direction)) for step in (0.01, -0.01))
    np.testing.assert_allclose(found, (ahead - behind) / 0.02, rtol=0, atol=1e-3 * np.abs(found).max())


def test_a_traced_network_has_no_function_inside(tiny):
    model = AlexNet(tiny, classes=3, seed=1)

    def traced():
        images = tf.TensorSpec((None, 224, 224, 3), tf.uint8)
        function = tf.function(lambda x: model(x, training=False), input_signature=[images], autograph=False)
        return {operation.type for operation in function.get_concrete_function().graph.get_operations()}

    with plain():
        assert not {"PartitionedCall", "StatefulPartitionedCall", "IdentityN"} & traced()
    assert not is_plain()
    assert {"PartitionedCall", "StatefulPartitionedCall"} & traced()


def test_functions_that_are_traced_once_each_are_not_said_to_be_retraced(caplog):
    tf.get_logger().addHandler(caplog.handler)
    try:
        for rows in range(1, 13):
            compiled(lambda tensor: tensor + 1)(tf.zeros((rows, 2)))
    finally:
        tf.get_logger().removeHandler(caplog.handler)
    assert "retracing" not in caplog.text
