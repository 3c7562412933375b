"""Write shards, each by rename once it is whole, and a record of what is in it."""

import contextlib
import gc
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from alexnet_keras.data.decode import Decoding
from alexnet_keras.data.encoding import Encoding
from alexnet_keras.data.plan import ShardPlan
from alexnet_keras.data.sources.source import Pictures, Source
from alexnet_keras.data.squares import Batch, cut_at, encoded_squares
from alexnet_keras.data.statistics import PixelSums
from alexnet_keras.files import partial_path, replace, sha256_of, tensorflow_errors_as_os_errors, write_by_rename

WORK = ".prepare"  # what an unfinished preparation remembers, in the dataset's directory


def record_path(directory: Path, filename: str) -> Path:
    """Where the record of a shard is kept until the dataset is complete."""
    return directory / WORK / f"{filename}.npz"


@dataclass(eq=False)
class ShardRecord:
    """What a finished shard holds. Kept beside it until the dataset is complete.

    Attributes:
        filename, split: As planned.
        bytes: Its size.
        sha256: Its checksum.
        labels: (n,) int32, the label of each record.
        lengths: (n,) uint32, the bytes of each record.
        rejected: (filename, reason) of each picture that could not be used.
    """

    filename: str
    split: str
    bytes: int = 0
    sha256: str = ""
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    lengths: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint32))
    rejected: list[tuple[str, str]] = field(default_factory=list)

    @property
    def examples(self) -> int:
        """Records in the shard."""
        return len(self.labels)

    def save(self, path: Path, sums: PixelSums) -> None:
        """Write an .npz file with the shard's pixel sums, whole or not at all."""
        facts = {name: getattr(self, name) for name in ("filename", "split", "bytes", "sha256", "rejected")}
        with write_by_rename(path) as partial, partial.open("wb") as file:
            np.savez(
                file,
                facts=np.array(json.dumps(facts)),
                labels=self.labels,
                lengths=self.lengths,
                pictures=np.array(sums.pictures),
                image=sums.image.astype(np.uint32),  # at most 255 times the pictures of a shard
                products=sums.products,
            )

    @classmethod
    def load(cls, path: Path) -> "ShardRecord":
        """Read what `save` wrote, without the sums."""
        with np.load(path, allow_pickle=False) as file:
            facts = json.loads(file["facts"].item())
            facts["rejected"] = [(name, reason) for name, reason in facts["rejected"]]
            return cls(**facts, labels=file["labels"], lengths=file["lengths"])


def load_sums(path: Path) -> PixelSums:
    """The pixel sums that `ShardRecord.save` wrote beside the record."""
    with np.load(path, allow_pickle=False) as file:
        return PixelSums(int(file["pictures"]), file["image"].astype(np.int64), file["products"])


def write_shards(
    plans: list[ShardPlan],
    source: Source,
    directory: Path,
    encoding: Encoding,
    decoding: Decoding,
    on_progress: Callable[[int], None],
    on_rejected: Callable[[str, str], None],
) -> None:
    """Write shards into a directory, and the record of each once the shard is in its place.

    Args:
        plans: The shards.
        source: Their pictures.
        directory: Where the shards go.
        encoding: How pictures are stored.
        decoding: How they are read.
        on_progress: Called with the number of pictures done since the last call.
        on_rejected: Called with the name and reason of each picture that cannot be used.

    Raises:
        OSError: A shard cannot be written (disk full, for one).
    """
    edges = np.cumsum([0, *(len(plan.pictures) for plan in plans)])

    def read(position: int) -> bytes:
        number = int(np.searchsorted(edges, position, "right")) - 1
        plan = plans[number]
        return source.splits[plan.split].read(int(plan.pictures[position - edges[number]]))

    # One stream for all: starting one costs a fifth of a second, and its end leaves processors idle.
    # Closed at once on an error, because TensorFlow complains of a reader that outlives Python.
    stream = encoded_squares(read, int(edges[-1]), encoding, decoding)
    # A finished shard goes to the disk, which takes a while, as the next one is being made.
    with (
        _libraries_left_alone(),
        contextlib.closing(cut_at(edges, stream)) as batches,
        ThreadPoolExecutor(1) as background,
    ):
        sealed = None
        for plan, first in zip(plans, edges, strict=False):
            # Another process may be writing the same shard: each writes its own file.
            partial = partial_path(directory / WORK / plan.filename)
            pictures = source.splits[plan.split]
            record, sums = ShardRecord(plan.filename, plan.split), PixelSums()
            _write(record, sums, partial, plan, pictures, int(first), batches, on_progress, on_rejected)
            if sealed:
                sealed.result()
            sealed = background.submit(_seal, record, sums, partial, directory)
        if sealed:
            sealed.result()


@contextlib.contextmanager
def _libraries_left_alone() -> Iterator[None]:
    """The garbage collector goes through a million objects of TensorFlow's again and again; not in here."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


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
    pictures: Pictures,
    first: int,
    batches: Iterator[Batch],
    on_progress: Callable[[int], None],
    on_rejected: Callable[[str, str], None],
) -> None:
    """Write one shard, whose pictures stand in the stream from position `first` on, and fill in its record."""
    import tensorflow as tf

    reached, stop = first, first + len(plan.pictures)
    labels: list[int] = []
    lengths: list[int] = []
    with tensorflow_errors_as_os_errors(partial), tf.io.TFRecordWriter(str(partial)) as writer:
        while reached < stop:
            batch = next(batches)
            indices = plan.pictures[batch.positions - first]
            for index, encoded in zip(indices.tolist(), batch.encoded, strict=True):
                label = int(pictures.labels[index])
                example = _example(encoded, label, pictures.filenames[index])
                writer.write(example)
                labels.append(label)
                lengths.append(len(example))
            if plan.split == "train":
                sums.add(batch.squares)
            for position, reason in batch.rejected:
                name = pictures.filenames[int(plan.pictures[position - first])]
                record.rejected.append((name, reason))
                on_rejected(name, reason)
            on_progress(batch.stop - reached)
            reached = batch.stop
    record.labels, record.lengths = np.array(labels, np.int32), np.array(lengths, np.uint32)


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
