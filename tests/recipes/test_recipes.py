"""Recipes: the constants of the two sources, files, overrides, and what is refused."""

import pytest

from alexnet_keras.errors import UsageError
from alexnet_keras.recipes.built_in import BUILT_IN
from alexnet_keras.recipes.toml import flatten, from_dict, load_recipe, to_dict, to_toml, with_overrides


def values(name):
    return {field: cited.value for field, cited in flatten(load_recipe(name)).items()}


def test_source_and_paper_differ_exactly_where_the_two_sources_do():
    source, paper = values("source"), values("paper")
    different = {f for f in source if source[f] != paper[f]} - {"name", "summary"}
    assert different == {
        "network.conv1.then",
        "network.conv2.then",
        "network.conv3.initial_std",
        "network.conv4.initial_std",
        "network.conv5.initial_std",
        "network.lrn.alpha_convention",
        "augmentation.crop_group",
        "augmentation.color_noise_scale",
        "augmentation.color_noise_rescale",
        "training.epochs",
        "training.bias_decay",
        "training.bias_rate",
        "training.schedule.kind",
        "training.schedule.length",
        "training.schedule.biases_drop",
        "training.schedule.conv1_lowered_epoch",
        "training.schedule.conv1_frozen_epoch",
        "training.schedule.color_noise_off_epoch",
    }


@pytest.mark.parametrize(
    ("recipe", "field", "value"),
    [
        ("source", "network.conv1.padding", (0, 3)),
        ("source", "network.conv1.then", ("lrn", "pool", "relu")),
        ("source", "network.conv3.initial_std", 0.03),
        ("source", "network.conv4.initial_bias", 1.0),
        ("source", "training.bias_rate", 0.02),
        ("source", "training.bias_decay", 0.0),
        ("source", "training.schedule.drop_epochs", (25, 51, 79)),
        ("source", "network.lrn.alpha_convention", "mean"),
        ("paper", "network.lrn.alpha_convention", "sum"),
        ("paper", "network.conv3.initial_std", 0.01),
        ("paper", "training.bias_rate", 0.01),
        ("paper", "training.bias_decay", 0.0005),
    ],
)
def test_constants(recipe, field, value):
    assert values(recipe)[field] == value


def test_quickstart_has_the_topology_of_source():
    def topology(name):
        net = load_recipe(name).network
        convolutions = [(c.name, c.kernel, c.stride, c.padding, c.reads, c.then) for c in net.convolutions]
        return convolutions, [(d.name, d.reads, d.dropout) for d in net.dense], net.towers

    assert topology("quickstart") == topology("source")


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_recipe_comes_back_from_its_file_and_from_its_dictionary(name, tmp_path):
    recipe = load_recipe(name)
    file = tmp_path / "recipe.toml"
    file.write_text(to_toml(recipe), encoding="utf-8")
    assert load_recipe(file) == recipe
    assert from_dict(to_dict(recipe)) == recipe


def test_every_constant_is_cited_in_the_file():
    uncited = [name for name, cited in flatten(load_recipe("source")).items() if not cited.source]
    assert {name.rpartition(".")[2] for name in uncited} <= {"name", "summary"}
    text = to_toml(load_recipe("source"))
    assert "epsB = 0.02" in text or "net 145: epsB" in text


def test_overrides_reach_tables_layers_lists_and_optional_fields():
    changes = [
        "training.epochs=10",
        "network.conv3.initial_std=0.02",
        "network.fc6.units=64",
        "augmentation.flip=false",
    ]
    changes += ["training.schedule.drop_epochs=[3, 5]", "training.schedule.conv1_frozen_epoch=none"]
    changes += ["training.schedule.kind=plateau", "network.conv2.then=['relu', 'pool']"]
    recipe = with_overrides(load_recipe("source"), changes)
    assert recipe.training.epochs == 10
    assert recipe.network.convolutions[2].initial_std == 0.02
    assert recipe.network.dense[0].units == 64
    assert recipe.augmentation.flip is False
    assert recipe.training.schedule.drop_epochs == (3, 5)
    assert recipe.training.schedule.conv1_frozen_epoch is None
    assert recipe.training.schedule.kind == "plateau"
    assert recipe.network.convolutions[1].then == ("relu", "pool")
    unchanged = {f for f, v in values("source").items() if flatten(recipe)[f].value == v}
    assert len(values("source")) - len(unchanged) == 8


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epocs=10", "training has epochs"),
        ("training.epochs=ten", "training.epochs"),
        ("training.epochs=10.5", "training.epochs"),
        ("training.epochs=0", "greater than 0"),
        ("network.conv9.filters=3", "conv1"),
        ("network.conv1.then=['relu', 'pol']", "pool"),
        ("network.convolutions=4", "network.convolutions"),
        ("training=3", "no such field"),
        ("training.epochs", "field=value"),
        ("training.schedule.kind=linear", "'steps', 'plateau', 'dexp' or 'cosine'"),
        ("network.conv2.reads=none", "network.convolutions.1.reads"),
    ],
)
def test_a_wrong_override_is_refused_with_the_field_named(override, said):
    with pytest.raises(UsageError) as caught:
        with_overrides(load_recipe("source"), [override])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("epochs = 91", "epoch = 91"), "training.epoch"),
        (("epochs = 91", 'epochs = "many"'), "training.epochs"),
        (("[network]", "[network"), "not valid TOML"),
        (('name = "conv2"', 'name = "conv1"'), "same name"),
    ],
)
def test_a_wrong_file_is_refused_with_the_field_named(change, said, tmp_path):
    file = tmp_path / "wrong.toml"
    file.write_text(to_toml(load_recipe("source")).replace(*change), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_recipe(file)
    assert said in str(caught.value)


def test_an_unknown_recipe_names_those_there_are():
    with pytest.raises(UsageError, match="source, paper, quickstart"):
        load_recipe("alexnet")
