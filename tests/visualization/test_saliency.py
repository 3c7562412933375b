"""Saliency: right gradients, of the right class, beside the right image."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from alexnet_keras import AlexNet
from alexnet_keras.errors import NotFiniteError, UsageError
from alexnet_keras.network.model import logits_of
from alexnet_keras.visualization.saliency import class_named, draw_saliency, find_saliency


def network(tiny, dtype="float32"):
    """A network whose normalisation counts: with its initial weights the first layer's activities are small."""
    model = AlexNet(tiny, classes=3, seed=0, dtype=dtype)
    for kernel in model.get_layer("conv1").kernels:
        kernel.assign(30 * kernel)
    return model


@pytest.fixture(scope="module")
def model(tiny):
    return network(tiny)


@pytest.fixture(scope="module")
def images():
    """Smooth images: (2, 256, 256, 3) uint8."""
    coarse = np.random.default_rng(1).integers(40, 216, (2, 16, 16, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((256, 256), Image.BICUBIC)) for one in coarse])


def scores(model, crop, label):
    return float(logits_of(model)(tf.constant(crop[None], tf.float32), training=False)[0, label])


@pytest.mark.parametrize("label", [0, 1, 2])
def test_the_gradient_is_that_of_the_class_score_by_finite_differences(model, images, label):
    """Through the mean, both normalisations, pooling and both towers.

    The function has kinks, at ReLUs and maxima, and float32 has few digits: so a step of a few thousandths of a grey
    level, and in the direction of the gradient itself, where the difference is largest, or of one channel of it.
    """
    found = find_saliency(model, images, label)
    for crop, gradient in zip(found.crops.astype(np.float32), found.gradients, strict=True):
        for channels in ([0, 1, 2], [0], [1], [2]):
            direction = np.zeros_like(gradient)
            direction[..., channels] = gradient[..., channels] / np.abs(gradient).max()
            step = 0.003
            ahead, behind = (scores(model, crop + sign * step * direction, label) for sign in (1, -1))
            expected = float((gradient.astype(np.float64) * direction).sum())
            assert (ahead - behind) / (2 * step) == pytest.approx(expected, rel=0.02)


def test_the_class_is_the_likeliest_one_unless_another_is_named(model, images):
    found = find_saliency(model, images)
    probabilities = model.predict(images[:, 16:240, 16:240], verbose=0)
    np.testing.assert_array_equal(found.explained, probabilities.argmax(axis=1))
    np.testing.assert_allclose(found.probabilities, probabilities, rtol=1e-4)
    other = find_saliency(model, images, 2)
    np.testing.assert_array_equal(other.explained, [2, 2])
    np.testing.assert_array_equal(other.predicted, found.predicted)


def test_images_of_a_batch_do_not_mix(model, images):
    together, alone = find_saliency(model, images, 1), find_saliency(model, images[1:], 1)
    largest = np.abs(alone.gradients).max()
    np.testing.assert_allclose(together.gradients[1], alone.gradients[0], atol=1e-4 * largest)


def test_the_map_is_the_largest_size_among_the_channels(model, images):
    found = find_saliency(model, images)
    assert found.maps.shape == (2, 224, 224)
    y, x = 100, 57
    assert found.maps[1, y, x] == max(abs(value) for value in found.gradients[1, y, x])


def test_it_is_the_score_and_not_the_probability_that_is_explained(tiny, model, images):
    """The gradient of a probability near one would vanish."""
    sure = network(tiny)
    bias = next(weight for weight in sure.get_layer("fc8").weights if "bias" in weight.path)
    bias.assign([500.0, 0.0, 0.0])
    found, other = find_saliency(sure, images, 0), find_saliency(model, images, 0)
    assert (found.probabilities[:, 0] == 1).all() and not (other.probabilities[:, 0] == 1).all()
    np.testing.assert_allclose(found.gradients, other.gradients, atol=1e-4 * np.abs(other.gradients).max())


@pytest.mark.slow
def test_gradients_of_a_bfloat16_model_are_close(tiny, model, images):
    exact, mixed = (find_saliency(net, images, 0).maps for net in (model, network(tiny, "mixed_bfloat16")))
    assert mixed.dtype == np.float32
    for one, other in zip(exact, mixed, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("count", [1, 2, pytest.param(7, marks=pytest.mark.slow)])
def test_the_figure_is_written(model, images, tmp_path, count):
    found = find_saliency(model, np.concatenate([images] * 4)[:count])
    draw_saliency(found, ["a", "b", "c"], tmp_path / "saliency.png", [0] * count)
    assert Image.open(tmp_path / "saliency.png").width > 900
    draw_saliency(found, ["a", "b", "c"], tmp_path / "saliency.pdf")


def test_a_network_that_does_not_look_at_its_image_is_drawn(tiny, images, tmp_path):
    model = AlexNet(tiny, classes=3, seed=0)
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    found = find_saliency(model, images)
    assert not found.maps.any()
    draw_saliency(found, ["a", "b", "c"], tmp_path / "saliency.png")


CLASSES = ("n01", "n02", "n03")
TITLES = ("crane", "tench", "crane")


def test_a_class_is_named_by_its_id_or_its_title():
    assert class_named("n03", CLASSES, TITLES) == 2
    assert class_named("Tench", CLASSES, TITLES) == 1
    for titles in (TITLES, ("crane (n01)", "tench", "Crane (n03)")):
        with pytest.raises(UsageError, match="n01 or n03"):
            class_named("crane", CLASSES, titles)
    with pytest.raises(UsageError, match=r"no class 'trench': the classes are n01, n02, n03\."):
        class_named("trench", CLASSES, TITLES)


def test_of_many_classes_the_nearest_names_are_listed():
    classes = [f"n{index:08}" for index in range(1000)]
    titles = [f"thing {index}" for index in range(998)] + ["tench", "goldfish"]
    with pytest.raises(UsageError, match="did you mean tench"):
        class_named("trench", classes, titles)
    with pytest.raises(UsageError, match="1000"):
        class_named("§§§", classes, titles)


def test_a_network_that_is_not_finite_explains_nothing(tiny):
    model = AlexNet(tiny, classes=3, seed=0)
    model.get_layer("fc8").biases[0].assign([np.nan, 0, 0])
    with pytest.raises(NotFiniteError, match="scores are not finite"):
        find_saliency(model, np.zeros((1, 256, 256, 3), np.uint8))
