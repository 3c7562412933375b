"""The features of a split on disk, a file for each shard of the dataset, and rows of them wherever they are needed."""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from alexnet_keras.benchmarking.machine import usable_processors
from alexnet_keras.data.pipeline import evaluation_batches
from alexnet_keras.data.prepared import PreparedDataset, Shard
from alexnet_keras.errors import DataError
from alexnet_keras.experiments.baselines.libraries import library
from alexnet_keras.experiments.baselines.observer import Progress
from alexnet_keras.files import write_by_rename
from alexnet_keras.search.sealed import check_bytes, read_facts, seal_of, write_facts

FORMAT = "alexnet-keras encoded pictures, version 1"
_BATCH = 64  # pictures decoded at a time


class Encoder(Protocol):
    """From a picture uint8 `(side, side, 3)`, RGB, to its feature, float32 `(size,)`."""

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
                write_facts(
                    _facts_path(path),
                    {"format": FORMAT, "made_from": made_from, "labels": found, "features": seal_of(path)},
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
    pictures need not be copied.
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
                    raise DataError(f"A picture of {shard.path} has a feature that is not finite.")
                file.write(feature.astype("<f2").tobytes())
            labels += batch_labels.numpy().tolist()
            on_rows(len(labels))
        if len(labels) != shard.examples:
            raise DataError(f"{shard.path} has {len(labels):,} pictures instead of {shard.examples:,}.")
    return labels


def _labels_if_whole(path: Path, made_from: dict[str, Any]) -> list[int] | None:
    """The labels of a part that was encoded from the same and is as it was written, or None."""
    try:
        facts = read_facts(_facts_path(path), FORMAT, "")
        if facts["made_from"] != json.loads(json.dumps(made_from)):
            return None
        check_bytes(path, facts["features"], "")
        return facts["labels"]
    except (DataError, KeyError):
        return None


def _facts_path(path: Path) -> Path:
    return path.with_suffix(".json")
