"""From encoded bytes to a 256x256 RGB picture, as the paper prepares its images (section 2).

"We first rescaled the image such that the shorter side was of length 256, and then cropped out the central
256x256 patch." The centred square is cropped before it is rescaled, which gives the same pixels and touches
fewer. Shrinking averages over areas, enlarging interpolates with a cubic.

JPEG (in colour, grey-scale, CMYK or YCCK) and PNG go through TensorFlow's decoders, other formats through Pillow.
EXIF orientation is ignored, as in 2012, unless asked for, of TIFF too. What is transparent is laid on white. Grey of 16
bits is scaled to 8; pixels of 32 bits, or of floating point, say nothing of what is white, and are refused.
"""

import errno
import functools
import io
import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

IMAGE_SIZE = 256  # paper, section 2
MAX_PIXELS = 100_000_000  # a picture this large takes 1 GB to decode; more is refused unread
BYTES_A_PIXEL = 10  # that decoding an ordinary picture takes; what takes more may have fewer pixels
COSTLY = {"WEBP": 20, "GIF": 20, "CMYK": 14, "RGBA": 14, "LAB": 14, "YCbCr": 14}  # bytes a pixel, by format or mode
MOST_BYTES = 6 * MAX_PIXELS  # of a file: 16 bits a channel, not compressed
LARGE = 2**24  # bytes of a file; such files are looked at, and decoded, one at a time
START = 32  # bytes of a file that tell its format
WEBP_SIDE = 16383  # pixels; a canvas may claim more, of which no picture can be there
JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
ORIENTATION_TAG, UPRIGHT = 0x0112, 1
WHITE = 255  # what lies under transparent pixels
EXIF_WITHIN = 1 << 17  # bytes from the start; EXIF data comes before the pixels and has 64 kB at most
SUFFIXES = frozenset(  # of files that count as pictures by their names
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
)
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
        except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError):
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


def is_picture(start: bytes) -> bool:
    """Whether a file that begins with these bytes may be a picture of a format that is read."""
    return bool(_factories(start))


def check_length(size: int) -> None:
    """Refuses a file that is longer than any picture.

    Raises:
        OSError: it is.
    """
    if size > MOST_BYTES:
        raise OSError(errno.EFBIG, f"{size / 2**20:,.0f} MiB, more than any picture has")


def read_picture_file(path: Path) -> bytes:
    """The bytes of a file; of one that can be no picture, such as a film, the first few alone.

    Raises:
        OSError: it cannot be read, is longer than any picture, or is a pipe or a device.
    """
    # a pipe would otherwise wait for whoever writes into it
    opened = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(opened, "rb") as file:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a plain file")
        start = file.read(START)
        if not is_picture(start):
            return start
        check_length(status.st_size)
        file.seek(0)
        return file.read(MOST_BYTES)


def _factories(start: bytes) -> list[Callable]:
    """What in Pillow reads a file that begins so; a list of one or none but for odd files."""
    from PIL import Image

    Image.init()  # loads all of Pillow's formats, the first time it is called
    known = [Image.OPEN[name] for name in FORMATS if name in Image.OPEN]
    return [open_ for open_, accepts in known if accepts is None or accepts(start[:16]) is True]


def _decode_with_pillow(encoded: bytes, decoding: Decoding) -> np.ndarray:
    """(height, width, 3) uint8 of any format Pillow reads by itself; the size is checked before decoding.

    `Image.open` has a limit of its own, which belongs to the whole process: here files are opened as it does inside.
    """
    from PIL import ImageOps

    try:
        _check_webp(encoded, decoding)
        for factory in _factories(encoded[:START]):
            try:
                picture = factory(io.BytesIO(encoded), "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue  # as Image.open takes them: it is in another format after all
            with picture:
                kind = picture.format if picture.format in COSTLY else picture.mode
                width, height = picture.size
                _check_cost(width, height, COSTLY.get(kind, BYTES_A_PIXEL), decoding)
                turned = picture.getexif().get(ORIENTATION_TAG, UPRIGHT) if picture.format == "TIFF" else UPRIGHT
                picture.load()  # Pillow turns a TIFF upright in here
                if decoding.exif:
                    ImageOps.exif_transpose(picture, in_place=True)
                return _rgb(picture if decoding.exif else _turned_back(picture, turned))
    except UnreadableImage:
        raise
    except MemoryError as error:
        raise UnreadableImage("too large for the memory there is") from error
    except Exception as error:  # damaged files raise all sorts of things, deep inside Pillow
        raise UnreadableImage(f"damaged or cut short ({error})") from error
    raise UnreadableImage("empty file" if not encoded else "not a picture in a known format")


def _check_webp(encoded: bytes, decoding: Decoding) -> None:
    """A WebP's canvas takes memory as soon as the file is opened."""
    if encoded[:4] == b"RIFF" and encoded[8:16] == b"WEBPVP8X" and len(encoded) >= 30:
        width, height = (int.from_bytes(encoded[at : at + 3], "little") + 1 for at in (24, 27))
        if max(width, height) > WEBP_SIDE:
            raise UnreadableImage(f"{width}x{height} pixels, and a WebP has {WEBP_SIDE} a side at most")
        _check_cost(width, height, COSTLY["WEBP"], decoding)


def _check_cost(width: int, height: int, each: int, decoding: Decoding) -> None:
    """Refuses a picture with too many pixels, or whose pixels take more memory than so many ordinary ones.

    Args:
        each: Bytes that decoding takes for each pixel.
    """
    if width * height > decoding.max_pixels:
        raise UnreadableImage(f"{width}x{height} pixels is more than {decoding.max_pixels:,}")
    if width * height * each > decoding.max_pixels * BYTES_A_PIXEL:
        raise UnreadableImage(
            f"{width}x{height} pixels of this kind take {width * height * each / 1e9:.1f} GB to decode, as much as "
            f"{width * height * each // BYTES_A_PIXEL:,} ordinary ones: more than {decoding.max_pixels:,}"
        )


def _turned_back(picture: Any, orientation: int) -> Any:
    """The picture as it lies in its file, of one that was turned upright as an orientation said."""
    from PIL.Image import Transpose

    backwards = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_90,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_270,
    }
    return picture.transpose(backwards[orientation]) if orientation in backwards else picture


def _rgb(picture: Any) -> np.ndarray:
    """The pixels of a Pillow image, (height, width, 3) uint8."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM"):
        # of 16 bits, or scaled to them by Pillow; convert() would clip them
        grey = (np.asarray(picture) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.mode in ("I", "F"):
        raise UnreadableImage(
            f"its pixels are {'numbers of 32 bits' if picture.mode == 'I' else 'floating-point numbers'}, which say "
            "nothing of what is white: convert it to 8 or 16 bits"
        )
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        pixels = np.asarray(picture.convert("RGBA")).astype(np.uint16)
        colors, opacity = pixels[..., :3], pixels[..., 3:]
        return ((colors * opacity + WHITE * (255 - opacity) + 127) // 255).astype(np.uint8)
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
