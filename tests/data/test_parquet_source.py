"""Parquet files as Hugging Face's datasets come: read in any order, by split, and refused when damaged."""

import re

import pytest
from layouts import image, opened, read_as, write_parquet

from alexnet_keras.errors import DataError


def test_parquet_files_are_read_in_any_order(tmp_path, monkeypatch):
    from alexnet_keras.data.sources import parquet

    monkeypatch.setattr(parquet, "KEPT_BYTES", 1)  # one row group at a time
    labels = ["rust", "healthy", "rust", "", "healthy"]
    write_parquet(tmp_path / "beans.parquet", labels)
    source = parquet.parquet_source(tmp_path / "beans.parquet", holdout=0.5)
    found = {
        name: (source.classes[label], images.read(i))
        for images in source.splits.values()
        for i, (name, label) in reversed(list(enumerate(zip(images.filenames, images.labels, strict=True))))
    }
    expected = {f"beans/{i:08d}": (label, image(i)) for i, label in enumerate(labels) if label}
    assert found == expected
    assert f"Left out of the train split of {tmp_path / 'beans.parquet'}, without labels: 1 of 5." in source.notes


@pytest.mark.parametrize(
    "names",
    [
        ("beans_train", "beans_test"),
        ("default/train/0000", "default/test/0000"),
        ("train-00000-of-00001-4f2e1c9b7a3d5e60", "test-00000-of-00001-00aa11bb22cc33dd"),  # of 2022 and 2023
    ],
)
def test_parquet_files_of_splits_under_other_names(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_parquet(tmp_path / f"{name}.parquet", ["rust", "healthy", "rust"][: 3 - names.index(name)])
    source = opened(f"alexnet prepare parquet:{tmp_path}")
    assert read_as(source) == "healthy, rust: 3 train, 2 val"


@pytest.mark.parametrize(
    "names, words",
    [
        ("mnist-train-a mnist-test-b", "names splits in mnist-test-b.parquet, mnist-train-a.parquet, with other words"),
        ("train-a/0000 test-b/0000", "names splits in 0000.parquet, with other words"),
        ("train-00000-of-00002-4f2e1c9b7a3d5e60", "is one of 2 files and 1 are there. Download the others"),
        (
            "train-00000-of-00001-4f2e1c9b7a3d5e60 train-00000-of-00001-0d9c8b7a6f5e4d3c",
            "is one of 1 files and 2 are there. Keep those of one download",
        ),
        (
            "large/train/0000 large/train/0001 large/val/0000 small/train/0000 small/train/0001 small/val/0000",
            "has the train split in several folders. Give one: parquet:{}/large.",
        ),
        ("train/0000 val/0000 val/old/0000", "has the val split in several folders. Give one: parquet:{}/val."),
        ("large/0000 large/0001 small/0000", "has the train split in several folders. Give one: parquet:{}/large."),
    ],
)
def test_parquet_files_of_splits_or_sets_that_cannot_be_told_apart_are_refused(tmp_path, names, words):
    for name in names.split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_parquet(tmp_path / f"{name}.parquet", ["rust", "healthy"])
    with pytest.raises(DataError, match=re.escape(words.format(tmp_path))):
        opened(f"alexnet prepare parquet:{tmp_path}")


@pytest.mark.parametrize("name", ["train-00001-of-00002.parquet", "more.parquet", "test"])
def test_links_to_parquet_files_that_are_gone_are_refused(tmp_path, name):
    write_parquet(tmp_path / "train.parquet", ["rust", "healthy", "rust", "healthy"])
    (tmp_path / "notes.txt").symlink_to("../../blobs/5e6f")
    assert len(opened(f"alexnet prepare parquet:{tmp_path}").classes) == 2
    (tmp_path / name).symlink_to("../../blobs/1a2b")
    with pytest.raises(DataError, match=rf"{name} is a link to \.\./\.\./blobs/1a2b, which is not there. Mount"):
        opened(f"alexnet prepare parquet:{tmp_path}")


def test_folders_of_parquet_files_may_be_links(tmp_path):
    for name in ("stored/test", "set/train"):
        (tmp_path / name).mkdir(parents=True)
        write_parquet(tmp_path / name / "0000.parquet", ["rust", "healthy"])
    (tmp_path / "set/test").symlink_to(tmp_path / "stored/test")
    (tmp_path / "set/train/up").symlink_to("..")
    assert read_as(opened(f"alexnet prepare parquet:{tmp_path / 'set'}")) == "healthy, rust: 2 train, 2 val"


def write_values(path, labels, **columns):
    """A parquet file as pandas writes it, without the names of classes."""
    import pyarrow as pa
    import pyarrow.parquet

    images = pa.array([image(i) for i in range(len(labels))], pa.binary())
    pyarrow.parquet.write_table(pa.table({"image": images, "label": labels, **columns}), path)


def test_a_split_may_lack_classes_of_train_and_have_no_others(tmp_path):
    write_values(tmp_path / "train.parquet", ["ant", "bee", "cat"])
    write_values(tmp_path / "test.parquet", ["cat", "ant", "cat"])
    source = opened(f"alexnet prepare parquet:{tmp_path}")
    assert [source.classes[label] for label in source.splits["val"].labels] == ["cat", "ant", "cat"]
    write_values(tmp_path / "test.parquet", ["cat", "dog"])
    with pytest.raises(DataError, match=r"The test split of .* has classes that train does not have: dog\."):
        opened(f"alexnet prepare parquet:{tmp_path}")


def test_a_column_of_splits_is_refused_and_the_column_of_classes_named(tmp_path):
    write_values(tmp_path / "photos.parquet", ["ant", "bee", "ant", "bee"], split=["train", "train", "test", "test"])
    with pytest.raises(DataError, match="has the column split, which is not read: write a file for each split"):
        opened(f"alexnet prepare parquet:{tmp_path}")
    write_values(tmp_path / "photos.parquet", ["ant", "bee"] * 2, split=["train"] * 4)
    assert not any("classes are those" in note for note in opened(f"alexnet prepare parquet:{tmp_path}").notes)
    import pyarrow as pa
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(tmp_path / "photos.parquet").drop_columns(["label", "split"])
    table = table.append_column("photographer", pa.array(["Ann", "Bo"] * 2))
    pyarrow.parquet.write_table(table, tmp_path / "photos.parquet")
    source = opened(f"alexnet prepare parquet:{tmp_path}")
    assert "The classes are those of the column photographer." in source.notes


@pytest.mark.parametrize(
    "damage, words",
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "damaged or no parquet file"),
        (lambda path: path.write_bytes(b"<html>"), "damaged or no parquet file"),
        (lambda path: write_parquet(path, ["rust"], other=[b"x"]), "2 columns with the bytes of images"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"), "Git LFS"),
        (lambda path: path.rename(path.with_name("train-00000-of-00003.parquet")), "is one of 3 files and 1 are there"),
        (lambda path: write_parquet(path, ["rust", "rust"], names=("rust",)), "has one class"),
        (lambda path: write_parquet(path.with_name("test.parquet"), ["a"], names=("a", "b")), "differ from those of"),
    ],
)
def test_parquet_files_that_cannot_be_used_are_refused(tmp_path, damage, words):
    write_parquet(tmp_path / "train.parquet", ["rust", "healthy"])
    damage(tmp_path / "train.parquet")
    with pytest.raises(DataError, match=words):
        opened(f"alexnet prepare parquet:{tmp_path}")
