"""The formats that weights come in: their names and layouts of arrays, and their readers."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.recipes.edits import arithmetic_differences, other_arithmetic, same_arrays
from alexnet_keras.recipes.schema import Network, Recipe
from alexnet_keras.recipes.toml import load_recipe
from alexnet_keras.storage.file_kinds import file_kind, refuse_other_kinds
from alexnet_keras.storage.files import sha1_of, sha256_of
from alexnet_keras.weights.caffe import read_caffe, recipe_of_caffe
from alexnet_keras.weights.conventions import CLASSIFIER, ExpectedArrays, Layout, Weights, convert_weights
from alexnet_keras.weights.published import known_file
from alexnet_keras.weights.safetensors import read_safetensors_arrays
from alexnet_keras.weights.torch import read_torch
from alexnet_keras.weights.toronto import read_toronto

# imagenet_mean.binaryproto averaged over all pixels, R, G, B: caffe's examples/00-classification.ipynb prints it.
CAFFE_MEAN = (122.6789143406786, 116.66876761696767, 104.0069879317889)


@dataclass(frozen=True)
class Format:
    """A kind of file with weights.

    Attributes:
        kinds: Names of the kinds in `storage.file_kinds` that such a file may be recognised as.
        suffixes: Suffixes of its files, in lower case, by which it is known where its first bytes do not say.
        recipe_of: Returns the built-in recipe of a file's network.
        layout: The layout of its arrays.
        mean: The mean colour, R, G, B, 0..255, that its network subtracts where no mean image is given.
        names_of: Returns the names of each layer's weights and biases.
        read: Reads the arrays of a file that holds exactly the expected ones; raises a DataError for others.
    """

    kinds: tuple[str, ...]
    suffixes: tuple[str, ...]
    recipe_of: Callable[[Path], str]
    layout: Layout
    mean: tuple[float, float, float]
    names_of: Callable[[Network], dict[str, tuple[str, str]]]
    read: Callable[[Path, ExpectedArrays], Mapping[str, np.ndarray]]

    def weights(self, path: Path, recipe: Recipe) -> tuple[dict[str, Weights], list[str]]:
        """Read the weights of a file.

        Returns:
            Each layer's kernel and bias, float32, as they are in the file; and notes on how it was read.

        Raises:
            DataError: The file is damaged, would run code, or does not hold exactly the arrays of the recipe's network.
        """
        names, shapes = self.names_of(recipe.network), self.layout.shapes(recipe.network)
        by_name = {array: shape for name in names for array, shape in zip(names[name], shapes[name], strict=True)}
        expected = ExpectedArrays(recipe.name, by_name)
        with np.errstate(over="ignore"):  # what is infinite as float32 is refused later
            arrays = self.read(path, expected)
        return {name: (arrays[kernel], arrays[bias]) for name, (kernel, bias) in names.items()}, expected.notes


def _caffe_names(network: Network) -> dict[str, tuple[str, str]]:
    """Layers by name, weights and biases by number: conv1[0] and conv1[1]."""
    names = [layer.name for layer in network.layers] + [CLASSIFIER]
    return {name: (f"{name}[0]", f"{name}[1]") for name in names}


def _torchvision_names(network: Network) -> dict[str, tuple[str, str]]:
    """The names in a state dict: features.0.weight and features.0.bias for conv1."""
    places: dict[str, str] = {}
    position = 0
    for conv in network.convolutions:
        places[conv.name] = f"features.{position}"
        position += 1 + len(conv.followed_by)
    for number, layer in enumerate(network.layers[len(network.convolutions) :]):
        # dropout, linear, ReLU; dropout, linear, ReLU; linear
        places[layer.name] = f"classifier.{3 * number + (layer is not network.classifier)}"
    return {name: (f"{place}.weight", f"{place}.bias") for name, place in places.items()}


# A state dict of torchvision's alexnet, .pth; and the same as .safetensors.
_TORCHVISION = Format(
    kinds=("torch",),
    suffixes=(".pth", ".pt", ".tar", ".ckpt"),  # PyTorch's example writes checkpoint.pth.tar, no tar archive
    recipe_of=lambda path: "torchvision",
    # torchvision/transforms/_presets.py: pixels / 255, less (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225)
    layout=Layout(channels_first=True, pixel_factors=(1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225))),
    mean=(255 * 0.485, 255 * 0.456, 255 * 0.406),
    names_of=_torchvision_names,
    read=read_torch,
)
FORMATS = {
    # a .caffemodel of Caffe, or a .caffemodel.h5
    "caffe": Format(
        kinds=("hdf5",),
        suffixes=(".caffemodel", ".h5", ".hdf5"),
        recipe_of=recipe_of_caffe,
        layout=Layout(channels_first=True, bgr=True),
        mean=CAFFE_MEAN,
        names_of=_caffe_names,
        read=read_caffe,
    ),
    # bvlc_alexnet.npy, Caffe's AlexNet for TensorFlow 1
    "toronto": Format(
        kinds=("npy",),
        suffixes=(".npy",),
        recipe_of=lambda path: "caffe",
        layout=Layout(channels_first=False, bgr=True),
        mean=CAFFE_MEAN,
        names_of=_caffe_names,
        read=read_toronto,
    ),
    "torchvision": _TORCHVISION,
    "safetensors": replace(
        _TORCHVISION, kinds=("safetensors",), suffixes=(".safetensors",), read=read_safetensors_arrays
    ),
}
SUFFIXES = {suffix: name for name, form in FORMATS.items() for suffix in form.suffixes}
KINDS = {"torch": "torchvision", "safetensors": "safetensors"}  # of which files are whatever their suffix


def kind_of(path: Path) -> str:
    """Return a file's name in `FORMATS`, by its first bytes, or by its suffix where they do not say.

    Raises:
        UsageError: Neither says.
        DataError: It is something else than weights.
    """
    kind = file_kind(path)
    if kind and kind.name in KINDS:
        return KINDS[kind.name]
    if path.suffix.lower() not in SUFFIXES:
        refuse_other_kinds(path, "hdf5", "npy")
        raise UsageError(
            f"The name of {path} does not say what wrote it: if Caffe or PyTorch did, name it .caffemodel, .npy, .pth "
            "or .safetensors, or use `alexnet import --from`."
        )
    return SUFFIXES[path.suffix.lower()]


def warning_of_network(path: Path, kind: str, recipe: Recipe) -> str | None:
    """Return the warning that a recipe's network computes something else with a file's weights than the file's own.

    None where the networks agree, or the file does not say which it is of.
    """
    with suppress(UsageError):
        theirs = load_recipe(FORMATS[kind].recipe_of(path))
        found = arithmetic_differences(recipe, theirs, converted=True)
        if found and not known_file(sha1_of(path), sha256_of(path)):
            if same_arrays(recipe, theirs):  # of the same network, fine-tuned, perhaps on larger images
                found = [each for each in found if not each.startswith("network.input_size ")]
            else:  # of another one, of which Caffe's files have the order of layers
                found = [each for each in found if ".followed_by is " in each and kind == "caffe"]
        if found:
            return f"{other_arithmetic(f'the weights of {path}', found)}: the recipe {theirs.name} has that one."
    return None


def read_weights(path: Path, kind: str, recipe: Recipe) -> tuple[dict[str, list[Weights]], list[str]]:
    """Read a file's weights as those of our layers.

    Returns:
        For each layer one pair of kernel and bias for each tower, float32; and notes on how the file was read.

    Raises:
        DataError: The file is damaged, would run code, or does not hold exactly the arrays of the recipe's network.
    """
    form = FORMATS[kind]
    refuse_other_kinds(path, *form.kinds)
    arrays, notes = form.weights(path, recipe)
    with np.errstate(all="ignore"):  # what is not finite then is refused
        weights = convert_weights(recipe, form.layout, arrays)
    for name, towers in weights.items():
        if not all(np.isfinite(array).all() for pair in towers for array in pair):
            raise DataError(f"{path}: the weights of {name} are not all finite numbers.")
    return weights, notes
