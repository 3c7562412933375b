"""AlexNet's two normalisations, across kernel maps and within each map: one pass over memory, gradients written out.

    y = x * s^-beta,   s = k + alpha * W(x^2)

W sums over a symmetric window, so it is its own transpose and the gradient is one more window:

    dx = dy * s^-beta - 2 alpha beta x W(dy * x * s^(-beta - 1))

Only x is kept for the gradient: summing the squares again is cheaper than writing s to memory and reading it back. Sums
and powers are computed in float32 whatever the layer's dtype. Inside `backend.plain`, and on other backends than
TensorFlow, the formula itself is computed, and the framework derives the gradient.

The usual way to a window, a padded copy and its slices, costs a pass for the copy, or loops whose edges the compiler
computes one number at a time. Here a tensor is read as it lies in memory: the neighbour j places along an axis lies j
strides further, and values from across the end of the axis are masked. Only the first and the last block of the
tensor are computed from padded copies of their own.

XLA has no bfloat16 loops on a processor: it surrounds every slice of a bfloat16 tensor with conversions to float32 and
back. It has loops over 16-bit integers, and a shift makes a float32 of one; so bfloat16 is read as its bits."""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import keras
import numpy as np
from keras import backend, ops

from alexnet_keras.backend import Shape, Tensor, compiled, is_plain


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
        if n < 1 or n % 2 == 0:
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

    Input and output shape: `(batch, height, width, maps)`, any float dtype. Computed in float32 inside.
    """

    def __init__(self, size: int = 5, scale: float = 0.001, beta: float = 0.75, k: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if size < 1 or size % 2 == 0:
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


def bits_of(x: Tensor) -> Tensor:
    """Return a bfloat16 tensor as uint16 without a copy, any other as it is."""
    return ops.view(x, "uint16") if backend.standardize_dtype(x.dtype) == "bfloat16" else x


def from_bits(x: Tensor, dtype: str) -> Tensor:
    """Return the tensor that `bits_of` was given; `dtype` is its dtype."""
    return ops.view(x, "bfloat16") if dtype == "bfloat16" else x


def widen(x: Tensor) -> Tensor:
    """Return what `bits_of` returned as float32."""
    if backend.standardize_dtype(x.dtype) == "uint16":
        return ops.view(ops.left_shift(ops.cast(x, "uint32"), ops.cast(16, "uint32")), "float32")
    return ops.cast(x, "float32")


def narrow(wide: Tensor, like: Tensor) -> Tensor:
    """Return float32 values rounded to the type of `like`, which `bits_of` returned."""
    dtype = backend.standardize_dtype(like.dtype)
    return ops.view(ops.cast(wide, "bfloat16"), "uint16") if dtype == "uint16" else ops.cast(wide, dtype)


class Window:
    """The elements of a tensor, and their neighbours along one axis, in float32."""

    def __init__(self, neighbours: list, masks: list) -> None:
        self._neighbours, self._masks = neighbours, masks

    @property
    def centre(self) -> Tensor:
        """The elements themselves."""
        return widen(self._neighbours[len(self._neighbours) // 2])

    def as_input(self, values: Tensor) -> Tensor:
        """Return float32 values rounded to the type of the tensor."""
        return narrow(values, like=self._neighbours[0])

    def sum(self, function: Callable) -> Tensor:
        """Return the sum of function(neighbour) over the part of the window that is inside the tensor."""
        total = None
        for neighbour, mask in zip(self._neighbours, self._masks, strict=True):
            value = function(widen(neighbour))
            if mask is not None:
                value = ops.where(ops.convert_to_tensor(mask), value, ops.zeros_like(value))
            total = value if total is None else total + value
        return total


def sweep(function: Callable, axis: int, size: int) -> Callable:
    """Return a compiled function of tensors of one shape, of which the batch may be unknown: one pass over memory.

    Args:
        function: Takes one Window per tensor and returns the values at their centre; elementwise but for `Window.sum`.
        axis: The window's axis; counted from the end if negative.
        size: The window's size, odd.

    Returns:
        A function from tensors as `bits_of` gives them to one of their shape, in the dtype that `function` returns.
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
    """Return the values, shaped (before the axis, the axis, after it)."""
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
    """Return the window of all blocks but the first and the last."""
    outer, length, stride = block.shape
    flat, count = ops.reshape(block, (-1,)), (outer - 2) * length * stride
    starts = [(length + offset) * stride for offset in range(-reach, reach + 1)]
    neighbours = [ops.reshape(flat[start : start + count], (outer - 2, length, stride)) for start in starts]
    return Window(neighbours, _masks(length, reach))


def _masks(length: int, reach: int) -> list:
    """Return for each neighbour a mask of the places along the axis that have it; None for the element itself."""
    places = np.arange(length)[:, None]
    offsets = range(-reach, reach + 1)
    return [(places + offset >= 0) & (places + offset < length) if offset else None for offset in offsets]


@functools.cache
def divisive_normalization(windows: tuple[tuple[int, int], ...], alpha: float, k: float, beta: float) -> Callable:
    """Return a differentiable function of one float tensor.

    Args:
        windows: (axis, size) pairs, summed one after the other.
        alpha, k, beta: As in the module's formula; alpha multiplies the sum.
    """
    *first, last = windows

    # Every sweep is compiled by itself: two in one piece would share terms, and memory, with each other.
    def summing(function: Callable) -> tuple[Callable, Callable]:
        """Return W(function(x)), but for its last window, as a function of x, and the function to sum over that one."""
        passes = []
        for window in first:
            passes.append(sweep(lambda x, function=function: x.sum(function), *window))
            function = _itself
        return lambda x: functools.reduce(lambda sums, each: each(sums), passes, x), function

    sums_of_squares, square = summing(ops.square)
    sums_of, _ = summing(_itself)

    def s_of(sums: Window) -> Tensor:
        return k + alpha * sums.sum(square)

    def power(s: Tensor) -> Tensor:  # s^-beta; two square roots are several times cheaper than a power
        return ops.rsqrt(s * ops.sqrt(s)) if beta == 0.75 else ops.power(s, -beta)

    def output_of(x: Window, sums: Window) -> Tensor:
        return x.as_input(x.centre * power(s_of(sums)))

    def shared_of(x: Window, sums: Window, upstream: Window) -> Tensor:
        s = s_of(sums)
        return upstream.centre * power(s) * x.centre / s

    def gradient_of(x: Window, sums: Window, upstream: Window, shared: Window) -> Tensor:
        direct = upstream.centre * power(s_of(sums))
        return x.as_input(direct - (2.0 * alpha * beta) * x.centre * shared.sum(_itself))

    output_of, shared_of, gradient_of = (sweep(each, *last) for each in (output_of, shared_of, gradient_of))

    def forward(x: Tensor) -> Tensor:
        return output_of(x, sums_of_squares(x))

    def backward(x: Tensor, upstream: Tensor) -> Tensor:
        sums = sums_of_squares(x)
        return gradient_of(x, sums, upstream, sums_of(shared_of(x, sums, upstream)))

    @ops.custom_gradient
    def normalize(x: Tensor) -> tuple[Tensor, Callable]:
        # TensorFlow would otherwise look for a gradient of what is compiled
        dtype, bits = backend.standardize_dtype(x.dtype), bits_of(ops.stop_gradient(x))

        def gradient(*args: Tensor, upstream: Tensor | None = None) -> Tensor:
            if upstream is None:
                (upstream,) = args
            upstream = bits_of(ops.stop_gradient(ops.cast(upstream, dtype)))
            return from_bits(backward(bits, upstream), dtype)

        return from_bits(forward(bits), dtype), gradient

    def plainly(x: Tensor) -> Tensor:
        wide = ops.cast(x, "float32")
        sums = functools.reduce(lambda sums, window: _window_sum(sums, *window), windows, ops.square(wide))
        return ops.cast(wide * power(k + alpha * sums), x.dtype)

    return lambda x: plainly(x) if is_plain() else normalize(x)


def _window_sum(x: Tensor, axis: int, size: int) -> Tensor:
    """Return the sum over a window along one axis, zeros outside the tensor, by padding and slices."""
    axis, reach = axis % len(x.shape), size // 2
    padded = ops.pad(x, [(reach, reach) if place == axis else (0, 0) for place in range(len(x.shape))])

    def shifted(start: int) -> Tensor:
        whole = (slice(None),) * axis
        return padded[(*whole, slice(start, start + x.shape[axis]))]

    return functools.reduce(ops.add, map(shifted, range(size)))


def _itself(x: Tensor) -> Tensor:
    return x
