"""Linear support vector machines, one class against the rest, on features that are read from disk block by block.

The features of a split lie in a file for each shard of the dataset."""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from alexnet_keras.benchmarking.machine import usable_processors
from alexnet_keras.data.dataset import PreparedDataset, Shard
from alexnet_keras.data.pipeline import evaluation_batches
from alexnet_keras.errors import DataError
from alexnet_keras.evaluation.errors import top_k_misses
from alexnet_keras.experiments.classical.settings import Progress, Svm, library
from alexnet_keras.storage.documents import check_bytes, read_json, seal_of, write_json
from alexnet_keras.storage.files import write_by_rename

FORMAT = "alexnet-keras encoded pictures, version 1"
_BATCH = 64  # images decoded at a time


class Encoder(Protocol):
    """From an image uint8 `(side, side, 3)`, RGB, to its feature, float32 `(size,)`."""

    size: int

    def __call__(self, image: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class EncodedSplit:
    """The features of a split, which stay on disk.

    Attributes:
        parts: Files of float16 `(rows, size)`.
        starts: The first row of each file, and behind them the number of rows, `(parts + 1,)`.
        labels: int64 `(rows,)`.
    """

    parts: tuple[Path, ...]
    starts: np.ndarray
    labels: np.ndarray

    @property
    def size(self) -> int:
        """Numbers in a feature."""
        return np.load(self.parts[0], mmap_mode="r").shape[1]

    def rows_at(self, positions: np.ndarray, ones: int = 0) -> np.ndarray:
        """The features at some positions, in their order, and columns of ones: float32 `(n, size + ones)`."""
        size = self.size
        rows = np.ones((len(positions), size + ones), np.float32)
        parts = np.searchsorted(self.starts, positions, side="right") - 1
        for part in np.unique(parts):
            here = parts == part
            # Opened anew each time: a mapping that stayed open would keep all that was ever read in memory.
            rows[here, :size] = np.load(self.parts[part], mmap_mode="r")[positions[here] - self.starts[part]]
        return rows


def encode_split(
    data: PreparedDataset, split: str, folder: Path, encode: Encoder, made_from: dict[str, Any], progress: Progress
) -> EncodedSplit:
    """Encodes a split, but for the shards that an earlier call has encoded from the same.

    Args:
        folder: where the files go.
        made_from: all that the features depend on, as JSON can say it.

    Raises:
        DataError: a record is damaged, or the features are not finite.
    """
    shards = [shard for shard in data.splits[split] if shard.examples]
    total, done = sum(shard.examples for shard in shards), 0
    parts, labels = [], []
    with one_thread_each() as pool:
        for number, shard in enumerate(shards):
            path = folder / f"{split}-{number:05}.npy"
            found = _labels_if_whole(path, made_from)
            if found is None:
                images = evaluation_batches(replace(data, splits={split: (shard,)}), split, _BATCH)

                def told(rows: int, done: int = done) -> None:
                    progress(done + rows, total)

                found = _write_part(path, shard, images, encode, pool, told)
                write_json(
                    _facts_path(path),
                    {"format": FORMAT, "made_from": made_from, "labels": found, "features": seal_of(path)},
                    indent=1,
                )
            parts.append(path)
            labels.append(np.array(found, np.int64))
            done += shard.examples
    starts = np.cumsum([0, *(len(part) for part in labels)])
    return EncodedSplit(tuple(parts), starts, np.concatenate(labels))


@contextmanager
def one_thread_each() -> Iterator[ThreadPoolExecutor]:
    """A pool with a thread for each processor, in which OpenCV and the linear algebra start no threads of their own.

    Threads and not processes: almost all of the work is in OpenCV and NumPy, which let others run meanwhile, and
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
    path: Path,
    shard: Shard,
    batches: Iterable,
    encode: Encoder,
    pool: ThreadPoolExecutor,
    on_rows: Callable[[int], None],
) -> list[int]:
    """Writes the features of a shard by rename and returns its labels."""
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
            on_rows(len(labels))
        if len(labels) != shard.examples:
            raise DataError(f"{shard.path} has {len(labels):,} images instead of {shard.examples:,}.")
    return labels


def _labels_if_whole(path: Path, made_from: dict[str, Any]) -> list[int] | None:
    """The labels of a part that was encoded from the same and is as it was written, or None."""
    try:
        facts = read_json(_facts_path(path), format=FORMAT)
        if facts["made_from"] != json.loads(json.dumps(made_from)):
            return None
        check_bytes(path, facts["features"], "")
        return facts["labels"]
    except (DataError, KeyError):
        return None


def _facts_path(path: Path) -> Path:
    return path.with_suffix(".json")


BLOCK_BYTES = 256 * 2**20  # of float32 features in memory


def train_svm(
    features: EncodedSplit,
    rows: np.ndarray,
    classes: int,
    svm: Svm,
    alpha: float,
    seed: int,
    progress: Progress,
    block_bytes: int = BLOCK_BYTES,
) -> dict[str, np.ndarray]:
    """Trains with stochastic gradient descent on the hinge loss and averages the weights from the second pass on.

    W. Xu, "Towards Optimal One Pass Large Scale Learning with Averaged Stochastic Gradient Descent", arXiv 2011. Each
    pass has a seeded order of its own, which does not depend on the size of the blocks.

    Args:
        rows: `(n,)`, which rows of the features to train on.
        classes: how many there are, two at least; one without an image is never chosen.

    Returns:
        "weights" float32 `(classes, size)` and "biases" float32 `(classes,)`.
    """
    # The bias is the weight of a constant feature: with several classes and averaged weights, scikit-learn (1.9) goes
    # on from the wrong biases at the second call, because the running ones and their average share an array.
    learner = library("sklearn.linear_model").SGDClassifier(
        loss="hinge",
        alpha=alpha,
        fit_intercept=False,
        shuffle=False,
        average=len(rows),
        class_weight=dict.fromkeys(range(classes), svm.positive_weight),
        n_jobs=usable_processors(),
    )
    done, total = 0, svm.epochs * len(rows)
    with library("threadpoolctl").threadpool_limits(1):
        for epoch in range(svm.epochs):
            order = np.random.default_rng([seed, epoch]).permutation(rows)
            for block in _blocks(order, features.size, block_bytes):
                rows_and_one = features.rows_at(block, ones=1)
                learner.partial_fit(rows_and_one, features.labels[block], classes=np.arange(classes))
                done += len(block)
                progress(done, total)
    # For two classes scikit-learn has one machine.
    weights = (np.concatenate([-learner.coef_, learner.coef_]) if classes == 2 else learner.coef_).astype(np.float32)
    return {"weights": weights[:, :-1], "biases": weights[:, -1]}


def decision_values(
    features: EncodedSplit, rows: np.ndarray, weights: np.ndarray, biases: np.ndarray, block_bytes: int = BLOCK_BYTES
) -> np.ndarray:
    """What every class's machine says of some rows: float32 `(n, classes)`, the higher the likelier."""
    blocks = _blocks(rows, features.size, block_bytes)
    return np.concatenate([features.rows_at(block) @ weights.T + biases for block in blocks])


def tune_svm(features: EncodedSplit, classes: int, svm: Svm, seed: int, progress: Progress) -> dict[str, np.ndarray]:
    """Trains with each alpha on nine tenths of the training images and counts mistakes on the tenth held out.

    Returns:
        "alphas" `(n,)`, strongest first, "misses" `(n,)` of them, and "held_out", how many images that is of.
    """
    rows = np.random.default_rng(seed).permutation(len(features.labels))[: svm.tuning_images]
    held_out, rest = np.split(rows, [max(1, len(rows) // 10)])
    alphas, misses = sorted(svm.alphas, reverse=True), []
    for number, alpha in enumerate(alphas):

        def told(done: int, total: int, number: int = number) -> None:
            progress(number * total + done, len(alphas) * total)

        trained = train_svm(features, rest, classes, svm, alpha, seed, told)
        values = decision_values(features, held_out, trained["weights"], trained["biases"])
        misses.append(top_k_misses(values, features.labels[held_out], 1))
    return {"alphas": np.array(alphas), "misses": np.array(misses), "held_out": np.array(len(held_out))}


def _blocks(rows: np.ndarray, size: int, block_bytes: int) -> Iterator[np.ndarray]:
    """Consecutive pieces of rows whose features of `size` float32 numbers fit a block."""
    length = max(1, block_bytes // (4 * size))
    return (rows[start : start + length] for start in range(0, len(rows), length))
