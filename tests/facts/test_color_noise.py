"""Row 2.10: the magnitudes of the colour noise in both scales, as the built network has them, and the division by 1.1.

tests/layers/test_layers_against_numpy.py has one colour an image and the components' independence;
tests/training/test_schedule.py and tests/training/test_trainer.py the epoch from which it is off.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from narrow import narrow

from alexnet_keras import AlexNet
from alexnet_keras.data.statistics import Statistics
from alexnet_keras.layers import ColorNoise
from alexnet_keras.training.start import new_model

EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])  # of pixels scaled to 0..1, as they are widely copied
COMPONENTS = np.array(  # ImageNet's, in columns, RGB
    [
        [0.41795513, -0.71257945, -0.56351045],
        [-0.81698062, -0.02354167, -0.5761844],
        [0.39731118, 0.70119634, -0.59200296],
    ]
)
IMAGES = 40_000  # a measured standard deviation is then off by 0.35 %, as a standard deviation


def noise_of(model, components=COMPONENTS, images=IMAGES):
    """Standard deviations along the components of what the built network adds to a pixel."""
    added = model.get_layer("color_noise")(np.zeros((images, 1, 1, 3), np.float32), training=True)
    return (added.numpy().reshape(images, 3) @ components).std(axis=0)


def assert_magnitudes(measured, magnitudes, stddev=0.1, divisor=1.0):
    np.testing.assert_allclose(measured, stddev * np.array(magnitudes) / divisor, rtol=0.015)


def test_the_papers_eigenvalues_come_out_as_55_5_and_4_8_and_1_1():
    recipe = narrow("source", "augmentation.color_noise_scale=eigenvalue")
    model = AlexNet(recipe, classes=2, color_stds=255 * np.sqrt(EIGENVALUES), seed=0)
    np.testing.assert_allclose(model.get_layer("color_noise").magnitudes, [55.4625, 4.794, 1.1475], rtol=1e-6)
    assert_magnitudes(noise_of(model), [55.5, 4.8, 1.15], divisor=1.1)


def test_of_imagenets_own_statistics_an_eigenvalue_is_the_square_of_a_standard_deviation_over_255():
    model = AlexNet(narrow("paper"), classes=2, seed=0)
    expected = [19.7208**2 / 255, 37.0939**2 / 255, 121.7801**2 / 255]  # 1.53, 5.40, 58.16
    np.testing.assert_allclose(expected, [1.525, 5.396, 58.158], rtol=1e-3)
    assert_magnitudes(noise_of(model), expected)  # and nothing is divided by 1.1


def test_the_released_code_takes_the_standard_deviations():
    model = AlexNet(narrow("source"), classes=2, seed=0)
    assert_magnitudes(noise_of(model), [19.7208, 37.0939, 121.7801], divisor=1.1)


@pytest.mark.parametrize(
    ("scale", "stddev", "divisor"),
    [("standard_deviation", 0.1, 1.1), ("standard_deviation", 0.5, 1.5), ("eigenvalue", 0.25, 1.25)],
)
def test_image_and_noise_are_divided_by_one_plus_the_noise_where_the_recipe_says_so(scale, stddev, divisor):
    stds, magnitudes = (30.0, 60.0, 90.0), (30.0, 60.0, 90.0)
    if scale == "eigenvalue":
        magnitudes = (3.529412, 14.117647, 31.764706)
    colors = {"color_stds": stds, "color_vectors": np.eye(3), "seed": 0}
    changes = [f"augmentation.color_noise={stddev}", f"augmentation.color_noise_scale={scale}"]
    plain, divided = (
        AlexNet(narrow("source", *changes, f"augmentation.color_noise_rescale={rescale}"), classes=2, **colors)
        for rescale in ("false", "true")
    )
    assert_magnitudes(noise_of(plain, np.eye(3)), magnitudes, stddev)
    image = np.random.default_rng(1).normal(0, 50, (3, 4, 4, 3)).astype(np.float32)
    plain, divided = (  # of the same seed, the same noise
        ColorNoise.from_config(model.get_layer("color_noise").get_config())(image, training=True).numpy()
        for model in (plain, divided)
    )
    assert np.ptp(plain - image) > 1
    np.testing.assert_allclose(divided, plain / divisor, rtol=1e-5, atol=1e-5)


def test_where_it_is_switched_off_nothing_is_added_and_nothing_divided():
    model = AlexNet(narrow("source"), classes=2, seed=0)
    noise = model.get_layer("color_noise")
    image = np.random.default_rng(1).normal(0, 50, (3, 4, 4, 3)).astype(np.float32)
    np.testing.assert_array_equal(noise(image, training=False), image)
    noise.active = False
    np.testing.assert_array_equal(noise(image, training=True), image)
    without = AlexNet(narrow("source", "augmentation.color_noise=0.0"), classes=2)
    assert not [layer for layer in without.layers if isinstance(layer, ColorNoise)]


@pytest.mark.parametrize("recipe", ["source", "paper"])
def test_training_takes_the_statistics_of_its_own_data(recipe):
    random = np.random.default_rng(2)
    components = np.linalg.qr(random.normal(size=(3, 3)))[0]
    stds = np.array([10.0, 25.0, 70.0])  # ascending, as the eigenvalues are
    covariance = components @ np.diag(stds**2) @ components.T
    data = SimpleNamespace(
        statistics=Statistics(np.full((256, 256, 3), 120, np.float32), np.full(3, 120.0), covariance),
        classes=("x", "y"),
    )
    measured = noise_of(new_model(narrow(recipe), data, seed=0, precision="float32"), components)
    if recipe == "source":
        assert_magnitudes(measured, [10, 25, 70], divisor=1.1)
    else:
        assert_magnitudes(measured, [100 / 255, 625 / 255, 4900 / 255])
