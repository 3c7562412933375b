"""A directory to search in: features and their binary codes in FAISS (extra `search`), and the recall of the codes.

search.json           origin of the features, options of the codes, recall; seals the others, written last
exact-00000.faiss     IndexFlatL2 of a feature shard; several files are searched as one
codes.faiss           IndexBinaryFlat of all images
encoder.keras         from a layer's features to the code
labels.npy
filenames.npz         text: the names' UTF-8 bytes, uint8; lengths: bytes of each, uint32. Before: filenames.npy, str"""

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from alexnet_keras.data.class_names import renewed_titles
from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.sources.source import NamePacker, Names
from alexnet_keras.errors import DAMAGED, AlexNetError, DataError, UsageError
from alexnet_keras.reporter import WARNINGS, Reporter
from alexnet_keras.runs import Run
from alexnet_keras.search import faiss_library
from alexnet_keras.search.codes import SAMPLE_BYTES, CodeOptions, Encoder, train_encoder
from alexnet_keras.search.recall import METHODS, measure
from alexnet_keras.search.store import (
    FeatureStore,
    Origin,
    RunFeatures,
    check_not_of_others,
    files_to_replace,
    load_array,
    writing_lock,
)
from alexnet_keras.storage.documents import check_bytes, check_size, read_json, seal_of, write_json
from alexnet_keras.storage.files import PARTIAL, known_sha256, save_array, write_by_rename
from alexnet_keras.storage.places import command

FACTS = "search.json"
FORMAT = "alexnet-keras search index, version 1"
CODES, ENCODER, LABELS, FILENAMES = "codes.faiss", "encoder.keras", "labels.npy", "filenames.npz"
OLD_FILENAMES = "filenames.npy"  # str, each as wide as the longest, which cost gigabytes
COMMON = frozenset((ENCODER, LABELS, FILENAMES, OLD_FILENAMES))  # names that others give to files, too
NAMES = "|".join((r"exact-\d{5,}\.faiss", *map(re.escape, (FACTS, CODES, *COMMON))))  # a regular expression
REMEDY = "Build it again with `alexnet search build`."
# More images than asked for, which FAISS finds and whose distances are computed again: of many queries at once it
# computes q² + x² - 2qx, whose rounding in float32 is more than small distances.
SPARE = 16
QUERIES = 1000  # images to measure recall with, from a split that is not indexed


@dataclass(frozen=True)
class Neighbors:
    """The images nearest to each query, nearest first.

    Attributes:
        rows: int64 `(queries, count)`, the images' positions in the indexed split.
        distances: float32 `(queries, count)`, Euclidean; of codes the number of bits that differ.
    """

    rows: np.ndarray
    distances: np.ndarray

    def nearest(self, count: int) -> "Neighbors":
        """Sort by distance and keep the `count` nearest; ties keep their order."""
        order = np.argsort(self.distances, axis=1, kind="stable")[:, :count]
        return Neighbors(np.take_along_axis(self.rows, order, 1), np.take_along_axis(self.distances, order, 1))


@dataclass(frozen=True)
class SearchIndex:
    """An opened index; vectors are mapped from their files, so that memory does not grow with their number.

    Attributes:
        path: The directory.
        facts: The content of search.json.
        origin: The features that were indexed, by today's names of run and data where these are known.
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

    def exact(self, features: np.ndarray, count: int) -> Neighbors:
        """Find the `count` images of least Euclidean distance to each row of features `(n, size)`."""
        most = min(count + SPARE, self.rows)
        best = Neighbors(np.empty((len(features), 0), np.int64), np.empty((len(features), 0), np.float32))
        for shard, start in self._vectors:
            squares, rows = shard.search(np.ascontiguousarray(features), min(most, shard.ntotal))
            candidates = (best.rows, rows + start), (best.distances, squares)
            best = Neighbors(*(np.concatenate(both, axis=1) for both in candidates)).nearest(most)
        return self._nearest_of(features, best.rows, count)

    def by_code(self, features: np.ndarray, count: int) -> Neighbors:
        """Find the `count` images whose codes differ in the fewest bits."""
        distances, rows = self._codes.search(self.encoder(features), min(count, self.rows))
        return Neighbors(rows, distances.astype(np.float32))

    def reranked(self, features: np.ndarray, count: int, shortlist: int) -> Neighbors:
        """Find the `count` nearest by Euclidean distance among the `shortlist` nearest by code."""
        return self._nearest_of(features, self.by_code(features, max(count, shortlist)).rows, count)

    def hold(self, codes: bool = False) -> None:
        """Open all that a search reads: answers are of this index then, also where it is built again meanwhile.

        Args:
            codes: Also what a search by codes reads.

        Raises:
            AlexNetError: It has been built again since it was opened.
            DataError: A file is damaged.
        """
        _ = self._vectors, self.labels, self.filenames, codes and (self._codes, self.encoder)
        facts = self.path / FACTS
        if not facts.exists() or read_json(facts, REMEDY, FORMAT) != self.facts:  # which goes before all others
            raise AlexNetError(f"The index {self.path} has been built again meanwhile: run the command again.")

    @cached_property
    def encoder(self) -> Encoder:
        return Encoder.load(self._checked(ENCODER))

    @cached_property
    def labels(self) -> np.ndarray:
        return load_array(self._checked(LABELS), (self.rows,), "i8", REMEDY)

    @cached_property
    def filenames(self) -> Names:
        path = self._checked(self._names_file)
        if path.name == OLD_FILENAMES:
            return Names.pack(load_array(path, (self.rows,), "U", REMEDY))
        try:
            with np.load(path, allow_pickle=False) as file:
                text, lengths = file["text"], file["lengths"]
        except DAMAGED as error:
            raise DataError(f"{path} is damaged and cannot be read. {REMEDY}") from error
        self._check(path, len(lengths) == self.rows and int(lengths.sum()) == len(text))
        return Names.from_lengths(text, lengths)

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """Each class in words."""
        return renewed_titles(self.facts["classes"], self.facts["titles"])

    @property
    def _names_file(self) -> str:
        return OLD_FILENAMES if OLD_FILENAMES in self.facts["files"] else FILENAMES

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

    def _nearest_of(self, features: np.ndarray, candidates: np.ndarray, count: int) -> Neighbors:
        """Find the `count` nearest of some rows `(n, candidates)` to each of the features; ties keep dataset order."""
        rows = np.sort(candidates, axis=1)
        distances = np.stack([self._distances(*pair) for pair in zip(features, rows, strict=True)])
        return Neighbors(rows, distances).nearest(count)

    def _distances(self, query: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Compute Euclidean distances of one query's features `(size,)` to the images at some rows, in their order."""
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

    def _checked(self, name: str) -> Path:
        check_bytes(self.path / name, self.facts["files"][name], REMEDY)
        return self.path / name

    @staticmethod
    def _read(read: Callable[[str], Any], path: Path) -> Any:
        try:
            return read(str(path))
        except RuntimeError as error:  # FAISS's error for every file that it cannot read
            raise DataError(f"{path} is damaged and cannot be read. {REMEDY}") from error

    @staticmethod
    def _check(path: Path, fits: bool) -> None:
        if not fits:
            raise DataError(f"{path} is damaged: it does not fit {FACTS}. {REMEDY}")


def open_index(path: Path) -> SearchIndex:
    """Open a finished index.

    Raises:
        UsageError: There is none in the directory.
        DataError: A file is missing, truncated or not readable.
    """
    if not (path / FACTS).exists():
        raise UsageError(f"There is no finished index in {path}: `alexnet search build` makes one.")
    facts = read_json(path / FACTS, REMEDY, FORMAT)
    try:
        index = SearchIndex(path, facts, Origin.of(facts))
        whole = sum(facts["shards"]) == index.rows > 0 and index.options.bits > 0 and facts["size"] > 0
        whole &= len(facts["classes"]) == len(facts["titles"]) > 0
        for name in _files(len(facts["shards"]), index._names_file):
            check_size(path / name, facts["files"][name], REMEDY)
    except DAMAGED as error:
        raise DataError(f"{path / FACTS} is damaged: it lacks an entry of an index. {REMEDY}") from error
    if not whole:
        raise DataError(f"{path / FACTS} is damaged: its counts do not add up. {REMEDY}")
    return index


def latest_index(run: Run) -> Path:
    """Return the directory of a run's index that was finished last.

    Raises:
        UsageError: The run has none.
    """
    finished = list(run.search_path.glob(f"*/{FACTS}"))
    if not finished:
        build = command("search", "build", run.called)
        raise UsageError(f"The run {run.path} has no index to search in: `{build}` makes one.")
    return max(finished, key=lambda file: file.stat().st_mtime_ns).parent


def check_same_model(index: SearchIndex, run: Run, model_sha256: str | None = None) -> None:
    """Refuse an index of another run's features, or of the run's before it was trained further.

    The model is the one with the checksum, or the run's best one now.

    Raises:
        DataError: The index is of another model; the sentence names both.
    """
    model_sha256 = model_sha256 or known_sha256(run.model_path)
    if index.origin.model_sha256 != model_sha256:
        raise DataError(
            f"The index {index.path} was built from another model (run {index.origin.run}, "
            f"{index.origin.model_sha256[:12]}) than {run.model_path} ({model_sha256[:12]}). Build one with "
            f"`{command('search', 'build', run.called)}`."
        )


def exact_name(number: int) -> str:
    return f"exact-{number:05}.faiss"


def _files(shards: int, filenames: str = FILENAMES) -> list[str]:
    """List the files that search.json seals."""
    return [*map(exact_name, range(shards)), CODES, ENCODER, LABELS, filenames]


def index_of(
    features: RunFeatures,
    data: PreparedDataset,
    split: str,
    options: CodeOptions,
    out: Path | None = None,
    *,
    reporter: Reporter = WARNINGS,
) -> SearchIndex:
    """Return the index of a split, which is built with the features it needs unless it is there.

    It is in the directory `out`, or in one in the run. The features are kept in the run, if it can be written.

    Raises:
        UsageError: FAISS is missing, there is no such split, or a directory has other things in it.
        DataError: `out` has another index, the split is empty, a file or record is damaged, or all features are the
            same.
        AlexNetError: Another process is writing there; or nothing can be written into the run.
    """
    path, origin = out or features.run.search_path / features.name(data, split), features.origin(data, split)
    if index := finished_index(path, origin, options):
        reporter.note(f"Using the existing index: {path}")
        return replace(index, origin=origin)  # run and data may have other names now
    features.run.place(out, path)
    if out:  # before features are computed, which takes long
        check_not_of_others(path / FACTS, FORMAT, origin)
        files_to_replace(path, "an index", NAMES, COMMON)
    with ExitStack() as stack:
        elsewhere = None
        if not features.run.is_writable and not features.are_kept(data, split):
            path.parent.mkdir(parents=True, exist_ok=True)  # the disk that has room for an index
            elsewhere = Path(stack.enter_context(TemporaryDirectory(prefix=PARTIAL, dir=path.parent)))
        store, held_out = features.store(data, split, elsewhere, reporter=reporter), None
        if chosen := queries_of(data, split, options.seed):
            held_out = (chosen[0], *features.of_positions(data, *chosen))
        return build(path, store, options, held_out, reporter=reporter)


def build(
    path: Path,
    store: FeatureStore,
    options: CodeOptions,
    held_out: tuple[str, np.ndarray, np.ndarray] | None,
    *,
    reporter: Reporter = WARNINGS,
) -> SearchIndex:
    """Learn codes of features, index both, and measure the recall of the codes against exact search.

    Held in memory are a sample of at most `codes.SAMPLE_BYTES` to learn from, one shard, and all codes.

    Args:
        path: The directory to write.
        store: The features.
        options: The options of the codes.
        held_out: The name of a split that is not indexed, features float32 `(queries, size)` of images of it and
            their labels int64 `(queries,)`; None measures nothing.
        reporter: Receives the epochs of the autoencoder, and each way to search that was measured.

    Raises:
        UsageError: FAISS is missing, or the directory has other things in it.
        DataError: A feature file is damaged, or all features are the same.
        AlexNetError: Another process is writing there.
    """
    faiss_library()
    with writing_lock(path):
        names = files_to_replace(path, "an index", NAMES, COMMON)
        rows = store.sample(SAMPLE_BYTES, options.seed)
        with reporter.progress("codes", options.epochs, "epochs") as advance:
            encoder, loss = train_encoder(rows, options, lambda loss: advance(1, f"{loss:.1%} of the variance lost"))
        # search.json first, so that the rest is never taken for a whole index; last what shows that it is of one
        for name in sorted(names, key=lambda name: (name != FACTS, name not in COMMON)):
            (path / name).unlink()
        facts = _write(path, store, encoder)
        facts |= {"options": asdict(options), "sampled": len(rows), "loss": loss}
        index = SearchIndex(path, facts, store.origin)
        if held_out:
            split, features, labels = held_out
            with reporter.progress("recall", METHODS, "searches") as advance:
                measured = measure(index, features, labels, advance)
            facts |= {"queries": {"split": split, "count": len(labels)}, "methods": measured}
        write_json(path / FACTS, facts, indent=1)
        return index


def finished_index(path: Path, origin: Origin, options: CodeOptions) -> SearchIndex | None:
    """Return the index in a directory if it is whole, of these features, and built with these options."""
    try:
        index = open_index(path)
    except (DataError, UsageError):
        return None
    return index if index.origin.same_features(origin) and index.options == options else None


def queries_of(data: PreparedDataset, indexed: str, seed: int) -> tuple[str, np.ndarray] | None:
    """Choose a split that is not indexed and positions of images in it; None where there is no other split."""
    for split in ("val", "test", "train"):
        if split != indexed and split in data.splits and (examples := data.examples(split)):
            return split, np.sort(np.random.default_rng(seed).permutation(examples)[:QUERIES])
    return None


def _write(path: Path, store: FeatureStore, encoder: Encoder) -> dict[str, Any]:
    """Write every file but search.json, a shard at a time, and return what it has of them."""
    faiss = faiss_library()
    codes = faiss.IndexBinaryFlat(encoder.bits)
    labels, filenames, shards = [], NamePacker(), []
    for number, shard in enumerate(store.read()):
        exact = faiss.IndexFlatL2(store.size)
        exact.add(np.asarray(shard.features))
        with write_by_rename(path / exact_name(number)) as file, file.open("wb") as out:
            faiss.write_index(exact, faiss.PyCallbackIOWriter(out.write))  # FAISS itself would miss a full disk
        codes.add(encoder(shard.features))
        labels.append(shard.labels)
        filenames.extend(shard.filenames)
        shards.append(len(shard.labels))
    with write_by_rename(path / CODES) as file, file.open("wb") as out:
        faiss.write_index_binary(codes, faiss.PyCallbackIOWriter(out.write))
    with write_by_rename(path / ENCODER) as file:
        encoder.model.save(file)
    save_array(path / LABELS, np.concatenate(labels))
    with write_by_rename(path / FILENAMES) as file:
        names = filenames.names()
        np.savez(file, text=names.text, lengths=names.lengths)
    return {
        "format": FORMAT,
        **asdict(store.origin),
        "size": store.size,
        "rows": store.rows,
        "classes": list(store.classes),
        "titles": list(store.titles),
        "shards": shards,
        "files": {name: seal_of(path / name) for name in _files(len(shards))},
    }
