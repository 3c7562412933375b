"""Elementwise pieces of the network compiled into one pass over memory."""

import functools
from collections.abc import Callable

import keras


def compiled(function: Callable) -> Callable:
    """The function of tensors compiled by XLA under TensorFlow, once for each set of shapes and dtypes it meets.

    It pays for elementwise work, which is otherwise a pass over memory for every operation. Nothing with a
    convolution or a matrix product in it is compiled: on a processor XLA's are slower. Other backends compile, or
    do not, as they like.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    @functools.cache
    def for_signature(*signature):
        return tf.function(function, jit_compile=True, autograph=False)

    def call(*tensors):
        return for_signature(*((tuple(tensor.shape), tensor.dtype) for tensor in tensors))(*tensors)

    return call
