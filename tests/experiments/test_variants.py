"""An ablation changes what it names and nothing else: the fields of the recipe, and the variables of the network."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiers import rest_slow

from alexnet_keras import AlexNet
from alexnet_keras.evaluation.errors import Evaluation, Tally
from alexnet_keras.experiments import fall_2009, variants
from alexnet_keras.experiments.ablations import ABLATIONS
from alexnet_keras.experiments.lab import Lab, Options
from alexnet_keras.experiments.variants import fine_tuning_recipe, pretraining_recipe
from alexnet_keras.layers import PlainDropout
from alexnet_keras.recipes.edits import edit, fields_of
from alexnet_keras.recipes.toml import load_recipe
from alexnet_keras.training.optimizer import new_optimizer

CONVOLUTIONS = [f"conv{number}" for number in range(1, 6)]
FIELDS_OF_READERS = ("initial_std", "rate_factor", "weight_decay")
# The fields that an ablation changes in a recipe; removals are looked at below.
FIELDS = {
    "no-lrn": {"network.conv1.followed_by", "network.conv2.followed_by"},
    "no-overlap": {"network.pool_size"},
    "one-tower": {"network.towers", "network.conv5.filters", "network.fc6.units", "network.fc7.units"},
    "separate-towers": {"network.conv3.reads", "network.fc6.reads", "network.fc7.reads"},
    "no-color-noise": {"augmentation.color_noise"},
    "no-crops": {"augmentation.random_crop", "augmentation.flip"},
    "no-dropout": {
        *(f"network.{name}.dropout" for name in ("fc6", "fc7")),
        *(f"network.{name}.{field}" for name in ("fc7", "fc8") for field in FIELDS_OF_READERS),
    },
    "no-decay": {"training.weight_decay"},
    "tanh": {
        *(f"network.{name}.followed_by" for name in CONVOLUTIONS),
        "network.fc6.activation",
        "network.fc7.activation",
    },
    "paper-init": {f"network.{name}.initial_std" for name in ("conv3", "conv4", "conv5")},
}


def changed(recipe, other):
    """The fields in which two recipes differ."""
    tables = [{name: field.value for name, field in fields_of(each).items()} for each in (recipe, other)]
    return {name for name in {**tables[0], **tables[1]} if tables[0].get(name, "-") != tables[1].get(name, "-")}


def shapes(recipe):
    """The shape of every variable of the network by its path."""
    return {v.path: tuple(v.shape) for v in AlexNet(recipe, classes=10).weights}


@pytest.fixture(scope="module")
def source():
    return load_recipe("source")


def test_every_ablation_is_looked_at():
    assert set(ABLATIONS) == set(FIELDS) | {f"no-{name}" for name in CONVOLUTIONS}


@pytest.mark.parametrize("name", FIELDS)
def test_an_ablation_changes_the_fields_it_names(source, name):
    assert changed(source, ABLATIONS[name].change(source)) == FIELDS[name]


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in ("one-tower", "separate-towers")])
def test_most_ablations_leave_every_variable_as_it_is(tiny, name):
    assert shapes(ABLATIONS[name].change(tiny)) == shapes(tiny)


def test_without_dropout_every_step_is_one_of_the_network_as_it_is_tested(tiny, monkeypatch):
    """That network halves in training, too, where dropout would mask."""
    changes = {"training.bias_rate": 1e-12, "training.weight_decay": 0.05}  # a decay that three steps show
    changes |= {"network.fc7.rate_factor": 3.0, "network.fc8.rate_factor": 2.0, "network.fc8.weight_decay": 0.1}
    tiny = edit(tiny, changes)
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (8, 224, 224, 3)).astype("float32"), random.integers(0, 3, 8)

    def trained(recipe):
        model = AlexNet(recipe, classes=3, mean_image=np.full((256, 256, 3), 128, "float32"), seed=1)
        model.compile(new_optimizer(recipe, model), "sparse_categorical_crossentropy")
        losses = [model.train_on_batch(images, labels) for _ in range(3)]
        kernels = {v.path: np.asarray(v) for v in model.trainable_variables if "kernel" in v.path}
        return losses, kernels

    losses, without = trained(variants.no_dropout(tiny))
    monkeypatch.setattr(PlainDropout, "call", lambda self, inputs, training=False: inputs * (1.0 - self.rate))
    expected, whole = trained(tiny)
    assert len({round(loss, 3) for loss in expected}) == 3, "the steps change something"
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    for path, kernel in whole.items():
        kept = 0.5 if path.startswith(("fc7", "fc8")) else 1
        np.testing.assert_allclose(without[path], kernel * kept, atol=1e-5 * np.abs(kernel).max(), err_msg=path)


def test_one_tower_has_the_lower_layers_of_one_and_the_upper_ones_of_both(tiny):
    both, one = shapes(tiny), shapes(variants.one_tower(tiny))
    for layer in ("conv1", "conv2", "conv4"):
        assert one[f"{layer}/kernel_a"] == both[f"{layer}/kernel_a"]
    assert one["conv3/kernel_a"][2] * 2 == both["conv3/kernel_a"][2]  # it read both towers
    assert one["conv5/kernel_a"][3] == 2 * both["conv5/kernel_a"][3]
    assert one["fc6/kernel_a"] == (both["fc6/kernel_a"][0], 2 * both["fc6/kernel_a"][1])
    assert one["fc8/kernel_a"] == both["fc8/kernel_a"] and not [path for path in one if path.endswith("_b")]


def test_separate_towers_meet_in_the_classifier_alone(tiny):
    both, apart = shapes(tiny), shapes(variants.separate_towers(tiny))
    halved = {path for path in both if both[path] != apart[path]}
    assert halved == {f"{layer}/kernel_{tower}" for layer in ("conv3", "fc6", "fc7") for tower in "ab"}
    assert all(apart[path][-2] * 2 == both[path][-2] for path in halved)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_removed_layer_leaves_the_maps_as_large_and_the_others_as_they_were(tiny, name):
    before, recipe = shapes(tiny), variants.without(tiny, name)
    after = shapes(recipe)
    assert set(before) - set(after) == {path for path in before if path.startswith(f"{name}/")}
    position = CONVOLUTIONS.index(name)
    follower = CONVOLUTIONS[position + 1] if position < 4 else "fc6"
    assert {path.split("/")[0] for path in after if after[path] != before[path]} <= {follower}
    assert replace(recipe, network=tiny.network) == tiny


@pytest.mark.parametrize("name", rest_slow(CONVOLUTIONS, first=2))
def test_a_removed_layer_of_source_leaves_six_by_six_maps(source, name):
    model = AlexNet(variants.without(source, name), classes=10)
    assert model.get_layer("flatten").input[0].shape[1:3] == (6, 6)


def test_a_removed_layer_that_read_both_towers_is_not_missed_as_a_crossing(source):
    by_name = {conv.name: conv for conv in variants.without(source, "conv3").network.convolutions}
    assert by_name["conv4"].reads == "all" and by_name["conv5"].reads == "own"


@pytest.mark.slow
def test_the_sixth_convolution_reads_both_towers_and_is_as_wide_as_the_fifth(source):
    six = variants.six_convolutions(source)
    assert changed(source, six) == {name for name in fields_of(six) if name.startswith("network.conv6.")}
    model = AlexNet(six, classes=10)
    assert tuple(model.get_layer("conv6").kernels[0].shape) == (3, 3, 256, 128)
    assert model.get_layer("fc6").kernels[0].shape == AlexNet(source, classes=10).get_layer("fc6").kernels[0].shape


def test_pre_training_slows_down_what_was_copied(source):
    recipe = pretraining_recipe(source, copied=5)
    six = variants.six_convolutions(source)
    assert changed(six, recipe) == {f"network.{name}.rate_factor" for name in CONVOLUTIONS}


def test_fine_tuning_is_slower_but_for_the_classifier(source):
    six, recipe = variants.six_convolutions(source), fine_tuning_recipe(source)
    assert changed(six, recipe) == {
        "network.conv1.rate_factor",
        "network.fc8.rate_factor",
        "training.weight_rate",
        "training.bias_rate",
    }
    assert recipe.training.weight_rate * recipe.network.classifier.rate_factor == pytest.approx(0.01)  # lab lineage
    assert recipe.training.weight_rate * recipe.network.convolutions[0].rate_factor == pytest.approx(0.0001)


def test_fall_2009_is_trained_last_and_every_set_to_pre_train_on_before_it(tmp_path, monkeypatch):
    trained = []

    def train(lab, variant, recipe, data, seed, initial=None):
        trained.append((variant, data.path.name, recipe.training.epochs, initial and (initial.run.name, initial.layer)))
        return SimpleNamespace(name=f"{variant}-{data.path.name}", recipe=recipe)

    def opened(lab, name=None):
        return SimpleNamespace(
            path=Path(name or "fall09"), examples=lambda split: 6, manifest={"options": {"holdout": 0.5}}, classes="abc"
        )

    monkeypatch.setattr(Lab, "open", opened)
    monkeypatch.setattr(Lab, "trained", train)
    monkeypatch.setattr(Lab, "errors", lambda *arguments: Evaluation.of(Tally(6, 1.0, 3, 0), "val", "ten-crop", 3))
    outcome = fall_2009.run(Lab(Options(seeds=1, pretrain=("2012", "fall11")), tmp_path))
    assert trained == [
        ("source", "2012", 20, None),
        ("six-conv", "fall11", 10, ("source-2012", "conv5")),
        ("six-conv", "fall09", 10, ("six-conv-fall11", "conv6")),
    ]
    assert outcome.facts["nets"] == ["six-conv-fall09"]
    assert "initialised with the convolutions of a network trained on 2012, then fall11 was" in outcome.summary
