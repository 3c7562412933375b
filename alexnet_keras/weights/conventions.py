"""Convert another framework's arrays to the weights of our layers, so that the network gives the same answers.

The names and shapes of arrays are compared with those that a network needs before any array is read. What differs is
converted exactly:

layouts     kernels become (height, width, in, out) and dense weights (in, out)
groups      the first of two groups, and the first half of a dense layer's neurons, is tower a
flattening  fc6 reads each tower's maps as (height, width, maps), tower after tower
colours     conv1's input channels are put in the order R, G, B
scale       a factor for each colour goes into conv1's kernels, as far as the recipe's `input_scale` does not give it
dropout     ours halves outputs at test time where theirs doubles them in training: kernels after one are doubled"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod

import numpy as np

from alexnet_keras.errors import DAMAGED, AlexNetError, DataError
from alexnet_keras.recipes.geometry import fan_ins
from alexnet_keras.recipes.schema import CLASSIFIER, Network, Recipe

Shape = tuple[int, ...]
CLASSES = -1  # in a shape: the number of classes, which only the file knows
MOST_CLASSES = 1_000_000
NAMED = 3  # arrays that a sentence names
MOST_REASON = 160  # characters of what a library says of a damaged file, whose bytes it may quote


@dataclass(frozen=True)
class ExpectedArrays:
    """The arrays that a file must hold, no more and no fewer.

    Attributes:
        recipe: The recipe's name, for sentences.
        shapes: Shapes by name, in the file's own layout; `CLASSES` stands for the number of classes.
        notes: Sentences for the user about how the file was read, which readers add.
    """

    recipe: str
    shapes: Mapping[str, Shape]
    notes: list[str] = field(default_factory=list)

    @property
    def most_bytes(self) -> int:
        """More bytes than a file of such a network can need, as float64 and with every weight's gradient."""
        return 16 * sum(prod(5000 if size == CLASSES else size for size in shape) for shape in self.shapes.values())

    def match(self, file: object, shapes: Mapping[str, Shape]) -> dict[str, str]:
        """Match the arrays of a file, by their shapes, with the expected ones; `file` is for sentences.

        Returns:
            The file's name of each array by the expected one. They differ only for a classifier that was renamed.

        Raises:
            DataError: Arrays are missing, unexpected, or of another shape; the sentence names the first of them.
        """
        renamed = self._renamed_classifier(shapes)
        expected_names = {theirs: name for name, theirs in renamed.items()}
        self._check_shapes(file, {expected_names.get(name, name): shape for name, shape in shapes.items()})
        if renamed:
            theirs, ours = (" and ".join(map(repr, names)) for names in (renamed.values(), renamed))
            self.notes.append(f"Read {theirs} as the last layer, in place of {ours}.")
        return {name: renamed.get(name, name) for name in self.shapes}

    def check_names(self, file: object, names: Iterable[str]) -> None:
        """Refuse a file that lacks arrays or has others.

        Raises:
            DataError: The sentence names the first of them.
        """
        names = list(names)
        if missing := [name for name in self.shapes if name not in names]:
            raise DataError(f"{file} lacks {_listed(missing)}, which the recipe {self.recipe} needs.")
        if unexpected := [name for name in names if name not in self.shapes]:
            raise DataError(f"{file} has {_listed(unexpected)}, which the recipe {self.recipe} has no place for.")

    def _renamed_classifier(self, shapes: Mapping[str, Shape]) -> dict[str, str]:
        """A renamed classifier's names by the expected ones, if nothing else is missing and nothing else unexpected."""
        classifier = {name: shape for name, shape in self.shapes.items() if CLASSES in shape}
        missing = [name for name in self.shapes if name not in shapes]
        # weights before biases
        unexpected = sorted((name for name in shapes if name not in self.shapes), key=lambda name: -len(shapes[name]))
        if missing != list(classifier) or len(unexpected) != len(classifier):
            return {}
        for expected, name in zip(classifier.values(), unexpected, strict=True):
            shape = shapes[name]
            if len(shape) != len(expected) or any(e not in (CLASSES, s) for e, s in zip(expected, shape, strict=True)):
                return {}
        return dict(zip(classifier, unexpected, strict=True))

    def _check_shapes(self, file: object, shapes: Mapping[str, Shape]) -> None:
        self.check_names(file, shapes)
        pairs = [pair for name, shape in self.shapes.items() for pair in zip(shape, shapes[name], strict=False)]
        classes = next((size for expected, size in pairs if expected == CLASSES), CLASSES)
        if not 1 <= classes <= MOST_CLASSES:
            classes = CLASSES
        for name, shape in self.shapes.items():
            expected = tuple(classes if size == CLASSES else size for size in shape)
            if CLASSES in expected or tuple(shapes[name]) != expected:
                raise DataError(
                    f"{file}: the array {name} is {shape_text(shapes[name])} and the recipe {self.recipe} has "
                    f"{shape_text(expected)} there."
                )


def shape_text(shape: Iterable[int]) -> str:
    """A shape for sentences: 64×3×11×11."""
    return "×".join("classes" if size == CLASSES else str(size) for size in shape) or "a single number"


def _listed(names: list[str]) -> str:
    kind = "the array" if len(names) == 1 else "the arrays"
    return f"{kind} {', '.join(map(repr, names[:NAMED]))}{' and others' if len(names) > NAMED else ''}"


@contextmanager
def refusing_damage(path: object, use: str = "weights", *more: type[Exception]) -> Iterator[None]:
    """Raise what reading a damaged file raises, `DAMAGED` and more, as a sentence: it cannot be used as `use`.

    Raises:
        DataError: In place of such an error; the package's own errors pass.
    """
    try:
        yield
    except AlexNetError:
        raise
    except DAMAGED + more as error:
        reason = str(error).strip().rstrip(".") or "it is damaged"
        raise DataError(f"{path} cannot be used as {use}: {reason[:MOST_REASON]}.") from error


Weights = tuple[np.ndarray, np.ndarray]  # a layer's kernel and bias


@dataclass(frozen=True)
class Layout:
    """The order of axes, colours and scales in a framework's arrays.

    Attributes:
        channels_first: Kernels are (out, in, height, width), dense weights (out, in), and maps are flattened as
            (maps, height, width); else (height, width, in, out), (in, out) and (height, width, maps).
        bgr: conv1 reads the colours in the order B, G, R.
        pixel_factors: Factors that R, G and B are multiplied with after the mean is subtracted.
    """

    channels_first: bool
    bgr: bool = False
    pixel_factors: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def shapes(self, network: Network) -> dict[str, tuple[Shape, Shape]]:
        """The shapes of each layer's kernel and bias in a file."""
        inputs, towers = fan_ins(network), network.towers
        shapes: dict[str, tuple[Shape, Shape]] = {}
        for conv in network.convolutions:
            outputs, size = conv.filters * towers, conv.kernel
            reads = inputs[conv.name] // size**2
            kernel = (outputs, reads, size, size) if self.channels_first else (size, size, reads, outputs)
            shapes[conv.name] = kernel, (outputs,)
        for name, outputs in [*((dense.name, dense.units * towers) for dense in network.dense), (CLASSIFIER, CLASSES)]:
            reads = inputs[name]
            shapes[name] = (outputs, reads) if self.channels_first else (reads, outputs), (outputs,)
        return shapes


def convert_weights(recipe: Recipe, layout: Layout, weights: Mapping[str, Weights]) -> dict[str, list[Weights]]:
    """Convert the kernel and bias of each layer, in the shapes that `Layout.shapes` gives, to those of our layers.

    Returns:
        For each layer one pair of kernel and bias for each tower, float32.
    """
    network = recipe.network
    converted: dict[str, list[Weights]] = {}
    for number, conv in enumerate(network.convolutions):
        kernel, bias = weights[conv.name]
        kernel = kernel.transpose(2, 3, 1, 0) if layout.channels_first else kernel
        if number == 0:
            kernel = kernel[:, :, ::-1] if layout.bgr else kernel
            kernel = kernel * (np.array(layout.pixel_factors) / recipe.augmentation.input_scale)[:, None]
        converted[conv.name] = _by_tower(kernel, bias, network.towers)
    kept = 1.0  # the share of inputs that the dropout before a layer keeps
    heads = [*((dense.name, network.towers, dense.dropout) for dense in network.dense), (CLASSIFIER, 1, 0.0)]
    for number, (name, towers, dropout) in enumerate(heads):
        kernel, bias = weights[name]
        kernel = kernel.T if layout.channels_first else kernel
        kernel = _tower_after_tower(kernel, network, layout) if number == 0 else kernel
        converted[name] = _by_tower(kernel / kept if kept < 1 else kernel, bias, towers)
        kept = 1 - dropout
    return converted


def _by_tower(kernel: np.ndarray, bias: np.ndarray, towers: int) -> list[Weights]:
    """Kernel and bias split along their last axis, the outputs."""
    kernels, biases = (np.split(each, towers, axis=-1) for each in (kernel, bias))
    pairs = zip(kernels, biases, strict=True)
    return [(np.ascontiguousarray(k, np.float32), np.ascontiguousarray(b, np.float32)) for k, b in pairs]


def _tower_after_tower(kernel: np.ndarray, network: Network, layout: Layout) -> np.ndarray:
    """The rows of fc6's kernel `(inputs, outputs)` in the order (tower, height, width, maps of the tower)."""
    towers, own = network.towers, network.convolutions[-1].filters
    side = round((len(kernel) // (towers * own)) ** 0.5)
    if layout.channels_first:
        by_tower = kernel.reshape(towers, own, side, side, -1).transpose(0, 2, 3, 1, 4)
    else:
        by_tower = kernel.reshape(side, side, towers, own, -1).transpose(2, 0, 1, 3, 4)
    return by_tower.reshape(kernel.shape)
