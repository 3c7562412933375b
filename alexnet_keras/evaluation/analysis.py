"""Errors by class, by pair of classes and by confidence, and ILSVRC's submission files."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import sparse

from alexnet_keras.errors import UsageError
from alexnet_keras.evaluation.errors import ErrorRate, error_rate
from alexnet_keras.evaluation.predictions import Predictions
from alexnet_keras.storage.files import write_by_rename

BINS = 15  # of confidence, of equal width: Guo et al. 2017, On Calibration of Modern Neural Networks


@dataclass(frozen=True)
class ClassErrors:
    """The errors on the images of one class."""

    label: int
    images: int
    top1: ErrorRate
    top5: ErrorRate


@dataclass(frozen=True)
class Confusion:
    """How many images of class `label` were taken for class `guess`, and which share of that class they are."""

    label: int
    guess: int
    images: int
    share: float


@dataclass(frozen=True)
class Calibration:
    """How far confidence, the probability of the likeliest class, is from the share of right answers.

    Attributes:
        expected_error: The mean over images of |accuracy - confidence| of their bin (ECE), 0..1.
        confidence, accuracy: Means of each bin that has images, 0..1.
        images: The number of images in each of those bins.
    """

    expected_error: float
    confidence: list[float]
    accuracy: list[float]
    images: list[int]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What became of each image; every array is `(images,)`.

    Attributes:
        labels: The right class.
        guesses: The likeliest class.
        confidences: Its probability.
        ranks: How many other classes are at least as likely as the right one; 0 where the guess is right.
        classes: The number of classes.
    """

    labels: np.ndarray
    guesses: np.ndarray
    confidences: np.ndarray
    ranks: np.ndarray
    classes: int

    @classmethod
    def of(cls, predictions: Predictions) -> "Outcomes":
        """The outcomes of predictions."""
        found = predictions.summary
        guesses, confidences = found.top[:, 0].astype(np.int64), found.top_probabilities[:, 0]
        return cls(predictions.labels, guesses, confidences, found.ranks, predictions.classes)

    @cached_property
    def matrix(self) -> sparse.csr_array:
        """The confusion matrix: images of each true class (rows) taken for each class (columns), int64.

        Sparse: of ten thousand classes most pairs are never confused.
        """
        ones = np.ones(len(self.labels), np.int64)
        return sparse.coo_array((ones, (self.labels, self.guesses)), (self.classes, self.classes)).tocsr()

    def by_class(self) -> list[ClassErrors]:
        """The errors of every class that has images, by label."""
        images = np.bincount(self.labels, minlength=self.classes)
        misses1, misses5 = (np.bincount(self.labels[self.ranks >= k], minlength=self.classes).tolist() for k in (1, 5))
        return [
            ClassErrors(label, count, error_rate(misses1[label], count), error_rate(misses5[label], count))
            for label, count in enumerate(images.tolist())
            if count
        ]

    def confusions(self, count: int) -> list[Confusion]:
        """The pairs of classes with the most mistakes, the worst first."""
        wrong = self.labels != self.guesses
        pairs, images = np.unique(
            np.stack([self.labels[wrong], self.guesses[wrong]], axis=1).reshape(-1, 2), axis=0, return_counts=True
        )
        of_class = np.bincount(self.labels, minlength=self.classes)
        worst = np.argsort(-images, kind="stable")[:count]
        return [
            Confusion(int(label), int(guess), int(number), float(number / of_class[label]))
            for (label, guess), number in zip(pairs[worst], images[worst], strict=True)
        ]

    def calibration(self, bins: int = BINS) -> Calibration:
        """The expected calibration error and the points of a reliability diagram."""
        bin_of = np.minimum((self.confidences * bins).astype(np.int64), bins - 1)
        images = np.bincount(bin_of, minlength=bins)
        used = images > 0
        confidence = np.bincount(bin_of, self.confidences, bins)[used] / images[used]
        accuracy = np.bincount(bin_of, self.labels == self.guesses, bins)[used] / images[used]
        return Calibration(
            float((np.abs(accuracy - confidence) * images[used]).sum() / len(self.labels)),
            confidence.tolist(),
            accuracy.tolist(),
            images[used].tolist(),
        )


GUESSES = 5


def write_submission(path: Path, top: np.ndarray, filenames: Sequence[str], ids: Sequence[int]) -> None:
    """Writes a line an image, in the order of file names, with the devkit's ids of its five likeliest classes.

    Args:
        top: `(images, 5)`, the likeliest classes, the likeliest first, in the order of `filenames`.
        filenames: `ILSVRC2012_val_00000001.JPEG` and so on.
        ids: the ILSVRC id, 1 to 1000, of each class; five at least.
    """
    id_of = np.asarray(ids)
    lines = [" ".join(map(str, id_of[row])) for row in top]
    in_order = sorted(range(len(filenames)), key=lambda index: Path(filenames[index]).name)
    with write_by_rename(path) as partial:
        partial.write_text("".join(f"{lines[index]}\n" for index in in_order), encoding="utf-8")


def check_can_submit(ids: Sequence[int]) -> None:
    """Refuses classes that no submission can name.

    Raises:
        UsageError: they have no ILSVRC ids, or there are fewer than five.
    """
    if not ids:
        raise UsageError(
            "--submission writes the ILSVRC ids of the devkit, and this dataset was prepared from a source without "
            "one: prepare it from ilsvrc:DIR with the devkit's archive in DIR."
        )
    if len(ids) < GUESSES:
        raise UsageError(f"A submission has five ids a line, and there are only {len(ids)} classes.")
