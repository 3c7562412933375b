"""The formats that weights come in: how each names its arrays, lies them down, and is read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_keras.interop import torchvision
from alexnet_keras.interop.caffe_file import read_caffe, recipe_of_caffe
from alexnet_keras.interop.folding import CLASSIFIER, Layout, Weights
from alexnet_keras.interop.safetensors_file import read_safetensors
from alexnet_keras.interop.torch_file import read_torch
from alexnet_keras.interop.toronto_file import read_toronto
from alexnet_keras.interop.wanted import WantedArrays
from alexnet_keras.recipes import Network, Recipe

# Of imagenet_mean.binaryproto over all pixels, R, G, B: caffe's examples/00-classification.ipynb prints it.
CAFFE_MEAN = (122.6789143406786, 116.66876761696767, 104.0069879317889)


def _numbered(network: Network) -> dict[str, tuple[str, str]]:
    """Layers by name, weights and biases by number: conv1[0] and conv1[1]."""
    names = [layer.name for layer in network.layers] + [CLASSIFIER]
    return {name: (f"{name}[0]", f"{name}[1]") for name in names}


@dataclass(frozen=True)
class Format:
    """A kind of file with weights.

    Attributes:
        about: What it is, in a few words.
        kinds: What `file_kinds` may find such a file to be.
        recipe_of: The built-in recipe of a file's network.
        layout: How arrays lie in it.
        mean: What its network subtracts from each pixel where no mean image is given: R, G, B, 0..255.
        names_of: What it calls each layer's weights and biases.
        read: The arrays of a file that has exactly those that are wanted; else a DataError.
    """

    about: str
    kinds: tuple[str, ...]
    recipe_of: Callable[[Path], str]
    layout: Layout
    mean: tuple[float, float, float]
    names_of: Callable[[Network], dict[str, tuple[str, str]]]
    read: Callable[[Path, WantedArrays], Mapping[str, np.ndarray]]

    def weights(self, path: Path, recipe: Recipe) -> tuple[dict[str, Weights], list[str]]:
        """Each layer's kernel and bias, float32, as they lie in a file, and what is to be said of how it was read.

        Raises:
            DataError: the file is damaged, would run code, or has not exactly the arrays of the recipe's network.
        """
        names, shapes = self.names_of(recipe.network), self.layout.shapes(recipe.network)
        wanted = {array: shape for name in names for array, shape in zip(names[name], shapes[name], strict=True)}
        looked_for = WantedArrays(recipe.name, wanted)
        with np.errstate(over="ignore"):  # what is infinite as float32 is refused later
            arrays = self.read(path, looked_for)
        return {name: (arrays[kernel], arrays[bias]) for name, (kernel, bias) in names.items()}, looked_for.notes


FORMATS = {
    "caffe": Format(
        "a .caffemodel of Caffe, or a .caffemodel.h5",
        ("hdf5",),
        recipe_of_caffe,
        Layout(channels_first=True, bgr=True),
        CAFFE_MEAN,
        _numbered,
        read_caffe,
    ),
    "toronto": Format(
        "bvlc_alexnet.npy, Caffe's AlexNet for TensorFlow 1",
        ("npy",),
        lambda path: "caffe",
        Layout(channels_first=False, bgr=True),
        CAFFE_MEAN,
        _numbered,
        read_toronto,
    ),
    "torchvision": Format(
        "a state dict of torchvision's alexnet, .pth",
        ("torch",),
        lambda path: "torchvision",
        torchvision.LAYOUT,
        torchvision.RGB_MEAN,
        torchvision.names_of,
        read_torch,
    ),
    "safetensors": Format(
        "the same state dict as .safetensors",
        ("safetensors",),
        lambda path: "torchvision",
        torchvision.LAYOUT,
        torchvision.RGB_MEAN,
        torchvision.names_of,
        read_safetensors,
    ),
}
