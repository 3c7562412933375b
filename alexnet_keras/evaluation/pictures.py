"""Pictures to look at through a network: files prepared as a run's training pictures were, and some of a split."""

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_keras.data.decode import Decoding, UnreadableImage, fit_to_square, read_picture_file, square_of_pixels
from alexnet_keras.data.encoding import JPEG_QUALITY, Encoding
from alexnet_keras.data.pipeline import images_at
from alexnet_keras.data.prepared import PreparedDataset, open_prepared
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.places import refuse_url
from alexnet_keras.runs import Run

SAMPLE = 16  # pictures looked at for each one wanted, so that different classes are among them


@dataclass(frozen=True)
class Preparation:
    """How `alexnet prepare` made the pictures that a run was trained on."""

    decoding: Decoding = Decoding()
    encoding: Encoding = Encoding()

    def square(self, encoded: bytes) -> np.ndarray:
        """A picture file's bytes to what training would have read of it: (256, 256, 3) uint8, RGB.

        Raises:
            UnreadableImage: the bytes are no picture that can be used; the message is the reason.
        """
        return self._stored(fit_to_square(encoded, self.decoding))

    def square_of_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (height, width, 3) uint8, RGB, to what training would have read of them: (256, 256, 3) uint8."""
        return self._stored(square_of_pixels(pixels))

    def _stored(self, square: np.ndarray) -> np.ndarray:
        stored = self.encoding.encode(square)
        return self.encoding.decode(self.encoding.stored(stored.numpy(), square)).numpy()


def preparation_of(run: Run) -> Preparation:
    """The preparation of the data that a run was trained on, as the run itself remembers it."""
    data = run.facts["data"]
    options = data["options"] if "options" in data else open_prepared(run.data_path).manifest["options"]
    return Preparation(
        Decoding(options["max_pixels"], options["exif"]),
        Encoding(options["encoding"], options["jpeg_quality"] or JPEG_QUALITY),
    )


def read_picture(path: Path, preparation: Preparation) -> np.ndarray:
    """A picture file as training would have seen it: (256, 256, 3) uint8, RGB.

    Raises:
        UsageError: there is no such file.
        DataError: it cannot be read, or is no picture.
    """
    try:
        encoded = read_picture_file(path)
    except (OSError, ValueError) as error:  # the latter of a zero byte
        number, text = getattr(error, "errno", None), str(path)
        refuse_url(text)
        if number in (None, errno.ENAMETOOLONG):
            beginning = repr(text[:30])
            raise UsageError(f"{beginning} begins no file's name; what a file holds is given as bytes.") from error
        if number == errno.ENOENT:
            raise UsageError(f"There is no file {path}.") from error
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', error)}.") from error
    try:
        return preparation.square(encoded)
    except UnreadableImage as error:
        raise DataError(f"{path} is no picture that can be used: {error}.") from error


def pictures_at(data: PreparedDataset, split: str, positions: Iterable[int]) -> tuple[np.ndarray, np.ndarray, list]:
    """Pictures of a split by their positions in it.

    Returns:
        Images uint8 `(n, 256, 256, 3)`, labels int64 `(n,)` and file names, in the order of `positions`.
    """
    positions = [int(position) for position in positions]
    found = {
        position: (image.numpy(), int(label), filename.numpy().decode("utf-8", "replace"))
        for position, image, label, filename in images_at(data, split, positions)
    }
    images, labels, filenames = zip(*(found[position] for position in positions), strict=True)
    return np.stack(images), np.array(labels), list(filenames)


def some_pictures(
    data: PreparedDataset, split: str, count: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A seeded choice of pictures of a split, of different classes as far as can be.

    Returns:
        Images uint8 `(count, 256, 256, 3)`, labels int64 `(count,)` and file names.

    Raises:
        UsageError: there is no such split.
        DataError: it has fewer pictures.
    """
    examples = data.examples(split)
    if examples < count:
        raise DataError(f"The split {split!r} of {data.path} has {examples} images, fewer than the {count} wanted.")
    sample = np.random.default_rng(seed).permutation(examples)[: count * SAMPLE]
    images, labels, filenames = pictures_at(data, split, sample)
    chosen = spread_over_classes(labels, count)
    return images[chosen], labels[chosen], [filenames[index] for index in chosen]


def spread_over_classes(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of `count` of the labels: the first of each class in order, then the second of each, and so on."""
    seen: dict[int, int] = {}
    turns = np.empty(len(labels), np.int64)
    for index, label in enumerate(labels.tolist()):
        turns[index] = seen[label] = seen.get(label, -1) + 1
    return np.argsort(turns, kind="stable")[:count]
