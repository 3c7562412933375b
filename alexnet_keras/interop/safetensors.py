"""safetensors files with a run's weights and what is needed to build the network again.

Reference: github.com/huggingface/safetensors, README, "Format"."""

import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from alexnet_keras.errors import UsageError
from alexnet_keras.evaluation.predictor import Predictor
from alexnet_keras.interop.exported import ExportedNetwork
from alexnet_keras.layers import ColorNoise
from alexnet_keras.network.loading import finite
from alexnet_keras.network.model import AlexNet
from alexnet_keras.network.summary import tower_layers
from alexnet_keras.recipes import toml
from alexnet_keras.weights.conventions import refusing_damage

FORMAT = "alexnet-keras weights, version 1"
MEAN = "mean.mean"


def write_safetensors(network: ExportedNetwork, path: Path) -> None:
    """Write the weights of a network, float32.

    Tensors are `LAYER.kernel_TOWER` and `LAYER.bias_TOWER`, such as `conv2.kernel_a`, and `mean.mean`. Kernels of
    convolutions are `(height, width, maps, filters)`, of dense layers `(inputs, units)`; fc6 reads rows, columns and
    maps of tower a, in this order, then those of tower b. The mean is `(height, width, 3)`, RGB, 0..255.

    The header's metadata are strings, all but `format` JSON: `recipe`, `names`, `titles`, `color` (magnitudes and
    vectors of the colour noise), `provenance`.
    """
    noise = next((layer for layer in network.model.layers if isinstance(layer, ColorNoise)), None)
    metadata = {
        "recipe": toml.to_dict(network.recipe),
        "names": network.names,
        "titles": network.titles,
        "color": noise and {"magnitudes": noise.magnitudes, "vectors": noise.vectors},
        "provenance": network.provenance,
    }
    tensors = {MEAN: network.model.get_layer("mean").mean_image}
    tensors |= {name: keras.ops.convert_to_numpy(each) for name, each in _variables(network.model).items()}
    content = save(
        {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()},
        {"format": FORMAT, **{name: json.dumps(value) for name, value in metadata.items()}},
    )
    path.write_bytes(content)  # save_file has errors of its own, and files that their owner alone can read


def read_safetensors(path: Path) -> keras.Model:
    """Build the network of a file that `write_safetensors` wrote; nothing else is needed.

    Args:
        path: The file.

    Returns:
        The network, from crops to probabilities, float32.

    Raises:
        UsageError: There is no such file.
        DataError: The file is damaged, or of another format.
        NotFiniteError: A weight is not finite.
    """
    if not Path(path).is_file():
        raise UsageError(f"There is no file {path}.")
    with refusing_damage(path, FORMAT, SafetensorError):
        with safe_open(str(path), framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.pop("format", None) != FORMAT:
            raise ValueError("its metadata do not say so")
        values = {name: json.loads(value) for name, value in metadata.items()}
        recipe, names = toml.from_dict(values["recipe"], where=str(path)), values["names"]
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise ValueError("its names are no list of classes")
        model = AlexNet(recipe, classes=len(names), dtype="float32")
        mean, variables = model.get_layer("mean"), _variables(model)
        if set(tensors) != {MEAN, *variables} or any(tensor.dtype != np.float32 for tensor in tensors.values()):
            raise ValueError("its tensors are not those of its recipe, float32")
        mean.mean.assign(np.broadcast_to(tensors[MEAN], mean.shape))  # a colour in files of 0.1
        for name, variable in variables.items():
            variable.assign(tensors[name])
        if color := values["color"]:
            noise = model.get_layer("color_noise")
            checked = ColorNoise(color["magnitudes"], color["vectors"], noise.stddev)
            noise.magnitudes, noise.vectors = checked.magnitudes, checked.vectors
        return finite(model, str(path))


def open_safetensors(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return the network in a file as a function: images uint8 `(batch, 256, 256, 3)` to `(batch, classes)`."""
    return Predictor(read_safetensors(path))


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    """The variables of a network's layers by the names that their tensors have."""
    return {f"{layer.name}.{variable.name}": variable for layer in tower_layers(model) for variable in layer.weights}
