"""Features on disk: numbered shards of `.npy` files, which NumPy alone opens, and the index that seals them.

index.json            what the features are of, counts, size and checksum of every file; written last
00000.features.npy    float32 (rows, size), at most about SHARD_BYTES
00000.labels.npy      int64 (rows,)
00000.filenames.npy   str (rows,)
unfinished.json       instead of index.json until the last shard is there: what a repeated command resumes from"""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.data.class_names import renewed_titles
from alexnet_keras.errors import DAMAGED, DataError, UsageError
from alexnet_keras.storage.files import locked, sha256_of, write_by_rename

LOCK = "lock"


def seal_of(path: Path) -> dict[str, Any]:
    """A file's size in bytes and its SHA-256 (hex)."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Writes a JSON file by rename."""
    with write_by_rename(path) as file:
        file.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def read_facts(path: Path, kind: str, remedy: str) -> dict[str, Any]:
    """What such a JSON file holds.

    Args:
        kind: what its "format" has to be.
        remedy: the sentence that says what to do if it is not.

    Raises:
        DataError: it cannot be read, or is of another format.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except DAMAGED as error:
        raise DataError(f"{path} is damaged and cannot be read. {remedy}") from error
    if not isinstance(facts, dict) or facts.get("format") != kind:
        raise DataError(f"{path} is not {kind!r}, which is what this version reads. {remedy}")
    return facts


def check_size(path: Path, seal: dict[str, Any], remedy: str) -> None:
    """Compares a file's size with its seal; a file that was cut off is found without reading it.

    Raises:
        DataError: it is missing, or of another size.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing. {remedy}")
    if path.stat().st_size != seal["bytes"]:
        raise DataError(
            f"{path} is damaged: it has {path.stat().st_size:,} bytes instead of {seal['bytes']:,}. {remedy}"
        )


def check_bytes(path: Path, seal: dict[str, Any], remedy: str) -> None:
    """Reads a file and compares it with its seal.

    Raises:
        DataError: it is missing, or not what was written.
    """
    check_size(path, seal, remedy)
    if sha256_of(path) != seal["sha256"]:
        raise DataError(f"{path} is damaged: its checksum is not the one it was written with. {remedy}")


def writing_lock(path: Path) -> AbstractContextManager[None]:
    """Held while a directory is written.

    Raises:
        AlexNetError: another process holds it.
    """
    path.mkdir(parents=True, exist_ok=True)
    busy = f"Another process{{holder}} is writing {path}: wait for it, or choose another directory with --out."
    return locked(path / LOCK, busy)


INDEX, UNFINISHED = "index.json", "unfinished.json"
FORMAT = "alexnet-keras features, version 1"
COLUMNS = ("features", "labels", "filenames")
SHARD_BYTES = 128 * 2**20  # of features: 8192 rows of 4096


@dataclass(frozen=True)
class Origin:
    """What features are of. The names are for people; the checksums decide."""

    run: str
    model_sha256: str
    layer: str
    data: str
    fingerprint: str
    split: str

    def same_features(self, other: "Origin") -> bool:
        """Whether the same model, layer, data and split give the same features, wherever they lie."""
        return all(
            getattr(self, name) == getattr(other, name) for name in ("model_sha256", "layer", "fingerprint", "split")
        )

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
    """Features in a directory, complete or as far as they go.

    Attributes:
        path: The directory.
        origin: What they are of.
        size: Numbers in a row.
        classes: Class names; the index is the label.
        titles: What each class is called in words.
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
        """The shards in order, each checked against its checksum before it is given.

        Raises:
            DataError: a file is damaged.
        """
        for number, shard in enumerate(self.shards):
            for column in COLUMNS:
                check_bytes(shard_path(self.path, number, column), shard[column], self._remedy)
            yield self._arrays(number)

    def rows_at(self, positions: np.ndarray) -> np.ndarray:
        """The features at ascending positions, float32 `(n, size)`; the rest is not read.

        Raises:
            DataError: a file is not what its index says.
        """
        picked, start = [np.empty((0, self.size), np.float32)], 0
        for number, shard in enumerate(self.shards):
            inside = positions[(positions >= start) & (positions < start + shard["rows"])] - start
            if len(inside):
                picked.append(self._arrays(number).features[inside])
            start += shard["rows"]
        return np.concatenate(picked)

    def write(self, features: np.ndarray, labels: np.ndarray, filenames: np.ndarray) -> "FeatureStore":
        """This store and one more shard, which is on disk when this returns."""
        number = len(self.shards)
        shard: dict[str, Any] = {"rows": len(features)}
        for column, array in zip(COLUMNS, (features, labels, filenames), strict=True):
            path = shard_path(self.path, number, column)
            with write_by_rename(path) as file:
                np.save(file, array, allow_pickle=False)
            shard[column] = seal_of(path)
        grown = replace(self, shards=(*self.shards, shard))
        write_facts(self.path / UNFINISHED, grown._facts())
        return grown

    def seal(self) -> "FeatureStore":
        """Writes index.json: these are all."""
        write_facts(self.path / INDEX, self._facts())
        (self.path / UNFINISHED).unlink(missing_ok=True)
        return self

    def _facts(self) -> dict[str, Any]:
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
        rows = self.shards[number]["rows"]
        shapes, kinds = ((rows, self.size), (rows,), (rows,)), ("f4", "i8", "U")
        arrays = []
        for column, shape, kind in zip(COLUMNS, shapes, kinds, strict=True):
            path = shard_path(self.path, number, column)
            try:
                array = np.load(path, mmap_mode="r" if column == "features" else None, allow_pickle=False)
            except DAMAGED as error:
                raise DataError(f"{path} is damaged and cannot be read. {self._remedy}") from error
            if array.shape != shape or (array.dtype.kind if kind == "U" else array.dtype.str[1:]) != kind:
                raise DataError(f"{path} holds {array.dtype} {array.shape}, not what its index says. {self._remedy}")
            arrays.append(array)
        return FeatureShard(*arrays)

    @property
    def _remedy(self) -> str:
        return _remedy(self.path)


def open_features(path: Path) -> FeatureStore:
    """Complete features.

    Raises:
        UsageError: there are none in the directory.
        DataError: they are unfinished, or a file is missing, cut off or not readable.
    """
    if (path / INDEX).exists():
        return _open(path, INDEX)
    if (path / UNFINISHED).exists():
        raise DataError(f"The features in {path} are not finished: run the same `alexnet features` again.")
    raise UsageError(f"There are no features in {path}: `alexnet features` writes some.")


def begin_features(empty: FeatureStore) -> FeatureStore:
    """A store to write to: the one given, or what an interrupted command left in its directory of the same features.

    Features of other things there are removed.

    Raises:
        UsageError: the directory has something else in it.
    """
    path = empty.path
    if (path / UNFINISHED).exists() and not (path / INDEX).exists():
        try:
            begun = _open(path, UNFINISHED)
        except DataError:
            begun = empty  # nothing is lost but time
        if begun.origin.same_features(empty.origin) and begun.size == empty.size:
            return begun
    found = {file.name for file in path.iterdir()} if path.exists() else set()
    known = (INDEX, UNFINISHED, LOCK)
    if any(not name.endswith((*(f".{column}.npy" for column in COLUMNS), *known)) for name in found):
        raise UsageError(f"{path} has other things in it than features: choose another directory with --out.")
    for name in sorted(found - {LOCK}, reverse=True):  # index.json before the shards that it seals
        (path / name).unlink()
    return empty


def sample(store: FeatureStore, most_bytes: int, seed: int) -> np.ndarray:
    """Features of a seeded choice of rows, all if they fit: float32 `(n, size)`, at most about `most_bytes`."""
    count = min(store.rows, max(1, most_bytes // (4 * store.size)))
    return store.rows_at(np.sort(np.random.default_rng(seed).permutation(store.rows)[:count]))


def rows_per_shard(size: int, batch: int) -> int:
    """How many rows of `size` numbers fit a shard, in whole batches, one at least."""
    return max(1, SHARD_BYTES // (4 * size) // batch) * batch


def shard_path(path: Path, number: int, column: str) -> Path:
    return path / f"{number:05}.{column}.npy"


def _open(path: Path, index: str) -> FeatureStore:
    facts = read_facts(path / index, FORMAT, _remedy(path))
    try:
        store = FeatureStore(
            path=path,
            origin=Origin(**{name: str(facts[name]) for name in Origin.__dataclass_fields__}),
            size=int(facts["size"]),
            classes=tuple(facts["classes"]),
            titles=renewed_titles(facts["classes"], facts["titles"]),
            shards=tuple(facts["shards"]),
        )
        damaged = store.rows != facts["rows"]
        for number, shard in enumerate(store.shards):
            for column in COLUMNS:
                check_size(shard_path(path, number, column), shard[column], _remedy(path))
    except DAMAGED as error:
        raise DataError(f"{path / index} is damaged: it lacks what an index says. {_remedy(path)}") from error
    if damaged:
        raise DataError(f"{path / index} is damaged: its counts do not add up. {_remedy(path)}")
    return store


def _remedy(path: Path) -> str:
    return f"Delete {path} and run `alexnet features` again."
