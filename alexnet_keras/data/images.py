"""Decode image files to 256x256 RGB, as the paper prepares its images (section 2), and store the result.

"We first rescaled the image such that the shorter side was of length 256, and then cropped out the central
256x256 patch." The centred square is cropped before it is rescaled, which gives the same pixels and reads
fewer. Shrinking averages over areas, enlarging interpolates with a cubic.

JPEG (in colour, grey-scale, CMYK or YCCK) and PNG go through TensorFlow's decoders, other formats through Pillow.
EXIF orientation is ignored, as in 2012, unless requested, also in TIFF; AVIF and HEIC store their orientation by other
means, which are followed. The first image of a file is read. Transparent images are laid on white. 16-bit grey is
scaled to 8 bits; 32-bit and floating-point pixels do not define a white level, and are refused."""

import errno
import functools
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
SHAPE = (IMAGE_SIZE, IMAGE_SIZE, 3)
MOST_BYTES = 6 * MAX_PIXELS  # of a file: 16 bits a channel, uncompressed
LARGE = 2**24  # bytes; larger files are decoded one at a time
# On photographs this changes a pixel's channel by 1.6 of 255 on average (quality 90: 2.3; 97: 1.1) for 39 kB
# an image (27; 51). The colour channels keep their resolution; halving it would add 0.6.
JPEG_QUALITY = 95
# TensorFlow's default shifts red and blue by a level against the stored statistics.
DCT = "INTEGER_ACCURATE"
JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
EXIF, SCAN, LONG = b"Exif\0\0", b"\xda", 4  # before EXIF data; the marker of a JPEG's pixels; a type of numbers
_ENDINGS = """
.jpg .jpeg .jpe .jfif .mpo .png .apng .gif .bmp .webp .tif .tiff .ppm .pgm .pbm .pnm
.avif .avifs .heic .heif .hif .jp2 .j2k .jpf .jpx .j2c .jpc
"""
SUFFIXES = frozenset(_ENDINGS.split())  # of files that count as images where a folder is searched


def fit_to_square(encoded: bytes, decoding: Decoding = Decoding()) -> np.ndarray:
    """Decode an image, bring its shorter side to 256 pixels and crop the centre.

    Args:
        encoded: A file's bytes: JPEG, PNG, GIF, BMP, WebP, TIFF, PPM, AVIF, HEIC (with pillow-heif) or JPEG 2000; the
            file's name does not matter.
        decoding: The size limit, and the use of EXIF orientation.

    Returns:
        (256, 256, 3) uint8, RGB.

    Raises:
        UnreadableImage: Not an image, cut short, damaged, or with more than `decoding.max_pixels`.
    """
    import tensorflow as tf

    if is_jpeg_or_png(encoded):
        try:
            turned = orientation(encoded) if decoding.exif else UPRIGHT
            return square_from_jpeg_or_png(decoding)(encoded, turned).numpy()
        except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError):
            pass  # too large or damaged: Pillow says which, or can read it after all
    return square_of_pixels(decode_with_pillow(encoded, decoding))


def square_of_pixels(pixels: np.ndarray) -> np.ndarray:
    """Crop and resize (height, width, 3) uint8, RGB, to (256, 256, 3) uint8."""
    return _square_from_pixels()(pixels).numpy()


def is_jpeg_or_png(encoded: bytes) -> bool:
    """True for the bytes of a JPEG or a PNG, by their beginning."""
    return encoded.startswith((JPEG_START, PNG_START))


def orientation(encoded: bytes) -> int:
    """The EXIF orientation of a JPEG, PNG, WebP or TIFF, 1..8; 1, upright, if it has none.

    Read here, for every image of a preparation: Pillow takes longer, and warns of damaged EXIF data.
    """
    exif = _exif(encoded)
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], order)

    first = number(4, 4)
    for entry in range(first + 2, min(first + 2 + 12 * number(first, 2), len(exif) - 11), 12):
        if number(entry, 2) == ORIENTATION_TAG:
            value = number(entry + 8, 4 if number(entry + 2, 2) == LONG else 2)
            return value if value in range(1, 9) else UPRIGHT
    return UPRIGHT


def _exif(encoded: bytes) -> bytes:
    """The EXIF data of an image, which have the form of a TIFF, from one segment or chunk to the next; b"" of none."""

    def number(at: int, size: int, order: Literal["little", "big"] = "big") -> int:
        return int.from_bytes(encoded[at : at + size], order)

    if encoded.startswith((b"II*\0", b"MM\0*")):
        return encoded
    if encoded.startswith(JPEG_START):
        at = 2
        while encoded[at : at + 1] == b"\xff" and (kind := encoded[at + 1 : at + 2]) not in (SCAN, b""):
            if kind == b"\xe1" and encoded[at + 4 : at + 10] == EXIF:
                return encoded[at + 10 : at + 2 + number(at + 2, 2)]
            at += 2 + number(at + 2, 2)
    elif encoded.startswith(PNG_START):
        at = len(PNG_START)
        while (kind := encoded[at + 4 : at + 8]) not in (b"IDAT", b""):
            if kind == b"eXIf":
                return encoded[at + 8 : at + 8 + number(at, 4)]
            at += 12 + number(at, 4)
    elif encoded[:4] == b"RIFF":
        at = 12
        while kind := encoded[at : at + 4]:
            size = number(at + 4, 4, "little")
            if kind == b"EXIF":
                return encoded[at + 8 : at + 8 + size].removeprefix(EXIF)
            at += 8 + size + size % 2
    return b""


@functools.cache
def square_from_jpeg_or_png(decoding: Decoding = Decoding()) -> Callable:
    """A TensorFlow function from (bytes of a JPEG or PNG, orientation 1..8) to (256, 256, 3) uint8, also for `tf.data`.

    It raises InvalidArgumentError for anything but a whole JPEG or PNG of at most `decoding.max_pixels`.
    """
    import tensorflow as tf

    def fits(height: "tf.Tensor", width: "tf.Tensor") -> "tf.Tensor":
        pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
        return tf.debugging.assert_less_equal(pixels, tf.constant(min(decoding.max_pixels, tf.int64.max), tf.int64))

    def jpeg(encoded: "tf.Tensor") -> "tf.Tensor":
        shape = tf.io.extract_jpeg_shape(encoded)
        with tf.control_dependencies([fits(shape[0], shape[1])]):
            return tf.io.decode_jpeg(encoded, channels=3, dct_method=DCT)

    def png(encoded: "tf.Tensor") -> "tf.Tensor":
        is_png = tf.debugging.assert_equal(tf.strings.substr(encoded, 0, 8), PNG_START)
        with tf.control_dependencies([is_png]):  # other formats would be decoded without a check of their size
            shape = tf.io.decode_raw(tf.strings.substr(encoded, 16, 8), tf.int32, little_endian=False)
        with tf.control_dependencies([tf.debugging.assert_positive(shape), fits(shape[1], shape[0])]):
            return tf.cond(
                has_opacity(encoded),
                lambda: _on_white(tf.io.decode_png(encoded, channels=4)),
                lambda: tf.io.decode_png(encoded, channels=3),  # of 4, the last is wrong for some palettes
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
    """Undo an EXIF orientation, 1..8: 5 to 8 exchange rows and columns, before either is reversed."""
    import tensorflow as tf

    def is_one_of(*orientations: int) -> "tf.Tensor":
        return tf.reduce_any(tf.equal(turned, orientations))

    pixels = tf.cond(turned >= 5, lambda: tf.transpose(pixels, (1, 0, 2)), lambda: pixels)
    pixels = tf.cond(is_one_of(2, 3, 6, 7), lambda: tf.reverse(pixels, [1]), lambda: pixels)
    return tf.cond(is_one_of(3, 4, 7, 8), lambda: tf.reverse(pixels, [0]), lambda: pixels)


@functools.cache
def _square_from_pixels() -> Callable:
    import tensorflow as tf

    signature = [tf.TensorSpec([None, None, 3], tf.uint8)]
    return tf.function(_crop_and_resize, input_signature=signature, autograph=False)


def _crop_and_resize(pixels: "tf.Tensor") -> "tf.Tensor":
    """(height, width, 3) uint8 tensor to (256, 256, 3) uint8."""
    import tensorflow as tf

    size = IMAGE_SIZE
    shape = tf.shape(pixels)
    side = tf.minimum(shape[0], shape[1])
    square = tf.slice(pixels, [(shape[0] - side) // 2, (shape[1] - side) // 2, 0], [side, side, 3])[None]

    def enlarge() -> "tf.Tensor":
        cubic = tf.image.resize(square, [size, size], method="bicubic")
        return tf.clip_by_value(cubic, 0, 255)  # only a cubic overshoots, and clipping is slow

    # tf.image.resize(method="area") calls this same kernel after a detour
    resized = tf.cond(side > size, lambda: tf.raw_ops.ResizeArea(images=square, size=[size, size]), enlarge)[0]
    return tf.cast(tf.round(tf.ensure_shape(resized, [size, size, 3])), tf.uint8)


def _on_white(pixels: "tf.Tensor") -> "tf.Tensor":
    """(height, width, 4) uint8, red, green, blue and opacity, to (height, width, 3) uint8."""
    import tensorflow as tf

    colors, opacity = pixels[..., :3], pixels[..., 3:]

    def laid_on_white() -> "tf.Tensor":
        color, cover = tf.cast(colors, tf.uint16), tf.cast(opacity, tf.uint16)
        # Integers, as in `image_formats.laid_on_white`; 255 * 255 + 127 is less than 2**16.
        return tf.cast((color * cover + WHITE * (255 - cover) + 127) // 255, tf.uint8)

    return tf.cond(tf.reduce_all(opacity == 255), lambda: colors, laid_on_white)


def is_image(start: bytes) -> bool:
    """Return True if a file that begins with these bytes may be an image of a format that is read."""
    return bool(openers(start))


def check_length(size: int) -> None:
    """Refuse a file, of this size in bytes, that is larger than any image.

    Raises:
        OSError: It is.
    """
    if size > MOST_BYTES:
        raise OSError(errno.EFBIG, f"{size / 2**20:,.0f} MiB, more than any picture has")


def read_image_file(path: Path) -> bytes:
    """Read an image file; if it is no image, such as a film, its first few bytes only.

    Raises:
        OSError: It cannot be read, is larger than any image, or is a pipe or a device.
    """
    # Without O_NONBLOCK, opening a pipe would wait for a writer.
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
        return file.read(status.st_size)  # Python takes the memory for as many bytes as are asked for


@dataclass(frozen=True)
class Encoding:
    """The storage of 256x256 images.

    Attributes:
        kind: "jpeg"; "png", without loss in about 110 kB; or "raw", without loss or decoding in 197 kB.
        quality: The quality of JPEG, 1..100; the others ignore it.
    """

    kind: str = "jpeg"
    quality: int = JPEG_QUALITY

    @property
    def options(self) -> dict[str, Any]:
        """The choices in which two preparations have to agree."""
        return {"encoding": self.kind, "jpeg_quality": self.quality if self.kind == "jpeg" else None}

    def encode(self, square: "tf.Tensor") -> "tf.Tensor":
        """Encode a (256, 256, 3) uint8 tensor as a string tensor, which is empty for "raw": see `stored`."""
        import tensorflow as tf

        if self.kind == "jpeg":
            return tf.io.encode_jpeg(square, quality=self.quality, chroma_downsampling=False)
        return tf.io.encode_png(square) if self.kind == "png" else tf.constant(b"")

    def stored(self, encoded: bytes, square: np.ndarray) -> bytes:
        """The bytes of an image in a record: those of `encode`, or its pixels."""
        return square.tobytes() if self.kind == "raw" else encoded

    def decode(self, encoded: "tf.Tensor") -> "tf.Tensor":
        """Decode a string tensor to (256, 256, 3) uint8."""
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
        """Decode the (height, width, 3) uint8 crop whose upper left corner is at (top, left)."""
        import tensorflow as tf

        if self.kind == "jpeg":
            return tf.io.decode_and_crop_jpeg(encoded, [top, left, height, width], channels=3, dct_method=DCT)
        return tf.slice(self.decode(encoded), [top, left, 0], [height, width, 3])

    def feature(self) -> "tfds.features.FeatureConnector":
        """The TFDS feature of the images."""
        import tensorflow_datasets as tfds

        if self.kind == "raw":
            return tfds.features.Tensor(shape=SHAPE, dtype=np.uint8, encoding=tfds.features.Encoding.BYTES)
        return tfds.features.Image(shape=SHAPE, encoding_format=self.kind)
