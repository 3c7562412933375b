"""A model's layers, tower by tower: their sizes and parameters, and the values passed between towers (figure 2)."""

from dataclasses import dataclass
from math import prod
from typing import Literal

import keras
import numpy as np

from alexnet_keras.errors import UsageError
from alexnet_keras.layers import (
    EachTower,
    LocalResponseNormalization,
    PlainDropout,
    SpatialResponseNormalization,
    TowerConv2D,
)
from alexnet_keras.layers.towers import TowerLayer, tower_letter

# Neurons per layer, paper, section 3.5. The first does not follow from 55x55x96 = 290,400; the others do follow.
PAPER_NEURONS = {
    "conv1": 253_440,
    "conv2": 186_624,
    "conv3": 64_896,
    "conv4": 64_896,
    "conv5": 43_264,
    "fc6": 4096,
    "fc7": 4096,
    "fc8": 1000,
}


@dataclass(frozen=True)
class Operation:
    """An operation after a layer, in every tower, without weights of its own.

    Attributes:
        name: The name of its Keras layer.
        text: A short description: "max pool 3/2" has a window of 3 and a stride of 2.
        output: `(height, width, maps)` or `(units,)` of one tower.
    """

    name: str
    text: str
    output: tuple[int, ...]


@dataclass(frozen=True)
class Transfer:
    """The number of values that one tower's part of a layer reads of another tower, forward, for one image."""

    source: str
    target: str
    values: int


@dataclass(frozen=True)
class LayerSummary:
    """One layer that has weights.

    Attributes:
        name: As in the paper: conv1, ..., fc8.
        kind: `"convolution"` or `"dense"`.
        towers: Number of towers that have it, from tower a on.
        reads: The image, its own tower, or all towers; `"own"` in a network of one tower.
        output: Shape of one tower's output: `(height, width, maps)` or `(units,)`.
        kernel: `(height, width, depth)` of one kernel; `(inputs,)` of a fully-connected neuron.
        stride: Pixels; None where the layer is fully connected.
        neurons: Number in all towers.
        parameters: Weights and biases in all towers.
        multiply_adds: Of the forward pass of one image, in all towers.
        transfers: What it reads across towers.
        followed_by: The operations up to the next layer.
    """

    name: str
    kind: Literal["convolution", "dense"]
    towers: int
    reads: Literal["image", "own", "all"]
    output: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: int | None
    neurons: int
    parameters: int
    multiply_adds: int
    transfers: tuple[Transfer, ...]
    followed_by: list[Operation]

    @property
    def passed_on(self) -> tuple[int, ...]:
        """The shape that the next layer reads of one tower: that after the operations."""
        return self.followed_by[-1].output if self.followed_by else self.output


def parameters_of(model: keras.Model) -> int:
    """Return the number of trained parameters: 60,965,224 of the paper's network. The mean image is not trained."""
    return sum(prod(variable.shape) for variable in model.trainable_variables)


def weights_not_finite(model: keras.Model) -> str:
    """Return the path of the first variable, in network order, with numbers that are not finite; "" without one."""
    for layer in model.layers:
        for variable, numbers in zip(layer.weights, layer.get_weights(), strict=True):
            if not np.isfinite(numbers).all():
                return variable.path
    return ""


def tower_layers(model: keras.Model) -> list[TowerLayer]:
    """Return the layers that have weights in towers, from the first convolution to the classifier.

    Raises:
        UsageError: The model has none, or only inside another model.
    """
    if found := [layer for layer in model.layers if isinstance(layer, TowerLayer)]:
        return found
    inner = next((layer.name for layer in model.layers if isinstance(layer, keras.Model)), None)
    instead = f": give the network inside it, model.get_layer({inner!r})" if inner else ""
    raise UsageError(f"The model {model.name!r} has no layers of AlexNet's{instead}.")


def summarize(model: keras.Model) -> list[LayerSummary]:
    """Return a summary of every layer that has weights, in the order of the network.

    Raises:
        UsageError: The model has none, or only inside another model.
    """
    tower_layers(model)
    summaries: list[LayerSummary] = []
    for layer in model.layers:
        output = tuple(keras.tree.flatten(layer.output)[0].shape[1:])
        if isinstance(layer, TowerLayer):
            summaries.append(_summary(layer, output, first=not summaries))
        elif summaries and (text := _text(layer.layer if isinstance(layer, EachTower) else layer)):
            summaries[-1].followed_by.append(Operation(layer.name, text, output))
    return summaries


def _summary(layer: TowerLayer, output: tuple[int, ...], first: bool) -> LayerSummary:
    inputs = keras.tree.flatten(layer.input)
    reads_all = layer.reads == "all" and len(inputs) > 1
    kernel, convolution = layer.kernels[0].shape, isinstance(layer, TowerConv2D)
    return LayerSummary(
        name=layer.name,
        kind="convolution" if convolution else "dense",
        towers=layer.towers,
        reads="image" if first else "all" if reads_all else "own",
        output=output,
        kernel=tuple(kernel[:-1]),
        stride=layer.strides if convolution else None,
        neurons=layer.towers * prod(output),
        parameters=layer.towers * (prod(kernel) + kernel[-1]),
        multiply_adds=layer.towers * prod(kernel) * prod(output[:-1]),
        transfers=tuple(
            Transfer(tower_letter(source), tower_letter(target), prod(tensor.shape[1:]))
            for source, tensor in enumerate(inputs)
            for target in range(layer.towers)
            if reads_all and target != source
        ),
        followed_by=[],
    )


def _text(layer: keras.layers.Layer) -> str:
    """Describe a layer without weights in a word or two; "" for one that changes no value, such as flattening."""
    match layer:
        case LocalResponseNormalization():
            return "LRN"
        case SpatialResponseNormalization():
            return "spatial norm"
        case keras.layers.MaxPooling2D():
            return f"max pool {layer.pool_size[0]}/{layer.strides[0]}"
        case PlainDropout():
            return f"dropout {layer.rate:g}"
        case keras.layers.Activation():
            name = layer.activation.__name__
            return {"relu": "ReLU", "linear": ""}.get(name, name)
        case _:
            return ""
