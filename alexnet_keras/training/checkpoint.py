"""The saved states of a run: every weight and velocity and the position in training, one file per state.

A run resumes from the newest file that can be read: a damaged file costs the steps since the one before.
"""

import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from alexnet_keras.errors import DAMAGED, DataError
from alexnet_keras.recipes import toml
from alexnet_keras.recipes.edits import fields_of
from alexnet_keras.reporter import SILENT, Reporter
from alexnet_keras.storage.files import Disk, write_by_rename
from alexnet_keras.training.optimizer import AlexNetSGD

KEEP = 3  # states; each holds the weights twice
MOST_JSON = 2**26  # bytes of a position; a longer one is damage


@dataclass
class Position:
    """The position of a run in its training. States on disk hold these names.

    Attributes:
        epoch, step: The current epoch, from 0, and the number of its steps that are done.
        total_steps: The number of steps done since the run began.
        loss_sum, error_sum: Sums over the steps of this epoch.
        seconds: Time spent on the steps of this epoch.
        loss_scale: The loss scale and its good steps, under float16.
        stall_told: The warning of a stalled start has been given.
        history: One row for every finished epoch.
        best_sha256: The checksum of the best epoch's model, hex; "" where none was kept.
        order: The version of the shuffling of images: `pipeline.ORDER`, or 1 in a run of version 0.1.
    """

    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    loss_sum: float = 0.0
    error_sum: float = 0.0
    seconds: float = 0.0
    loss_scale: tuple[float, int] | None = None
    stall_told: bool = False
    history: list[dict[str, float]] = field(default_factory=list)
    best_sha256: str = ""
    order: int = 1


@dataclass(frozen=True)
class State:
    """A saved state: arrays by variable path, the position, and the properties of the run it belongs to (`about`)."""

    path: Path
    arrays: dict[str, np.ndarray]
    position: Position
    about: dict[str, Any]


def save_state(
    folder: Path,
    model: keras.Model,
    optimizer: AlexNetSGD,
    position: Position,
    about: dict[str, Any],
    average: keras.Model | None = None,
    disk: Disk | None = None,
) -> Path:
    """Write a state, once those before are on the disk, and remove all but the last KEEP up to it.

    Later ones were damaged, or the training would not have gone on from one before them.

    Args:
        folder: The run's states.
        model: The model.
        optimizer: Its optimizer, built.
        position: The position in training.
        about: Properties that a state must share with the run that resumes from it, as JSON.
        average: The running average of the weights, where there is one.
        disk: Flushes the state while the training goes on. It can be read at once and survives the end of the process;
            if a power cut damages it, the one before is on the disk.

    Returns:
        The path of the state.

    Raises:
        OSError: This state, or one before, could not be written.
    """
    if disk:
        disk.wait()
    arrays = {
        name: np.asarray(keras.ops.convert_to_numpy(value), order="C")
        for name, value in state_variables(model, optimizer, average).items()
    }
    path = folder / f"step-{position.total_steps:09d}-{len(position.history):05d}.npz"
    with write_by_rename(path, disk) as unfinished:
        saved: dict[str, Any] = {"position": _json_bytes(asdict(position)), "about": _json_bytes(about), **arrays}
        np.savez(unfinished, **saved)
    states = saved_states(folder)
    for other in set(states).difference([state for state in states if state <= path][:KEEP]):
        other.unlink(missing_ok=True)
    return path


def saved_states(folder: Path) -> list[Path]:
    """Return the state files of a run, the newest first."""
    return sorted(folder.glob("step-*.npz"), reverse=True)


def newest_state(folder: Path, shapes: dict[str, tuple[int, ...]], reporter: Reporter = SILENT) -> State | None:
    """Read the newest state that can be read.

    Args:
        folder: The run's states.
        shapes: The variables to read, float32, as `shapes_of` returns them.
        reporter: Receives a warning for every newer file that cannot be read.

    Returns:
        The state; None if none was ever saved.

    Raises:
        DataError: There are states, and none can be read.
    """
    paths = saved_states(folder)
    for index, path in enumerate(paths):
        try:
            return read_state(path, shapes)
        except DataError as error:
            if index + 1 == len(paths):
                raise
            reporter.warn(f"{error} Resuming from the one before, {paths[index + 1].name}.")
    return None


def read_state(path: Path, shapes: dict[str, tuple[int, ...]]) -> State:
    """Read one state file.

    Raises:
        DataError: The file is damaged, or of a network with other variables.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            position = Position(**json.loads(_member(archive, "position", None)))
            about = json.loads(_member(archive, "about", None))
            arrays = {name: _member(archive, name, shape) for name, shape in shapes.items()}
    except DAMAGED as error:
        reason = str(error).strip("'\"") or type(error).__name__
        raise DataError(f"The state {path} is damaged or of another network: {reason}.") from error
    return State(path, arrays, position, about)


def check_same(state: State, about: dict[str, Any]) -> None:
    """Refuse a state of another run; the number of epochs may have changed since, as `resume` can extend a run.

    Args:
        state: The state.
        about: The properties of this run: recipe, classes, seed, precision.

    Raises:
        DataError: A property differs; the message names it.
    """
    differences = []
    for key, here in about.items():
        there = state.about.get(key)
        if there == here:
            continue
        if key == "recipe" and there is not None:
            flat, other = (fields_of(toml.from_dict(values)) for values in (here, there))
            for name in {**flat, **other}:
                ours, theirs = (side[name].value if name in side else "missing" for side in (flat, other))
                if ours != theirs and name != "training.epochs":
                    differences.append(f"{name} is {theirs} there and {ours} here")
        elif key == "classes":
            differences.append(f"its {len(there or [])} classes are not those of the data")
        else:
            differences.append(f"{key} is {there} there and {here} here")
    if differences:
        raise DataError(f"The state {state.path} is another run's: {'; '.join(differences)}.")


def state_variables(
    model: keras.Model, optimizer: AlexNetSGD, average: keras.Model | None = None
) -> dict[str, keras.Variable]:
    """Name the variables of a state: weights by path, velocities by path and `/velocity`, averages by `/average`.

    The mean image is not among them: it comes from the dataset.
    """
    weights = {variable.path: variable for variable in model.trainable_variables}
    velocities = zip(model.trainable_variables, optimizer.velocities, strict=True)
    named = weights | {f"{variable.path}/velocity": velocity for variable, velocity in velocities}
    if average is not None:
        means = zip(model.trainable_variables, average.trainable_variables, strict=True)
        named |= {f"{variable.path}/average": mean for variable, mean in means}
    return named


def shapes_of(variables: dict[str, keras.Variable]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each variable."""
    return {name: tuple(variable.shape) for name, variable in variables.items()}


def _json_bytes(value: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def _member(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...] | None) -> Any:
    """An array of this shape, or bytes if `shape` is None. The header is checked before memory is allocated."""
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"{name} is in the version {version} of the format")
        stored, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if shape is None:
            shape, wanted = (stored if stored < (MOST_JSON,) else ()), np.uint8
        else:
            wanted = np.float32
        if stored != shape or fortran or dtype != wanted:
            raise ValueError(f"{name} has shape {stored} and type {dtype}, the network {shape} and float32")
        content = file.read(int(np.prod(shape)) * dtype.itemsize + 1)  # to the end, where zipfile compares the checksum
        array = np.frombuffer(content, dtype).reshape(shape)
    return array.tobytes() if wanted is np.uint8 else array
