"""A directory to search in: features and their binary codes in FAISS (extra `search`), and how well the codes do.

search.json           run, model, layer, data, how the codes were learnt, recall; seals the others, written last
exact-00000.faiss     IndexFlatL2 of a feature shard; several files are searched as one
codes.faiss           IndexBinaryFlat of all images
encoder.keras         from a layer's features to the code
labels.npy, filenames.npy"""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.errors import DAMAGED, DataError, UsageError
from alexnet_keras.runs import Run
from alexnet_keras.search.codes import SAMPLE_BYTES, CodeOptions, Encoder, train_encoder
from alexnet_keras.search.store import (
    LOCK,
    FeatureStore,
    Origin,
    check_bytes,
    check_size,
    read_facts,
    sample,
    seal_of,
    write_facts,
    writing_lock,
)
from alexnet_keras.storage.extras import optional
from alexnet_keras.storage.files import sha256_of, write_by_rename
from alexnet_keras.storage.places import command


def faiss_library() -> ModuleType:
    """The module `faiss`.

    Raises:
        UsageError: it is not installed.
    """
    # Between searches FAISS's threads would wait in a busy loop and keep TensorFlow's from the processor: on two cores
    # an encoder and a search then take 20 ms instead of 1. OpenMP reads this when it is loaded, which other libraries
    # may do earlier, so the commands ask for FAISS before TensorFlow.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return optional("faiss", "search")


FACTS = "search.json"
FORMAT = "alexnet-keras search index, version 1"
CODES, ENCODER, LABELS, FILENAMES = "codes.faiss", "encoder.keras", "labels.npy", "filenames.npy"
REMEDY = "Build it again with `alexnet search build`."


@dataclass(frozen=True)
class Found:
    """The images nearest to each query, nearest first.

    Attributes:
        rows: int64 `(queries, count)`, the images' positions in the indexed split.
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
        """The `count` images of least Euclidean distance to each row of features `(n, size)`."""
        count = min(count, self.rows)
        best = Found(np.empty((len(features), 0), np.int64), np.empty((len(features), 0), np.float32))
        for shard, start in self._vectors:
            squares, rows = shard.search(np.ascontiguousarray(features), min(count, shard.ntotal))
            best = best.merged(Found(rows + start, squares), count)
        return Found(best.rows, np.sqrt(np.maximum(best.distances, 0)))

    def by_code(self, features: np.ndarray, count: int) -> Found:
        """The `count` images whose codes differ in the fewest bits."""
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
        """Euclidean distances of one query's features `(size,)` to the images at some rows, in their order."""
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


QUERIES = 1000  # images to measure recall with, from a split that is not indexed


def build(
    path: Path,
    store: FeatureStore,
    options: CodeOptions,
    held_out: tuple[str, np.ndarray, np.ndarray] | None,
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> SearchIndex:
    """Learns codes on features, indexes both, and measures the codes against exact search.

    Held in memory are a sample of at most `codes.SAMPLE_BYTES` to learn on, one shard, and all codes.

    Args:
        held_out: the name of a split that is not indexed, features float32 `(queries, size)` of images of it and
            their labels int64 `(queries,)`; None measures nothing.
        on_epoch: called with the loss of each epoch of the autoencoder.

    Raises:
        UsageError: FAISS is missing, or the directory has other things in it.
        DataError: a feature file is damaged, or all features are the same.
        AlexNetError: another process is writing there.
    """
    faiss_library()
    with writing_lock(path):
        _clear(path)
        rows = sample(store, SAMPLE_BYTES, options.seed)
        encoder, loss = train_encoder(rows, options, on_epoch)
        index = _write(path, store, encoder)
        facts = {**index.facts, "options": asdict(options), "sampled": len(rows), "loss": loss}
        if held_out:
            split, features, labels = held_out
            measured = measure(SearchIndex(path, facts, store.origin), features, labels)
            facts |= {"queries": {"split": split, "count": len(labels)}, "methods": measured}
        write_facts(path / FACTS, facts)
        return SearchIndex(path, facts, store.origin)


def finished_index(path: Path, origin: Origin, options: CodeOptions) -> SearchIndex | None:
    """The index in a directory if it is whole, of these features, and built with these options."""
    try:
        index = open_index(path)
    except (DataError, UsageError):
        return None
    return index if index.origin.same_features(origin) and index.options == options else None


def queries_of(data: PreparedDataset, indexed: str, seed: int) -> tuple[str, np.ndarray] | None:
    """A split that is not indexed and positions in it of images to search for; None where there is no other split."""
    for split in ("val", "test", "train"):
        if split != indexed and split in data.splits and (examples := data.examples(split)):
            return split, np.sort(np.random.default_rng(seed).permutation(examples)[:QUERIES])
    return None


def _write(path: Path, store: FeatureStore, encoder: Encoder) -> SearchIndex:
    """Writes every file but the one that seals them; a shard at a time."""
    faiss = faiss_library()
    codes = faiss.IndexBinaryFlat(encoder.bits)
    labels, filenames, shards = [], [], []
    for number, shard in enumerate(store.read()):
        exact = faiss.IndexFlatL2(store.size)
        exact.add(np.asarray(shard.features))
        with write_by_rename(path / exact_name(number)) as file:
            faiss.write_index(exact, str(file))
        codes.add(encoder(shard.features))
        labels.append(shard.labels)
        filenames.append(shard.filenames)
        shards.append(len(shard.labels))
    with write_by_rename(path / CODES) as file:
        faiss.write_index_binary(codes, str(file))
    with write_by_rename(path / ENCODER) as file:
        encoder.model.save(file)
    for name, parts in ((LABELS, labels), (FILENAMES, filenames)):
        with write_by_rename(path / name) as file:
            np.save(file, np.concatenate(parts), allow_pickle=False)
    names = [*map(exact_name, range(len(shards))), CODES, ENCODER, LABELS, FILENAMES]
    facts: dict[str, Any] = {
        "format": FORMAT,
        **asdict(store.origin),
        "size": store.size,
        "rows": store.rows,
        "classes": list(store.classes),
        "titles": list(store.titles),
        "shards": shards,
        "files": {name: seal_of(path / name) for name in names},
    }
    return SearchIndex(path, facts, store.origin)


def _clear(path: Path) -> None:
    """Takes away an older index, search.json first, so that what is left is never taken for a whole one.

    Raises:
        UsageError: there are other things in the directory.
    """
    found = {file.name for file in path.iterdir()} - {LOCK}
    if any(not name.endswith((".faiss", FACTS, ENCODER, LABELS, FILENAMES)) for name in found):
        raise UsageError(f"{path} has other things in it than an index: choose another directory with --out.")
    for name in sorted(found, key=lambda name: name != FACTS):
        (path / name).unlink()


DEPTHS = (1, 10, 100)  # the k of recall@k
SHORTLIST = 200  # images nearest by code that are looked at again, exactly
TIMED = 50  # queries asked one at a time for the clock


@dataclass(frozen=True)
class Method:
    """One way to search."""

    name: str
    bytes_per_picture: int  # that it reads of every image; not of a short list
    search: Callable[[np.ndarray, int], Found]  # features `(n, size)` and how many neighbours


def methods_of(index: SearchIndex) -> list[Method]:
    """Exact search first."""
    shortlist = min(SHORTLIST, index.rows)
    vector, code = 4 * index.facts["size"], index.options.bits // 8
    return [
        Method("exact", vector, index.exact),
        Method("codes", code, index.by_code),
        Method(
            f"codes, {shortlist} re-ranked", code, lambda features, count: index.reranked(features, count, shortlist)
        ),
    ]


def measure(index: SearchIndex, features: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """Searches for images that are not in the index, in every way.

    Args:
        features: float32 `(queries, size)`.
        labels: int64 `(queries,)`, their classes.

    Returns:
        For each method its name, bytes an image, milliseconds a query (one at a time, without the network that gives
        the features), `recall` and `same_class`, both by k: the share of the k nearest by exact search that are among
        the k it finds, and the share of those it finds that are of the query's class.
    """
    depths = [k for k in DEPTHS if k <= index.rows]
    results, truth = [], None
    for method in methods_of(index):
        found = method.search(features, depths[-1]).rows
        truth = found if truth is None else truth
        same = index.labels[found] == labels[:, None]
        results.append(
            {
                "method": method.name,
                "bytes_per_picture": method.bytes_per_picture,
                "ms_per_query": _milliseconds(method, features, depths[-1]),
                "recall": {str(k): recall(found, truth, k) for k in depths},
                "same_class": {str(k): float(same[:, :k].mean()) for k in depths},
            }
        )
    return results


def recall(found: np.ndarray, truth: np.ndarray, k: int) -> float:
    """The mean share of the first k of `truth` that are among the first k of `found`, both `(queries, >= k)` rows."""
    shared = [len(np.intersect1d(a[:k], b[:k])) for a, b in zip(found, truth, strict=True)]
    return float(np.mean(shared)) / k


def _milliseconds(method: Method, features: np.ndarray, count: int) -> float:
    method.search(features[:1], count)  # files are read and memory is taken by now
    asked = features[:TIMED]
    start = time.perf_counter()
    for query in asked:
        method.search(query[None], count)
    return (time.perf_counter() - start) / len(asked) * 1000
