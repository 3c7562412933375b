"""The crops on which a network is tested."""

import tensorflow as tf


def centre(images: tf.Tensor, size: int) -> list[tf.Tensor]:
    """The centre crop alone: `[(batch, size, size, 3)]`."""
    top, left = (images.shape[1] - size) // 2, (images.shape[2] - size) // 2
    return [images[:, top : top + size, left : left + size]]


def ten_crop(images: tf.Tensor, size: int) -> list[tf.Tensor]:
    """Four corners and the centre, then the mirror images of the five, in the released code's order.

    As (y, x) for 224 of 256: (0, 0), (0, 32), (16, 16), (32, 0), (32, 32). Paper, section 4.1.
    """
    crops = [images[:, y : y + size, x : x + size] for y, x in corners(images.shape[1], size)]
    return crops + [tf.reverse(crop, [2]) for crop in crops]


def corners(picture: int, size: int) -> list[tuple[int, int]]:
    """(y, x) of the four corners and the centre, of crops and a picture with these sides."""
    last = picture - size
    return [(0, 0), (0, last), (last // 2, last // 2), (last, 0), (last, last)]


VIEWS = {"centre": centre, "ten-crop": ten_crop}
