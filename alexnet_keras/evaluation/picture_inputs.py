"""Pictures as Python programs hold them: files, bytes, file objects, Pillow images and arrays."""

import io
import sys
from collections.abc import Iterable, Mapping
from os import PathLike, fsdecode
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.data.decode import MOST_BYTES, check_length, is_picture
from alexnet_keras.data.decoding import UnreadableImage
from alexnet_keras.data.picture_kinds import START
from alexnet_keras.data.pillow_pictures import (
    BYTES_A_PIXEL,
    WHITE,
    check_cost,
    check_picture,
    laid_on_white,
    rgb_of,
)
from alexnet_keras.errors import AlexNetError, DataError, UsageError
from alexnet_keras.evaluation.pictures import Preparation, read_picture

BLACK = 2  # numbers none of which reaches this are 0..1: of 0..255 they would all be black
MOST_OF_A_REASON = 100  # characters of what a library says
HALF = 0.5  # that rounding takes back
NO_TEXT = "it gives text and not bytes; open it with 'rb'"
WANTED = "give a file's path or bytes, a Pillow image, or an array (height, width, 3)"


def square_of(picture: Any, preparation: Preparation) -> np.ndarray:
    """A picture as training would have read it: (256, 256, 3) uint8, RGB.

    Args:
        picture: a path; a file's bytes; an object with `read`; a Pillow image; or anything that NumPy makes an array
            of: `(height, width)` or `(height, width, 1)` grey, `(height, width, 3)` RGB or `(height, width, 4)` with
            opacity, whole or floating-point numbers 0..255.

    Raises:
        UsageError: there is no such file, or it is nothing of the kind.
        DataError: it is no picture that can be used.
    """
    if isinstance(picture, str | PathLike):
        return read_picture(Path(fsdecode(picture)), preparation)
    try:
        return _square_in_memory(picture, preparation)
    except AlexNetError:
        raise
    except Exception as error:  # of closed files, tensors on other devices and the like anything
        reason = next(iter(str(getattr(error, "strerror", None) or error).splitlines()), type(error).__name__)
        raise DataError(
            f"{_name(picture)} no picture that can be used: {reason[:MOST_OF_A_REASON].rstrip('.')}."
        ) from error


def several(pictures: Any) -> Iterable | None:
    """The pictures of a list, a generator, a batch or anything else that yields some; None of what is one picture."""
    one = isinstance(pictures, str | bytes | bytearray | memoryview | PathLike) or hasattr(pictures, "read")
    if one or isinstance(pictures, Mapping):
        return None
    if not hasattr(pictures, "__array__"):
        return pictures if isinstance(pictures, Iterable) else None
    try:
        array = np.asarray(pictures)
    except Exception:  # whatever it is, `square_of` tells why
        return None
    return array if array.ndim == 4 or (array.ndim == 1 and array.dtype.kind in "OUST") else None


def _square_in_memory(picture: Any, preparation: Preparation) -> np.ndarray:
    if isinstance(picture, bytes | bytearray | memoryview):
        return preparation.square(bytes(picture))
    if hasattr(picture, "read"):
        return preparation.square(_read(picture))
    if _is_pillow_image(picture):
        return preparation.square_of_pixels(_pillow_pixels(picture, preparation))
    if not hasattr(picture, "__array__"):
        hint = ": whatever read it found no picture" if picture is None else ""
        raise UsageError(f"{_name(picture)} no picture{hint}; {WANTED}.")
    array = np.asarray(picture)
    if array.ndim == 0 and isinstance(array.item(), bytes):  # what tf.io.read_file gives
        return preparation.square(array.item())
    if array.ndim == 1 and array.dtype == np.uint8:  # what np.fromfile gives
        return preparation.square(array.tobytes())
    return preparation.square_of_pixels(_array_pixels(array, preparation))


def _read(file: Any) -> bytes:
    """The bytes of a file object, from its beginning where it can go there, as Pillow reads it."""
    if isinstance(file, io.TextIOBase):
        raise UnreadableImage(NO_TEXT)
    if hasattr(file, "seekable") and file.seekable():
        file.seek(0)
    start = _read_up_to(START, file)
    if not is_picture(start):
        return start
    rest = _read_up_to(MOST_BYTES, file)
    check_length(len(start) + len(rest))
    return start + rest


def _read_up_to(most: int, file: Any) -> bytes:
    """So many bytes, or all there are: files of other machines give what has come."""
    parts: list[bytes] = []
    while most > 0 and (part := file.read(most)):
        if isinstance(part, str):
            raise UnreadableImage(NO_TEXT)
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def _is_pillow_image(picture: Any) -> bool:
    if "PIL.Image" not in sys.modules:  # so it is none
        return False
    from PIL import Image

    return isinstance(picture, Image.Image)


def _pillow_pixels(picture: Any, preparation: Preparation) -> np.ndarray:
    from PIL import ImageOps

    if not all(picture.size):
        raise UnreadableImage("it has no pixels")
    decoding = preparation.decoding
    if decoding.exif or picture.format == "AVIF":
        check_picture(picture, decoding)
        picture = ImageOps.exif_transpose(picture)  # a copy: what is given stays as it is
    return rgb_of(picture, decoding)


def _array_pixels(array: np.ndarray, preparation: Preparation) -> np.ndarray:
    """(height, width, 3) uint8 of an array; one whose meaning is not plain is refused rather than guessed at."""
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        raise UnreadableImage("its channels come first; give numpy.moveaxis(array, 0, -1)")
    if array.ndim == 4:
        raise UnreadableImage("it is a batch; give its pictures one by one")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)):
        raise UnreadableImage("a picture is (height, width), (height, width, 3) or (height, width, 4)")
    if not array.size:
        raise UnreadableImage("it has no pixels")
    check_cost(array.shape[1], array.shape[0], BYTES_A_PIXEL, preparation.decoding)
    pixels = _levels(array).reshape(*array.shape[:2], -1)
    if pixels.shape[-1] == 4:
        return laid_on_white(pixels)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def _levels(array: np.ndarray) -> np.ndarray:
    """Numbers 0..255 to the nearest uint8."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iuf":
        if array.dtype.name != "bfloat16":
            raise UnreadableImage("a picture's values are numbers 0..255")
        array = array.astype(np.float32)
    low, high = float(array.min()), float(array.max())
    if not np.isfinite(high - low):
        raise UnreadableImage("it has values that are not finite")
    small = 0 < max(-low, high) < BLACK  # all zeros are black either way
    if small or low < -HALF or high > WHITE + HALF:
        advice = "; multiply them by 255" if small and low > -HALF / 2 else ", as they were in its file"
        raise UnreadableImage(f"its values are {low:.4g} to {high:.4g} and not 0..255{advice}")
    return np.clip(np.round(array), 0, WHITE).astype(np.uint8)


def _name(picture: Any) -> str:
    """The beginning of a sentence about a picture."""
    if isinstance(picture, bytes):
        return "These bytes are"
    if isinstance(picture, np.ndarray):
        return f"An array {picture.shape} of {picture.dtype} is"
    return "None is" if picture is None else f"This {type(picture).__name__} is"
