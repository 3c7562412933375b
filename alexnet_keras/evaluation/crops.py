"""The crops that a network is tested on: the centre, or ten (paper, section 4.1), whose first convolution is shared.

Ten crops share their first convolution, which is computed once per image instead of once per crop. The corners of the
ten crops lie 0, 16 and 32 pixels from the image's, and the first convolution's stride is 4: a kernel that lies inside a
crop gives the same output as on the whole image. Only the last row and column of a crop's maps, where net 145 lets the
kernels reach past the crop into zeros, are computed for each offset, with kernels cut off at the crop's edge. That
saves about two thirds of the first convolution, the second most expensive layer.

A crop has the mean image subtracted at its own place. So the mean colour is subtracted from the image, and from each
crop's maps the convolution of the difference between mean image and mean colour. That is the same sum in another order:
results agree to rounding."""

import keras
import numpy as np
import tensorflow as tf

from alexnet_keras.layers import ColorNoise, MeanSubtraction, TowerConv2D


def centre(images: tf.Tensor, size: int) -> list[tf.Tensor]:
    """Take the centre crop alone: `[(batch, size, size, 3)]`."""
    top, left = (images.shape[1] - size) // 2, (images.shape[2] - size) // 2
    return [images[:, top : top + size, left : left + size]]


def ten_crop(images: tf.Tensor, size: int) -> list[tf.Tensor]:
    """Take four corners and the centre, then the mirror images of the five, in the released code's order.

    As (y, x) for 224 of 256: (0, 0), (0, 32), (16, 16), (32, 0), (32, 32). Paper, section 4.1.
    """
    crops = [images[:, y : y + size, x : x + size] for y, x in corners(images.shape[1], size)]
    return crops + [tf.reverse(crop, [2]) for crop in crops]


def corners(image: int, size: int) -> list[tuple[int, int]]:
    """Return (y, x) of the crops with side `size` at the four corners and the centre of an image with side `image`."""
    last = image - size
    return [(0, 0), (0, last), (last // 2, last // 2), (last, 0), (last, last)]


VIEWS = {"centre": centre, "ten-crop": ten_crop}


class SharedFirstConvolution:
    """From whole images to the probabilities of their crops, with the first convolution computed once per image.

    Args:
        model: A model that `applies` accepts.
        corners: (y, x) of the crops; each is taken of the image and of its mirror image.
        image: The side of an image, pixels.
    """

    def __init__(self, model: keras.Model, corners: list[tuple[int, int]], image: int) -> None:
        conv = _first_convolution(model)
        assert conv is not None, "SharedFirstConvolution does not apply to this model"
        self.conv = conv
        self.corners, self.size = corners, model.input_shape[1]
        before = next(layer for layer in model.layers if isinstance(layer, MeanSubtraction))
        self.mean, self.scale = before.mean, before.scale  # the first a variable, so that it may change
        self.rest = keras.Model(self.conv.output, model.output)
        stride, kernel = self.conv.strides, self.conv.kernel_size
        self.outputs = (self.size + self.conv.padding[1] - kernel) // stride + 1
        self.inside = (self.size - kernel) // stride + 1  # outputs whose kernels lie inside the crop
        self.whole = (image - kernel) // stride + 1  # outputs of the whole image
        self.index = self._index()

    @staticmethod
    def applies(model: keras.Model, corners: list[tuple[int, int]]) -> bool:
        """Check that a model begins as AlexNet does, on one device, and that its stride divides every offset."""
        conv = _first_convolution(model)
        if conv is None or conv.padding[0] or conv.on_devices:
            return False
        beyond = (model.input_shape[1] + conv.padding[1] - conv.kernel_size) // conv.strides + 1
        beyond -= (model.input_shape[1] - conv.kernel_size) // conv.strides + 1
        return beyond <= 1 and all(offset % conv.strides == 0 for corner in corners for offset in corner)

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Compute probabilities `(batch, 2 * corners, classes)` float32 of images uint8 `(batch, height, width, 3)`."""
        mean = tf.broadcast_to(self.mean.value, (self.size, self.size, 3))
        color = tf.round(tf.reduce_mean(mean, axis=(0, 1)))  # whole numbers to 255 are exact in bfloat16
        dtype = self.conv.compute_dtype
        upright = tf.cast(tf.cast(images, tf.float32) - color, dtype)
        both = tf.concat([upright, tf.reverse(upright, [2])], axis=0)
        difference = tf.cast((mean - color)[None], dtype)
        maps = [
            # the scale goes into the kernels: whole numbers stay whole numbers
            self._of_crops(both, difference, tf.cast(kernel * self.scale, dtype), tf.cast(bias, dtype))
            for kernel, bias in zip(self.conv.kernels, self.conv.biases, strict=True)
        ]
        outputs = tf.cast(self.rest(maps if len(maps) > 1 else maps[0], training=False), tf.float32)
        each = tf.reshape(outputs, (2, -1, len(self.corners), outputs.shape[-1]))  # upright images, then mirrored ones
        return tf.concat(tf.unstack(each), axis=1)

    def _of_crops(self, images: tf.Tensor, difference: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        """Compute one tower's maps `(images * corners, outputs, outputs, filters)` of every crop of every image."""
        stride, last = self.conv.strides, self.inside * self.conv.strides

        def convolve(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
            return tf.nn.conv2d(x, kernel, stride, "VALID")

        def positions(maps: tf.Tensor) -> tf.Tensor:
            return tf.reshape(maps, (tf.shape(maps)[0], -1, kernel.shape[-1]))

        def of_each(strips: list[tf.Tensor], kernel: tf.Tensor) -> tf.Tensor:
            """Convolve several strips of the same shape, and join their positions image by image."""
            # in float32: oneDNN's bfloat16 convolution is wrong where the output is one column wide (TensorFlow 2.21)
            maps = convolve(tf.cast(tf.concat(strips, axis=0), tf.float32), tf.cast(kernel, tf.float32))
            return tf.concat(tf.split(positions(tf.cast(maps, images.dtype)), len(strips), axis=0), axis=1)

        parts = [positions(convolve(images, kernel))]
        if self.outputs > self.inside:
            cut = self.size - last  # rows of the last kernel that are left inside the crop
            columns = [images[:, :, x + last : x + self.size] for x in self._offsets(1)]
            rows = [images[:, y + last : y + self.size] for y in self._offsets(0)]
            ends = [images[:, y + last : y + self.size, x + last : x + self.size] for y, x in self.corners]
            parts += [of_each(columns, kernel[:, :cut]), of_each(rows, kernel[:cut]), of_each(ends, kernel[:cut, :cut])]
        maps = tf.gather(tf.concat(parts, axis=1), self.index, axis=1)
        after = self.conv.padding[1]
        mean = convolve(tf.pad(difference, [(0, 0), (0, after), (0, after), (0, 0)]), kernel)
        return tf.reshape(maps, (-1, self.outputs, self.outputs, kernel.shape[-1])) + (bias - mean)

    def _offsets(self, axis: int) -> list[int]:
        return sorted({corner[axis] for corner in self.corners})

    def _index(self) -> np.ndarray:
        """Index each output of each crop among an image's positions, int32 `(corners * outputs^2,)`.

        The positions are those of the whole image, then the last column for each x, of all rows, the last row for
        each y, of all columns, and the last corner of each crop.
        """
        stride, whole, inside = self.conv.strides, self.whole, self.inside
        of_column = whole * whole
        of_row = of_column + len(self._offsets(1)) * whole
        of_end = of_row + len(self._offsets(0)) * whole
        tables = []
        for number, (y, x) in enumerate(self.corners):
            top, left = y // stride, x // stride
            table = np.full((self.outputs, self.outputs), of_end + number)
            table[:inside, :inside] = (top + np.arange(inside))[:, None] * whole + left + np.arange(inside)
            table[:inside, inside:] = of_column + self._offsets(1).index(x) * whole + top + np.arange(inside)[:, None]
            table[inside:, :inside] = of_row + self._offsets(0).index(y) * whole + left + np.arange(inside)
            tables.append(table.ravel())
        return np.concatenate(tables).astype(np.int32)


def _first_convolution(model: keras.Model) -> TowerConv2D | None:
    """Return the convolution of the image with nothing but the mean subtracted; None if another layer is before it."""
    for layer in model.layers[1:]:
        if isinstance(layer, TowerConv2D):
            return layer
        if not isinstance(layer, MeanSubtraction | ColorNoise):
            return None
    return None
