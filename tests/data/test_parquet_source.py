"""Parquet files as Hugging Face's datasets come: read in any order, by split, and refused when damaged."""

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


@pytest.mark.parametrize("names", [("beans_train", "beans_test"), ("default/train/0000", "default/test/0000")])
def test_parquet_files_of_splits_under_other_names(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_parquet(tmp_path / f"{name}.parquet", ["rust", "healthy", "rust"][: 3 - names.index(name)])
    source = opened(f"alexnet prepare parquet:{tmp_path}")
    assert read_as(source) == "healthy, rust: 3 train, 2 val"


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
