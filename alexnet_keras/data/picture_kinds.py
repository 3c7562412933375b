"""Kinds of files: which of them are read as pictures, by what, and what the others are called."""

import importlib
import struct
from collections.abc import Callable
from typing import Any

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")  # none that runs another program
START = 32  # bytes of a file that tell its format
AVIF, HEIC = {b"avif", b"avis"}, {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}  # brands
CAMERA = "a camera's raw file"
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
    (b"FUJIFILMCCD-RAW", CAMERA),
    (b"IIU\0", CAMERA),
    (b"IIRO", CAMERA),
    (b"IIRS", CAMERA),
    (b"MMOR", CAMERA),
    (b"FOVb", CAMERA),
)
NO_PICTURES = (
    (b"<!doctype html", "a web page, which servers send in place of a picture"),
    (b"<html", "a web page, which servers send in place of a picture"),
    (b"version https://git-lfs", "a pointer of Git LFS: `git lfs pull` fetches the picture"),
    (b"\x1aE\xdf\xa3", "a film"),
    (b"\x93numpy", "a NumPy array"),
    (b"pk\3\4", "a ZIP archive"),
    (b"\x1f\x8b", "compressed with gzip"),
)
CODESTREAM, JP2 = b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n"  # of JPEG 2000
NEW_SUBFILE_TYPE, PHOTOMETRIC, SUB_IFDS, DNG_VERSION = 254, 262, 330, 50706  # tags of TIFF
COLOR_FILTERS, LINEAR_RAW = 32803, 34892  # of what a sensor sees


def openers(start: bytes) -> list[Callable]:
    """What reads a file that begins so, as Pillow's own: a list of one or none but for odd files."""
    from PIL import Image

    if _brands(start) & HEIC:
        heif = _pillow_heif()
        return [heif.HeifImageFile] if heif else []
    Image.init()  # loads all of Pillow's formats, the first time it is called
    known = [Image.OPEN[name] for name in FORMATS if name in Image.OPEN]
    return [open_ for open_, accepts in known if accepts is None or accepts(start[:16]) is True]


def what_it_is(start: bytes) -> str:
    """The reason why a file that begins so is not read, and what to do."""
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
    kind = next((kind for prefix, kind in NO_PICTURES if text.startswith(prefix)), None)
    return f"not a picture but {kind}" if kind else "not a picture in a known format"


def is_raw(encoded: bytes) -> bool:
    """Whether a file is a camera's raw one in the form of TIFF, whose first picture is often a thumbnail of it."""
    if encoded[:4] not in (b"II*\0", b"MM\0*"):
        return False
    tags = _first_directory(encoded)
    reduced = tags.get(NEW_SUBFILE_TYPE, 0) & 1 and SUB_IFDS in tags
    return bool(
        encoded[8:10] == b"CR" or DNG_VERSION in tags or tags.get(PHOTOMETRIC) in (COLOR_FILTERS, LINEAR_RAW) or reduced
    )


def tiles(encoded: bytes) -> int:
    """How many tiles a JPEG 2000 claims, each of which takes memory when its header is read; 0 of other files."""
    most, place = 0, encoded.find(CODESTREAM) if encoded.startswith((CODESTREAM, JP2)) else -1
    while place >= 0 and len(encoded) >= place + 40:  # what stands before the real one may look like it
        right, lower, _, _, width, height, left, upper = struct.unpack_from(">8I", encoded, place + 8)
        if width and height:
            most = max(most, -(-(right - left) // width) * -(-(lower - upper) // height))
        place = encoded.find(CODESTREAM, place + 4)
    return most


def _first_directory(encoded: bytes) -> dict[int, int]:
    """The first directory of a TIFF: tags and, of those with one whole number, their values; 0 of others."""
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
    """The brands of a file of boxes, such as AVIF, HEIC and MP4; of any other none."""
    if start[4:8] != b"ftyp":
        return set()
    within = start[: int.from_bytes(start[:4], "big")]
    return {start[8:12], *(within[at : at + 4] for at in range(16, len(within), 4))}


def _pillow_heif() -> Any:
    """The module, where it is installed; it is not registered with Pillow, which belongs to the whole process."""
    try:
        return importlib.import_module("pillow_heif")
    except ImportError:
        return None
