"""`verify` finds every kind of damage, and none where there is none."""

import json

import pytest
import tensorflow as tf
from recorded import Recorded, Work

from alexnet_keras.data.dataset import open_prepared
from alexnet_keras.data.preparation import prepare
from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.data.verify import verify


@pytest.fixture
def data(make_folder, tmp_path):
    folder = make_folder({"train/cat": 7, "train/dog": 6, "val/cat": 2, "val/dog": 2})
    return prepare(folder_source(folder), tmp_path / "set", shard_examples=5)


def test_a_whole_dataset_has_no_problems(data):
    reporter = Recorded()
    found = verify(data, reporter)
    assert (found.shards, found.examples, found.problems) == (4, 17, [])
    assert reporter.work == [Work("verifying", 17, done=17)]


def rewrite(shard, change):
    """Write a shard again with its records changed, of the same length in bytes, and well-formed."""
    records = [change(i, r) for i, r in enumerate(tf.data.TFRecordDataset(str(shard.path)).as_numpy_iterator())]
    with tf.io.TFRecordWriter(str(shard.path)) as writer:
        for record in records:
            writer.write(record)


def spoil_image(data):
    shard = data.splits["train"][0]

    def change(i, record):
        start = record.index(b"\xff\xd8\xff")
        return record[:start] + b"\0\0\0" + record[start + 3 :] if i == 1 else record

    rewrite(shard, change)
    return "record 1 cannot be decoded"


def spoil_label(data):
    shard = data.splits["train"][0]

    def change(i, record):
        example = tf.train.Example.FromString(record)
        example.features.feature["label"].int64_list.value[0] = 77
        return example.SerializeToString(deterministic=True) if i == 0 else record

    rewrite(shard, change)
    return "record 0 has the label 77"


def flip_bits(data):
    path = data.splits["val"][0].path
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 255
    path.write_bytes(contents)
    return "its checksum is not the manifest's"


def spoil_statistics(data):
    (data.path / "statistics.npz").write_bytes((data.path / "statistics.npz").read_bytes()[:-1] + b"x")
    return "statistics.npz: its checksum"


def lose_names(data):
    (data.path / "label.labels.txt").unlink()
    return "label.labels.txt: it is missing"


def forge_manifest(data):
    manifest = json.loads((data.path / "manifest.json").read_text())
    manifest["options"]["seed"] = 1
    (data.path / "manifest.json").write_text(json.dumps(manifest))
    return "its fingerprint does not belong"


@pytest.mark.parametrize("damage", [spoil_image, spoil_label, flip_bits, spoil_statistics, lose_names, forge_manifest])
def test_damage_is_named(damage, data):
    words = damage(data)
    found = verify(open_prepared(data.path))
    assert any(words in problem for problem in found.problems), found.problems
