"""Functions of tensors seen through a sliding window, in one pass over memory.

The obvious way, a padded copy and its slices, costs a pass for the copy, or loops whose edges the compiler computes
one number at a time. Here a tensor is read as it lies in memory: the neighbour j places along an axis lies j strides
further, and what lies across the end of the axis is masked. Only before the first block of the tensor and after the
last is there nothing to read: those two are computed from padded copies of their own.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
from keras import ops

from alexnet_keras.backend import Shape, Tensor
from alexnet_keras.layers.bfloat16_bits import narrow, widen
from alexnet_keras.layers.compiled import compiled


class Window:
    """The elements of a tensor, and their neighbours along one axis, in float32."""

    def __init__(self, neighbours: list, masks: list) -> None:
        self._neighbours, self._masks = neighbours, masks

    @property
    def centre(self) -> Tensor:
        """The elements themselves."""
        return widen(self._neighbours[len(self._neighbours) // 2])

    def as_input(self, values: Tensor) -> Tensor:
        """Float32 values rounded to what the tensor holds."""
        return narrow(values, like=self._neighbours[0])

    def sum(self, function: Callable) -> Tensor:
        """The sum of function(neighbour) over the window. Outside the tensor there is nothing to add."""
        total = None
        for neighbour, mask in zip(self._neighbours, self._masks, strict=True):
            value = function(widen(neighbour))
            if mask is not None:
                value = ops.where(ops.convert_to_tensor(mask), value, ops.zeros_like(value))
            total = value if total is None else total + value
        return total


def sweep(function: Callable, axis: int, size: int) -> Callable:
    """A compiled function of tensors of one shape, of which the batch may be unknown: one pass over memory.

    Args:
        function: from one Window a tensor to the values at its centre; elementwise but for `Window.sum`.
        axis: the window's; counted from the end if negative.
        size: of the window, odd.

    Returns:
        From tensors as `bits_of` gives them to one of their shape, in the dtype that `function` returns.
    """

    @functools.cache
    def of_shape(*shape: int | None) -> Callable:
        return compiled(lambda *flat: _sweep(function, shape, axis % len(shape), size, *flat))

    def swept(*tensors: Tensor) -> Tensor:
        # the compiler reads neighbours in flat tensors without dividing indices
        values = of_shape(*tensors[0].shape)(*(ops.reshape(tensor, (-1,)) for tensor in tensors))
        return ops.reshape(values, ops.shape(tensors[0]))

    return swept


def _sweep(function: Callable, shape: Shape, axis: int, size: int, *flat: Tensor) -> Tensor:
    """The values, shaped (before the axis, the axis, after it)."""
    length, stride = shape[axis], math.prod(shape[axis + 1 :])
    outer = -1 if None in shape[:axis] else math.prod(shape[:axis])
    reach = min(size // 2, length - 1)
    blocks = [ops.reshape(tensor, (outer, length, stride)) for tensor in flat]

    def padded(piece: slice) -> Tensor:
        return function(*(_padded_window(block[piece], reach) for block in blocks))

    if outer < 3:
        return padded(slice(None))
    inside = function(*(_strided_window(block, reach) for block in blocks))
    result = ops.pad(inside, ((1, 1), (0, 0), (0, 0)))
    for index in (0, outer - 1):  # last: only then does the compiler set them in place
        result = ops.slice_update(result, (index, 0, 0), padded(slice(index, index + 1)))
    return result


def _padded_window(block: Tensor, reach: int) -> Window:
    length = block.shape[1]
    padded = ops.pad(block, ((0, 0), (reach, reach), (0, 0)))
    neighbours = [padded[:, start : start + length] for start in range(2 * reach + 1)]
    return Window(neighbours, _masks(length, reach))  # masked all the same, to round as the others do


def _strided_window(block: Tensor, reach: int) -> Window:
    """Of all blocks but the first and the last."""
    outer, length, stride = block.shape
    flat, count = ops.reshape(block, (-1,)), (outer - 2) * length * stride
    starts = [(length + offset) * stride for offset in range(-reach, reach + 1)]
    neighbours = [ops.reshape(flat[start : start + count], (outer - 2, length, stride)) for start in starts]
    return Window(neighbours, _masks(length, reach))


def _masks(length: int, reach: int) -> list:
    """For each neighbour, where along the axis there is one; None for the element itself."""
    places = np.arange(length)[:, None]
    offsets = range(-reach, reach + 1)
    return [(places + offset >= 0) & (places + offset < length) if offset else None for offset in offsets]
