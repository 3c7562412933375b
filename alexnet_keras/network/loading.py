"""Weights into a network: models that Keras saved, files of other frameworks, and published weights by name."""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from alexnet_keras.errors import DataError, NotFiniteError, UsageError
from alexnet_keras.layers import ColorNoise, EachTower, MeanSubtraction, TowerConv2D, TowerDense
from alexnet_keras.network.summary import weights_not_finite
from alexnet_keras.recipes import schema
from alexnet_keras.recipes.edits import other_arithmetic
from alexnet_keras.reporter import ProgressBar
from alexnet_keras.storage import hub
from alexnet_keras.storage.file_kinds import refuse_other_kinds
from alexnet_keras.weights.conventions import Weights
from alexnet_keras.weights.formats import FORMATS, kind_of, read_weights, warning_of_network
from alexnet_keras.weights.published import PUBLISHED, published_path, refuse_missing


def load_model(file: str | Path) -> keras.Model:
    """Load the model in a `.keras` file, in a directory that `alexnet publish` made, or at `hf://USER/NAME`.

    Raises:
        UsageError: There is no such model on the hub.
        DataError: The file is damaged, or no Keras model.
        NotFiniteError: A weight is not finite.
    """
    path = hub.fetch(file) if hub.is_address(file) else Path(file)
    refuse_other_kinds(path / "model.weights.h5" if path.is_dir() else path, "keras", "hdf5")
    with _reading(hub.written(file)):
        model = keras.saving.load_model(str(path), compile=False)
    return finite(model, hub.written(file))


def finite(model: keras.Model, named: str) -> keras.Model:
    """Return a model if all its weights are finite: on CPUs rectifiers and pooling hide NaN from what follows.

    Args:
        model: A model.
        named: What it was read from.

    Raises:
        NotFiniteError: A weight is not.
    """
    if path := weights_not_finite(model):
        raise NotFiniteError(
            f"{named} has weights {path} that are not finite: it is damaged, or its training diverged. Use another "
            "model, or train again with a smaller learning rate."
        )
    return model


@contextmanager
def _reading(file: str | Path) -> Iterator[None]:
    """Report any error as a file that cannot be loaded."""
    try:
        yield
    except Exception as error:  # of damaged files h5py and Keras raise all sorts of things
        if isinstance(error, UnboundLocalError) and isinstance(error.__context__, Exception):
            error = error.__context__  # what Keras 3.15 stumbles over after the error itself
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{file} cannot be loaded, so it is damaged or not AlexNet's: {reason}") from error


def load_weights(model: keras.Model, weights: str | Path, recipe: schema.Recipe, *, mean: bool = True) -> None:
    """Load weights into a network of AlexNet's: by name, or from a file of Keras's or of another framework's.

    A classifier for other classes, or none, is left as it is, with a warning. Another warning reports layers of a file
    that compute something else with the same weights.

    Args:
        model: The network.
        weights: `"imagenet"`, another name in `published.PUBLISHED`, a path, of a file or of a directory that
            `alexnet publish` made, or an address on the hub.
        recipe: The network's recipe.
        mean: Also load the mean image or colour that the weights were learnt with; else the model keeps its own.

    Raises:
        UsageError: There is no such file, its name does not say what it is, or nobody published such weights for the
            recipe.
        AlexNetError: The published weights cannot be downloaded.
        DataError: The file is damaged, or of another network.
        NotFiniteError: A weight is not finite.
    """
    given = None if mean else model.get_layer("mean").get_weights()
    published, named = hub.is_address(weights) or hub.is_model(Path(weights)), hub.written(weights)
    file = Path(weights) if published else _file_of(weights, recipe)
    other = None
    if published or file.suffix == ".keras":
        other = load_model(file)
        taken = copy_weights(model, other)
    elif file.name.endswith(".weights.h5"):
        taken = _load_h5(model, file)
    else:
        taken = _load_others(model, file, recipe, mean)
    wanted = [layer.name for layer in model.layers if layer.weights]
    if given is not None:
        model.get_layer("mean").set_weights(given)
        wanted.remove("mean")
    if missing := [name for name in wanted if name not in taken and name != schema.CLASSIFIER]:
        raise DataError(f"{named} is of another network: it has no {', '.join(missing)} of the same shape.")
    finite(model, named)
    if other is not None:
        _warn_of_differences(model, other, named)
    if schema.CLASSIFIER in wanted and schema.CLASSIFIER not in taken:
        warnings.warn(
            f"{named} has other classes than this network: its fc8 was not loaded, and ours keeps its initial weights.",
            stacklevel=2,
        )


def _file_of(weights: str | Path, recipe: schema.Recipe) -> Path:
    """The file of weights: a published one by its name, or the one at a path."""
    if weights == "imagenet":
        if recipe.name not in (recipes := dict.fromkeys(file.recipe for file in PUBLISHED.values())):
            raise UsageError(f"ImageNet weights exist for the recipes {', '.join(recipes)}. Received: {recipe.name!r}")
        weights = recipe.name
    if isinstance(weights, str) and weights in PUBLISHED:
        return published_path(weights, reporter=ProgressBar())
    if not Path(weights).is_file():
        refuse_missing(str(weights))
    return Path(weights)


def assign_weights(model: keras.Model, weights: Mapping[str, list[Weights]]) -> list[str]:
    """Assign each tower's kernel and bias, and return the names of the layers that have them now.

    A layer of other shapes stays as it is.
    """
    layers = [layer for layer in model.layers if layer.name in weights and _fit(layer, weights[layer.name])]
    for layer in layers:
        for tower, (kernel, bias) in enumerate(weights[layer.name]):
            layer.kernels[tower].assign(kernel)
            layer.biases[tower].assign(bias)
    return [layer.name for layer in layers]


def _fit(layer: keras.layers.Layer, towers: list[Weights]) -> bool:
    return [kernel.shape for kernel in layer.kernels] == [kernel.shape for kernel, _ in towers]


def _load_others(model: keras.Model, file: Path, recipe: schema.Recipe, mean: bool) -> list[str]:
    """Load another framework's file, and return the names of the layers that it has weights for."""
    kind = kind_of(file)
    weights, _ = read_weights(file, kind, recipe)
    if mean:
        layer = model.get_layer("mean")
        layer.mean.assign(np.broadcast_to(np.asarray(FORMATS[kind].mean, np.float32), layer.shape))
    if warning := warning_of_network(file, kind, recipe):
        warnings.warn(warning, stacklevel=4)
    return ["mean", *assign_weights(model, weights)]


def copy_weights(model: keras.Model, other: keras.Model) -> list[str]:
    """Copy the weights of another network, layer by layer, and return the names of the layers that were copied.

    A layer without one of the same name and shapes in the other network stays as it is.
    """
    others = {layer.name: layer for layer in other.layers if layer.weights}
    return [layer.name for layer in model.layers if layer.weights and _copied(layer, others.get(layer.name))]


def _copied(layer: keras.layers.Layer, other: keras.layers.Layer | None) -> bool:
    """Copy the weights of another layer; return False if it has none, or of other names or shapes."""
    if other is None or [w.name for w in layer.weights] != [w.name for w in other.weights]:
        return False
    values = other.get_weights()
    if isinstance(layer, MeanSubtraction):  # a mean colour goes to every pixel
        values = [np.broadcast_to(values[0], layer.shape)] if values[0].shape == (1, 1, 3) else values
    if [w.shape for w in layer.weights] != [value.shape for value in values]:
        return False
    layer.set_weights(values)
    return True


def _load_h5(model: keras.Model, file: Path) -> list[str]:
    """Load a .weights.h5 file and return the names of the layers that it has weights for.

    Raises:
        DataError: It is damaged, or has more layers than the network: Keras numbers them, and would leave the last out.
    """
    refuse_other_kinds(file, "hdf5")
    with _reading(file), h5py.File(file) as h5:
        there = Counter(re.sub(r"_\d+$", "", name) for name in h5.get("layers", ()))
    ours = Counter(type(layer) for layer in model.layers)
    behind = not any(layer.name == schema.CLASSIFIER for layer in model.layers)  # the end is the caller's choice
    dense = ours[TowerDense] + behind if ours[TowerDense] else math.inf
    for name, kind, most, words in (
        ("tower_conv2d", TowerConv2D, ours[TowerConv2D], "convolutions"),
        ("tower_dense", TowerDense, dense, "fully-connected layers"),
    ):
        if there[name] > most:
            raise DataError(f"{file} is of another network: it has {there[name]} {words}, and this one {ours[kind]}.")
    layers = {layer.name: layer for layer in model.layers if layer.weights}
    before = {name: layer.get_weights() for name, layer in layers.items()}
    for weight in model.weights:  # those that are infinite afterwards have not been loaded
        weight.assign(np.full(weight.shape, np.inf, np.float32))
    with _reading(file), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.load_weights(file, skip_mismatch=True)
    taken = [name for name, layer in layers.items() if not any(np.isposinf(w).all() for w in layer.get_weights())]
    for name in set(layers) - set(taken):
        layers[name].set_weights(before[name])
    return taken


def _warn_of_differences(model: keras.Model, other: keras.Model, file: str) -> None:
    if differences := layer_differences(model, other):
        warnings.warn(f"{other_arithmetic(f'the weights of {file}', differences)}.", stacklevel=3)


def layer_differences(model: keras.Model, other: keras.Model) -> list[str]:
    """Return where another network computes another output with the same weights: "norm1: n is 3 there".

    Compared are the layers from the mean to the one before the classifier: their kinds, settings and order, and which
    of them one of the networks lacks. The end is the caller's choice, and colour noise is of training alone.
    """
    ours, theirs = _body(model), _body(other)
    if "flatten" not in ours:  # it ends with the maps, as include_top=False and `pooling` do
        theirs = dict(takewhile(lambda item: item[0] != "flatten", theirs.items()))
    both, there = [name for name in ours if name in theirs], [name for name in theirs if name in ours]
    differences = [f"it has no {name}" for name in ours if name not in theirs]
    end = list(theirs).index(there[-1]) if there else -1  # what follows can be another end, but for parts of ours
    differences += [
        f"it has {name}"
        for place, (name, layer) in enumerate(theirs.items())
        if name not in ours and (place < end or isinstance(layer, EachTower))
    ]
    differences += [
        f"{name} is before {after} there" for after, name in zip(both, there, strict=True) if name != after
    ][:1]
    for name in both:
        arithmetic, found = _arithmetic(ours[name]), _arithmetic(theirs[name])
        differences += [
            f"{name}: {key} is {found.get(key)} there" for key in arithmetic if arithmetic[key] != found.get(key)
        ]
    return differences


# Of what include_top=False ends with, in place of the layers behind it.
JOINS = keras.layers.Concatenate | keras.layers.GlobalAveragePooling2D | keras.layers.GlobalMaxPooling2D
NO_ARITHMETIC = {"name", "dtype", "trainable", "seed", "layer", "mean", "shape", "magnitudes", "vectors"}
NO_ARITHMETIC |= {"kernel_initializer", "bias_initializer"}


def _body(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Return the layers by name, in order, from the mean to the one before the classifier or what joins the towers."""
    others = keras.layers.InputLayer | ColorNoise | JOINS
    end = (schema.CLASSIFIER, "predictions")
    return {layer.name: layer for layer in model.layers if not isinstance(layer, others) and layer.name not in end}


def _arithmetic(layer: keras.layers.Layer) -> dict[str, Any]:
    """Return the part of a layer's config that decides its output, given its weights, and its class."""
    config = layer.get_config()
    inner = config.get("layer")
    config |= {"class": " of ".join([type(layer).__name__, *([inner["class_name"]] if inner else [])])}
    config |= inner["config"] if inner else {}
    return {key: value for key, value in config.items() if key not in NO_ARITHMETIC}
