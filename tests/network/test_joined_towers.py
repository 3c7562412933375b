"""Towers as one tensor: the same answers, and the gradients of the towers themselves."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiers import rest_slow

from alexnet_keras import AlexNet, join_towers, layer_output
from alexnet_keras.errors import UsageError
from alexnet_keras.network.model import features_of, logits_of
from alexnet_keras.recipes.toml import with_overrides

IMAGES = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def network(tiny):
    return AlexNet(tiny, classes=5, seed=1)


def names(model):
    return [layer.name for layer in model.layers]


@pytest.mark.parametrize(
    "layer",
    rest_slow(("conv1", "fc6", "image", "norm2", "conv5", "relu5", "flatten", "fc8", "predictions"), first=3),
)
def test_the_joined_tensor_is_the_towers_in_order_and_the_answers_stay(network, layer):
    joined = join_towers(network, layer)
    both = keras.Model(joined.input, [joined.get_layer(f"{layer}_joined").output, joined.output])
    found, answers = both(IMAGES)
    towers = keras.tree.flatten(keras.Model(network.input, keras.tree.flatten(network.get_layer(layer).output))(IMAGES))
    np.testing.assert_allclose(found, np.concatenate(towers, axis=-1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answers, network(IMAGES), rtol=1e-4, atol=1e-6)
    assert joined.get_layer("conv1") is network.get_layer("conv1")
    np.testing.assert_allclose(
        keras.Model(network.input, layer_output(network, layer))(IMAGES), found, rtol=1e-4, atol=1e-5
    )


def test_outputs_of_several_layers_are_those_of_one_model_which_stays_as_it_is(network):
    before = names(network)
    outputs = keras.Model(network.input, [layer_output(network, layer) for layer in ("conv2", "relu5", "fc7")])(IMAGES)
    assert [tuple(output.shape[1:]) for output in outputs] == [(27, 27, 16), (13, 13, 12), (24,)]
    assert names(network) == before
    with pytest.raises(UsageError, match="There is no layer 'conv9'; the layers are image, mean"):
        layer_output(network, "conv9")


def gradients(model):
    """Of the likeliest class's score with respect to the model's first outputs."""
    with tf.GradientTape() as tape:
        maps, scores = model(IMAGES)
        score = tf.reduce_max(scores, axis=1)
    return tape.gradient(score, maps)


@pytest.mark.parametrize("layer", rest_slow(("conv5", "relu5")))
def test_the_gradient_with_respect_to_it_is_that_of_the_towers(network, layer):
    logits = logits_of(network)
    joined = join_towers(logits, layer)
    found = gradients(keras.Model(joined.input, [joined.get_layer(f"{layer}_joined").output, joined.output]))
    expected = gradients(keras.Model(logits.input, [network.get_layer(layer).output, logits.output]))
    assert np.abs(found).max() > 0
    np.testing.assert_allclose(found, np.concatenate(expected, axis=-1), rtol=1e-4, atol=1e-7)


def test_the_gradient_is_the_slope_of_the_score(network):
    """Against a difference: one map a little larger everywhere, which the layers behind read."""
    joined = join_towers(logits_of(network), "relu5")
    maps = joined.get_layer("relu5_joined").output
    behind, front = keras.Model(maps, joined.output), keras.Model(joined.input, [maps, joined.output])
    values, scores = front(IMAGES)
    gradient, best = gradients(front).numpy(), tf.argmax(scores, axis=1)
    for channel in (0, 7):  # of either tower
        step = 1e-2 * np.eye(12, dtype=np.float32)[channel]
        rise = tf.gather(behind(values + step) - behind(values - step), best, batch_dims=1) / 2e-2
        np.testing.assert_allclose(rise, gradient[..., channel].sum(axis=(1, 2)), rtol=0.1, atol=1e-3)


def test_a_network_of_one_tower_has_the_same_names(tiny):
    plain = AlexNet(with_overrides(tiny, ["network.towers=1"]), classes=3)
    joined = join_towers(plain, "conv5")
    assert joined.get_layer("conv5_joined").output.shape == plain.get_layer("conv5").output.shape


def test_a_joined_network_is_a_network_like_others(network, tmp_path):
    joined = join_towers(join_towers(network, "conv3"), "relu5")
    assert {"conv3_joined", "relu5_joined"} < set(names(joined))
    assert "relu5_joined" in names(logits_of(joined)) and "conv3_joined" in names(features_of(joined))
    joined.save(tmp_path / "joined.keras")
    loaded = keras.saving.load_model(tmp_path / "joined.keras")
    np.testing.assert_allclose(loaded(IMAGES), joined(IMAGES), rtol=1e-5)
    with pytest.raises(UsageError, match=r"There is no layer 'conv9'; the layers are image, mean, color_noise, conv1"):
        join_towers(network, "conv9")


@pytest.mark.slow
def test_the_example_of_the_documentation_runs():
    text = (Path(__file__).parents[2] / "docs" / "backends.md").read_text()
    (example,) = (code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "join_towers" in code)
    found: dict = {}
    exec(example, found)
    assert found["heat"].shape == (1, *found["maps"].shape[1:3]) and len(found["weights"].shape) == 4
