"""Functions of tensors seen through a sliding window, in one pass over memory.

The obvious way, a padded copy and its slices, costs a pass for the copy, or loops whose edges the compiler computes
one number at a time. Here a tensor is read as it lies in memory: the neighbour j places along an axis lies j strides
further, and what lies across the end of the axis is masked. Only before the first block of the tensor and after the
last is there nothing to read: those two are computed from padded copies of their own.
"""

import math
from collections.abc import Callable

import numpy as np
from keras import ops

from alexnet_keras.layers.bfloat16_bits import narrow, widen


class Window:
    """The elements of a tensor, and their neighbours along one axis, in float32."""

    def __init__(self, neighbours: list, masks: list) -> None:
        self._neighbours, self._masks = neighbours, masks

    @property
    def centre(self):
        """The elements themselves."""
        return widen(self._neighbours[len(self._neighbours) // 2])

    def as_input(self, values):
        """Float32 values rounded to what the tensor holds."""
        return narrow(values, like=self._neighbours[0])

    def sum(self, function: Callable):
        """The sum of function(neighbour) over the window. Outside the tensor there is nothing to add."""
        total = None
        for neighbour, mask in zip(self._neighbours, self._masks, strict=True):
            value = function(widen(neighbour))
            if mask is not None:
                value = ops.where(ops.convert_to_tensor(mask), value, ops.zeros_like(value))
            total = value if total is None else total + value
        return total


def sweep(function: Callable, shape: tuple[int | None, ...], axis: int, size: int, *tensors):
    """`function(*windows)` for every element of tensors of one shape.

    Args:
        function: from one Window a tensor to the values at its centre; elementwise but for `Window.sum`. For a
            neighbour of 0 the function that it sums must be 0.
        shape: of the tensors; the batch may be unknown.
        axis: the window's; counted from the end if negative.
        size: of the window, odd.
        tensors: the tensors laid flat, as `bits_of` gives them.

    Returns:
        As many values in the dtype that function returns, shaped (before the axis, the axis, after it).

    What is compiled has to begin with flat tensors, of which the compiler reads the neighbours without dividing
    indices, and to end here: only then does it set the first and the last block in place.
    """
    axis %= len(shape)
    length, stride = shape[axis], math.prod(shape[axis + 1 :])
    outer = -1 if None in shape[:axis] else math.prod(shape[:axis])
    reach = min(size // 2, length - 1)
    blocks = [ops.reshape(tensor, (outer, length, stride)) for tensor in tensors]

    def padded(piece: slice):
        return function(*(_padded_window(block[piece], reach) for block in blocks))

    if outer < 3:
        return padded(slice(None))
    result = ops.pad(function(*(_strided_window(block, reach) for block in blocks)), ((1, 1), (0, 0), (0, 0)))
    for index in (0, outer - 1):
        result = ops.slice_update(result, (index, 0, 0), padded(slice(index, index + 1)))
    return result


def _padded_window(block, reach: int) -> Window:
    length, size = block.shape[1], 2 * reach + 1
    padded = ops.pad(block, ((0, 0), (reach, reach), (0, 0)))
    return Window([padded[:, start : start + length] for start in range(size)], [None] * size)


def _strided_window(block, reach: int) -> Window:
    """Of all blocks but the first and the last."""
    outer, length, stride = block.shape
    flat, count = ops.reshape(block, (-1,)), (outer - 2) * length * stride
    places = np.arange(length)[:, None]
    neighbours, masks = [], []
    for offset in range(-reach, reach + 1):
        start = (length + offset) * stride
        neighbours.append(ops.reshape(flat[start : start + count], (outer - 2, length, stride)))
        masks.append((places + offset >= 0) & (places + offset < length) if offset else None)
    return Window(neighbours, masks)
