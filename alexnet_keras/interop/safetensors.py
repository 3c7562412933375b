"""safetensors files: weights of other programs, and a run's weights with what is needed to build the network again.

Reference: github.com/huggingface/safetensors, README, "Format"."""

import json
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import keras
import numpy as np

from alexnet_keras.errors import DAMAGED, DataError, UsageError
from alexnet_keras.evaluation.predictor import Predictor
from alexnet_keras.interop.conventions import WantedArrays
from alexnet_keras.interop.exported import ExportedNetwork, library, recipe_json
from alexnet_keras.interop.state_dicts import floats_of, the_networks
from alexnet_keras.network.model import AlexNet
from alexnet_keras.network.summary import tower_layers
from alexnet_keras.recipes import toml

MOST_HEADER = 2**20  # bytes; the format allows a hundred times that, AlexNet's takes two thousand
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "bf16"}
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


def read_safetensors_arrays(path: Path, wanted: WantedArrays) -> dict[str, np.ndarray]:
    """The arrays of a file by name, float32.

    Raises:
        DataError: the file is damaged, or has not exactly the arrays that are wanted.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, MOST_HEADER):
                raise ValueError(f"its header claims {length:,} bytes")
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            entries = the_networks(path, {"": header}, lambda entry: tuple(entry["shape"]), wanted)
            places = {name: _place(name, entry, size - 8 - length) for name, entry in entries.items()}
            arrays = {}
            for name, (start, stop, kind) in places.items():
                file.seek(8 + length + start)
                numbers = floats_of(file.read(stop - start), kind)
                arrays[name] = numbers.reshape(entries[name]["shape"]).astype(np.float32)
    except DataError:
        raise
    except DAMAGED as error:
        raise DataError(f"{path} cannot be used as weights: {str(error) or 'it is damaged'}.") from error
    return arrays


def _place(name: str, entry: dict[str, Any], size: int) -> tuple[int, int, str]:
    """Where an array begins and ends, and its numbers' kind."""
    start, stop = entry["data_offsets"]
    kind = TYPES.get(entry["dtype"])
    if kind is None:
        raise ValueError(f"the array {name} has the type {entry['dtype']}, which is none of {', '.join(TYPES)}")
    if not 0 <= start <= stop <= size or stop - start != prod(entry["shape"]) * BYTES[entry["dtype"]]:
        raise ValueError(f"the array {name} lies where it cannot, from byte {start} to {stop} of {size}")
    return start, stop, kind


FORMAT = "alexnet-keras weights, version 1"
MEAN = "mean.mean"


def write_safetensors(network: ExportedNetwork, path: Path) -> None:
    """Writes the weights, float32.

    Tensors are `LAYER.kernel_TOWER` and `LAYER.bias_TOWER`, such as `conv2.kernel_a`, and `mean.mean`. Kernels of
    convolutions are `(height, width, maps, filters)`, of dense layers `(inputs, units)`; fc6 reads rows, columns and
    maps of tower a, in this order, then those of tower b. The mean is `(height, width, 3)`, RGB, 0..255.

    The header's metadata are strings, all but `format` JSON: `recipe`, `names`, `titles`, `color` (magnitudes and
    vectors of the colour noise), `provenance`.

    Raises:
        UsageError: the library safetensors is not installed.
    """
    noise = next((layer for layer in network.model.layers if layer.name == "color_noise"), None)
    facts = {
        "recipe": recipe_json(network),
        "names": network.names,
        "titles": network.titles,
        "color": noise and {"magnitudes": noise.magnitudes, "vectors": noise.vectors},
        "provenance": network.provenance,
    }
    metadata = {"format": FORMAT, **{key: json.dumps(value) for key, value in facts.items()}}
    tensors = {name: np.ascontiguousarray(value) for name, value in _tensors(network.model).items()}
    library("safetensors.numpy").save_file(tensors, str(path), metadata)


def read_safetensors(path: Path) -> keras.Model:
    """The network of a file that `write_safetensors` wrote; nothing else is needed.

    Raises:
        UsageError: there is no such file, or the library safetensors is not installed.
        DataError: it is damaged, or of another format.
    """
    safetensors = library("safetensors")
    if not Path(path).is_file():
        raise UsageError(f"There is no file {path}.")
    try:
        with safetensors.safe_open(str(path), framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("format") != FORMAT:
            raise DataError(f"{path} is not {FORMAT!r}.")
        facts = {key: json.loads(value) for key, value in metadata.items() if key != "format"}
        model = AlexNet(
            toml.from_dict(facts["recipe"], where=str(path)),
            classes=len(facts["names"]),
            dtype="float32",
        )
        mean = model.get_layer("mean")
        mean.mean.assign(np.broadcast_to(tensors[MEAN], mean.shape))  # a colour in files of 0.1
        for layer in tower_layers(model):
            for variable in layer.weights:
                variable.assign(tensors[f"{layer.name}.{variable.name}"])
        if facts["color"]:
            noise = model.get_layer("color_noise")
            noise.magnitudes, noise.vectors = facts["color"]["magnitudes"], facts["color"]["vectors"]
    except (safetensors.SafetensorError, *DAMAGED) as error:
        raise DataError(f"{path} is damaged, or not {FORMAT!r}: {error}") from error
    return model


def open_safetensors(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """What the network in a file says of images: uint8 `(batch, 256, 256, 3)` to `(batch, classes)`."""
    return Predictor(read_safetensors(path))


def _tensors(model: keras.Model) -> dict[str, np.ndarray]:
    tensors = {MEAN: model.get_layer("mean").mean_image}
    for layer in tower_layers(model):
        for variable in layer.weights:
            tensors[f"{layer.name}.{variable.name}"] = keras.ops.convert_to_numpy(variable)
    return tensors
