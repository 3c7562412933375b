"""A directory to search in: features and their binary codes in FAISS, and what they are of.

search.json           run, model, layer, data, how the codes were learnt, recall; seals the others, written last
exact-00000.faiss     IndexFlatL2 of a feature shard; several files are searched as one
codes.faiss           IndexBinaryFlat of all pictures
encoder.keras         from a layer's features to the code
labels.npy, filenames.npy
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.errors import DAMAGED, DataError, UsageError
from alexnet_keras.files import sha256_of
from alexnet_keras.places import command
from alexnet_keras.runs import Run
from alexnet_keras.search.codes import CodeOptions, Encoder
from alexnet_keras.search.faiss_extra import faiss_library
from alexnet_keras.search.sealed import check_bytes, check_size, read_facts
from alexnet_keras.search.store import Origin

FACTS = "search.json"
FORMAT = "alexnet-keras search index, version 1"
CODES, ENCODER, LABELS, FILENAMES = "codes.faiss", "encoder.keras", "labels.npy", "filenames.npy"
REMEDY = "Build it again with `alexnet search build`."


@dataclass(frozen=True)
class Found:
    """The pictures nearest to each query, nearest first.

    Attributes:
        rows: int64 `(queries, count)`, the pictures' positions in the indexed split.
        distances: float32 `(queries, count)`, Euclidean; of codes the number of bits that differ.
    """

    rows: np.ndarray
    distances: np.ndarray

    def merged(self, other: "Found", count: int) -> "Found":
        """The `count` nearest of both, of equal distances this one's first."""
        rows, distances = (np.concatenate(both, axis=1) for both in zip(astuple(self), astuple(other), strict=True))
        order = np.argsort(distances, axis=1, kind="stable")[:, :count]
        return Found(np.take_along_axis(rows, order, 1), np.take_along_axis(distances, order, 1))


@dataclass(frozen=True)
class SearchIndex:
    """An opened index; vectors are mapped from their files, so that their size is no matter of memory.

    Attributes:
        path: The directory.
        facts: What search.json holds.
        origin: What was indexed.
    """

    path: Path
    facts: dict[str, Any]
    origin: Origin

    @property
    def rows(self) -> int:
        return self.facts["rows"]

    @property
    def options(self) -> CodeOptions:
        return CodeOptions(**self.facts["options"])

    def exact(self, features: np.ndarray, count: int) -> Found:
        """The `count` pictures of least Euclidean distance to each row of features `(n, size)`."""
        count = min(count, self.rows)
        best = Found(np.empty((len(features), 0), np.int64), np.empty((len(features), 0), np.float32))
        for shard, start in self._vectors:
            squares, rows = shard.search(np.ascontiguousarray(features), min(count, shard.ntotal))
            best = best.merged(Found(rows + start, squares), count)
        return Found(best.rows, np.sqrt(np.maximum(best.distances, 0)))

    def by_code(self, features: np.ndarray, count: int) -> Found:
        """The `count` pictures whose codes differ in the fewest bits."""
        distances, rows = self._codes.search(self.encoder(features), min(count, self.rows))
        return Found(rows, distances.astype(np.float32))

    def reranked(self, features: np.ndarray, count: int, shortlist: int) -> Found:
        """The `count` nearest by Euclidean distance among the `shortlist` nearest by code."""
        candidates = self.by_code(features, max(count, shortlist)).rows
        distances = np.stack([self._distances(*pair) for pair in zip(features, candidates, strict=True)])
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :count]
        return Found(np.take_along_axis(candidates, nearest, 1), np.take_along_axis(distances, nearest, 1))

    @cached_property
    def encoder(self) -> Encoder:
        return Encoder.load(self._checked(ENCODER))

    @cached_property
    def labels(self) -> np.ndarray:
        return self._column(LABELS)

    @cached_property
    def filenames(self) -> np.ndarray:
        return self._column(FILENAMES)

    @cached_property
    def _vectors(self) -> list[tuple[Any, int]]:
        """Each exact shard and its first row."""
        faiss = faiss_library()
        shards, start = [], 0
        for number, rows in enumerate(self.facts["shards"]):
            path = self.path / exact_name(number)
            shard = self._read(lambda file: faiss.read_index(file, faiss.IO_FLAG_MMAP_IFC), path)
            self._check(path, shard.ntotal == rows and shard.d == self.facts["size"])
            shards.append((shard, start))
            start += rows
        return shards

    def _distances(self, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Euclidean distances of one query's features `(size,)` to the pictures at some rows, in their order."""
        distances = np.empty(len(rows), np.float32)
        for shard, start in self._vectors:
            inside = (rows >= start) & (rows < start + shard.ntotal)
            if inside.any():
                distances[inside] = np.linalg.norm(shard.reconstruct_batch(rows[inside] - start) - query, axis=1)
        return distances

    @cached_property
    def _codes(self) -> Any:
        path = self._checked(CODES)
        codes = self._read(faiss_library().read_index_binary, path)
        self._check(path, codes.ntotal == self.rows and codes.d == self.options.bits)
        return codes

    def _column(self, name: str) -> np.ndarray:
        path = self._checked(name)
        try:
            column = np.load(path, allow_pickle=False)
        except DAMAGED as error:
            raise DataError(f"{path} is damaged and cannot be read. {REMEDY}") from error
        self._check(path, column.shape == (self.rows,))
        return column

    def _checked(self, name: str) -> Path:
        check_bytes(self.path / name, self.facts["files"][name], REMEDY)
        return self.path / name

    @staticmethod
    def _read(read: Callable[[str], Any], path: Path) -> Any:
        try:
            return read(str(path))
        except RuntimeError as error:  # how FAISS tells of every file it cannot read
            raise DataError(f"{path} is damaged and cannot be read. {REMEDY}") from error

    @staticmethod
    def _check(path: Path, fits: bool) -> None:
        if not fits:
            raise DataError(f"{path} is damaged: it is not what {FACTS} says of it. {REMEDY}")


def open_index(path: Path) -> SearchIndex:
    """A finished index.

    Raises:
        UsageError: there is none in the directory.
        DataError: a file is missing, cut off or not readable.
    """
    if not (path / FACTS).exists():
        raise UsageError(f"There is no finished index in {path}: `alexnet search build` makes one.")
    facts = read_facts(path / FACTS, FORMAT, REMEDY)
    try:
        index = SearchIndex(path, facts, Origin(**{name: str(facts[name]) for name in Origin.__dataclass_fields__}))
        whole = sum(facts["shards"]) == index.rows > 0 and index.options.bits > 0 and facts["size"] > 0
        whole &= len(facts["classes"]) == len(facts["titles"]) > 0
        for name in (*map(exact_name, range(len(facts["shards"]))), CODES, ENCODER, LABELS, FILENAMES):
            check_size(path / name, facts["files"][name], REMEDY)
    except DAMAGED as error:
        raise DataError(f"{path / FACTS} is damaged: it lacks what an index says. {REMEDY}") from error
    if not whole:
        raise DataError(f"{path / FACTS} is damaged: its counts do not add up. {REMEDY}")
    return index


def latest_index(run: Run) -> Path:
    """The directory of a run's index that was finished last.

    Raises:
        UsageError: the run has none.
    """
    found = list(run.search_path.glob(f"*/{FACTS}"))
    if not found:
        build = command("search", "build", run.called)
        raise UsageError(f"The run {run.path} has no index to search in: `{build}` makes one.")
    return max(found, key=lambda file: file.stat().st_mtime_ns).parent


def check_same_model(index: SearchIndex, run: Run) -> None:
    """Refuses an index of another run's features, or of the run's before it was trained further.

    Raises:
        DataError: the sentence names both.
    """
    model_sha256 = sha256_of(run.model_path)
    if index.origin.model_sha256 != model_sha256:
        raise DataError(
            f"The index {index.path} was built from the run {index.origin.run} (model "
            f"{index.origin.model_sha256[:12]}), and {run.model_path} is another model ({model_sha256[:12]}): features "
            "of two models cannot be compared. "
            f"Build one of its own with `{command('search', 'build', run.called)}`."
        )


def exact_name(number: int) -> str:
    return f"exact-{number:05}.faiss"
