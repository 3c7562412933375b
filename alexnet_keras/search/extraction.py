"""From a run and a split to features on disk, or those that are there already."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.pipeline import images_at
from alexnet_keras.errors import DataError
from alexnet_keras.evaluation.features import BATCH_SIZE, FeatureExtractor, feature_batches
from alexnet_keras.runs import Run
from alexnet_keras.search.store import (
    INDEX,
    FeatureStore,
    Origin,
    begin_features,
    open_features,
    rows_per_shard,
    writing_lock,
)
from alexnet_keras.storage.files import sha256_of


class RunFeatures:
    """A run's best model and one of its layers, to take features with.

    Args:
        run: the run.
        layer: a layer's name; None for the last hidden layer.

    Raises:
        UsageError: the run has no model yet, or the model no such layer.
        DataError: the model is damaged.
    """

    def __init__(self, run: Run, layer: str | None = None) -> None:
        self.run = run
        self.model: keras.Model = run.load_model()
        self.extract = FeatureExtractor(self.model, layer)
        self.model_sha256 = sha256_of(run.model_path)

    def origin(self, data: PreparedDataset, split: str) -> Origin:
        """What features of a split are of.

        Raises:
            UsageError: there is no such split.
            DataError: it is empty.
        """
        if not data.examples(split):
            raise DataError(f"The split {split!r} of {data.path} has no images.")
        layer = self.extract.layer
        return Origin(self.run.name, self.model_sha256, layer, str(data.path), data.fingerprint, split)

    def path(self, data: PreparedDataset, split: str) -> Path:
        """Where features of a split go if nobody says otherwise."""
        return self.run.features_path / f"{self.extract.layer}-{data.path.name}-{split}"

    def finished(self, path: Path, data: PreparedDataset, split: str) -> FeatureStore | None:
        """The features in a directory if they are complete and of this model, layer, data and split.

        Raises:
            DataError: there are features, and they are damaged.
        """
        if not (path / INDEX).exists():
            return None
        store = open_features(path)
        return store if store.origin.same_features(self.origin(data, split)) else None

    def write(
        self, path: Path, data: PreparedDataset, split: str, on_progress: Callable[[int], None] = lambda images: None
    ) -> FeatureStore:
        """Computes the features of a split, shard by shard; after an interruption, those that are missing.

        No more than one shard is held in memory.

        Args:
            on_progress: called with the number of images done since the last call.

        Raises:
            UsageError: there is no such split, or the directory has other things in it.
            DataError: the split is empty, a record is damaged, or the model gives what is no number.
            AlexNetError: another process is writing there.
        """
        origin, size = self.origin(data, split), self.extract.size
        with writing_lock(path):
            store = begin_features(FeatureStore(path, origin, size, data.classes, data.titles))
            waiting, done, full = [], store.rows, rows_per_shard(size, BATCH_SIZE)
            for batch in feature_batches(_leaving_out(self.extract, done), data, split, BATCH_SIZE):
                if len(batch.features):
                    if not np.isfinite(batch.features).all():
                        raise DataError(
                            f"{self.run.model_path} gives values in {origin.layer} that are not finite: its training "
                            "diverged, train it again with lower rates."
                        )
                    waiting.append((batch.features, batch.labels, batch.filenames))
                on_progress(len(batch.labels))
                if sum(len(labels) for _, labels, _ in waiting) >= full:
                    store, waiting = store.write(*map(np.concatenate, zip(*waiting, strict=True))), []
            if waiting:
                store = store.write(*map(np.concatenate, zip(*waiting, strict=True)))
            return store.seal()

    def of_positions(self, data: PreparedDataset, split: str, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The features float32 `(n, size)` and labels int64 `(n,)` of some images of a split, in the stored order.

        Raises:
            DataError: a record is damaged.
        """
        features, labels, images = [], [], []
        for _, image, label, _ in images_at(data, split, positions):
            images.append(image)
            labels.append(int(label))
            if len(images) == BATCH_SIZE:
                features.append(self.extract(np.stack(images)))
                images = []
        if images:
            features.append(self.extract(np.stack(images)))
        return np.concatenate(features), np.array(labels)


def _leaving_out(extract: Callable[[np.ndarray], np.ndarray], rows: int) -> Callable[[np.ndarray], np.ndarray]:
    """`extract`, which does not compute the first `rows` images, whole batches of them, again."""
    passed = 0

    def extract_rest(images: np.ndarray) -> np.ndarray:
        nonlocal passed
        passed += len(images)
        return extract(images) if passed > rows else np.empty((0, 0), np.float32)

    return extract_rest
