"""The rectified linear unit, with a gradient that in bfloat16 is one pass over memory."""

import functools
from collections.abc import Callable

from keras import backend, ops

from alexnet_keras.backend import Tensor, compiled, differentiable_once, is_plain
from alexnet_keras.layers.normalization import UPPER_HALF, halves_of, word

LOWER_HALF = 0x0000FFFF  # of a word


def relu(x: Tensor) -> Tensor:
    """Return max(x, 0), elementwise: any shape, any float dtype.

    TensorFlow computes the gradient of a bfloat16 tensor one number at a time. Here numbers are read two at a time, as
    words of 32 bits, of which those stay that belong to positive outputs; a second derivative raises
    NotImplementedError.

    Reference: paper, section 3.1.
    """
    if is_plain() or backend.standardize_dtype(x.dtype) != "bfloat16" or (x.shape[-1] or 1) % 2:
        return ops.relu(x)
    return _in_words()(x)


@functools.cache
def _in_words() -> Callable:
    """Return the function for bfloat16 tensors with an even last axis."""

    @compiled
    def passed(upstream: Tensor, outputs: Tensor) -> Tensor:
        # as signed integers, negative numbers are negative and zero is not above zero
        lower_passes, upper_passes = (ops.view(half, "int32") > 0 for half in halves_of(outputs))
        nothing = ops.zeros_like(outputs)
        lower_mask = ops.where(lower_passes, nothing + word(LOWER_HALF), nothing)
        upper_mask = ops.where(upper_passes, nothing + word(UPPER_HALF), nothing)
        return ops.bitwise_and(upstream, ops.bitwise_or(lower_mask, upper_mask))

    @ops.custom_gradient
    def rectified(x: Tensor) -> tuple[Tensor, Callable]:
        outputs = ops.relu(x)

        def gradient(*args: Tensor, upstream: Tensor | None = None) -> Tensor:
            if upstream is None:
                (upstream,) = args
            words = (ops.view(ops.stop_gradient(each), "uint32") for each in (upstream, outputs))
            return differentiable_once(ops.view(passed(*words), "bfloat16"), upstream)

        return outputs, gradient

    return rectified
