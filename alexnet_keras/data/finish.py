"""The end of a preparation: what its shards hold, in one place. The manifest is written last."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.data.encoding import Encoding
from alexnet_keras.data.prepared import FORMAT, MANIFEST, STATISTICS, fingerprint
from alexnet_keras.data.record_index import INDEX, save_lengths
from alexnet_keras.data.shards import ShardRecord, load_sums, record_path
from alexnet_keras.data.sources.names import some
from alexnet_keras.data.sources.source import Source
from alexnet_keras.data.statistics import PixelSums
from alexnet_keras.data.tfds_metadata import METADATA_FILES, write_tfds_metadata
from alexnet_keras.errors import DataError
from alexnet_keras.files import sha256_of, write_by_rename


def write_manifest_and_statistics(
    source: Source, out: Path, name: str, options: dict[str, Any], encoding: Encoding, records: list[ShardRecord]
) -> list[str]:
    """Write statistics, TFDS metadata and the manifest beside the shards.

    Args:
        source: The pictures.
        out: The directory of the shards, with the records' files in `.prepare/`.
        name: The dataset's name.
        options: Every choice that decided the result's bytes.
        encoding: How pictures are stored.
        records: Those of every shard, in order.

    Returns:
        What the user should know of the result.

    Raises:
        DataError: A split has no usable picture.
    """
    splits = {split: [record for record in records if record.split == split] for split in source.splits}
    counts = {split: _class_counts(part, len(source.classes)) for split, part in splits.items()}
    for split, numbers in counts.items():
        if not numbers.any():
            raise DataError(f"None of the pictures in the {split} split can be used.")
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
        return [f"Warning: no training picture can be used of the class {some(lost)}."]
    return []
