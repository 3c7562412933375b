"""The two classical systems by name: from a prepared dataset to scores, in stages that are each computed once and kept.

Each kept file holds what it was made from: what differs or is damaged is made again."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.pipeline import images_at
from alexnet_keras.errors import DAMAGED, DataError, UsageError
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
from alexnet_keras.experiments.classical.settings import (
    FisherVectors,
    Observer,
    Progress,
    SparseCoding,
    SystemSettings,
    check_libraries,
)
from alexnet_keras.storage.files import locked, sha256_of, write_by_rename

_MADE_FROM = "made_from"


def kept_arrays(
    path: Path, made_from: dict[str, Any], make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The arrays in an .npz file if it was made from the same; else `make` makes them, and they are written there.

    Args:
        made_from: all that the arrays depend on, as JSON can say it.
    """
    origin = json.dumps(made_from, sort_keys=True)
    arrays = _read(path, origin)
    if arrays is None:
        arrays = make()
        with write_by_rename(path) as partial, partial.open("wb") as file:
            saved: dict[str, Any] = {_MADE_FROM: np.array(origin), **arrays}
            np.savez(file, **saved)
    return arrays


def _read(path: Path, origin: str) -> dict[str, np.ndarray] | None:
    """The arrays, whose checksums the archive holds, or None."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if str(archive[_MADE_FROM]) != origin:
                return None
            return {name: archive[name] for name in archive.files if name != _MADE_FROM}
    except DAMAGED:
        return None


VERSION = 1  # of what the stages compute: counted up when the same settings come to give other numbers
_AT_A_TIME = 64  # images decoded for the sample


@dataclass(frozen=True)
class System:
    """What tells one system from the other.

    Attributes:
        title: What tables call it.
        settings: The class of its settings.
        vocabulary: What it learns from a sample of descriptors.
        learn: From the sample, settings, a seed and whom to tell, to the vocabulary's arrays.
        encoder: From the settings and those arrays to what encodes an image.
    """

    title: str
    settings: type
    vocabulary: str
    learn: Callable[[np.ndarray, Any, int, Progress], dict[str, np.ndarray]]
    encoder: Callable[..., Encoder]


@dataclass(frozen=True)
class Stages:
    """A system, what it is fitted to, and the folder of its stages. A stage is computed when the first one asks for it.

    Each is kept with all that it was made from, and made anew when that is not the same any more.
    """

    name: str
    system: System
    data: PreparedDataset
    folder: Path
    settings: SystemSettings
    seed: int
    observer: Observer

    def descriptors(self) -> np.ndarray:
        """The sample of descriptors, float32 `(n, 128)`."""
        made_from = self._origin | {"grid": asdict(self.settings.grid), "sample": asdict(self.settings.sample)}
        make = partial(sample_descriptors, self.data, self.settings, self.seed, partial(self.observer, "descriptors"))
        kept = kept_arrays(self.folder / "descriptors.npz", made_from, make)
        return kept["descriptors"].astype(np.float32)

    @cached_property
    def encode(self) -> Encoder:
        """What encodes an image, with the vocabulary learnt."""
        told = partial(self.observer, self.system.vocabulary)

        def make() -> dict[str, np.ndarray]:
            return self.system.learn(self.descriptors(), self.settings, self.seed, told)

        return self.system.encoder(self.settings, **kept_arrays(self._vocabulary_path, self._features_from, make))

    def features(self, split: str) -> EncodedSplit:
        """The encoded images of a split."""
        told = partial(self.observer, f"features of {split}")
        return encode_split(self.data, split, self.folder, self.encode, self._encoded_from | {"split": split}, told)

    @cached_property
    def tuning(self) -> dict[str, np.ndarray]:
        """How each weight decay does on training images held out, as `tune_svm` returns it."""
        told = partial(self.observer, "tuning")

        def make() -> dict[str, np.ndarray]:
            return tune_svm(self._train, len(self.data.classes), self.settings.svm, self.seed, told)

        return kept_arrays(self.folder / "tuning.npz", self._encoded_from | {"svm": asdict(self.settings.svm)}, make)

    @property
    def alpha(self) -> float:
        """The best weight decay; of equally good ones, the strongest."""
        return float(self.tuning["alphas"][self.tuning["misses"].argmin()])

    def classifier(self) -> dict[str, np.ndarray]:
        """Weights and biases, as `train_svm` returns them, of the whole training split."""

        def make() -> dict[str, np.ndarray]:
            rows, told = np.arange(len(self._train.labels)), partial(self.observer, "classifier")
            return train_svm(self._train, rows, len(self.data.classes), self.settings.svm, self.alpha, self.seed, told)

        made_from = self._encoded_from | {"svm": asdict(self.settings.svm), "alpha": self.alpha}
        return kept_arrays(self.folder / "classifier.npz", made_from, make)

    @cached_property
    def _train(self) -> EncodedSplit:
        return self.features("train")

    @property
    def _vocabulary_path(self) -> Path:
        return self.folder / f"{self.system.vocabulary}.npz"

    @property
    def _origin(self) -> dict[str, Any]:
        return {"version": VERSION, "system": self.name, "data": self.data.fingerprint, "seed": self.seed}

    @property
    def _features_from(self) -> dict[str, Any]:
        settings = asdict(self.settings)
        del settings["svm"]
        return self._origin | {"settings": settings}

    @cached_property
    def _encoded_from(self) -> dict[str, Any]:
        """With the vocabulary's bytes: learnt again, it may differ in its last digits or in the order of its words."""
        _ = self.encode  # so that the file is there
        return self._features_from | {"vocabulary": sha256_of(self._vocabulary_path)}


def sample_descriptors(
    data: PreparedDataset, settings: SystemSettings, seed: int, progress: Progress
) -> dict[str, np.ndarray]:
    """A seeded choice of training images' descriptors in a seeded choice of places: "descriptors" float16 `(n, 128)`.

    Those without any contrast are left out: there is nothing to learn from them.
    """
    random = np.random.default_rng(seed)
    count = min(settings.sample.images, data.examples("train"))
    positions = np.sort(random.permutation(data.examples("train"))[:count])
    sift = DenseSift(settings.grid)
    parts, waiting = [np.empty((0, LENGTH), np.float16)], []
    with one_thread_each() as pool:
        for number, (_, image, _, _) in enumerate(images_at(data, "train", positions), start=1):
            waiting.append(image.numpy())
            if len(waiting) == _AT_A_TIME or number == count:
                for descriptors in pool.map(sift, waiting):
                    chosen = descriptors[random.permutation(len(descriptors))[: settings.sample.patches]]
                    parts.append(chosen[chosen.any(axis=1)].astype(np.float16))
                waiting = []
                progress(number, count)
    return {"descriptors": np.concatenate(parts)}


LOCK = "lock"

SYSTEMS = {
    "sparse-coding": System("Sparse coding", SparseCoding, "dictionary", learn_dictionary, SparseCodeEncoder),
    "fisher-vectors": System("SIFT + FVs", FisherVectors, "mixture", learn_mixture, FisherEncoder),
}


@dataclass(frozen=True)
class Scores:
    """What a system says of a split, in its stored order.

    Attributes:
        scores: float32 `(images, classes)`, what each class's machine says: the higher the likelier. They are no
            probabilities.
        labels: int64 `(images,)`.
        size: Numbers in an image's feature.
        alpha: The weight decay that was chosen.
        tried: Each weight decay that was tried, with its top-1 error, 0..1, on training images held out.
    """

    scores: np.ndarray
    labels: np.ndarray
    size: int
    alpha: float
    tried: dict[float, float]


def fit_and_predict(
    system: str,
    data: PreparedDataset,
    split: str,
    folder: Path,
    settings: SystemSettings,
    seed: int = 0,
    observer: Observer = lambda stage, done, total: None,
) -> Scores:
    """Fits a system to the training split of a dataset and scores another split.

    The folder keeps what each stage made: a sample of descriptors, the vocabulary, the features of both splits, the
    comparison of weight decays, the classifier. A call that was interrupted goes on from there, in the middle of a
    split from the last whole shard. What was made from other data or settings, with another seed, or is damaged, is
    made anew.

    Memory does not grow with the number of images. The folder does, by two bytes for each number of a feature.

    Args:
        system: one of SYSTEMS.
        split: which split to score.
        folder: where the stages go; each system and dataset has one of its own.
        settings: as the system takes them, of MINI or FULL for example.
        observer: told of (stage, done, total) as stages go on; not of those that are there.

    Raises:
        UsageError: there is no such system or split, the settings are another system's, or a library is missing.
        DataError: a split is empty, there is only one class, or there are too few patches to learn from.
        AlexNetError: another process is at work in the folder.
    """
    check_libraries()
    _check(system, data, split, settings)
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"Another process{{holder}} is at work in {folder}: wait for it, or choose another folder."
    with locked(folder / LOCK, busy):
        stages = Stages(system, SYSTEMS[system], data, folder, settings, seed, observer)
        classifier = stages.classifier()
        features, tuning = stages.features(split), stages.tuning
        errors = tuning["misses"] / tuning["held_out"]
        return Scores(
            scores=decision_values(
                features, np.arange(len(features.labels)), classifier["weights"], classifier["biases"]
            ),
            labels=features.labels,
            size=features.size,
            alpha=stages.alpha,
            tried=dict(zip(tuning["alphas"].tolist(), errors.tolist(), strict=True)),
        )


def _check(system: str, data: PreparedDataset, split: str, settings: SystemSettings) -> None:
    if system not in SYSTEMS:
        raise UsageError(f"There is no system {system!r}; there are {', '.join(SYSTEMS)}.")
    if not isinstance(settings, SYSTEMS[system].settings):
        raise UsageError(f"The settings of {type(settings).__name__} are not for the system {system}.")
    for name in ("train", split):
        if not data.examples(name):
            raise DataError(f"The split {name!r} of {data.path} has no images.")
    if len(data.classes) < 2 or data.examples("train") < 2:
        raise DataError(f"{data.path} has nothing to tell apart: two classes and two training images are the least.")
