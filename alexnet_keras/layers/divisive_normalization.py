"""The arithmetic that both of AlexNet's normalisations share, with a written gradient.

    y = x * s^-beta,   s = k + alpha * W(x^2)

W adds up a symmetric window, so it is its own transpose and the gradient is one more window:

    dx = dy * s^-beta - 2 alpha beta x W(dy * x * s^(-beta - 1))

Only x and dy are needed again, so nothing else is kept from the forward pass. Sums and powers are computed in
float32 whatever the layer's dtype. Under TensorFlow each direction is compiled by XLA into one pass over memory;
nothing else of the network is (compiling the whole step is slower on a processor).
"""

import functools
from collections.abc import Callable

import keras
from keras import ops


@functools.cache
def divisive_normalization(windows: tuple[tuple[int, int], ...], alpha: float, k: float, beta: float) -> Callable:
    """A differentiable function of one float tensor; `windows` are (axis, size) pairs, summed one after the other."""

    def window_sum(x):
        for axis, size in windows:
            x = shifted_sum(x, size, axis)
        return x

    def scale_and_power(x):
        s = k + alpha * window_sum(ops.square(x))
        if beta == 0.75:  # two square roots are several times cheaper than a power
            root = ops.rsqrt(s)
            return s, root * ops.sqrt(root)
        return s, ops.power(s, -beta)

    def forward(x):
        wide = ops.cast(x, "float32")
        _, power = scale_and_power(wide)
        return ops.cast(wide * power, x.dtype)

    def backward(x, upstream):
        wide, upstream = ops.cast(x, "float32"), ops.cast(upstream, "float32")
        s, power = scale_and_power(wide)
        shared = window_sum(upstream * wide * power / s)
        return ops.cast(upstream * power - (2.0 * alpha * beta) * wide * shared, x.dtype)

    if keras.backend.backend() == "tensorflow":
        forward, backward = _compiled(forward), _compiled(backward)

    @ops.custom_gradient
    def normalize(x):
        def gradient(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            return backward(x, upstream)

        return forward(x), gradient

    return normalize


def _compiled(function: Callable) -> Callable:
    """The function compiled by XLA, once for each set of shapes and dtypes it meets."""
    import tensorflow as tf

    @functools.cache
    def for_signature(*signature):
        return tf.function(function, jit_compile=True, autograph=False)

    def call(*tensors):
        return for_signature(*((tuple(tensor.shape), tensor.dtype) for tensor in tensors))(*tensors)

    return call


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
