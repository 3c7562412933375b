"""A prepared dataset on disk: shards any TFDS opens, their statistics, and the manifest that seals it."""

import hashlib
import json
import os
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
from typing_extensions import TypedDict

from alexnet_keras.data.class_names import class_titles, class_words
from alexnet_keras.data.images import JPEG_QUALITY, Encoding
from alexnet_keras.data.shards import INDEX, WORK, found_lengths, load_lengths
from alexnet_keras.data.statistics import Statistics
from alexnet_keras.errors import DAMAGED, DataError, UsageError
from alexnet_keras.storage.files import locked
from alexnet_keras.storage.places import data_root, exists

MANIFEST = "manifest.json"  # written last: without it a directory is no dataset
STATISTICS = "statistics.npz"
DATASET_LOCK = ".lock"  # held alone by who prepares the dataset, together by who reads it
FORMAT = "alexnet-keras prepared dataset, version 2"


class _ShardEntry(TypedDict):
    name: str
    examples: int
    bytes: int
    sha256: str


class _SplitEntry(TypedDict):
    examples: int
    class_counts: list[int]
    shards: list[_ShardEntry]


class _Options(TypedDict):
    encoding: Literal["jpeg", "png", "raw"]
    jpeg_quality: int | None
    max_pixels: int
    exif: bool


class _Manifest(TypedDict):
    """What of a manifest is read; it may have more."""

    format: str
    name: str
    source: str
    fingerprint: str
    options: _Options
    classes: list[str]
    words: list[str]
    splits: dict[str, _SplitEntry]
    rejected: list[dict[str, str]]
    files: dict[str, str]


_MANIFEST = pydantic.TypeAdapter(_Manifest)


@dataclass(frozen=True)
class Shard:
    """One TFRecord file and the number of records in it."""

    path: Path
    examples: int


@dataclass(frozen=True)
class PreparedDataset:
    """A complete prepared dataset.

    Records are `tf.train.Example` with `image` (256x256 RGB, stored as `encoding` says), `label` (int64) and
    `filename` (bytes).

    Attributes:
        path: Its directory.
        name: Its name.
        source: Where it came from, as the user named it: "demo", "folder:...", "tfds:...".
        classes: Class names, of ImageNet the WordNet ids; the index is the label.
        words: What each class is called in words, "tench, Tinca tinca", where its source or ImageNet's own list has
            them; else the class name.
        ids: The ILSVRC id of each class, where the source knew them; else ().
        splits: The shards of "train", "val" and perhaps "test", in reading order.
        fingerprint: SHA-256 (hex) over the options and every shard's checksum.
        manifest: The manifest as read: options, counts, rejected images, checksums.
    """

    path: Path
    name: str
    source: str
    classes: tuple[str, ...]
    words: tuple[str, ...]
    ids: tuple[int, ...]
    splits: dict[str, tuple[Shard, ...]]
    fingerprint: str
    manifest: dict[str, Any] = field(repr=False, compare=False)

    @property
    def encoding(self) -> Encoding:
        """How the records store images."""
        options = self.manifest["options"]
        return Encoding(options["encoding"], options["jpeg_quality"] or JPEG_QUALITY)

    @property
    def facts(self) -> dict[str, Any]:
        """What a run keeps of the data it was trained on, so that it can be used where the data is not."""
        return {
            "path": str(self.path),
            "name": self.name,
            "source": self.source,
            "fingerprint": self.fingerprint,
            "examples": {split: self.examples(split) for split in self.splits},
            "options": self.manifest["options"],
            "titles": list(self.titles),
        }

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """What each class is called in images and tables, no two alike: of ImageNet its first name, "tench"."""
        return class_titles(self.classes, self.words)

    @cached_property
    def statistics(self) -> Statistics:
        """Mean image and colour covariance of the training split."""
        return Statistics.load(self.path / STATISTICS)

    def record_lengths(self, split: str) -> list[np.ndarray]:
        """The bytes of every record of each of a split's shards, int64.

        Raises:
            DataError: The index is damaged, or a shard of a dataset that has none.
        """
        if split not in self._lengths:  # an epoch asks for them, and of a dataset of 0.1 every header is read
            self._lengths[split] = self._read_lengths(split)
        return self._lengths[split]

    @cached_property
    def _lengths(self) -> dict[str, list[np.ndarray]]:
        return {}

    def _read_lengths(self, split: str) -> list[np.ndarray]:
        shards = self.splits[split]
        if INDEX not in self.manifest["files"]:  # prepared by 0.1
            return found_lengths([shard.path for shard in shards])
        lengths = load_lengths(self.path / INDEX, split)
        edges = np.cumsum([shard.examples for shard in shards])
        if len(lengths) != edges[-1]:
            raise DataError(f"{self.path / INDEX} is damaged: prepare the dataset again with --overwrite.")
        return np.split(lengths, edges[:-1])

    def reading(self) -> AbstractContextManager[None]:
        """Held by a command as long as it reads the dataset, so that no other prepares it anew meanwhile.

        Raises:
            AlexNetError: another process is preparing it.
        """
        busy = f"Another process{{holder}} is preparing {self.path} anew: wait for it."
        return locked(self.path / DATASET_LOCK, busy, shared=True)

    def examples(self, split: str) -> int:
        """The number of images in a split.

        Raises:
            UsageError: There is no such split.
        """
        if split not in self.splits:
            raise UsageError(f"{self.path} has no split {split!r}; it has {', '.join(self.splits)}.")
        return sum(shard.examples for shard in self.splits[split])

    def class_counts(self, split: str) -> list[int]:
        """The number of images of each class in a split."""
        return self.manifest["splits"][split]["class_counts"]

    @property
    def rejected(self) -> list[dict[str, str]]:
        """Each image that could not be used: its split, filename and reason."""
        return self.manifest["rejected"]


def open_prepared(name_or_path: str | Path, root: Path | None = None) -> PreparedDataset:
    """Open a prepared dataset by path, or by name under `root`, by default the directory of all datasets.

    Raises:
        UsageError: There is no such dataset.
        DataError: It is unfinished or damaged.
    """
    root = root or data_root()
    path, named = Path(name_or_path), root / name_or_path
    # `alexnet prepare photos` leaves the folder photos beside data/photos: the prepared one is meant.
    if not exists(path / MANIFEST) and (exists(named / MANIFEST) or not exists(path)):
        path = named if exists(named) else path
    if path.name in ("", ".."):
        path = path.resolve()  # `.` is no name
    if not exists(path):
        found = ", ".join(str(p) for p in _complete(root))
        there = f"Prepared here: {found}." if found else "Make one with `alexnet prepare`."
        raise UsageError(f"There is no prepared dataset {name_or_path}. {there}")
    if not (path / MANIFEST).is_file():
        if (path / WORK).is_dir():
            raise DataError(f"The preparation of {path} is not finished. Run the same `alexnet prepare` again.")
        raise DataError(f"{path} is not a prepared dataset (it has no {MANIFEST}). Make one with `alexnet prepare`.")
    try:
        return _from_manifest(path, read_manifest(path))
    except DAMAGED as error:
        raise DataError(f"{path / MANIFEST} is damaged; prepare the dataset again in another directory.") from error


def _from_manifest(path: Path, manifest: dict[str, Any]) -> PreparedDataset:
    splits = {}
    for split, facts in manifest["splits"].items():
        shards = []
        for shard in facts["shards"]:
            file = path / shard["name"]
            if not file.is_file():
                raise DataError(
                    f"{path} is damaged: the shard {shard['name']} is missing. Prepare it again with --overwrite."
                )
            if file.stat().st_size != shard["bytes"]:
                raise DataError(
                    f"{path} is damaged: the shard {shard['name']} has {file.stat().st_size:,} bytes "
                    f"instead of {shard['bytes']:,}. Prepare it again with --overwrite."
                )
            shards.append(Shard(file, shard["examples"]))
        splits[split] = tuple(shards)
    return PreparedDataset(
        path=path,
        name=manifest["name"],
        source=manifest["source"],
        classes=tuple(manifest["classes"]),
        words=class_words(manifest["classes"], manifest["words"]),
        ids=tuple(manifest.get("ids", ())),
        splits=splits,
        fingerprint=manifest["fingerprint"],
        manifest=manifest,
    )


def places_of(path: Path, folder: Path) -> dict[str, str]:
    """Where a dataset lies, from the root and from another directory, for `find_prepared`."""
    return {"absolute": str(path.absolute()), "from_run": os.path.relpath(path, folder)}


def find_prepared(facts: dict[str, Any], run: Path) -> Path:
    """The dataset that a run remembers: where it was named, seen from here, from the run or from the root, or by its
    name among all datasets. Of several there the one with its fingerprint; if none is there, the path as it was named.

    Args:
        facts: What `PreparedDataset.facts` and `places_of` gave; runs before 0.1 was out have no `places_of`.
        run: The run's directory.
    """
    given = Path(facts["path"])
    from_run = run.absolute() / facts.get("from_run", Path("../..") / given)  # most runs lie in PROJECT/saved_models
    places = (given, Path(os.path.normpath(from_run)), Path(facts.get("absolute", given)), data_root() / given.name)
    there = [path for path in places if exists(path / MANIFEST)]
    for path in there:
        with suppress(DataError):
            if read_manifest(path)["fingerprint"] == facts.get("fingerprint"):
                return path
    return there[0] if there else given


def latest_prepared(root: Path | None = None) -> Path:
    """The complete prepared dataset under `root` that was finished last.

    Raises:
        UsageError: There is none.
    """
    root = root or data_root()
    found = _complete(root)
    if not found:
        raise UsageError(f"There is no prepared dataset in {root}/. Make one with `alexnet prepare`.")
    return max(found, key=lambda path: (path / MANIFEST).stat().st_mtime_ns)


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a prepared dataset.

    Raises:
        DataError: It cannot be read, or is not ours.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except DAMAGED as error:
        raise DataError(f"{path / MANIFEST} is damaged; prepare the dataset again in another directory.") from error
    try:
        _MANIFEST.validate_python(manifest)
        is_ours = manifest["format"] == FORMAT
    except ValueError:
        is_ours = False
    if not is_ours:
        raise DataError(
            f"{path / MANIFEST} is not the manifest of a prepared dataset this version can read: prepare it in another "
            "directory."
        )
    return manifest


def fingerprint(options: dict[str, Any], checksums: dict[str, str]) -> str:
    """SHA-256 (hex) over the options of a preparation and the checksum of every shard by its name."""
    return hashlib.sha256(json.dumps([options, checksums], sort_keys=True).encode()).hexdigest()


def _complete(root: Path) -> list[Path]:
    return sorted(manifest.parent for manifest in root.glob(f"*/{MANIFEST}")) if root.is_dir() else []
