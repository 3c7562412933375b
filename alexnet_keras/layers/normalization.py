"""AlexNet's two normalisations, across kernel maps and within each map: one pass over memory, gradients written out.

    y = x * s^-beta,   s = k + alpha * W(x^2)

W sums over a symmetric window, so it is its own transpose and the gradient is one more window:

    dx = dy * s^-beta - 2 alpha beta x W(dy * x * s^(-beta - 1))

Only x is kept for the gradient: summing the squares again is cheaper than writing s to memory and reading it back. Sums
and powers are computed in float32 whatever the layer's dtype; what W sums in the gradient, a small part of it, is kept
in the layer's dtype meanwhile. A second derivative raises NotImplementedError. Inside `backend.plain`, on other
backends than TensorFlow, and where sizes are unknown, the formula itself is computed, and the framework derives the
gradients.

The usual way to a window, a padded copy and its slices, costs a pass for the copy, or loops whose edges the compiler
computes one number at a time. Here a tensor is read as it lies in memory: the neighbour j places along an axis lies j
strides further, and values from across the end of the axis are masked. Only the first and the last block of the
tensor are computed from padded copies of their own.

XLA has no bfloat16 loops on a processor: it surrounds every slice of a bfloat16 tensor with conversions to float32 and
back. So two bfloat16 numbers are read as one word of 32 bits: its lower half, shifted up, and its upper half alone are
the two as float32. Both are computed at once, which halves the reads and the sums of squares of neighbours in a row."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import keras
import numpy as np
from keras import backend, ops

from alexnet_keras.backend import Shape, Tensor, compiled, differentiable_once, is_plain
from alexnet_keras.errors import whole_number

UPPER_HALF = 0xFFFF0000  # of a word


@keras.saving.register_keras_serializable(package="alexnet_keras")
class LocalResponseNormalization(keras.layers.Layer):
    """Local response normalisation: each activity divided by a function of its neighbours in n adjacent kernel maps.

    `b[i] = a[i] / (k + alpha * S)^beta`, where S is the sum of `a[j]^2` over the n maps centred on i, cut off at
    the first and last map of the input. Given one tower's maps, the windows stay inside the tower.

    Two conventions for alpha are in use, and mistaking one for the other changes alpha fivefold:

    * `"sum"`: S as above (paper, section 3.3; `tf.nn.local_response_normalization`);
    * `"mean"`: S divided by n (the released code; `torch.nn.LocalResponseNorm`; Caffe).

    Args:
        n: Number of maps in a window, odd. Paper and net 145: 5.
        alpha: Paper and net 145: 1e-4.
        beta: Paper and net 145: 0.75.
        k: Paper and net 145: 2 (Caffe: 1).
        alpha_convention: `"sum"` or `"mean"`; each recipe has its own, cited in recipes/schema.py.

    Input and output shape: `(batch, ..., maps)`, any float dtype. Computed in float32 inside.

    Under TensorFlow there is no second derivative but inside `alexnet_keras.backend.plain()`: it raises
    NotImplementedError. `tf.GradientTape.batch_jacobian` and `tf.vectorized_map` need `plain()`, too.

    Raises:
        ValueError: `n` is no positive odd number, or there is no such convention.

    Reference: paper, section 3.3; net 145, layers rnorm1 and rnorm2.
    """

    def __init__(
        self,
        n: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 2.0,
        alpha_convention: Literal["sum", "mean"] = "mean",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        n = whole_number("n", n)
        if n % 2 == 0:
            raise ValueError(f"n must be a positive odd number of kernel maps. Received: n={n}")
        if alpha_convention not in ("sum", "mean"):
            raise ValueError(f"alpha_convention must be 'sum' or 'mean'. Received: {alpha_convention!r}")
        self.n, self.alpha, self.beta, self.k = n, alpha, beta, k
        self.alpha_convention = alpha_convention

    def call(self, inputs: Tensor) -> Tensor:
        alpha_of_sum = self.alpha / self.n if self.alpha_convention == "mean" else self.alpha
        return divisive_normalization(((-1, self.n),), alpha_of_sum, self.k, self.beta)(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = {"n": self.n, "alpha": self.alpha, "beta": self.beta, "k": self.k}
        return {**super().get_config(), **config, "alpha_convention": self.alpha_convention}


@keras.saving.register_keras_serializable(package="alexnet_keras")
class SpatialResponseNormalization(keras.layers.Layer):
    """Spatial normalisation: each activity divided by a function of its size x size neighbourhood in its own map.

    `b = a / (k + scale / size^2 * S)^beta`, where S is the sum of the squares in the neighbourhood, zeros outside
    the map. Net 145 applies it after conv2's local response normalisation; the paper does not mention it.

    Args:
        size: Side of the neighbourhood in pixels, odd. Net 145: 5.
        scale: Net 145: 0.001, divided by size^2 as cuda-convnet's rnorm does.
        beta: Net 145: 0.75.
        k: cuda-convnet: 1.

    Input and output shape: `(batch, height, width, maps)`, any float dtype; height and width may be unknown.
    Computed in float32 inside.

    Under TensorFlow there is no second derivative but inside `alexnet_keras.backend.plain()`: it raises
    NotImplementedError. `tf.GradientTape.batch_jacobian` and `tf.vectorized_map` need `plain()`, too.

    Raises:
        ValueError: `size` is no positive odd number.
    """

    def __init__(self, size: int = 5, scale: float = 0.001, beta: float = 0.75, k: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        size = whole_number("size", size)
        if size % 2 == 0:
            raise ValueError(f"size must be a positive odd number of pixels. Received: size={size}")
        self.size, self.scale, self.beta, self.k = size, scale, beta, k

    def call(self, inputs: Tensor) -> Tensor:
        windows, scale = ((1, self.size), (2, self.size)), self.scale / self.size**2
        return divisive_normalization(windows, scale, self.k, self.beta)(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        config = {"size": self.size, "scale": self.scale, "beta": self.beta, "k": self.k}
        return {**super().get_config(), **config}


# What a sweep reads and returns: one float32 tensor; the words of a bfloat16 tensor, uint32, each of two elements that
# follow one another; or two float32 tensors of the even and of the odd elements of such a tensor.
Parts: TypeAlias = tuple[Tensor, ...]


class Window:
    """The elements of a tensor and their neighbours along one axis, float32; zeros outside the tensor."""

    def __init__(self, neighbours: Sequence[Tensor]) -> None:
        self._neighbours = neighbours

    @property
    def centre(self) -> Tensor:
        """The elements themselves."""
        return self._neighbours[len(self._neighbours) // 2]

    def sum(self, function: Callable) -> Tensor:
        """Return the sum over the window of function(neighbour), a function that is 0 at 0."""
        return functools.reduce(ops.add, map(function, self._neighbours))


def sweep(function: Callable, axis: int, size: int, *, exact: bool = False) -> Callable:
    """Return a compiled function of tensors of one shape, of which the batch may be unknown: one pass over memory.

    Args:
        function: Takes one Window per tensor and returns the values at their centre; elementwise but for `Window.sum`.
        axis: The window's axis; counted from the end if negative. Sizes from it on are known.
        size: The window's size, odd.
        exact: Return float32 values where the tensors are words, too, in one pass for the even and one for the odd.

    Returns:
        A function from `Parts`, one per tensor, to the `Parts` of the values.
    """

    @functools.cache
    def compiled_for(shape: tuple[int | None, ...], counts: tuple[int, ...], lanes: tuple[int, ...]) -> Callable:
        def values(windows: list[list[Window]]) -> Tensor:
            found = [function(*(window[lane] for window in windows)) for lane in lanes]
            return _as_words(*found) if len(found) == 2 else found[0]

        def swept(*flat: Tensor) -> Tensor:
            left = iter(flat)
            return _sweep(values, shape, axis % len(shape), size, [[next(left) for _ in range(n)] for n in counts])

        return compiled(swept)

    def swept(*tensors: Parts) -> Parts:
        first = tensors[0][0]
        # the compiler reads neighbours in flat tensors without dividing indices
        flat = [ops.reshape(part, (-1,)) for parts in tensors for part in parts]
        passes = [(0, 1)] if _is_words(first) else [(0,)]
        if exact and _is_words(first):
            passes = [(0,), (1,)]
        counts = tuple(len(parts) for parts in tensors)
        values = (compiled_for(tuple(first.shape), counts, lanes)(*flat) for lanes in passes)
        return tuple(ops.reshape(each, ops.shape(first)) for each in values)

    return swept


def _sweep(values: Callable, shape: Shape, axis: int, size: int, tensors: list[list[Tensor]]) -> Tensor:
    """Return values(windows of all tensors), shaped (before the axis, the axis, after it)."""
    length, stride = shape[axis], math.prod(shape[axis + 1 :])
    outer = -1 if None in shape[:axis] else math.prod(shape[:axis])
    in_words = len(tensors[0]) == 2 or _is_words(tensors[0][0])
    in_a_row = in_words and axis == len(shape) - 1  # the two elements of a word are neighbours
    reach = min(size // 2, (2 * length if in_a_row else length) - 1)
    far = (reach + 1) // 2 if in_a_row else reach  # in words
    places = np.arange(length)[:, None]

    def windows(part_at: Callable[[Tensor, int], Tensor]) -> list[list[Window]]:
        return [
            _windows([_elements([part_at(part, offset) for part in parts]) for offset in offsets], reach, in_a_row)
            for parts in blocks
        ]

    def masked(values: Tensor, offset: int) -> Tensor:
        if not offset:
            return values
        inside = (places + offset >= 0) & (places + offset < length)
        return ops.where(ops.convert_to_tensor(inside), values, ops.zeros_like(values))

    def padded(piece: slice) -> Tensor:
        def part_at(block: Tensor, offset: int) -> Tensor:
            wide = ops.pad(block[piece], ((0, 0), (far, far), (0, 0)))
            return masked(wide[:, far + offset : far + offset + length], offset)  # masked all the same, to round alike

        return values(windows(part_at))

    def strided(block: Tensor, offset: int) -> Tensor:
        """Return the neighbours of all blocks but the first and the last."""
        start, count = (length + offset) * stride, (outer - 2) * length * stride
        return masked(
            ops.reshape(ops.reshape(block, (-1,))[start : start + count], (outer - 2, length, stride)), offset
        )

    blocks = [[ops.reshape(part, (outer, length, stride)) for part in parts] for parts in tensors]
    offsets = range(-far, far + 1)
    if outer < 3:
        return padded(slice(None))
    result = ops.pad(values(windows(strided)), ((1, 1), (0, 0), (0, 0)))
    for index in (0, outer - 1):  # last: only then does the compiler set them in place
        result = ops.slice_update(result, (index, 0, 0), padded(slice(index, index + 1)))
    return result


def _windows(elements: list[list[Tensor]], reach: int, in_a_row: bool) -> list[Window]:
    """Return a window for each element of a part, from the elements of all neighbouring parts."""
    if not in_a_row:
        return [Window(neighbours) for neighbours in zip(*elements, strict=True)]
    row, middle = [each for two in elements for each in two], 2 * (len(elements) // 2)
    return [Window(row[place - reach : place + reach + 1]) for place in (middle, middle + 1)]


def _is_words(part: Tensor) -> bool:
    return backend.standardize_dtype(part.dtype) == "uint32"


def _elements(parts: list[Tensor]) -> list[Tensor]:
    """Return the elements of parts, float32: of words the even and the odd ones."""
    if not _is_words(parts[0]):
        return parts
    return [ops.view(each, "float32") for each in halves_of(*parts)]


def halves_of(words: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lower halves of uint32 words, shifted up, and the upper ones, each alone in its word."""
    return ops.left_shift(words, word(16)), ops.bitwise_and(words, word(UPPER_HALF))


def _as_words(even: Tensor, odd: Tensor) -> Tensor:
    """Return words of float32 values, rounded to the nearest bfloat16 and, between two, to the even one."""

    def rounded(value: Tensor) -> Tensor:
        # the NaNs that occur here have few bits set, so that the sum does not reach their sign
        bits = ops.view(value, "uint32")
        last = ops.bitwise_and(ops.right_shift(bits, word(16)), word(1))
        return bits + word(0x7FFF) + last

    upper = ops.bitwise_and(rounded(odd), word(UPPER_HALF))
    return ops.bitwise_or(ops.right_shift(rounded(even), word(16)), upper)


def word(value: int) -> Tensor:
    """Return a number as a uint32 tensor."""
    return ops.convert_to_tensor(np.uint32(value))


@functools.cache
def divisive_normalization(windows: tuple[tuple[int, int], ...], alpha: float, k: float, beta: float) -> Callable:
    """Return a differentiable function of one float tensor.

    Args:
        windows: (axis, size) pairs, summed one after the other.
        alpha, k, beta: As in the module's formula; alpha multiplies the sum.
    """
    *first, last = windows

    # Every sweep is compiled by itself: two in one piece would share terms, and memory, with each other.
    def summing(function: Callable, *, exact: bool) -> tuple[Callable, Callable]:
        """Return W(function(x)), but for its last window, as a function of x, and the function to sum over that one."""
        passes = []
        for window in first:
            passes.append(sweep(lambda x, function=function: x.sum(function), *window, exact=exact))
            function = _itself
        return lambda x: functools.reduce(lambda sums, each: each(sums), passes, x), function

    sums_of_squares, square = summing(ops.square, exact=True)
    sums_of, _ = summing(_itself, exact=False)

    def s_of(sums: Window) -> Tensor:
        return k + alpha * sums.sum(square)

    def power(s: Tensor) -> Tensor:  # s^-beta; two roots are several times cheaper than a power
        return ops.rsqrt(s) * ops.sqrt(ops.rsqrt(s)) if beta == 0.75 else ops.power(s, -beta)

    def output_of(x: Window, sums: Window) -> Tensor:
        return x.centre * power(s_of(sums))

    def shared_of(x: Window, sums: Window, upstream: Window) -> Tensor:
        s = s_of(sums)
        inverse = ops.square(ops.rsqrt(s)) if beta == 0.75 else 1.0 / s  # of a root that is there already
        return upstream.centre * power(s) * x.centre * inverse

    def gradient_of(x: Window, sums: Window, upstream: Window, shared: Window) -> Tensor:
        direct = upstream.centre * power(s_of(sums))
        return direct - (2.0 * alpha * beta) * x.centre * shared.sum(_itself)

    output_at, shared_at, gradient_at = (sweep(each, *last) for each in (output_of, shared_of, gradient_of))

    def forward(x: Parts) -> Parts:
        return output_at(x, sums_of_squares(x))

    def backward(x: Parts, upstream: Parts) -> Parts:
        sums = sums_of_squares(x)
        return gradient_at(x, sums, upstream, sums_of(shared_at(x, sums, upstream)))

    @ops.custom_gradient
    def normalize(x: Tensor) -> tuple[Tensor, Callable]:
        # TensorFlow would otherwise look for a gradient of what is compiled
        dtype, read = backend.standardize_dtype(x.dtype), ops.stop_gradient(x)
        wide = dtype != "bfloat16" or bool(x.shape[-1] % 2)

        def parts(values: Tensor) -> Parts:
            return (ops.cast(values, "float32") if wide else ops.view(values, "uint32"),)

        def values(parts: Parts) -> Tensor:
            return ops.cast(*parts, dtype) if wide else ops.view(*parts, dtype)

        def gradient(*args: Tensor, upstream: Tensor | None = None) -> Tensor:
            if upstream is None:
                (upstream,) = args
            found = values(backward(parts(read), parts(ops.stop_gradient(ops.cast(upstream, dtype)))))
            return differentiable_once(found, x, upstream)

        return values(forward(parts(read))), gradient

    def plainly(x: Tensor) -> Tensor:
        wide = ops.cast(x, "float32")
        sums = functools.reduce(lambda sums, window: _window_sum(sums, *window), windows, ops.square(wide))
        return ops.cast(wide * power(k + alpha * sums), x.dtype)

    def differentiable(x: Tensor) -> Tensor:
        # a sweep reads by strides: it needs the sizes from its axis on
        known = all(None not in x.shape[axis:] for axis, _ in windows)
        return normalize(x) if known and not is_plain() else plainly(x)

    return differentiable


def _window_sum(x: Tensor, axis: int, size: int) -> Tensor:
    """Return the sum over a window along one axis, zeros outside the tensor, by padding and slices."""
    axis, reach = axis % len(x.shape), size // 2
    padded = ops.pad(x, [(reach, reach) if place == axis else (0, 0) for place in range(len(x.shape))])

    def shifted(start: int) -> Tensor:
        whole = (slice(None),) * axis
        return padded[(*whole, slice(start, start - 2 * reach or None))]

    return functools.reduce(ops.add, map(shifted, range(size)))


def _itself(x: Tensor) -> Tensor:
    return x
