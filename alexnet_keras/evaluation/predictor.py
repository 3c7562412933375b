"""A network and the views it is tested on: from pictures to averaged probabilities, and to errors on a split."""

from collections.abc import Callable
from math import isfinite
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from alexnet_keras.backend import require_tensorflow
from alexnet_keras.data.pipeline import IMAGE_SIZE, Share, evaluation_batches
from alexnet_keras.data.prepared import PreparedDataset
from alexnet_keras.errors import DataError
from alexnet_keras.evaluation.errors import Evaluation, Tally, not_finite
from alexnet_keras.evaluation.shared_corners import SharedCorners
from alexnet_keras.evaluation.views import VIEWS, corners

CROPS_AT_A_TIME = 128  # through the network; a ten-crop batch holds a tenth as many pictures


class Predictor:
    """A model and the views it is tested on, compiled once: averaged probabilities of 256x256 images.

    Args:
        model: from crops to probabilities, `(batch, classes)`.
        views: `"centre"` or `"ten-crop"`; the probabilities of an image's views are averaged (paper, section 4.1).

    Raises:
        UsageError: Keras's backend is not TensorFlow.
    """

    def __init__(self, model: keras.Model, views: Literal["centre", "ten-crop"] = "centre") -> None:
        require_tensorflow("Evaluation")
        self.views, self.classes = views, model.output_shape[-1]
        crop = model.input_shape[1]
        self.number_of_views = len(VIEWS[views](tf.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3), tf.uint8), crop))

        places = corners(IMAGE_SIZE, crop)
        shared = None
        if views == "ten-crop" and SharedCorners.applies(model, places):
            shared = SharedCorners(model, places, IMAGE_SIZE)

        def averaged(images: tf.Tensor) -> tf.Tensor:
            if shared:
                return tf.reduce_mean(shared(images), axis=1)
            stacked = tf.concat(VIEWS[views](images, crop), axis=0)
            outputs = tf.cast(model(stacked, training=False), tf.float32)
            return tf.reduce_mean(tf.reshape(outputs, (self.number_of_views, -1, self.classes)), axis=0)

        images = tf.TensorSpec((None, IMAGE_SIZE, IMAGE_SIZE, 3), tf.uint8)
        self._averaged = tf.function(averaged, input_signature=[images], autograph=False)

    @property
    def pictures_at_a_time(self) -> int:
        """How many pictures fill the network with their views."""
        return max(1, CROPS_AT_A_TIME // self.number_of_views)

    def __call__(self, images: np.ndarray | tf.Tensor) -> np.ndarray:
        """Images uint8 `(batch, 256, 256, 3)` to probabilities float32 `(batch, classes)`."""
        return self._averaged(images).numpy()


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
        NotFiniteError: the network's probabilities are not finite.
    """
    check_fits(predictor.classes, data, split)
    tally = Tally()
    for images, labels, _ in evaluation_batches(data, split, predictor.pictures_at_a_time, share):
        tally += Tally.of(predictor(images), labels.numpy())
        on_progress(len(labels))
    total = add_up(tally)
    if not isfinite(total.loss):  # on every worker of a cluster, whichever saw them
        raise not_finite("The network's probabilities", f"images of the split {split!r} of {data.path}")
    return Evaluation.of(total, split, predictor.views, len(data.classes))


def check_fits(classes: int, data: PreparedDataset, split: str) -> None:
    """Refuses a split without pictures, or of other classes than a model's.

    Raises:
        UsageError: the dataset has no such split.
        DataError: the split is empty, or the model's number of classes is not the dataset's.
    """
    if not data.examples(split):
        raise DataError(f"The split {split!r} of {data.path} has no images.")
    if classes != len(data.classes):
        raise DataError(
            f"The model tells {classes} classes apart and the dataset {data.path} has {len(data.classes)}: evaluate it "
            "on the data it was trained for."
        )
