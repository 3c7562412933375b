"""The layers before the first convolution: mean subtraction and, in training, colour noise."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from alexnet_keras.backend import Shape, Tensor, compiled, for_examples


@functools.cache
def _subtracting(scale: float) -> Callable:
    """Return a compiled function of images and a mean, which the networks of a process share."""

    def scaled_difference(images: Tensor, mean: Tensor) -> Tensor:
        difference = ops.cast(images, "float32") - mean
        return difference if scale == 1 else difference * scale

    return compiled(scaled_difference)


@keras.saving.register_keras_serializable(package="alexnet_keras")
class MeanSubtraction(keras.layers.Layer):
    """Subtraction of a fixed mean image from the input, and multiplication of the difference by `scale`.

    The mean is a weight that is not trained, so that it goes wherever Keras takes a model's weights. A copy made from
    the config alone has the mean's colour.

    Args:
        shape: `(height, width, 3)` for a mean image or `(1, 1, 3)` for a mean colour.
        mean: The mean, RGB, 0..255, broadcastable to `shape`; zeros until a model file brings it.
        scale: 1 in both sources, which keep the scale 0..255; the inverse of the pixels' standard deviation for an
            input of variance 1.

    Input shape: `(batch, height, width, 3)`, RGB, 0..255, uint8 or float. Output shape: the same, float32
    whatever the precision of the layers after it.

    Raises:
        ValueError: `scale` is not positive, or `mean` cannot be broadcast to `shape`.

    Reference: paper, section 2; net 145 subtracts the centre 224x224 of a 256x256 mean image whatever the crop.
    """

    def __init__(
        self, shape: tuple[int, int, int], mean: ArrayLike | None = None, scale: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        if not scale > 0:
            raise ValueError(f"scale must be positive. Received: scale={scale}")
        self.shape, self.scale = tuple(shape), float(scale)
        self._subtract = _subtracting(self.scale)
        self._first_mean = np.broadcast_to(np.asarray(0.0 if mean is None else mean, np.float32), self.shape)

    def build(self, input_shape: Shape) -> None:
        first = self._first_mean
        self.mean = self.add_weight(
            self.shape, lambda shape, dtype: ops.convert_to_tensor(first, dtype), trainable=False, name="mean"
        )

    def call(self, inputs: Tensor) -> Tensor:
        return self._subtract(inputs, ops.copy(self.mean))  # a tensor: convert_to_tensor leaves it a variable

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    @property
    def mean_image(self) -> np.ndarray:
        """The mean as it is now, `shape`, RGB, 0..255, float32."""
        return np.array(ops.convert_to_numpy(self.mean) if self.built else self._first_mean)

    def save_own_variables(self, store: Any) -> None:
        store["mean"] = self.mean_image

    def load_own_variables(self, store: Any) -> None:
        # of a file that has the colour alone, every pixel gets it
        self.mean.assign(np.broadcast_to(np.asarray(store["mean"], np.float32), self.shape))

    def get_config(self) -> dict[str, Any]:
        color = self.mean_image.mean(axis=(0, 1), dtype=np.float64)
        return {**super().get_config(), "shape": self.shape, "mean": color.tolist(), "scale": self.scale}


@functools.cache
def _adding(scale: float) -> Callable:
    """Return a compiled function of images and a colour for each, which the networks of a process share."""
    return compiled(lambda images, colors: (images + colors[:, None, None, :]) * scale)


@keras.saving.register_keras_serializable(package="alexnet_keras")
class ColorNoise(keras.layers.Layer):
    """Colour noise: in training, one random colour added to all the pixels of an image, a new one at every use.

    The colour is `sum_i p_i * alpha_i * magnitude_i` with `alpha_i ~ N(0, stddev)`, p_i the i-th principal
    component of the training set's RGB values. Outside training, and while `active` is False, it does nothing.

    Args:
        magnitudes: Three numbers, 0..255 scale. The source: the standard deviations along the components.
            The paper: the eigenvalues, which are usable only for pixels scaled to 0..1.
        vectors: 3x3, the components in columns, rows R, G, B.
        stddev: Standard deviation of alpha. Paper, section 4.1: 0.1.
        rescale: True to divide image and noise by 1 + stddev, as the released code does.
        seed: An integer for repeatable noise.

    Input and output shape: `(batch, height, width, 3)`, mean-subtracted RGB; float32.

    Raises:
        ValueError: `magnitudes` or `vectors` have another shape, or `stddev` is negative.

    Reference: paper, section 4.1.
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
        if not stddev >= 0:
            raise ValueError(f"stddev must not be negative. Received: stddev={stddev}")
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
