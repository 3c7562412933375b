"""Subtraction of the training set's mean."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from alexnet_keras.backend import Shape, Tensor
from alexnet_keras.layers.compiled import compiled


@functools.cache
def _subtracting(scale: float) -> Callable:
    """A compiled function of images and a mean; networks of one process share it."""

    def scaled_difference(images: Tensor, mean: Tensor) -> Tensor:
        difference = ops.cast(images, "float32") - mean
        return difference if scale == 1 else difference * scale

    return compiled(scaled_difference)


@keras.saving.register_keras_serializable(package="alexnet_keras")
class MeanSubtraction(keras.layers.Layer):
    """Subtracts a fixed mean image from the input. The scale stays 0..255 unless `scale` says otherwise.

    The mean is saved with the model's weights but is not one of them: it is not counted, trained or decayed.

    Args:
        shape: `(height, width, 3)` for a mean image or `(1, 1, 3)` for a mean colour.
        mean: the mean, RGB, 0..255, broadcastable to `shape`; zeros until a model file brings it.
        scale: what the difference is multiplied with: 1 in both sources; the inverse of the pixels' standard
            deviation for an input of variance 1.

    Input shape: `(batch, height, width, 3)`, RGB, 0..255, uint8 or float. Output shape: the same, float32
    whatever the precision of the layers after it.

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
        self.mean = np.broadcast_to(np.asarray(0.0 if mean is None else mean, np.float32), self.shape).copy()

    def call(self, inputs: Tensor) -> Tensor:
        return self._subtract(inputs, ops.convert_to_tensor(self.mean))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def save_own_variables(self, store: Any) -> None:
        store["mean"] = self.mean

    def load_own_variables(self, store: Any) -> None:
        self.mean = np.asarray(store["mean"], np.float32).reshape(self.shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shape": self.shape, "scale": self.scale}
