"""Images for a network, prepared as its training images were: from files, from memory, and from a prepared split."""

import errno
import functools
import io
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import PathLike, fsdecode
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.data.dataset import PreparedDataset, open_prepared
from alexnet_keras.data.image_formats import (
    BYTES_A_PIXEL,
    ORIENTATION_TAG,
    START,
    UPRIGHT,
    WHITE,
    Decoding,
    UnreadableImage,
    check_cost,
    check_image,
    laid_on_white,
    rgb_of,
)
from alexnet_keras.data.images import (
    IMAGE_SIZE,
    JPEG_QUALITY,
    MOST_BYTES,
    Encoding,
    check_length,
    fit_to_square,
    is_image,
    orientation,
    read_image_file,
    square_of_pixels,
)
from alexnet_keras.data.pipeline import images_at
from alexnet_keras.errors import AlexNetError, DataError, UsageError
from alexnet_keras.runs import Run
from alexnet_keras.storage.places import refuse_url

SAMPLE = 16  # images looked at for each one chosen, so that different classes are among them


@dataclass(frozen=True)
class Preparation:
    """The options with which `alexnet prepare` made the images that a run was trained on."""

    decoding: Decoding = Decoding()
    encoding: Encoding = Encoding()

    def square(self, encoded: bytes) -> np.ndarray:
        """Prepare an image file's bytes as for training: (256, 256, 3) uint8, RGB.

        A note is logged of the first image whose EXIF orientation is ignored.

        Raises:
            UnreadableImage: The bytes are no image that can be used; the message is the reason.
        """
        if not self.decoding.exif and orientation(encoded) != UPRIGHT:
            _note_ignored_orientation()
        return self._stored(fit_to_square(encoded, self.decoding))

    def square_of_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Prepare pixels (height, width, 3) uint8, RGB, as for training: (256, 256, 3) uint8."""
        return self._stored(square_of_pixels(pixels))

    def _stored(self, square: np.ndarray) -> np.ndarray:
        stored = self.encoding.encode(square)
        return self.encoding.decode(self.encoding.stored(stored.numpy(), square)).numpy()


@functools.cache
def _note_ignored_orientation() -> None:
    logging.getLogger(__name__).warning(
        "Note: an image is stored on its side, upside down or mirrored, and stays so: its EXIF orientation, which "
        "phones write, is ignored, as it was in the images that the run was trained on (prepared without --exif)."
    )


# For networks of others, which were trained on other images, nearly all of them upright.
UNCOMPRESSED = Preparation(Decoding(exif=True), Encoding("raw"))


def preparation_of(run: Run) -> Preparation:
    """Return the preparation of the data that a run was trained on."""
    options = options_of(run)
    return Preparation(
        Decoding(options["max_pixels"], options["exif"]),
        Encoding(options["encoding"], options["jpeg_quality"] or JPEG_QUALITY),
    )


def options_of(run: Run) -> dict[str, Any]:
    """Return the options of the preparation of a run's data: those in run.json, or else in the dataset's manifest.

    Raises:
        UsageError: Neither is there.
    """
    data = run.facts["data"]
    return data["options"] if "options" in data else open_prepared(run.data_path).manifest["options"]


def read_image(path: Path, preparation: Preparation) -> np.ndarray:
    """Read an image file and prepare it as for training: (256, 256, 3) uint8, RGB.

    Raises:
        UsageError: There is no such file.
        DataError: It cannot be read, or is no image.
    """
    try:
        encoded = read_image_file(path)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        number = getattr(error, "errno", None)
        refuse_url(path)
        if number in (None, errno.ENAMETOOLONG):
            beginning = repr(str(path)[:30])
            raise UsageError(f"{beginning}... is no file name; give the contents of a file as bytes.") from error
        if number == errno.ENOENT:
            raise UsageError(f"There is no file {path}.") from error
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', error)}.") from error
    try:
        return preparation.square(encoded)
    except UnreadableImage as error:
        raise DataError(f"{path} is no image that can be used: {error}.") from error


def stacked_images(data: PreparedDataset, split: str, positions: Iterable[int]) -> tuple[np.ndarray, np.ndarray, list]:
    """Read images of a split by their positions in it.

    Returns:
        Images uint8 `(n, 256, 256, 3)`, labels int64 `(n,)` and file names, in the order of `positions`.
    """
    positions = [int(position) for position in positions]
    records = {
        position: (image.numpy(), int(label), filename.numpy().decode("utf-8", "replace"))
        for position, image, label, filename in images_at(data, split, positions)
    }
    images, labels, filenames = zip(*(records[position] for position in positions), strict=True)
    return np.stack(images), np.array(labels), list(filenames)


def some_images(
    data: PreparedDataset, split: str, count: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Read a seeded choice of images of a split, of different classes as far as possible.

    Returns:
        Images uint8 `(count, 256, 256, 3)`, labels int64 `(count,)` and file names.

    Raises:
        UsageError: There is no such split.
        DataError: It has fewer images.
    """
    examples = data.examples(split)
    if examples < count:
        raise DataError(f"The split {split!r} of {data.path} has {examples} images, fewer than the {count} requested.")
    sample = np.random.default_rng(seed).permutation(examples)[: count * SAMPLE]
    images, labels, filenames = stacked_images(data, split, sample)
    chosen = spread_over_classes(labels, count)
    return images[chosen], labels[chosen], [filenames[index] for index in chosen]


def spread_over_classes(labels: np.ndarray, count: int) -> np.ndarray:
    """Choose indices of `count` labels: the first of each class in order, then the second of each, and so on."""
    seen: dict[int, int] = {}
    turns = np.empty(len(labels), np.int64)
    for index, label in enumerate(labels.tolist()):
        turns[index] = seen[label] = seen.get(label, -1) + 1
    return np.argsort(turns, kind="stable")[:count]


# An array with no value above this is taken for 0..1, or for normalised, where white is 2.64 with ImageNet's mean and
# deviation: as 0..255 it would be black.
BLACK = 3
MOST_OF_A_REASON = 100  # characters of a library's message
HALF = 0.5  # beyond 0..255, which rounding removes
NO_TEXT = "it gives text and not bytes; open it with 'rb'"
KINDS = "give a file's path or bytes, a Pillow image, or an array (height, width, 3)"


def square_of(image: Any, preparation: Preparation) -> np.ndarray:
    """Prepare an image of any kind as for training: (256, 256, 3) uint8, RGB.

    Args:
        image: A path; a file's bytes; an object with `read`; a Pillow image; or anything that NumPy makes an array
            of: `(height, width)` or `(height, width, 1)` grey, `(height, width, 3)` RGB or `(height, width, 4)` with
            opacity, whole or floating-point numbers 0..255.
        preparation: The preparation of the training images.

    Raises:
        UsageError: There is no such file, or it is no image of these kinds.
        DataError: The image cannot be used.
    """
    if isinstance(image, str | PathLike):
        return read_image(Path(fsdecode(image)), preparation)
    with _refusing(image):
        return _square_in_memory(image, preparation)


def crop_of(image: Any, size: int) -> np.ndarray:
    """Cut a network's input out of an image of any kind: the centre (size, size, 3), uint8, RGB.

    An array of this shape is a crop already, and stays as it is.

    Raises:
        UsageError: There is no such file, or it is no image of these kinds.
        DataError: The image cannot be used.
    """
    if tuple(getattr(image, "shape", ())) == (size, size, 3):
        with _refusing(image):
            return _levels(np.asarray(image))
    first = (IMAGE_SIZE - size) // 2
    return square_of(image, UNCOMPRESSED)[first : first + size, first : first + size]


@contextmanager
def _refusing(image: Any) -> Iterator[None]:
    """Raise whatever an image in memory raises as a sentence."""
    try:
        yield
    except AlexNetError:
        raise
    except Exception as error:  # closed files, tensors on other devices and the like raise anything
        reason = next(iter(str(getattr(error, "strerror", None) or error).splitlines()), type(error).__name__)
        raise DataError(
            f"{_name(image)} no image that can be used: {reason[:MOST_OF_A_REASON].rstrip('.')}."
        ) from error


def several(images: Any) -> Iterable | None:
    """Return the images of a list, a generator, a batch or any other iterable; None for one image."""
    one = isinstance(images, str | bytes | bytearray | memoryview | PathLike) or hasattr(images, "read")
    if one or isinstance(images, Mapping):
        return None
    if not hasattr(images, "__array__"):
        return images if isinstance(images, Iterable) else None
    try:
        array = np.asarray(images)
    except Exception:  # whatever it is, `square_of` reports it
        return None
    return array if array.ndim == 4 or (array.ndim == 1 and array.dtype.kind in "OUST") else None


def _square_in_memory(image: Any, preparation: Preparation) -> np.ndarray:
    if isinstance(image, bytes | bytearray | memoryview):
        return preparation.square(bytes(image))
    if hasattr(image, "read"):
        return preparation.square(_read(image))
    if (pillow := sys.modules.get("PIL.Image")) and isinstance(image, pillow.Image):
        return preparation.square_of_pixels(_pillow_pixels(image, preparation))
    if not hasattr(image, "__array__"):
        hint = " (a reader returned it for a file that it could not read)" if image is None else ""
        raise UsageError(f"{_name(image)} no image{hint}; {KINDS}.")
    array = np.asarray(image)
    if array.ndim == 0 and isinstance(array.item(), bytes):  # what tf.io.read_file gives
        return preparation.square(array.item())
    if array.ndim == 1 and array.dtype == np.uint8:  # what np.fromfile gives
        return preparation.square(array.tobytes())
    return preparation.square_of_pixels(_array_pixels(array, preparation))


def _read(file: Any) -> bytes:
    """Read the bytes of a file object, from its beginning where it is seekable, as Pillow does."""
    if isinstance(file, io.TextIOBase):
        raise UnreadableImage(NO_TEXT)
    if hasattr(file, "seekable") and file.seekable():
        file.seek(0)
    start = _read_up_to(START, file)
    if not is_image(start):
        return start
    rest = _read_up_to(MOST_BYTES, file)
    check_length(len(start) + len(rest))
    return start + rest


def _read_up_to(most: int, file: Any) -> bytes:
    """Read `most` bytes, or all there are; a network stream may return fewer per call."""
    parts: list[bytes] = []
    while most > 0 and (part := file.read(most)):
        if isinstance(part, str):
            raise UnreadableImage(NO_TEXT)
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def _pillow_pixels(image: Any, preparation: Preparation) -> np.ndarray:
    from PIL import ImageOps

    if not all(image.size):
        raise UnreadableImage("it has no pixels")
    decoding = preparation.decoding
    if decoding.exif or image.format == "AVIF":
        check_image(image, decoding)
        image = ImageOps.exif_transpose(image)  # a copy: the given image stays as it is
    else:
        with suppress(Exception):  # whatever damaged EXIF data raise, which nothing here needs
            if image.getexif().get(ORIENTATION_TAG, UPRIGHT) != UPRIGHT:
                _note_ignored_orientation()
    return rgb_of(image, decoding)


def _array_pixels(array: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Convert an array to (height, width, 3) uint8; one whose meaning is not clear is refused."""
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        raise UnreadableImage("its channels come first; give numpy.moveaxis(array, 0, -1)")
    if array.ndim == 4:
        raise UnreadableImage("it is a batch; give its images one by one")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)):
        raise UnreadableImage("an image is (height, width), (height, width, 3) or (height, width, 4)")
    if not array.size:
        raise UnreadableImage("it has no pixels")
    check_cost(array.shape[1], array.shape[0], BYTES_A_PIXEL, preparation.decoding)
    pixels = _levels(array).reshape(*array.shape[:2], -1)
    if pixels.shape[-1] == 4:
        return laid_on_white(pixels)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def _levels(array: np.ndarray) -> np.ndarray:
    """Round numbers 0..255 to the nearest uint8."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iuf":
        if array.dtype.name != "bfloat16":
            raise UnreadableImage("an image's values are numbers 0..255")
        array = array.astype(np.float32)
    low, high = float(array.min()), float(array.max())
    if not np.isfinite(high - low):
        raise UnreadableImage("it has values that are not finite")
    small = 0 < max(-low, high) < BLACK  # all zeros are black either way
    if small or low < -HALF or high > WHITE + HALF:
        unit = high < BLACK / 2 and low > -HALF / 2
        advice = "; multiply them by 255" if unit else ", as they were in its file"
        raise UnreadableImage(f"its values are {low:.4g} to {high:.4g} and not 0..255{advice}")
    return np.clip(np.round(array), 0, WHITE).astype(np.uint8)


def _name(image: Any) -> str:
    """Return the beginning of a sentence about an image."""
    if isinstance(image, bytes):
        return "These bytes are"
    if hasattr(image, "read") and isinstance(getattr(image, "name", None), str):
        return f"{image.name} is"
    if isinstance(image, np.ndarray):
        return f"An array {image.shape} of {image.dtype} is"
    return "None is" if image is None else f"This {type(image).__name__} is"
