"""What a model consists of, tower by tower: its parameters, its layers, what passes between towers (figure 2)."""

from dataclasses import dataclass
from math import prod
from typing import Literal

import keras

from alexnet_keras.layers import (
    EachTower,
    LocalResponseNormalization,
    PlainDropout,
    SpatialResponseNormalization,
    TowerConv2D,
    TowerDense,
)
from alexnet_keras.layers.towers import tower_letter

# Neurons a layer, paper, section 3.5. The first does not follow from 55x55x96 = 290,400; the others do follow.
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
class TowerSummary:
    """One layer in one tower. Multiply-adds are of the forward pass of one image."""

    layer: str
    tower: str
    reads: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int

    @property
    def neurons(self) -> int:
        return prod(self.output)


def parameters_of(model: keras.Model) -> int:
    """How many numbers are trained: 60,965,224 of the paper's network. The mean image is none of them."""
    return sum(prod(variable.shape) for variable in model.trainable_variables)


def summarize(model: keras.Model) -> list[TowerSummary]:
    """Every layer that has weights, once a tower, in the order of the network."""
    rows: list[TowerSummary] = []
    for layer in model.layers:
        if not isinstance(layer, TowerConv2D | TowerDense):
            continue
        outputs = layer.output if isinstance(layer.output, list) else [layer.output]
        several_inputs = isinstance(layer.input, list) and len(layer.input) > 1
        reads = "both" if several_inputs and layer.reads == "all" else "own"
        if not rows:
            reads = "image"
        for tower, output in enumerate(outputs):
            kernel, shape = layer.kernels[tower], tuple(output.shape[1:])
            rows.append(
                TowerSummary(
                    layer=layer.name,
                    tower=tower_letter(tower) if layer.towers > 1 else "-",
                    reads=reads,
                    output=shape,
                    parameters=prod(kernel.shape) + kernel.shape[-1],
                    multiply_adds=prod(kernel.shape) * prod(shape[:-1]),
                )
            )
    return rows


READS: dict[str, Literal["image", "own", "all"]] = {"image": "image", "own": "own", "both": "all"}


@dataclass(frozen=True)
class Step:
    """What follows a layer in every tower, without weights of its own.

    Attributes:
        name: Of the Keras layer.
        text: In words: "max pool 3/2" has a window of 3 and a stride of 2.
        output: `(height, width, maps)` or `(units,)` of one tower.
    """

    name: str
    text: str
    output: tuple[int, ...]


@dataclass(frozen=True)
class Passage:
    """What one tower's part of a layer reads of another tower, forward, for one image."""

    source: str
    target: str
    values: int


@dataclass(frozen=True)
class LayerFacts:
    """One layer that has weights.

    Attributes:
        name: As in the paper: conv1, ..., fc8.
        kind: What it is.
        towers: How many towers it stands in: those from a on.
        reads: The image, its own tower, or all towers; in a network of one tower the one.
        output: Of one tower: `(height, width, maps)` or `(units,)`.
        kernel: `(height, width, depth)` of one kernel; `(inputs,)` of a fully-connected neuron.
        stride: Pixels; None where the layer is fully connected.
        neurons: In all towers.
        parameters: Weights and biases in all towers.
        passages: What crosses between towers for it.
        then: What follows, up to the next layer.
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
    passages: tuple[Passage, ...]
    then: tuple[Step, ...]

    @property
    def passed_on(self) -> tuple[int, ...]:
        """The output of one tower after all that follows: what the next layer reads."""
        return self.then[-1].output if self.then else self.output


def describe_architecture(model: keras.Model) -> list[LayerFacts]:
    """The layers that have weights, in the order of the network, whatever their number, widths and towers."""
    rows = summarize(model)
    steps = _steps(model)
    facts = []
    for layer in model.layers:
        if not isinstance(layer, TowerConv2D | TowerDense):
            continue
        own = [row for row in rows if row.layer == layer.name]
        convolution = isinstance(layer, TowerConv2D)
        facts.append(
            LayerFacts(
                name=layer.name,
                kind="convolution" if convolution else "dense",
                towers=layer.towers,
                reads=READS[own[0].reads],
                output=own[0].output,
                kernel=tuple(layer.kernels[0].shape[:-1]),
                stride=layer.strides if convolution else None,
                neurons=sum(row.neurons for row in own),
                parameters=sum(row.parameters for row in own),
                passages=_passages(layer),
                then=tuple(steps[layer.name]),
            )
        )
    return facts


def _passages(layer: TowerConv2D | TowerDense) -> tuple[Passage, ...]:
    """What each tower's part of a layer reads of the other towers."""
    if layer.reads == "own" or not isinstance(layer.input, list):
        return ()
    return tuple(
        Passage(tower_letter(source), tower_letter(target), prod(tensor.shape[1:]))
        for source, tensor in enumerate(layer.input)
        for target in range(layer.towers)
        if target != source
    )


def _steps(model: keras.Model) -> dict[str, list[Step]]:
    """What follows each layer that has weights, by its name; flattening changes nothing and is left out."""
    steps: dict[str, list[Step]] = {}
    for layer in model.layers:
        if isinstance(layer, TowerConv2D | TowerDense):
            following = steps.setdefault(layer.name, [])
        elif steps and (text := _text(layer.layer if isinstance(layer, EachTower) else layer)):
            output = layer.output[0] if isinstance(layer.output, list) else layer.output
            following.append(Step(layer.name, text, tuple(output.shape[1:])))
    return steps


def _text(layer: keras.layers.Layer) -> str:
    """What a layer without weights does, in a word or two; "" for one that changes no value."""
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
