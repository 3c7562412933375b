"""The activations of any layer for images, batch by batch, and the nearest training images by them, exactly."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from alexnet_keras.backend import require_tensorflow
from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.pipeline import IMAGE_SIZE, evaluation_batches
from alexnet_keras.evaluation.crops import centre
from alexnet_keras.evaluation.errors import check_finite
from alexnet_keras.network.model import node_of

BATCH_SIZE = 128


@dataclass(frozen=True)
class FeatureBatch:
    """Features of consecutive images of a split; the first axis of every array counts images."""

    features: np.ndarray  # (n, size) float32, of the centre crop
    labels: np.ndarray  # (n,) int64
    filenames: np.ndarray  # (n,) str
    images: np.ndarray  # (n, 256, 256, 3) uint8


class FeatureExtractor:
    """From 256x256 images to a layer's output on their centre crops, towers joined, one row per image.

    Args:
        model: Any model of this package's layers.
        layer: A layer's name; None for the last hidden layer, the classifier's input (paper, section 6.1).

    Raises:
        UsageError: There is no such layer; the sentence lists those there are.
    """

    def __init__(self, model: keras.Model, layer: str | None = None) -> None:
        require_tensorflow("Extracting features")
        self.layer = layer or last_hidden_layer(model)
        outputs = outputs_of(model, self.layer)
        self.size = sum(int(np.prod(output.shape[1:])) for output in outputs)
        read, crop = keras.Model(model.input, outputs), model.input_shape[1]

        def extract(images: tf.Tensor) -> tf.Tensor:
            (crops,) = centre(images, crop)
            read_out = tf.nest.flatten(read(crops))  # Keras gives a list of one output as that output alone
            towers = [tf.reshape(tf.cast(output, tf.float32), (tf.shape(images)[0], -1)) for output in read_out]
            return tf.concat(towers, axis=1)

        squares = tf.TensorSpec((None, IMAGE_SIZE, IMAGE_SIZE, 3), tf.uint8)
        self._extract = tf.function(extract, input_signature=[squares], autograph=False)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Compute features `(n, size)` float32 of images `(n, 256, 256, 3)` uint8.

        Raises:
            NotFiniteError: They are not finite.
        """
        return check_finite(self._extract(images).numpy(), f"The outputs of the layer {self.layer}")


def feature_batches(
    extract: Callable[[np.ndarray], np.ndarray],
    data: PreparedDataset,
    split: str,
    batch_size: int = BATCH_SIZE,
    skip: int = 0,
) -> Iterator[FeatureBatch]:
    """Iterate over the features of a split, in its stored order.

    Args:
        extract: From images `(n, 256, 256, 3)` uint8 to features `(n, size)` float32.
        skip: The number of images to leave out at the beginning, which are not read.

    Raises:
        DataError: A record is damaged.
    """
    for images, labels, filenames in evaluation_batches(data, split, batch_size, first=skip):
        names = np.array([name.decode("utf-8", "replace") for name in filenames.numpy()])
        yield FeatureBatch(extract(images), labels.numpy(), names, images.numpy())


def outputs_of(model: keras.Model, layer: str) -> list:
    """Return a layer's symbolic outputs, one per tower.

    Raises:
        UsageError: There is no such layer; the sentence lists those there are.
    """
    return list(node_of(model, layer).output_tensors)


def last_hidden_layer(model: keras.Model) -> str:
    """Return the name of the layer whose output is the classifier's input."""
    return node_of(model, "fc8").input_tensors[0]._keras_history.operation.name


@dataclass(frozen=True, eq=False)
class Nearest:
    """The images nearest to one query, nearest first; the first axis of every array counts them."""

    images: np.ndarray  # (n, 256, 256, 3) uint8
    labels: np.ndarray  # (n,) int64
    filenames: np.ndarray  # (n,) str
    distances: np.ndarray  # (n,) float64, Euclidean


def find_nearest(
    queries: np.ndarray,
    batches: Iterable[FeatureBatch],
    count: int,
    advance: Callable[[int], object] | None = None,
) -> list[Nearest]:
    """Find the `count` images nearest to each query by exact Euclidean distance (paper, section 6.1).

    The images are read once; only those nearest so far are held, so that memory does not grow with their number.
    Ties keep the order of the images.

    Args:
        queries: `(queries, size)`, the queries' features.
        batches: Every image's features; at least `count` images.
        count: The number of images to find for each query.
        advance: Gets the number of images of each batch.
    """
    queries = queries.astype(np.float64)
    squares = (queries**2).sum(axis=1)[:, None]
    nearest = np.full((len(queries), count), np.inf)  # squared distances
    positions = np.full((len(queries), count), -1)
    held: dict[int, tuple[np.ndarray, int, str]] = {}
    seen = 0
    for batch in batches:
        features = batch.features.astype(np.float64)
        # |q - x|^2 = |q|^2 + |x|^2 - 2 q.x, where rounding may leave less than 0
        distances = np.maximum(squares + (features**2).sum(axis=1) - 2 * queries @ features.T, 0)
        numbers = np.broadcast_to(np.arange(seen, seen + len(features)), distances.shape)
        candidates = np.concatenate([nearest, distances], axis=1)
        order = np.argsort(candidates, axis=1, kind="stable")[:, :count]
        nearest = np.take_along_axis(candidates, order, axis=1)
        positions = np.take_along_axis(np.concatenate([positions, numbers], axis=1), order, axis=1)
        needed = set(positions.ravel().tolist())
        held = {position: image for position, image in held.items() if position in needed}
        for position in needed.intersection(range(seen, seen + len(features))):
            row = position - seen
            held[position] = (batch.images[row].copy(), int(batch.labels[row]), str(batch.filenames[row]))
        seen += len(features)
        if advance:
            advance(len(features))
    result = []
    for row, distances in zip(positions.tolist(), np.sqrt(nearest), strict=True):
        images, labels, filenames = zip(*(held[position] for position in row), strict=True)
        result.append(Nearest(np.stack(images), np.array(labels), np.array(filenames), distances))
    return result
