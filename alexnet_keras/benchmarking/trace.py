"""The time of a step by kind of layer, from TensorFlow's own trace of it.

TensorFlow runs several operations at once, and some of them inside others (a function and what it calls). Every moment
is shared equally among the threads that were inside an operation, and each thread's part goes to the innermost one, so
that nothing counts twice and the parts add up to the time that passed. Moments in which no operation ran count as
"other".

TensorFlow names an operation after the layer that made it, forward ("alexnet_1/conv2_1/add") and backward
("gradient_tape/alexnet_1/conv2_1/..."). Three kinds of operation need more than their name:

- gradients that a layer computes in a function of its own have no layer in their name; they read what the layer kept
  from its forward pass;
- several operations that TensorFlow has fused have the name of the last one, and count as the first: a convolution
  that adds its bias and applies ReLU is a convolution;
- a cast of Keras's from one precision to another stands between two layers, and is a kind of its own."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from alexnet_keras import layers as custom
from alexnet_keras.errors import AlexNetError
from alexnet_keras.training.step import LOSS_SCOPE

INPUT = "input (mean and colour noise)"
CASTS = "casts between precisions"
LOSS = "loss"
OPTIMIZER = "optimizer (update)"
OTHER = "other"
_CLASSES = {
    custom.MeanSubtraction: INPUT,
    custom.ColorNoise: INPUT,
    custom.TowerConv2D: "convolution",
    custom.LocalResponseNormalization: "local response normalisation",
    custom.SpatialResponseNormalization: "spatial normalisation",
    keras.layers.MaxPooling2D: "pooling",
    custom.TowerDense: "fully connected",
    custom.PlainDropout: "dropout",
}
_ACTIVATIONS = {"relu": "ReLU", "tanh": "tanh", "softmax": "softmax"}
_FUSED_REACH = 8  # operations that TensorFlow fuses into one, at most


class _Place(NamedTuple):
    """An operation's place in the network: its layer's position, its kind, and whether it is a gradient."""

    position: int
    kind: str
    backward: bool


def kind_of(layer: keras.Layer) -> str:
    """The kind of a layer, by its class; an activation's by its function."""
    if isinstance(layer, custom.EachTower):
        return kind_of(layer.layer)
    if isinstance(layer, keras.layers.Activation):
        return _ACTIVATIONS.get(layer.activation.__name__, OTHER)
    return next((kind for known, kind in _CLASSES.items() if isinstance(layer, known)), OTHER)


def kinds_in(model: keras.Model, training: bool) -> list[str]:
    """The kinds of layer of a network, in the order of their first layer, then the other parts of a step."""
    layers = model.layers[:-1] if training else model.layers  # training takes the logits, before the softmax
    kinds = list(dict.fromkeys(kind for kind in map(kind_of, layers) if kind != OTHER))
    casts = [CASTS] if _casts(model) else []
    return [*kinds, *casts, *([LOSS, OPTIMIZER] if training else []), OTHER]


class LayerKinds:
    """`kinds(name, type)` is the kind of layer that an operation belongs to.

    Args:
        model: The network.
        graph: Graph of the function that runs.
        images: Name of the function's argument with the images.
        optimizer: Name of the optimizer, which its operations' names contain; "" where there is none.
    """

    def __init__(self, model: keras.Model, graph: tf.Graph, images: str, optimizer: str = "") -> None:
        self._layers: dict[str, tuple[int, str]] = {}
        for position, layer in enumerate(model.layers):
            for each in (layer, *layer._flatten_layers(include_self=False, recursive=True)):
                self._layers.setdefault(each.name, (position, kind_of(layer)))
        self._behind = len(model.layers)  # the position of the loss
        self._operations = {operation.name: operation for operation in graph.get_operations()}
        self._images, self._optimizer, self._casts = images, optimizer, _casts(model)
        self._places: dict[str, _Place | None] = {}
        for operation in self._operations.values():  # inputs come first
            self._places[operation.name] = self._place(operation)

    def __call__(self, name: str, kind: str) -> str | None:
        """The kind of the operation with this name and type, as it ran; None where it is unknown.

        TensorFlow may run operations that are not in the graph: it fuses, inlines and adds some.
        """
        if self._optimizer and f"{self._optimizer}/" in name:
            return OPTIMIZER
        if "Fused" in kind:
            name = self._first_of_fused(name, kind.rpartition("Fused")[2])
        place = self._places[name] if name in self._places else self._named(name)
        if kind == "Cast" and self._casts and place and place.kind not in (INPUT, LOSS):
            return CASTS
        return place and place.kind

    def _place(self, operation: tf.Operation) -> _Place | None:
        if operation.name == self._images:
            return _Place(-1, INPUT, False)
        if named := self._named(operation.name):
            return named
        read = [place for each in operation.inputs if (place := self._places.get(each.op.name))]
        forward = [place for place in read if not place.backward]
        if len(forward) == len(read):
            return max(forward, default=None)
        # A gradient. From the forward pass it reads what its own layer kept, and the output of the layer before.
        return max(forward)._replace(backward=True) if forward else min(read)

    def _named(self, name: str) -> _Place | None:
        parts = name.split("/")
        backward = "gradient_tape" in parts
        for part in parts:
            plain = re.sub(r"_\d+$", "", part)
            if plain == LOSS_SCOPE:
                return _Place(self._behind, LOSS, backward)
            if found := self._layers.get(part) or self._layers.get(plain):
                return _Place(*found, backward)
        return None

    def _first_of_fused(self, name: str, kind: str) -> str:
        """The name of the nearest operation of this type that the named one depends on."""
        reached = [self._operations[name]] if name in self._operations else []
        for _ in range(_FUSED_REACH):
            if found := next((operation for operation in reached if operation.type == kind), None):
                return found.name
            reached = [each.op for operation in reached for each in operation.inputs]
        return name


def _casts(model: keras.Model) -> bool:
    """True if a network computes in another precision than that of its weights."""
    return any(layer.compute_dtype != layer.variable_dtype for layer in model.layers)


_OPERATION = re.compile(r"^([\w.\-/>]+):(\w+)$")  # "alexnet_1/conv1_1/Pad:Pad"; "ThreadpoolListener::Record" is none
_ASYNCHRONOUS = "ExecutorState::ProcessAsync::Start"  # such an operation's name and type are statistics of the event


class Stretch(NamedTuple):
    """A time in which a thread ran one kind of operation, picoseconds since the trace began; None: unknown."""

    start: int
    stop: int
    kind: str | None


def traced_shares(
    step: Callable[[], Any], steps: int, kind_of: Callable[[str, str], str | None], folder: Path
) -> dict[str, float]:
    """Trace some steps: each kind of operation's share of the time, 0..1, which add up to 1.

    Args:
        step: Runs one step and waits for its result.
        steps: Number of steps to trace.
        kind_of: From an operation's name and type to its kind.
        folder: Directory for TensorFlow's trace.

    Raises:
        AlexNetError: TensorFlow traced no operation.
    """
    options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=2, python_tracer_level=0)
    tf.profiler.experimental.start(str(folder), options)
    try:
        for _ in range(steps):
            step()
    finally:
        tf.profiler.experimental.stop()
    threads = []
    for file in folder.rglob("*.xplane.pb"):
        space = xplane_pb2.XSpace()
        space.ParseFromString(file.read_bytes())
        threads += [innermost(events) for events in _threads(space, kind_of)]
    return shares(threads)


def innermost(events: list[Stretch]) -> list[Stretch]:
    """One thread's nested events as stretches that follow one another, each of the innermost event.

    An event of unknown kind has the kind of the event around it.
    """
    found: list[Stretch] = []
    around: list[Stretch] = []
    reached = 0

    def reach(time: int) -> None:
        nonlocal reached
        if around and time > reached:
            found.append(Stretch(reached, time, around[-1].kind))
        reached = max(reached, time)

    for event in sorted(events, key=lambda event: (event.start, -event.stop)):
        while around and around[-1].stop <= event.start:
            reach(around[-1].stop)
            around.pop()
        reach(event.start)
        kind = event.kind or (around[-1].kind if around else None)
        around.append(Stretch(event.start, event.stop, kind))
    while around:
        reach(around[-1].stop)
        around.pop()
    return found


def shares(threads: list[list[Stretch]]) -> dict[str, float]:
    """The share of each kind in the time from the first stretch to the last, 0..1.

    Args:
        threads: The stretches of each thread, which do not overlap. While n threads are busy, each gets an n-th of the
            time.

    Raises:
        AlexNetError: There are no stretches.
    """
    stretches = [stretch for thread in threads for stretch in thread]
    changes = sorted(
        change
        for stretch in stretches
        for change in ((stretch.start, 1, stretch.kind or OTHER), (stretch.stop, -1, stretch.kind or OTHER))
    )
    if not changes:
        raise AlexNetError("TensorFlow's trace of a step has no operation in it, so no share of a layer is known.")
    times: dict[str, float] = defaultdict(float)
    active: Counter[str] = Counter()
    reached = changes[0][0]
    for time, change, kind in changes:
        running = active.total()
        for each, number in (active if running else {OTHER: 1}).items():
            if number and time > reached:
                times[each] += (time - reached) * number / (running or 1)
        active[kind] += change
        reached = time
    total = changes[-1][0] - changes[0][0]
    return {kind: time / total for kind, time in times.items()}


def _threads(space: Any, kind_of: Callable[[str, str], str | None]) -> Iterator[list[Stretch]]:
    """The operations that each thread ran."""
    for plane in space.planes:
        for line in plane.lines:
            begin, events = line.timestamp_ns * 1000, []
            for event in line.events:
                if operation := _operation(plane, event):
                    start = begin + event.offset_ps
                    events.append(Stretch(start, start + event.duration_ps, kind_of(*operation)))
            yield events


def _operation(plane: Any, event: Any) -> tuple[str, str] | None:
    """The name and type of an event's operation; None for other events."""
    name = plane.event_metadata[event.metadata_id].name
    if name == _ASYNCHRONOUS:
        stats = {plane.stat_metadata[stat.metadata_id].name: _text(plane, stat) for stat in event.stats}
        return stats["name"], stats["kernel_type"]
    found = _OPERATION.match(name)
    return (found[1], found[2]) if found else None


def _text(plane: Any, stat: Any) -> str:
    return stat.str_value or plane.stat_metadata[stat.ref_value].name
