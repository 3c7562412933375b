"""How layers execute: pieces compiled into one pass over memory, the device of each tower, random numbers by example.

    with tower_devices("/GPU:0", "/GPU:1"):
        model = AlexNet(...)

Layers made inside the scope keep their variables and do their work, forward and backward, on their tower's device
(paper, figure 2). The placement belongs to the process, not to the model: it is never saved."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import keras
from keras import ops

from alexnet_keras.backend import Tensor, compiled_by_xla, on_tensorflow, replica, require_tensorflow, run_on, share_on

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


_devices: ContextVar[tuple[str, ...] | None] = ContextVar("tower_devices", default=None)


@contextmanager
def tower_devices(*names: str) -> Iterator[None]:
    """Layers made in this scope put tower i on device names[i]. Needs the TensorFlow backend."""
    require_tensorflow("Placing towers on devices")
    token = _devices.set(names or None)
    try:
        yield
    finally:
        _devices.reset(token)


def current_devices() -> tuple[str, ...] | None:
    """The devices of the innermost `tower_devices` scope, or None."""
    return _devices.get()


def scope(devices: tuple[str, ...] | None, tower: int) -> Any:
    """A context in which variables and operations go to a tower's device."""
    return keras.device(devices[tower]) if devices else nullcontext()


def run(devices: tuple[str, ...] | None, tower: int, function: Callable, tensors: Sequence) -> Any:
    """function(*tensors), computed and differentiated on a tower's device."""
    return run_on(devices[tower], function, tensors) if devices else function(*tensors)


def share(devices: tuple[str, ...], tower: int, tensor: Any, readers: int) -> list:
    """A tower's tensor once for each tower that reads it, with their gradients added up on the tensor's own device."""
    return share_on(devices[tower], tensor, readers)


def for_examples(draw: Callable, batch_size: int | Tensor) -> Tensor:
    """`draw(rows)`, one row an example, so that splitting a batch over replicas changes no example's numbers.

    In a replica of a TensorFlow distribution strategy the rows of the whole batch are drawn and the replica's own
    are kept; all replicas have equally many.
    """
    index, replicas = replica()
    if replicas == 1:
        return draw(batch_size)
    rows = draw(replicas * batch_size)
    start = ops.cast(index, "int32") * batch_size
    return ops.slice(rows, [start] + [0] * (len(rows.shape) - 1), [batch_size, *rows.shape[1:]])
