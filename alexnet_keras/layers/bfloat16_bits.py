"""bfloat16 as the upper half of float32's bits, for what is compiled.

XLA has no bfloat16 loops on a processor: it surrounds every slice of a bfloat16 tensor with conversions to float32 and
back. Of 16-bit integers it has all loops, and a shift makes float32 of them.
"""

from keras import backend, ops

from alexnet_keras.backend import Tensor


def bits_of(x: Tensor) -> Tensor:
    """A bfloat16 tensor as uint16 without a copy, any other as it is."""
    return ops.view(x, "uint16") if backend.standardize_dtype(x.dtype) == "bfloat16" else x


def from_bits(x: Tensor, dtype: str) -> Tensor:
    """What `bits_of` was given: `dtype` is its dtype."""
    return ops.view(x, "bfloat16") if dtype == "bfloat16" else x


def widen(x: Tensor) -> Tensor:
    """Float32 of what `bits_of` returned."""
    if backend.standardize_dtype(x.dtype) == "uint16":
        return ops.view(ops.left_shift(ops.cast(x, "uint32"), ops.cast(16, "uint32")), "float32")
    return ops.cast(x, "float32")


def narrow(wide: Tensor, like: Tensor) -> Tensor:
    """Float32 rounded to what `like`, which `bits_of` returned, holds."""
    dtype = backend.standardize_dtype(like.dtype)
    return ops.view(ops.cast(wide, "bfloat16"), "uint16") if dtype == "uint16" else ops.cast(wide, dtype)
