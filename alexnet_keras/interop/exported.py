"""A run's network as every export needs it, and by how much an exported file's answers differ from the run's.

The network is in float32, from 256x256 images to probabilities."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from types import ModuleType
from typing import Any

import keras
import numpy as np

from alexnet_keras.backend import Tensor, plain
from alexnet_keras.benchmarking.measure import jpeg
from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.images import fit_to_square
from alexnet_keras.errors import AlexNetError, DataError, UsageError
from alexnet_keras.evaluation.inputs import Preparation, preparation_of, stacked_images
from alexnet_keras.evaluation.predictor import centre
from alexnet_keras.network.model import AlexNet, copy_weights
from alexnet_keras.recipes import toml
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.runs import Run
from alexnet_keras.storage.files import sha256_of


def library(name: str) -> ModuleType:
    """A module of the extra.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        what = name.partition(".")[0]
        raise UsageError(f"This export needs {what}: pip install 'alexnet-keras[export]'.") from error


@dataclass(frozen=True, eq=False)
class ExportedNetwork:
    """What is exported.

    Attributes:
        model: The run's network in float32, whatever it was trained in: crops to probabilities.
        recipe: Its recipe.
        names: The name of each class, of ImageNet's the WordNet id; the index is the label.
        titles: The same in words.
        preparation: How an image's file becomes a 256x256 image.
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
    """The recipe as `recipes.toml.from_dict` reads it."""
    return toml.to_dict(network.recipe)


BATCH = 16


@dataclass(frozen=True, eq=False)
class Samples:
    """Images on which two networks are compared.

    Attributes:
        images: uint8 `(n, 256, 256, 3)`, RGB.
        labels: int64 `(n,)`; None of generated images.
        origin: What they are, in words.
    """

    images: np.ndarray
    labels: np.ndarray | None
    origin: str

    @property
    def batches(self) -> Iterator[np.ndarray]:
        """The images, some at a time."""
        return (self.images[start : start + BATCH] for start in range(0, len(self.images), BATCH))


@dataclass(frozen=True)
class Tolerance:
    """What an export may differ in; beyond it there is none.

    Attributes:
        difference: Of any probability of any image.
        moved: Of the probability of an image, 0..1, as much may be given to other classes, on average.
    """

    difference: float = 1.0
    moved: float = 1.0


@dataclass(frozen=True)
class Agreement:
    """How far an export agrees with its run.

    Attributes:
        images: How many were compared.
        origin: Which.
        difference: The largest of any probability, against the run's network in float32.
        moved: The probability that other classes were given, on average over the images.
        same_top1, same_top5: Shares of images with the same likeliest class, and the same five in the same order.
        as_trained: The largest difference against the network in the precision it was trained in.
        own_error, error: Top-1 error of the run's network and of the export; None without labels.
        tolerance: What was allowed.
    """

    images: int
    origin: str
    difference: float
    moved: float
    same_top1: float
    same_top5: float
    as_trained: float
    own_error: float | None
    error: float | None
    tolerance: Tolerance

    @property
    def holds(self) -> bool:
        """Whether it is within the tolerance; what is not finite is not."""
        return self.difference <= self.tolerance.difference and self.moved <= self.tolerance.moved

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        facts = asdict(self)
        return {"pictures": facts.pop("images"), **facts}  # as 0.1 calls them


def compare(
    exported: np.ndarray, own: np.ndarray, as_trained: np.ndarray, samples: Samples, tolerance: Tolerance
) -> Agreement:
    """Compares probabilities `(n, classes)` of an export, of the run in float32, and of the run as it was trained."""
    if exported.shape != own.shape:
        raise AlexNetError(f"The export gives probabilities of shape {exported.shape}, the run {own.shape}.")
    differences = np.abs(exported.astype(np.float64) - own)
    orders = [np.argsort(-found, axis=1, kind="stable")[:, :5] for found in (exported, own)]
    errors = [None, None]
    if samples.labels is not None:
        errors = [float((order[:, 0] != samples.labels).mean()) for order in orders]
    return Agreement(
        images=len(own),
        origin=samples.origin,
        difference=float(differences.max()),
        moved=float(differences.sum(axis=1).mean() / 2),
        same_top1=float((orders[0][:, 0] == orders[1][:, 0]).mean()),
        same_top5=float((orders[0] == orders[1]).all(axis=1).mean()),
        as_trained=float(np.abs(exported - as_trained).max()),
        own_error=errors[1],
        error=errors[0],
        tolerance=tolerance,
    )


def outputs_of(network: Callable[[np.ndarray], np.ndarray], samples: Samples) -> np.ndarray:
    """What a network says of the samples, `(n, classes)`."""
    return np.concatenate([np.asarray(network(batch)) for batch in samples.batches])


def samples_of(data: PreparedDataset, split: str, count: int, seed: int = 0) -> Samples:
    """A seeded choice of so many images of a split, or all if it has fewer.

    Raises:
        UsageError: there is no such split.
        DataError: it is empty, or damaged.
    """
    examples = data.examples(split)
    if not examples:
        raise DataError(f"The split {split!r} of {data.path} has no images.")
    chosen = np.sort(np.random.default_rng(seed).permutation(examples)[:count])
    images, labels, _ = stacked_images(data, split, chosen)
    return Samples(images, labels, f"{len(chosen):,} of the {examples:,} {split} images of {data.name}, seed {seed}")


def generated_samples(count: int) -> Samples:
    """Patches of all sizes with grain, drawn by this package, where there are no images."""
    images = np.stack([fit_to_square(jpeg(seed)) for seed in range(count)])
    return Samples(images, None, f"{count:,} generated images")
