"""Prepare: turn the pictures of a source into a dataset on disk that training reads and plain TFDS opens.

Everything is decided by a plan made before the first picture is read. Each shard appears by rename with a
record beside it in `.prepare/`; a preparation that was interrupted finds them, does the rest, and ends with
the same bytes. The manifest is written last.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.data.decode import IMAGE_SIZE
from alexnet_keras.data.plan import SHARD_EXAMPLES, plan_shards
from alexnet_keras.data.prepared import FORMAT, MANIFEST, STATISTICS, WORK, PreparedDataset, open_prepared
from alexnet_keras.data.resume import already_prepared, clear_for, finished_shard
from alexnet_keras.data.shards import ShardRecord, write_shards
from alexnet_keras.data.sources.source import Source
from alexnet_keras.data.squares import JPEG_QUALITY
from alexnet_keras.data.statistics import PixelSums
from alexnet_keras.data.tfds_metadata import write_tfds_metadata
from alexnet_keras.errors import DataError
from alexnet_keras.files import sole_writer, write_by_rename


def prepare(
    source: Source,
    out: Path,
    *,
    seed: int = 0,
    name: str | None = None,
    max_bad: int | float | None = None,
    overwrite: bool = False,
    shard_examples: int = SHARD_EXAMPLES,
    on_progress: Callable[[int], None] = lambda pictures: None,
    on_note: Callable[[str], None] = lambda text: None,
) -> PreparedDataset:
    """Prepare a source into a directory, go on with an interrupted preparation, or find it done.

    Args:
        source: The pictures.
        out: The directory to make. It may exist if it is empty or an earlier preparation of the same.
        seed: Decides the order of the pictures.
        name: The dataset's name; the directory's by default.
        max_bad: How many pictures may be unusable: a count, or as float a part 0..1 of all pictures. By
            default ten, or one in a hundred where that is more.
        overwrite: Replace a preparation with other options in the same directory.
        shard_examples: Pictures in a shard at most.
        on_progress: Called with the number of pictures done since the last call.
        on_note: Called with a sentence when earlier work is found and used.

    Raises:
        UsageError: The directory holds something else, or a preparation with other options.
        DataError: Too many unusable pictures, or a class with none that can be used.
        OSError: The disk is full, or cannot be written.
    """
    name = name or out.resolve().name
    options = {
        "name": name,
        "seed": seed,
        "image_size": IMAGE_SIZE,
        "jpeg_quality": JPEG_QUALITY,
        "shard_examples": shard_examples,
        **source.options,
        "pictures": source.digest(),
    }
    if already_prepared(out, options, overwrite):
        prepared = open_prepared(out)
        shutil.rmtree(out / WORK, ignore_errors=True)
        on_progress(sum(len(pictures) for pictures in source.splits.values()))
        on_note(f"{out} is already prepared from the same pictures with the same options; nothing to do.")
        return prepared
    work = out / WORK
    work.mkdir(parents=True, exist_ok=True)
    with sole_writer(work / "lock", f"Another process is preparing {out}. Wait for it, or choose another --out."):
        clear_for(out, options, overwrite)
        records = _write_shards(source, out, seed, name, max_bad, shard_examples, on_progress, on_note)
        _check_classes(source, records)
        _finish(source, out, name, options, records)
    shutil.rmtree(work)
    return open_prepared(out)


def _write_shards(
    source: Source,
    out: Path,
    seed: int,
    name: str,
    max_bad: int | float | None,
    shard_examples: int,
    on_progress: Callable[[int], None],
    on_note: Callable[[str], None],
) -> list[ShardRecord]:
    """Write every shard that is not there yet; records of all of them, in order."""
    total = sum(len(pictures) for pictures in source.splits.values())
    allowed = _allowed(max_bad, total)
    rejected: list[tuple[str, str]] = []

    def reject(filename: str, reason: str) -> None:
        rejected.append((filename, reason))
        if len(rejected) > allowed:
            raise DataError(
                f"{len(rejected)} of {total} pictures cannot be used and --max-bad allows {allowed}. "
                f"The last was {filename}: {reason}. Remove them, or allow more."
            )

    shards = plan_shards(source, _tfds_name(name), seed, shard_examples)
    finished = {shard.filename: finished_shard(out, shard.filename) for shard in shards}
    if done := sum(record is not None for record in finished.values()):
        on_note(f"Going on with an interrupted preparation: {done} of {len(shards)} shards are done.")
    for record in filter(None, finished.values()):
        for rejection in record.rejected:
            reject(*rejection)
        on_progress(record.examples + len(record.rejected))
    pending = [shard for shard in shards if not finished[shard.filename]]
    for record in write_shards(pending, source, out, out / WORK, on_progress, reject):
        record.save(out / WORK / f"{record.filename}.npz")
        finished[record.filename] = record
    return list(finished.values())


def _allowed(max_bad: int | float | None, total: int) -> int:
    if max_bad is None:
        return max(10, total // 100)
    return int(max_bad * total) if isinstance(max_bad, float) else max_bad


def _check_classes(source: Source, records: list[ShardRecord]) -> None:
    """Every split needs pictures, and so does every class the training list names."""
    for split in source.splits:
        counts = _class_counts(record for record in records if record.split == split)
        if not sum(counts):
            raise DataError(f"None of the pictures in the {split} split can be used.")
        if split == "train":
            listed = np.bincount(source.splits[split].labels, minlength=len(counts))
            for name, before, after in zip(source.classes, listed, counts, strict=True):
                if before and not after:
                    raise DataError(f"The class {name!r} has no training picture that can be used.")


def _finish(source: Source, out: Path, name: str, options: dict[str, Any], records: list[ShardRecord]) -> None:
    sums = PixelSums()
    for record in records:
        if record.split == "train":
            sums.merge(record.sums)
    with write_by_rename(out / STATISTICS) as partial:
        sums.statistics().save(partial)
    splits = {split: [record for record in records if record.split == split] for split in source.splits}
    write_tfds_metadata(out, _tfds_name(name), source, splits)
    checksums = {record.filename: record.sha256 for record in records}
    manifest = {
        "format": FORMAT,
        "name": name,
        "source": source.given,
        "fingerprint": hashlib.sha256(json.dumps([options, checksums], sort_keys=True).encode()).hexdigest(),
        "options": options,
        "classes": source.classes,
        "splits": {
            split: {
                "examples": sum(part.examples for part in parts),
                "class_counts": [sum(numbers) for numbers in zip(*(p.class_counts for p in parts), strict=True)],
                "shards": [
                    {"name": p.filename, "examples": p.examples, "bytes": p.bytes, "sha256": p.sha256} for p in parts
                ],
            }
            for split, parts in splits.items()
        },
        "rejected": [
            {"split": record.split, "filename": filename, "reason": reason}
            for record in records
            for filename, reason in record.rejected
        ],
    }
    with write_by_rename(out / MANIFEST) as partial:
        partial.write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _tfds_name(name: str) -> str:
    """The name as TFDS accepts it: ASCII letters, digits and underscores, beginning with a letter."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return plain if plain[:1].isalpha() else f"pictures_{plain}".rstrip("_")


def _class_counts(records: Iterable[ShardRecord]) -> list[int]:
    return [sum(counts) for counts in zip(*(record.class_counts for record in records), strict=True)]
