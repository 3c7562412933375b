"""A run's network as every export needs it, and how far an exported file agrees with the run.

The network is in float32, from 256x256 images to probabilities."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import keras
import numpy as np

from alexnet_keras.backend import Tensor, plain
from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.generated_images import jpeg
from alexnet_keras.data.images import fit_to_square
from alexnet_keras.errors import AlexNetError, DataError
from alexnet_keras.evaluation.crops import centre
from alexnet_keras.evaluation.errors import images_in
from alexnet_keras.evaluation.image_inputs import Preparation, preparation_of, stacked_images
from alexnet_keras.layers import ColorNoise
from alexnet_keras.network.loading import copy_weights, layer_differences
from alexnet_keras.network.model import AlexNet
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.runs import Run

BATCH = 16  # images that are compared at once


@dataclass(frozen=True, eq=False)
class ExportedNetwork:
    """A run's network, ready to be written in any format.

    Attributes:
        model: The network in float32, whatever it was trained in: crops to probabilities.
        as_trained: The same in the precision it was trained in.
        recipe: The run's recipe.
        names: The name of each class, for ImageNet the WordNet id; the index is the label.
        titles: Each class in words.
        preparation: How an image's file becomes a 256x256 image.
        provenance: The run, model and data that it comes from, and the versions that wrote it.
    """

    model: keras.Model
    as_trained: keras.Model
    recipe: Recipe
    names: Sequence[str]
    titles: Sequence[str]
    preparation: Preparation
    provenance: dict[str, Any]

    @property
    def crop(self) -> int:
        """Side of the network's input, pixels."""
        return self.model.input_shape[1]

    def probabilities(self, images: Tensor) -> Tensor:
        """From images, uint8 `(batch, 256, 256, 3)`, RGB, to `(batch, classes)`, in operations that can be traced."""
        with plain():
            return self.model(centre(images, self.crop)[0], training=False)


def exported_network(run: Run, which: str = "best") -> ExportedNetwork:
    """Return the `"best"` or the `"last"` network of a run, ready to be written.

    Raises:
        UsageError: The run has no such model.
        DataError: The model is damaged, or the run's recipe.toml is not of it.
    """
    (model, model_sha256), facts = run.load_model_with_sha256(which), run.facts
    provenance = {
        "run": run.name,
        "recipe": run.recipe.name,
        "model": which,
        "model_sha256": model_sha256,
        "trained_in": facts.get("precision", "float32"),
        "data": facts["data"].get("name", ""),
        "data_fingerprint": facts["data"]["fingerprint"],
        "written_with": {package: version(package) for package in ("alexnet-keras", "keras", "tensorflow")},
    }
    names, titles = list(facts["classes"]), list(run.titles)
    preparation = preparation_of(run)
    if run.facts["data"].get("fingerprint") is None:  # imported: `file` keeps its one input
        preparation = replace(preparation, decoding=replace(preparation.decoding, exif=False))
    return ExportedNetwork(in_float32(model, run.recipe), model, run.recipe, names, titles, preparation, provenance)


def in_float32(model: keras.Model, recipe: Recipe) -> keras.Model:
    """Return a model with the same weights, mean and colours that computes in float32.

    Raises:
        DataError: The model is not of the recipe.
    """
    same = AlexNet(recipe, classes=model.output_shape[-1], dtype="float32", name=model.name)
    copied = copy_weights(same, model)
    both = [layer for each in (same, model) for layer in each.layers]
    others = [layer.name for layer in both if layer.weights and layer.name not in copied]
    noises = [layer for layer in both if isinstance(layer, ColorNoise)]
    others += ["color_noise"] if len(noises) == 1 else []
    if differences := [*dict.fromkeys(others), *layer_differences(same, model)]:
        raise DataError(f"The run's recipe.toml is not of its model ({', '.join(differences[:3])}): restore that file.")
    if noises:
        ours, theirs = noises
        ours.magnitudes, ours.vectors = theirs.magnitudes, theirs.vectors
    return same


@dataclass(frozen=True, eq=False)
class Samples:
    """Images on which two networks are compared.

    Attributes:
        images: uint8 `(n, 256, 256, 3)`, RGB.
        labels: int64 `(n,)`; None for generated images.
        origin: What they are, in words.
    """

    images: np.ndarray
    labels: np.ndarray | None
    origin: str


@dataclass(frozen=True)
class Tolerance:
    """The difference that an export may have from its run; one that differs more is not kept.

    Attributes:
        difference: The largest difference of any probability of any image, 0..1.
        moved: The probability given to other classes, 0..1, on average over the images.
    """

    difference: float = 1.0
    moved: float = 1.0


@dataclass(frozen=True)
class Agreement:
    """The agreement of an export with its run.

    Attributes:
        images: The number of images that were compared.
        origin: What they are, in words.
        difference: The largest difference of any probability from the run's network in float32.
        moved: The probability that other classes were given, on average over the images.
        same_top1, same_top5: Shares of images with the same likeliest class, and the same five in the same order.
        as_trained: The largest difference from the network in the precision it was trained in.
        own_error, error: Top-1 error of the run's network and of the export; None without labels.
        tolerance: The differences that were allowed.
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
        """True if it is within the tolerance; what is not finite is not."""
        return self.difference <= self.tolerance.difference and self.moved <= self.tolerance.moved

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        values = asdict(self)
        return {"pictures": values.pop("images"), **values}  # as 0.1 calls them


def compare(
    exported: np.ndarray, own: np.ndarray, as_trained: np.ndarray, samples: Samples, tolerance: Tolerance
) -> Agreement:
    """Compare an export's probabilities `(n, classes)` with its run's, in float32 and in the precision of its training.

    Raises:
        AlexNetError: The export has another shape.
    """
    if exported.shape != own.shape:
        raise AlexNetError(f"The export gives probabilities of shape {exported.shape}, the run {own.shape}.")
    differences = np.abs(exported.astype(np.float64) - own)
    order, own_order = (np.argsort(-each, axis=1, kind="stable")[:, :5] for each in (exported, own))

    def error_of(order: np.ndarray) -> float | None:
        return None if samples.labels is None else float((order[:, 0] != samples.labels).mean())

    return Agreement(
        images=len(own),
        origin=samples.origin,
        difference=float(differences.max()),
        moved=float(differences.sum(axis=1).mean() / 2),
        same_top1=float((order[:, 0] == own_order[:, 0]).mean()),
        same_top5=float((order == own_order).all(axis=1).mean()),
        as_trained=float(np.abs(exported - as_trained).max()),
        own_error=error_of(own_order),
        error=error_of(order),
        tolerance=tolerance,
    )


def outputs_of(network: Callable[[np.ndarray], np.ndarray], samples: Samples) -> np.ndarray:
    """Return a network's probabilities for the samples, `(n, classes)`."""
    batches = (samples.images[start : start + BATCH] for start in range(0, len(samples.images), BATCH))
    return np.concatenate([np.asarray(network(batch)) for batch in batches])


def samples_of(data: PreparedDataset, split: str, count: int, seed: int = 0) -> Samples:
    """Choose images of a split at random; all of them if it has fewer.

    Raises:
        UsageError: There is no such split.
        DataError: The split is empty or damaged.
    """
    examples = images_in(data, split)
    chosen = np.sort(np.random.default_rng(seed).permutation(examples)[:count])
    images, labels, _ = stacked_images(data, split, chosen)
    return Samples(images, labels, f"{len(chosen):,} of the {examples:,} {split} images of {data.name}, seed {seed}")


def generated_samples(count: int) -> Samples:
    """Generate images, patches of all sizes with grain, for where there are none."""
    images = np.stack([fit_to_square(jpeg(seed)) for seed in range(count)])
    return Samples(images, None, f"{count:,} generated images")
