"""Top-1 and top-5 error of a model on a split, with intervals."""

from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from math import sqrt
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from alexnet_keras.data.pipeline import IMAGE_SIZE, Share, evaluation_batches
from alexnet_keras.data.prepared import PreparedDataset
from alexnet_keras.errors import DataError
from alexnet_keras.evaluation.views import VIEWS

BATCH_SIZE = 128  # images through the network at a time; a ten-crop batch holds a tenth as many pictures
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

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Predictor:
    """A model and the views it is tested on, compiled once: averaged probabilities of 256x256 images.

    Args:
        model: from crops to probabilities, `(batch, classes)`.
        views: `"centre"` or `"ten-crop"`; the probabilities of an image's views are averaged (paper, section 4.1).
    """

    def __init__(self, model: keras.Model, views: Literal["centre", "ten-crop"] = "centre") -> None:
        self.views, self.classes = views, model.output_shape[-1]
        crop = model.input_shape[1]
        self.number_of_views = len(VIEWS[views](tf.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3), tf.uint8), crop))

        def averaged(images):
            stacked = tf.concat(VIEWS[views](images, crop), axis=0)
            outputs = tf.cast(model(stacked, training=False), tf.float32)
            return tf.reduce_mean(tf.reshape(outputs, (self.number_of_views, -1, self.classes)), axis=0)

        images = tf.TensorSpec((None, IMAGE_SIZE, IMAGE_SIZE, 3), tf.uint8)
        self._averaged = tf.function(averaged, input_signature=[images], autograph=False)

    def __call__(self, images) -> np.ndarray:
        """Images uint8 `(batch, 256, 256, 3)` to probabilities float32 `(batch, classes)`."""
        return self._averaged(images).numpy()


@dataclass(frozen=True)
class Tally:
    """What error rates are computed from; the tallies of parts of a split add up to that of the whole.

    Attributes:
        images: How many were seen.
        loss: The sum of their cross-entropies, nats.
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
        return cls(
            images=len(labels),
            loss=float(-np.log(np.maximum(at_label, 1e-12)).sum()),
            misses1=top_k_misses(probabilities, labels, 1),
            misses5=top_k_misses(probabilities, labels, 5),
        )

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def evaluate(
    predictor: Predictor,
    data: PreparedDataset,
    split: str,
    on_progress: Callable[[int], None] = lambda images: None,
    *,
    share: Share = Share(),
    add_up: Callable[[Tally], Tally] = lambda tally: tally,
) -> Evaluation:
    """Top-1 and top-5 error on a split.

    Args:
        on_progress: called with the number of images done since the last call.
        share: the part of the split that this worker of a cluster sees.
        add_up: from this worker's tally to that of all workers.

    Raises:
        UsageError: the dataset has no such split.
        DataError: the split is empty, or the model's number of classes is not the dataset's.
    """
    if not data.examples(split):
        raise DataError(f"The split {split!r} of {data.path} has no images.")
    if predictor.classes != len(data.classes):
        raise DataError(
            f"The model tells {predictor.classes} classes apart and the dataset {data.path} has "
            f"{len(data.classes)}: evaluate it on the data it was trained for."
        )
    tally = Tally()
    for images, labels, _ in evaluation_batches(data, split, max(1, BATCH_SIZE // predictor.number_of_views), share):
        tally += Tally.of(predictor(images), labels.numpy())
        on_progress(len(labels))
    tally = add_up(tally)
    return Evaluation(
        split=split,
        views=predictor.views,
        images=tally.images,
        classes=len(data.classes),
        loss=tally.loss / tally.images,
        top1=error_rate(tally.misses1, tally.images),
        top5=error_rate(tally.misses5, tally.images),
    )


def top_k_misses(probabilities: np.ndarray, labels: np.ndarray, k: int) -> int:
    """How many images have k or more classes that are likelier than the right one.

    Ties go against the model: a network that says the same of every class is not counted right.
    """
    at_label = probabilities[np.arange(len(labels)), labels][:, None]
    at_least = (probabilities >= at_label).sum(axis=1)  # the right class is one of them
    return int((at_least > k).sum())


def error_rate(misses: int, images: int) -> ErrorRate:
    """The share of misses with its 95 % Wilson score interval."""
    share = misses / images
    spread = Z_95**2 / images
    middle = (share + spread / 2) / (1 + spread)
    half = sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return ErrorRate(share, max(0.0, middle - half), min(1.0, middle + half))
