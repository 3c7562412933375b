"""Errors by class, by pair of classes and by confidence, and ILSVRC's submission files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import sparse

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.errors import DataError, UsageError
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
    """The number of images of class `label` that were taken for class `guess`, and their share of that class."""

    label: int
    guess: int
    images: int
    share: float


@dataclass(frozen=True)
class Calibration:
    """The distance of confidence, the probability of the likeliest class, from the share of right answers.

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
    """The right and the predicted class of each image; every array is `(images,)`.

    Attributes:
        labels: The right class.
        predicted: The likeliest class; of several a wrong one.
        confidences: Its probability.
        ranks: The number of other classes at least as likely as the right one; 0 where the prediction is right.
        classes: The number of classes.
    """

    labels: np.ndarray
    predicted: np.ndarray
    confidences: np.ndarray
    ranks: np.ndarray
    classes: int

    @classmethod
    def of(cls, predictions: Predictions) -> "Outcomes":
        """Compare predictions with the labels."""
        summary = predictions.summary
        predicted, confidences = summary.top[:, 0].astype(np.int64), summary.top_probabilities[:, 0]
        return cls(predictions.labels, predicted, confidences, summary.ranks, predictions.classes)

    @cached_property
    def matrix(self) -> sparse.csr_array:
        """The confusion matrix: images of each true class (rows) taken for each class (columns), int64.

        Sparse: of ten thousand classes most pairs are never confused.
        """
        ones = np.ones(len(self.labels), np.int64)
        return sparse.coo_array((ones, (self.labels, self.predicted)), (self.classes, self.classes)).tocsr()

    def by_class(self) -> list[ClassErrors]:
        """Compute the errors of every class that has images, by label."""
        images = np.bincount(self.labels, minlength=self.classes)
        misses1, misses5 = (np.bincount(self.labels[self.ranks >= k], minlength=self.classes).tolist() for k in (1, 5))
        return [
            ClassErrors(label, count, error_rate(misses1[label], count), error_rate(misses5[label], count))
            for label, count in enumerate(images.tolist())
            if count
        ]

    def confusions(self, count: int) -> list[Confusion]:
        """List the pairs of classes with the most mistakes, the worst first; ties keep the order of labels."""
        matrix = self.matrix.tocoo()
        wrong = matrix.row != matrix.col
        labels, guesses, images = matrix.row[wrong], matrix.col[wrong], matrix.data[wrong]
        shares = images / np.bincount(self.labels, minlength=self.classes)[labels]
        worst = np.lexsort((guesses, labels, -images))[:count]
        columns = [column[worst].tolist() for column in (labels, guesses, images, shares)]
        return [Confusion(*pair) for pair in zip(*columns, strict=True)]

    def calibration(self, bins: int = BINS) -> Calibration:
        """Compute the expected calibration error and the points of a reliability diagram."""
        bin_of = np.minimum((self.confidences * bins).astype(np.int64), bins - 1)
        images = np.bincount(bin_of, minlength=bins)
        used = images > 0
        confidence = np.bincount(bin_of, self.confidences, bins)[used] / images[used]
        accuracy = np.bincount(bin_of, self.ranks == 0, bins)[used] / images[used]
        return Calibration(
            float((np.abs(accuracy - confidence) * images[used]).sum() / len(self.labels)),
            confidence.tolist(),
            accuracy.tolist(),
            images[used].tolist(),
        )


IDS_PER_LINE = 5  # of a submission
LEAVING_OUT = ("--partial", "--classes", "--limit-per-class")  # with them a prepared split may lack images
NUMBERED = re.compile(r"ILSVRC\d{4}_(?:val|test)_(\d{8})(?:_n\d{8})?\.")


def write_submission(path: Path, top: np.ndarray, filenames: Sequence[str], ids: Sequence[int]) -> None:
    """Write one line per image, in the order of file names, with the devkit's ids of its five likeliest classes.

    Args:
        top: `(images, 5)`, the likeliest classes, the likeliest first, in the order of `filenames`.
        filenames: `ILSVRC2012_val_00000001.JPEG` and so on.
        ids: The ILSVRC id, 1 to 1000, of each class; five at least.

    Raises:
        DataError: The numbers in the file names have a gap, after which every line would be of another image.
    """
    numbers = sorted(int(match[1]) for name in filenames if (match := NUMBERED.search(name)))
    gap = next((index for index, number in enumerate(numbers, 1) if number != index), None)
    if gap and len(numbers) == len(filenames):
        raise DataError(
            f"Image {gap} is not among the {len(filenames):,} that were evaluated, and lines of a submission are told "
            "apart by their place: prepare the whole split."
        )
    lines = sorted(
        (Path(name).name, " ".join(map(str, row))) for name, row in zip(filenames, np.asarray(ids)[top], strict=True)
    )
    with write_by_rename(path) as partial:
        partial.write_text("".join(f"{line}\n" for _, line in lines), encoding="utf-8")


def check_can_submit(data: PreparedDataset, split: str) -> None:
    """Refuse classes that no submission can name, and a split that lacks images of the one it was prepared from.

    Raises:
        UsageError: The classes have no ILSVRC ids, or there are fewer than five.
        DataError: Some images of the split could not be used, or were left out.
    """
    ids = data.ids
    if not ids:
        raise UsageError(
            "--submission writes the ILSVRC ids of the devkit, and this dataset was prepared from a source without "
            "one: prepare it from ilsvrc:DIR with the devkit's archive in DIR."
        )
    if len(ids) < IDS_PER_LINE:
        raise UsageError(f"A submission has five ids per line, and there are only {len(ids)} classes.")
    rejected = sum(each["split"] == split for each in data.rejected)
    given = list(data.manifest.get("further_options", ()))  # of 0.1 there are none
    given += ["--limit-per-class"] * ("limit_per_class" in data.manifest["options"])
    reasons = [f"{rejected:,} could not be used"] * bool(rejected)
    reasons += [f"it was prepared with {option}" for option in LEAVING_OUT if option in given]
    if reasons:
        raise DataError(
            f"A submission has a line for every image, and {data.path} lacks some of {split}: {' and '.join(reasons)}."
        )
