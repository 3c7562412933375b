"""TFDS sets, made here and read back with no network."""

import io
import socket

import numpy as np
import pytest
import tensorflow_datasets as tfds

from alexnet_keras.data.preparation import prepare
from alexnet_keras.data.sources.tfds import tfds_source
from alexnet_keras.errors import DataError, UsageError


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Any attempt to reach the network fails the test that makes it."""

    def refuse(*args, **kwargs):
        raise AssertionError(f"reached for the network: {args[:2]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def write_set(data_dir, name_on_disk, features, splits, **options):
    """Generate a TFDS set on disk. `splits`: name -> list of examples."""

    class Made(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # found on disk alone
        name = name_on_disk
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features), **options)

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(examples) for split, examples in splits.items()}

        def _generate_examples(self, examples):
            yield from enumerate(examples)

    Made.pkg_dir_path = data_dir  # or TFDS looks for a checksum file beside this test
    Made(data_dir=str(data_dir)).download_and_prepare()


def images(number, labels, seed=0, **more):
    rng = np.random.default_rng(seed)
    return [
        {"image": rng.integers(0, 256, (30, 40, 3), dtype=np.uint8), "label": labels[i % len(labels)], **more}
        for i in range(number)
    ]


IMAGE = tfds.features.Image(shape=(30, 40, 3))
LABEL = tfds.features.ClassLabel(names=["cat", "dog", "emu"])


def test_a_generated_set_is_read_by_name_with_its_labels_and_pixels(tmp_path):
    examples = {"train": images(12, [0, 1, 2]), "test": images(6, [2, 1, 0], seed=1)}
    write_set(tmp_path, "made_set", {"image": IMAGE, "label": LABEL}, examples)
    source = tfds_source("made_set", data_dir=tmp_path)
    assert source.classes == ("cat", "dog", "emu")
    assert source.given == "tfds:made_set"
    assert {split: len(found) for split, found in source.splits.items()} == {"train": 12, "val": 6}
    from PIL import Image

    for split, theirs in (("train", "train"), ("val", "test")):
        found = source.splits[split]
        expected = {(e["image"].tobytes(), e["label"]) for e in examples[theirs]}
        read = {
            (np.asarray(Image.open(io.BytesIO(found.read(i)))).tobytes(), int(found.labels[i]))
            for i in range(len(found))
        }
        assert read == expected
        assert len(set(found.filenames)) == len(found)
    prepared = prepare(source, tmp_path / "prepared")
    assert prepared.class_counts("train") == [4, 4, 4]


def test_file_names_are_kept_and_what_has_no_label_is_left_out(tmp_path):
    features = {"image": IMAGE, "label": LABEL, "file_name": tfds.features.Text()}
    named = [{**e, "file_name": f"picture{i}.png"} for i, e in enumerate(images(10, [0, 1]))]
    unlabelled = [{**e, "label": -1} for e in named[:3]]
    write_set(tmp_path, "named_set", features, {"train": [*named, *unlabelled], "test": unlabelled})
    source = tfds_source("named_set", data_dir=tmp_path, holdout=0.4, seed=2)
    found = [name for split in source.splits.values() for name in split.filenames]
    assert sorted(found) == sorted(e["file_name"] for e in named)
    assert set(source.splits) == {"train", "val"}
    assert any("'test'" in note and "no labels" in note for note in source.notes)
    assert "Left out of the split 'train' of tfds:named_set, without labels: 3 of 13." in source.notes


def test_splits_have_the_names_that_folders_may_have_too(tmp_path):
    of_split = {"training": 6, "train_full": 8, "dev": 4, "test": 3, "sample": 2}
    made = {name: images(number, [0, 1, 2]) for name, number in of_split.items()}
    write_set(tmp_path, "split_set", {"image": IMAGE, "label": LABEL}, made)
    source = tfds_source("split_set", data_dir=tmp_path)
    assert {split: len(found) for split, found in source.splits.items()} == {"train": 6, "val": 4, "test": 3}
    assert sorted(note.split("'")[1] for note in source.notes) == ["sample", "train_full"]


@pytest.mark.parametrize(
    "features, words",
    [
        ({"image": IMAGE, "mark": tfds.features.Scalar(np.int64)}, "no ClassLabel"),
        ({"image": IMAGE, "left": LABEL, "right": LABEL}, "more than one ClassLabel"),
        ({"text": tfds.features.Text(), "label": LABEL}, "no Image"),
    ],
)
def test_a_set_that_is_no_image_classification_lists_its_features(tmp_path, features, words):
    values = {"image": np.zeros((30, 40, 3), np.uint8), "text": "x"}
    example = {key: values.get(key, 0) for key in features}
    write_set(tmp_path, "odd_set", features, {"train": [example]})
    with pytest.raises(DataError, match=f"{words}.*{next(iter(features))}"):
        tfds_source("odd_set", data_dir=tmp_path)


def test_a_set_tfds_does_not_know_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="knows no set 'no_such_set'"):
        tfds_source("no_such_set", data_dir=tmp_path)


def test_a_set_that_cannot_be_downloaded_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        tfds_source("mnist", data_dir=tmp_path)
    assert "\n" not in str(caught.value)
