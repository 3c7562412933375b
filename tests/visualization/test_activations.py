"""Feature maps: the layer's own numbers, on the crop that the network sees."""

import keras
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from tiers import rest_slow

from alexnet_keras import AlexNet
from alexnet_keras.errors import NotFiniteError, UsageError
from alexnet_keras.visualization.activations import (
    FeatureMaps,
    draw_activations,
    feature_maps,
    layers_with_maps,
    map_grid,
    map_image,
)


@pytest.fixture(scope="module")
def model(tiny):
    return AlexNet(tiny, classes=3, seed=0)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)


def test_the_maps_are_the_layers_output_on_the_centre_crop(model, image):
    found = feature_maps(model, "relu1", image)
    np.testing.assert_array_equal(found.crop, image[16:240, 16:240])
    expected = keras.Model(model.input, model.get_layer("relu1").output).predict(found.crop[None], verbose=0)
    for ours, theirs in zip(found.towers, expected, strict=True):
        np.testing.assert_allclose(ours, theirs[0], rtol=1e-5, atol=1e-6)


def test_every_layer_from_the_first_convolution_to_the_last_pooling_has_maps(model, image):
    layers = layers_with_maps(model)
    assert layers[0] == "conv1" and layers[-1] == "pool5"
    for layer in layers:
        assert len(feature_maps(model, layer, image).towers) == 2


@pytest.mark.parametrize(("layer", "said"), [("fc6", "'fc6' has no feature maps"), ("conv9", "no layer 'conv9'")])
def test_a_layer_without_maps_is_refused_with_those_that_have_some(model, image, layer, said):
    with pytest.raises(UsageError, match=said) as caught:
        feature_maps(model, layer, image)
    assert "conv1" in str(caught.value) and "pool5" in str(caught.value)
    assert "relu_fc7" not in str(caught.value)


def test_an_image_of_another_size_or_range_is_refused(model, image):
    for other in (image / 255, image[:200]):
        with pytest.raises(UsageError, match=r"image must be uint8 \(256, 256, 3\)\. Received: "):
            feature_maps(model, "conv1", other)


def test_maps_of_a_bfloat16_model_and_of_one_tower(tiny, image):
    from alexnet_keras.recipes.toml import with_overrides

    mixed = AlexNet(tiny, classes=3, seed=0, dtype="mixed_bfloat16")
    assert feature_maps(mixed, "conv1", image).towers[0].dtype == np.float32
    single = AlexNet(with_overrides(tiny, ["network.towers=1"]), classes=3, seed=0)
    assert len(feature_maps(single, "conv2", image).towers) == 1


def test_maps_stand_in_rows_with_a_line_between_them():
    maps = np.stack([np.full((56, 60), value, np.float32) for value in (1, 2, 3)], axis=2)
    grid = map_grid(maps, columns=2)
    assert grid.shape == (113, 121)
    assert (grid[:56, :60] == 1).all() and (grid[:56, 61:] == 2).all() and (grid[57:, :60] == 3).all()
    assert np.isnan(grid[56]).all() and np.isnan(grid[57:, 60:]).all()
    assert map_grid(maps[:13, :13], columns=3).shape == (52, 3 * 53 - 1), "small maps are enlarged"


@pytest.mark.parametrize("scaling", rest_slow(("map", "global")))
@pytest.mark.parametrize("values", ["signed", "positive", "dead", "one spike"])
def test_the_figure_is_written_whatever_the_activities_are(image, tmp_path, values, scaling):
    maps = np.random.default_rng(1).normal(size=(2, 13, 13, 192)).astype(np.float32)
    match values:
        case "positive":
            maps = np.maximum(maps, 0)
            maps[..., ::3] = 0
        case "dead":
            maps[:] = 0
        case "one spike":
            maps[:] = 0
            maps[0, 5, 5, 7] = 3.0
    found = FeatureMaps("relu3", image[:224, :224], list(maps))
    with np.errstate(all="raise"):
        draw_activations(found, tmp_path / "maps.png", "an image", scaling)
    assert Image.open(tmp_path / "maps.png").width > 1500


def test_it_is_said_what_is_left_out_and_what_is_silent(image, tmp_path, figures):
    maps = np.ones((2, 13, 13, 128), np.float32)
    maps[1, ..., :10] = 0
    draw_activations(FeatureMaps("relu2", image, list(maps)), tmp_path / "maps.svg")
    first, second = figures[0].axes[1:3]
    assert first.get_title(loc="left") == "relu2, tower a: the first 64 of 128 maps of 13×13"
    assert (first.get_xlabel(), second.get_xlabel()) == ("", "10 of the 64 maps are all zero")


def test_one_scale_is_that_of_the_layer_with_the_maps_that_are_left_out(image, tmp_path, figures):
    maps = np.ones((2, 13, 13, 128), np.float32)
    maps[0, ..., 100] = 4
    draw_activations(FeatureMaps("relu2", image, list(maps)), tmp_path / "maps.svg", scaling="global")
    crop, first, _ = figures[0].axes
    assert np.nanmax(first.images[0].get_array()) == 0.25
    assert [text.get_text() for text in crop.child_axes[0].get_xticklabels()] == ["0", "4"]


def test_a_misspelt_scaling_is_refused(image, tmp_path):
    with pytest.raises(UsageError, match="Received: scaling='layer'"):
        draw_activations(FeatureMaps("relu2", image, [np.ones((13, 13, 4))]), tmp_path / "maps.svg", scaling="layer")


@pytest.mark.parametrize("count", rest_slow((64, 32)))
@pytest.mark.parametrize("scaling", ["map", "global"])
def test_texts_below_the_crop_do_not_reach_into_the_maps(image, tmp_path, figures, count, scaling):
    maps = FeatureMaps("conv1", image, list(np.ones((2, 13, 13, count), np.float32)))
    draw_activations(maps, tmp_path / "maps.png", "a-photograph-with-a-rather-long-name-of-its-file.jpeg", scaling)
    crop, first = figures[0].axes[:2]
    renderer = FigureCanvasAgg(figures[0]).get_renderer()
    for axis in (crop, *crop.child_axes):
        box = axis.xaxis.label.get_window_extent(renderer)
        assert figures[0].bbox.x0 <= box.x0 and box.x1 < first.get_window_extent(renderer).x0, axis.get_xlabel()


def test_maps_that_are_not_finite_are_not_drawn(tiny):
    model = AlexNet(tiny, classes=3, seed=0)
    model.get_layer("conv2").biases[0].assign(np.full(8, np.nan))
    assert np.isfinite(feature_maps(model, "conv1", np.zeros((256, 256, 3), np.uint8)).towers[0]).all()
    with pytest.raises(NotFiniteError, match="feature maps of the layer conv2 are not finite"):
        feature_maps(model, "conv2", np.zeros((256, 256, 3), np.uint8))


def test_a_tower_as_one_image_has_white_for_zero_red_for_more_and_blue_for_less():
    maps = np.zeros((60, 60, 2), np.float32)
    maps[0, 0], maps[0, 1] = (4, 0.5), (-4, 0)
    image = map_image(maps)
    assert image.shape == (60, 121, 3) and image.dtype == np.uint8
    assert (image[30, 30] >= 246).all() and (image[30, 90] >= 246).all()
    red, blue = image[0, 0].astype(int), image[0, 1].astype(int)
    assert red[0] > 2 * red[2] and blue[2] > 2 * blue[0]
    assert (image[0, 61] == image[0, 0]).all(), "each map by its own scale"
    assert (map_image(np.abs(maps))[0, 1] == 0).all(), "without negative values black is the largest"
