"""The two classical systems by name: from a prepared dataset to scores, in stages that are each computed once and kept.

Each kept file holds the inputs that it was made from: if they differ or it is damaged, it is made again."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.pipeline import images_at
from alexnet_keras.errors import DataError
from alexnet_keras.evaluation.errors import images_in
from alexnet_keras.experiments.classical.classifier import (
    EncodedSplit,
    Encoder,
    decision_values,
    encode_split,
    one_thread_each,
    train_svm,
    tune_svm,
)
from alexnet_keras.experiments.classical.codings import (
    LENGTH,
    DenseSift,
    FisherEncoder,
    SparseCodeEncoder,
    learn_dictionary,
    learn_mixture,
)
from alexnet_keras.experiments.classical.settings import SystemSettings, check_libraries
from alexnet_keras.reporter import SILENT, Advance, Reporter
from alexnet_keras.storage.files import sha256_of
from alexnet_keras.storage.kept import kept_arrays
from alexnet_keras.storage.locks import locked

VERSION = 1  # of the stages' results: incremented when the same settings come to give other numbers
LOCK = "lock"
_AT_A_TIME = 64  # images decoded for the sample


@dataclass(frozen=True)
class System:
    """The parts in which the systems differ.

    Attributes:
        vocabulary: What it learns from a sample of descriptors.
        learn: Learns the vocabulary's arrays from the sample, the settings and a seed.
        encoder: Makes the encoder of images from the settings and those arrays.
    """

    vocabulary: str
    learn: Callable[[np.ndarray, Any, int, Advance], dict[str, np.ndarray]]
    encoder: Callable[[Any, dict[str, np.ndarray]], Encoder]


SYSTEMS = {
    "sparse-coding": System("dictionary", learn_dictionary, SparseCodeEncoder),
    "fisher-vectors": System("mixture", learn_mixture, FisherEncoder),
}


def sample_descriptors(
    data: PreparedDataset, settings: SystemSettings, images: int, seed: int, advance: Advance
) -> np.ndarray:
    """Compute descriptors at random places of random training images, float16 `(n, 128)`.

    Those without any contrast are left out: there is nothing to learn from them.
    """
    random = np.random.default_rng(seed)
    positions = np.sort(random.permutation(data.examples("train"))[:images])
    sift = DenseSift(settings.grid)
    parts, waiting = [np.empty((0, LENGTH), np.float16)], []
    with one_thread_each() as pool:
        for number, (_, image, _, _) in enumerate(images_at(data, "train", positions), start=1):
            waiting.append(image.numpy())
            if len(waiting) == _AT_A_TIME or number == images:
                for descriptors in pool.map(sift, waiting):
                    chosen = descriptors[random.permutation(len(descriptors))[: settings.sample.patches]]
                    parts.append(chosen[chosen.any(axis=1)].astype(np.float16))
                advance(len(waiting))
                waiting = []
    return np.concatenate(parts)


@dataclass(frozen=True)
class Scores:
    """A system's scores for a split, in its stored order.

    Attributes:
        scores: float32 `(images, classes)`, the higher the likelier. They are no probabilities.
        labels: int64 `(images,)`.
        size: Length of an image's feature.
        alpha: The weight decay that was chosen.
    """

    scores: np.ndarray
    labels: np.ndarray
    size: int
    alpha: float


def fit_and_predict(
    system: str,
    data: PreparedDataset,
    split: str,
    folder: Path,
    settings: SystemSettings,
    seed: int = 0,
    *,
    reporter: Reporter = SILENT,
) -> Scores:
    """Fit a system to the training split of a dataset and score another split.

    The folder keeps the result of each stage: a sample of descriptors, the vocabulary, the features of both splits, the
    comparison of weight decays, the classifier. A call that was interrupted resumes there, within a split after the
    last whole shard. A result is made again if the data, the settings or the seed differ, or if it is damaged.

    Memory does not grow with the number of images. The folder does, by two bytes for each number of a feature; each
    system and dataset needs its own.

    Raises:
        UsageError: There is no such split, or a library is missing.
        DataError: A split is empty, there is only one class, or there are too few patches to learn from.
        AlexNetError: Another process is at work in the folder.
    """
    check_libraries()
    for name in ("train", split):
        images_in(data, name)
    if len(data.classes) < 2 or data.examples("train") < 2:
        raise DataError(f"{data.path} cannot be learnt: it needs at least two classes and two training images.")
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"Another process{{holder}} is at work in {folder}: wait for it, or choose another folder."
    with locked(folder / LOCK, busy):
        encode, inputs = _encoder(system, data, folder, settings, seed, reporter)
        classes, svm = len(data.classes), settings.svm

        def features(name: str) -> EncodedSplit:
            return encode_split(data, name, folder, encode, inputs | {"split": name}, reporter)

        train = cache(lambda: features("train"))  # not read where everything that needs it is kept
        inputs_of_tuning = inputs | {"svm": asdict(svm)}
        tuning = kept_arrays(
            folder / "tuning.npz", inputs_of_tuning, lambda: tune_svm(train(), classes, svm, seed, reporter)
        )
        alpha = float(tuning["alphas"][tuning["misses"].argmin()])  # ties take the strongest

        def train_classifier() -> dict[str, np.ndarray]:
            rows = np.arange(len(train().labels))
            with reporter.progress("classifier", svm.epochs * len(rows)) as advance:
                return train_svm(train(), rows, classes, svm, alpha, seed, advance)

        classifier = kept_arrays(folder / "classifier.npz", inputs_of_tuning | {"alpha": alpha}, train_classifier)
        scored = features(split)
        scores = decision_values(scored, np.arange(len(scored.labels)), classifier)
        return Scores(scores, scored.labels, scored.size, alpha)


def _encoder(
    name: str, data: PreparedDataset, folder: Path, settings: SystemSettings, seed: int, reporter: Reporter
) -> tuple[Encoder, dict[str, Any]]:
    """The encoder of images, with its vocabulary learnt, and all that its features depend on."""
    system = SYSTEMS[name]
    origin = {"version": VERSION, "system": name, "data": data.fingerprint, "seed": seed}
    coding = {field: value for field, value in asdict(settings).items() if field != "svm"}

    def sample() -> dict[str, np.ndarray]:
        images = min(settings.sample.images, data.examples("train"))
        with reporter.progress("descriptors", images) as advance:
            return {"descriptors": sample_descriptors(data, settings, images, seed, advance)}

    def learn() -> dict[str, np.ndarray]:
        inputs = origin | {"grid": coding["grid"], "sample": coding["sample"]}
        descriptors = kept_arrays(folder / "descriptors.npz", inputs, sample)["descriptors"].astype(np.float32)
        with reporter.progress(system.vocabulary, len(descriptors), "patches") as advance:
            return system.learn(descriptors, settings, seed, advance)

    path = folder / f"{system.vocabulary}.npz"
    encoder = system.encoder(settings, kept_arrays(path, origin | {"settings": coding}, learn))
    # With the vocabulary's bytes: learnt again, it may differ in its last digits or in the order of its atoms.
    return encoder, origin | {"settings": coding, "vocabulary": sha256_of(path)}
