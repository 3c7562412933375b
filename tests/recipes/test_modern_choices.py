"""The recipe `modern`: what it changes, and what it leaves as it is."""

import math

import pytest
from tiers import rest_slow

from alexnet_keras import AlexNet
from alexnet_keras.experiments.modern import recipes
from alexnet_keras.recipes.built_in import BUILT_IN, CHOICES, modernised
from alexnet_keras.recipes.edits import fields_of
from alexnet_keras.recipes.geometry import fan_ins
from alexnet_keras.recipes.toml import load_recipe, with_overrides

FIELDS = {
    "initialisation": {"initial_std", "initial_bias", "input_scale"},
    "schedule": {
        "kind",
        "length",
        "warmup_epochs",
        "drop_epochs",
        "conv1_lowered_epoch",
        "conv1_frozen_epoch",
        "color_noise_off_epoch",
        "bias_rate",
        "weight_rate",
    },
    "less-dropout": {"dropout"},
    "smaller-batches": {"batch_size"},
    "label-smoothing": {"label_smoothing"},
    "averaging": {"averaging_epochs"},
    "augmentation": {"crop_group", "color_noise_rescale"},
}


def changed(recipe, other):
    ours, theirs = fields_of(recipe), fields_of(other)
    return {name.rpartition(".")[2] for name in ours if ours[name].value != theirs[name].value}


@pytest.mark.parametrize("base", ["source", "quickstart"])
@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_changes_what_it_names_and_nothing_else(base, choice):
    recipe = load_recipe(base)
    found = changed(CHOICES[choice](recipe), recipe)
    assert found and found <= FIELDS[choice]
    assert changed(modernised(recipe, choice), modernised(recipe)) <= FIELDS[choice]
    assert changed(modernised(recipe, choice), recipe) == changed(modernised(recipe), recipe) - found


def test_the_experiment_leaves_one_choice_out_of_modern_and_gives_it_half_the_epochs():
    source = load_recipe("source")
    compared = recipes(source)
    assert compared["source"] == source and {*compared} == {
        "source",
        "modern",
        *(f"without-{name}" for name in CHOICES),
    }
    modern = load_recipe("modern")
    for name, recipe in compared.items():
        left_out = FIELDS.get(name.removeprefix("without-"), set()) - {"length"}
        if name != "source":
            assert recipe.training.epochs == 45
            assert changed(recipe, modern) <= {"name", "summary"} | left_out | ({"length"} if left_out else set())


def test_modern_has_half_the_epochs_of_source_and_its_layers():
    source, modern = load_recipe("source"), load_recipe("modern")
    assert modern.training.epochs <= source.training.epochs / 2
    assert changed(modern, source) <= {"name", "summary", "epochs"}.union(*FIELDS.values())
    shapes = [
        [variable.shape for variable in AlexNet(with_overrides(recipe, ["network.fc6.units=8"]), classes=3).weights]
        for recipe in (source, modern)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", rest_slow((name for name in BUILT_IN if name != "modern"), first=2))
def test_a_layer_reads_as_many_numbers_as_its_kernel_has_rows(name):
    recipe = load_recipe(name)
    fans = fan_ins(recipe.network)
    narrow = with_overrides(recipe, ["network.fc7.units=8"])  # saves memory; fc8 then reads fewer
    for variable in AlexNet(narrow, classes=3).trainable_variables:
        layer, kind = variable.path.split("/")[-2:]
        if kind.startswith("kernel") and layer != "fc8":
            assert fans[layer] == math.prod(variable.shape[:-1]), layer
    assert fans["fc8"] == recipe.network.dense[-1].units * recipe.network.towers
