"""Saliency: right gradients, alone and averaged over noisy copies, of the right class, beside the right image."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image
from tiers import rest_slow

from alexnet_keras import AlexNet
from alexnet_keras.errors import NotFiniteError, UsageError
from alexnet_keras.network.model import logits_of
from alexnet_keras.visualization.grad_cam import GradCAM, lay_over
from alexnet_keras.visualization.saliency import class_named, draw_saliency, find_saliency, smooth_gradients


@pytest.fixture(scope="module")
def images(smooth_images):
    return smooth_images


def explained(model, images, label=None):
    """Saliency with one noisy copy, where noise does not matter."""
    return find_saliency(model, images, label, copies=1)


@pytest.fixture(scope="module")
def of_the_likeliest(model, images):
    return explained(model, images)


@pytest.fixture(scope="module")
def of_class_1(model, images):
    return explained(model, images, 1)


@pytest.mark.parametrize("label", rest_slow((1, 0, 2)))
def test_the_gradient_is_that_of_the_class_score_by_finite_differences(model, images, label):
    """Through the mean, both normalisations, pooling and both towers.

    The function has kinks, at ReLUs and maxima, and float32 has few digits: so a step of a few thousandths of a grey
    level, and in the direction of the gradient itself, where the difference is largest, or of one channel of it.
    """
    found, logits = explained(model, images, label), tf.function(logits_of(model))
    for crop, gradient in zip(found.crops.astype(np.float32), found.gradients, strict=True):
        for channels in ([0, 1, 2], [0], [1], [2]):
            direction = np.zeros_like(gradient)
            direction[..., channels] = gradient[..., channels] / np.abs(gradient).max()
            step = 0.003
            ahead, behind = (float(logits((crop + sign * step * direction)[None])[0, label]) for sign in (1, -1))
            expected = float((gradient.astype(np.float64) * direction).sum())
            assert (ahead - behind) / (2 * step) == pytest.approx(expected, rel=0.02)


def test_the_class_is_the_likeliest_one_unless_another_is_named(model, images, of_the_likeliest, of_class_1):
    found, other = of_the_likeliest, of_class_1
    probabilities = model.predict(images[:, 16:240, 16:240], verbose=0)
    np.testing.assert_array_equal(found.explained, probabilities.argmax(axis=1))
    np.testing.assert_allclose(found.probabilities, probabilities, rtol=1e-4)
    np.testing.assert_array_equal(other.explained, [1, 1])
    np.testing.assert_array_equal(other.predicted, found.predicted)


def test_images_of_a_batch_do_not_mix(model, images, of_class_1):
    alone = explained(model, images[1:], 1)
    for together, own in ((of_class_1.gradients, alone.gradients), (of_class_1.smooth, alone.smooth)):
        np.testing.assert_allclose(together[1], own[0], atol=1e-4 * np.abs(own).max())


def test_the_map_is_the_largest_size_among_the_channels(of_class_1):
    found = of_class_1
    assert found.maps.shape == (2, 224, 224)
    y, x = 100, 57
    assert found.maps[1, y, x] == max(abs(value) for value in found.gradients[1, y, x])


def test_it_is_the_score_and_not_the_probability_that_is_explained(network, images, of_class_1):
    """The gradient of a probability near one would vanish."""
    sure = network()
    bias = next(weight for weight in sure.get_layer("fc8").weights if "bias" in weight.path)
    bias.assign([0.0, 500.0, 0.0])
    found, other = explained(sure, images, 1), of_class_1
    assert (found.probabilities[:, 1] == 1).all() and not (other.probabilities[:, 1] == 1).all()
    np.testing.assert_allclose(found.gradients, other.gradients, atol=1e-4 * np.abs(other.gradients).max())


@pytest.mark.slow
def test_gradients_of_a_bfloat16_model_are_close(network, model, images):
    exact, mixed = (explained(net, images, 0).maps for net in (model, network("mixed_bfloat16")))
    assert mixed.dtype == np.float32
    for one, other in zip(exact, mixed, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.9


@pytest.mark.slow
def test_smoothgrad_without_noise_is_the_gradient(model, images, of_class_1):
    crops, labels, expected = of_class_1.crops, of_class_1.explained, of_class_1.gradients
    smooth = smooth_gradients(model, crops, labels, copies=3, noise=0.0)
    np.testing.assert_allclose(smooth, expected, atol=1e-4 * np.abs(expected).max())
    found = replace(of_class_1, smooth=smooth)
    np.testing.assert_allclose(found.smooth_maps, found.maps, atol=1e-4 * found.maps.max())


@pytest.mark.slow
def test_smoothgrad_is_the_mean_gradient_of_one_noisy_copy_after_another(model, images):
    """Of more copies than are computed at once, each crop with noise in proportion to its own range."""
    crops = images[:, 16:240, 16:240]
    crops = np.stack([crops[0], crops[1] // 2])
    labels, logits = np.array([2, 0]), logits_of(model)
    found = smooth_gradients(model, crops, labels, copies=13, noise=0.1, seed=5)
    for crop, label, mean in zip(crops, labels, found, strict=True):
        random, gradients = np.random.default_rng(5), []
        for _ in range(13):
            deviation = 0.1 * (int(crop.max()) - int(crop.min()))
            noisy = tf.constant(crop + deviation * random.standard_normal(crop.shape, np.float32), tf.float32)
            with tf.GradientTape() as tape:
                tape.watch(noisy)
                score = logits(noisy[None], training=False)[0, label]
            gradients.append(tape.gradient(score, noisy).numpy())
        expected = np.mean(gradients, axis=0)
        np.testing.assert_allclose(mean, expected, atol=1e-3 * np.abs(expected).max())
        assert np.abs(mean - gradients[0]).max() > 0.1 * np.abs(expected).max(), "otherwise this compares nothing"


@pytest.mark.slow
def test_the_noise_is_that_of_the_seed(model, images):
    crops = images[:1, 16:240, 16:240]
    first, again, other = (smooth_gradients(model, crops, np.array([0]), 1, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1 * np.abs(first).max()


def test_the_heat_is_grad_cams_of_the_class_explained(model, images, of_the_likeliest, of_class_1):
    explain = GradCAM(model)
    for found in (of_the_likeliest, of_class_1):
        assert found.layer == explain.layer == "relu5"
        for image, heat, own in zip(images, found.heat, found.explained.tolist(), strict=True):
            np.testing.assert_allclose(heat, explain(image, own).heat, atol=1e-5)
    assert of_the_likeliest.heat.any(), "otherwise this compares nothing"


@pytest.fixture
def drawn(figures, tmp_path):
    """Draws a figure, and returns it after its layout."""

    def draw(found, titles, labels=None):
        draw_saliency(found, titles, tmp_path / "saliency.png", labels)
        assert Image.open(tmp_path / "saliency.png").width > 1800
        return figures[-1]

    return draw


def repeated(found, count):
    """The same of `count` images."""
    fields = ("crops", "gradients", "smooth", "heat", "explained", "predicted", "probabilities")
    return replace(found, **{name: np.concatenate([getattr(found, name)] * count)[:count] for name in fields})


LONG = ["Staffordshire bullterrier", "soft-coated wheaten terrier", "soft-coated wheaten terriers"]


@pytest.mark.parametrize("count", [1, 2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_row_of_the_figure_has_four_panels_of_one_size_under_their_headings(drawn, of_class_1, count):
    figure = drawn(repeated(of_class_1, count), LONG, [0] * count)
    axes = np.reshape(figure.axes, (count, 4))
    assert [axis.get_title("left") for axis in axes[0]] == ["Centre crop", "Gradient", "SmoothGrad", "Grad-CAM"]
    for axis in axes.flat:
        assert axis.images[0].get_array().shape == (224, 224, 3)
    corners = np.array([[axis.get_window_extent().bounds for axis in row] for row in axes])
    np.testing.assert_allclose(corners[..., 2:], corners[0, 0, 2], rtol=0.01)
    np.testing.assert_allclose(np.ptp(corners[..., 0], axis=0), 0, atol=1)
    np.testing.assert_allclose(np.ptp(corners[..., 1], axis=1), 0, atol=1)


def test_panels_name_the_class_explained_and_texts_do_not_meet(drawn, of_class_1):
    found = of_class_1
    figure = drawn(found, LONG, [1, None])
    for row, probabilities in zip(np.reshape(figure.axes, (2, 4)), found.probabilities, strict=True):
        assert row[0].get_xlabel().startswith("predicted ")
        for axis in row[1:]:
            first, second = axis.get_xlabel().split("\n")
            assert first.startswith("score of soft-coated") and first.endswith(f"({probabilities[1]:.1%})") and second
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.findobj(Text) if text.get_text()]
    assert len(boxes) == 4 + 8
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1


def test_smoothgrad_and_grad_cam_lie_over_the_grey_crop(drawn, of_class_1):
    ramp = np.linspace(0, 1, 224 * 224, dtype=np.float32).reshape(224, 224)
    smooth = np.stack([ramp, 0 * ramp, -ramp / 2], axis=-1)
    found = replace(repeated(of_class_1, 1), smooth=smooth[None], heat=ramp[None])
    grey = found.crops[0].mean(axis=-1, keepdims=True)
    for axis in drawn(found, ["a", "b", "c"]).axes[2:]:
        image = np.asarray(axis.images[0].get_array(), float)
        changes = np.abs(image - grey).max(axis=-1)
        assert changes[0, :3].max() <= 0.5, "where the map is zero only rounding is left"
        assert changes[-1].min() > 30
        np.testing.assert_allclose(image[-1], lay_over(found.crops[0], np.ones_like(ramp))[-1], atol=5)


@pytest.mark.slow
def test_a_network_that_does_not_look_at_its_image_is_drawn(tiny, images, tmp_path):
    model = AlexNet(tiny, classes=3, seed=0)
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    found = explained(model, images)
    assert not found.maps.any() and not found.smooth.any() and not found.heat.any()
    draw_saliency(found, ["a", "b", "c"], tmp_path / "saliency.pdf")


@pytest.mark.parametrize("label", [-1, 3])
def test_a_class_that_the_network_does_not_have_is_refused(model, images, label):
    with pytest.raises(UsageError, match=f"0 to 2. Received: label={label}"):
        find_saliency(model, images, label)
    with pytest.raises(UsageError, match=f"0 to 2. Received: label={label}"):
        smooth_gradients(model, images[:, 16:240, 16:240], np.array([0, label]))


def test_no_copy_at_all_is_refused(model, images):
    with pytest.raises(UsageError, match="Received: copies=0"):
        smooth_gradients(model, images[:1, 16:240, 16:240], np.array([0]), copies=0)


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
        explained(model, np.zeros((1, 256, 256, 3), np.uint8))
