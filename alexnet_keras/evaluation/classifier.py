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
from alexnet_keras.evaluation.inputs import preparation_of, several, square_of
from alexnet_keras.evaluation.predictions import Predictions
from alexnet_keras.evaluation.predictor import Predictor
from alexnet_keras.runs import Run, latest_run, open_run

READERS = 4  # threads that read and decode ahead of the network


@dataclass(frozen=True)
class Guess:
    """A class and how likely it is."""

    label: int
    name: str  # of ImageNet's classes the WordNet id
    title: str  # in words
    probability: float  # 0..1


@dataclass(frozen=True, eq=False)
class Answer:
    """What is in an image: itself as training would have read it and the likeliest classes, or what is wrong."""

    path: Path | None  # None of an image in memory
    square: np.ndarray | None = None  # (256, 256, 3) uint8
    guesses: Sequence[Guess] = ()
    error: AlexNetError | None = None


class Classifier:
    """A trained run that says what is in an image, which is prepared exactly as the training images were.

        from alexnet_keras import Classifier

        classifier = Classifier("my-run")
        print(classifier("photo.jpg")[0].title)

    Args:
        run: a run, its name under saved_models/, or its path; None for the latest.
        ten_crop: average over the paper's ten crops instead of looking at the centre alone.
        which: the `"best"` or the `"last"` model of the run.

    Raises:
        UsageError: there is no such run, or it has no model yet.
        DataError: the model is damaged.
    """

    def __init__(self, run: Run | str | Path | None = None, *, ten_crop: bool = False, which: str = "best") -> None:
        self.run = run if isinstance(run, Run) else latest_run() if run is None else open_run(run)
        self.preparation = preparation_of(self.run)
        self.predictor = Predictor(self.run.load_model(which), "ten-crop" if ten_crop else "centre")
        self.names: list[str] = self.run.facts["classes"]
        self.titles: list[str] = list(self.run.titles)

    @overload
    def __call__(self, image: str | PathLike | bytes | IO[bytes], count: int = 5) -> list[Guess]: ...
    @overload
    def __call__(self, image: list | tuple | Iterator, count: int = 5) -> list[Answer]: ...
    @overload
    def __call__(self, image: Any, count: int = 5) -> Any: ...
    def __call__(self, image: Any, count: int = 5) -> Any:
        """The likeliest classes of an image, the likeliest first; of several images an answer for each.

        An image is a file's path or bytes (JPEG, PNG, GIF, BMP, WebP, TIFF, PPM, AVIF, HEIC, JPEG 2000), an object
        with `read`, a Pillow image, or an array: `(height, width)` or `(height, width, 1)` grey, `(height, width, 3)`
        RGB, `(height, width, 4)` RGB and opacity, uint8 or other numbers 0..255. Tensors are arrays. Arrays with the
        channels first, with values 0..1 or with normalised values are refused.

        Args:
            image: an image; or a list, a generator or a batch `(n, height, width, channels)` of some.
            count: how many classes.

        Returns:
            `list[Guess]` of one image; `list[Answer]`, in order, of several, as `many` gives them.

        Raises:
            UsageError: there is no such file, or it is nothing of the kind.
            DataError: it is no image that can be used.
        """
        if several(image) is not None:
            return list(self.many(image, count))
        _check(count)
        return self.guesses(self.predictor(self.square(image)[None])[0], count)

    def square(self, image: Any) -> np.ndarray:
        """One image, of any kind, as training would have read it: (256, 256, 3) uint8, RGB.

        Raises:
            UsageError: there is no such file, or it is nothing of the kind.
            DataError: it is no image that can be used.
        """
        return square_of(image, self.preparation)

    def guesses(self, probabilities: np.ndarray, count: int = 5) -> list[Guess]:
        """The likeliest classes of probabilities `(classes,)`.

        Raises:
            NotFiniteError: they are not finite.
        """
        check_finite(probabilities[None], f"The probabilities of the run {self.run.name}")
        return likeliest(probabilities, count, self.names, self.titles)

    def many(self, images: Iterable, count: int = 5) -> Iterator[Answer]:
        """What is in images, in their order, many at a time; one that cannot be used is told apart by its error.

        Args:
            images: a list, a generator or a batch `(n, height, width, channels)`, of anything that is one image.
            count: how many classes.

        Raises:
            UsageError: it is one image.
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
                found = iter(self.predictor(np.stack(usable)) if usable else ())
                for (path, _), square in zip(group, squares, strict=True):
                    if isinstance(square, np.ndarray):
                        yield Answer(path, square, self.guesses(next(found), count))
                    else:
                        yield Answer(path, error=square)


def _check(count: int) -> None:
    if count < 1:
        raise UsageError(f"count must be at least 1. Received: count={count}")


def guesses_of(predictions: Predictions, position: int, titles: Sequence[str], names: Sequence[str]) -> list[Guess]:
    """The five likeliest classes of the image at a position of a split, the likeliest first."""
    found = predictions.summary
    pairs = zip(found.top[position].tolist(), found.top_probabilities[position].tolist(), strict=True)
    return [Guess(label, names[label], titles[label], probability) for label, probability in pairs]


def likeliest(probabilities: np.ndarray, count: int, names: Sequence[str], titles: Sequence[str]) -> list[Guess]:
    """The `count` likeliest classes of probabilities `(classes,)`, the likeliest first."""
    order = np.argsort(-probabilities, kind="stable")[:count].tolist()
    return [Guess(label, names[label], titles[label], float(probabilities[label])) for label in order]
