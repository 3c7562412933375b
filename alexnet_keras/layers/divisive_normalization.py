"""The arithmetic that both of AlexNet's normalisations share, with a written gradient.

    y = x * s^-beta,   s = k + alpha * W(x^2)

W adds up a symmetric window, so it is its own transpose and the gradient is one more window:

    dx = dy * s^-beta - 2 alpha beta x W(dy * x * s^(-beta - 1))

In training s^-1/2 is kept from the forward pass, so that the gradient has one window to add up instead of one
inside another; otherwise nothing is kept. Sums and powers are computed in float32 whatever the layer's dtype.
Each direction is compiled into one pass over memory.
"""

import functools
from collections.abc import Callable

from keras import ops

from alexnet_keras.layers.compiled import compiled


@functools.cache
def divisive_normalization(
    windows: tuple[tuple[int, int], ...], alpha: float, k: float, beta: float, keep: bool
) -> Callable:
    """A differentiable function of one float tensor.

    Args:
        windows: (axis, size) pairs, summed one after the other.
        alpha, k, beta: as above; alpha multiplies the sum.
        keep: keep s^-1/2 for the gradient, as a step of training wants it.
    """

    def window_sum(x):
        for axis, size in windows:
            x = shifted_sum(x, size, axis)
        return x

    def inverse_root(wide):
        return ops.rsqrt(k + alpha * window_sum(ops.square(wide)))

    def power(root):  # s^-beta from s^-1/2; two square roots are several times cheaper than a power
        return root * ops.sqrt(root) if beta == 0.75 else ops.power(root, 2.0 * beta)

    def forward(x):
        wide = ops.cast(x, "float32")
        return ops.cast(wide * power(inverse_root(wide)), x.dtype)

    def forward_and_root(x):
        wide = ops.cast(x, "float32")
        root = inverse_root(wide)
        return ops.cast(wide * power(root), x.dtype), root

    def backward(x, root, upstream):
        wide, upstream = ops.cast(x, "float32"), ops.cast(upstream, "float32")
        scaled = upstream * power(root)
        shared = window_sum(scaled * wide * ops.square(root))
        return ops.cast(scaled - (2.0 * alpha * beta) * wide * shared, x.dtype)

    def root_and_backward(x, upstream):
        return backward(x, inverse_root(ops.cast(x, "float32")), upstream)

    forward, forward_and_root = compiled(forward), compiled(forward_and_root)
    backward, root_and_backward = compiled(backward), compiled(root_and_backward)

    @ops.custom_gradient
    def normalize(x):
        output, root = forward_and_root(x) if keep else (forward(x), None)

        def gradient(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            return backward(x, root, upstream) if keep else root_and_backward(x, upstream)

        return output, gradient

    return normalize


def shifted_sum(x, size: int, axis: int):
    """The sum over a window of odd `size` centred on each position of an axis, zeros outside."""
    reach = size // 2
    length = x.shape[axis]
    paddings = [(0, 0)] * len(x.shape)
    paddings[axis] = (reach, reach)
    padded = ops.pad(x, paddings)

    def shifted(offset: int):
        index = [slice(None)] * len(x.shape)
        index[axis] = slice(offset, offset + length)
        return padded[tuple(index)]

    total = shifted(0)
    for offset in range(1, size):
        total = total + shifted(offset)
    return total
