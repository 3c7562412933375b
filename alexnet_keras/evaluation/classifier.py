"""A trained run that says what is in a picture."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from alexnet_keras.data.decode import UnreadableImage
from alexnet_keras.errors import AlexNetError, DataError
from alexnet_keras.evaluation.errors import check_finite
from alexnet_keras.evaluation.pictures import preparation_of, read_picture
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
    """What is in a file: its picture as training would have read it and the likeliest classes, or what is wrong."""

    path: Path
    square: np.ndarray | None = None  # (256, 256, 3) uint8
    guesses: Sequence[Guess] = ()
    error: AlexNetError | None = None


class Classifier:
    """A trained run that says what is in a picture, which is prepared exactly as the training pictures were.

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
        self.titles: list[str] = self.run.facts["data"].get("titles", self.names)

    def __call__(self, picture: str | PathLike | bytes, count: int = 5) -> list[Guess]:
        """The likeliest classes of a picture, the likeliest first.

        Args:
            picture: a file, or its bytes: JPEG, PNG, GIF, BMP, WebP, TIFF or PPM.
            count: how many classes.

        Raises:
            UsageError: there is no such file.
            DataError: it is no picture that can be used.
        """
        square = self.square(picture)
        return self.guesses(self.predictor(square[None])[0], count)

    def square(self, picture: str | PathLike | bytes) -> np.ndarray:
        """A file, or its bytes, as training would have read it: (256, 256, 3) uint8, RGB.

        Raises:
            UsageError: there is no such file.
            DataError: it is no picture that can be used.
        """
        if not isinstance(picture, bytes):
            return read_picture(Path(picture), self.preparation)
        try:
            return self.preparation.square(picture)
        except UnreadableImage as error:
            raise DataError(f"These bytes are no picture that can be used: {error}.") from error

    def guesses(self, probabilities: np.ndarray, count: int = 5) -> list[Guess]:
        """The likeliest classes of probabilities `(classes,)`.

        Raises:
            NotFiniteError: they are not finite.
        """
        check_finite(probabilities[None], f"The probabilities of the run {self.run.name}")
        return likeliest(probabilities, count, self.names, self.titles)

    def many(self, pictures: Sequence[Path], count: int = 5) -> Iterator["Answer"]:
        """What is in files, in their order, many at a time; one that cannot be used is told apart by its error."""

        def read(path: Path) -> np.ndarray | AlexNetError:
            try:
                return self.square(path)
            except AlexNetError as error:
                return error

        with ThreadPoolExecutor(READERS) as pool:
            size = self.predictor.pictures_at_a_time
            for group in (pictures[start : start + size] for start in range(0, len(pictures), size)):
                squares = list(pool.map(read, group))
                usable = [square for square in squares if isinstance(square, np.ndarray)]
                found = iter(self.predictor(np.stack(usable)) if usable else ())
                for path, square in zip(group, squares, strict=True):
                    if isinstance(square, np.ndarray):
                        yield Answer(path, square, self.guesses(next(found), count))
                    else:
                        yield Answer(path, error=square)


def guesses_of(predictions: Predictions, position: int, titles: Sequence[str], names: Sequence[str]) -> list[Guess]:
    """The five likeliest classes of the picture at a position of a split, the likeliest first."""
    found = predictions.summary
    pairs = zip(found.top[position].tolist(), found.top_probabilities[position].tolist(), strict=True)
    return [Guess(label, names[label], titles[label], probability) for label, probability in pairs]


def likeliest(probabilities: np.ndarray, count: int, names: Sequence[str], titles: Sequence[str]) -> list[Guess]:
    """The `count` likeliest classes of probabilities `(classes,)`, the likeliest first."""
    order = np.argsort(-probabilities, kind="stable")[:count].tolist()
    return [Guess(label, names[label], titles[label], float(probabilities[label])) for label in order]
