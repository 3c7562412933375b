"""Random changes of colour along the principal components of the training set."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from alexnet_keras.backend import Shape, Tensor
from alexnet_keras.layers.compiled import compiled
from alexnet_keras.layers.randomness import for_examples


@functools.cache
def _adding(scale: float) -> Callable:
    """A compiled function of images and a colour for each; networks of one process share it."""
    return compiled(lambda images, colors: (images + colors[:, None, None, :]) * scale)


@keras.saving.register_keras_serializable(package="alexnet_keras")
class ColorNoise(keras.layers.Layer):
    """In training, adds one random colour to all the pixels of an image, a new one at every use.

    The colour is `sum_i p_i * alpha_i * magnitude_i` with `alpha_i ~ N(0, stddev)`, p_i the i-th principal
    component of the training set's RGB values. Outside training, and while `active` is False, it does nothing.

    Args:
        magnitudes: three numbers, 0..255 scale. The source: the standard deviations along the components.
            The paper: the eigenvalues, which are usable only for pixels scaled to 0..1.
        vectors: 3x3, the components in columns, rows R, G, B.
        stddev: standard deviation of alpha. Paper, section 4.1: 0.1.
        rescale: divide image and noise by 1 + stddev, as the released code does.
        seed: an integer for repeatable noise.

    Input and output shape: `(batch, height, width, 3)`, mean-subtracted RGB; float32.
    """

    def __init__(
        self,
        magnitudes: ArrayLike,
        vectors: ArrayLike,
        stddev: float = 0.1,
        rescale: bool = True,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.magnitudes: list[float] = np.asarray(magnitudes, np.float64).tolist()
        self.vectors: list[list[float]] = np.asarray(vectors, np.float64).tolist()
        if np.shape(self.magnitudes) != (3,) or np.shape(self.vectors) != (3, 3):
            raise ValueError(f"magnitudes must be 3 numbers and vectors 3x3. Received: {magnitudes=}, {vectors=}")
        self.stddev, self.rescale, self.seed = stddev, rescale, seed
        self.active = True
        self._add = _adding(1.0 / (1.0 + stddev) if rescale else 1.0)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Tensor, training: bool | None = False) -> Tensor:
        if not training or not self.active:
            return inputs
        # Column i of the projection is component i at its magnitude: (alphas in a row) @ projection.T is a colour.
        projection = np.asarray(self.vectors, np.float32) * np.asarray(self.magnitudes, np.float32)

        def draw(rows: int | Tensor) -> Tensor:
            return keras.random.normal((rows, 3), stddev=self.stddev, dtype="float32", seed=self.seed_generator)

        alphas = for_examples(draw, ops.shape(inputs)[0])
        colors = ops.matmul(alphas, ops.convert_to_tensor(projection.T))
        return self._add(inputs, colors)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            # plain lists: those that Keras makes of attributes cannot be copied deep
            "magnitudes": list(self.magnitudes),
            "vectors": [list(row) for row in self.vectors],
            "stddev": self.stddev,
            "rescale": self.rescale,
            "seed": self.seed,
        }
