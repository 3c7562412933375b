"""Features on disk: numbered shards of `.npy` files, which NumPy alone opens, and the index that seals them.

index.json            the origin of the features, counts, size and checksum of every file; written last
00000.features.npy    float32 (rows, size), at most about SHARD_BYTES
00000.labels.npy      int64 (rows,)
00000.filenames.npy   str (rows,)
unfinished.json       instead of index.json until the last shard is there: a repeated command resumes from it"""

import re
from collections.abc import Iterator, Mapping, Set
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from alexnet_keras.data.class_names import renewed_titles
from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.errors import DAMAGED, DataError, UsageError
from alexnet_keras.evaluation.errors import images_in
from alexnet_keras.evaluation.features import BATCH_SIZE, FeatureExtractor, feature_batches
from alexnet_keras.evaluation.image_inputs import stacked_images
from alexnet_keras.reporter import WARNINGS, Reporter
from alexnet_keras.runs import Run
from alexnet_keras.storage.documents import check_bytes, check_size, read_json, seal_of, write_json
from alexnet_keras.storage.files import PARTIAL, save_array
from alexnet_keras.storage.locks import locked

LOCK, INDEX, UNFINISHED = "lock", "index.json", "unfinished.json"
FORMAT = "alexnet-keras features, version 1"
COLUMNS = ("features", "labels", "filenames")
NAMES = rf"\d{{5,}}\.({'|'.join(COLUMNS)})\.npy|{re.escape(INDEX)}|{re.escape(UNFINISHED)}"  # a regular expression
SHARD_BYTES = 128 * 2**20  # of features: 8192 rows of 4096


@dataclass(frozen=True)
class Origin:
    """The model, layer and images of features. The names are for people; the checksums decide."""

    run: str
    model_sha256: str
    layer: str
    data: str
    fingerprint: str
    split: str

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Origin":
        """Read the origin from the document of a store or an index."""
        return cls(**{field.name: str(document[field.name]) for field in fields(cls)})

    def same_features(self, other: "Origin") -> bool:
        """Compare model, layer, data and split, which decide the features, and not where they are."""
        deciding = ("model_sha256", "layer", "fingerprint", "split")
        return all(getattr(self, name) == getattr(other, name) for name in deciding)

    def __str__(self) -> str:
        return f"layer {self.layer} of the run {self.run} (model {self.model_sha256[:12]}) on {self.data} {self.split}"


@dataclass(frozen=True)
class FeatureShard:
    """Consecutive rows; the first axis of every array counts images."""

    features: np.ndarray  # (rows, size) float32, mapped from the file
    labels: np.ndarray  # (rows,) int64
    filenames: np.ndarray  # (rows,) str


@dataclass(frozen=True)
class FeatureStore:
    """Features in a directory, complete or as many as were written.

    Attributes:
        path: The directory.
        origin: Their model, layer and images.
        size: The number of values in a row.
        classes: Class names; the index is the label.
        titles: Each class in words.
        shards: For each shard "rows" and, for each of COLUMNS, its file's size and checksum.
    """

    path: Path
    origin: Origin
    size: int
    classes: tuple[str, ...]
    titles: tuple[str, ...]
    shards: tuple[dict[str, Any], ...] = ()

    @property
    def rows(self) -> int:
        return sum(shard["rows"] for shard in self.shards)

    @property
    def bytes(self) -> int:
        """The size of all shards."""
        return sum(shard[column]["bytes"] for shard in self.shards for column in COLUMNS)

    def read(self) -> Iterator[FeatureShard]:
        """Iterate over the shards in order, each compared with its checksum first.

        Raises:
            DataError: A file is damaged.
        """
        for number, shard in enumerate(self.shards):
            for column in COLUMNS:
                check_bytes(shard_path(self.path, number, column), shard[column], _remedy(self.path))
            yield self._arrays(number)

    def sample(self, most_bytes: int, seed: int) -> np.ndarray:
        """Read the features of a seeded choice of rows, of all if they fit: float32 `(n, size)`, about `most_bytes`.

        Raises:
            DataError: A file does not fit its index.
        """
        count = max(1, most_bytes // (4 * self.size))
        chosen = np.sort(np.random.default_rng(seed).permutation(self.rows)[:count])
        picked, start = [], 0
        for number, shard in enumerate(self.shards):
            inside = chosen[(chosen >= start) & (chosen < start + shard["rows"])] - start
            if len(inside):
                picked.append(self._arrays(number).features[inside])
            start += shard["rows"]
        return np.concatenate(picked)

    def write(self, features: np.ndarray, labels: np.ndarray, filenames: np.ndarray) -> "FeatureStore":
        """Write one more shard, and return the store with it."""
        number = len(self.shards)
        shard: dict[str, Any] = {"rows": len(features)}
        for column, array in zip(COLUMNS, (features, labels, filenames), strict=True):
            path = shard_path(self.path, number, column)
            save_array(path, array)
            shard[column] = seal_of(path)
        grown = replace(self, shards=(*self.shards, shard))
        write_json(self.path / UNFINISHED, grown._document(), indent=1)
        return grown

    def seal(self) -> "FeatureStore":
        """Write index.json, with which the store is complete."""
        write_json(self.path / INDEX, self._document(), indent=1)
        (self.path / UNFINISHED).unlink(missing_ok=True)
        return self

    def _document(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            **asdict(self.origin),
            "size": self.size,
            "rows": self.rows,
            "classes": self.classes,
            "titles": self.titles,
            "shards": self.shards,
        }

    def _arrays(self, number: int) -> FeatureShard:
        rows, remedy, arrays = self.shards[number]["rows"], _remedy(self.path), []
        shapes, kinds = ((rows, self.size), (rows,), (rows,)), ("f4", "i8", "U")
        for column, shape, kind in zip(COLUMNS, shapes, kinds, strict=True):
            path = shard_path(self.path, number, column)
            arrays.append(load_array(path, shape, kind, remedy, "r" if column == "features" else None))
        return FeatureShard(*arrays)


def open_features(path: Path) -> FeatureStore:
    """Open complete features.

    Raises:
        UsageError: There are none in the directory.
        DataError: They are unfinished, or a file is missing, truncated or not readable.
    """
    if (path / INDEX).exists():
        return _open(path, INDEX)
    if (path / UNFINISHED).exists():
        raise DataError(f"The features in {path} are not finished: run the same `alexnet features` again.")
    raise UsageError(f"There are no features in {path}: `alexnet features` writes some.")


def begin_features(empty: FeatureStore) -> FeatureStore:
    """Return a store to write to: the one given, or that of the same features in its directory, as far as it goes.

    Another process may have finished it meanwhile. Other features in the directory are removed.

    Raises:
        UsageError: The directory has something else in it.
    """
    path = empty.path
    with suppress(DataError):  # there are none, or they are damaged and only time is lost
        begun = _open(path, INDEX if (path / INDEX).exists() else UNFINISHED)
        if begun.origin.same_features(empty.origin) and begun.size == empty.size:
            return replace(begun, origin=empty.origin)  # run and data may have other names now
    for name in sorted(files_to_replace(path, "features", NAMES), reverse=True):
        (path / name).unlink()  # index.json before the shards that it seals
    return empty


def files_to_replace(path: Path, kind: str, pattern: str, common: Set[str] = frozenset()) -> set[str]:
    """List the files in a directory that is about to be written again, if all of them are of its kind.

    Args:
        path: The directory.
        kind: Their kind, in words.
        pattern: A regular expression of their whole names, to which partial files of killed processes add a beginning.
        common: Names among them that others give to files, too: a directory with no other names is somebody else's.

    Raises:
        UsageError: The directory has something else in it.
    """
    ours = re.compile(rf"({re.escape(PARTIAL)}.+-)?({pattern})")
    names = {file.name for file in path.iterdir()} - {LOCK} if path.exists() else set()
    if not all(map(ours.fullmatch, names)) or (names and names <= common):
        raise UsageError(f"{path} has other things in it than {kind}: choose another directory with --out.")
    return names


def check_not_of_others(document: Path, format: str, origin: Origin) -> None:
    """Refuse a directory that the user named for features or an index, and whose document is of another origin.

    Raises:
        DataError: The document names another model, layer, data or split, or is damaged.
    """
    if not document.exists():
        return
    remedy = "Choose another directory with --out, or delete this one."
    try:
        there = Origin.of(read_json(document, remedy, format))
    except LookupError as error:
        raise DataError(f"{document} is damaged: it lacks an entry. {remedy}") from error
    if not there.same_features(origin):
        raise DataError(f"{document.parent} is of {there}, not of {origin}. {remedy}")


def writing_lock(path: Path) -> AbstractContextManager[None]:
    """Hold a directory while it is written.

    Raises:
        AlexNetError: Another process holds it.
    """
    path.mkdir(parents=True, exist_ok=True)
    busy = f"Another process{{holder}} is writing {path}: wait for it, or choose another directory with --out."
    return locked(path / LOCK, busy)


def load_array(
    path: Path, shape: tuple[int, ...], kind: str, remedy: str, mmap_mode: Literal["r"] | None = None
) -> np.ndarray:
    """Load an `.npy` file of a shape and of a kind of numbers, such as "f4", or of strings, "U".

    Raises:
        DataError: It is damaged, or holds another array.
    """
    try:
        array = np.load(path, mmap_mode, allow_pickle=False)
    except DAMAGED as error:
        raise DataError(f"{path} is damaged and cannot be read. {remedy}") from error
    if array.shape != shape or not array.dtype.str[1:].startswith(kind):
        raise DataError(f"{path} holds {array.dtype} {array.shape}, which does not fit its index. {remedy}")
    return array


def shard_path(path: Path, number: int, column: str) -> Path:
    return path / f"{number:05}.{column}.npy"


def _open(path: Path, index: str) -> FeatureStore:
    remedy = _remedy(path)
    document = read_json(path / index, remedy, FORMAT)
    try:
        store = FeatureStore(
            path=path,
            origin=Origin.of(document),
            size=int(document["size"]),
            classes=tuple(document["classes"]),
            titles=renewed_titles(document["classes"], document["titles"]),
            shards=tuple(document["shards"]),
        )
        whole = store.rows == document["rows"]
        for number, shard in enumerate(store.shards):
            for column in COLUMNS:
                check_size(shard_path(path, number, column), shard[column], remedy)
    except DAMAGED as error:
        raise DataError(f"{path / index} is damaged: it lacks an entry of an index. {remedy}") from error
    if not whole:
        raise DataError(f"{path / index} is damaged: its counts do not add up. {remedy}")
    return store


def _remedy(path: Path) -> str:
    return f"Delete {path} and run `alexnet features` again."


class RunFeatures:
    """A run's best model and one of its layers, to compute features with.

    Args:
        run: The run.
        layer: A layer's name; None for the last hidden layer.

    Raises:
        UsageError: The run has no model yet, or the model no such layer.
        DataError: The model is damaged.
    """

    def __init__(self, run: Run, layer: str | None = None) -> None:
        self.run = run
        model, self.model_sha256 = run.load_model_with_sha256()
        self.extract = FeatureExtractor(model, layer)

    def origin(self, data: PreparedDataset, split: str) -> Origin:
        """Return the origin of the features of a split.

        Raises:
            UsageError: There is no such split.
            DataError: It is empty.
        """
        images_in(data, split)
        layer = self.extract.layer
        return Origin(self.run.name, self.model_sha256, layer, str(data.path), data.fingerprint, split)

    def name(self, data: PreparedDataset, split: str) -> str:
        """Return the name that features of a split, and an index of them, have in the run."""
        return f"{self.extract.layer}-{data.path.name}-{split}"

    def are_kept(self, data: PreparedDataset, split: str) -> bool:
        """True if the run keeps the features of a split, complete.

        Raises:
            DataError: They are damaged.
        """
        path = self.run.features_path / self.name(data, split)
        return (path / INDEX).exists() and open_features(path).origin.same_features(self.origin(data, split))

    def store(
        self, data: PreparedDataset, split: str, out: Path | None = None, *, reporter: Reporter = WARNINGS
    ) -> FeatureStore:
        """Return the features of a split, which are computed unless they are there.

        No more than one shard is held in memory. After an interruption the shards that are missing are computed.

        They are in the directory `out`, or in one in the run, where older features are replaced.

        Raises:
            UsageError: There is no such split, or the directory has other things in it.
            DataError: `out` has other features, finished or not; the split is empty; those that are there or a record
                are damaged.
            NotFiniteError: The outputs of the layer are not finite.
            AlexNetError: Another process is writing there; or nothing can be written into the run.
        """
        path, origin = out or self.run.features_path / self.name(data, split), self.origin(data, split)
        if out:
            for document in (INDEX, UNFINISHED):
                check_not_of_others(path / document, FORMAT, origin)
        if (path / INDEX).exists():
            store = open_features(path)
            if store.origin.same_features(origin):
                reporter.note(f"Using the existing features: {path}")
                return replace(store, origin=origin)  # run and data may have other names now
            reporter.note(f"The features in {path} are of {store.origin}; they are computed again for {origin}.")
        self.run.place(out, path)
        empty = FeatureStore(path, origin, self.extract.size, data.classes, data.titles)
        batches_per_shard = max(1, SHARD_BYTES // (4 * empty.size) // BATCH_SIZE)
        with writing_lock(path), reporter.progress("features", data.examples(split)) as advance:
            store = begin_features(empty)
            advance(store.rows)

            def rows() -> Iterator[tuple[np.ndarray, ...]]:
                for batch in feature_batches(self.extract, data, split, BATCH_SIZE, skip=store.rows):
                    advance(len(batch.labels))
                    yield batch.features, batch.labels, batch.filenames

            missing = rows()
            while shard := list(islice(missing, batches_per_shard)):
                store = store.write(*map(np.concatenate, zip(*shard, strict=True)))
            return store.seal()

    def of_positions(self, data: PreparedDataset, split: str, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute the features float32 `(n, size)` and labels int64 `(n,)` of the images at some positions of a split.

        Raises:
            DataError: A record is damaged.
        """
        features, labels = [], []
        for start in range(0, len(positions), BATCH_SIZE):  # so that few images are in memory at a time
            images, some, _ = stacked_images(data, split, positions[start : start + BATCH_SIZE])
            features.append(self.extract(images))
            labels.append(some)
        return np.concatenate(features), np.concatenate(labels)
