"""Turn the images of a source into a dataset on disk that training reads and plain TFDS opens.

Everything is decided by a plan made before the first image is read. Each shard appears by rename, with a record of it
in `.prepare/`; an interrupted preparation finds these, makes the rest, and ends with the same bytes. So does one that
several processes or machines share, each making a part of the shards. The manifest is written last."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.data.class_names import some
from alexnet_keras.data.dataset import (
    DATASET_LOCK,
    FORMAT,
    MANIFEST,
    STATISTICS,
    PreparedDataset,
    fingerprint,
    open_prepared,
)
from alexnet_keras.data.image_formats import Decoding
from alexnet_keras.data.images import IMAGE_SIZE, Encoding
from alexnet_keras.data.resume import PLAN_LOCK, already_prepared, clear_for, finished_shard
from alexnet_keras.data.shards import (
    INDEX,
    METADATA_FILES,
    SHARD_EXAMPLES,
    WORK,
    ShardPlan,
    ShardRecord,
    digest_of,
    load_sums,
    plan_shards,
    record_path,
    save_lengths,
    write_shards,
    write_tfds_metadata,
)
from alexnet_keras.data.sources.source import Source
from alexnet_keras.data.statistics import PixelSums
from alexnet_keras.errors import AlexNetError, DataError, UsageError
from alexnet_keras.storage.files import PARTIAL, locked, sha256_of, write_by_rename


def write_manifest_and_statistics(
    source: Source, out: Path, name: str, options: dict[str, Any], encoding: Encoding, records: list[ShardRecord]
) -> list[str]:
    """Write statistics, TFDS metadata and the manifest beside the shards.

    Args:
        source: The images.
        out: The directory of the shards, with the records' files in `.prepare/`.
        name: The dataset's name.
        options: Every choice that decided the result's bytes.
        encoding: How images are stored.
        records: Those of every shard, in order.

    Returns:
        What the user should know of the result.

    Raises:
        DataError: A split has no usable image.
    """
    splits = {split: [record for record in records if record.split == split] for split in source.splits}
    counts = {split: _class_counts(part, len(source.classes)) for split, part in splits.items()}
    for split, numbers in counts.items():
        if not numbers.any():
            raise DataError(f"None of the images in the {split} split can be used.")
    sums = PixelSums()
    for record in splits["train"]:
        sums.merge(load_sums(record_path(out, record.filename)))
    with write_by_rename(out / STATISTICS) as partial:
        sums.statistics().save(partial)
    with write_by_rename(out / INDEX) as partial:
        save_lengths(
            partial, {split: np.concatenate([record.lengths for record in part]) for split, part in splits.items()}
        )
    write_tfds_metadata(out, tfds_name(name), source, encoding, splits)
    checksums = {record.filename: record.sha256 for record in records}
    manifest = {
        "format": FORMAT,
        "name": name,
        "source": source.given,
        "fingerprint": fingerprint(options, checksums),
        "options": options,
        "classes": source.classes,
        "words": source.words,
        "ids": source.ids,
        "splits": {
            split: {
                "examples": sum(record.examples for record in part),
                "class_counts": counts[split].tolist(),
                "shards": [
                    {"name": r.filename, "examples": r.examples, "bytes": r.bytes, "sha256": r.sha256} for r in part
                ],
            }
            for split, part in splits.items()
        },
        "rejected": [
            {"split": record.split, "filename": filename, "reason": reason}
            for record in records
            for filename, reason in record.rejected
        ],
        "files": {name: sha256_of(out / name) for name in (STATISTICS, INDEX, *METADATA_FILES)},
    }
    with write_by_rename(out / MANIFEST) as partial:
        partial.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return _notes(source, counts["train"])


def tfds_name(name: str) -> str:
    """The name as TFDS accepts it: ASCII letters, digits and underscores, beginning with a letter."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return plain if plain[:1].isalpha() else f"pictures_{plain}".rstrip("_")


def _class_counts(records: list[ShardRecord], classes: int) -> np.ndarray:
    """(classes,) int64, records of each class."""
    return sum((np.bincount(record.labels, minlength=classes) for record in records), np.zeros(classes, np.int64))


def _notes(source: Source, trained: np.ndarray) -> list[str]:
    listed = np.bincount(source.splits["train"].labels, minlength=len(trained))
    if lost := [source.classes[label] for label in np.flatnonzero((listed > 0) & (trained == 0))]:
        return [f"Warning: no training image can be used of the class {some(lost)}."]
    return []


@dataclass(frozen=True, eq=False)
class Preparation:
    """What is to be prepared, how, and where.

    Attributes:
        source: The images.
        out: The directory to make. It may exist if it is empty or an earlier preparation of the same.
        name: The dataset's name; "" for the directory's.
        seed: Decides the order of the images.
        encoding: How images are stored.
        decoding: How they are read.
        shard_examples: Images in a shard at most.
        max_bad: How many images may be unusable: a count, or as float a part 0..1 of all images. By default
            ten, or one in a hundred where that is more.
    """

    source: Source
    out: Path
    name: str = ""
    seed: int = 0
    encoding: Encoding = Encoding()
    decoding: Decoding = Decoding()
    shard_examples: int = SHARD_EXAMPLES
    max_bad: int | float | None = None

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return self.name or self.out.resolve().name

    @cached_property
    def options(self) -> dict[str, Any]:
        """Every choice that decides the result's bytes."""
        return {
            "name": self.dataset,
            "seed": self.seed,
            "image_size": IMAGE_SIZE,
            **self.encoding.options,
            **self.decoding.options,
            "shard_examples": self.shard_examples,
            **self.source.options,
            "pictures": self.source.digest(),
        }

    @cached_property
    def shards(self) -> list[ShardPlan]:
        """The shards of every split, in order."""
        return plan_shards(self.source, tfds_name(self.dataset), self.seed, self.shard_examples)

    @cached_property
    def images(self) -> int:
        """Images in all splits."""
        return sum(len(images) for images in self.source.splits.values())

    @property
    def allowed_bad(self) -> int:
        """How many images may be unusable."""
        if self.max_bad is None:
            return max(10, self.images // 100)
        return int(self.max_bad * self.images) if isinstance(self.max_bad, float) else self.max_bad

    def check_bad(self, number: int, last: str) -> None:
        """Raises a DataError, which quotes the last of them, where more images are unusable than may be."""
        if number > self.allowed_bad:
            raise DataError(
                f"{number} of {self.images} images cannot be used and --max-bad allows {self.allowed_bad}. "
                f"The last was {last}. Remove them, or allow more."
            )


def prepare(
    source: Source,
    out: Path,
    *,
    overwrite: bool = False,
    on_progress: Callable[[int], None] = lambda images: None,
    on_note: Callable[[str], None] = lambda text: None,
    **choices: Any,
) -> PreparedDataset:
    """Prepare a source into a directory, go on with an interrupted preparation, or find it done.

    Args:
        source: The images.
        out: The directory to make. It may exist if it is empty or an earlier preparation of the same.
        overwrite: Replace a preparation with other options in the same directory.
        on_progress: Called with the number of images done since the last call.
        on_note: Called with a sentence when earlier work is found and used.
        choices: As in `Preparation`: name, seed, encoding, decoding, shard_examples, max_bad.

    Raises:
        UsageError: The directory holds something else.
        DataError: It holds a preparation with other options; too many unusable images, or a split with none that can
            be used.
        OSError: The disk is full, or cannot be written.
    """
    return prepare_all(
        Preparation(source, out, **choices), overwrite=overwrite, on_progress=on_progress, on_note=on_note
    )


def prepare_all(
    preparation: Preparation,
    *,
    overwrite: bool = False,
    on_progress: Callable[[int], None] = lambda images: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> PreparedDataset:
    """`prepare`, of a `Preparation`, with the same arguments and errors."""
    if found := found_done(preparation, overwrite, on_progress, on_note):
        return found
    with claimed(preparation, overwrite, alone=True) as found:
        if found:  # another process has finished it since
            return found
        for leftover in (preparation.out / WORK).glob(f"{PARTIAL}*"):
            leftover.unlink(missing_ok=True)
        write_missing(preparation, preparation.shards, on_progress, on_note)
        return _finish(preparation, on_note)


def prepare_part(
    preparation: Preparation,
    first: int,
    stop: int,
    *,
    overwrite: bool = False,
    on_progress: Callable[[int], None] = lambda images: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> None:
    """Make the shards `first` to `stop`, exclusive, of a preparation; other processes may make others meanwhile.

    Raises:
        UsageError, DataError, OSError: As `prepare`; UsageError also where there are no such shards.
    """
    number = len(preparation.shards)
    if not 0 <= first < stop or first >= number:
        raise UsageError(f"There is no shard range {first}:{stop}: the shards are 0:{number}.")
    if found_done(preparation, overwrite, on_progress, on_note):
        return
    with claimed(preparation, overwrite, alone=False) as found:
        if not found:
            write_missing(preparation, preparation.shards[first:stop], on_progress, on_note)


def finish_parts(preparation: Preparation, *, on_note: Callable[[str], None] = lambda text: None) -> PreparedDataset:
    """Merge the statistics of all shards and write the metadata, after every part was prepared.

    Raises:
        UsageError: As `prepare`.
        DataError: A shard is missing; as `prepare`.
    """
    if found := found_done(preparation, False, lambda images: None, on_note):
        return found
    with claimed(preparation, False, alone=True) as found:
        if found:
            return found
        missing = [
            number
            for number, shard in enumerate(preparation.shards)
            if not finished_shard(preparation.out, shard.filename)
        ]
        if missing:
            raise DataError(
                f"{len(missing)} of the {len(preparation.shards)} shards of {preparation.out} are not there yet: "
                f"{some(_ranges(missing))}. Prepare them with --shard-range, or run without --finish to make them here."
            )
        return _finish(preparation, on_note)


def write_missing(
    preparation: Preparation,
    shards: list[ShardPlan],
    on_progress: Callable[[int], None],
    on_note: Callable[[str], None] = lambda text: None,
) -> None:
    """Write those of the shards that are not there yet.

    Raises:
        DataError: More images cannot be used than the preparation allows.
    """
    out, rejected = preparation.out, []

    def reject(filename: str, reason: str) -> None:
        rejected.append(filename)
        preparation.check_bad(len(rejected), f"{filename}: {reason}")

    finished = {}
    for shard in shards:
        if record := finished_shard(out, shard.filename):
            finished[shard.filename] = record
            on_progress(record.examples + len(record.rejected))
            for rejection in record.rejected:
                reject(*rejection)
    if finished:
        on_note(f"Going on with an interrupted preparation: {len(finished)} of {len(shards)} shards are done.")
    pending = [shard for shard in shards if shard.filename not in finished]
    write_shards(pending, preparation.source, out, preparation.encoding, preparation.decoding, on_progress, reject)


def found_done(
    preparation: Preparation, overwrite: bool, on_progress: Callable[[int], None], on_note: Callable[[str], None]
) -> PreparedDataset | None:
    """The dataset, where it is there already, made from the same images with the same options.

    Raises:
        UsageError: The directory holds something else.
        DataError: It holds a preparation with other options.
    """
    out = preparation.out
    if not already_prepared(out, preparation.options, overwrite):
        return None
    if (out / WORK).exists():  # of a preparation that was killed when nothing but this was left to do
        with suppress(AlexNetError, OSError), locked(out / DATASET_LOCK, "in use"):
            shutil.rmtree(out / WORK, ignore_errors=True)
    on_progress(preparation.images)
    on_note(f"{out} is already prepared from the same images with the same options; nothing to do.")
    return open_prepared(out)


@contextmanager
def claimed(preparation: Preparation, overwrite: bool, alone: bool) -> Iterator[PreparedDataset | None]:
    """Hold the directory, alone or together with other parts, and leave nothing in it but parts of this plan.

    It gives the dataset where another process has finished it in the meantime.
    """
    out, work = preparation.out, preparation.out / WORK
    out.mkdir(parents=True, exist_ok=True)
    busy = f"Another process is preparing or reading {out}. Wait for it, or choose another --out."
    with locked(out / DATASET_LOCK, busy, shared=not alone):
        work.mkdir(exist_ok=True)
        with locked(work / PLAN_LOCK, None):
            found = open_prepared(out) if already_prepared(out, preparation.options, overwrite) else None
            if not found:
                clear_for(out, preparation.options, digest_of(preparation.shards), overwrite)
        if found and alone:
            shutil.rmtree(work, ignore_errors=True)
        yield found


def _finish(preparation: Preparation, on_note: Callable[[str], None]) -> PreparedDataset:
    out = preparation.out
    records = [ShardRecord.load(record_path(out, shard.filename)) for shard in preparation.shards]
    rejected = [rejection for record in records for rejection in record.rejected]
    preparation.check_bad(len(rejected), ": ".join(rejected[-1]) if rejected else "")
    for note in write_manifest_and_statistics(
        preparation.source, out, preparation.dataset, preparation.options, preparation.encoding, records
    ):
        on_note(note)
    found = open_prepared(out)
    shutil.rmtree(out / WORK, ignore_errors=True)
    return found


def _ranges(numbers: list[int]) -> list[str]:
    """Ascending numbers as ranges: 3, 4, 5, 9 to "3:6", "9:10"."""
    known = set(numbers)
    starts = [n for n in numbers if n - 1 not in known]
    stops = [n + 1 for n in numbers if n + 1 not in known]
    return [f"{start}:{stop}" for start, stop in zip(starts, stops, strict=True)]
