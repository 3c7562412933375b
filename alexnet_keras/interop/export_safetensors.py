"""A run's weights as a safetensors file, under stable names, with what is needed to build the network around them."""

import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from alexnet_keras import recipe_files
from alexnet_keras.errors import DAMAGED, DataError, UsageError
from alexnet_keras.evaluation.predictor import Predictor
from alexnet_keras.interop.export_libraries import library
from alexnet_keras.interop.export_network import ExportedNetwork, recipe_json
from alexnet_keras.layers.tower_weights import TowerLayer
from alexnet_keras.model import AlexNet

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
            recipe_files.from_dict(facts["recipe"], where=str(path)),
            classes=len(facts["names"]),
            dtype="float32",
        )
        mean = model.get_layer("mean")
        mean.mean.assign(np.broadcast_to(tensors[MEAN], mean.shape))  # a colour in files of 0.1
        for layer in model.layers:
            if isinstance(layer, TowerLayer):
                for variable in layer.weights:
                    variable.assign(tensors[f"{layer.name}.{variable.name}"])
        if facts["color"]:
            noise = model.get_layer("color_noise")
            noise.magnitudes, noise.vectors = facts["color"]["magnitudes"], facts["color"]["vectors"]
    except (safetensors.SafetensorError, *DAMAGED) as error:
        raise DataError(f"{path} is damaged, or not {FORMAT!r}: {error}") from error
    return model


def open_safetensors(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """What the network in a file says of pictures: uint8 `(batch, 256, 256, 3)` to `(batch, classes)`."""
    return Predictor(read_safetensors(path))


def _tensors(model: keras.Model) -> dict[str, np.ndarray]:
    tensors = {MEAN: model.get_layer("mean").mean_image}
    for layer in model.layers:
        if isinstance(layer, TowerLayer):
            for variable in layer.weights:
                tensors[f"{layer.name}.{variable.name}"] = keras.ops.convert_to_numpy(variable)
    return tensors
