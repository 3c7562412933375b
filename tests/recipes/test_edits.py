"""Recipes changed field by field, compared, and the learning rates of their layers."""

from dataclasses import replace

import pytest

from alexnet_keras.errors import UsageError
from alexnet_keras.recipes import edit, load_recipe, parse_overrides, rate_factors
from alexnet_keras.recipes.edits import (
    arithmetic_differences,
    check_something_learns,
    differences,
    fields_of,
    frozen_layers,
    other_arithmetic,
    same_arrays,
)
from alexnet_keras.recipes.toml import format_overrides, with_overrides

SOURCE = load_recipe("source")
ALL = "conv1..fc8"


def changed(layers, factor=0.0):
    return edit(SOURCE, rate_factors(SOURCE.network, layers, factor)).network


def test_an_edit_changes_its_fields_and_nothing_else():
    changes = {
        "network.fc8.initial_std": 0.1234567,
        "network.conv1.padding": [1, 2],
        "network.lrn.n": 7,
        "training.weight_rate": 1,
        "training.schedule.conv1_frozen_epoch": None,
        "name": "mine",
    }
    edited, before = fields_of(edit(SOURCE, changes)), fields_of(SOURCE)
    assert {name: field.value for name, field in edited.items() if field != before[name]} == {
        **changes,
        "network.conv1.padding": (1, 2),
    }
    assert type(edited["training.weight_rate"].value) is float
    assert fields_of(SOURCE) == before


@pytest.mark.parametrize("factor", [0.1234567, 1 / 3, 1e-12, 0.0])
def test_a_factor_arrives_to_the_last_digit_typed_and_as_text(factor):
    assert [layer.rate_factor for layer in changed(ALL, factor).layers] == [factor] * 8
    text = format_overrides(rate_factors(SOURCE.network, ALL, factor))
    assert [layer.rate_factor for layer in with_overrides(SOURCE, text).network.layers] == [factor] * 8


def test_changes_as_text_read_back_equal():
    changes = {
        "training.epochs": 10,
        "training.schedule.kind": "plateau",
        "training.schedule.conv1_frozen_epoch": None,
        "augmentation.flip": False,
        "network.conv1.followed_by": ["relu", "pool"],
        "network.conv1.padding": (1, 2),
        "name": "10",
        "summary": "none",
    }
    texts = format_overrides(changes)
    assert texts[:4] == [
        "training.epochs=10",
        "training.schedule.kind=plateau",
        "training.schedule.conv1_frozen_epoch=none",
        "augmentation.flip=false",
    ]
    assert parse_overrides(texts) == {**changes, "network.conv1.padding": [1, 2]}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("network.conv2.reads", "both", "test: network.conv2.reads: Input should be 'own' or 'all', not 'both'."),
        ("network.fc6.units", 1.5, "test: network.fc6.units: Input should be a valid integer, not 1.5."),
        ("network.conv2.padding", [1], "test: network.conv2.padding.1: Field required"),
        ("network.fc8.units", 3, "test network.fc8.units: no such field; network.fc8 has initial_std, initial_bias, "),
        (
            "network.fc8",
            3,
            "test network.fc8: no such field; network has conv1, conv2, conv3, conv4, conv5, fc6, fc7, ",
        ),
        ("training.schedule", 3, "test training.schedule: no such field; training has epochs, "),
        ("epochs", 3, "test epochs: no such field; a recipe has name, summary, network, augmentation, training."),
        ("network.conv2.name", "conv1", "test: two layers of the network have the same name, conv1."),
        ("network.conv2.name", "mean", "test: two layers of the network have the same name, mean."),
        ("network.fc7.name", "drop6", "test: two layers of the network have the same name, drop6."),
        ("network.conv2.name", "conv_fc6", "test: two layers of the network have the same name, relu_fc6."),
        ("network.conv2.name", "1", "test: a layer is called '1': take letters, digits and _, a letter first."),
        ("network.conv2.name", "a/b", "test: a layer is called 'a/b': take letters, digits and _, a letter first."),
    ],
)
def test_a_wrong_edit_is_refused_with_the_field_named(field, value, said):
    with pytest.raises(UsageError) as caught:
        edit(SOURCE, {field: value}, where="test")
    assert str(caught.value).startswith(said)


def test_recipes_are_compared_where_they_differ_in_words():
    edited = edit(SOURCE, {"training.momentum": 0.5, "augmentation.flip": False, "name": "mine"})
    assert [row[:-1] for row in differences(edited, SOURCE)] == [
        ["augmentation.flip", "no", "yes"],
        ["training.momentum", "0.5", "0.9"],
    ]
    (bias,) = (row for row in differences(SOURCE) if row[0] == "training.bias_rate")
    assert bias[1] == "0.02" and "net 145: epsB" in bias[2]
    assert len(differences(SOURCE)) == len(fields_of(SOURCE)) - 2 and differences(SOURCE, SOURCE) == []


def test_a_layer_that_a_recipe_has_not_is_absent_there():
    sixth = replace(SOURCE.network.convolutions[-1], name="conv6", followed_by=("relu",))
    network = replace(SOURCE.network, convolutions=(*SOURCE.network.convolutions, sixth))
    found = {name: texts for name, *texts, _ in differences(replace(SOURCE, network=network), SOURCE)}
    assert found["network.conv6.followed_by"] == ["relu", "absent"]
    assert all(name.startswith("network.conv6.") for name in found)
    assert found["network.conv6.weight_decay"] == ["none", "absent"]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("conv3", ["conv3"]),
        ("conv1..conv3", ["conv1", "conv2", "conv3"]),
        ("fc7, conv4..fc6 ,conv5", ["conv4", "conv5", "fc6", "fc7"]),
        ("fc7..fc8", ["fc7", "fc8"]),
        (ALL, ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]),
    ],
)
def test_names_and_ranges_are_in_the_order_of_the_network(text, meant):
    assert frozen_layers(changed(text)) == meant


def test_a_factor_multiplies_the_rates_and_freezes_nothing():
    network = changed("conv5..fc6,fc8", 0.25)
    assert [layer.rate_factor for layer in network.layers] == [1, 1, 1, 1, 0.25, 0.25, 1, 0.25]
    assert frozen_layers(network) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conv9", "no layer 'conv9' .* conv1, conv2, conv3, conv4, conv5, fc6, fc7, fc8"),
        ("conv1..", "no layer ''"),
        ("conv1,,conv2", "no layer ''"),
        ("conv5..conv1", "write conv1..conv5"),
    ],
)
def test_layers_that_are_not_there_are_refused_with_those_that_are(text, message):
    with pytest.raises(UsageError, match=message):
        rate_factors(SOURCE.network, text, 0.0)


def test_every_layer_is_named_by_its_own_field():
    assert rate_factors(SOURCE.network, "conv4,fc8", 0.125) == {
        "network.conv4.rate_factor": 0.125,
        "network.fc8.rate_factor": 0.125,
    }
    assert rate_factors(SOURCE.network, "conv3..conv3", 0) == {"network.conv3.rate_factor": 0}


def test_one_layer_that_learns_is_enough():
    check_something_learns(SOURCE.network)
    check_something_learns(changed("conv1..fc7"))
    with pytest.raises(UsageError, match="Every layer is frozen"):
        check_something_learns(changed(ALL))


def test_what_changes_the_answers_of_the_same_weights_is_named():
    sizes = {"network.conv1.filters": 4, "network.fc8.initial_std": 1.0, "training.momentum": 0.5}
    assert not arithmetic_differences(edit(SOURCE, sizes), SOURCE)
    other = edit(SOURCE, {"network.lrn.alpha": 0.5, "network.fc6.dropout": 0.1, "augmentation.input_scale": 0.2})
    found = arithmetic_differences(SOURCE, other)
    assert [name.partition(" is ")[0] for name in found] == [
        "network.fc6.dropout", "network.lrn.alpha", "augmentation.input_scale"
    ]  # fmt: skip
    assert arithmetic_differences(SOURCE, other, converted=True) == ["network.lrn.alpha is 0.5 there"]
    shorter = replace(SOURCE, network=replace(SOURCE.network, dense=SOURCE.network.dense[:1]))
    assert not arithmetic_differences(SOURCE, shorter) and not arithmetic_differences(shorter, SOURCE)
    torchvision = load_recipe("torchvision")
    assert not arithmetic_differences(torchvision, edit(torchvision, {"network.lrn.alpha": 0.5})), "no layer uses it"
    assert same_arrays(torchvision, edit(torchvision, {"network.conv1.stride": 2, "network.input_size": 128}))
    assert not same_arrays(SOURCE, edit(SOURCE, {"network.conv1.kernel": 7}))
    for names, shown in (("abc", "a; b; c"), ("abcde", "a; b; c; and 2 more")):
        assert other_arithmetic("the weights", names).endswith(f"something else with them ({shown})")
