"""From encoded bytes to a 256x256 RGB picture, as the paper prepares its images (section 2).

"We first rescaled the image such that the shorter side was of length 256, and then cropped out the central
256x256 patch." The centred square is cropped before it is rescaled, which gives the same pixels and touches
fewer. Shrinking averages over areas, enlarging interpolates with a cubic.

JPEG (in colour, grey-scale, CMYK or YCCK) and PNG go through TensorFlow's decoders, other formats through Pillow.
EXIF orientation is ignored, as in 2012, unless asked for, and transparency is dropped.
"""

import contextlib
import functools
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

IMAGE_SIZE = 256  # paper, section 2
MAX_PIXELS = 100_000_000  # a picture this large takes 300 MB decoded; more is refused unread
JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
ORIENTATION_TAG, UPRIGHT = 0x0112, 1
EXIF_WITHIN = 1 << 17  # bytes from the start; EXIF data comes before the pixels and has 64 kB at most
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")  # none that runs another program


class UnreadableImage(Exception):
    """The bytes are no picture that can be used; the message is the reason."""


@dataclass(frozen=True)
class Decoding:
    """Choices in decoding.

    Attributes:
        max_pixels: A picture with more is refused before it is decoded.
        exif: Turn pictures as their EXIF orientation says.
    """

    max_pixels: int = MAX_PIXELS
    exif: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """What two preparations have to agree in."""
        return {"max_pixels": self.max_pixels, "exif": self.exif}


def fit_to_square(encoded: bytes, decoding: Decoding = Decoding()) -> np.ndarray:
    """Decode a picture, bring its shorter side to 256 pixels and crop the centre.

    Args:
        encoded: A file's bytes: JPEG, PNG, GIF, BMP, WebP, TIFF or PPM, whatever the file's name says.
        decoding: The size limit, and whether EXIF orientation counts.

    Returns:
        (256, 256, 3) uint8, RGB.

    Raises:
        UnreadableImage: Not a picture, cut short, damaged, or with more than `decoding.max_pixels`.
    """
    import tensorflow as tf

    if encoded.startswith((JPEG_START, PNG_START)):
        try:
            return square_from_jpeg_or_png(decoding)(encoded, orientation(encoded, decoding)).numpy()
        except tf.errors.InvalidArgumentError:
            pass  # too large or damaged: Pillow says which, or can read it after all
    return _square_from_pixels()(_decode_with_pillow(encoded, decoding)).numpy()


def orientation(encoded: bytes, decoding: Decoding) -> int:
    """The EXIF orientation of a JPEG or PNG, 1..8; 1, upright, where it has none or none is asked for."""
    if not decoding.exif or (b"Exif" not in encoded[:EXIF_WITHIN] and b"eXIf" not in encoded[:EXIF_WITHIN]):
        return UPRIGHT
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG")) as picture:
            found = picture.getexif().get(ORIENTATION_TAG, UPRIGHT)
    except Exception:  # damaged EXIF data raises all sorts of things, and the pixels may be well
        return UPRIGHT
    return found if found in range(1, 9) else UPRIGHT


@functools.cache
def square_from_jpeg_or_png(decoding: Decoding = Decoding()) -> Callable:
    """A TensorFlow function from (bytes of a JPEG or PNG, orientation 1..8) to (256, 256, 3) uint8, alone or inside
    `tf.data`.

    It raises InvalidArgumentError for anything but a whole JPEG or PNG of at most `decoding.max_pixels`.
    """
    import tensorflow as tf

    def fits(height: "tf.Tensor", width: "tf.Tensor") -> "tf.Tensor":
        pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
        return tf.debugging.assert_less_equal(pixels, tf.constant(decoding.max_pixels, tf.int64))

    def jpeg(encoded: "tf.Tensor") -> "tf.Tensor":
        shape = tf.io.extract_jpeg_shape(encoded)
        with tf.control_dependencies([fits(shape[0], shape[1])]):
            return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")

    def png(encoded: "tf.Tensor") -> "tf.Tensor":
        is_png = tf.debugging.assert_equal(tf.strings.substr(encoded, 0, 8), PNG_START)
        with tf.control_dependencies([is_png]):  # other formats would be decoded without a look at their size
            shape = tf.io.decode_raw(tf.strings.substr(encoded, 16, 8), tf.int32, little_endian=False)
        with tf.control_dependencies([tf.debugging.assert_positive(shape), fits(shape[1], shape[0])]):
            return tf.io.decode_png(encoded, channels=3)

    @tf.function(input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int32)], autograph=False)
    def decode(encoded: "tf.Tensor", turned: "tf.Tensor") -> "tf.Tensor":
        is_jpeg = tf.equal(tf.strings.substr(encoded, 0, 2), JPEG_START)
        pixels = tf.cond(is_jpeg, lambda: jpeg(encoded), lambda: png(encoded))
        return _crop_and_resize(_upright(pixels, turned) if decoding.exif else pixels)

    return decode


def _upright(pixels: "tf.Tensor", turned: "tf.Tensor") -> "tf.Tensor":
    """Undo an EXIF orientation of 1..8: 5 to 8 exchange rows and columns, before either is reversed."""
    import tensorflow as tf

    def is_one_of(*orientations: int) -> "tf.Tensor":
        return tf.reduce_any(tf.equal(turned, orientations))

    pixels = tf.cond(turned >= 5, lambda: tf.transpose(pixels, (1, 0, 2)), lambda: pixels)
    pixels = tf.cond(is_one_of(2, 3, 6, 7), lambda: tf.reverse(pixels, [1]), lambda: pixels)
    return tf.cond(is_one_of(3, 4, 7, 8), lambda: tf.reverse(pixels, [0]), lambda: pixels)


@functools.cache
def _square_from_pixels() -> Callable:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)], autograph=False)
    def fit(pixels: "tf.Tensor") -> "tf.Tensor":
        return _crop_and_resize(pixels)

    return fit


def _crop_and_resize(pixels: "tf.Tensor") -> "tf.Tensor":
    """(height, width, 3) uint8 tensor to (256, 256, 3) uint8."""
    import tensorflow as tf

    size = IMAGE_SIZE
    shape = tf.shape(pixels)
    side = tf.minimum(shape[0], shape[1])
    square = tf.slice(pixels, [(shape[0] - side) // 2, (shape[1] - side) // 2, 0], [side, side, 3])[None]

    def enlarge() -> "tf.Tensor":
        cubic = tf.image.resize(square, [size, size], method="bicubic")
        return tf.clip_by_value(cubic, 0, 255)  # a cubic overshoots; a mean does not, and clipping is slow

    # tf.image.resize(method="area") calls this same kernel after a detour
    resized = tf.cond(side > size, lambda: tf.raw_ops.ResizeArea(images=square, size=[size, size]), enlarge)[0]
    return tf.cast(tf.round(tf.ensure_shape(resized, [size, size, 3])), tf.uint8)


@contextlib.contextmanager
def _only_our_limit() -> Iterator[None]:
    """Pillow without its warnings and without its own limit on pixels, which is not the one that was chosen."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _decode_with_pillow(encoded: bytes, decoding: Decoding) -> np.ndarray:
    """(height, width, 3) uint8 of any format Pillow reads by itself; the size is checked before decoding."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with _only_our_limit(), Image.open(io.BytesIO(encoded), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > decoding.max_pixels:
                raise UnreadableImage(f"{width}x{height} pixels is more than {decoding.max_pixels:,}")
            if picture.mode.startswith("I;16"):  # convert() would clip 16 bits instead of scaling them
                grey = (np.asarray(picture) >> 8).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            upright = ImageOps.exif_transpose(picture) if decoding.exif else picture
            return np.asarray((upright or picture).convert("RGB"))
    except UnidentifiedImageError as error:
        raise UnreadableImage("empty file" if not encoded else "not a picture in a known format") from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, OverflowError) as error:
        raise UnreadableImage(f"damaged or cut short ({error})") from error
