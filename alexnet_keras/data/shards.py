"""Shards: which image goes where, TFRecord files written whole and renamed, and the index of their records.

The plan, a shuffle of the whole split cut into shards of equal size, is made from the list of images and the seed
before anything is read, so that an interrupted preparation makes the same plan again, and training may read shards in
order."""

import contextlib
import gc
import hashlib
import json
import os
import zlib
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.data.image_formats import UPRIGHT, Decoding
from alexnet_keras.data.image_stream import EncodedBatch, cut_at, encoded_images
from alexnet_keras.data.images import Encoding
from alexnet_keras.data.sources.source import ImageList, Source
from alexnet_keras.data.statistics import PixelSums
from alexnet_keras.errors import DAMAGED, DataError
from alexnet_keras.storage.files import (
    partial_path,
    replace,
    sha256_of,
    tensorflow_errors_as_os_errors,
    write_by_rename,
)

SHARD_EXAMPLES = 1024  # at most; about 40 MB, the unit of work that is repeated after an interruption
RECORD_HEADER = 12  # eight bytes of length and four of checksum, then the record
RECORD_FOOTER = 4  # and four more
INDEX = "index.npz"  # next to the shards: for each split the length of every record, in order
MOST_REPEATED = 100  # images of a split that are in train as well, by name in the manifest
WORK = ".prepare"  # the state of an unfinished preparation, in the dataset's directory


@dataclass(frozen=True, eq=False)
class ShardPlan:
    """One shard to be written.

    Attributes:
        filename: The name TFDS expects, such as "demo-train.tfrecord-00000-of-00002".
        split: The split it belongs to.
        images: (n,) indices into the split's images, in the order of the records.
    """

    filename: str
    split: str
    images: np.ndarray


def digest_of(shards: Iterable[ShardPlan]) -> str:
    """SHA-256 (hex) of a plan: NumPy does not promise the same permutation from version to version."""
    digest = hashlib.sha256()
    for shard in shards:
        digest.update(f"{shard.filename}\n".encode())
        digest.update(shard.images.astype("<i8").tobytes())
    return digest.hexdigest()


def plan_shards(source: Source, dataset: str, seed: int, shard_examples: int = SHARD_EXAMPLES) -> list[ShardPlan]:
    """Plan the shards of every split, in order, for a dataset of this name in file names.

    The seed and the split's name decide the order. Shards of a split differ by at most one image.
    """
    shards = []
    for split, images in source.splits.items():
        order = np.random.default_rng([seed, zlib.crc32(split.encode())]).permutation(len(images))
        number = max(1, -(-len(images) // shard_examples))
        for index, part in enumerate(np.array_split(order, number)):
            filename = f"{dataset}-{split}.tfrecord-{index:05d}-of-{number:05d}"
            shards.append(ShardPlan(filename, split, part))
    return shards


def load_lengths(path: Path, split: str, examples: list[int]) -> list[np.ndarray]:
    """Read the lengths of the records of each shard of a split, bytes, int64, from an index.

    Raises:
        DataError: The file is damaged, or has not this many records in each shard.
    """
    edges = np.cumsum(examples)
    try:
        with np.load(path, allow_pickle=False) as file:
            lengths = file[split]
        if lengths.shape != (edges[-1],) or lengths.dtype != np.uint32:
            raise ValueError(f"uint32({edges[-1]},) expected. Received: {lengths.dtype}{lengths.shape}")
    except DAMAGED as error:
        raise DataError(f"{path} is damaged: prepare the dataset again with --overwrite.") from error
    return np.split(lengths.astype(np.int64), edges[:-1])


def read_lengths(shard: Path) -> np.ndarray:
    """Read the lengths of a shard's records, int64, from their headers: for datasets without an index.

    Raises:
        DataError: The shard is damaged.
    """
    size, offset, lengths = shard.stat().st_size, 0, []
    with shard.open("rb") as file:
        while offset < size:
            file.seek(offset)
            length = int.from_bytes(file.read(8), "little")
            offset += RECORD_HEADER + length + RECORD_FOOTER
            lengths.append(length)
    if offset != size:
        raise DataError(f"A record of {shard} is damaged: prepare the dataset again with --overwrite.")
    return np.array(lengths, np.int64)


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """The offset of each record of one file, before its header, bytes, int64."""
    whole = lengths + RECORD_HEADER + RECORD_FOOTER
    return np.cumsum(whole) - whole


def record_path(directory: Path, filename: str) -> Path:
    """The path of a shard's record, which is kept until the dataset is complete."""
    return directory / WORK / f"{filename}.npz"


@dataclass(eq=False)
class ShardRecord:
    """The contents of a finished shard, kept on disk until the dataset is complete.

    Attributes:
        filename, split: As planned.
        bytes: Its size.
        sha256: Its checksum.
        labels: (n,) int32, the label of each record.
        lengths: (n,) uint32, the bytes of each record.
        digests: (n,) uint64, by which repeated images are known; (0,) in records of earlier versions.
        rejected: (filename, reason) of each image that could not be used.
        turned: The images whose EXIF orientation is not upright.
    """

    filename: str
    split: str
    bytes: int = 0
    sha256: str = ""
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    lengths: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint32))
    digests: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    rejected: list[tuple[str, str]] = field(default_factory=list)
    turned: int = 0

    @property
    def examples(self) -> int:
        """Records in the shard."""
        return len(self.labels)

    @property
    def images(self) -> int:
        """Images that were read for the shard, usable or not."""
        return len(self.labels) + len(self.rejected)

    def save(self, path: Path, sums: PixelSums) -> None:
        """Write an .npz file with the shard's pixel sums, whole or not at all."""
        names = ("filename", "split", "bytes", "sha256", "rejected", "turned")
        plain = {name: getattr(self, name) for name in names}
        with write_by_rename(path) as partial:
            np.savez(
                partial,
                facts=np.array(json.dumps(plain)),
                labels=self.labels,
                lengths=self.lengths,
                digests=self.digests,
                pictures=np.array(sums.images),
                image=sums.image.astype(np.uint32),  # at most 255 times the images of a shard
                products=sums.products,
            )

    @classmethod
    def load(cls, path: Path) -> "ShardRecord":
        """Read a file that `save` wrote, without the sums."""
        with np.load(path, allow_pickle=False) as file:
            plain = json.loads(file["facts"].item())
            plain["rejected"] = [(name, reason) for name, reason in plain["rejected"]]
            arrays = {name: file[name] for name in ("labels", "lengths", "digests") if name in file}
            return cls(**plain, **arrays)


def repeated_images(
    source: Source, plans: list[ShardPlan], records: list[ShardRecord]
) -> dict[str, dict[str, Any]] | None:
    """Find the images of other splits that are stored with the same bytes as one of the training split.

    Returns:
        For each split that has any their number, and of the first of them the filename here and in the training split;
        None where shards of an earlier version have no digests.
    """
    if any(len(record.digests) != record.examples for record in records):
        return None
    digests = np.concatenate([record.digests for record in records])
    edges = np.cumsum([0, *(record.examples for record in records)])
    of_train = np.repeat([plan.split == "train" for plan in plans], np.diff(edges))
    trained, others = np.flatnonzero(of_train), np.flatnonzero(~of_train)
    trained = trained[np.argsort(digests[trained], kind="stable")]
    at = np.searchsorted(digests[trained], digests[others]).clip(max=len(trained) - 1)
    same = digests[trained[at]] == digests[others]

    def shard_of(position: int) -> int:
        return int(np.searchsorted(edges, position, "right")) - 1

    def name_of(position: int) -> str:
        plan, record = plans[shard_of(position)], records[shard_of(position)]
        filenames, rejected = source.splits[plan.split].filenames, {name for name, _ in record.rejected}
        usable = [name for image in plan.images.tolist() if (name := filenames[image]) not in rejected]
        return usable[position - int(edges[shard_of(position)])]

    found: dict[str, dict[str, Any]] = {}
    for position, known in zip(others[same].tolist(), trained[at[same]].tolist(), strict=True):
        entry = found.setdefault(plans[shard_of(position)].split, {"count": 0, "images": []})
        entry["count"] += 1
        if len(entry["images"]) < MOST_REPEATED:
            entry["images"].append({"filename": name_of(position), "in_train": name_of(known)})
    return found


def load_sums(path: Path) -> PixelSums:
    """Read the pixel sums of a file that `ShardRecord.save` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return PixelSums(int(file["pictures"]), file["image"].astype(np.int64), file["products"])


def finished_shard(directory: Path, filename: str) -> ShardRecord | None:
    """The record of a shard that is complete; None where it has to be made again."""
    shard, path = directory / filename, record_path(directory, filename)
    if not shard.exists() or not path.exists():
        return None
    try:
        record = ShardRecord.load(path)
        load_sums(path)
    except DAMAGED:
        return None
    return record if record.bytes == shard.stat().st_size else None


Written = tuple[int, list[tuple[str, str]]]  # images done, and the name and reason of each that cannot be used


def write_shards(
    plans: list[ShardPlan], source: Source, directory: Path, encoding: Encoding, decoding: Decoding
) -> Generator[Written, None, None]:
    """Write shards into a directory, and the record of each once the shard is in its place.

    Yields:
        For a few images at a time, their number, and the name and reason of each that cannot be used. Close the
        generator to stop early: TensorFlow complains of a reader that outlives Python.

    Raises:
        OSError: A shard cannot be written (disk full, for one).
    """
    edges = np.cumsum([0, *(len(plan.images) for plan in plans)])

    def read(position: int) -> bytes:
        number = int(np.searchsorted(edges, position, "right")) - 1
        plan = plans[number]
        return source.splits[plan.split].read(int(plan.images[position - edges[number]]))

    # One stream for all: starting one costs a fifth of a second, and its end leaves processors idle.
    stream = encoded_images(read, int(edges[-1]), encoding, decoding)
    with contextlib.ExitStack() as stack:
        gc.freeze()  # the garbage collector would go through a million objects of TensorFlow's again and again
        stack.callback(gc.unfreeze)
        batches = stack.enter_context(contextlib.closing(cut_at(edges, stream)))
        # A finished shard goes to the disk, which takes a while, as the next one is being made.
        background = stack.enter_context(ThreadPoolExecutor(1))
        sealed = None
        for plan, first in zip(plans, edges, strict=False):
            # Another process may be writing the same shard: each writes its own file.
            partial = partial_path(directory / WORK / plan.filename)
            record, sums = ShardRecord(plan.filename, plan.split), PixelSums()
            yield from _write(record, sums, partial, plan, source.splits[plan.split], int(first), batches)
            if sealed:
                sealed.result()
            sealed = background.submit(_seal, record, sums, partial, directory)
        if sealed:
            sealed.result()


def _seal(record: ShardRecord, sums: PixelSums, partial: Path, directory: Path) -> None:
    """Bring a written shard into its place, and then its record."""
    record.sha256 = sha256_of(partial)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    record.bytes = partial.stat().st_size
    replace(partial, directory / record.filename)
    record.save(record_path(directory, record.filename), sums)


def _write(
    record: ShardRecord,
    sums: PixelSums,
    partial: Path,
    plan: ShardPlan,
    images: ImageList,
    first: int,
    batches: Iterator[EncodedBatch],
) -> Iterator[Written]:
    """Write one shard, whose images begin at position `first` of the stream, and fill in its record."""
    import tensorflow as tf

    reached, stop = first, first + len(plan.images)
    labels: list[int] = []
    lengths: list[int] = []
    digests: list[bytes] = []
    with tensorflow_errors_as_os_errors(partial), tf.io.TFRecordWriter(str(partial)) as writer:
        while reached < stop:
            batch = next(batches)
            indices = plan.images[batch.positions - first]
            for index, encoded in zip(indices.tolist(), batch.encoded, strict=True):
                label = int(images.labels[index])
                example = _example(encoded, label, images.filenames[index])
                writer.write(example)
                labels.append(label)
                lengths.append(len(example))
                digests.append(hashlib.sha256(encoded).digest()[:8])
            if plan.split == "train":
                sums.add(batch.pixels)
            rejected = [
                (images.filenames[int(plan.images[position - first])], reason) for position, reason in batch.rejected
            ]
            record.rejected += rejected
            record.turned += int((batch.orientations != UPRIGHT).sum())
            yield batch.stop - reached, rejected
            reached = batch.stop
    record.labels, record.lengths = np.array(labels, np.int32), np.array(lengths, np.uint32)
    record.digests = np.frombuffer(b"".join(digests), "<u8")


def _example(encoded: bytes, label: int, filename: str) -> bytes:
    import tensorflow as tf

    features = tf.train.Features(
        feature={
            "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded])),
            "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            "filename": tf.train.Feature(bytes_list=tf.train.BytesList(value=[filename.encode()])),
        }
    )
    # The order of a map's entries is otherwise free to change, and with it the shard's checksum.
    return tf.train.Example(features=features).SerializeToString(deterministic=True)
