"""Any image-classification set of TensorFlow Datasets, by name: "cifar10", "cats_vs_dogs",
"name/config:1.0.0".

A set that is already generated is read from disk and no network is asked. Its records are indexed once (file,
offset, length, label), then read at random, so memory holds the index and not the images.
"""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alexnet_keras.data.images import check_length
from alexnet_keras.data.shards import RECORD_FOOTER, RECORD_HEADER
from alexnet_keras.data.sources.source import DEFAULT_HOLDOUT, ImageList, Names, Source, hold_out
from alexnet_keras.errors import DataError, UsageError

SPLIT_NAMES = {"train": "train", "validation": "val", "val": "val", "valid": "val", "test": "test"}
NAME_FEATURES = ("file_name", "filename")


class _Keys(NamedTuple):
    """Where the features of a record are found."""

    image: str
    label: str
    filename: str | None


def tfds_source(
    name: str,
    *,
    data_dir: Path | None = None,
    holdout: float = DEFAULT_HOLDOUT,
    seed: int = 0,
    on_progress: Callable[[int], None] = lambda images: None,
) -> Source:
    """Index a TFDS set, after generating it where that has not been done.

    "validation" becomes "val". Without it, "test" becomes "val"; without either, `holdout` of every class
    does. Splits without labels are left out.

    Args:
        name: As `tfds.builder` takes it.
        data_dir: Where TFDS keeps its sets; its own default if None.
        holdout: The part of each class to hold out, 0..1.
        seed: Decides which images are held out.
        on_progress: Called with the number of images found since the last call.

    Raises:
        UsageError: TFDS knows no such set.
        DataError: It can be had neither from disk nor from the network, or is no image classification.
    """
    builder = _builder(name, data_dir)
    keys = _keys(builder.info)
    classes = tuple(builder.info.features[keys.label].names)
    if len(classes) < 2:
        raise DataError(f"tfds:{name} has one class. At least two are needed to tell apart.")
    splits, notes = {}, []
    for found, info in builder.info.splits.items():
        split = SPLIT_NAMES.get(found)
        if split is None:
            notes.append(f"The split {found!r} of tfds:{name} is left out.")
            continue
        images = _images([Path(path) for path in info.filepaths], keys, classes, on_progress)
        if len(images):
            splits[split] = images
        else:
            notes.append(f"The split {found!r} of tfds:{name} has no labels and is left out.")
    if "train" not in splits:
        raise DataError(f"tfds:{name} has no train split; it has {', '.join(builder.info.splits) or 'none'}.")
    options: dict[str, Any] = {}
    if "val" not in splits and "test" in splits:
        splits["val"] = splits.pop("test")
        notes.append(f"tfds:{name} has no validation split; its test split is used for validation.")
    elif "val" not in splits:
        options["holdout"] = holdout
        splits |= hold_out(splits["train"], classes, holdout, seed)
        notes.append(f"tfds:{name} has no validation split; {holdout:.0%} of every class is held out.")
    ordered: dict[str, ImageList] = {split: splits[split] for split in ("train", "val", "test") if split in splits}
    return Source(f"tfds:{name}", classes, ordered, options=options, notes=tuple(notes))


def _builder(name: str, data_dir: Path | None) -> Any:
    """A builder whose records are on disk."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir and str(data_dir.expanduser()))
    except tfds.core.DatasetNotFoundError as error:
        raise UsageError(
            f"TensorFlow Datasets knows no set {name!r}, and there is none of that name on disk."
        ) from error
    except (
        ValueError,
        AssertionError,
        ImportError,
    ) as error:  # a config or version it does not have, a library
        raise UsageError(f"tfds:{name} cannot be opened: {_first_line(error)}") from error
    if not builder.is_prepared():
        try:
            with contextlib.redirect_stdout(sys.stderr):  # TFDS prints what it is about to do
                builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
        except OSError as error:
            if error.filename:  # the disk, not the network
                raise
            raise _unavailable(name, builder, error) from error
        except Exception as error:  # a generator is somebody's script: anything can come out of it
            raise _unavailable(name, builder, error) from error
    if builder.info.file_format.value != "tfrecord":
        raise DataError(
            f"tfds:{name} is stored as {builder.info.file_format.value}; generate it with --file_format=tfrecord."
        )
    return builder


def _unavailable(name: str, builder: Any, error: Exception) -> DataError:
    return DataError(
        f"tfds:{name} is not in {Path(builder.data_path).parent} and could not be downloaded "
        f"({_first_line(error)}). Generate it where there is a network, with `tfds build`, and give its "
        "directory as --tfds-dir."
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0][:160]}"


def _keys(info: Any) -> _Keys:
    """The one image and the one label of a record."""
    import tensorflow_datasets as tfds

    features = dict(info.features.items()) if hasattr(info.features, "items") else {}
    listed = ", ".join(f"{key} ({type(feature).__name__})" for key, feature in features.items()) or "none"
    found = []
    for place, (kind, usual) in enumerate(((tfds.features.Image, "image"), (tfds.features.ClassLabel, "label"))):
        keys = [key for key, feature in features.items() if type(feature) is kind]
        supervised = info.supervised_keys or ()
        preferred = [key for key in (*supervised[place : place + 1], usual) if key in keys]
        if not preferred and len(keys) != 1:
            problem = "more than one" if keys else "no"
            raise DataError(f"tfds:{info.name} has {problem} {kind.__name__} feature. Its features: {listed}.")
        found.append((preferred or keys)[0])
    names = [key for key in NAME_FEATURES if type(features.get(key)) is tfds.features.Text]
    if features[found[0]].np_dtype != np.uint8:
        raise DataError(f"The images of tfds:{info.name} are not 8-bit images. Its features: {listed}.")
    return _Keys(found[0], found[1], names[0] if names else None)


def _images(files: list[Path], keys: _Keys, classes: tuple[str, ...], on_progress: Callable[[int], None]) -> ImageList:
    """Index the labelled records of a split."""
    file_numbers, offsets, lengths, labels, names = [], [], [], [], []
    for number, file in enumerate(files):
        found = _index(file, keys)
        file_numbers.append(np.full(len(found[0]), number, np.int32))
        ends = np.cumsum(found[0] + RECORD_HEADER + RECORD_FOOTER)
        offsets.append(ends - found[0] - RECORD_FOOTER)
        lengths.append(found[0])
        labels.append(found[1])
        names.extend(found[2])
        on_progress(len(found[0]))
    joined = [
        np.concatenate(column) if column else np.zeros(0, np.int64) for column in (file_numbers, offsets, lengths)
    ]
    label = np.concatenate(labels).astype(np.int32) if labels else np.zeros(0, np.int32)
    keep = np.flatnonzero(label >= 0)  # TFDS marks what has no label with -1
    file_number, offset, length = (column[keep] for column in joined)
    label = label[keep]
    filenames = [names[i].decode("utf-8", "backslashreplace") for i in keep] if keys.filename else []
    if len(set(filenames)) != len(keep):
        filenames = [f"{classes[value]}/{i:07d}" for i, value in zip(keep, label, strict=True)]

    def read(i: int) -> bytes:
        return _read(files[file_number[i]], int(offset[i]), int(length[i]), keys.image)

    return ImageList(Names.pack(filenames), label, length, read)


def _index(file: Path, keys: _Keys) -> tuple[np.ndarray, np.ndarray, list[bytes]]:
    """(lengths, labels, names) of the records of a file, in order."""
    import tensorflow as tf

    wanted = {keys.label: tf.io.FixedLenFeature([], tf.int64)}
    if keys.filename:
        wanted[keys.filename] = tf.io.FixedLenFeature([], tf.string)

    def facts(record: "tf.Tensor") -> tuple:
        found = tf.io.parse_single_example(record, wanted)
        name = found[keys.filename] if keys.filename else tf.constant(b"")
        return tf.cast(tf.strings.length(record), tf.int64), found[keys.label], name

    records = tf.data.TFRecordDataset(str(file)).map(facts, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    lengths, labels, names = [], [], []
    try:
        for batch in records.batch(512).as_numpy_iterator():
            lengths.append(batch[0])
            labels.append(batch[1])
            names.extend(batch[2].tolist())
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        raise DataError(f"The TFDS file {file} is damaged: {_first_line(error)}") from error
    if not lengths:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), []
    return np.concatenate(lengths), np.concatenate(labels), names


def _read(file: Path, offset: int, length: int, key: str) -> bytes:
    """The encoded image of one record."""
    import tensorflow as tf

    check_length(length)
    with file.open("rb") as records:
        records.seek(offset)
        example = tf.train.Example.FromString(records.read(length))
    return example.features.feature[key].bytes_list.value[0]
