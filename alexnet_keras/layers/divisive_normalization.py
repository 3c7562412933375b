"""The arithmetic that both of AlexNet's normalisations share, with a written gradient.

    y = x * s^-beta,   s = k + alpha * W(x^2)

W adds up a symmetric window, so it is its own transpose and the gradient is one more window:

    dx = dy * s^-beta - 2 alpha beta x W(dy * x * s^(-beta - 1))

Nothing but x is kept for the gradient: adding up the squares again is cheaper than writing s to memory and reading it
back. Sums and powers are computed in float32 whatever the layer's dtype. Inside `compiled.plain`, and on other backends
than TensorFlow, the formula is what is computed, and the gradient is whatever the framework makes of it.
"""

import functools
from collections.abc import Callable

from keras import backend, ops

from alexnet_keras.backend import Tensor
from alexnet_keras.layers.bfloat16_bits import bits_of, from_bits
from alexnet_keras.layers.compiled import is_plain
from alexnet_keras.layers.window_sweep import Window, sweep


@functools.cache
def divisive_normalization(windows: tuple[tuple[int, int], ...], alpha: float, k: float, beta: float) -> Callable:
    """A differentiable function of one float tensor.

    Args:
        windows: (axis, size) pairs, summed one after the other.
        alpha, k, beta: as above; alpha multiplies the sum.
    """
    *first, last = windows

    # Every sweep is compiled by itself: two in one piece would share terms, and memory, with each other.
    def summing(function: Callable) -> tuple[Callable, Callable]:
        """Of a tensor x, W(function(x)) but for its last window, and the function to add up over that one."""
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
    """The sum over a window along one axis, zeros outside the tensor, as padding and slices."""
    axis, reach = axis % len(x.shape), size // 2
    padded = ops.pad(x, [(reach, reach) if place == axis else (0, 0) for place in range(len(x.shape))])

    def shifted(start: int) -> Tensor:
        whole = (slice(None),) * axis
        return padded[(*whole, slice(start, start + x.shape[axis]))]

    return functools.reduce(ops.add, map(shifted, range(size)))


def _itself(x: Tensor) -> Tensor:
    return x
