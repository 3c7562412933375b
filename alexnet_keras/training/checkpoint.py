"""What a run continues from: every weight and velocity, and where the run stands, in one file."""

import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from alexnet_keras.errors import DataError
from alexnet_keras.files import write_by_rename
from alexnet_keras.training.optimizer import AlexNetSGD


def save_state(path: Path, model: keras.Model, optimizer: AlexNetSGD, position: dict[str, Any]) -> None:
    """Writes `path` whole: weights and velocities by variable path, and `position` as JSON."""
    arrays = {name: keras.ops.convert_to_numpy(value) for name, value in _variables(model, optimizer).items()}
    with write_by_rename(path) as unfinished:
        np.savez(unfinished, position=np.frombuffer(json.dumps(position).encode(), np.uint8), **arrays)


def load_state(path: Path, model: keras.Model, optimizer: AlexNetSGD) -> dict[str, Any]:
    """Restores what `save_state` wrote, under any placement, and returns the position.

    Raises:
        DataError: the file is missing, damaged or of another network; nothing has been changed then.
    """
    variables = _variables(model, optimizer)
    try:
        with np.load(path, allow_pickle=False) as saved:
            arrays = {name: saved[name] for name in variables}
            position = json.loads(saved["position"].tobytes())
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist, so there is nothing to resume from.") from error
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path} is damaged or belongs to another network: {error}.") from error
    for name, variable in variables.items():
        if arrays[name].shape != tuple(variable.shape):
            raise DataError(f"{path}: {name} has shape {arrays[name].shape}, the network {tuple(variable.shape)}.")
    for name, variable in variables.items():
        variable.assign(arrays[name])
    return position


def _variables(model: keras.Model, optimizer: AlexNetSGD) -> dict[str, keras.Variable]:
    weights = {variable.path: variable for variable in model.weights}
    velocities = zip(model.trainable_variables, optimizer.velocities, strict=True)
    return weights | {f"{variable.path}/velocity": velocity for variable, velocity in velocities}
