"""CIFAR-10 in memory: 32x32 pictures from a folder or from TFDS, and the random crops of them."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from alexnet_keras.data.sources.open import SourceRequest, open_source
from alexnet_keras.data.sources.source import Pictures
from alexnet_keras.errors import DataError

SIDE = 32  # pixels


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pictures uint8 `(n, side, side, 3)`, RGB, and labels int64 `(n,)`."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class CifarImages:
    """The training and the test pictures.

    Attributes:
        digest: Of names, labels and sizes, hex: two sets with the same digest are the same pictures.
    """

    train: Labelled
    test: Labelled
    classes: tuple[str, ...]
    given: str
    digest: str


def load_cifar(given: str, on_progress: Callable[[int], None] = lambda pictures: None) -> CifarImages:
    """Reads all pictures of a source.

    Args:
        given: a folder with train and test folders of class folders, or `tfds:cifar10`.
        on_progress: called with the number of pictures read since the last call.

    Raises:
        UsageError: there is no such source.
        DataError: a picture cannot be read, or is not 32x32.
    """
    source = open_source(SourceRequest(given))
    read = {split: _read(source.splits[split], on_progress) for split in ("train", "val")}
    return CifarImages(read["train"], read["val"], source.classes, source.given, source.digest())


def random_crops(images: np.ndarray, side: int, random: np.random.Generator) -> np.ndarray:
    """A crop of every picture at a place of its own, half of them mirrored: `(n, side, side, 3)`."""
    margin = images.shape[1] - side
    top, left = random.integers(0, margin + 1, (2, len(images), 1))
    rows, columns = (start + np.arange(side) for start in (top, left))
    columns = np.where(random.random((len(images), 1)) < 0.5, columns, columns[:, ::-1])
    return images[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]


def ten_crops(images: np.ndarray, side: int) -> np.ndarray:
    """The four corners, the centre, and their reflections (paper, section 4.1): `(10, n, side, side, 3)`."""
    margin = images.shape[1] - side
    places = [(0, 0), (0, margin), (margin // 2, margin // 2), (margin, 0), (margin, margin)]
    crops = np.stack([images[:, top : top + side, left : left + side] for top, left in places])
    return np.concatenate([crops, crops[:, :, :, ::-1]])


def _read(pictures: Pictures, on_progress: Callable[[int], None]) -> Labelled:
    def read(index: int) -> np.ndarray:
        name = pictures.filenames[index]
        try:
            with Image.open(io.BytesIO(pictures.read(index))) as picture:
                size = picture.size
                pixels = np.asarray(picture.convert("RGB")) if size == (SIDE, SIDE) else None
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"The picture {name} cannot be read: {error}.") from error
        if pixels is None:
            raise DataError(f"The picture {name} is {size[0]}x{size[1]}; CIFAR-10's are {SIDE}x{SIDE}.")
        on_progress(1)
        return pixels

    with ThreadPoolExecutor() as pool:
        images = np.stack(list(pool.map(read, range(len(pictures)))))
    return Labelled(images, pictures.labels.astype(np.int64))
