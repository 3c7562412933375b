"""Describe prepared shards so that `tfds.builder_from_directory` opens them without this package."""

from pathlib import Path

from alexnet_keras.data.decode import IMAGE_SIZE
from alexnet_keras.data.encoding import Encoding
from alexnet_keras.data.shards import ShardRecord
from alexnet_keras.data.sources.source import Source

METADATA_FILES = ("dataset_info.json", "features.json", "label.labels.txt")
TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


def write_tfds_metadata(
    out: Path, dataset: str, source: Source, encoding: Encoding, splits: dict[str, list[ShardRecord]]
) -> None:
    """Write `METADATA_FILES` into the directory of the shards.

    Args:
        out: The directory.
        dataset: The dataset's name as it stands in file names.
        source: Gives the class names.
        encoding: How pictures are stored.
        splits: The records of each split's shards, in order.
    """
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        data_dir=out, template=TEMPLATE, dataset_name=dataset, filetype_suffix="tfrecord"
    )
    tfds.folder_dataset.write_metadata(
        data_dir=out,
        features=tfds.features.FeaturesDict(
            {
                "image": encoding.feature(),
                "label": tfds.features.ClassLabel(names=source.classes),
                "filename": tfds.features.Text(),
            }
        ),
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
        description=f"Pictures of {len(source.classes)} classes, {IMAGE_SIZE}x{IMAGE_SIZE}, for AlexNet.",
        check_data=False,
    )
