"""From a prepared dataset to batches of crops, the same at every use of the same seed.

The order of an epoch and every crop and flip are functions of (seed, epoch, example) alone, not of thread
timing: a repeated run sees the same batches, and a resumed one continues the same stream. The order is a uniformly
random permutation of all records: each record is read by itself, from its offset in its shard, so that the images of
one shard meet in a batch no more often than those of different ones.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.images import IMAGE_SIZE
from alexnet_keras.data.shards import RECORD_FOOTER, RECORD_HEADER, offsets_of
from alexnet_keras.errors import DataError, check_choice
from alexnet_keras.machine import usable_processors
from alexnet_keras.recipes.schema import Augmentation
from alexnet_keras.storage.places import argument, command

WIDEST = 4 / 3  # aspect ratio of crops of random size, wide or high (Szegedy and others, 2014)
ORDER = 2  # the version of an epoch's order; version 1 shuffled in a window of SHUFFLE_BYTES
SHUFFLE_BYTES = 256 * 2**20
READS = 16  # records that are read at once: a disk or server that answers slowly gets several requests
_FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
    "filename": tf.io.FixedLenFeature([], tf.string),
}


@dataclass(frozen=True)
class WorkerPart:
    """The part of every batch that one worker of a cluster computes: part `index`, from 0, of `count` equal parts."""

    index: int = 0
    count: int = 1


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """The number of batches that hold every example; the last one is filled up from the epoch's start."""
    return -(-examples // batch_size)


def training_batches(
    data: PreparedDataset,
    augmentation: Augmentation,
    *,
    batch_size: int,
    crop_size: int,
    seed: int,
    epoch: int,
    first_step: int = 0,
    part: WorkerPart = WorkerPart(),
    replicas: int = 1,
    order: int = ORDER,
) -> tf.data.Dataset:
    """Read the batches of one epoch.

    Every batch is full. Without random crops the crop is the centre. One crop position and flip serve
    `augmentation.crop_group` consecutive images (32 in the released code). With `augmentation.crop_area` a crop has
    any size and shape that this allows, and is resized to `crop_size`.

    Args:
        data: The dataset, of which the training split is read, from `data.decoded` where it is there.
        augmentation: The recipe's choices of crops and flips.
        batch_size: Images in a global batch.
        crop_size: Height and width of a crop, pixels.
        seed: With the epoch, decides the order and, with the example, each crop and flip.
        epoch: The epoch, counted from 0.
        first_step: The batch of the epoch to begin with; earlier ones are not read.
        part: This worker's part of every batch.
        replicas: The number of consecutive pieces into which the part is cut; an element is one piece, of
            batch_size / part.count / replicas rows.
        order: The version of the order; 1 for a run that began with 0.1.

    Returns:
        `(images, labels)`: images uint8 `(rows, crop_size, crop_size, 3)`, RGB, labels int64 `(rows,)`.
    """
    check_choice("order", order, (1, ORDER))
    rows = batch_size // part.count
    draws = _derived_seed(seed, "crops", epoch)
    group = augmentation.crop_group
    encoding, decoded = data.encoding, data.decoded

    def crop(position: tf.Tensor, example: tf.Tensor, record: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        unit = example if group == 1 else position // group
        numbers = 5 if augmentation.crop_area else 3
        random = tf.random.stateless_uniform([numbers], seed=tf.stack([tf.constant(draws, tf.int64), unit]))
        height = width = crop_size
        if augmentation.crop_area:
            height, width = _sides(augmentation.crop_area, random[3], random[4])
        top, left = (IMAGE_SIZE - height) // 2, (IMAGE_SIZE - width) // 2
        if augmentation.random_crop:
            top, left = _up_to(IMAGE_SIZE - height, random[0]), _up_to(IMAGE_SIZE - width, random[1])
        if decoded:
            image, label = decoded.crop(example, top, left, height, width)
        else:
            features = tf.io.parse_single_example(record, _FEATURES)
            image, label = encoding.decode_crop(features["image"], top, left, height, width), features["label"]
        if augmentation.crop_area:
            image = _resized(image, crop_size)
        if augmentation.flip:
            image = tf.cond(random[2] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)
        return tf.ensure_shape(image, (crop_size, crop_size, 3)), label

    if order == ORDER:
        examples = epoch_order(data.examples("train"), batch_size, seed, epoch)
        positions = np.arange(first_step * batch_size, len(examples))
        positions = positions[positions % batch_size // rows == part.index]
        if decoded:  # no record is read
            stream = tf.data.Dataset.from_tensor_slices((positions, examples[positions]))
        else:
            stream = _records_at(data, "train", positions, examples[positions])
    else:
        total = steps_per_epoch(data.examples("train"), batch_size) * batch_size
        shuffled = _shuffled_in_a_window(data, _derived_seed(seed, "order", epoch)).repeat().take(total).enumerate()
        stream = shuffled.skip(first_step * batch_size).map(lambda position, numbered: (position, *numbered))
        stream = stream.filter(lambda position, *_: position % batch_size // rows == part.index)
    return untuned(
        stream.map(crop, num_parallel_calls=usable_processors(), deterministic=True)
        .batch(rows // replicas, drop_remainder=True)
        .prefetch(4 * replicas)
    )


def evaluation_batches(
    data: PreparedDataset, split: str, batch_size: int, part: WorkerPart = WorkerPart(), first: int = 0
) -> Iterator[tuple[tf.Tensor, ...]]:
    """Read a split in its stored order.

    Args:
        data: The dataset.
        split: The split.
        batch_size: Images in a batch; the last one may be smaller.
        part: This worker's part of the records; no other worker reads them.
        first: The number of the first record to read, from 0.

    Yields:
        `(images, labels, filenames)`, images uint8 `(batch, 256, 256, 3)`, RGB.

    Raises:
        DataError: A record is damaged.
    """
    examples = data.examples(split)
    start, stop = (examples * index // part.count for index in (part.index, part.index + 1))
    batches = (
        _consecutive_records(data, split, max(first, start), stop)
        .map(whole_record(data), num_parallel_calls=usable_processors(), deterministic=True)
        .batch(batch_size)
        .prefetch(2)
    )
    return iterate(data, untuned(batches))


def images_at(
    data: PreparedDataset, split: str, positions: Iterable[int]
) -> Iterator[tuple[int, tf.Tensor, tf.Tensor, tf.Tensor]]:
    """Read the records of a split at some positions, and no others, in the stored order.

    Yields:
        `(position, image, label, filename)`, image uint8 `(256, 256, 3)`, RGB.

    Raises:
        DataError: A record is damaged.
    """
    numbers = np.array(sorted(set(positions)), np.int64)
    whole = whole_record(data)
    records = _records_at(data, split, numbers, numbers).map(lambda position, _, record: (position, *whole(record)))
    for position, *record in iterate(data, untuned(records)):
        yield int(position), *record


def whole_record(data: PreparedDataset) -> Callable:
    """A function for `tf.data` from a serialised record to (image uint8 `(256, 256, 3)`, label, filename)."""
    encoding = data.encoding

    def whole(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        features = tf.io.parse_single_example(record, _FEATURES)
        return encoding.decode(features["image"]), features["label"], features["filename"]

    return whole


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """A dataset whose parallelism is what it says, and which ends at once.

    The thread in which TensorFlow tunes a dataset sleeps for up to a minute, and where it misses the end of the
    iterator, as it often does in 2.21, who lets go of the iterator waits for it: at the end of every epoch.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def iterate(data: PreparedDataset, batches: Iterable) -> Iterator:
    """Iterate over batches of a dataset, and report damage in its files.

    Raises:
        DataError: A record is damaged, or a file cannot be read or is no longer there.
    """
    iterator = iter(batches)
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except (tf.errors.NotFoundError, tf.errors.PermissionDeniedError) as error:
            check = command("prepare", "--verify", argument(data.path))
            raise DataError(f"A file of {data.path} is gone, or cannot be read: `{check}` names it.") from error
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
            raise DataError(
                f"A record of {data.path} is damaged ({error.message.splitlines()[0][:120]}): prepare it again with "
                "--overwrite."
            ) from error
        yield batch


def _up_to(most: int | tf.Tensor, random: tf.Tensor) -> tf.Tensor:
    """A whole number 0..most from a random number 0..1."""
    return tf.cast(random * tf.cast(most + 1, tf.float32), tf.int32)


def _sides(area: tuple[float, float], first: tf.Tensor, second: tf.Tensor) -> list[tf.Tensor]:
    """Height and width of a crop of a random area and shape, from two random numbers 0..1; 256 pixels at most."""
    part = area[0] + (area[1] - area[0]) * first
    ratio = tf.exp((2 * second - 1) * math.log(WIDEST))  # width to height; 3:4 is as likely as 4:3
    sides = IMAGE_SIZE * tf.sqrt(part) * tf.stack([1 / tf.sqrt(ratio), tf.sqrt(ratio)])
    return tf.unstack(tf.clip_by_value(tf.cast(tf.round(sides), tf.int32), 1, IMAGE_SIZE))


def _resized(image: tf.Tensor, size: int) -> tf.Tensor:
    """uint8 of any height and width to (size, size, 3) uint8, bilinear between the centres of pixels."""
    pixels = tf.raw_ops.ResizeBilinear(images=image[None], size=[size, size], half_pixel_centers=True)[0]
    return tf.cast(tf.round(pixels), tf.uint8)


def epoch_order(examples: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """The examples of an epoch in order, int64: whole batches, the last one filled up from the epoch's start."""
    # NumPy guarantees the bits of its generators for good, but not its permutations.
    bits = np.random.PCG64(np.random.SeedSequence(_derived_seed(seed, "order", epoch))).random_raw(examples)
    return np.resize(np.argsort(bits, kind="stable"), steps_per_epoch(examples, batch_size) * batch_size)


def _shuffled_in_a_window(data: PreparedDataset, seed: int) -> tf.data.Dataset:
    """(example number, serialised record) of the training split in the order of 0.1: shuffled shards, then records."""
    shards = data.splits["train"]
    paths = [str(shard.path) for shard in shards]
    starts = np.cumsum([0, *(shard.examples for shard in shards)])[:-1]
    sizes = sum(shard.path.stat().st_size for shard in shards)
    window = max(1, min(data.examples("train"), SHUFFLE_BYTES * data.examples("train") // sizes))

    def read(path: tf.Tensor, start: tf.Tensor) -> tf.data.Dataset:
        return tf.data.TFRecordDataset(path).enumerate(start)

    return (
        tf.data.Dataset.from_tensor_slices((paths, tf.constant(starts, tf.int64)))
        .shuffle(len(shards), seed=seed, reshuffle_each_iteration=False)
        .interleave(read, cycle_length=min(8, len(shards)))
        .shuffle(window, seed=seed, reshuffle_each_iteration=False)
    )


def _records_at(data: PreparedDataset, split: str, positions: np.ndarray, examples: np.ndarray) -> tf.data.Dataset:
    """(position, example, serialised record) of a split's examples, which are numbers in the stored order."""
    lengths = data.record_lengths(split)
    paths = tf.constant([str(shard.path) for shard in data.splits[split]])
    shards = tf.constant(np.repeat(np.arange(len(lengths), dtype=np.int32), list(map(len, lengths))))
    offsets = tf.constant(np.concatenate(list(map(offsets_of, lengths))))
    sizes = tf.constant(np.concatenate(lengths))

    def read(position: tf.Tensor, example: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        size = sizes[example] + RECORD_HEADER + RECORD_FOOTER
        record = _from_offset(paths[shards[example]], offsets[example], size).take(1)
        return position, example, record.get_single_element()  # half the work of interleaving them

    numbered = tf.data.Dataset.from_tensor_slices((tf.constant(positions), tf.constant(examples)))
    return numbered.map(read, num_parallel_calls=READS, deterministic=True)


def _consecutive_records(data: PreparedDataset, split: str, first: int, stop: int) -> tf.data.Dataset:
    """The serialised records of a split from number `first` to `stop`, exclusive, in the stored order."""
    if first == 0 and stop == data.examples(split):  # read in large pieces
        return tf.data.TFRecordDataset([str(shard.path) for shard in data.splits[split]])
    numbers = np.arange(first, stop)
    return _records_at(data, split, numbers, numbers).map(lambda position, example, record: record)


def _from_offset(path: tf.Tensor, offset: tf.Tensor, buffer_size: tf.Tensor) -> tf.data.Dataset:
    """The serialised records of a file, beginning with the one at `offset`, read in pieces of `buffer_size`; bytes."""
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=[path], compression_type="", buffer_size=buffer_size, byte_offsets=[offset]
    )
    return tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))


def _derived_seed(seed: int, purpose: str, epoch: int) -> int:
    """A 31-bit seed for one purpose and epoch, unrelated to those of other purposes and epochs."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:4], "little") & 0x7FFFFFFF
