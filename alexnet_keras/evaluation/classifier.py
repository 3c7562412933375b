"""A trained run as a classifier of images."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from os import PathLike, fsdecode
from pathlib import Path
from typing import IO, Any, overload

import numpy as np

from alexnet_keras.errors import AlexNetError, UsageError
from alexnet_keras.evaluation.errors import check_finite
from alexnet_keras.evaluation.image_inputs import preparation_of, several, square_of
from alexnet_keras.evaluation.predictions import Predictions
from alexnet_keras.evaluation.predictor import Predictor
from alexnet_keras.runs import Run, as_run

READERS = 4  # threads that read and decode ahead of the network


@dataclass(frozen=True)
class ClassProbability:
    """A class and its probability.

    Attributes:
        label: Its index.
        name: Its name in the dataset; of ImageNet's classes the WordNet id.
        title: Its name in words.
        probability: 0..1.
    """

    label: int
    name: str
    title: str
    probability: float


@dataclass(frozen=True, eq=False)
class Classification:
    """The likeliest classes of an image, or the error for which it cannot be used.

    Attributes:
        path: The image's file; None of an image in memory.
        square: The image as training would have read it, (256, 256, 3) uint8, RGB; None if it cannot be used.
        predictions: The likeliest classes, the likeliest first.
        error: The error of an image that cannot be used.
    """

    path: Path | None
    square: np.ndarray | None = None
    predictions: Sequence[ClassProbability] = ()
    error: AlexNetError | None = None


class Classifier:
    """A trained run as a classifier of images, which are prepared exactly as the training images were.

        from alexnet_keras import Classifier

        classifier = Classifier("my-run")
        print(classifier("photo.jpg")[0].title)

    Args:
        run: A run, its name under saved_models/, or its path; None for the latest.
        ten_crop: Average over the paper's ten crops instead of looking at the centre alone.
        which: The `"best"` or the `"last"` model of the run.

    Raises:
        UsageError: There is no such run, or it has no model yet.
        DataError: The model is damaged.
    """

    def __init__(self, run: Run | str | Path | None = None, *, ten_crop: bool = False, which: str = "best") -> None:
        self.run = as_run(run)
        self.preparation = preparation_of(self.run)
        self.model = self.run.load_model(which)
        self.predictor = Predictor(self.model, "ten-crop" if ten_crop else "centre")
        self.names: list[str] = self.run.facts["classes"]
        self.titles: list[str] = list(self.run.titles)

    @overload
    def __call__(self, image: str | PathLike | bytes | IO[bytes], count: int = 5) -> list[ClassProbability]: ...
    @overload
    def __call__(self, image: list | tuple | Iterator, count: int = 5) -> list[Classification]: ...
    @overload
    def __call__(self, image: Any, count: int = 5) -> Any: ...
    def __call__(self, image: Any, count: int = 5) -> Any:
        """Classify an image, or several.

        An image is a file's path or bytes (JPEG, PNG, GIF, BMP, WebP, TIFF, PPM, AVIF, HEIC, JPEG 2000), an object
        with `read`, a Pillow image, or an array: `(height, width)` or `(height, width, 1)` grey, `(height, width, 3)`
        RGB, `(height, width, 4)` RGB and opacity, uint8 or other numbers 0..255. Tensors are arrays. Arrays with the
        channels first, with values 0..1 or with normalised values are refused.

        Args:
            image: An image; or a list, a generator or a batch `(n, height, width, channels)` of images.
            count: The number of classes to return.

        Returns:
            `list[ClassProbability]` of one image, the likeliest class first; of several images
            `list[Classification]`, in order, as `many` gives them.

        Raises:
            UsageError: There is no such file, or it is no image of these kinds.
            DataError: The image cannot be used.
        """
        if several(image) is not None:
            return list(self.many(image, count))
        _check(count)
        return self.decode(self.predictor(self.square(image)[None])[0], count)

    def square(self, image: Any) -> np.ndarray:
        """Read one image, of any kind, as training would have read it: (256, 256, 3) uint8, RGB.

        Raises:
            UsageError: There is no such file, or it is no image of these kinds.
            DataError: The image cannot be used.
        """
        return square_of(image, self.preparation)

    def decode(self, probabilities: np.ndarray, count: int = 5) -> list[ClassProbability]:
        """Name the likeliest classes of probabilities `(classes,)`, the likeliest first; ties keep the order of labels.

        Raises:
            NotFiniteError: They are not finite.
        """
        check_finite(probabilities[None], f"The probabilities of the run {self.run.name}")
        labels = np.argsort(-probabilities, kind="stable")[:count]
        return _named(labels, probabilities[labels], self.titles, self.names)

    def many(self, images: Iterable, count: int = 5) -> Iterator[Classification]:
        """Classify images in their order, many at a time; one that cannot be used is returned with its error.

        Args:
            images: A list, a generator or a batch `(n, height, width, channels)` of anything that is one image.
            count: The number of classes to return.

        Raises:
            UsageError: It is one image, or `count` is less than 1.
        """
        given = several(images)
        if given is None:
            raise UsageError(f"This {type(images).__name__} is not several images: give a list of them.")
        _check(count)

        def read(image: Any) -> np.ndarray | AlexNetError:
            try:
                return self.square(image)
            except AlexNetError as error:
                return error

        def started(image: Any) -> tuple[Path | None, Future | np.ndarray | AlexNetError]:
            if isinstance(image, str | PathLike):
                return Path(fsdecode(image)), pool.submit(read, image)
            return None, read(image)  # neither a file object nor a Pillow image is for several threads

        remaining, size = iter(given), self.predictor.images_at_a_time
        with ThreadPoolExecutor(READERS) as pool:
            while group := [started(image) for image in islice(remaining, size)]:
                squares = [each.result() if isinstance(each, Future) else each for _, each in group]
                usable = [square for square in squares if isinstance(square, np.ndarray)]
                probabilities = iter(self.predictor(np.stack(usable)) if usable else ())
                for (path, _), square in zip(group, squares, strict=True):
                    if isinstance(square, np.ndarray):
                        yield Classification(path, square, self.decode(next(probabilities), count))
                    else:
                        yield Classification(path, error=square)


def _check(count: int) -> None:
    if count < 1:
        raise UsageError(f"count must be at least 1. Received: count={count}")


def likeliest_classes(
    predictions: Predictions, position: int, titles: Sequence[str], names: Sequence[str]
) -> list[ClassProbability]:
    """Name the five likeliest classes of the image at a position of a split, the likeliest first."""
    summary = predictions.summary
    return _named(summary.top[position], summary.top_probabilities[position], titles, names)


def _named(
    labels: np.ndarray, probabilities: np.ndarray, titles: Sequence[str], names: Sequence[str]
) -> list[ClassProbability]:
    pairs = zip(labels.tolist(), probabilities.tolist(), strict=True)
    return [ClassProbability(label, names[label], titles[label], probability) for label, probability in pairs]
