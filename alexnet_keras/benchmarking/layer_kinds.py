"""What kind of layer each operation of TensorFlow's belongs to, by the names and connections in the graph that runs.

TensorFlow names an operation after the layer that made it, forward ("alexnet_1/conv2_1/add") and backward
("gradient_tape/alexnet_1/conv2_1/..."). Three sorts of operation need more than their name:

- gradients that a layer computes in a function of its own have no layer in their name; they read what the layer kept
  from its forward pass;
- several operations that TensorFlow has fused have the name of the last one, and count as the first: a convolution
  that adds its bias and applies ReLU is a convolution;
- what Keras casts from one precision to another stands between two layers, and is a kind of its own.
"""

import re
from typing import NamedTuple

import keras
import tensorflow as tf

from alexnet_keras.layers import (
    ColorNoise,
    EachTower,
    LocalResponseNormalization,
    MeanSubtraction,
    PlainDropout,
    SpatialResponseNormalization,
    TowerConv2D,
    TowerDense,
)
from alexnet_keras.training.step import LOSS_SCOPE

INPUT = "input (mean and colour noise)"
CASTS = "casts between precisions"
LOSS = "loss"
OPTIMIZER = "optimizer (update)"
OTHER = "other"
_CLASSES = {
    MeanSubtraction: INPUT,
    ColorNoise: INPUT,
    TowerConv2D: "convolution",
    LocalResponseNormalization: "local response normalisation",
    SpatialResponseNormalization: "spatial normalisation",
    keras.layers.MaxPooling2D: "pooling",
    TowerDense: "fully connected",
    PlainDropout: "dropout",
}
_ACTIVATIONS = {"relu": "ReLU", "tanh": "tanh", "softmax": "softmax"}
_FUSED_REACH = 8  # operations that TensorFlow fuses into one, at most


class _Place(NamedTuple):
    """Where in the network an operation belongs: the layer's position, what kind it is, whether it is a gradient."""

    position: int
    kind: str
    backward: bool


def kind_of(layer: keras.Layer) -> str:
    """The kind of a layer, by its class; an activation's by its function."""
    if isinstance(layer, EachTower):
        return kind_of(layer.layer)
    if isinstance(layer, keras.layers.Activation):
        return _ACTIVATIONS.get(layer.activation.__name__, OTHER)
    return next((kind for known, kind in _CLASSES.items() if isinstance(layer, known)), OTHER)


def kinds_in(model: keras.Model, training: bool) -> list[str]:
    """The kinds of layer that a network has, in the order of their first layer, then what else a step consists of."""
    layers = model.layers[:-1] if training else model.layers  # training takes the logits, before the softmax
    kinds = list(dict.fromkeys(kind for kind in map(kind_of, layers) if kind != OTHER))
    casts = [CASTS] if _casts(model) else []
    return [*kinds, *casts, *([LOSS, OPTIMIZER] if training else []), OTHER]


class LayerKinds:
    """`kinds(name, type)` says what kind of layer an operation belongs to.

    Args:
        model: The network.
        graph: Of the function that runs.
        images: The name of the function's argument with the images.
        optimizer: The optimizer's name, whose operations have it in theirs; "" where there is none.
    """

    def __init__(self, model: keras.Model, graph: tf.Graph, images: str, optimizer: str = "") -> None:
        self._layers: dict[str, tuple[int, str]] = {}
        for position, layer in enumerate(model.layers):
            for each in (layer, *layer._flatten_layers(include_self=False, recursive=True)):
                self._layers.setdefault(each.name, (position, kind_of(layer)))
        self._behind = len(model.layers)  # the position of the loss
        self._operations = {operation.name: operation for operation in graph.get_operations()}
        self._images, self._optimizer, self._casts = images, optimizer, _casts(model)
        self._places: dict[str, _Place | None] = {}
        for operation in self._operations.values():  # inputs come first
            self._places[operation.name] = self._place(operation)

    def __call__(self, name: str, kind: str) -> str | None:
        """The kind of the operation of this name and this type, as it ran; None where nothing tells.

        TensorFlow may run operations that are not in the graph: those it has fused, inlined or added.
        """
        if self._optimizer and f"{self._optimizer}/" in name:
            return OPTIMIZER
        if "Fused" in kind:
            name = self._first_of_fused(name, kind.rpartition("Fused")[2])
        place = self._places[name] if name in self._places else self._named(name)
        if kind == "Cast" and self._casts and place and place.kind not in (INPUT, LOSS):
            return CASTS
        return place and place.kind

    def _place(self, operation: tf.Operation) -> _Place | None:
        if operation.name == self._images:
            return _Place(-1, INPUT, False)
        if named := self._named(operation.name):
            return named
        read = [place for each in operation.inputs if (place := self._places.get(each.op.name))]
        forward = [place for place in read if not place.backward]
        if len(forward) == len(read):
            return max(forward, default=None)
        # A gradient. What it kept of the forward pass is its layer's own and the output of the layer before.
        return max(forward)._replace(backward=True) if forward else min(read)

    def _named(self, name: str) -> _Place | None:
        parts = name.split("/")
        backward = "gradient_tape" in parts
        for part in parts:
            plain = re.sub(r"_\d+$", "", part)
            if plain == LOSS_SCOPE:
                return _Place(self._behind, LOSS, backward)
            if found := self._layers.get(part) or self._layers.get(plain):
                return _Place(*found, backward)
        return None

    def _first_of_fused(self, name: str, kind: str) -> str:
        """The name of the nearest operation of a type that the one of this name depends on."""
        reached = [self._operations[name]] if name in self._operations else []
        for _ in range(_FUSED_REACH):
            if found := next((operation for operation in reached if operation.type == kind), None):
                return found.name
            reached = [each.op for operation in reached for each in operation.inputs]
        return name


def _casts(model: keras.Model) -> bool:
    """Whether a network computes in another precision than it keeps its weights in."""
    return any(layer.compute_dtype != layer.variable_dtype for layer in model.layers)
