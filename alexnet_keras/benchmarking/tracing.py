"""Where the time of a step goes, from TensorFlow's own trace of it.

TensorFlow runs several operations at once, and some of them inside others (a function and what it calls). Here every
moment is shared equally among the threads that were inside an operation, and each thread's part goes to the innermost
one, so that nothing counts twice and the parts add up to the time that passed. Moments in which no operation ran count
as "other".
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from alexnet_keras.benchmarking.layer_kinds import OTHER
from alexnet_keras.errors import AlexNetError

_OPERATION = re.compile(r"^([\w.\-/>]+):(\w+)$")  # "alexnet_1/conv1_1/Pad:Pad"; "ThreadpoolListener::Record" is none
_ASYNCHRONOUS = "ExecutorState::ProcessAsync::Start"  # such an operation's name and type stand beside the event


class Stretch(NamedTuple):
    """A time in which a thread was in one kind of operation. Picoseconds since the trace began; None: nothing tells."""

    start: int
    stop: int
    kind: str | None


def traced_shares(
    step: Callable[[], Any], steps: int, kind_of: Callable[[str, str], str | None], folder: Path
) -> dict[str, float]:
    """The share of the time of some steps that each kind of operation took, 0..1; they add up to 1.

    Args:
        step: Runs once and waits for its result.
        steps: How many are traced.
        kind_of: From an operation's name and type to its kind.
        folder: Where TensorFlow writes its trace.

    Raises:
        AlexNetError: TensorFlow has traced no operation.
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

    An event that nothing tells the kind of has the kind of the one around it.
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
        threads: Each one's stretches, which do not overlap. Where n threads are busy each gets an n-th of the time.

    Raises:
        AlexNetError: There are none.
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
    """The name and type of the operation that an event is; None where it is something else."""
    name = plane.event_metadata[event.metadata_id].name
    if name == _ASYNCHRONOUS:
        stats = {plane.stat_metadata[stat.metadata_id].name: _text(plane, stat) for stat in event.stats}
        return stats["name"], stats["kernel_type"]
    found = _OPERATION.match(name)
    return (found[1], found[2]) if found else None


def _text(plane: Any, stat: Any) -> str:
    return stat.str_value or plane.stat_metadata[stat.ref_value].name
