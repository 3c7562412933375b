"""Recipes by name and from files: reading, overriding, writing, and listing with citations.

A recipe file is TOML; a recipe that was written reads back equal. This module imports neither Keras nor TensorFlow.
"""

import dataclasses
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pydantic
import tomlkit

from alexnet_keras.errors import UsageError
from alexnet_keras.recipes.built_in import BUILT_IN
from alexnet_keras.recipes.schema import Recipe

_ADAPTER = pydantic.TypeAdapter(Recipe)


def load_recipe(name_or_file: str | Path) -> Recipe:
    """A built-in recipe by name, or one read from a TOML file.

    Raises:
        UsageError: no such recipe or file, or the file has an unknown or ill-typed field (the sentence names it).
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
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"The recipe file {path} is not valid TOML: {error}.") from error
    return from_dict(values, where=str(path))


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as nested dictionaries and lists of plain values, as JSON has them."""
    return _ADAPTER.dump_python(recipe, mode="json")


def chosen(recipe: Recipe) -> dict[str, Any]:
    """`to_dict` without what is as its class has it by default: the same when recipes gain fields."""
    return _ADAPTER.dump_python(recipe, mode="json", exclude_defaults=True)


def from_dict(values: dict[str, Any], where: str = "recipe") -> Recipe:
    """The reverse of `to_dict`. A field left out keeps its class's default.

    Raises:
        UsageError: a field is unknown, missing, ill-typed or out of range; the sentence names it.
    """
    try:
        # TOML and JSON have arrays, not tuples: JSON mode takes one for the other and stays strict elsewhere.
        recipe = _ADAPTER.validate_json(json.dumps(values, default=str))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        known = "; fields there: " + ", ".join(_fields_at(first["loc"][:-1])) if "unexpected" in first["type"] else ""
        problem = "no such field" if known else first["msg"]
        raise UsageError(f"{where}: {path}: {problem}{known}.") from error
    layers = recipe.network.layers
    if len({layer.name for layer in layers}) < len(layers):
        raise UsageError(f"{where}: two layers of the network have the same name.")
    return recipe


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """The names of the fields at a place in a recipe, for an error message."""
    value: Any = BUILT_IN["source"]
    for part in location:
        value = value[min(part, len(value) - 1)] if isinstance(part, int) else getattr(value, part)
    return [f.name for f in dataclasses.fields(value)]


def with_overrides(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """The recipe with fields changed as text: `["training.epochs=10", "network.conv3.initial_std=0.01"]`.

    A value is written as in TOML (10, 0.5, true, [25, 51]); a bare word is a string. A layer is reached by its
    name; `=none` clears an optional field.

    Raises:
        UsageError: a field does not exist or the value does not fit it; the sentence names the field.
    """
    return edit(recipe, parse_overrides(overrides), where="--set")


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """The fields and values that overrides name, as `edit` takes them.

    Raises:
        UsageError: one is not written as field=value.
    """
    changes = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals:
            raise UsageError(f"--set {override}: write it as field=value, for example training.epochs=10.")
        changes[path.strip()] = None if text.strip().lower() == "none" else _parse_value(text)
    return changes


def edit(recipe: Recipe, changes: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """The recipe with fields changed: `{"training.epochs": 10, "network.conv3.initial_std": 0.01}`.

    Args:
        recipe: The recipe, which stays as it is.
        changes: Values by dotted field name; a layer is reached by its name. Later ones go before earlier ones.
        where: What error messages begin with.

    Raises:
        UsageError: A field does not exist, or its value is ill-typed or out of range; the sentence names the field.
    """
    values = to_dict(recipe)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = values
        for depth, part in enumerate(parents):
            place = _children(place).get(part) or _no_such_field(where, path, parents[:depth], place)
        if last not in place or isinstance(place[last], dict) or last in _children(place):
            _no_such_field(where, path, parents, place)
        place[last] = value
    return from_dict(values, where=where)


def _children(place: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tables inside a table: its sub-tables by field name, and its layers by their own names."""
    children = {key: value for key, value in place.items() if isinstance(value, dict)}
    for value in place.values():
        if isinstance(value, list):
            children.update({item["name"]: item for item in value if isinstance(item, dict)})
    return children


def _no_such_field(where: str, path: str, parents: list[str], place: dict[str, Any]) -> NoReturn:
    plain = [key for key, value in place.items() if not isinstance(value, dict) and not _is_layer_list(value)]
    names = ", ".join([*plain, *_children(place)])
    raise UsageError(f"{where} {path}: no such field; {'.'.join(parents) or 'a recipe'} has {names}.")


def _is_layer_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def to_toml(recipe: Recipe) -> str:
    """The recipe as a TOML file whose comments say where each value comes from. `load_recipe` reads it back."""
    document = tomlkit.document()
    document.add(tomlkit.comment("An AlexNet recipe. Train with it: alexnet train --recipe THIS_FILE"))

    def fill(table: Any, value: Any) -> Any:
        for f in dataclasses.fields(value):
            item = getattr(value, f.name)
            if item is None:
                continue
            if dataclasses.is_dataclass(item):
                table.add(f.name, fill(tomlkit.table(), item))
            elif isinstance(item, tuple) and item and dataclasses.is_dataclass(item[0]):
                array = tomlkit.aot()
                for layer in item:
                    array.append(fill(tomlkit.table(), layer))
                table.add(f.name, array)
            else:
                entry = tomlkit.item(list(item) if isinstance(item, tuple) else item)
                if "source" in f.metadata:
                    entry.comment(f.metadata["source"])
                table.add(f.name, entry)
        return table

    return tomlkit.dumps(fill(document, recipe))


class CitedValue(NamedTuple):
    """A field's value and where it comes from."""

    value: Any
    source: str


def flatten(recipe: Recipe) -> dict[str, CitedValue]:
    """Every field by its dotted name, layers by their own names: {"network.conv1.filters": (48, "..."), ...}."""
    flat: dict[str, CitedValue] = {}

    def walk(prefix: str, table: Any) -> None:
        for f in dataclasses.fields(table):
            item = getattr(table, f.name)
            if dataclasses.is_dataclass(item):
                walk(f"{prefix}{f.name}.", item)
            elif isinstance(item, tuple) and item and dataclasses.is_dataclass(item[0]):
                for layer in item:
                    walk(f"{prefix}{layer.name}.", layer)
            else:
                flat[prefix + f.name] = CitedValue(item, f.metadata.get("source", ""))

    walk("", recipe)
    return flat


def in_words(fields: dict[str, CitedValue], name: str) -> str:
    """A field's value as people read it; "absent" where the recipe has no such layer."""
    match fields[name].value if name in fields else "absent":
        case None:
            return "none"
        case bool(value):
            return "yes" if value else "no"
        case float(value):
            return f"{value:g}"
        case tuple(values):
            return ", ".join(map(str, values)) or "nothing"
        case value:
            return str(value)
