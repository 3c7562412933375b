"""Which device each tower lives on.

    with tower_devices("/GPU:0", "/GPU:1"):
        model = AlexNet(...)

Layers made inside the scope keep their variables and do their work, forward and backward, on their tower's
device (paper, figure 2). The placement belongs to the process, not to the model: it is never saved.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import keras

from alexnet_keras.backend import require_tensorflow, run_on, share_on

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
