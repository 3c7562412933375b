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

_devices: ContextVar[tuple[str, ...] | None] = ContextVar("tower_devices", default=None)


@contextmanager
def tower_devices(*names: str) -> Iterator[None]:
    """Layers made in this scope put tower i on device names[i]. Needs the TensorFlow backend."""
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError("Placing towers on devices needs Keras's TensorFlow backend.")
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
    """function(*tensors), computed and differentiated on a tower's device.

    TensorFlow does not carry a device scope over to the gradient: left to itself the backward pass of every
    tower would run on the first device. Here the gradient is computed in a scope of its own.
    """
    if devices is None:
        return function(*tensors)
    import tensorflow as tf

    @tf.custom_gradient
    def placed(*inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            output = function(*inputs)

        def gradient(*upstream):
            with tf.device(devices[tower]):
                return tape.gradient(output, inputs, upstream[0] if len(upstream) == 1 else upstream)

        return output, gradient

    with tf.device(devices[tower]):  # of the identities, too, that custom_gradient puts around the function
        return placed(*tensors)


def share(devices: tuple[str, ...], tower: int, tensor: Any, readers: int) -> list:
    """A tower's tensor once for each tower that reads it, with their gradients added up on the tensor's own device.

    TensorFlow would add them up on the first device: a tensor of another tower would send its gradient there and
    fetch the sum back.
    """
    import tensorflow as tf

    @tf.custom_gradient
    def shared(x):
        def gradient(*upstream):
            with tf.device(devices[tower]):
                return tf.add_n(upstream)

        return [tf.identity(x) for _ in range(readers)], gradient

    with tf.device(devices[tower]):
        return list(shared(tensor))
