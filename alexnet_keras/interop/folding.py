"""From another framework's arrays to those of our layers: exact, so that the network gives the same answers.

What differs, and what is done about it:

layouts     kernels become (height, width, in, out) and dense weights (in, out)
groups      the first of two groups, and the first half of a dense layer's neurons, is tower a
flattening  fc6 reads each tower's maps as (height, width, maps), tower after tower
colours     conv1's input channels are put in the order R, G, B
scale       a factor for each colour goes into conv1's kernels, as far as the recipe's `input_scale` does not give it
dropout     ours halves outputs at test time where theirs doubles them in training: kernels behind one are doubled
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from alexnet_keras.interop.wanted import CLASSES, Shape
from alexnet_keras.recipes import Convolution, Network, Recipe

Weights = tuple[np.ndarray, np.ndarray]  # of a layer: kernel and bias
CLASSIFIER = "fc8"


@dataclass(frozen=True)
class Layout:
    """How a framework lies its arrays down.

    Attributes:
        channels_first: Kernels are (out, in, height, width), dense weights (out, in), and maps are flattened as
            (maps, height, width); else (height, width, in, out), (in, out) and (height, width, maps).
        bgr: conv1 reads the colours in the order B, G, R.
        pixel_factors: What each colour, R, G, B, is multiplied with after its mean is subtracted.
    """

    channels_first: bool
    bgr: bool = False
    pixel_factors: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def shapes(self, network: Network) -> dict[str, tuple[Shape, Shape]]:
        """The shapes of each layer's kernel and bias as they lie in a file."""
        shapes: dict[str, tuple[Shape, Shape]] = {}
        towers, maps, side = network.towers, 3, network.input_size
        for number, conv in enumerate(network.convolutions):
            reads = maps // towers if number and conv.reads == "own" else maps
            outputs, size = conv.filters * towers, conv.kernel
            kernel = (outputs, reads, size, size) if self.channels_first else (size, size, reads, outputs)
            shapes[conv.name] = kernel, (outputs,)
            maps, side = outputs, _side_after(conv, side, network)
        inputs = side * side * maps
        for name, outputs in [*((d.name, d.units * towers) for d in network.dense), (CLASSIFIER, CLASSES)]:
            shapes[name] = (outputs, inputs) if self.channels_first else (inputs, outputs), (outputs,)
            inputs = outputs
        return shapes


def fold(recipe: Recipe, layout: Layout, weights: Mapping[str, Weights]) -> dict[str, list[Weights]]:
    """Our layers' weights, float32: of each layer a kernel and a bias a tower.

    Args:
        recipe: what the arrays are for; they have the shapes that `Layout.shapes` gives for its network.
        weights: of each layer, kernel and bias as they lie in the file.
    """
    network = recipe.network
    kept = 1.0  # the share that the dropout before a layer keeps
    folded: dict[str, list[Weights]] = {}
    for number, conv in enumerate(network.convolutions):
        kernel, bias = weights[conv.name]
        kernel = kernel.transpose(2, 3, 1, 0) if layout.channels_first else kernel
        if number == 0:
            kernel = kernel[:, :, ::-1] if layout.bgr else kernel
            factors = np.asarray(layout.pixel_factors, np.float64) / recipe.augmentation.input_scale
            kernel = kernel * factors[:, None] if (factors != 1).any() else kernel
        folded[conv.name] = _towers(kernel, bias, network.towers)
    for number, dense in enumerate(network.dense):
        kernel, bias = weights[dense.name]
        kernel = kernel.T if layout.channels_first else kernel
        kernel = _tower_after_tower(kernel, network, layout) if number == 0 else kernel
        folded[dense.name] = _towers(kernel / kept if kept < 1 else kernel, bias, network.towers)
        kept = 1 - dense.dropout
    kernel, bias = weights[CLASSIFIER]
    kernel = kernel.T if layout.channels_first else kernel
    folded[CLASSIFIER] = _towers(kernel / kept if kept < 1 else kernel, bias, 1)
    return folded


def _towers(kernel: np.ndarray, bias: np.ndarray, towers: int) -> list[Weights]:
    """Kernel and bias parted along their last axis, the outputs."""
    kernels, biases = (np.split(each, towers, axis=-1) for each in (kernel, bias))
    pairs = zip(kernels, biases, strict=True)
    return [(np.ascontiguousarray(k, np.float32), np.ascontiguousarray(b, np.float32)) for k, b in pairs]


def _tower_after_tower(kernel: np.ndarray, network: Network, layout: Layout) -> np.ndarray:
    """The rows of fc6's kernel `(inputs, outputs)` in the order (tower, height, width, maps of the tower)."""
    towers, own = network.towers, network.convolutions[-1].filters
    side = round((len(kernel) // (towers * own)) ** 0.5)
    if layout.channels_first:
        parted = kernel.reshape(towers, own, side, side, -1).transpose(0, 2, 3, 1, 4)
    else:
        parted = kernel.reshape(side, side, towers, own, -1).transpose(2, 0, 1, 3, 4)
    return parted.reshape(kernel.shape)


def _side_after(conv: Convolution, side: int, network: Network) -> int:
    """The side of the maps after a convolution and what follows it."""
    side = (side + sum(conv.padding) - conv.kernel) // conv.stride + 1
    for _ in range(conv.then.count("pool")):
        side = (side - network.pool_size) // network.pool_stride + 1
    return side
