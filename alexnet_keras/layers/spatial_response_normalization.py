"""Normalisation of each kernel map by its own neighbourhood."""

from typing import Any

import keras

from alexnet_keras.backend import Shape, Tensor
from alexnet_keras.layers.divisive_normalization import divisive_normalization


@keras.saving.register_keras_serializable(package="alexnet_keras")
class SpatialResponseNormalization(keras.layers.Layer):
    """Divides each activity by a function of the size x size neighbourhood in its own map.

    `b = a / (k + scale / size^2 * S)^beta`, where S is the sum of the squares in the neighbourhood, zeros outside
    the map. Net 145 applies it after conv2's local response normalisation; the paper does not mention it.

    Args:
        size: side of the neighbourhood in pixels, odd. Net 145: 5.
        scale: net 145: 0.001, divided by size^2 as cuda-convnet's rnorm does.
        beta: net 145: 0.75.
        k: cuda-convnet: 1.

    Input and output shape: `(batch, height, width, maps)`, any float dtype. Computed in float32 inside.
    """

    def __init__(self, size: int = 5, scale: float = 0.001, beta: float = 0.75, k: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if size < 1 or size % 2 == 0:
            raise ValueError(f"size must be a positive odd number of pixels. Received: size={size}")
        self.size, self.scale, self.beta, self.k = size, scale, beta, k

    def call(self, inputs: Tensor) -> Tensor:
        windows, scale = ((1, self.size), (2, self.size)), self.scale / self.size**2
        return divisive_normalization(windows, scale, self.k, self.beta)(inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "size": self.size,
            "scale": self.scale,
            "beta": self.beta,
            "k": self.k,
        }
