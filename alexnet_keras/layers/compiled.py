"""Elementwise pieces of the network compiled into one pass over memory, and the same pieces as plain operations."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import keras

_plain: ContextVar[bool] = ContextVar("plain", default=False)


@contextmanager
def plain() -> Iterator[None]:
    """What is traced in this scope has ordinary operations in place of compiled pieces and of written gradients.

    Other programs can read such a graph, which is what an exported model is made of. Results are those of the compiled
    pieces but for the rounding of float32. It belongs to the thread, and is looked at when a layer is called.
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def is_plain() -> bool:
    """Whether this is inside `plain`."""
    return _plain.get()


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
        if is_plain():
            return function(*tensors)
        return for_signature(*((tuple(tensor.shape), tensor.dtype) for tensor in tensors))(*tensors)

    return call
