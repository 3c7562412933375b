"""What a model consists of, tower by tower, beside the paper's numbers."""

from dataclasses import dataclass
from math import prod

import keras

from alexnet_keras.layers import TowerConv2D, TowerDense
from alexnet_keras.layers.each_tower import tower_letter

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
