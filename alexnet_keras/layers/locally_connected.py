"""A convolution whose kernels are not shared between positions."""

from typing import Any

import keras
import numpy as np
from keras import ops

from alexnet_keras.backend import Shape, Tensor
from alexnet_keras.errors import whole_number


@keras.saving.register_keras_serializable(package="alexnet_keras")
class LocallyConnected2D(keras.layers.Layer):
    """A convolution with kernels and biases of its own at every position.

    Keras 3 has no such layer any more. AlexNet has none either: the four-layer CIFAR-10 network of section 3.3 has two.

    Args:
        filters: Number of maps of the output.
        kernel_size: Side of the neighbourhood, odd; zeros stand in outside the map.
        kernel_initializer: A Keras initializer.
        bias_initializer: A Keras initializer.

    Input shape: `(batch, height, width, channels)`, height and width known.
    Output shape: `(batch, height, width, filters)`.

    Raises:
        ValueError: `filters` or `kernel_size` is no positive whole number, `kernel_size` is even, or a size is unknown.

    Reference: cuda-convnet, layer type `local`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        kernel_initializer: str | dict | keras.Initializer = "glorot_uniform",
        bias_initializer: str | dict | keras.Initializer = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        filters, kernel_size = whole_number("filters", filters), whole_number("kernel_size", kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd. Received: kernel_size={kernel_size}")
        self.filters, self.kernel_size = filters, kernel_size
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape: Shape) -> None:
        _, height, width, channels = input_shape
        if height is None or width is None:
            raise ValueError(f"height and width must be known. Received: input_shape={tuple(input_shape)}")
        self.kernel = self.add_weight(
            (height * width, self.kernel_size**2 * channels, self.filters), self.kernel_initializer, name="kernel"
        )
        self.bias = self.add_weight((height, width, self.filters), self.bias_initializer, name="bias")

    def call(self, inputs: Tensor) -> Tensor:
        _, height, width, channels = inputs.shape
        margin, area = self.kernel_size // 2, self.kernel_size**2
        # Positions come first: each is then one block of memory, and its neighbours' gradients are added in blocks.
        maps = ops.pad(ops.transpose(inputs, (1, 2, 0, 3)), [(margin, margin), (margin, margin), (0, 0), (0, 0)])
        places = ops.reshape(maps, ((height + 2 * margin) * (width + 2 * margin), -1, channels))
        patches = ops.take(places, _neighbours(height, width, self.kernel_size), axis=0)
        patches = ops.transpose(ops.reshape(patches, (height * width, area, -1, channels)), (0, 2, 1, 3))
        maps = ops.matmul(ops.reshape(patches, (height * width, -1, area * channels)), self.kernel)
        return ops.reshape(ops.transpose(maps, (1, 0, 2)), (-1, height, width, self.filters)) + self.bias

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }


def _neighbours(height: int, width: int, size: int) -> np.ndarray:
    """Return each position's `size**2` indices of its neighbourhood in the flattened map with its margin."""
    places = np.arange((height + size - 1) * (width + size - 1), dtype=np.int32)
    windows = np.lib.stride_tricks.sliding_window_view(places.reshape(height + size - 1, -1), (size, size))
    return windows.reshape(-1)
