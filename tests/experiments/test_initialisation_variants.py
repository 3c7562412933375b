"""The four initialisations differ in what they say they differ in, and in nothing else."""

import numpy as np
import pytest

from alexnet_keras import AlexNet
from alexnet_keras.experiments.variants import initialisation_variants, pixel_std_of
from alexnet_keras.recipes.built_in import BUILT_IN
from alexnet_keras.recipes.edits import fields_of
from alexnet_keras.recipes.schema import IMAGENET_COLOR_STDS, IMAGENET_COLOR_VECTORS
from alexnet_keras.recipes.toml import from_dict, load_recipe, to_dict

NAMES = ("source", "paper", "caffe", "unit-variance")


def differences(recipe, base):
    """The fields that a recipe has otherwise than its base, but for what it is called."""
    before, after = fields_of(base), fields_of(recipe)
    changed = {field: after[field].value for field in after if after[field].value != before[field].value}
    return {field: value for field, value in changed.items() if field not in ("name", "summary")}


@pytest.fixture
def of_source():
    base = load_recipe("source")
    return {name: differences(recipe, base) for name, recipe in initialisation_variants(base).items()}


def test_source_is_the_recipe_itself():
    base = load_recipe("source")
    assert initialisation_variants(base)["source"] is base
    assert tuple(initialisation_variants(base)) == NAMES


PROSE = {
    "network.conv3.initial_std": 0.01,
    "network.conv4.initial_std": 0.01,
    "network.conv5.initial_std": 0.01,
    "training.bias_rate": 0.01,
}


def test_paper_has_smaller_weights_and_one_rate(of_source):
    assert of_source["paper"] == PROSE


def test_caffe_has_the_fillers_of_bvlc_alexnet(of_source):
    smaller = dict.fromkeys(("conv2", "conv4", "conv5", "fc6", "fc7"), 0.1)
    assert of_source["caffe"] == {
        **{field: std for field, std in PROSE.items() if field.startswith("network")},
        **{f"network.{name}.initial_bias": bias for name, bias in smaller.items()},
        "network.fc6.initial_std": 0.005,
        "network.fc7.initial_std": 0.005,
    }


def test_unit_variance_is_the_papers_on_scaled_pixels(of_source):
    scale = of_source["unit-variance"].pop("augmentation.input_scale")
    assert of_source["unit-variance"] == PROSE
    assert 1 / scale == pytest.approx(74.38, abs=0.01)


def test_biases_keep_to_the_rate_of_weights_and_widths_are_the_bases(tiny):
    made = initialisation_variants(tiny)
    assert [recipe.training.bias_rate for recipe in made.values()] == [0.004, 0.002, 0.004, 0.002]
    for recipe in made.values():
        layers = (*recipe.network.convolutions, *recipe.network.dense)
        assert [getattr(layer, "filters", 0) for layer in layers[:5]] == [6, 8, 8, 8, 6]
        assert recipe.training.weight_rate == 0.002


@pytest.mark.parametrize("base", BUILT_IN)
def test_of_any_base_only_the_initialisation_is_changed(base):
    allowed = ("initial_std", "initial_bias", "classifier_std", "classifier_bias", "bias_rate", "input_scale")
    for recipe in initialisation_variants(load_recipe(base)).values():
        assert all(field.endswith(allowed) for field in differences(recipe, load_recipe(base)))
        assert from_dict(to_dict(recipe)) == recipe


def test_a_sixth_convolution_is_initialised_as_one_that_the_paper_does_not_name():
    values = to_dict(load_recipe("source"))
    values["network"]["convolutions"].append({**values["network"]["convolutions"][-1], "name": "conv6"})
    base = from_dict(values)
    conv6 = {name: recipe.network.convolutions[-1] for name, recipe in initialisation_variants(base).items()}
    assert (conv6["paper"].initial_std, conv6["paper"].initial_bias) == (0.01, 0.0)


def test_the_standard_deviation_of_pixels_is_that_of_their_colors():
    stds, vectors = np.array(IMAGENET_COLOR_STDS), np.array(IMAGENET_COLOR_VECTORS)
    colors = np.random.default_rng(0).normal(size=(200_000, 3)) * stds @ vectors.T
    assert pixel_std_of(IMAGENET_COLOR_STDS) == pytest.approx(colors.std(), rel=0.01)


def test_scaled_pixels_have_variance_1(tiny):
    recipe = initialisation_variants(tiny, color_stds=(40.0, 40.0, 40.0))["unit-variance"]
    subtract = AlexNet(recipe, classes=3, seed=0).get_layer("mean")
    pixels = np.random.default_rng(0).normal(subtract.mean, 40.0, (4, 224, 224, 3)).astype(np.float32)
    assert np.std(subtract(pixels)) == pytest.approx(1, rel=0.01)
