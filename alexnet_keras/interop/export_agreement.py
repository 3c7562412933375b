"""Whether an exported file says of pictures what the run itself says of them."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from alexnet_keras.benchmarking.generated import jpeg
from alexnet_keras.data.decode import fit_to_square
from alexnet_keras.data.prepared import PreparedDataset
from alexnet_keras.errors import AlexNetError, DataError
from alexnet_keras.evaluation.pictures import pictures_at

BATCH = 16


@dataclass(frozen=True, eq=False)
class Samples:
    """Pictures on which two networks are compared.

    Attributes:
        images: uint8 `(n, 256, 256, 3)`, RGB.
        labels: int64 `(n,)`; None of generated pictures.
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
        difference: Of any probability of any picture.
        moved: Of the probability of a picture, 0..1, as much may be given to other classes, on average.
    """

    difference: float = 1.0
    moved: float = 1.0


@dataclass(frozen=True)
class Agreement:
    """How far an export agrees with its run.

    Attributes:
        pictures: How many were compared.
        origin: Which.
        difference: The largest of any probability, against the run's network in float32.
        moved: The probability that other classes were given, on average over the pictures.
        same_top1, same_top5: Shares of pictures with the same likeliest class, and the same five in the same order.
        as_trained: The largest difference against the network in the precision it was trained in.
        own_error, error: Top-1 error of the run's network and of the export; None without labels.
        tolerance: What was allowed.
    """

    pictures: int
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
        return asdict(self)


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
        pictures=len(own),
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
    """A seeded choice of so many pictures of a split, or all if it has fewer.

    Raises:
        UsageError: there is no such split.
        DataError: it is empty, or damaged.
    """
    examples = data.examples(split)
    if not examples:
        raise DataError(f"The split {split!r} of {data.path} has no images.")
    chosen = np.sort(np.random.default_rng(seed).permutation(examples)[:count])
    images, labels, _ = pictures_at(data, split, chosen)
    return Samples(images, labels, f"{len(chosen):,} of the {examples:,} {split} pictures of {data.name}, seed {seed}")


def generated_samples(count: int) -> Samples:
    """Patches of all sizes with grain, drawn by this package, where there are no pictures."""
    images = np.stack([fit_to_square(jpeg(seed)) for seed in range(count)])
    return Samples(images, None, f"{count:,} generated pictures")
