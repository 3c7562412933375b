"""From encoded bytes to a 256x256 RGB picture, as the paper prepares its images (section 2).

"We first rescaled the image such that the shorter side was of length 256, and then cropped out the central
256x256 patch." The centred square is cropped before it is rescaled, which gives the same pixels and touches
fewer. Shrinking averages over areas, enlarging interpolates with a cubic.

JPEG (in colour, grey-scale or CMYK) and PNG go through TensorFlow's decoders, other formats through Pillow.
EXIF orientation is ignored, as in 2012, and transparency is dropped.
"""

import functools
import io
from collections.abc import Callable

import numpy as np

IMAGE_SIZE = 256  # paper, section 2
MAX_PIXELS = 100_000_000  # a picture this large takes 300 MB decoded; more is refused unread
JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")  # none that runs another program


class UnreadableImage(Exception):
    """The bytes are no picture that can be used; the message is the reason."""


def fit_to_square(encoded: bytes, size: int = IMAGE_SIZE) -> np.ndarray:
    """Decode a picture, bring its shorter side to `size` and crop the centre.

    Args:
        encoded: A file's bytes: JPEG, PNG, GIF, BMP, WebP, TIFF or PPM, whatever the file's name says.
        size: The side of the result, pixels.

    Returns:
        (size, size, 3) uint8, RGB.

    Raises:
        UnreadableImage: Not a picture, cut short, damaged, or larger than `MAX_PIXELS`.
    """
    import tensorflow as tf

    if encoded.startswith((JPEG_START, PNG_START)):
        try:
            return square_from_jpeg_or_png(size)(encoded).numpy()
        except tf.errors.InvalidArgumentError:
            pass  # too large or damaged: Pillow says which, or can read it after all
    pixels = _decode_with_pillow(encoded)
    return _square_from_pixels(size)(pixels).numpy()


@functools.cache
def square_from_jpeg_or_png(size: int = IMAGE_SIZE) -> Callable:
    """A TensorFlow function from JPEG or PNG bytes to (size, size, 3) uint8, alone or inside `tf.data`.

    It raises InvalidArgumentError for anything but a whole JPEG or PNG of at most `MAX_PIXELS`.
    """
    import tensorflow as tf

    def fits(height, width):
        pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
        return tf.debugging.assert_less_equal(pixels, tf.constant(MAX_PIXELS, tf.int64))

    def jpeg(encoded):
        shape = tf.io.extract_jpeg_shape(encoded)
        with tf.control_dependencies([fits(shape[0], shape[1])]):
            return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")

    def png(encoded):
        is_png = tf.debugging.assert_equal(tf.strings.substr(encoded, 0, 8), PNG_START)
        with tf.control_dependencies([is_png]):  # other formats would be decoded without a look at their size
            shape = tf.io.decode_raw(tf.strings.substr(encoded, 16, 8), tf.int32, little_endian=False)
        with tf.control_dependencies([tf.debugging.assert_positive(shape), fits(shape[1], shape[0])]):
            return tf.io.decode_png(encoded, channels=3)

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def decode(encoded):
        is_jpeg = tf.equal(tf.strings.substr(encoded, 0, 2), JPEG_START)
        return _crop_and_resize(tf.cond(is_jpeg, lambda: jpeg(encoded), lambda: png(encoded)), size)

    return decode


@functools.cache
def _square_from_pixels(size: int) -> Callable:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)], autograph=False)
    def fit(pixels):
        return _crop_and_resize(pixels, size)

    return fit


def _crop_and_resize(pixels, size: int):
    """(height, width, 3) uint8 tensor to (size, size, 3) uint8."""
    import tensorflow as tf

    shape = tf.shape(pixels)
    side = tf.minimum(shape[0], shape[1])
    square = tf.slice(pixels, [(shape[0] - side) // 2, (shape[1] - side) // 2, 0], [side, side, 3])[None]
    resized = tf.cond(
        side > size,
        # tf.image.resize(method="area") calls this same kernel after a detour
        lambda: tf.raw_ops.ResizeArea(images=square, size=[size, size]),
        lambda: tf.image.resize(square, [size, size], method="bicubic"),
    )[0]
    resized = tf.ensure_shape(resized, [size, size, 3])
    return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)


def _decode_with_pillow(encoded: bytes) -> np.ndarray:
    """(height, width, 3) uint8 of any format Pillow reads by itself; the size is checked before decoding."""
    import warnings

    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(encoded), formats=FORMATS) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise UnreadableImage(f"{width}x{height} pixels is more than {MAX_PIXELS:,}")
                if picture.mode.startswith("I;16"):  # convert() would clip 16 bits instead of scaling them
                    grey = (np.asarray(picture) >> 8).astype(np.uint8)
                    return np.repeat(grey[..., None], 3, axis=2)
                return np.asarray(picture.convert("RGB"))
    except UnidentifiedImageError as error:
        raise UnreadableImage("empty file" if not encoded else "not a picture in a known format") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"more than {MAX_PIXELS:,} pixels") from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, OverflowError) as error:
        raise UnreadableImage(f"damaged or cut short ({error})") from error
