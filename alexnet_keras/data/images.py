"""From encoded bytes to a 256x256 RGB image, as the paper prepares its images (section 2), and how it is stored.

"We first rescaled the image such that the shorter side was of length 256, and then cropped out the central
256x256 patch." The centred square is cropped before it is rescaled, which gives the same pixels and touches
fewer. Shrinking averages over areas, enlarging interpolates with a cubic.

JPEG (in colour, grey-scale, CMYK or YCCK) and PNG go through TensorFlow's decoders, other formats through Pillow.
EXIF orientation is ignored, as in 2012, unless requested, also in TIFF; AVIF and HEIC store their orientation by other
means, which are followed. Of a file with several images the first is read. Transparent images are laid on white. 16-bit
grey is scaled to 8 bits; 32-bit and floating-point pixels do not say which value is white, and are refused."""

import errno
import functools
import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alexnet_keras.data.image_formats import (
    MAX_PIXELS,
    ORIENTATION_TAG,
    START,
    UPRIGHT,
    WHITE,
    Decoding,
    decode_with_pillow,
    openers,
)

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_datasets as tfds

IMAGE_SIZE = 256  # paper, section 2
MOST_BYTES = 6 * MAX_PIXELS  # of a file: 16 bits a channel, not compressed
LARGE = 2**24  # bytes of a file; such files are looked at, and decoded, one at a time
JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
EXIF_WITHIN = 1 << 17  # bytes from the start; EXIF data comes before the pixels and has 64 kB at most
_ENDINGS = """
.jpg .jpeg .jpe .jfif .mpo .png .apng .gif .bmp .webp .tif .tiff .ppm .pgm .pbm .pnm
.avif .avifs .heic .heif .hif .jp2 .j2k .jpf .jpx .j2c .jpc
"""
SUFFIXES = frozenset(_ENDINGS.split())  # of files that are taken for images where a folder is searched


def fit_to_square(encoded: bytes, decoding: Decoding = Decoding()) -> np.ndarray:
    """Decode an image, bring its shorter side to 256 pixels and crop the centre.

    Args:
        encoded: A file's bytes: JPEG, PNG, GIF, BMP, WebP, TIFF, PPM, AVIF, HEIC (with pillow-heif) or JPEG 2000,
            whatever the file's name says.
        decoding: The size limit, and whether EXIF orientation counts.

    Returns:
        (256, 256, 3) uint8, RGB.

    Raises:
        UnreadableImage: Not an image, cut short, damaged, or with more than `decoding.max_pixels`.
    """
    import tensorflow as tf

    if encoded.startswith((JPEG_START, PNG_START)):
        try:
            return square_from_jpeg_or_png(decoding)(encoded, orientation(encoded, decoding)).numpy()
        except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError):
            pass  # too large or damaged: Pillow says which, or can read it after all
    return square_of_pixels(decode_with_pillow(encoded, decoding))


def square_of_pixels(pixels: np.ndarray) -> np.ndarray:
    """(height, width, 3) uint8 to (256, 256, 3) uint8."""
    return _square_from_pixels()(pixels).numpy()


def orientation(encoded: bytes, decoding: Decoding) -> int:
    """The EXIF orientation of a JPEG or PNG, 1..8; 1, upright, where it has none or none is asked for."""
    if not decoding.exif or (b"Exif" not in encoded[:EXIF_WITHIN] and b"eXIf" not in encoded[:EXIF_WITHIN]):
        return UPRIGHT
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG")) as image:
            found = image.getexif().get(ORIENTATION_TAG, UPRIGHT)
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
            return tf.cond(
                has_opacity(encoded),
                lambda: _on_white(tf.io.decode_png(encoded, channels=4)),
                lambda: tf.io.decode_png(encoded, channels=3),  # of four, TensorFlow makes up the last of some palettes
            )

    def has_opacity(encoded: "tf.Tensor") -> "tf.Tensor":
        kind = tf.io.decode_raw(tf.strings.substr(encoded, 25, 1), tf.uint8)[0]
        before_pixels = tf.strings.split(encoded, "IDAT", maxsplit=1)[0]
        return (kind == 4) | (kind == 6) | tf.strings.regex_full_match(before_pixels, r"\C*tRNS\C*")

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


def _on_white(pixels: "tf.Tensor") -> "tf.Tensor":
    """(height, width, 4) uint8, red, green, blue and opacity, to (height, width, 3) uint8."""
    import tensorflow as tf

    colors, opacity = pixels[..., :3], pixels[..., 3:]

    def laid_on_white() -> "tf.Tensor":
        seen, covering = tf.cast(colors, tf.uint16), tf.cast(opacity, tf.uint16)
        # whole numbers, as in `_rgb`; 255 * 255 + 127 is less than 2**16
        return tf.cast((seen * covering + WHITE * (255 - covering) + 127) // 255, tf.uint8)

    return tf.cond(tf.reduce_all(opacity == 255), lambda: colors, laid_on_white)


def is_image(start: bytes) -> bool:
    """Whether a file that begins with these bytes may be an image of a format that is read."""
    return bool(openers(start))


def check_length(size: int) -> None:
    """Refuses a file that is longer than any image.

    Raises:
        OSError: it is.
    """
    if size > MOST_BYTES:
        raise OSError(errno.EFBIG, f"{size / 2**20:,.0f} MiB, more than any picture has")


def read_image_file(path: Path) -> bytes:
    """The bytes of a file; of one that can be no image, such as a film, the first few alone.

    Raises:
        OSError: it cannot be read, is longer than any image, or is a pipe or a device.
    """
    # a pipe would otherwise wait for whoever writes into it
    opened = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(opened, "rb") as file:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a plain file")
        start = file.read(START)
        if not is_image(start):
            return start
        check_length(status.st_size)
        file.seek(0)
        return file.read(MOST_BYTES)


KINDS = ("jpeg", "png", "raw")
# On photographs this changes a pixel's channel by 1.6 of 255 on average (quality 90: 2.3; 97: 1.1) for 39 kB
# an image (27; 51). The colour channels keep their resolution; halving it would add 0.6.
JPEG_QUALITY = 95
# TensorFlow's default shifts red and blue by a level against the stored statistics.
DCT = "INTEGER_ACCURATE"
SHAPE = (IMAGE_SIZE, IMAGE_SIZE, 3)


@dataclass(frozen=True)
class Encoding:
    """A way to store images.

    Attributes:
        kind: "jpeg"; "png", without loss in about 110 kB; or "raw", without loss or decoding in 197 kB.
        quality: Of JPEG, 1..100; the others take no notice.
    """

    kind: str = "jpeg"
    quality: int = JPEG_QUALITY

    @property
    def options(self) -> dict[str, Any]:
        """What two preparations have to agree in."""
        return {"encoding": self.kind, "jpeg_quality": self.quality if self.kind == "jpeg" else None}

    def encode(self, square: "tf.Tensor") -> "tf.Tensor":
        """(256, 256, 3) uint8 tensor to a string tensor, which is empty for "raw": see `stored`."""
        import tensorflow as tf

        if self.kind == "jpeg":
            return tf.io.encode_jpeg(square, quality=self.quality, chroma_downsampling=False)
        return tf.io.encode_png(square) if self.kind == "png" else tf.constant(b"")

    def stored(self, encoded: bytes, square: np.ndarray) -> bytes:
        """What the record holds of an image: what `encode` made of it, or its bytes."""
        return square.tobytes() if self.kind == "raw" else encoded

    def decode(self, encoded: "tf.Tensor") -> "tf.Tensor":
        """String tensor to (256, 256, 3) uint8."""
        import tensorflow as tf

        if self.kind == "jpeg":
            image = tf.io.decode_jpeg(encoded, channels=3, dct_method=DCT)
        elif self.kind == "png":
            image = tf.io.decode_png(encoded, channels=3)
        else:
            image = tf.reshape(tf.io.decode_raw(encoded, tf.uint8), SHAPE)
        return tf.ensure_shape(image, SHAPE)

    def decode_crop(
        self, encoded: "tf.Tensor", top: "tf.Tensor", left: "tf.Tensor", height: "tf.Tensor", width: "tf.Tensor"
    ) -> "tf.Tensor":
        """The (height, width, 3) uint8 crop whose upper left corner is at (top, left)."""
        import tensorflow as tf

        if self.kind == "jpeg":
            return tf.io.decode_and_crop_jpeg(encoded, [top, left, height, width], channels=3, dct_method=DCT)
        return tf.slice(self.decode(encoded), [top, left, 0], [height, width, 3])

    def feature(self) -> "tfds.features.FeatureConnector":
        """The TFDS feature that decodes it."""
        import tensorflow_datasets as tfds

        if self.kind == "raw":
            return tfds.features.Tensor(shape=SHAPE, dtype=np.uint8, encoding=tfds.features.Encoding.BYTES)
        return tfds.features.Image(shape=SHAPE, encoding_format=self.kind)
