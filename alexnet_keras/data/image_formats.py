"""Image formats: those that are read, names for those that are not, and decoding by Pillow."""

import io
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from alexnet_keras.errors import UsageError
from alexnet_keras.storage.extras import optional

MAX_PIXELS = 100_000_000  # an image this large takes 1 GB to decode; more is refused unread


class UnreadableImage(Exception):
    """Raised for bytes that are no usable image; the message is the reason."""


@dataclass(frozen=True)
class Decoding:
    """The choices in decoding.

    Attributes:
        max_pixels: An image with more is refused before it is decoded.
        exif: Turn images as their EXIF orientation says.
    """

    max_pixels: int = MAX_PIXELS
    exif: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The choices in which two preparations have to agree."""
        return {"max_pixels": self.max_pixels, "exif": self.exif}


FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")  # none that runs another program
START = 32  # bytes of a file that identify its format
AVIF, HEIC = {b"avif", b"avis"}, {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}  # brands
CAMERA = "a camera's raw file"
# The reasons below are recorded in manifests: their words stay those of earlier versions.
OTHERS = (
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"8BPS", "a Photoshop document (PSD)"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"qoif", "QOI"),
    (b"v/1\1", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML file, such as an SVG drawing,"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    *((start, CAMERA) for start in (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FOVb")),
)
NO_IMAGES = (
    (b"<!doctype html", "a web page, which servers send in place of a picture"),
    (b"<html", "a web page, which servers send in place of a picture"),
    (b"version https://git-lfs", "a pointer of Git LFS: `git lfs pull` fetches the picture"),
    (b"\x1aE\xdf\xa3", "a film"),
    (b"\x93numpy", "a NumPy array"),
    (b"pk\3\4", "a ZIP archive"),
    (b"\x1f\x8b", "compressed with gzip"),
)
CODESTREAM, JP2 = b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"  # of JPEG 2000
NEW_SUBFILE_TYPE, BITS, PHOTOMETRIC, SUB_IFDS, DNG_VERSION = 254, 258, 262, 330, 50706  # tags of TIFF
WHITE_IS_ZERO, COLOR_FILTERS, LINEAR_RAW = 0, 32803, 34892  # values of PHOTOMETRIC, two for a sensor's data
BYTES_A_PIXEL = 10  # for decoding an ordinary image; a format that needs more may have fewer pixels
# bytes a pixel, by format or mode; with opacity and, for AVIF and HEIC (HEIF to its library), 10 bits
COSTLY = {"WEBP": 20, "GIF": 20, "AVIF": 24, "HEIF": 20, "JPEG2000": 25}
COSTLY |= {"CMYK": 14, "RGBA": 14, "LAB": 14, "YCbCr": 14}
WEBP_SIDE = 16383  # pixels; a canvas may claim more, which no image can fill
MOST_TILES = 10_000  # of a JPEG 2000; each takes 30 kB
ORIENTATION_TAG, UPRIGHT = 0x0112, 1
WHITE = 255  # the background of transparent pixels
ROWS = 64  # laid on white at once


def openers(start: bytes) -> list[Callable]:
    """Pillow's functions that may open a file with this start: one or none, with rare exceptions."""
    from PIL import Image

    if _brands(start) & HEIC:
        heif = _pillow_heif()
        return [heif.HeifImageFile] if heif else []
    Image.init()  # loads all of Pillow's formats, the first time it is called
    known = [Image.OPEN[name] for name in FORMATS if name in Image.OPEN]
    return [open_ for open_, accepts in known if accepts is None or accepts(start[:16]) is True]


def what_it_is(start: bytes) -> str:
    """The reason why a file with this start is not read, and the remedy."""
    brands, text = _brands(start), start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if brands & HEIC and not _pillow_heif():
        return "HEIC needs pillow-heif: pip install 'alexnet-keras[heic]'"
    if brands & AVIF and not openers(start):
        return "AVIF needs a Pillow that reads it, such as 11.3: pip install -U pillow"
    if brands & (HEIC | AVIF):
        return "damaged or cut short"
    kind = next((kind for prefix, kind in OTHERS if start.startswith(prefix) or text.startswith(prefix)), None)
    if b"crx " in brands:
        kind = CAMERA
    if kind:
        return f"{kind} is not read; save it as JPEG or PNG"
    if brands or (start[:4] == b"RIFF" and start[8:12] == b"AVI "):
        return "not a picture but a film"
    kind = next((kind for prefix, kind in NO_IMAGES if text.startswith(prefix)), None)
    return f"not a picture but {kind}" if kind else "not a picture in a known format"


def is_raw(encoded: bytes) -> bool:
    """Return True for a camera's raw file in the form of TIFF, in which the first image is often a thumbnail."""
    if encoded[:4] not in (b"II*\0", b"MM\0*"):
        return False
    tags = _first_directory(encoded)
    reduced = tags.get(NEW_SUBFILE_TYPE, 0) & 1 and SUB_IFDS in tags
    return bool(
        encoded[8:10] == b"CR" or DNG_VERSION in tags or tags.get(PHOTOMETRIC) in (COLOR_FILTERS, LINEAR_RAW) or reduced
    )


def tiles(encoded: bytes) -> int:
    """The number of tiles that a JPEG 2000 declares, each of which takes memory when its header is read; else 0."""
    most, place = 0, encoded.find(CODESTREAM) if encoded.startswith((CODESTREAM, JP2)) else -1
    while place >= 0 and len(encoded) >= place + 40:  # bytes before the real one may look like it
        right, lower, _, _, width, height, left, upper = struct.unpack_from(">8I", encoded, place + 8)
        if width and height:
            most = max(most, -(-(right - left) // width) * -(-(lower - upper) // height))
        place = encoded.find(CODESTREAM, place + 4)
    return most


def _first_directory(encoded: bytes) -> dict[int, int]:
    """The first directory of a TIFF: by tag the value, if it is one integer, else 0."""
    order = "<" if encoded[:2] == b"II" else ">"
    try:
        (place,) = struct.unpack_from(f"{order}I", encoded, 4)
        (count,) = struct.unpack_from(f"{order}H", encoded, place)
        tags = {}
        for number in range(count):
            tag, kind, length = struct.unpack_from(f"{order}HHI", encoded, place + 2 + 12 * number)
            form = {3: "H", 4: "I"}.get(kind) if length == 1 else None
            tags[tag] = struct.unpack_from(f"{order}{form}", encoded, place + 10 + 12 * number)[0] if form else 0
    except struct.error:  # cut short, or no TIFF
        return {}
    return tags


def _brands(start: bytes) -> set[bytes]:
    """The brands of a file of boxes, such as AVIF, HEIC and MP4; empty for others."""
    if start[4:8] != b"ftyp":
        return set()
    within = start[: int.from_bytes(start[:4], "big")]
    return {start[8:12], *(within[at : at + 4] for at in range(16, len(within), 4))}


def _pillow_heif() -> Any:
    """The module, where it is installed; it is not registered with Pillow, which belongs to the whole process."""
    with suppress(UsageError):
        return optional("pillow_heif", "heic")
    return None


def decode_with_pillow(encoded: bytes, decoding: Decoding) -> np.ndarray:
    """Decode any format that Pillow reads by itself to (height, width, 3) uint8; the size is checked first.

    `Image.open` has a limit of its own for the whole process: here files are opened as it does internally.

    Raises:
        UnreadableImage: Not an image, damaged, or too large.
    """
    try:
        if is_raw(encoded):
            raise UnreadableImage("a camera's raw file is not read; save it as JPEG or PNG")
        _check_webp(encoded, decoding)
        if (number := tiles(encoded)) > MOST_TILES:
            raise UnreadableImage(f"{number:,} tiles, and more than {MOST_TILES:,} take more memory than the picture")
        for opener in openers(encoded[:START]):
            try:
                image = opener(io.BytesIO(encoded), "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                continue  # as in Image.open: it is in another format after all
            with image:
                return rgb_of(image, decoding)
    except UnreadableImage:
        raise
    except MemoryError as error:
        raise UnreadableImage("too large for the memory there is") from error
    except Exception as error:  # damaged files raise many kinds of errors, deep inside Pillow
        raise UnreadableImage(f"damaged or cut short ({error})") from error
    raise UnreadableImage(what_it_is(encoded[:START]) if encoded else "empty file")


def _check_webp(encoded: bytes, decoding: Decoding) -> None:
    """Refuse a WebP with a large canvas, which takes memory as soon as the file is opened."""
    if encoded[:4] == b"RIFF" and encoded[8:16] == b"WEBPVP8X" and len(encoded) >= 30:
        width, height = (int.from_bytes(encoded[at : at + 3], "little") + 1 for at in (24, 27))
        if max(width, height) > WEBP_SIDE:
            raise UnreadableImage(f"{width}x{height} pixels, and a WebP has {WEBP_SIDE} a side at most")
        check_cost(width, height, COSTLY["WEBP"], decoding)


def check_cost(width: int, height: int, each: int, decoding: Decoding) -> None:
    """Refuse an image with too many pixels, or that takes more memory, `each` bytes a pixel, than ordinary ones.

    Raises:
        UnreadableImage: It is too large.
    """
    if width * height > decoding.max_pixels:
        raise UnreadableImage(f"{width}x{height} pixels is more than {decoding.max_pixels:,}")
    if width * height * each > decoding.max_pixels * BYTES_A_PIXEL:
        raise UnreadableImage(
            f"{width}x{height} pixels of this kind take {width * height * each / 1e9:.1f} GB to decode, as much as "
            f"{width * height * each // BYTES_A_PIXEL:,} ordinary ones: more than {decoding.max_pixels:,}"
        )


def check_image(image: Any, decoding: Decoding) -> None:
    """Refuse a Pillow image that takes too much memory, before it is decoded.

    Raises:
        UnreadableImage: It does.
    """
    kind = image.format if image.format in COSTLY else image.mode
    width, height = image.size
    check_cost(width, height, COSTLY.get(kind, BYTES_A_PIXEL), decoding)


def rgb_of(image: Any, decoding: Decoding) -> np.ndarray:
    """Decode a Pillow image to (height, width, 3) uint8, RGB; the size is checked first.

    Raises:
        UnreadableImage: It is too large, or its pixels do not define a white level.
    """
    from PIL import ImageOps

    check_image(image, decoding)
    tags = image.tag_v2 if image.format == "TIFF" else {}
    turned = image.getexif().get(ORIENTATION_TAG, UPRIGHT) if image.format == "TIFF" else UPRIGHT
    image.load()  # Pillow turns a TIFF upright in here
    if not decoding.exif:
        image = _turned_back(image, turned)
    if decoding.exif or image.format == "AVIF":  # whose own orientation Pillow reports as EXIF's
        ImageOps.exif_transpose(image, in_place=True)
    return _rgb(image, tags)


def _turned_back(image: Any, orientation: int) -> Any:
    """Undo the turning of an image by an EXIF orientation."""
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
    return image.transpose(backwards[orientation]) if orientation in backwards else image


def _rgb(image: Any, tags: Mapping[int, Any]) -> np.ndarray:
    """The pixels of a Pillow image, (height, width, 3) uint8; `tags` are those of a TIFF, else empty."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        # of 16 bits, or scaled to them by Pillow; those of a TIFF are as stored. convert() would clip them
        (bits,) = tags.get(BITS, (16,))
        grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
        if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            grey = WHITE - grey
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        kind = "signed numbers" if tags.get(BITS) == (16,) else "numbers of 32 bits"
        raise UnreadableImage(
            f"its pixels are {kind if image.mode == 'I' else 'floating-point numbers'}, which do not define a white "
            "level: convert it to 8 or 16 bits"
        )
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return laid_on_white(np.asarray(image if image.mode == "RGBA" else image.convert("RGBA")))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def laid_on_white(pixels: np.ndarray) -> np.ndarray:
    """Blend (height, width, 4) uint8, red, green, blue and opacity, with white to (height, width, 3) uint8."""
    result = np.empty((*pixels.shape[:2], 3), np.uint8)
    for top in range(0, len(pixels), ROWS):  # a few at a time: 16 bits for a whole image would take too much memory
        rows = slice(top, top + ROWS)
        colors, opacity = pixels[rows, :, :3].astype(np.uint16), pixels[rows, :, 3:].astype(np.uint16)
        result[rows] = (colors * opacity + WHITE * (255 - opacity) + 127) // 255
    return result
