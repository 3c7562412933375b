"""The records of a training: steps.csv, layers.csv, history.csv, kernels and TensorBoard's events.

`kernels/epoch-00003-step-000000114.npy` holds the first layer's kernels, float32 `(towers, height, width, 3, filters)`,
139 kB for the paper's 96 kernels of 11x11x3."""

import csv
import os
import re
import socket
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import keras
import numpy as np
import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.image.metadata import create_summary_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.util.tensor_util import make_tensor_proto

from alexnet_keras.errors import DAMAGED, DataError
from alexnet_keras.network.kernels import first_kernels, kernel_grid
from alexnet_keras.reporter import Reporter
from alexnet_keras.runs import Run
from alexnet_keras.storage.files import save_array, tensorflow_errors_as_os_errors, write_by_rename
from alexnet_keras.training.checkpoint import Position
from alexnet_keras.training.optimizer import AlexNetSGD

EVENTS = "brain.Event:2"  # the version of TensorBoard's files
UNREADABLE = "\ufffd"  # in place of bytes that are no text
NAME = re.compile(r"epoch-(\d{5,})-step-(\d{9,})\.npy")


@dataclass(frozen=True)
class KernelSnapshot:
    """The first layer's kernels after `epochs` epochs and `steps` steps of training, in a file."""

    epochs: int
    steps: int
    path: Path

    def kernels(self) -> np.ndarray:
        """Read the kernels, float32 `(towers, height, width, 3, filters)`.

        Raises:
            DataError: The file is damaged.
        """
        try:
            # Mapped, so that a header that claims more than the file holds takes no memory.
            kernels = np.load(self.path, mmap_mode="r", allow_pickle=False)
            if kernels.ndim != 5 or kernels.shape[3] != 3 or kernels.dtype != np.float32 or not kernels.size:
                raise ValueError(f"it has shape {kernels.shape} and type {kernels.dtype}")
        except DAMAGED as error:
            reason = str(error).split(" If you trust")[0].rstrip(".")  # NumPy: to load it with pickle
            raise DataError(f"{self.path} is damaged or holds no kernels: {reason}.") from error
        return np.array(kernels)


def save_kernels(folder: Path, towers: Sequence[np.ndarray], epochs: int, steps: int) -> None:
    """Write a snapshot of kernels, one array `(height, width, 3, filters)` per tower."""
    save_array(folder / f"epoch-{epochs:05d}-step-{steps:09d}.npy", np.stack(towers))


def kernel_snapshots(folder: Path) -> list[KernelSnapshot]:
    """Return the snapshots in a folder, in the order of training."""
    named = ((NAME.fullmatch(path.name), path) for path in folder.glob("epoch-*.npy"))
    snapshots = [KernelSnapshot(int(match[1]), int(match[2]), path) for match, path in named if match]
    return sorted(snapshots, key=lambda snapshot: snapshot.epochs)


STEP_COLUMNS = ("step", "epoch", "loss", "top1_error")
LAYER_COLUMNS = ("epoch", "layer", "tower", "kind", "mean_weight", "mean_update", "ratio")
LayerRow = dict[str, str | int | float]


class Records:
    """Writes the records of one run from a position on; records of later steps, by an earlier process, are removed.

    Args:
        run: The run.
        position: The position in training.
        model: The model at that position.
        reporter: Receives a warning of damaged records.
    """

    def __init__(self, run: Run, position: Position, model: keras.Model, reporter: Reporter) -> None:
        self.run, self.model = run, model
        for path, column, limit in (
            (run.steps_path, "step", position.total_steps),
            (run.layers_path, "epoch", len(position.history)),
        ):
            if damaged := keep_rows(path, column, limit):
                reporter.warn(f"{path} has {damaged} damaged line{'s' * (damaged > 1)}, left out from now on.")
        for snapshot in kernel_snapshots(run.kernels_path):
            if snapshot.epochs > len(position.history):
                snapshot.path.unlink(missing_ok=True)
        if not position.total_steps:
            save_kernels(run.kernels_path, first_kernels(model), 0, 0)
        if position.history:
            run.write_history(position.history)
        else:
            run.history_path.unlink(missing_ok=True)  # an epoch whose state was lost
        # Written here: to start an operation of tf.summary takes longer than all else that a step records, and
        # TensorBoard's own writer is a thread, which prints a traceback where the disk is full.
        run.events_path.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"  # in the order of time
        with self._on_disk():
            self._events = tf.io.TFRecordWriter(str(run.events_path / name))
        start = SessionLog(status=SessionLog.START)  # TensorBoard drops later points at a second start
        self._write(Event(file_version=EVENTS))
        self._write(Event(step=position.total_steps, session_log=start))
        self._steps = append_to(run.steps_path, STEP_COLUMNS)

    def step(self, number: int, epoch: int, loss: float, top1_error: float) -> None:
        """Write a step to steps.csv and TensorBoard."""
        csv.writer(self._steps).writerow([number, epoch, repr(loss), repr(top1_error)])
        self._add({"step/loss": loss, "step/top1_error": top1_error}, number)

    def epoch(self, history: list[dict[str, float]], layers: list[LayerRow], total_steps: int) -> None:
        """Write the last epoch of `history` to history.csv, layers.csv and TensorBoard, and save the kernels."""
        self.flush()
        towers = first_kernels(self.model)
        save_kernels(self.run.kernels_path, towers, len(history), total_steps)
        self.run.write_history(history)
        with append_to(self.run.layers_path, LAYER_COLUMNS) as file:
            csv.writer(file).writerows(row.values() for row in layers)
        values = {f"epoch/{name}": value for name, value in history[-1].items()}
        for row in layers:
            place = f"layers/{row['layer']}_{row['tower']}/{row['kind']}"
            values |= {f"{place}/{number}": float(row[number]) for number in ("mean_weight", "mean_update", "ratio")}
        last_step = total_steps - 1  # a restart after it begins with the step `total_steps`, and drops what is there
        self._add(values, last_step, np.concatenate([kernel_grid(kernels) for kernels in towers]))
        with self._on_disk():
            self._events.flush()

    def _on_disk(self) -> AbstractContextManager[None]:
        """The writer of events, which raises errors of TensorFlow's where the disk is full."""
        return tensorflow_errors_as_os_errors(self.run.events_path)

    def _add(self, values: dict[str, float], step: int, kernels: np.ndarray | None = None) -> None:
        """Writes numbers, and a picture of kernels, 0..1 `(height, width, 3)`, as an event."""
        summary = Summary()
        for name, value in values.items():
            summary.MergeFrom(scalar_pb(name, value))
        if kernels is not None:
            height, width = (str(side).encode() for side in kernels.shape[:2])
            pixels = tf.image.convert_image_dtype(kernels, tf.uint8, saturate=True)
            picture = make_tensor_proto([width, height, tf.io.encode_png(pixels).numpy()])
            summary.value.add(tag="conv1", metadata=create_summary_metadata(None, None), tensor=picture)
        self._write(Event(step=step, summary=summary))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        with self._on_disk():
            self._events.write(event.SerializeToString())

    def flush(self) -> None:
        """Hand every line to the operating system, before a state is saved that relies on them."""
        self._steps.flush()
        with self._on_disk():
            self._events.flush()

    def close(self) -> None:
        """Close the files."""
        try:
            self._steps.close()
        finally:
            with self._on_disk():
                self._events.close()


def layer_sizes(model: keras.Model, optimizer: AlexNetSGD, epoch: int) -> list[LayerRow]:
    """Measure the sizes of weights and updates, as the original printed them after every epoch.

    Returns:
        One row per variable, with LAYER_COLUMNS: `mean_weight` is mean |w|, `mean_update` mean |v| of the last step
        (w = w + v), `ratio` the second divided by the first.
    """
    rows: list[LayerRow] = []
    for variable, velocity in zip(model.trainable_variables, optimizer.velocities, strict=True):
        layer, _, name = variable.path.rpartition("/")
        kind, _, tower = name.rpartition("_")
        weight, update = (float(keras.ops.mean(keras.ops.abs(value))) for value in (variable, velocity))
        ratio = update / weight if weight else 0.0
        values = (epoch, layer.rpartition("/")[2], tower, kind, weight, update, ratio)
        rows.append(dict(zip(LAYER_COLUMNS, values, strict=True)))
    return rows


def ratios_of_layers(rows: list[LayerRow]) -> dict[str, float]:
    """Return mean |update| / mean |weight| of each layer's kernels, over all towers."""
    sums: dict[str, np.ndarray] = {}
    for row in rows:
        if row["kind"] == "kernel":
            pair = np.array([row["mean_update"], row["mean_weight"]])
            sums[str(row["layer"])] = sums.get(str(row["layer"]), 0.0) + pair
    return {layer: float(update / weight) if weight else 0.0 for layer, (update, weight) in sums.items()}


def keep_rows(path: Path, column: str, limit: int) -> int:
    """Keep the rows of a CSV file whose integer `column` is below `limit`.

    A last line without its end was cut off when a process was killed; it is left out as well.

    Returns:
        How many other lines were left out because they are damaged.
    """
    if not path.exists():
        return 0
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        header, *lines = file.read().splitlines(keepends=True) or [""]
    names = header.strip().split(",")
    index = names.index(column) if column in names else 0
    rows = [line.split(",") for line in lines]
    (usual, _), *_ = Counter(map(len, rows)).most_common(1) or [(0, 0)]  # cells of a row, whatever the header lost
    kept, damaged = [], 0
    for line, cells in zip(lines, rows, strict=True):
        if not line.endswith("\n"):
            continue
        if len(cells) != usual or not cells[index].isdecimal() or UNREADABLE in line:
            damaged += 1
        elif int(cells[index]) < limit:
            kept.append(line)
    with write_by_rename(path) as unfinished:
        unfinished.write_text("".join([header, *kept]) if kept else "", encoding="utf-8", newline="")
    return damaged


def append_to(path: Path, columns: Iterable[str]) -> TextIO:
    """Open a CSV file to append rows to; a new or empty one gets its header first."""
    new = not path.exists() or not path.stat().st_size
    file = path.open("a", encoding="utf-8", newline="")
    if new:
        csv.writer(file).writerow(columns)
    return file
