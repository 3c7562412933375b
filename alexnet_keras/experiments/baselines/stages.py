"""The stages of a classical system in their order, each done once and kept in a folder."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.data.pipeline import images_at
from alexnet_keras.data.prepared import PreparedDataset
from alexnet_keras.experiments.baselines.classifier import train_svm, tune_svm
from alexnet_keras.experiments.baselines.dense_sift import LENGTH, DenseSift
from alexnet_keras.experiments.baselines.encoding import EncodedSplit, Encoder, encode_split, one_thread_each
from alexnet_keras.experiments.baselines.kept import kept_arrays
from alexnet_keras.experiments.baselines.observer import Observer, Progress
from alexnet_keras.experiments.baselines.settings import SystemSettings
from alexnet_keras.files import sha256_of

VERSION = 1  # of what the stages compute: counted up when the same settings come to give other numbers
_AT_A_TIME = 64  # pictures decoded for the sample


@dataclass(frozen=True)
class System:
    """What tells one system from the other.

    Attributes:
        title: What tables call it.
        settings: The class of its settings.
        vocabulary: What it learns from a sample of descriptors.
        learn: From the sample, settings, a seed and whom to tell, to the vocabulary's arrays.
        encoder: From the settings and those arrays to what encodes a picture.
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
        """What encodes a picture, with the vocabulary learnt."""
        told = partial(self.observer, self.system.vocabulary)

        def make() -> dict[str, np.ndarray]:
            return self.system.learn(self.descriptors(), self.settings, self.seed, told)

        return self.system.encoder(self.settings, **kept_arrays(self._vocabulary_path, self._features_from, make))

    def features(self, split: str) -> EncodedSplit:
        """The encoded pictures of a split."""
        told = partial(self.observer, f"features of {split}")
        return encode_split(self.data, split, self.folder, self.encode, self._encoded_from | {"split": split}, told)

    @cached_property
    def tuning(self) -> dict[str, np.ndarray]:
        """How each weight decay does on training pictures held out, as `tune_svm` returns it."""
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
    """A seeded choice of training pictures' descriptors in a seeded choice of places: "descriptors" float16 `(n, 128)`.

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
