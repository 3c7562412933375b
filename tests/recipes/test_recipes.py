"""Recipes: the constants of the two sources, files, overrides, those of earlier versions, and refusals."""

import hashlib
import json

import pytest

from alexnet_keras import AlexNet
from alexnet_keras.errors import UsageError
from alexnet_keras.recipes.built_in import BUILT_IN
from alexnet_keras.recipes.edits import edit, fields_of
from alexnet_keras.recipes.toml import (
    digest_values,
    from_dict,
    load_recipe,
    migrated,
    parse_overrides,
    to_dict,
    to_toml,
    with_overrides,
)


def values(name):
    return {field: cited.value for field, cited in fields_of(load_recipe(name)).items()}


def test_source_and_paper_differ_exactly_where_the_two_sources_do():
    source, paper = values("source"), values("paper")
    different = {f for f in source if source[f] != paper[f]} - {"name", "summary"}
    assert different == {
        "network.conv1.followed_by",
        "network.conv2.followed_by",
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


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_recipe_comes_back_from_its_file_and_from_its_dictionary(name, tmp_path):
    recipe = load_recipe(name)
    file = tmp_path / "recipe.toml"
    file.write_text(to_toml(recipe), encoding="utf-8")
    assert load_recipe(file) == recipe
    assert from_dict(to_dict(recipe)) == recipe


def test_every_constant_is_cited_in_the_file():
    uncited = [name for name, cited in fields_of(load_recipe("source")).items() if not cited.source]
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
    changes += ["training.schedule.kind=plateau", "network.conv2.followed_by=['relu', 'pool']"]
    recipe = with_overrides(load_recipe("source"), changes)
    assert recipe.training.epochs == 10
    assert recipe.network.convolutions[2].initial_std == 0.02
    assert recipe.network.dense[0].units == 64
    assert recipe.augmentation.flip is False
    assert recipe.training.schedule.drop_epochs == (3, 5)
    assert recipe.training.schedule.conv1_frozen_epoch is None
    assert recipe.training.schedule.kind == "plateau"
    assert recipe.network.convolutions[1].followed_by == ("relu", "pool")
    unchanged = {f for f, v in values("source").items() if fields_of(recipe)[f].value == v}
    assert len(values("source")) - len(unchanged) == 8


def test_no_class_weights_are_chosen_by_their_name():
    balanced = with_overrides(load_recipe("source"), ["training.class_weights=balanced"])
    assert with_overrides(balanced, ["training.class_weights=none"]) == load_recipe("source")


def test_a_network_is_built_of_the_smallest_crop_that_is_accepted():
    def accepted(size):
        try:
            return with_overrides(load_recipe("source"), [f"network.input_size={size}"])
        except UsageError as error:
            assert f"crops of {size}x{size} leave no pixels after conv" in str(error)

    smallest = next(recipe for size in range(1, 257) if (recipe := accepted(size)))
    widths = [f"network.conv{number}.filters=2" for number in range(1, 6)] + [
        "network.fc6.units=2",
        "network.fc7.units=2",
    ]
    size = smallest.network.input_size
    model = AlexNet(with_overrides(smallest, widths), classes=2)
    assert model.input_shape == (None, size, size, 3)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epocs=10", "training has epochs"),
        ("training.epochs=ten", "training.epochs"),
        ("training.epochs=10.5", "training.epochs"),
        ("training.epochs=0", "greater than 0"),
        ("network.conv9.filters=3", "conv1"),
        ("network.conv1.followed_by=['relu', 'pol']", "pool"),
        ("network.convolutions=4", "network.convolutions"),
        ("training=3", "no such field"),
        ("training.epochs", "field=value"),
        ("training.schedule.kind=linear", "'steps', 'plateau', 'dexp' or 'cosine'"),
        ("network.conv2.reads=none", "network.conv2.reads"),
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


def test_a_recipe_without_convolutions_is_refused():
    values = to_dict(load_recipe("source"))
    values["network"]["convolutions"] = []
    with pytest.raises(UsageError, match=r"network.convolutions: there has to be one at least"):
        from_dict(values)


def test_a_file_with_a_byte_order_mark_is_read_and_one_of_brackets_refused(tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(to_toml(load_recipe("paper")), encoding="utf-8-sig")
    assert load_recipe(file) == load_recipe("paper")
    file.write_text(f"a={'[' * 100_000}")
    with pytest.raises(UsageError, match="is not valid TOML"):
        load_recipe(file)


def test_a_field_has_one_value():
    assert parse_overrides(["training.epochs=10", "training.epochs = 10"]) == {"training.epochs": 10}
    with pytest.raises(UsageError, match=r"--set gives training.epochs twice, as 10 and as 20: leave one out"):
        parse_overrides(["training.epochs=10", "training.epochs=20"])
    with pytest.raises(UsageError, match="finite"):
        edit(load_recipe("source"), parse_overrides(["network.conv3.initial_std=nan"]))


def test_an_unknown_recipe_names_those_there_are():
    with pytest.raises(UsageError, match="source, paper, quickstart"):
        load_recipe("alexnet")


CLASSIFIER = {"initial_std": 0.1234567, "initial_bias": 0.5, "rate_factor": 10.0, "weight_decay": 0.0}
OLD_CLASSIFIER = {
    "classifier_std": 0.1234567,
    "classifier_bias": 0.5,
    "classifier_rate_factor": 10.0,
    "classifier_weight_decay": 0.0,
}


def of_version_0_1(recipe):
    """The dictionary of a recipe as version 0.1 kept it, and its TOML file."""
    values = to_dict(recipe)
    network = values["network"]
    del network["classifier"]
    network |= OLD_CLASSIFIER
    for conv in network["convolutions"]:
        conv["then"] = conv.pop("followed_by")
    return values


def test_a_recipe_of_version_0_1_is_brought_to_todays_form_and_one_of_today_stays_as_it_is():
    recipe = edit(load_recipe("source"), {f"network.fc8.{field}": value for field, value in CLASSIFIER.items()})
    old, today = of_version_0_1(recipe), to_dict(recipe)
    assert migrated(old) == today == migrated(today)
    assert from_dict(old) == recipe
    assert old == of_version_0_1(recipe), "what was given is left alone"


def test_a_file_of_version_0_1_reads_as_the_recipe_it_is(tmp_path):
    text = to_toml(load_recipe("quickstart"))
    for line in ("[network.classifier]", "initial_std = 0.028 "):
        assert line in text
    before, rest = text.split("[network.classifier]")
    old = before.replace("followed_by", "then") + rest[rest.index("[network.lrn]") :]
    (tmp_path / "old.toml").write_text(old.replace("towers = 2", "towers = 2\nclassifier_std = 0.028"))
    assert load_recipe(tmp_path / "old.toml") == load_recipe("quickstart")


def test_overrides_by_names_of_version_0_1_are_accepted():
    old = [f"network.{field}={value}" for field, value in OLD_CLASSIFIER.items()]
    assert parse_overrides([*old, "network.conv1.then=['relu']"]) == {
        **{f"network.fc8.{field}": value for field, value in CLASSIFIER.items()},
        "network.conv1.followed_by": ["relu"],
    }


@pytest.mark.parametrize(
    "values", [{"network": None}, {"network": {"convolutions": 3}}, {"network": {"convolutions": [3]}}]
)
def test_what_is_no_recipe_is_refused_as_such(values):
    with pytest.raises(UsageError, match="recipe: "):
        from_dict({"name": "x", "summary": "", **values})


DIGESTS = {  # of version 0.1
    "source": "ec3b181510dd",
    "paper": "13cedff8d533",
    "quickstart": "1a92c1fd9780",
    "modern": "10059f8bef80",  # since its batches are smaller
    "caffe": "73143c928165",
    "caffenet": "39c8606f199a",
    "torchvision": "08389421ab71",
}


def digest(recipe):
    return hashlib.sha256(json.dumps(digest_values(recipe)).encode()).hexdigest()[:12]


@pytest.mark.parametrize("name", DIGESTS)
def test_a_recipe_has_the_digest_that_it_had_in_version_0_1(name):
    assert digest(load_recipe(name)) == DIGESTS[name]


def test_a_changed_recipe_has_the_digest_that_it_had_in_version_0_1():
    changes = {
        "network.fc8.weight_decay": 0.5,
        "network.fc8.initial_std": 0.02,
        "network.fc8.rate_factor": 10.0,
        "network.fc8.initial_bias": 0.5,
        "network.conv2.followed_by": ("relu",),
        "network.lrn.k": 1.0,
    }
    assert digest(edit(load_recipe("source"), changes)) == "bebfde79dc60"
