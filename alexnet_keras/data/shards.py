"""Write shards, each by rename once it is whole, and a record of what is in it."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from alexnet_keras.data.plan import ShardPlan
from alexnet_keras.data.sources.source import Pictures, Source
from alexnet_keras.data.squares import Batch, cut_at, encoded_squares
from alexnet_keras.data.statistics import PixelSums
from alexnet_keras.files import tensorflow_errors_as_os_errors, write_by_rename


@dataclass(eq=False)
class ShardRecord:
    """What a finished shard holds. Kept beside it until the dataset is complete.

    Attributes:
        filename, split: As planned.
        examples: Records in the shard.
        bytes: Its size.
        sha256: Its checksum.
        class_counts: Records per class.
        rejected: (filename, reason) of each picture that could not be used.
        sums: Pixel sums, of training pictures only.
    """

    filename: str
    split: str
    examples: int = 0
    bytes: int = 0
    sha256: str = ""
    class_counts: list[int] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    sums: PixelSums = field(default_factory=PixelSums)

    def save(self, path: Path) -> None:
        """Write an .npz file, whole or not at all."""
        facts = {name: value for name, value in vars(self).items() if name != "sums"}
        with write_by_rename(path) as partial, partial.open("wb") as file:
            np.savez(
                file,
                facts=np.array(json.dumps(facts)),
                pictures=np.array(self.sums.pictures),
                image=self.sums.image,
                products=self.sums.products,
            )

    @classmethod
    def load(cls, path: Path) -> "ShardRecord":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            facts = json.loads(file["facts"].item())
            facts["rejected"] = [(name, reason) for name, reason in facts["rejected"]]
            return cls(**facts, sums=PixelSums(int(file["pictures"]), file["image"], file["products"]))


def write_shards(
    plans: list[ShardPlan],
    source: Source,
    directory: Path,
    work: Path,
    on_progress: Callable[[int], None],
    on_rejected: Callable[[str, str], None],
) -> Iterator[ShardRecord]:
    """Write shards into a directory and give the record of each, once the shard is in its place.

    Args:
        plans: The shards.
        source: Their pictures.
        directory: Where the shards go.
        work: Where they are written first, on the same file system.
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
    with contextlib.closing(cut_at(edges, encoded_squares(read, int(edges[-1])))) as batches:
        for plan, first in zip(plans, edges, strict=False):
            partial = work / f"{plan.filename}.partial"
            pictures = source.splits[plan.split]
            record = ShardRecord(plan.filename, plan.split, class_counts=[0] * len(source.classes))
            _write(record, partial, plan, pictures, int(first), batches, on_progress, on_rejected)
            with partial.open("rb") as file:
                record.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            record.bytes = partial.stat().st_size
            partial.replace(directory / plan.filename)
            yield record


def _write(
    record: ShardRecord,
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
    with tensorflow_errors_as_os_errors(partial), tf.io.TFRecordWriter(str(partial)) as writer:
        while reached < stop:
            batch = next(batches)
            indices = plan.pictures[batch.positions - first]
            for index, jpeg in zip(indices.tolist(), batch.jpegs, strict=True):
                label = int(pictures.labels[index])
                writer.write(_example(jpeg, label, pictures.filenames[index]))
                record.class_counts[label] += 1
            record.examples += len(indices)
            if plan.split == "train":
                record.sums.add(batch.squares)
            for position, reason in batch.rejected:
                name = pictures.filenames[int(plan.pictures[position - first])]
                record.rejected.append((name, reason))
                on_rejected(name, reason)
            on_progress(batch.stop - reached)
            reached = batch.stop


def _example(jpeg: bytes, label: int, filename: str) -> bytes:
    import tensorflow as tf

    features = tf.train.Features(
        feature={
            "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[jpeg])),
            "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            "filename": tf.train.Feature(bytes_list=tf.train.BytesList(value=[filename.encode()])),
        }
    )
    # The order of a map's entries is otherwise free to change, and with it the shard's checksum.
    return tf.train.Example(features=features).SerializeToString(deterministic=True)
