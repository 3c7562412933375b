"""Linear support vector machines, one class against the rest, on features that are read from disk block by block.

The features of a split are in one file per shard of the dataset."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from alexnet_keras.data.dataset import PreparedDataset, Shard
from alexnet_keras.data.pipeline import evaluation_batches
from alexnet_keras.errors import DataError
from alexnet_keras.evaluation.errors import top_k_misses
from alexnet_keras.experiments.classical.settings import Svm, library
from alexnet_keras.machine import usable_processors
from alexnet_keras.reporter import Advance, Reporter
from alexnet_keras.storage.documents import check_bytes, read_json, seal_of, write_json
from alexnet_keras.storage.files import write_by_rename

FORMAT = "alexnet-keras encoded pictures, version 1"
_BATCH = 64  # images decoded at a time


class Encoder(Protocol):
    """Encodes an image uint8 `(side, side, 3)`, RGB, as a feature float32 `(size,)`."""

    size: int

    def __call__(self, image: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class EncodedSplit:
    """The features of a split, which stay on disk.

    Attributes:
        parts: Files of float16 `(rows, size)`.
        starts: The first row of each file, and last the number of rows, `(parts + 1,)`.
        labels: int64 `(rows,)`.
    """

    parts: tuple[Path, ...]
    starts: np.ndarray
    labels: np.ndarray

    @property
    def size(self) -> int:
        """Length of a feature."""
        return np.load(self.parts[0], mmap_mode="r").shape[1]

    def rows_at(self, positions: np.ndarray, ones: int = 0) -> np.ndarray:
        """Read the features at positions `(n,)`, and append columns of ones: float32 `(n, size + ones)`."""
        size = self.size
        rows = np.ones((len(positions), size + ones), np.float32)
        parts = np.searchsorted(self.starts, positions, side="right") - 1
        for part in np.unique(parts):
            here = parts == part
            # Opened each time: a mapping that stays open keeps all that was ever read in memory.
            rows[here, :size] = np.load(self.parts[part], mmap_mode="r")[positions[here] - self.starts[part]]
        return rows


def encode_split(
    data: PreparedDataset, split: str, folder: Path, encode: Encoder, made_from: dict[str, Any], reporter: Reporter
) -> EncodedSplit:
    """Encode a split, except the shards that an earlier call encoded from the same inputs, `made_from`.

    Raises:
        DataError: A record is damaged, or the features are not finite.
    """
    shards = [shard for shard in data.splits[split] if shard.examples]
    parts = [folder / f"{split}-{number:05}.npy" for number in range(len(shards))]
    labels = [_labels_if_whole(part, made_from) for part in parts]
    if None in labels:
        done = sum(map(len, filter(None, labels)))
        total = sum(shard.examples for shard in shards)
        with reporter.progress(f"features of {split}", total, done=done) as advance, one_thread_each() as pool:
            for number, shard in enumerate(shards):
                if labels[number] is None:
                    batches = evaluation_batches(replace(data, splits={split: (shard,)}), split, _BATCH)
                    written = _write_part(parts[number], shard, batches, encode, pool, advance)
                    seal = {"labels": written, "features": seal_of(parts[number])}
                    document = {"format": FORMAT, "made_from": made_from, **seal}
                    write_json(parts[number].with_suffix(".json"), document, indent=1)
                    labels[number] = written
    arrays = [np.array(part, np.int64) for part in labels]
    starts = np.cumsum([0, *map(len, arrays)])
    return EncodedSplit(tuple(parts), starts, np.concatenate(arrays))


@contextmanager
def one_thread_each() -> Iterator[ThreadPoolExecutor]:
    """A pool with one thread per processor, in which OpenCV and the linear algebra start no threads of their own.

    Threads and not processes: almost all of the work is in OpenCV and NumPy, which release the interpreter's lock, and
    images need not be copied.
    """
    cv2, before = library("cv2"), library("cv2").getNumThreads()
    with library("threadpoolctl").threadpool_limits(1), ThreadPoolExecutor(usable_processors()) as pool:
        cv2.setNumThreads(1)
        try:
            yield pool
        finally:
            cv2.setNumThreads(before)


def _write_part(
    path: Path, shard: Shard, batches: Any, encode: Encoder, pool: ThreadPoolExecutor, advance: Advance
) -> list[int]:
    """Write the features of a shard by rename, and return its labels."""
    labels: list[int] = []
    header = {"descr": "<f2", "fortran_order": False, "shape": (shard.examples, encode.size)}
    with write_by_rename(path) as partial, partial.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for images, batch_labels, _ in batches:
            for feature in pool.map(encode, images.numpy()):
                if not np.isfinite(feature).all():
                    raise DataError(f"An image of {shard.path} has a feature that is not finite.")
                file.write(feature.astype("<f2").tobytes())
            labels += batch_labels.numpy().tolist()
            advance(len(images))
        if len(labels) != shard.examples:
            raise DataError(f"{shard.path} has {len(labels):,} images instead of {shard.examples:,}.")
    return labels


def _labels_if_whole(path: Path, made_from: dict[str, Any]) -> list[int] | None:
    """The labels of a part that was encoded from the same inputs and is undamaged, or None."""
    try:
        document = read_json(path.with_suffix(".json"), format=FORMAT)
        if document["made_from"] != json.loads(json.dumps(made_from)):
            return None
        check_bytes(path, document["features"], remedy="")
        return document["labels"]
    except (DataError, KeyError):
        return None


BLOCK_BYTES = 256 * 2**20  # of float32 features in memory


def train_svm(
    features: EncodedSplit,
    rows: np.ndarray,
    classes: int,
    svm: Svm,
    alpha: float,
    seed: int,
    advance: Advance,
    block_bytes: int = BLOCK_BYTES,
) -> dict[str, np.ndarray]:
    """Train with stochastic gradient descent on the hinge loss, the weights averaged from the second pass on.

    W. Xu, "Towards Optimal One Pass Large Scale Learning with Averaged Stochastic Gradient Descent", arXiv 2011. Each
    pass has its own random order, which does not depend on the size of the blocks.

    Args:
        features: The encoded training split.
        rows: `(n,)`, the rows of the features to train on.
        classes: Number of classes, at least two; one without an image is never predicted.
        svm: The training's settings.
        alpha: Strength of the weight decay.
        seed: Seed of the orders.
        advance: Gets the number of rows trained on.
        block_bytes: Bytes of features in memory at a time.

    Returns:
        "weights" float32 `(classes, size)` and "biases" float32 `(classes,)`.
    """
    # The bias is the weight of a constant feature: with several classes and averaged weights, scikit-learn (1.9)
    # continues from the wrong biases at the second call, because the running ones and their average share an array.
    learner = library("sklearn.linear_model").SGDClassifier(
        loss="hinge",
        alpha=alpha,
        fit_intercept=False,
        shuffle=False,
        average=len(rows),
        class_weight=dict.fromkeys(range(classes), svm.positive_weight),
        n_jobs=usable_processors(),
    )
    with library("threadpoolctl").threadpool_limits(1):
        for epoch in range(svm.epochs):
            order = np.random.default_rng([seed, epoch]).permutation(rows)
            for block in _blocks(order, features.size, block_bytes):
                inputs = features.rows_at(block, ones=1)
                learner.partial_fit(inputs, features.labels[block], classes=np.arange(classes))
                advance(len(block))
    # For two classes scikit-learn trains a single classifier.
    weights = (np.concatenate([-learner.coef_, learner.coef_]) if classes == 2 else learner.coef_).astype(np.float32)
    return {"weights": weights[:, :-1], "biases": weights[:, -1]}


def decision_values(
    features: EncodedSplit, rows: np.ndarray, classifier: dict[str, np.ndarray], block_bytes: int = BLOCK_BYTES
) -> np.ndarray:
    """The scores of every class for some rows: float32 `(n, classes)`, the higher the likelier."""
    blocks = _blocks(rows, features.size, block_bytes)
    weights, biases = classifier["weights"], classifier["biases"]
    return np.concatenate([features.rows_at(block) @ weights.T + biases for block in blocks])


def tune_svm(features: EncodedSplit, classes: int, svm: Svm, seed: int, reporter: Reporter) -> dict[str, np.ndarray]:
    """Train with each alpha on nine tenths of the training images, and count misses on the tenth held out.

    Returns:
        "alphas" `(n,)`, strongest first, "misses" `(n,)` of each, and "held_out", the number of images held out.
    """
    rows = np.random.default_rng(seed).permutation(len(features.labels))[: svm.tuning_images]
    held_out, rest = np.split(rows, [max(1, len(rows) // 10)])
    alphas, misses = sorted(svm.alphas, reverse=True), []
    with reporter.progress("tuning", len(alphas) * svm.epochs * len(rest)) as advance:
        for alpha in alphas:
            trained = train_svm(features, rest, classes, svm, alpha, seed, advance)
            scores = decision_values(features, held_out, trained)
            misses.append(top_k_misses(scores, features.labels[held_out], 1))
    return {"alphas": np.array(alphas), "misses": np.array(misses), "held_out": np.array(len(held_out))}


def _blocks(rows: np.ndarray, size: int, block_bytes: int) -> Iterator[np.ndarray]:
    """Consecutive pieces of rows whose features of `size` float32 numbers fit a block."""
    length = max(1, block_bytes // (4 * size))
    return (rows[start : start + length] for start in range(0, len(rows), length))
