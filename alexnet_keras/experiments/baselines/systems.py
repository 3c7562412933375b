"""The two systems by name, and from a prepared dataset to the scores of one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_keras.data.prepared import PreparedDataset
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.experiments.baselines.classifier import decision_values
from alexnet_keras.experiments.baselines.fisher_vectors import FisherEncoder, learn_mixture
from alexnet_keras.experiments.baselines.libraries import check_libraries
from alexnet_keras.experiments.baselines.observer import Observer
from alexnet_keras.experiments.baselines.settings import FisherVectors, SparseCoding, SystemSettings
from alexnet_keras.experiments.baselines.sparse_codes import SparseCodeEncoder, learn_dictionary
from alexnet_keras.experiments.baselines.stages import Stages, System
from alexnet_keras.files import locked

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
        size: Numbers in a picture's feature.
        alpha: The weight decay that was chosen.
        tried: Each weight decay that was tried, with its top-1 error, 0..1, on training pictures held out.
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

    Memory does not grow with the number of pictures. The folder does, by two bytes for each number of a feature.

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
        raise DataError(f"{data.path} has nothing to tell apart: two classes and two training pictures are the least.")
