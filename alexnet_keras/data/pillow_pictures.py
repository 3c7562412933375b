"""Pictures that Pillow opens: what they take, how they lie, and their pixels."""

import io
import struct
from typing import Any

import numpy as np

from alexnet_keras.data.decoding import Decoding, UnreadableImage
from alexnet_keras.data.picture_kinds import START, is_raw, openers, tiles, what_it_is

BYTES_A_PIXEL = 10  # that decoding an ordinary picture takes; what takes more may have fewer pixels
# bytes a pixel, by format or mode; with opacity and, of AVIF and HEIC (HEIF to its library), of 10 bits
COSTLY = {"WEBP": 20, "GIF": 20, "AVIF": 24, "HEIF": 20, "JPEG2000": 25}
COSTLY |= {"CMYK": 14, "RGBA": 14, "LAB": 14, "YCbCr": 14}
WEBP_SIDE = 16383  # pixels; a canvas may claim more, of which no picture can be there
MOST_TILES = 10_000  # of a JPEG 2000; each takes 30 kB
ORIENTATION_TAG, UPRIGHT = 0x0112, 1
WHITE = 255  # what lies under transparent pixels
ROWS = 64  # laid on white at once


def decode_with_pillow(encoded: bytes, decoding: Decoding) -> np.ndarray:
    """(height, width, 3) uint8 of any format Pillow reads by itself; the size is checked before decoding.

    `Image.open` has a limit of its own, which belongs to the whole process: here files are opened as it does inside.
    """
    try:
        if is_raw(encoded):
            raise UnreadableImage("a camera's raw file is not read; save it as JPEG or PNG")
        _check_webp(encoded, decoding)
        if (number := tiles(encoded)) > MOST_TILES:
            raise UnreadableImage(f"{number:,} tiles, and more than {MOST_TILES:,} take more memory than the picture")
        for opener in openers(encoded[:START]):
            try:
                picture = opener(io.BytesIO(encoded), "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue  # as Image.open takes them: it is in another format after all
            with picture:
                return rgb_of(picture, decoding)
    except UnreadableImage:
        raise
    except MemoryError as error:
        raise UnreadableImage("too large for the memory there is") from error
    except Exception as error:  # damaged files raise all sorts of things, deep inside Pillow
        raise UnreadableImage(f"damaged or cut short ({error})") from error
    raise UnreadableImage(what_it_is(encoded[:START]) if encoded else "empty file")


def _check_webp(encoded: bytes, decoding: Decoding) -> None:
    """A WebP's canvas takes memory as soon as the file is opened."""
    if encoded[:4] == b"RIFF" and encoded[8:16] == b"WEBPVP8X" and len(encoded) >= 30:
        width, height = (int.from_bytes(encoded[at : at + 3], "little") + 1 for at in (24, 27))
        if max(width, height) > WEBP_SIDE:
            raise UnreadableImage(f"{width}x{height} pixels, and a WebP has {WEBP_SIDE} a side at most")
        check_cost(width, height, COSTLY["WEBP"], decoding)


def check_cost(width: int, height: int, each: int, decoding: Decoding) -> None:
    """Refuses a picture with too many pixels, or whose pixels take more memory than so many ordinary ones.

    Args:
        each: Bytes that decoding takes for each pixel.

    Raises:
        UnreadableImage: it has, or they do.
    """
    if width * height > decoding.max_pixels:
        raise UnreadableImage(f"{width}x{height} pixels is more than {decoding.max_pixels:,}")
    if width * height * each > decoding.max_pixels * BYTES_A_PIXEL:
        raise UnreadableImage(
            f"{width}x{height} pixels of this kind take {width * height * each / 1e9:.1f} GB to decode, as much as "
            f"{width * height * each // BYTES_A_PIXEL:,} ordinary ones: more than {decoding.max_pixels:,}"
        )


def check_picture(picture: Any, decoding: Decoding) -> None:
    """Refuses a Pillow image that takes too much, before it is decoded.

    Raises:
        UnreadableImage: it does.
    """
    kind = picture.format if picture.format in COSTLY else picture.mode
    width, height = picture.size
    check_cost(width, height, COSTLY.get(kind, BYTES_A_PIXEL), decoding)


def rgb_of(picture: Any, decoding: Decoding) -> np.ndarray:
    """The pixels of a Pillow image, (height, width, 3) uint8; the size is checked before it is decoded.

    Raises:
        UnreadableImage: it is too large, or its pixels do not say what is white.
    """
    from PIL import ImageOps

    check_picture(picture, decoding)
    turned = picture.getexif().get(ORIENTATION_TAG, UPRIGHT) if picture.format == "TIFF" else UPRIGHT
    picture.load()  # Pillow turns a TIFF upright in here
    if not decoding.exif:
        picture = _turned_back(picture, turned)
    if decoding.exif or picture.format == "AVIF":  # whose orientation Pillow tells as if it were EXIF's
        ImageOps.exif_transpose(picture, in_place=True)
    return _rgb(picture)


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
        return laid_on_white(np.asarray(picture if picture.mode == "RGBA" else picture.convert("RGBA")))
    return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))


def laid_on_white(pixels: np.ndarray) -> np.ndarray:
    """(height, width, 4) uint8, red, green, blue and opacity, to (height, width, 3) uint8."""
    found = np.empty((*pixels.shape[:2], 3), np.uint8)
    for top in range(0, len(pixels), ROWS):  # a few at a time: 16 bits of a whole picture would take more than itself
        rows = slice(top, top + ROWS)
        colors, opacity = pixels[rows, :, :3].astype(np.uint16), pixels[rows, :, 3:].astype(np.uint16)
        found[rows] = (colors * opacity + WHITE * (255 - opacity) + 127) // 255
    return found
