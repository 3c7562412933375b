"""A prepared dataset on disk: shards that any TFDS opens, their statistics, and the manifest that seals them."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alexnet_keras.data.class_names import class_titles, class_words
from alexnet_keras.data.images import JPEG_QUALITY, Encoding
from alexnet_keras.data.manifest import MANIFEST, STATISTICS, read_manifest
from alexnet_keras.data.shards import INDEX, WORK, load_lengths, read_lengths
from alexnet_keras.data.statistics import Statistics
from alexnet_keras.errors import DAMAGED, DataError, UsageError
from alexnet_keras.reporter import SILENT, Reporter
from alexnet_keras.storage.documents import check_size
from alexnet_keras.storage.locks import locked
from alexnet_keras.storage.places import data_root, exists

if TYPE_CHECKING:
    from alexnet_keras.data.image_cache import DecodedImages

DATASET_LOCK = ".lock"  # held exclusively while a dataset is prepared, and shared while it is read


@dataclass(frozen=True)
class Shard:
    """One TFRecord file and the number of records in it."""

    path: Path
    examples: int


@dataclass(frozen=True)
class PreparedDataset:
    """A complete prepared dataset, as `open_prepared` and `prepare` return it.

    Records are `tf.train.Example` with `image` (256x256 RGB, stored as `encoding` says), `label` (int64) and
    `filename` (bytes).

    Attributes:
        path: Its directory.
        name: Its name.
        source: Its source, as the user named it: "demo", "folder:...", "tfds:...".
        classes: Class names (WordNet ids for ImageNet); the index is the label.
        words: The words for each class, "tench, Tinca tinca", where its source or ImageNet's own list has them; else
            the class name.
        ids: The ILSVRC id of each class, where the source had them; else ().
        splits: The shards of "train", "val" and perhaps "test", in reading order.
        fingerprint: SHA-256 (hex) over the options and every shard's checksum.
        manifest: The manifest as read: options, counts, rejected images, checksums.
        decoded: The training images, decoded, where `image_cache.cached` keeps them; else None.
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
    decoded: "DecodedImages | None" = field(default=None, repr=False, compare=False)

    @property
    def encoding(self) -> Encoding:
        """The encoding of the images in the records."""
        options = self.manifest["options"]
        return Encoding(options["encoding"], options["jpeg_quality"] or JPEG_QUALITY)

    @property
    def facts(self) -> dict[str, Any]:
        """The entries that a run keeps of its data, so that it can be used where the data is not."""
        return {
            "path": str(self.path),
            "name": self.name,
            "source": self.source,
            "fingerprint": self.fingerprint,
            "examples": {split: self.examples(split) for split in self.splits},
            "options": self.manifest["options"],
            **{key: value for key, value in self.manifest.items() if key == "further_options"},  # of 0.1 there are none
            "titles": list(self.titles),
        }

    def summary(self) -> dict[str, Any]:
        """The dataset's classes, images per class, and rejected images, as JSON can hold them."""
        return {
            "path": str(self.path),
            "name": self.name,
            "source": self.source,
            "fingerprint": self.fingerprint,
            "classes": list(self.classes),
            "words": list(self.words),
            "splits": {
                split: {"examples": self.examples(split), "class_counts": self.class_counts(split)}
                for split in self.splits
            },
            "rejected": self.rejected,
            "repeated": self.repeated,
        }

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """The name of each class in figures and tables, all different: for ImageNet the first word, "tench"."""
        return class_titles(self.classes, self.words)

    @cached_property
    def statistics(self) -> Statistics:
        """Mean image and colour covariance of the training split."""
        return Statistics.load(self.path / STATISTICS)

    def record_lengths(self, split: str) -> list[np.ndarray]:
        """The bytes of every record of each of a split's shards, int64.

        Raises:
            DataError: The index is damaged; without an index, a shard.
        """
        if split not in self._lengths:  # needed in every epoch
            shards = self.splits[split]
            if INDEX in self.manifest["files"]:
                self._lengths[split] = load_lengths(self.path / INDEX, split, [shard.examples for shard in shards])
            else:  # prepared by 0.1
                self._lengths[split] = [read_lengths(shard.path) for shard in shards]
        return self._lengths[split]

    @cached_property
    def _lengths(self) -> dict[str, list[np.ndarray]]:
        return {}

    def reading(self) -> AbstractContextManager[None]:
        """Hold the dataset while reading it, so that no other process prepares it again meanwhile.

        Raises:
            AlexNetError: Another process is preparing it.
        """
        busy = f"Another process{{holder}} is preparing {self.path} again: wait for it."
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

    @property
    def repeated(self) -> dict[str, dict[str, Any]]:
        """Images that are in train as well, by split: their "count", and the first "images" with their names."""
        return self.manifest.get("repeated", {})  # earlier versions did not look


@contextmanager
def open_locked(
    data: "PreparedDataset | str | Path | None", reporter: Reporter = SILENT
) -> Iterator["PreparedDataset"]:
    """Open a dataset, which no other process prepares again meanwhile.

    Args:
        data: A prepared dataset, its name under data/, or its path; None for the latest.
        reporter: Receives a note which one is the latest.

    Raises:
        UsageError: There is no such dataset, or none at all.
        DataError: It is damaged.
        AlexNetError: Another process is preparing it.
    """
    if data is None:
        data = latest_prepared()
        reporter.note(f"Using the latest prepared dataset: {data}")
    dataset = data if isinstance(data, PreparedDataset) else open_prepared(data)
    with dataset.reading():
        yield open_prepared(dataset.path)  # another process may have prepared it before the lock was held


def open_prepared(name_or_path: str | Path) -> PreparedDataset:
    """Open a prepared dataset.

    Args:
        name_or_path: Its name under data/, or its path.

    Raises:
        UsageError: There is no such dataset.
        DataError: It is unfinished or damaged.
    """
    path, named = Path(name_or_path), data_root() / name_or_path
    # After `alexnet prepare photos` both photos and data/photos exist: the prepared one is meant.
    if not exists(path / MANIFEST) and (exists(named / MANIFEST) or not exists(path)):
        path = named if exists(named) else path
    if path.name in ("", ".."):
        path = path.resolve()  # `.` is no name
    if not exists(path):
        names = ", ".join(str(p) for p in _complete())
        remedy = f"Prepared here: {names}." if names else "Make one with `alexnet prepare`."
        raise UsageError(f"There is no prepared dataset {name_or_path}. {remedy}")
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
    for split, entry in manifest["splits"].items():
        for shard in entry["shards"]:
            check_size(path / shard["name"], shard, "Prepare the dataset again with --overwrite.")
        splits[split] = tuple(Shard(path / shard["name"], shard["examples"]) for shard in entry["shards"])
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
    """The path of a dataset from the root and from another directory, for `find_prepared`."""
    return {"absolute": str(path.absolute()), "from_run": os.path.relpath(path, folder)}


def find_prepared(facts: dict[str, Any], run: Path) -> Path:
    """Find the dataset of a run: at its recorded path, seen from here, from the run or from the root, or by its name
    among all datasets.

    Args:
        facts: `PreparedDataset.facts` and `places_of`, which runs made before 0.1 was complete do not have.
        run: The run's directory.

    Returns:
        Among several, the path of the one with the recorded fingerprint; if there is none, the recorded path.
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


def latest_prepared() -> Path:
    """Find the complete prepared dataset under data/ that was finished last.

    Raises:
        UsageError: There is none.
    """
    complete = _complete()
    if not complete:
        raise UsageError(f"There is no prepared dataset in {data_root()}/. Make one with `alexnet prepare`.")
    return max(complete, key=lambda path: (path / MANIFEST).stat().st_mtime_ns)


def _complete() -> list[Path]:
    return sorted(manifest.parent for manifest in data_root().glob(f"*/{MANIFEST}"))
