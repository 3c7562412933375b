"""Short binary codes of features: an autoencoder, as the last paragraph of the paper's section 6.1 proposes.

The code layer's logistic units are rounded to 0 or 1 on the way forward, and the rounding is ignored on the way back:
A. Krizhevsky, G. E. Hinton, "Using Very Deep Autoencoders for Content-Based Image Retrieval", ESANN 2011, which the
paper cites there for what autoencoders do with raw pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from alexnet_keras.errors import DAMAGED, DataError
from alexnet_keras.network.loading import finite

HIDDEN = 512  # units between features and code, and between code and features
BATCH_SIZE = 128
ENCODED_AT_A_TIME = 1024
RATE = 1e-3
SAMPLE_BYTES = 256 * 2**20  # of features to train on: 16,384 rows of 4096; of more, a sample


@dataclass(frozen=True)
class CodeOptions:
    """The options of the autoencoder that learns codes; `bits` is a multiple of 8."""

    bits: int = 128
    epochs: int = 20
    seed: int = 0


class Encoder:
    """From features to binary codes, compiled once.

    Args:
        model: From raw features `(batch, size)` to `(batch, bits)`, where above zero is a one.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model, self.bits = model, model.output_shape[-1]
        rows = tf.TensorSpec((None, model.input_shape[-1]), tf.float32)
        self._logits = tf.function(lambda features: model(features, training=False), input_signature=[rows])

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Compute codes uint8 `(n, bits / 8)`, packed as for FAISS, of features float32 `(n, size)`."""
        codes = np.empty((len(features), self.bits // 8), np.uint8)
        for start in range(0, len(features), ENCODED_AT_A_TIME):
            rows = slice(start, start + ENCODED_AT_A_TIME)
            codes[rows] = np.packbits(self._logits(np.asarray(features[rows])).numpy() > 0, axis=1)
        return codes

    @classmethod
    def load(cls, path: Path) -> "Encoder":
        """Load an encoder from its saved model.

        Raises:
            DataError: The file is damaged.
        """
        try:
            return cls(finite(keras.saving.load_model(path, compile=False), str(path)))
        except DAMAGED as error:
            raise DataError(f"{path} is damaged and cannot be loaded: {str(error).splitlines()[0]}") from error


def train_encoder(
    features: np.ndarray, options: CodeOptions, on_epoch: Callable[[float], object] | None = None
) -> tuple[Encoder, float]:
    """Train an autoencoder, 4096-512-bits-512-4096 on the last hidden layer of AlexNet.

    Args:
        features: float32 `(n, size)`.
        options: Bits of a code, epochs and seed.
        on_epoch: Called after each epoch with its mean loss.

    Returns:
        Its first half, and the loss of the last epoch: the share of the features' variance that the codes lose.

    Raises:
        DataError: All rows are the same, so that no code distinguishes them.
    """
    mean, variance = _moments(features)
    random = np.random.default_rng(options.seed)
    encoder, autoencoder = _networks(features.shape[1], options.bits, mean, variance, random)
    # XLA would compile for longer than this trains.
    autoencoder.compile(keras.optimizers.Adam(RATE), loss="mean_squared_error", jit_compile=False)
    loss = float("nan")
    for _ in range(options.epochs):
        order, losses = random.permutation(len(features)), []
        for start in range(0, max(1, len(order) - BATCH_SIZE + 1), BATCH_SIZE):  # whole batches, or the only one
            rows = features[order[start : start + BATCH_SIZE]]
            autoencoder.reset_metrics()
            losses.append(autoencoder.train_on_batch(rows, (rows - mean) / np.sqrt(variance)))
        loss = float(np.mean(losses))
        if on_epoch:
            on_epoch(loss)
    return Encoder(encoder), loss


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """Compute the mean of every dimension, float32 `(size,)`, and one variance for all of them.

    A variance for each would give every dimension the same weight, and change which images are near.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    parts = (features[start : start + 1024] for start in range(0, len(features), 1024))
    squares = sum(float(np.sum((part - mean) ** 2)) for part in parts)
    if not squares:
        raise DataError("The features of all images are the same: choose another layer to search by.")
    return mean.astype(np.float32), np.float32(squares / features.size)


def _networks(
    size: int, bits: int, mean: np.ndarray, variance: np.float32, random: np.random.Generator
) -> tuple[keras.Model, keras.Model]:
    """Build the encoder, and the autoencoder around it, which restores the normalised features."""

    def dense(units: int, activation: str | None = None) -> keras.layers.Layer:
        glorot = keras.initializers.GlorotUniform(int(random.integers(2**31)))
        return keras.layers.Dense(units, activation=activation, kernel_initializer=glorot, dtype="float32")

    features = keras.Input((size,), name="features", dtype="float32")
    normalised = keras.layers.Normalization(mean=mean.tolist(), variance=[float(variance)] * size, dtype="float32")(
        features
    )
    logits = dense(bits)(dense(min(HIDDEN, size), "relu")(normalised))
    chances = keras.ops.sigmoid(logits)
    code = chances + keras.ops.stop_gradient(keras.ops.cast(chances > 0.5, chances.dtype) - chances)
    restored = dense(size)(dense(min(HIDDEN, size), "relu")(2 * code - 1))
    return keras.Model(features, logits, name="encoder"), keras.Model(features, restored, name="autoencoder")
