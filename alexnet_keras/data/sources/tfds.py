"""Any image-classification set of TensorFlow Datasets, by name: "cifar10", "cats_vs_dogs",
"name/config:1.0.0".

A set that has been generated is read from disk, without the network. Its records are indexed once (file, offset,
length, label), then read at random, so memory holds the index and not the images.
"""

import contextlib
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alexnet_keras.data.class_names import some
from alexnet_keras.data.images import check_length
from alexnet_keras.data.shards import RECORD_HEADER, offsets_of
from alexnet_keras.data.sources.source import ImageList, Names, Source, no_progress
from alexnet_keras.data.sources.splits import DEFAULT_HOLDOUT, split_names, with_validation
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.machine import usable_processors
from alexnet_keras.reporter import Advance

FILENAME_FEATURES = ("file_name", "filename")


class _Keys(NamedTuple):
    """The names of a record's features."""

    image: str
    label: str
    filename: str | None


def tfds_source(
    name: str,
    *,
    data_dir: Path | None = None,
    holdout: float = DEFAULT_HOLDOUT,
    seed: int = 0,
    advance: Advance = no_progress,
) -> Source:
    """Index a TFDS set, after generating it if that has not been done.

    Splits without labels, and those that are none of train, val and test by name, are left out. `name` and `data_dir`
    are as `tfds.builder` takes them, the other arguments those of `folder_source`.

    Raises:
        UsageError: TFDS knows no such set.
        DataError: It is neither on disk nor can be downloaded, or is not an image classification.
    """
    builder = _builder(name, data_dir)
    keys = _keys(builder.info)
    classes = tuple(builder.info.features[keys.label].names)
    splits: dict[str, ImageList] = {}
    notes = []
    named = split_names(builder.info.splits)
    for theirs, info in sorted(builder.info.splits.items(), key=lambda split: len(split[0])):  # train before train_full
        split = named.get(theirs)
        if split is None or split in splits:
            notes.append(f"The split {theirs!r} of tfds:{name} is left out.")
            continue
        images = _images([Path(path) for path in info.filepaths], keys, classes, advance)
        missing, number = info.num_examples - len(images), info.num_examples
        if not len(images):
            notes.append(f"The split {theirs!r} of tfds:{name} has no labels and is left out.")
            continue
        if missing:
            notes.append(f"Left out of the split {theirs!r} of tfds:{name}, without labels: {missing:,} of {number:,}.")
        splits[split] = images
    if "train" not in splits:
        raise DataError(f"tfds:{name} has no train split; it has {some(builder.info.splits) or 'none'}.")
    return with_validation(Source(f"tfds:{name}", classes, splits, notes=tuple(notes)), holdout, seed)


def _builder(name: str, data_dir: Path | None) -> Any:
    """A builder with its records on disk."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir and str(data_dir.expanduser()))
    except tfds.core.DatasetNotFoundError as error:
        raise UsageError(f"TensorFlow Datasets knows no set {name!r}, and none of that name is on disk.") from error
    except (ValueError, AssertionError, ImportError) as error:  # an unknown config or version, a missing library
        raise UsageError(f"tfds:{name} cannot be opened: {_first_line(error)}") from error
    if not builder.is_prepared():
        try:
            with contextlib.redirect_stdout(sys.stderr):  # TFDS prints its plans
                builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
        except Exception as error:  # a generator is a third party's script: any exception can come out of it
            if isinstance(error, OSError) and error.filename:  # the disk, not the network
                raise
            where = f"is not in {Path(builder.data_path).parent} and could not be downloaded"
            remedy = "Generate it where there is a network, with `tfds build`, and give its directory as --tfds-dir."
            raise DataError(f"tfds:{name} {where} ({_first_line(error)}). {remedy}") from error
    if builder.info.file_format.value != "tfrecord":
        stored = builder.info.file_format.value
        raise DataError(f"tfds:{name} is stored as {stored}; generate it with --file_format=tfrecord.")
    return builder


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0][:160]}"


def _keys(info: Any) -> _Keys:
    """The one image and the one label of a record."""
    import tensorflow_datasets as tfds

    features = dict(info.features.items()) if hasattr(info.features, "items") else {}
    listed = ", ".join(f"{key} ({type(feature).__name__})" for key, feature in features.items()) or "none"
    chosen = []
    for place, (kind, usual) in enumerate(((tfds.features.Image, "image"), (tfds.features.ClassLabel, "label"))):
        keys = [key for key, feature in features.items() if type(feature) is kind]
        supervised = info.supervised_keys or ()
        preferred = [key for key in (*supervised[place : place + 1], usual) if key in keys]
        if not preferred and len(keys) != 1:
            number = "more than one" if keys else "no"
            raise DataError(f"tfds:{info.name} has {number} {kind.__name__} feature. Its features: {listed}.")
        chosen.append((preferred or keys)[0])
    names = [key for key in FILENAME_FEATURES if type(features.get(key)) is tfds.features.Text]
    image, label = chosen
    if features[image].np_dtype != np.uint8:
        raise DataError(f"The images of tfds:{info.name} are not 8-bit images. Its features: {listed}.")
    return _Keys(image, label, names[0] if names else None)


def _images(files: list[Path], keys: _Keys, classes: tuple[str, ...], advance: Advance) -> ImageList:
    """Index the labelled records of a split."""
    numbers, offsets, lengths, labels, names = [], [], [], [], []
    for number, file in enumerate(files):
        its_lengths, its_labels, its_names = _index(file, keys)
        numbers.append(np.full(len(its_lengths), number))
        offsets.append(offsets_of(its_lengths) + RECORD_HEADER)
        lengths.append(its_lengths)
        labels.append(its_labels)
        names += its_names
        advance(len(its_lengths))
    none = np.zeros(0, np.int64)
    number_of, offset, length = (np.concatenate([none, *column]) for column in (numbers, offsets, lengths))
    label = np.concatenate([none, *labels]).astype(np.int32)  # -1 for a record without
    labelled = np.flatnonzero(label >= 0)
    if keys.filename and len({names[i] for i in labelled}) == len(labelled):
        filenames = [name.decode("utf-8", "backslashreplace") for name in names]
    else:
        filenames = [f"{classes[value]}/{i:07d}" for i, value in enumerate(label)]

    def read(i: int) -> bytes:
        """The encoded image of one record."""
        import tensorflow as tf

        check_length(int(length[i]))
        with files[number_of[i]].open("rb") as records:
            records.seek(int(offset[i]))
            example = tf.train.Example.FromString(records.read(int(length[i])))
        return example.features.feature[keys.image].bytes_list.value[0]

    return ImageList(Names.pack(filenames), label, length, read).relabelled(label)


def _index(file: Path, keys: _Keys) -> tuple[np.ndarray, np.ndarray, list[bytes]]:
    """(lengths, labels, names) of the records of a file, in order."""
    import tensorflow as tf

    from alexnet_keras.data.pipeline import untuned

    wanted = {keys.label: tf.io.FixedLenFeature([], tf.int64)}
    if keys.filename:
        wanted[keys.filename] = tf.io.FixedLenFeature([], tf.string)

    def parse(record: "tf.Tensor") -> tuple:
        features = tf.io.parse_single_example(record, wanted)
        name = features[keys.filename] if keys.filename else tf.constant(b"")
        return tf.cast(tf.strings.length(record), tf.int64), features[keys.label], name

    records = tf.data.TFRecordDataset(str(file)).map(parse, num_parallel_calls=usable_processors(), deterministic=True)
    lengths, labels = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    names: list[bytes] = []
    try:
        for batch in untuned(records.batch(512)).as_numpy_iterator():
            lengths.append(batch[0])
            labels.append(batch[1])
            names += batch[2].tolist()
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        raise DataError(f"The TFDS file {file} is damaged: {_first_line(error)}") from error
    return np.concatenate(lengths), np.concatenate(labels), names
