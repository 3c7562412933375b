"""The formats that weights come in: how each names and lays out its arrays, and who reads it; files known by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_keras.interop.caffe import read_caffe, recipe_of_caffe
from alexnet_keras.interop.conventions import Layout, WantedArrays, Weights
from alexnet_keras.interop.safetensors import read_safetensors_arrays
from alexnet_keras.interop.torch import read_torch
from alexnet_keras.interop.toronto import read_toronto
from alexnet_keras.recipes.schema import Network, Recipe
from alexnet_keras.storage.files import sha1_of, sha256_of

# Of imagenet_mean.binaryproto over all pixels, R, G, B: caffe's examples/00-classification.ipynb prints it.
CAFFE_MEAN = (122.6789143406786, 116.66876761696767, 104.0069879317889)


def _numbered(network: Network) -> dict[str, tuple[str, str]]:
    """Layers by name, weights and biases by number: conv1[0] and conv1[1]."""
    return {layer.name: (f"{layer.name}[0]", f"{layer.name}[1]") for layer in network.layers}


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


# torchvision/transforms/_presets.py: pixels / 255, less these, divided by those
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

LAYOUT = Layout(channels_first=True, pixel_factors=(1 / (255 * STD[0]), 1 / (255 * STD[1]), 1 / (255 * STD[2])))
RGB_MEAN = (255 * MEAN[0], 255 * MEAN[1], 255 * MEAN[2])


def names_of(network: Network) -> dict[str, tuple[str, str]]:
    """What a state dict calls each layer's weights and biases: features.0.weight and features.0.bias for conv1."""
    places: dict[str, str] = {}
    position = 0
    for conv in network.convolutions:
        places[conv.name] = f"features.{position}"
        position += 1 + len(conv.followed_by)
    for number, layer in enumerate(network.layers[len(network.convolutions) :]):
        # dropout, linear, ReLU; dropout, linear, ReLU; linear
        places[layer.name] = f"classifier.{3 * number + (layer is not network.classifier)}"
    return {name: (f"{place}.weight", f"{place}.bias") for name, place in places.items()}


@dataclass(frozen=True)
class KnownFile:
    """A published file.

    Attributes:
        name: Its name.
        sha: The checksum, or its beginning, that was published with it.
        top1, top5: Accuracy on ImageNet 2012's validation images, centre crop, 0..1.
        source: Where both are published.
    """

    name: str
    sha: str
    top1: float
    top5: float
    source: str


KNOWN_BY_SHA1 = (
    KnownFile(
        "bvlc_alexnet.caffemodel",
        "9116a64c0fbe4459d18f4bb6b56d647b63920377",
        0.571,
        0.802,
        "github.com/BVLC/caffe, models/bvlc_alexnet/readme.md",
    ),
    KnownFile(
        "bvlc_reference_caffenet.caffemodel",
        "4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
        0.574,
        0.804,
        "github.com/BVLC/caffe, models/bvlc_reference_caffenet/readme.md",
    ),
)
KNOWN_BY_SHA256 = (
    # torchvision names files after the beginning of their checksum
    KnownFile("alexnet-owt-7be5be79.pth", "7be5be79", 0.56522, 0.79066, "pytorch.org/vision, AlexNet_Weights"),
)


def checksums(path: Path) -> dict[str, str]:
    """A file's checksums, hex, by their names."""
    return {"sha1": sha1_of(path), "sha256": sha256_of(path)}


def known_file(sha1: str, sha256: str) -> KnownFile | None:
    """The published file with these checksums, if it is known."""
    for checksum, known in ((sha1, KNOWN_BY_SHA1), (sha256, KNOWN_BY_SHA256)):
        for file in known:
            if checksum.startswith(file.sha):
                return file
    return None


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
        LAYOUT,
        RGB_MEAN,
        names_of,
        read_torch,
    ),
    "safetensors": Format(
        "the same state dict as .safetensors",
        ("safetensors",),
        lambda path: "torchvision",
        LAYOUT,
        RGB_MEAN,
        names_of,
        read_safetensors_arrays,
    ),
}
