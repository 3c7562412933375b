"""Convolution in two towers: the paper's grouped convolution."""

from typing import Any

import keras
from keras import ops

from alexnet_keras.backend import CHANNELS_LAST, Shape, Tensor
from alexnet_keras.layers.tower_weights import TowerLayer, is_one_shape

FEW_CHANNELS = 16  # in bfloat16 processors multiply 32 at a time


def in_blocks(images: Tensor, kernel: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Images and kernels for a convolution of stride 1 that computes what one of stride `size` does with the originals.

    Every block of size x size pixels becomes one pixel with size^2 as many channels. Kernels are filled up with
    zeros to whole blocks, images to as many as the last kernel reaches; what they had left over is cut off.

    Args:
        images: `(batch, height, width, channels)`.
        kernel: `(side, side, channels, filters)`.
        size: the stride.
    """
    side, _, channels, filters = kernel.shape
    across = -(-side // size)
    kernel = ops.pad(kernel, [(0, across * size - side)] * 2 + [(0, 0)] * 2)
    kernel = ops.reshape(kernel, (across, size, across, size, channels, filters))
    kernel = ops.reshape(ops.transpose(kernel, (0, 2, 1, 3, 4, 5)), (across, across, size * size * channels, filters))
    blocks = [(length - side) // size + across for length in images.shape[1:3]]
    images = images[:, : blocks[0] * size, : blocks[1] * size]
    missing = [count * size - length for count, length in zip(blocks, images.shape[1:3], strict=True)]
    images = ops.pad(images, [(0, 0), *((0, count) for count in missing), (0, 0)])
    images = ops.reshape(images, (-1, blocks[0], size, blocks[1], size, channels))
    images = ops.transpose(images, (0, 1, 3, 2, 4, 5))
    return ops.reshape(images, (-1, *blocks, size * size * channels)), kernel


@keras.saving.register_keras_serializable(package="alexnet_keras")
class TowerConv2D(TowerLayer):
    """A convolution in every tower, reading its own tower's maps or those of all towers.

    With `reads="own"` this is grouped convolution, one group a tower; it is computed as one ordinary convolution
    a tower, which on processors is several times faster than a framework's grouped one.

    Args:
        filters: kernels per tower.
        kernel_size: side of a kernel, pixels.
        strides: pixels.
        padding: `(before, after)`: zeros added above and left, below and right. Net 145's conv1 is `(0, 3)`:
            cuda-convnet lets the last window reach past the image, (224 + 3 - 11) / 4 + 1 = 55.
        **kwargs: `towers`, `reads`, `kernel_initializer` and `bias_initializer` of `TowerLayer`.

    Input shape: a list with one `(batch, height, width, maps)` a tower, or one such tensor that all read.
    Output shape: a list with one `(batch, new_height, new_width, filters)` a tower.

    Reference: paper, section 3.2 and figure 2; net 145, layers conv1 to conv5.
    """

    def __init__(
        self, filters: int, kernel_size: int, strides: int = 1, padding: tuple[int, int] = (0, 0), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides
        self.padding = tuple(padding)

    def build(self, input_shape: Shape) -> None:
        side = self.kernel_size
        self.add_tower_weights((side, side, self.input_channels(input_shape), self.filters))

    def call(self, inputs: Tensor | list[Tensor]) -> list[Tensor]:
        return self.call_towers(inputs, self._convolve)

    def _convolve(self, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        before, after = self.padding
        if before == after == (self.kernel_size - 1) / 2 and self.strides == 1:
            return ops.conv(x, kernel, strides=1, padding="same", data_format=CHANNELS_LAST) + bias
        if before or after:
            x = ops.pad(x, [(0, 0), (before, after), (before, after), (0, 0)])
        strides = self.strides
        few = x.shape[-1] < FEW_CHANNELS and keras.backend.standardize_dtype(x.dtype) == "bfloat16"
        if few and strides > 1 and None not in x.shape[1:3]:
            x, kernel = in_blocks(x, kernel, strides)
            strides = 1
        return ops.conv(x, kernel, strides=strides, padding="valid", data_format=CHANNELS_LAST) + bias

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, _ = input_shape if is_one_shape(input_shape) else input_shape[0]

        def side(length: int | None) -> int | None:
            return None if length is None else (length + sum(self.padding) - self.kernel_size) // self.strides + 1

        return [(batch, side(height), side(width), self.filters)] * self.towers

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
        }
