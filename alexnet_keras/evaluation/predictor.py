"""A network and the crops it is tested on: from images to averaged probabilities, and to errors on a split."""

from collections.abc import Callable, Iterator
from itertools import islice
from math import isfinite
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from alexnet_keras.backend import require_tensorflow
from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.images import IMAGE_SIZE
from alexnet_keras.data.pipeline import WorkerPart, evaluation_batches
from alexnet_keras.errors import AlexNetError, check_choice
from alexnet_keras.evaluation.crops import VIEWS, SharedFirstConvolution, corners
from alexnet_keras.evaluation.errors import Evaluation, Tally, check_fits, not_finite

CROPS_AT_A_TIME = 128  # through the network; a ten-crop batch holds a tenth as many images


class Predictor:
    """A model and the views it is tested on, compiled once: from 256x256 images to averaged probabilities.

    Args:
        model: A model from crops to probabilities, `(batch, classes)`.
        views: `"centre"` or `"ten-crop"`; the probabilities of an image's views are averaged (paper, section 4.1).
        strategy: The strategy that the model was made under, to evaluate on all its replicas; None for one device.

    Raises:
        UsageError: Keras's backend is not TensorFlow, or there are no such views.
    """

    def __init__(
        self,
        model: keras.Model,
        views: Literal["centre", "ten-crop"] = "centre",
        strategy: tf.distribute.Strategy | None = None,
    ) -> None:
        require_tensorflow("Evaluation")
        check_choice("views", views, VIEWS)
        self.views, self.classes = views, model.output_shape[-1]
        crop = model.input_shape[1]
        self.number_of_views = len(VIEWS[views](tf.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3), tf.uint8), crop))

        places = corners(IMAGE_SIZE, crop)
        shared = None
        if views == "ten-crop" and SharedFirstConvolution.applies(model, places):
            shared = SharedFirstConvolution(model, places, IMAGE_SIZE)

        def averaged(images: tf.Tensor) -> tf.Tensor:
            if shared:
                return tf.reduce_mean(shared(images), axis=1)
            stacked = tf.concat(VIEWS[views](images, crop), axis=0)
            outputs = tf.cast(model(stacked, training=False), tf.float32)
            return tf.reduce_mean(tf.reshape(outputs, (self.number_of_views, -1, self.classes)), axis=0)

        self._most = self.images_at_a_time  # less once the memory was too small
        images = tf.TensorSpec((None, IMAGE_SIZE, IMAGE_SIZE, 3), tf.uint8)
        self._averaged = tf.function(averaged, input_signature=[images], autograph=False)
        self._strategy = shared_by = strategy or tf.distribute.get_strategy()
        self._on_replicas = tf.function(lambda each: shared_by.run(averaged, (each,)), autograph=False)

    @property
    def images_at_a_time(self) -> int:
        """The number of images whose views fill the network."""
        return max(1, CROPS_AT_A_TIME // self.number_of_views)

    def __call__(self, images: np.ndarray | tf.Tensor) -> np.ndarray:
        """Compute probabilities float32 `(batch, classes)` of images uint8 `(batch, 256, 256, 3)`.

        Raises:
            AlexNetError: Not one image fits into memory.
        """
        return self._in_parts(images).numpy()

    def _in_parts(self, images: np.ndarray | tf.Tensor) -> tf.Tensor:
        """Probabilities of images, in as few parts as fit into memory."""
        while True:
            starts = range(0, max(1, len(images)), self._most)
            try:
                parts = [self._averaged(images[start : start + self._most]) for start in starts]
                return tf.concat(parts, 0) if len(parts) != 1 else parts[0]
            except tf.errors.ResourceExhaustedError as error:
                if self._most == 1:
                    raise AlexNetError("Not one image fits into memory beside what is there already.") from error
                self._most //= 2

    def evaluate(
        self,
        data: PreparedDataset,
        split: str,
        advance: Callable[[int], object] | None = None,
        *,
        part: WorkerPart = WorkerPart(),
        add_up: Callable[[Tally], Tally] | None = None,
    ) -> Evaluation:
        """Compute top-1 and top-5 error on a split.

        Args:
            data: The dataset.
            split: The name of the split.
            advance: Gets the number of images of each batch.
            part: The part of the split that this worker of a cluster evaluates.
            add_up: From this worker's tally to that of all workers.

        Raises:
            UsageError: The dataset has no such split.
            DataError: The split is empty, or the model's number of classes is not the dataset's.
            NotFiniteError: The network's probabilities are not finite.
        """
        check_fits(self.classes, data, split)
        tally = Tally()
        batches = evaluation_batches(data, split, self.images_at_a_time, part)
        for probabilities, labels in self._computed(batches):
            tally += Tally.of(probabilities.numpy(), labels.numpy())
            if advance:
                advance(len(labels))
        if add_up:
            tally = add_up(tally)
        if not isfinite(tally.loss):  # on every worker of a cluster, whichever saw them
            raise not_finite("The network's probabilities", f"images of the split {split!r} of {data.path}")
        return Evaluation.of(tally, split, self.views, len(data.classes))

    def _computed(self, batches: Iterator[tuple[tf.Tensor, ...]]) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """Starts the computation of each batch, on each replica one of its own; yields probabilities and labels."""
        replicas = self._strategy.num_replicas_in_sync
        while group := list(islice(batches, replicas)):
            images = [batch[0] for batch in group]
            if replicas > 1 and [len(each) for each in images] == [self.images_at_a_time] * replicas:
                own = self._strategy.experimental_distribute_values_from_function(
                    lambda context: images[context.replica_id_in_sync_group]  # noqa: B023, called at once
                )
                outputs = self._strategy.experimental_local_results(self._on_replicas(own))
            else:  # the end of the split: sizes that the replicas would have to be compiled for
                outputs = [self._in_parts(each) for each in images]
            yield from zip(outputs, (batch[1] for batch in group), strict=True)
