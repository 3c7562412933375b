"""Top-1 and top-5 error, with intervals, from probabilities and labels."""

from dataclasses import asdict, astuple, dataclass
from functools import cache
from typing import Any

import numpy as np

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.errors import DataError, NotFiniteError, UsageError

LEAST = 1e-12  # probability whose logarithm is taken
NEVER = np.int32(np.iinfo(np.int32).max)  # the rank of an image with a probability that is not finite


@dataclass(frozen=True)
class ErrorRate:
    """A share of mistakes with its 95 % Wilson interval, all in 0..1."""

    error: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """The loss and the errors of a model on a split."""

    split: str
    views: str
    images: int
    classes: int
    loss: float  # mean cross-entropy of the averaged probabilities, nats
    top1: ErrorRate
    top5: ErrorRate

    @classmethod
    def of(cls, tally: "Tally", split: str, views: str, classes: int) -> "Evaluation":
        """Compute loss and errors from the tally of a whole split."""
        return cls(
            split=split,
            views=views,
            images=tally.images,
            classes=classes,
            loss=tally.loss / tally.images,
            top1=error_rate(tally.misses1, tally.images),
            top5=error_rate(tally.misses5, tally.images),
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields; no top-5 error, None, where there are no more than five classes."""
        return asdict(self) | top5_of_few(self.classes)


def top5_of_few(classes: int) -> dict[str, None]:
    """The entry of the top-5 error where there is none, as the right class is always among five; {} of more classes."""
    return {} if classes > 5 else {"top5": None}


@dataclass(frozen=True)
class Tally:
    """The counts that error rates are computed from; tallies of parts of a split add up to that of the whole.

    Attributes:
        images: The number of images.
        loss: The sum of their cross-entropies, nats; NaN if a probability of any of them is not finite.
        misses1, misses5: The number of images of which 1, or 5, or more other classes are at least as likely as the
            right one.
    """

    images: int = 0
    loss: float = 0.0
    misses1: int = 0
    misses5: int = 0

    @classmethod
    def of(cls, probabilities: np.ndarray, labels: np.ndarray) -> "Tally":
        """Count probabilities `(images, classes)` against labels `(images,)`."""
        at_label = probabilities[np.arange(len(labels)), labels]
        return cls.of_ranks(label_ranks(probabilities, labels), np.where(_finite(probabilities), at_label, np.nan))

    @classmethod
    def of_ranks(cls, ranks: np.ndarray, at_label: np.ndarray) -> "Tally":
        """Count the ranks `(images,)` of the right classes, as `label_ranks` gives them, and their probabilities."""
        loss = -np.log(np.maximum(at_label.astype(np.float64), LEAST)).sum()
        return cls(len(ranks), float(loss), int((ranks >= 1).sum()), int((ranks >= 5).sum()))

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def label_ranks(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Count, for each image, the other classes that are at least as likely as the right one.

    Ties go against the model: a network that finds all classes equally likely is not counted right. Neither is an
    image with a probability that is not finite, which compares with nothing.

    Args:
        probabilities: `(images, classes)`.
        labels: `(images,)`.

    Returns:
        int32 `(images,)`; 0 where the right class is the likeliest, `NEVER` where a probability is not finite.
    """
    at_label = probabilities[np.arange(len(labels)), labels][:, None]
    at_least = (probabilities >= at_label).sum(axis=1, dtype=np.int32) - np.int32(1)  # the right class is one of them
    return np.where(_finite(probabilities), at_least, NEVER)


def top_k_misses(probabilities: np.ndarray, labels: np.ndarray, k: int) -> int:
    """Count the images of which `k` or more other classes are at least as likely as the right one."""
    return int((label_ranks(probabilities, labels) >= k).sum())


def floating(probabilities: np.ndarray) -> np.ndarray:
    """Return probabilities as float32 or float64, if they are floating-point numbers.

    Raises:
        UsageError: They are not: those of a quantised network are whole numbers, which have a scale.
    """
    if probabilities.dtype.kind == "f" or probabilities.dtype.name == "bfloat16":
        return probabilities.astype(np.result_type(probabilities.dtype, np.float32), copy=False)
    raise UsageError(f"Probabilities are floating-point numbers, 0..1. Received: dtype={probabilities.dtype}")


def check_finite(outputs: np.ndarray, what: str) -> np.ndarray:
    """Return the outputs of a network, `(images, ...)`, if all of them are finite.

    Args:
        what: Their name, with which the error message begins.

    Raises:
        NotFiniteError: Some are not.
    """
    if count := int((~_finite(outputs)).sum()):
        raise not_finite(what, f"{count:,} of {len(outputs):,} images")
    return outputs


def not_finite(what: str, where: str) -> NotFiniteError:
    """Return the error that outputs of a network are not finite."""
    return NotFiniteError(
        f"{what} are not finite for {where}: the weights of the network are damaged, or its training diverged. Use "
        "another model, or train again with a smaller learning rate."
    )


def _finite(outputs: np.ndarray) -> np.ndarray:
    """Return for each image, `(images,)`, whether all of its numbers are finite."""
    return np.isfinite(outputs).all(axis=tuple(range(1, outputs.ndim)))


@cache  # SciPy takes half a millisecond, and a thousand classes have few different counts
def error_rate(misses: int, images: int) -> ErrorRate:
    """Compute the share of misses with its 95 % Wilson score interval."""
    from scipy.stats import binomtest

    interval = binomtest(misses, images).proportion_ci(0.95, "wilson")
    return ErrorRate(misses / images, float(interval.low), float(interval.high))


@dataclass(frozen=True)
class PairedTest:
    """McNemar's exact test of two models on the same images: is the one wrong more often where just one of them is?

    Attributes:
        only_first: Number of images that the first alone gets wrong.
        only_second: Number of images that the second alone gets wrong.
        p_value: The two-sided p-value, 0..1, of equal errors. It speaks of these two models and of other images of the
            kind, not of other seeds.
    """

    only_first: int
    only_second: int
    p_value: float

    @classmethod
    def of(cls, first: np.ndarray, second: np.ndarray) -> "PairedTest":
        """Compare the images that two models get wrong, `(images,)` bool each, in the same order."""
        from scipy.stats import binomtest

        only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
        apart = only_first + only_second
        return cls(only_first, only_second, float(binomtest(only_first, apart).pvalue) if apart else 1.0)


def images_in(data: PreparedDataset, split: str) -> int:
    """Return the number of images of a split to evaluate on, one at least.

    Raises:
        UsageError: The dataset has no such split.
        DataError: The split is empty.
    """
    images = data.examples(split)
    if not images:
        raise DataError(f"The split {split!r} of {data.path} has no images.")
    return images


def check_fits(classes: int, data: PreparedDataset, split: str) -> int:
    """Return the number of images of a split, if there are some and they are of a model's classes.

    Raises:
        UsageError: The dataset has no such split.
        DataError: The split is empty, or the model's number of classes is not the dataset's.
    """
    if classes != len(data.classes):
        raise DataError(
            f"The model has {classes} classes and the dataset {data.path} has {len(data.classes)}: evaluate it on the "
            "data that it was trained on."
        )
    return images_in(data, split)
