"""Recipes by name, from files, from dictionaries and from the text of overrides.

A recipe file is TOML; a recipe that was written reads back equal."""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit

from alexnet_keras.errors import UsageError
from alexnet_keras.recipes.built_in import BUILT_IN
from alexnet_keras.recipes.edits import edit, tables_in, validated
from alexnet_keras.recipes.schema import ADAPTER, CLASSIFIER, Recipe


def load_recipe(name_or_file: str | Path) -> Recipe:
    """Return a built-in recipe by name, or the recipe in a TOML file.

    Args:
        name_or_file: `"source"`, `"paper"`, `"quickstart"`, `"modern"` or another built-in one; or a file's path.

    Raises:
        UsageError: There is no such recipe or file, or the file has an unknown or ill-typed field, which the message
            names.
    """
    if str(name_or_file) in BUILT_IN:
        return BUILT_IN[str(name_or_file)]
    path = Path(name_or_file)
    if not path.is_file():
        raise UsageError(
            f"There is no recipe {str(name_or_file)!r}: choose {', '.join(BUILT_IN)}, or give a TOML file "
            "(`alexnet recipes source --write my.toml` writes one to start from)."
        )
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"The recipe file {path} is not valid TOML: {error}.") from error
    return from_dict(values, where=str(path))


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as nested dictionaries and lists of plain values, as JSON has them."""
    return ADAPTER.dump_python(recipe, mode="json")


def from_dict(values: dict[str, Any], where: str = "recipe") -> Recipe:
    """Return the recipe that `to_dict` made a dictionary of, in this version or an earlier one.

    Args:
        values: The dictionary. A field left out keeps its class's default.
        where: The beginning of error messages.

    Raises:
        UsageError: A field is unknown, missing, ill-typed or out of range; the message names it.
    """
    return validated(migrated(values), where)


# Version 0.1 had the classifier as four fields of the network, and the operations after a convolution as `then`.
_CLASSIFIER_FIELDS = {
    "classifier_std": "initial_std",
    "classifier_bias": "initial_bias",
    "classifier_rate_factor": "rate_factor",
    "classifier_weight_decay": "weight_decay",
}
_LAYER_FIELDS = {"then": "followed_by"}


def migrated(values: dict[str, Any]) -> dict[str, Any]:
    """Return the dictionary of a recipe of version 0.1 in today's form, and one of today's form as it is.

    Recipes are kept as dictionaries in recipe files, states of runs, exported networks and results of benchmarks.
    What does not look like a recipe is left for `from_dict` to refuse.
    """
    network = values.get("network")
    if not isinstance(network, dict):
        return values
    today = dict(network)
    if "classifier" not in network and not network.keys().isdisjoint(_CLASSIFIER_FIELDS):
        today["classifier"] = {new: today.pop(old) for old, new in _CLASSIFIER_FIELDS.items() if old in network}
    if isinstance(network.get("convolutions"), list):
        today["convolutions"] = [
            _renamed(layer, _LAYER_FIELDS) if isinstance(layer, dict) else layer for layer in network["convolutions"]
        ]
    return {**values, "network": today}


def digest_values(recipe: Recipe) -> dict[str, Any]:
    """Return the values that are not their classes' defaults, in the form and order of version 0.1.

    A digest of them stays the same when recipes gain fields, and names what was kept under it in earlier versions.
    """
    values = ADAPTER.dump_python(recipe, mode="json", exclude_defaults=True)
    network = values["network"]
    old_names = {new: old for old, new in _LAYER_FIELDS.items()}
    network["convolutions"] = [_renamed(layer, old_names) for layer in network["convolutions"]]
    classifier = network.pop("classifier", {})
    network |= {old: classifier[new] for old, new in _CLASSIFIER_FIELDS.items() if new in classifier}
    return values


def _renamed(values: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in values.items()}


def with_overrides(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Return a recipe with fields changed by text: `["training.epochs=10", "network.conv3.initial_std=0.01"]`.

    Args:
        recipe: The recipe, which stays as it is.
        overrides: As `parse_overrides` reads them.

    Raises:
        UsageError: A field does not exist, or its value is ill-typed or out of range; the message names the field.
    """
    return edit(recipe, parse_overrides(overrides), where="--set")


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the fields and values in the text of overrides, as `edit` takes them.

    Args:
        overrides: `field=value` each. A value is written as in TOML (10, 0.5, true, [25, 51]); a bare word is a string,
            and `none` clears an optional field. Fields may have their names of version 0.1.

    Raises:
        UsageError: One is not written as field=value, or a field has two values.
    """
    changes: dict[str, Any] = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals:
            raise UsageError(f"--set {override}: write it as field=value, for example training.epochs=10.")
        *parents, last = path.strip().split(".")
        if parents == ["network"] and last in _CLASSIFIER_FIELDS:
            parents, last = [*parents, CLASSIFIER], _CLASSIFIER_FIELDS[last]
        elif len(parents) == 2:
            last = _LAYER_FIELDS.get(last, last)
        field, value = ".".join([*parents, last]), _parsed(text.strip())
        if field in changes and changes[field] != value:
            raise UsageError(f"--set gives {field} twice, as {changes[field]} and as {value}: leave one out.")
        changes[field] = value
    return changes


def format_overrides(changes: Mapping[str, Any]) -> list[str]:
    """Return changes as the text that `parse_overrides` reads, exact to the last digit."""

    def text(value: Any) -> str:
        if value is None:
            return "none"
        if isinstance(value, str) and _parsed(value) == value:
            return value
        return tomlkit.item(list(value) if isinstance(value, tuple) else value).as_string()

    return [f"{path}={text(value)}" for path, value in changes.items()]


def _parsed(text: str) -> Any:
    if text.lower() == "none":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def to_toml(recipe: Recipe) -> str:
    """Return a recipe as a TOML file whose comments say where each value comes from. `load_recipe` reads it back."""
    document = tomlkit.document()
    document.add(tomlkit.comment("An AlexNet recipe. Train with it: alexnet train --recipe THIS_FILE"))

    def fill(table: Any, value: Any) -> Any:
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if item is None:
                continue
            tables = [fill(tomlkit.table(), inner) for inner in tables_in(field.name, item).values()]
            if not tables:
                entry = tomlkit.item(list(item) if isinstance(item, tuple) else item)
                if "source" in field.metadata:
                    entry.comment(field.metadata["source"])
            elif isinstance(item, tuple):
                entry = tomlkit.aot()
                for inner in tables:
                    entry.append(inner)
            else:
                (entry,) = tables
            table.add(field.name, entry)
        return table

    return tomlkit.dumps(fill(document, recipe))
