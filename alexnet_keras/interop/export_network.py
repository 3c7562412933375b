"""A run's network as every export needs it: in float32, from 256x256 pictures to probabilities, with what it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import keras
import numpy as np

from alexnet_keras import recipe_files
from alexnet_keras.backend import Tensor
from alexnet_keras.evaluation.pictures import Preparation, preparation_of
from alexnet_keras.evaluation.views import centre
from alexnet_keras.files import sha256_of
from alexnet_keras.layers.compiled import plain
from alexnet_keras.model import AlexNet, copy_weights
from alexnet_keras.recipes import Recipe
from alexnet_keras.runs import Run


@dataclass(frozen=True, eq=False)
class ExportedNetwork:
    """What is exported.

    Attributes:
        model: The run's network in float32, whatever it was trained in: crops to probabilities.
        recipe: Its recipe.
        names: The name of each class, of ImageNet's the WordNet id; the index is the label.
        titles: The same in words.
        preparation: How a picture's file becomes a 256x256 picture.
        provenance: Which run, model and data it comes from, and what wrote it.
    """

    model: keras.Model
    recipe: Recipe
    names: Sequence[str]
    titles: Sequence[str]
    preparation: Preparation
    provenance: dict[str, Any]

    @property
    def crop(self) -> int:
        """Side of the network's input, pixels."""
        return self.model.input_shape[1]

    @property
    def mean(self) -> np.ndarray:
        """What is subtracted: `(crop, crop, 3)` float32, RGB, 0..255."""
        return self.model.get_layer("mean").mean_image

    @property
    def probabilities(self) -> Callable:
        """For tracing, in ordinary operations: uint8 `(batch, 256, 256, 3)` to float32 `(batch, classes)`."""

        def probabilities(images: Tensor) -> Tensor:
            with plain():
                return self.model(centre(images, self.crop)[0], training=False)

        return probabilities


def exported_network(run: Run, model: keras.Model, which: str = "best") -> ExportedNetwork:
    """The network of a run, ready to be exported.

    Args:
        model: what `run.load_model(which)` gave.
    """
    facts = run.facts
    data = facts["data"]
    packages = ("alexnet-keras", "keras", "tensorflow")
    return ExportedNetwork(
        in_float32(model, run.recipe),
        run.recipe,
        list(facts["classes"]),
        list(run.titles),
        preparation_of(run),
        {
            "run": run.name,
            "recipe": run.recipe.name,
            "model": which,
            "model_sha256": sha256_of(run.path_of_model(which)),
            "trained_in": facts.get("precision", "float32"),
            "data": data.get("name", ""),
            "data_fingerprint": data["fingerprint"],
            "written_with": {package: version(package) for package in packages},
        },
    )


def in_float32(model: keras.Model, recipe: Recipe) -> keras.Model:
    """A model of AlexNet with the same weights, mean and colours that computes in float32."""
    noise = next((layer for layer in model.layers if layer.name == "color_noise"), None)
    same = AlexNet(recipe, classes=model.output_shape[-1], dtype="float32", name=model.name)
    copy_weights(same, model)
    if noise is not None:
        same.get_layer("color_noise").magnitudes = noise.magnitudes
        same.get_layer("color_noise").vectors = noise.vectors
    return same


def recipe_json(network: ExportedNetwork) -> dict[str, Any]:
    """The recipe as `recipe_files.from_dict` reads it."""
    return recipe_files.to_dict(network.recipe)
