"""The manifest of a prepared dataset, written last, and the files that it seals: statistics, index, TFDS metadata."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NotRequired

import numpy as np
import pydantic
from typing_extensions import TypedDict

from alexnet_keras.data.images import IMAGE_SIZE, Encoding
from alexnet_keras.data.shards import INDEX, ShardPlan, ShardRecord, load_sums, record_path, repeated_images
from alexnet_keras.data.sources.source import Source
from alexnet_keras.data.statistics import PixelSums
from alexnet_keras.errors import DataError
from alexnet_keras.storage.documents import read_json, write_json
from alexnet_keras.storage.files import sha256_of, write_by_rename

MANIFEST = "manifest.json"  # without it a directory is no dataset
STATISTICS = "statistics.npz"
METADATA_FILES = ("dataset_info.json", "features.json", "label.labels.txt")  # of TFDS
FORMATS = "alexnet-keras prepared dataset, version "  # the start of the format of any version
FORMAT = f"{FORMATS}2"
TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


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


class _Repeated(TypedDict):
    count: int
    images: list[dict[str, str]]


class _Manifest(TypedDict):
    """The part of a manifest that is read; it may hold more."""

    format: str
    name: str
    source: str
    fingerprint: str
    options: _Options
    classes: list[str]
    words: list[str]
    splits: dict[str, _SplitEntry]
    rejected: list[dict[str, str]]
    repeated: NotRequired[dict[str, _Repeated]]  # earlier versions did not look
    further_options: NotRequired[list[str]]
    files: dict[str, str]


_MANIFEST = pydantic.TypeAdapter(_Manifest)


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of the prepared dataset in a directory.

    Raises:
        DataError: It cannot be read, or is of another format.
    """
    remedy = "Prepare the dataset again in another directory."
    manifest = read_json(path / MANIFEST, remedy, FORMAT)
    try:
        _MANIFEST.validate_python(manifest)
    except ValueError as error:
        raise DataError(f"{path / MANIFEST} is damaged: it lacks entries of a manifest. {remedy}") from error
    return manifest


def fingerprint(options: dict[str, Any], checksums: dict[str, str]) -> str:
    """SHA-256 (hex) over the options of a preparation and the checksum of every shard by its name."""
    return hashlib.sha256(json.dumps([options, checksums], sort_keys=True).encode()).hexdigest()


def seal(
    source: Source,
    out: Path,
    name: str,
    plans: list[ShardPlan],
    records: list[ShardRecord],
    *,
    options: dict[str, Any],
    further: list[str],
    encoding: Encoding,
) -> np.ndarray:
    """Write statistics, index, TFDS metadata and finally the manifest next to the shards.

    Args:
        source: The images.
        out: The directory of the shards, with the records' files in `.prepare/`.
        name: The dataset's name.
        plans, records: Those of all shards, in order.
        options: Every choice that decided the result's bytes.
        further: Options of `alexnet prepare` that chose the images, as words; `options` has the images themselves.
        encoding: How images are stored.

    Returns:
        (classes,) int64, the training images of each class.

    Raises:
        DataError: A split has no usable image.
    """
    splits = {split: [record for record in records if record.split == split] for split in source.splits}
    labels = {split: np.concatenate([record.labels for record in part]) for split, part in splits.items()}
    counts = {split: np.bincount(numbers, minlength=len(source.classes)) for split, numbers in labels.items()}
    for split, numbers in counts.items():
        if not numbers.any():
            raise DataError(f"None of the images in the {split} split can be used.")
    sums = PixelSums()
    for record in splits["train"]:
        sums.merge(load_sums(record_path(out, record.filename)))
    with write_by_rename(out / STATISTICS) as partial:
        sums.statistics().save(partial)
    with write_by_rename(out / INDEX) as partial:
        lengths: dict[str, Any] = {
            split: np.concatenate([record.lengths for record in part]) for split, part in splits.items()
        }
        np.savez_compressed(partial, **lengths)
    _write_tfds_metadata(out, tfds_name(name), source, encoding, splits)
    repeated = repeated_images(source, plans, records)
    manifest = {
        "format": FORMAT,
        "name": name,
        "source": source.given,
        "fingerprint": fingerprint(options, {record.filename: record.sha256 for record in records}),
        "options": options,
        "further_options": further,
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
        **({} if repeated is None else {"repeated": repeated}),
        "files": {name: sha256_of(out / name) for name in (STATISTICS, INDEX, *METADATA_FILES)},
    }
    write_json(out / MANIFEST, manifest, indent=1)
    return counts["train"]


def rename_classes(out: Path, words: Sequence[str], further: list[str]) -> None:
    """Replace the words of a finished dataset's classes, and the options that chose them; nothing else depends on them.

    Args:
        out: The directory of the dataset.
        words, further: The words of each class and the further options, as of `seal`.
    """
    write_json(out / MANIFEST, {**read_manifest(out), "words": words, "further_options": further}, indent=1)


def tfds_name(name: str) -> str:
    """The name as TFDS accepts it: ASCII letters, digits and underscores, beginning with a letter."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return plain if plain[:1].isalpha() else f"pictures_{plain}".rstrip("_")


def _write_tfds_metadata(
    out: Path, dataset: str, source: Source, encoding: Encoding, splits: dict[str, list[ShardRecord]]
) -> None:
    """Write `METADATA_FILES` for a dataset of this name in file names, with the records of each split's shards."""
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        data_dir=out, template=TEMPLATE, dataset_name=dataset, filetype_suffix="tfrecord"
    )
    features = {
        "image": encoding.feature(),
        "label": tfds.features.ClassLabel(names=source.classes),
        "filename": tfds.features.Text(),
    }
    tfds.folder_dataset.write_metadata(
        data_dir=out,
        features=tfds.features.FeaturesDict(features),
        split_infos=[
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[record.examples for record in records],
                num_bytes=sum(record.bytes for record in records),
                filename_template=template,
            )
            for split, records in splits.items()
        ],
        filename_template=template,
        description=f"Images of {len(source.classes)} classes, {IMAGE_SIZE}x{IMAGE_SIZE}, for AlexNet.",
        check_data=False,
    )
