"""Top-1 and top-5 error, with intervals, from probabilities and labels."""

from dataclasses import asdict, astuple, dataclass
from math import sqrt
from typing import Any

import numpy as np

from alexnet_keras.errors import NotFiniteError

Z_95 = 1.959964


@dataclass(frozen=True)
class ErrorRate:
    """A share of mistakes with its 95 % Wilson interval, all in 0..1."""

    error: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """How a model does on a split."""

    split: str
    views: str
    images: int
    classes: int
    loss: float  # mean cross-entropy of the averaged probabilities, nats
    top1: ErrorRate
    top5: ErrorRate

    @classmethod
    def of(cls, tally: "Tally", split: str, views: str, classes: int) -> "Evaluation":
        """The errors that a tally of a whole split amounts to."""
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
        return asdict(self)


@dataclass(frozen=True)
class Tally:
    """What error rates are computed from; the tallies of parts of a split add up to that of the whole.

    Attributes:
        images: How many were seen.
        loss: The sum of their cross-entropies, nats; NaN if a probability of any of them is not finite.
        misses1, misses5: How many had 1, or 5, or more classes likelier than the right one.
    """

    images: int = 0
    loss: float = 0.0
    misses1: int = 0
    misses5: int = 0

    @classmethod
    def of(cls, probabilities: np.ndarray, labels: np.ndarray) -> "Tally":
        """The tally of probabilities `(images, classes)` and labels `(images,)`."""
        at_label = probabilities[np.arange(len(labels)), labels].astype(np.float64)
        losses = np.where(_finite(probabilities), -np.log(np.maximum(at_label, 1e-12)), np.nan)
        return cls(
            images=len(labels),
            loss=float(losses.sum()),
            misses1=top_k_misses(probabilities, labels, 1),
            misses5=top_k_misses(probabilities, labels, 5),
        )

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def top_k_misses(probabilities: np.ndarray, labels: np.ndarray, k: int) -> int:
    """How many images have k or more classes that are likelier than the right one.

    Ties go against the model: a network that says the same of every class is not counted right. Neither is an image
    with a probability that is not finite, which compares with nothing.
    """
    at_label = probabilities[np.arange(len(labels)), labels][:, None]
    at_least = (probabilities >= at_label).sum(axis=1)  # the right class is one of them
    return int(((at_least > k) | ~_finite(probabilities)).sum())


def check_finite(answers: np.ndarray, what: str) -> np.ndarray:
    """The answers of a network, `(images, ...)`, if all of them are finite.

    Args:
        what: What they are, as a sentence begins with it.

    Raises:
        NotFiniteError: they are not.
    """
    if count := int((~_finite(answers)).sum()):
        raise not_finite(what, f"{count:,} of {len(answers):,} images")
    return answers


def not_finite(what: str, where: str) -> NotFiniteError:
    """The error of answers that are not finite."""
    return NotFiniteError(
        f"{what} are not finite for {where}: the weights of the network are damaged, or its training diverged. Use "
        "another model, or train again with a smaller learning rate."
    )


def _finite(answers: np.ndarray) -> np.ndarray:
    """Of which images, `(images,)`, all numbers are finite."""
    return np.isfinite(answers).all(axis=tuple(range(1, answers.ndim)))


def error_rate(misses: int, images: int) -> ErrorRate:
    """The share of misses with its 95 % Wilson score interval."""
    share = misses / images
    spread = Z_95**2 / images
    middle = (share + spread / 2) / (1 + spread)
    half = sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return ErrorRate(share, max(0.0, middle - half), min(1.0, middle + half))
