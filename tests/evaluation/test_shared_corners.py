"""Ten crops that share the first convolution against ten crops that do not."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiers import rest_slow

from alexnet_keras import AlexNet
from alexnet_keras.backend import tower_devices
from alexnet_keras.evaluation.crops import SharedFirstConvolution, corners, ten_crop
from alexnet_keras.evaluation.predictor import Predictor
from alexnet_keras.recipes.toml import with_overrides

random = np.random.default_rng(0)
IMAGES = random.integers(0, 256, (3, 256, 256, 3), np.uint8)
MEAN = random.uniform(90, 140, (256, 256, 3)).astype(np.float32)  # at its own place in every crop
CORNERS = corners(256, 224)


def one_by_one(model):
    """The mean of ten forward passes."""
    forward = tf.function(lambda view: model(view, training=False), autograph=False)
    return np.mean([forward(view).numpy() for view in ten_crop(tf.constant(IMAGES), 224)], axis=0)


@pytest.mark.parametrize(
    "change",
    rest_slow(
        (
            "network.conv1.padding=[0,3]",
            "network.conv1.padding=[0,0]",
            "augmentation.mean=channel",
            "augmentation.input_scale=0.0134",
        )
    ),
)
def test_they_agree_to_rounding(tiny, change):
    model = AlexNet(with_overrides(tiny, [change]), classes=7, seed=0, mean_image=MEAN)
    assert SharedFirstConvolution.applies(model, CORNERS)
    np.testing.assert_allclose(Predictor(model, "ten-crop")(IMAGES), one_by_one(model), rtol=2e-5)


def test_each_crops_maps_are_the_first_convolutions(tiny):
    model = AlexNet(tiny, classes=7, seed=0, mean_image=MEAN)
    seen = []
    shared = SharedFirstConvolution(model, CORNERS, 256)
    rest = shared.rest
    shared.rest = lambda maps, training: seen.append(maps) or rest(maps, training=training)
    shared(tf.constant(IMAGES))
    conv1 = keras.Model(model.input, model.get_layer("conv1").output)
    views = [conv1(view) for view in ten_crop(tf.constant(IMAGES), 224)]  # a list of towers each
    for tower, maps in enumerate(seen[0]):
        maps = tf.reshape(maps, (2, 3, 5, *maps.shape[1:])).numpy()
        for number, (y, x) in enumerate(CORNERS):
            np.testing.assert_allclose(maps[0, :, number], views[number][tower], rtol=1e-4, atol=1e-3)
            mirrored = CORNERS.index((y, 32 - x))  # the mirror image's corner on the other side
            np.testing.assert_allclose(maps[1, :, mirrored], views[5 + number][tower], rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_bfloat16_is_about_as_far_from_float32_as_without(tiny):
    slope = np.linspace(-10, 10, 256)[:, None, None]  # the mean of many photographs is smooth
    smooth = np.broadcast_to(slope + np.array([120.3, 115.7, 101.2]), (256, 256, 3))
    exact = one_by_one(AlexNet(tiny, classes=7, seed=0, mean_image=smooth))
    model = AlexNet(tiny, classes=7, seed=0, mean_image=smooth, dtype="mixed_bfloat16")
    error = np.abs(Predictor(model, "ten-crop")(IMAGES) - exact).max()
    assert error < 2 * np.abs(one_by_one(model) - exact).max() + 1e-4


@pytest.mark.slow
def test_another_beginning_is_left_alone(tiny):
    for change in ("network.conv1.padding=[2,2]", "network.conv1.stride=5"):
        assert not SharedFirstConvolution.applies(AlexNet(with_overrides(tiny, [change]), classes=7, seed=0), CORNERS)
    with tower_devices("/CPU:0", "/CPU:1"):
        placed = AlexNet(tiny, classes=7, seed=0)
    assert not SharedFirstConvolution.applies(placed, CORNERS)
    np.testing.assert_allclose(Predictor(placed, "ten-crop")(IMAGES), one_by_one(placed), rtol=2e-5)
