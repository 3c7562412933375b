"""A run as an ONNX graph of ordinary operators: Conv, LRN, MaxPool, Gemm and a few small ones.

The graph is written layer by layer, which keeps it as readable as `network/model.py`: each tower's convolution is a
node of its own, and nothing is left of how TensorFlow computes it. Images come in channels last and are transposed
once.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from alexnet_keras import layers as custom
from alexnet_keras.data.images import IMAGE_SIZE
from alexnet_keras.errors import AlexNetError
from alexnet_keras.interop.exported import ExportedNetwork
from alexnet_keras.layers.towers import tower_letter
from alexnet_keras.recipes import toml
from alexnet_keras.storage.extras import optional

OPSET, IR_VERSION = 17, 8  # of 2022; every operator used here is older
ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "softmax": "Softmax", "linear": "Identity"}


def write_onnx(network: ExportedNetwork, path: Path) -> None:
    """Write an ONNX file: `images`, uint8 `(batch, 256, 256, 3)`, to `probabilities`, float32 `(batch, classes)`.

    Its metadata_props are JSON: `names` and `titles` of the classes, `recipe`, `provenance`.

    Raises:
        UsageError: The library onnx is not installed.
        AlexNetError: The network has a layer of another kind than AlexNet's.
    """
    onnx = optional("onnx", "export")
    graph = _Graph(onnx)
    graph.add_network(network)
    image_shape, classes = ["batch", IMAGE_SIZE, IMAGE_SIZE, 3], len(network.names)
    images = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, image_shape)
    probabilities = onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["batch", classes])
    made = onnx.helper.make_graph(graph.nodes, "alexnet", [images], [probabilities], graph.weights)
    opset = onnx.helper.make_opsetid("", OPSET)
    model = onnx.helper.make_model(made, opset_imports=[opset], ir_version=IR_VERSION, producer_name="alexnet-keras")
    properties = {
        "names": network.names,
        "titles": network.titles,
        "recipe": toml.to_dict(network.recipe),
        "provenance": network.provenance,
    }
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in properties.items()})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def open_onnx(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return an ONNX file as a function, run by onnxruntime: uint8 `(batch, 256, 256, 3)` to `(batch, classes)`.

    Raises:
        UsageError: onnxruntime is not installed.
    """
    session = optional("onnxruntime", "export").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: session.run(["probabilities"], {"images": images})[0]


class _Graph:
    """An ONNX graph that grows. `towers` are the names of the tensors reached so far, one for each tower."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.towers = ["images"]
        self.flattened: tuple[int, ...] | None = None  # (height, width, maps) that the next dense layer reads

    def add_network(self, network: ExportedNetwork) -> None:
        margin = (IMAGE_SIZE - network.crop) // 2
        cropped = self._slice("crop", "images", margin, margin + network.crop, [1, 2])
        self.towers = [self.node("Transpose", "channels_first", [cropped], perm=[0, 3, 1, 2])]
        for layer in network.model.layers:
            self.add(layer)

    def weight(self, name: str, value: ArrayLike) -> str:
        value = np.asarray(value)
        value = value.astype(np.float32 if value.dtype.kind == "f" else np.int64)
        self.weights.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, name: str, inputs: list[str], **attributes: Any) -> str:
        """Adds a node, whose output has its name."""
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def add(self, layer: keras.layers.Layer) -> None:
        match layer:
            case keras.layers.InputLayer() | custom.ColorNoise():
                return
            case custom.MeanSubtraction():
                self.towers = [self._mean(layer, self.towers[0])]
            case custom.TowerConv2D() | custom.TowerDense():
                self.towers = [self._tower(layer, tower) for tower in range(layer.towers)]
                self.flattened = None
            case custom.AcrossTowers():  # is an custom.EachTower, too, so it comes first
                self.towers = self._across(layer)
            case custom.EachTower():
                if isinstance(layer.layer, keras.layers.Flatten):
                    self.flattened = tuple(keras.tree.flatten(layer.input)[0].shape[1:])
                self.towers = [
                    self._ordinary(layer.layer, f"{layer.name}_{tower_letter(tower)}", x)
                    for tower, x in enumerate(self.towers)
                ]
            case keras.layers.Activation(name="predictions"):
                self.node(ACTIVATIONS[layer.activation.__name__], "probabilities", self.towers)
            case _:
                raise AlexNetError(f"The layer {layer.name} ({type(layer).__name__}) has no ONNX form here.")

    def _mean(self, layer: custom.MeanSubtraction, x: str) -> str:
        x = self.node("Cast", "float", [x], to=self.onnx.TensorProto.FLOAT)
        x = self.node("Sub", layer.name, [x, self.weight("mean_image", layer.mean_image.transpose(2, 0, 1)[None])])
        return x if layer.scale == 1 else self.node("Mul", "scale", [x, self.weight("input_scale", layer.scale)])

    def _tower(self, layer: custom.TowerConv2D | custom.TowerDense, tower: int) -> str:
        x, letter = self.towers[0], tower_letter(tower)
        name = f"{layer.name}_{letter}"
        if len(self.towers) > 1:
            x = self.towers[tower] if layer.reads == "own" else f"{layer.name}_reads"
            if layer.reads == "all" and tower == 0:
                self.node("Concat", x, self.towers, axis=1)
        kernel = keras.ops.convert_to_numpy(layer.kernels[tower])
        bias = self.weight(f"{layer.name}.bias_{letter}", keras.ops.convert_to_numpy(layer.biases[tower]))
        kernel_name = f"{layer.name}.kernel_{letter}"
        if isinstance(layer, custom.TowerConv2D):
            kernel = self.weight(kernel_name, kernel.transpose(3, 2, 0, 1))
            before, after = layer.padding
            pads, strides = [before, before, after, after], [layer.strides] * 2
            return self.node("Conv", name, [x, kernel, bias], pads=pads, strides=strides)
        return self.node("Gemm", name, [x, self.weight(kernel_name, self._rows(kernel)), bias])

    def _across(self, layer: custom.AcrossTowers) -> list[str]:
        """The layer over the maps of all towers, split again."""
        joined = self.node("Concat", f"{layer.name}_reads", self.towers, axis=1)
        whole = self._ordinary(layer.layer, f"{layer.name}_all", joined)
        parts, start = [], 0
        for tower, output in enumerate(keras.tree.flatten(layer.output)):
            letter, stop = tower_letter(tower), start + output.shape[-1]
            parts.append(self._slice(f"{layer.name}_{letter}", whole, start, stop, [1]))
            start = stop
        return parts

    def _slice(self, name: str, x: str, start: int, stop: int, axes: list[int]) -> str:
        numbers = {"starts": [start] * len(axes), "ends": [stop] * len(axes), "axes": axes}
        return self.node("Slice", name, [x, *(self.weight(f"{name}.{key}", value) for key, value in numbers.items())])

    def _rows(self, kernel: np.ndarray) -> np.ndarray:
        """The kernel of a dense layer, its inputs in the order in which channels-first maps are flattened."""
        if self.flattened is None:
            return kernel
        units = kernel.shape[-1]
        return kernel.reshape(-1, *self.flattened, units).transpose(0, 3, 1, 2, 4).reshape(-1, units)

    def _ordinary(self, layer: keras.layers.Layer, name: str, x: str) -> str:
        match layer:
            case keras.layers.MaxPooling2D():
                return self.node("MaxPool", name, [x], kernel_shape=layer.pool_size, strides=layer.strides)
            case keras.layers.Activation():
                return self.node(ACTIVATIONS[layer.activation.__name__], name, [x])
            case keras.layers.Flatten():
                return self.node("Flatten", name, [x])
            case custom.PlainDropout():
                return self.node("Mul", name, [x, self.weight(f"{name}.kept", 1.0 - layer.rate)])
            case custom.LocalResponseNormalization():
                # the operator divides alpha by the window's size
                alpha = layer.alpha * (1 if layer.alpha_convention == "mean" else layer.n)
                return self.node("LRN", name, [x], alpha=alpha, beta=layer.beta, bias=layer.k, size=layer.n)
            case custom.SpatialResponseNormalization():
                return self._spatial(layer, name, x)
            case _:
                raise AlexNetError(f"The layer {name} ({type(layer).__name__}) has no ONNX form here.")

    def _spatial(self, layer: custom.SpatialResponseNormalization, name: str, x: str) -> str:
        """x * (k + scale * mean of squares)^-beta, zeros outside the map counted in the mean."""
        constants = {"scale": layer.scale, "k": layer.k, "power": -layer.beta}
        scale, k, power = (self.weight(f"{name}.{key}", value) for key, value in constants.items())
        squares = self.node("Mul", f"{name}_squares", [x, x])
        kernel, pads = [layer.size] * 2, [layer.size // 2] * 4
        mean = self.node("AveragePool", f"{name}_mean", [squares], kernel_shape=kernel, pads=pads, count_include_pad=1)
        scaled = self.node("Mul", f"{name}_scaled", [mean, scale])
        divisor = self.node("Add", f"{name}_divisor", [scaled, k])
        return self.node("Mul", name, [x, self.node("Pow", f"{name}_factor", [divisor, power])])
