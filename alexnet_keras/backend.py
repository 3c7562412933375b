"""The seam between this package and Keras's backends.

The model and its layers are `keras.ops` and run on every backend. What they do better, or only, under TensorFlow is
here. Importing this module imports neither Keras nor a backend.
"""

import functools
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from alexnet_keras.errors import UsageError

TENSORFLOW = "tensorflow"


CHANNELS_LAST = "channels_last"  # said at every layer that has a choice: keras.json does not change the network


# Keras has no type for what its operations take and return: a symbolic KerasTensor or any backend's own tensor.
Tensor: TypeAlias = Any


# (batch, height, width, maps), None where a size is unknown; of a layer that reads towers a list with one such a tower.
Shape: TypeAlias = Sequence[Any]


def backend_name() -> str:
    """Keras's backend: tensorflow, jax, torch, ...; the one that Keras will have, if it has not been imported yet."""
    if "keras" in sys.modules:
        return sys.modules["keras"].backend.backend()
    if named := os.environ.get("KERAS_BACKEND"):
        return named
    settings = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras.json"
    try:
        return json.loads(settings.read_text(encoding="utf-8")).get("backend", TENSORFLOW)
    except (OSError, ValueError):
        return TENSORFLOW


def on_tensorflow() -> bool:
    """Whether Keras computes with TensorFlow."""
    return backend_name() == TENSORFLOW


def require_tensorflow(what: str) -> None:
    """Says what needs TensorFlow where Keras computes with something else.

    Raises:
        UsageError: it does.
    """
    if not on_tensorflow():
        raise UsageError(
            f"{what} needs Keras's TensorFlow backend, and Keras's backend here is {backend_name()}: set "
            "KERAS_BACKEND=tensorflow. The model and its layers run on any backend."
        )


def compiled_by_xla(function: Callable) -> Callable:
    """The function of tensors compiled by XLA, once for each set of shapes and dtypes it meets. Needs TensorFlow."""
    import tensorflow as tf

    @functools.cache
    def for_signature(*signature: Any) -> Callable:
        return tf.function(function, jit_compile=True, autograph=False)

    return lambda *tensors: for_signature(*((tuple(tensor.shape), tensor.dtype) for tensor in tensors))(*tensors)


def replica() -> tuple[Any, int]:
    """(which replica of a distribution strategy this is, how many there are); (0, 1) outside TensorFlow."""
    if not on_tensorflow():
        return 0, 1
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    count = context.num_replicas_in_sync if context else 1
    return (context.replica_id_in_sync_group, count) if count > 1 else (0, 1)


def run_on(device: str, function: Callable, tensors: Sequence) -> Any:
    """function(*tensors), computed and differentiated on a device. Needs TensorFlow.

    TensorFlow does not carry a device scope over to the gradient: left to itself the backward pass of every
    tower would run on the first device. Here the gradient is computed in a scope of its own.
    """
    import tensorflow as tf

    @tf.custom_gradient
    def placed(*inputs: Tensor) -> tuple[Tensor, Callable]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            output = function(*inputs)

        def gradient(*upstream: Tensor) -> Tensor:
            with tf.device(device):
                return tape.gradient(output, inputs, upstream[0] if len(upstream) == 1 else upstream)

        return output, gradient

    with tf.device(device):  # of the identities, too, that custom_gradient puts around the function
        return placed(*(tf.convert_to_tensor(tensor) for tensor in tensors))  # Keras variables are none


def share_on(device: str, tensor: Any, readers: int) -> list:
    """A device's tensor once for each reader, with their gradients added up on that device. Needs TensorFlow.

    TensorFlow would add them up on the first device: a tensor of another would send its gradient there and fetch the
    sum back.
    """
    import tensorflow as tf

    @tf.custom_gradient
    def shared(x: Tensor) -> tuple[list, Callable]:
        def gradient(*upstream: Tensor) -> Tensor:
            with tf.device(device):
                return tf.add_n(upstream)

        return [tf.identity(x) for _ in range(readers)], gradient

    with tf.device(device):
        return list(shared(tensor))
