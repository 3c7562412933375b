"""A convolution whose kernels are not shared between positions."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="alexnet_keras")
class LocallyConnected2D(keras.layers.Layer):
    """Looks at the neighbourhood of every position through kernels and biases of that position's own.

    Keras 3 has no such layer any more. AlexNet has none either: the four-layer CIFAR-10 network of section 3.3 has two.

    Args:
        filters: maps of the output.
        kernel_size: side of the neighbourhood, odd; zeros stand in outside the map.
        kernel_initializer: of the kernels.
        bias_initializer: of the biases.

    Input shape: `(batch, height, width, channels)`, height and width known.
    Output shape: `(batch, height, width, filters)`.

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
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd. Received: kernel_size={kernel_size}")
        self.filters, self.kernel_size = filters, kernel_size
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape):
        _, height, width, channels = input_shape
        self.kernel = self.add_weight(
            (height * width, self.kernel_size**2 * channels, self.filters), self.kernel_initializer, name="kernel"
        )
        self.bias = self.add_weight((height, width, self.filters), self.bias_initializer, name="bias")

    def call(self, inputs):
        _, height, width, channels = inputs.shape
        size, margin = self.kernel_size, self.kernel_size // 2
        padded = ops.pad(inputs, [(0, 0), (margin, margin), (margin, margin), (0, 0)])
        shifted = [padded[:, y : y + height, x : x + width] for y in range(size) for x in range(size)]
        patches = ops.reshape(ops.stack(shifted, axis=3), (-1, height * width, size**2 * channels))
        found = ops.matmul(ops.transpose(patches, (1, 0, 2)), self.kernel)  # (positions, batch, filters)
        return ops.reshape(ops.transpose(found, (1, 0, 2)), (-1, height, width, self.filters)) + self.bias

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }
