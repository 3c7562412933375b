"""Recipes changed and compared field by field, and the learning rates of layers.

    edit(load_recipe("source"), {"training.epochs": 10, "network.conv3.initial_std": 0.02})
    edit(recipe, rate_factors(recipe.network, "conv1..conv5", 0.1))

A field is named by its path through the recipe, in which a layer has its own name: `network.fc8.rate_factor`."""

import dataclasses
import json
import re
import typing
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import pydantic

from alexnet_keras.errors import UsageError, plain_number
from alexnet_keras.recipes.geometry import side_after
from alexnet_keras.recipes.schema import ADAPTER, Network, Recipe

Place = tuple[int | str, ...]  # the keys that lead to a value in a recipe's dictionary

MOST_DIFFERENCES = 3  # between two networks, that a warning names
ABSENT = "absent"  # in place of the value of a layer that a recipe does not have


def edit(recipe: Recipe, changes: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """Return a copy of a recipe in which some fields have other values.

    Args:
        recipe: The recipe, which stays as it is.
        changes: The new values by dotted field name.
        where: The beginning of error messages.

    Raises:
        UsageError: A field does not exist, or its value is ill-typed or out of range; the message names the field.
    """
    edited: Any = recipe
    for path, value in changes.items():
        edited = _replaced(edited, path.split("."), value, f"{where} {path}: no such field")
    return validated(dataclasses.asdict(edited), where)


def _replaced(table: Any, path: list[str], value: Any, problem: str, place: str = "") -> Any:
    name, *rest = path
    names: list[str] = []
    for field in dataclasses.fields(table):
        item = getattr(table, field.name)
        tables = tables_in(field.name, item)
        if rest and name in tables:
            tables[name] = _replaced(tables[name], rest, value, problem, f"{place}.{name}")
            new = tuple(tables.values()) if isinstance(item, tuple) else tables[name]
            return dataclasses.replace(table, **{field.name: new})
        if not rest and not tables and name == field.name:
            return dataclasses.replace(table, **{name: value})
        names += tables or [field.name]
    raise UsageError(f"{problem}; {place.lstrip('.') or 'a recipe'} has {', '.join(names)}.")


def tables_in(field: str, item: Any) -> dict[str, Any]:
    """Return the tables that a field of a recipe holds, by layer name or else by the field's; none in a plain value."""
    if dataclasses.is_dataclass(item):
        return {getattr(item, "name", field): item}
    return {layer.name: layer for layer in item if hasattr(layer, "name")} if isinstance(item, tuple) else {}


def validated(values: dict[str, Any], where: str = "recipe") -> Recipe:
    """Return the recipe in a dictionary, as `dataclasses.asdict` or JSON have it.

    Raises:
        UsageError: A field is unknown, missing, ill-typed or out of range; the message names it.
    """
    try:
        # TOML and JSON have arrays, not tuples: JSON mode takes one for the other and stays strict elsewhere.
        recipe = ADAPTER.validate_json(json.dumps(values, default=_for_json))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        problem, given = first["msg"], first["input"]
        if isinstance(given, str | int | float):
            problem += f", not {given!r}"
        if "unexpected" in first["type"]:
            problem = f"no such field; fields there: {', '.join(_fields_at(first['loc'][:-1]))}"
        raise UsageError(f"{where}: {_dotted(first['loc'], values)}: {problem}.") from error
    if not recipe.network.convolutions:
        raise UsageError(f"{where}: network.convolutions: there has to be one at least.")
    for layer in recipe.network.layers:
        if not re.fullmatch(r"[A-Za-z]\w*", layer.name, re.ASCII):
            raise UsageError(f"{where}: a layer is called {layer.name!r}: take letters, digits and _, a letter first.")
    if twice := [name for name, times in Counter(recipe.network.names).items() if times > 1]:
        raise UsageError(f"{where}: two layers of the network have the same name, {twice[0]}.")
    if nothing_left := _first_empty(recipe.network):
        size = recipe.network.input_size
        raise UsageError(f"{where}: network.input_size: crops of {size}x{size} leave no pixels after {nothing_left}.")
    return recipe


def _for_json(value: Any) -> Any:
    number = plain_number(value)
    return str(value) if number is value else number


def _first_empty(network: Network) -> str | None:
    """The first convolution after which, or after whose pooling, maps have no pixels; None if all have some."""
    side = network.input_size
    for layer in network.convolutions:
        side = side_after(layer, side, network)
        if side < 1:
            return layer.name
    return None


def _fields_at(place: Place) -> list[str]:
    table: Any = Recipe
    for part in place:
        if isinstance(part, str):
            kind = typing.get_type_hints(table)[part]
            table = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind
    return [field.name for field in dataclasses.fields(table)]


def _dotted(place: Place, values: Any) -> str:
    """Return the name of a place in a recipe's dictionary, with the names of layers instead of their numbers."""
    names: list[str] = []
    for part in place:
        names.append(str(part))
        with suppress(LookupError, TypeError):  # it is missing, or no layer
            values = values[part]
            if isinstance(part, int):
                names[-2:] = [str(values["name"])]
    return ".".join(names)


class RecipeField(NamedTuple):
    """A field's value, and where it comes from."""

    value: Any
    source: str

    @property
    def text(self) -> str:
        """The value as people read it: `none`, `yes`, `0.01`, `relu, pool`."""
        match self.value:
            case None:
                return "none"
            case bool(value):
                return "yes" if value else "no"
            case float(value):
                return f"{value:g}"
            case tuple(values):
                return ", ".join(map(str, values)) or "none"
            case value:
                return str(value)


def fields_of(recipe: Recipe) -> dict[str, RecipeField]:
    """Return every field of a recipe by its dotted name: `{"network.conv1.filters": (48, "..."), ...}`."""
    found: dict[str, RecipeField] = {}

    def walk(prefix: str, table: Any) -> None:
        for field in dataclasses.fields(table):
            item = getattr(table, field.name)
            tables = tables_in(field.name, item)
            for name, inner in tables.items():
                walk(f"{prefix}{name}.", inner)
            if not tables:
                found[prefix + field.name] = RecipeField(item, field.metadata.get("source", ""))

    walk("", recipe)
    return found


def differences(*recipes: Recipe) -> list[list[str]]:
    """Return the fields in which recipes differ, but for name and summary; all fields of a single recipe.

    Returns:
        One row per field: its dotted name, its value in each recipe as people read it ("absent" where the recipe has no
        such layer), and where it comes from.
    """
    tables = [fields_of(recipe) for recipe in recipes]
    rows = []
    for name in dict.fromkeys(name for table in tables for name in table):
        found = [table.get(name) for table in tables]
        alike = len(recipes) > 1 and all(field and found[0] and field.value == found[0].value for field in found)
        if not alike and name not in ("name", "summary"):
            texts = [field.text if field else ABSENT for field in found]
            rows.append([name, *texts, next(field.source for field in found if field)])
    return rows


def same_arrays(recipe: Recipe, theirs: Recipe) -> bool:
    """True if the weights of two recipes' networks have the same names and shapes, but for the number of classes."""
    shapes = ("filters", "kernel", "units", "towers", "reads")
    fields = ({name: field.value for name, field in fields_of(each).items()} for each in (recipe, theirs))
    ours, others = ({name: value for name, value in each.items() if name.endswith(shapes)} for each in fields)
    return ours == others


def arithmetic_differences(recipe: Recipe, theirs: Recipe, *, converted: bool = False) -> list[str]:
    """Return how another recipe's network computes something else with the same weights: "network.lrn.n is 3 there".

    The shapes of weights, layers that one of them lacks, and settings of operations that neither has are not among it.

    Args:
        recipe: The recipe.
        theirs: The other one.
        converted: The weights are converted for `recipe`, which takes scale and dropout into account.
    """
    kept = ("filters", "kernel", "units", "initial_std", "initial_bias", "rate_factor", "weight_decay")
    used = {
        operation for each in (recipe, theirs) for conv in each.network.convolutions for operation in conv.followed_by
    }
    unused = tuple(f"network.{operation}." for operation in ("lrn", "spatial_norm") if operation not in used)
    found = []
    for name, ours, value, _ in differences(recipe, theirs):
        field = name.rpartition(".")[2]
        matters = field == "input_scale" or (name.startswith("network.") and field not in kept)
        matters = matters and not name.startswith(unused)
        if matters and ABSENT not in (ours, value) and not (converted and field in ("input_scale", "dropout")):
            found.append(f"{name} is {value} there")
    return found


def other_arithmetic(weights: str, differences: Sequence[str]) -> str:
    """Return what a warning says of weights that another network learnt: a sentence that may go on.

    Args:
        weights: The weights in words, with which it begins.
        differences: The differences of the networks, of which the first are named.
    """
    more = len(differences) - MOST_DIFFERENCES
    named = "; ".join([*differences[:MOST_DIFFERENCES], *([f"and {more} more"] if more > 0 else [])])
    return f"{weights} were learnt in a network that computes something else with them ({named})"


def rate_factors(network: Network, layers: str, factor: float) -> dict[str, float]:
    """Return the changes, as `edit` takes them, that multiply the learning rates of some layers.

    Args:
        network: The network that has the layers.
        layers: Names and ranges in the order of the network, with commas: `conv1..conv5,fc7`.
        factor: The factor of their rates; 0 freezes them.

    Raises:
        UsageError: There is no such layer, or a range runs backwards.
    """
    names = [layer.name for layer in network.layers]
    chosen: set[str] = set()
    for part in layers.split(","):
        first, dots, last = (piece.strip() for piece in part.partition(".."))
        last = last if dots else first
        for end in (first, last):
            if end not in names:
                raise UsageError(f"There is no layer {end!r} in this network; it has {', '.join(names)}.")
        start, stop = names.index(first), names.index(last)
        if stop < start:
            raise UsageError(f"The range {part.strip()} runs backwards: write {last}..{first}.")
        chosen.update(names[start : stop + 1])
    return {f"network.{name}.rate_factor": factor for name in names if name in chosen}


def frozen_layers(network: Network) -> list[str]:
    """Return the layers whose learning rates are 0 throughout, in the order of the network."""
    return [layer.name for layer in network.layers if layer.rate_factor == 0]


def check_something_learns(network: Network) -> None:
    """Refuse a network of which every layer is frozen.

    Raises:
        UsageError: Every layer is frozen.
    """
    if not any(layer.rate_factor for layer in network.layers):
        raise UsageError("Every layer is frozen, so nothing would be learnt: leave at least one out, such as fc8.")
