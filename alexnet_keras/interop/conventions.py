"""From another framework's arrays to those of our layers: exact, so that the network gives the same answers.

The arrays that a network needs are looked at by name and shape before any of them is read. What differs is converted:

layouts     kernels become (height, width, in, out) and dense weights (in, out)
groups      the first of two groups, and the first half of a dense layer's neurons, is tower a
flattening  fc6 reads each tower's maps as (height, width, maps), tower after tower
colours     conv1's input channels are put in the order R, G, B
scale       a factor for each colour goes into conv1's kernels, as far as the recipe's `input_scale` does not give it
dropout     ours halves outputs at test time where theirs doubles them in training: kernels behind one are doubled"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np

from alexnet_keras.errors import DataError
from alexnet_keras.recipes.built_in import side_after
from alexnet_keras.recipes.schema import CLASSIFIER, Network, Recipe

Shape = tuple[int, ...]
CLASSES = -1  # in a shape: as many as the network tells apart, which only the file knows
MOST_CLASSES = 1_000_000
NAMED = 3  # arrays that a sentence names


@dataclass(frozen=True)
class WantedArrays:
    """The names that a file has to hold, with their shapes, in which `CLASSES` stands for the number of classes.

    Attributes:
        recipe: The recipe's name, for sentences.
        shapes: By name, in the file's own layout.
        notes: What readers have to say to whoever gave the file: sentences.
    """

    recipe: str
    shapes: Mapping[str, Shape]
    notes: list[str] = field(default_factory=list)

    @property
    def most_bytes(self) -> int:
        """More than a file of such a network can need, as float64 and with every gradient beside its weight."""
        return 16 * sum(prod(5000 if size == CLASSES else size for size in shape) for shape in self.shapes.values())

    def find(self, file: object, found: Mapping[str, Shape]) -> dict[str, str]:
        """Which of a file's arrays are the wanted ones: its names by ours, which differ for a renamed classifier.

        Raises:
            DataError: some are missing, strange, or of another shape; the sentence names the first of them.
        """
        renamed = self._renamed_classifier(found)
        names = {name: renamed.get(name, name) for name in self.shapes}
        ours = {theirs: name for name, theirs in renamed.items()}
        self.check(file, {ours.get(name, name): shape for name, shape in found.items()})
        if renamed:
            told = " and ".join(map(repr, renamed.values()))
            self.notes.append(f"Read {told} as the last layer, in place of {' and '.join(map(repr, renamed))}.")
        return names

    def _renamed_classifier(self, found: Mapping[str, Shape]) -> dict[str, str]:
        """The names of a classifier for other classes by ours, if it is all that is missing and all that is strange."""
        last = {name: shape for name, shape in self.shapes.items() if CLASSES in shape}
        strange = sorted((name for name in found if name not in self.shapes), key=lambda name: -len(found[name]))
        if [name for name in self.shapes if name not in found] != list(last) or len(strange) != len(last):
            return {}
        pairs = zip(last.values(), (found[name] for name in strange), strict=True)
        fits = all(
            len(want) == len(shape) and all(w in (CLASSES, s) for w, s in zip(want, shape, strict=True))
            for want, shape in pairs
        )
        return dict(zip(last, strange, strict=True)) if fits else {}

    def check(self, file: object, found: Mapping[str, Shape]) -> int:
        """The number of classes, where a file has exactly these arrays.

        Raises:
            DataError: some are missing, strange, or of another shape; the sentence names the first of them.
        """
        self.check_names(file, found)
        classes = 0
        for name, wanted in self.shapes.items():
            shape = tuple(found[name])
            open_axes = [size for size, want in zip(shape, wanted, strict=False) if want == CLASSES]
            classes = classes or next(iter(open_axes), 0)
            expected = tuple(classes if want == CLASSES else want for want in wanted)
            if shape != expected or not 0 <= classes <= MOST_CLASSES or (open_axes and classes < 1):
                told = told_shape(wanted if not classes else expected)
                raise DataError(
                    f"{file}: the array {name} is {told_shape(shape)} and the recipe {self.recipe} has {told} there."
                )
        return classes

    def check_names(self, file: object, found: Iterable[str]) -> None:
        """Refuses a file that lacks arrays or has others.

        Raises:
            DataError: the sentence names the first of them.
        """
        there = list(found)
        if missing := [name for name in self.shapes if name not in there]:
            raise DataError(f"{file} lacks {_listed(missing)}, which the recipe {self.recipe} needs.")
        if strange := [name for name in there if name not in self.shapes]:
            raise DataError(f"{file} has {_listed(strange)}, which the recipe {self.recipe} has no place for.")


def told_shape(shape: Iterable[int]) -> str:
    """A shape in words: 64×3×11×11."""
    return "×".join("classes" if size == CLASSES else str(size) for size in shape) or "a single number"


def _listed(names: list[str]) -> str:
    kind = "the array" if len(names) == 1 else "the arrays"
    return f"{kind} {', '.join(map(repr, names[:NAMED]))}{' and others' if len(names) > NAMED else ''}"


Weights = tuple[np.ndarray, np.ndarray]  # of a layer: kernel and bias


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
            maps, side = outputs, side_after(conv, side, network)
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
