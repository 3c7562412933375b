"""A trained run, or weights that others published, as a classifier of images."""

from __future__ import annotations  # so that help() shows them as they are written

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from os import PathLike, fsdecode
from pathlib import Path
from typing import IO, Any, overload

import numpy as np

from alexnet_keras.backend import require_tensorflow
from alexnet_keras.data.class_names import imagenet_titles, imagenet_words
from alexnet_keras.errors import AlexNetError, UsageError, whole_number
from alexnet_keras.evaluation.errors import check_finite, floating
from alexnet_keras.evaluation.image_inputs import UNCOMPRESSED, preparation_of, several, square_of
from alexnet_keras.evaluation.predictions import Predictions
from alexnet_keras.evaluation.predictor import Predictor
from alexnet_keras.network.loading import load_model
from alexnet_keras.network.model import AlexNet
from alexnet_keras.reporter import ProgressBar, Reporter
from alexnet_keras.runs import Run, as_run, published_run
from alexnet_keras.storage.hub import is_address
from alexnet_keras.weights.published import PUBLISHED, published_path

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

    def to_dict(self) -> dict[str, Any]:
        """The entries that `alexnet predict --json` prints."""
        return {"class": self.name, "title": self.title, "probability": self.probability}


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
        run: A run, its name under saved_models/, or its path; `"hf://USER/NAME"` for one that `alexnet publish` put on
            Hugging Face's hub; None for the latest. Without a run of that name `"torchvision"`, `"caffe"`, `"caffenet"`
            and `"toronto"` are the weights of `weights`.
        weights: One of these names, instead of a run: published weights with ImageNet's classes, which are downloaded
            once.
        ten_crop: Average over the paper's ten crops instead of looking at the centre alone.
        which: The `"best"` or the `"last"` model of the run; a published run, or published weights, are one model.
        reporter: Gets the progress of a download; None shows a bar.

    Attributes:
        run: The run; None of published weights.
        name: The name of the run, or of the weights.
        which: "best" or "last", the run's model that it is.
        recipe: The name of the network's recipe.
        model: The network, from crops to probabilities.
        names: The classes' names; of ImageNet's classes the WordNet ids.
        titles: Their names in words.

    Raises:
        UsageError: There is no such run, or it has no such model; there are no such weights; or both are given.
        AlexNetError: The weights cannot be downloaded.
        DataError: The model is damaged.
    """

    def __init__(
        self,
        run: Run | str | Path | None = None,
        *,
        weights: str | None = None,
        ten_crop: bool = False,
        which: str = "best",
        reporter: Reporter | None = None,
    ) -> None:
        require_tensorflow("Classifying images")
        if run is not None and weights is not None:
            raise UsageError(f"A classifier has a run or weights. Received: run={run!r}, weights={weights!r}")
        on_hub = is_address(run)
        self.run = None if weights is not None else published_run(str(run)) if on_hub else _run_unless_published(run)
        if which != "best" and (self.run is None or on_hub):
            raise UsageError(f"{weights or run} has one model, which is its best. Received: which={which!r}")
        self.which = which
        if self.run is not None:
            self.name, self.recipe = self.run.name, self.run.recipe.name
            self.preparation = preparation_of(self.run)
            if on_hub:
                self.model = self.run.with_its_classes(load_model(self.run.path), str(run))
            else:
                self.model = self.run.load_model(which)
            self.names: list[str] = self.run.facts["classes"]
            self.titles: list[str] = list(self.run.titles)
        else:
            self.name = str(weights or run)
            if self.name not in PUBLISHED:
                raise UsageError(f"The published weights are {', '.join(PUBLISHED)}. Received: weights={weights!r}")
            self.preparation, self.recipe = UNCOMPRESSED, PUBLISHED[self.name].recipe
            self.model = AlexNet(self.recipe, published_path(self.name, reporter=reporter or ProgressBar()))
            self.names, self.titles = list(imagenet_words()), list(imagenet_titles())
        self.predictor = Predictor(self.model, "ten-crop" if ten_crop else "centre")

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
        count = whole_number("count", count, refusal=UsageError)  # before the image is classified
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
            UsageError: They are not as many floating-point numbers as there are classes, or `count` is no whole number
                from 1 on.
            NotFiniteError: They are not finite.
        """
        count, given = whole_number("count", count, refusal=UsageError), np.asarray(probabilities)
        if given.shape != (len(self.names),):
            raise UsageError(f"Probabilities must be ({len(self.names)},). Received: shape={given.shape}")
        given = floating(given)
        check_finite(given[None], f"The probabilities of {self.name}")
        labels = np.argsort(-given, kind="stable")[:count]
        return _named(labels, given[labels], self.titles, self.names)

    def many(self, images: Iterable, count: int = 5) -> Iterator[Classification]:
        """Classify images in their order, many at a time; one that cannot be used is returned with its error.

        Args:
            images: A list, a generator or a batch `(n, height, width, channels)` of anything that is one image.
            count: The number of classes to return.

        Raises:
            UsageError: It is one image, or `count` is no whole number from 1 on.
        """
        given = several(images)
        if given is None:
            raise UsageError(f"This {type(images).__name__} is not several images: give a list of them.")
        return self._classified(given, whole_number("count", count, refusal=UsageError))

    def _classified(self, images: Iterable, count: int) -> Iterator[Classification]:
        """Classify images in their order, which are read when they are asked for."""

        def read(image: Any) -> np.ndarray | AlexNetError:
            try:
                return self.square(image)
            except AlexNetError as error:
                return error

        def started(image: Any) -> tuple[Path | None, Future | np.ndarray | AlexNetError]:
            if isinstance(image, str | PathLike):
                return Path(fsdecode(image)), pool.submit(read, image)
            return None, read(image)  # neither a file object nor a Pillow image is for several threads

        remaining, size = iter(images), self.predictor.images_at_a_time
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


def _run_unless_published(run: Run | str | Path | None) -> Run | None:
    try:
        return as_run(run)
    except UsageError:
        if run in PUBLISHED:
            return None
        raise


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
