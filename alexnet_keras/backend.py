"""The seam between this package and Keras's backends.

The model and its layers are `keras.ops` and run on every backend. What they do better, or only, under TensorFlow is
here: pieces compiled into one pass over memory, the device of each tower, random numbers by example, which GPUs the
process takes and whether they may round to TF32.

    with tower_devices("/GPU:0", "/GPU:1"):
        model = AlexNet(...)

Layers made inside the scope keep their variables and do their work, forward and backward, on their tower's device
(paper, figure 2). The placement belongs to the process, not to the model: it is never saved.

Importing this module imports neither Keras nor a backend."""

import functools
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeAlias

from alexnet_keras.errors import UsageError

TENSORFLOW = "tensorflow"
CHANNELS_LAST = "channels_last"  # given to every layer that has a choice: keras.json does not change the network

# Keras has no type for what its operations take and return: a symbolic KerasTensor or any backend's own tensor.
Tensor: TypeAlias = Any
# (batch, height, width, maps), None where a size is unknown; of a layer that reads towers a list with one per tower.
Shape: TypeAlias = Sequence[Any]
Devices: TypeAlias = tuple[str, ...] | None

_plain: ContextVar[bool] = ContextVar("plain", default=False)
_devices: ContextVar[Devices] = ContextVar("tower_devices", default=None)


def backend_name() -> str:
    """Return the name of Keras's backend (tensorflow, jax, torch, ...), or of the one it will have once imported."""
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
    """Return True if Keras computes with TensorFlow."""
    return backend_name() == TENSORFLOW


def require_tensorflow(what: str) -> None:
    """Refuse any other backend than TensorFlow.

    Args:
        what: What needs TensorFlow: the beginning of the message.

    Raises:
        UsageError: Keras computes with another backend.
    """
    if not on_tensorflow():
        raise UsageError(
            f"{what} needs Keras's TensorFlow backend, and Keras's backend here is {backend_name()}: set "
            "KERAS_BACKEND=tensorflow. The model and its layers run on any backend."
        )


def use_gpus(count: int | None = None) -> None:
    """Let TensorFlow see the first GPUs of this machine and no others, and take their memory as it needs it.

    By itself TensorFlow takes all memory of every GPU as soon as it makes its devices, which is when it first computes.
    GPUs that the program has hidden stay hidden, and limits of memory that it has set stay.

    Args:
        count: The number of GPUs; None for all that TensorFlow sees.

    Raises:
        UsageError: None are to be seen, and TensorFlow has made its devices with some.
    """
    import tensorflow as tf

    visible = tf.config.get_visible_devices("GPU")
    chosen = visible[:count]
    try:
        tf.config.set_visible_devices(chosen, "GPU")
    except RuntimeError as error:
        if not chosen:
            raise UsageError(
                f"TensorFlow has begun with {len(visible)} GPU{'s' if len(visible) > 1 else ''} in this process: use "
                "none in a process that has not computed yet."
            ) from error
        return  # it has these, and more
    for gpu in chosen:
        with suppress(ValueError, RuntimeError):  # the program has set a limit, or TensorFlow has made its devices
            tf.config.experimental.set_memory_growth(gpu, True)


@contextmanager
def tensor_float_32(allowed: bool) -> Iterator[None]:
    """Let TensorFlow round the inputs of float32 products to TF32 in this scope, or not.

    NVIDIA's GPUs multiply TF32 (10 bits of mantissa instead of 23) several times faster since Ampere, and TensorFlow
    does so by default. Elsewhere it changes nothing.
    """
    if not on_tensorflow():
        yield
        return
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(allowed)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


@contextmanager
def plain() -> Iterator[None]:
    """Trace ordinary operations, in this scope, in place of compiled pieces and of gradients written by hand.

    Other programs can read such a graph, which is what an exported model is made of. Results are those of the compiled
    pieces but for the rounding of float32. The scope belongs to the thread and counts when a layer is called.
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def is_plain() -> bool:
    """Return True inside `plain`, and on a backend that has no compiled pieces."""
    return _plain.get() or not on_tensorflow()


def compiled(function: Callable) -> Callable:
    """Return a function of tensors compiled by XLA under TensorFlow, once for each set of shapes and dtypes it meets.

    It pays for elementwise work, which is otherwise a pass over memory for every operation. Nothing with a
    convolution or a matrix product in it is compiled: on a processor XLA's are slower. Other backends compile, or
    do not, as they like.
    """
    if not on_tensorflow():
        return function
    import tensorflow as tf

    @functools.cache
    def for_signature(*signature: Any) -> Callable:
        traced = tf.function(function, jit_compile=True, autograph=False)
        traced._omit_frequent_tracing_warning = True  # each is traced once, which TensorFlow counts as one retraced
        return traced

    def call(*tensors: Tensor) -> Any:
        if is_plain():
            return function(*tensors)
        return for_signature(*((tuple(tensor.shape), tensor.dtype) for tensor in tensors))(*tensors)

    return call


def differentiable_once(gradient: Tensor, *inputs: Tensor) -> Tensor:
    """Return a gradient that was computed by hand, whose own derivative raises.

    TensorFlow would otherwise take it for a constant, and leave terms out of a second derivative without a word.

    Args:
        gradient: The gradient.
        inputs: The tensors that it was computed from.
    """
    import tensorflow as tf

    @tf.custom_gradient
    def passed(gradient: Tensor, *inputs: Tensor) -> tuple[Tensor, Callable]:
        def refused(*upstream: Tensor) -> Tensor:
            raise NotImplementedError(
                "AlexNet's normalisations, and its ReLU in bfloat16, have no second derivative under TensorFlow, where "
                "their gradients are written by hand: call the model inside alexnet_keras.backend.plain()."
            )

        return gradient, refused

    return passed(gradient, *inputs)


def add_bias(maps: Tensor, bias: Tensor) -> Tensor:
    """Return maps `(batch, height, width, maps)` plus one number for each map, `(maps,)`.

    Under TensorFlow, in 16 bits, by the operation whose gradient is computed along with that of the convolution before
    it. In float32 that sum would be half as exact as one of its own.
    """
    if is_plain() or maps.dtype == "float32":
        return maps + bias
    import tensorflow as tf

    return tf.nn.bias_add(maps, bias)


@contextmanager
def tower_devices(*names: str) -> Iterator[None]:
    """Put tower i of the layers made in this scope on device names[i]. Needs the TensorFlow backend."""
    require_tensorflow("Placing towers on devices")
    token = _devices.set(names or None)
    try:
        yield
    finally:
        _devices.reset(token)


def current_devices() -> Devices:
    """Return the devices of the innermost `tower_devices` scope, or None."""
    return _devices.get()


def scope(devices: Devices, tower: int) -> Any:
    """Return a context in which variables and operations go to a tower's device."""
    import keras

    return keras.device(devices[tower]) if devices else nullcontext()


def run(devices: Devices, tower: int, function: Callable, tensors: Sequence) -> Any:
    """Return function(*tensors), computed and differentiated on a tower's device.

    TensorFlow does not carry a device scope over to the gradient: left to itself the backward pass of every
    tower would run on the first device. Here the gradient is computed in a scope of its own.
    """
    if not devices:
        return function(*tensors)
    import tensorflow as tf

    device = devices[tower]

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


def share(device: str, tensor: Any, readers: int) -> list:
    """Return a device's tensor once for each reader, with their gradients added up on that device.

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


def for_examples(draw: Callable, batch_size: int | Tensor) -> Tensor:
    """Return draw(rows), one row per example, so that splitting a batch over replicas changes no example's numbers.

    In a replica of a TensorFlow distribution strategy the rows of the whole batch are drawn and the replica's own
    are kept; all replicas have equally many.
    """
    if not on_tensorflow():
        return draw(batch_size)
    import keras
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync if context else 1
    if replicas == 1:
        return draw(batch_size)
    rows = draw(replicas * batch_size)
    start = tf.cast(context.replica_id_in_sync_group, tf.int32) * batch_size
    return tf.slice(rows, [start] + [0] * (len(rows.shape) - 1), [batch_size, *keras.ops.shape(rows)[1:]])
