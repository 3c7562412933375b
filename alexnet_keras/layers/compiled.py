"""Elementwise pieces of the network compiled into one pass over memory, and the same pieces as plain operations."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from alexnet_keras.backend import compiled_by_xla, on_tensorflow

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
    """Whether this is inside `plain`, or on a backend that has no compiled pieces."""
    return _plain.get() or not on_tensorflow()


def compiled(function: Callable) -> Callable:
    """The function of tensors compiled by XLA under TensorFlow, once for each set of shapes and dtypes it meets.

    It pays for elementwise work, which is otherwise a pass over memory for every operation. Nothing with a
    convolution or a matrix product in it is compiled: on a processor XLA's are slower. Other backends compile, or
    do not, as they like.
    """
    if not on_tensorflow():
        return function
    by_xla = compiled_by_xla(function)
    return lambda *tensors: (function if is_plain() else by_xla)(*tensors)
