"""What any layer makes of pictures, batch by batch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from alexnet_keras.backend import require_tensorflow
from alexnet_keras.data.pipeline import evaluation_batches
from alexnet_keras.data.prepared import PreparedDataset
from alexnet_keras.evaluation.errors import check_finite
from alexnet_keras.evaluation.views import centre
from alexnet_keras.model import node_of

BATCH_SIZE = 128


@dataclass(frozen=True)
class FeatureBatch:
    """Features of consecutive pictures of a split; the first axis of every array counts pictures."""

    features: np.ndarray  # (n, size) float32, of the centre crop
    labels: np.ndarray  # (n,) int64
    filenames: np.ndarray  # (n,) str
    images: np.ndarray  # (n, 256, 256, 3) uint8


class FeatureExtractor:
    """From 256x256 pictures to a layer's output on their centre crops, towers joined, one row a picture.

    Args:
        model: any model of this package's layers.
        layer: a layer's name; None for the last hidden layer, what the classifier reads (paper, section 6.1).

    Raises:
        UsageError: there is no such layer; the sentence lists those there are.
    """

    def __init__(self, model: keras.Model, layer: str | None = None) -> None:
        require_tensorflow("Extracting features")
        self.layer = layer or last_hidden_layer(model)
        outputs = outputs_of(model, self.layer)
        self.size = sum(int(np.prod(output.shape[1:])) for output in outputs)
        read, crop = keras.Model(model.input, outputs), model.input_shape[1]

        def extract(images: tf.Tensor) -> tf.Tensor:
            read_out = tf.nest.flatten(read(images))  # Keras gives a list of one output as that output alone
            towers = [tf.reshape(tf.cast(output, tf.float32), (tf.shape(images)[0], -1)) for output in read_out]
            return tf.concat(towers, axis=1)

        squares = tf.TensorSpec((None, 256, 256, 3), tf.uint8)
        self._extract = tf.function(
            lambda images: extract(centre(images, crop)[0]), input_signature=[squares], autograph=False
        )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Pictures `(n, 256, 256, 3)` uint8 to features `(n, size)` float32.

        Raises:
            NotFiniteError: they are not finite.
        """
        return check_finite(self._extract(images).numpy(), f"The outputs of the layer {self.layer}")


def feature_batches(
    extract: Callable[[np.ndarray], np.ndarray], data: PreparedDataset, split: str, batch_size: int = BATCH_SIZE
) -> Iterator[FeatureBatch]:
    """The features of a split, in its stored order.

    Raises:
        DataError: a record is damaged.
    """
    for images, labels, filenames in evaluation_batches(data, split, batch_size):
        names = np.array([name.decode("utf-8", "replace") for name in filenames.numpy()])
        yield FeatureBatch(extract(images), labels.numpy(), names, images.numpy())


def outputs_of(model: keras.Model, layer: str) -> list:
    """A layer's symbolic outputs, one a tower.

    Raises:
        UsageError: there is no such layer; the sentence lists those there are.
    """
    return list(node_of(model, layer).output_tensors)


def last_hidden_layer(model: keras.Model) -> str:
    """The name of the layer whose output the classifier reads."""
    return node_of(model, "fc8").input_tensors[0]._keras_history.operation.name
