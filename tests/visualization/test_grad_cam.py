"""Grad-CAM: the weights of the maps by finite differences, of the right class, on the right crop."""

import keras
import numpy as np
import pytest

from alexnet_keras import AlexNet
from alexnet_keras.errors import NotFiniteError, UsageError
from alexnet_keras.network.kernels import first_kernels
from alexnet_keras.network.model import join_towers, logits_of
from alexnet_keras.network.summary import summarize
from alexnet_keras.visualization.grad_cam import GradCAM, HeatMap


@pytest.fixture(scope="module")
def image(smooth_images):
    return smooth_images[0]


@pytest.fixture(scope="module")
def explain(model):
    return GradCAM(model)


def test_a_map_weighs_what_the_score_gains_where_the_whole_map_is_raised(model, image, explain):
    network = join_towers(logits_of(model), "relu5")
    joined = network.get_layer("relu5_joined").output
    crop = image[None, 16:240, 16:240]
    maps = np.asarray(keras.Model(network.input, joined)(crop))
    behind = keras.Model(joined, network.output)
    step, (_, height, width, count) = 1e-3 * maps.max(), maps.shape
    raised = step * np.eye(count, dtype=np.float32)[:, None, None]
    gains = np.asarray(behind(maps + raised) - behind(maps - raised)) / (2 * step)
    hottest = []
    for label in range(3):
        found = explain(image, label)
        sums = np.maximum((maps[0] * gains[:, label] / (height * width)).sum(axis=-1), 0)
        expected = np.asarray(keras.ops.image.resize(sums[..., None], (224, 224)))[..., 0]
        hottest.append(expected.max())
        np.testing.assert_allclose(found.heat, expected / (expected.max() or 1), atol=0.03)
        assert found.label == label
        np.testing.assert_array_equal(found.crop, crop[0])
    assert max(hottest) > 0, "otherwise this compares nothing"


def test_the_class_is_the_likeliest_one_and_the_layer_the_last_before_pooling(model, image, explain):
    assert explain(image).label == np.asarray(model(image[None, 16:240, 16:240])).argmax()
    assert explain.layer == "relu5"


@pytest.mark.parametrize("label", [-1, 3])
def test_a_class_that_the_network_does_not_have_is_refused(explain, image, label):
    with pytest.raises(UsageError, match=f"a class of the network, 0 to 2. Received: label={label}"):
        explain(image, label)


@pytest.mark.parametrize(("layer", "said"), [("conv9", "no layer 'conv9'"), ("fc7", "'fc7' has no feature maps")])
def test_a_layer_without_maps_is_refused(model, layer, said):
    with pytest.raises(UsageError, match=said):
        GradCAM(model, layer)


@pytest.mark.parametrize("work", [GradCAM, summarize, first_kernels], ids=lambda work: work.__name__)
def test_a_model_with_the_network_inside_it_is_refused(tiny, work):
    around = keras.Sequential([AlexNet(tiny, include_top=False, pooling="maps"), keras.layers.Flatten()], name="around")
    with pytest.raises(UsageError, match=r"The model 'around' has no .*inside it, model.get_layer\('alexnet'\)"):
        work(around)
    with pytest.raises(UsageError, match=r"has no layers of AlexNet's\.$"):
        work(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)]))


def test_the_overlay_is_grey_where_it_is_cold():
    crop = np.full((2, 2, 3), (90, 120, 30), np.uint8)
    overlay = HeatMap(crop, np.array([[0, 1], [0, 0]], np.float32), 0).overlay
    assert (overlay[[0, 1, 1], [0, 0, 1]] == 80).all(), "the mean of the channels"
    red, _, blue = overlay[0, 1].tolist()
    assert red > 150 > blue, "the hottest of inferno's colours is a pale yellow"


def test_scores_that_are_not_finite_are_refused(tiny, image):
    broken = AlexNet(tiny, classes=3, seed=0)
    kernel = broken.get_layer("fc8").kernels[0]
    kernel.assign(np.nan * kernel)
    with pytest.raises(NotFiniteError):
        GradCAM(broken)(image)
