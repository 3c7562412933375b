"""Folders as people have them: what is listed, what is held out, and what is refused with which words."""

import numpy as np
import pytest

from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.errors import DataError, UsageError


def test_split_folders_give_splits_and_classes_in_sorted_order(make_folder):
    folder = make_folder({"train/dog": 2, "train/cat": 3, "valid/cat": 1, "valid/dog": 1, "test/cat": 1, "test/dog": 2})
    source = folder_source(folder)
    assert source.classes == ("cat", "dog")
    assert list(source.splits) == ["train", "val", "test"]
    train = source.splits["train"]
    assert list(train.filenames) == [
        "cat/000.jpg",
        "cat/001.jpg",
        "cat/002.jpg",
        "dog/000.jpg",
        "dog/001.jpg",
    ]
    assert train.labels.tolist() == [0, 0, 0, 1, 1]
    assert train.read(3) == (folder / "train/dog/000.jpg").read_bytes()
    assert train.sizes[3] == (folder / "train/dog/000.jpg").stat().st_size


def test_without_split_folders_a_part_of_every_class_is_held_out(make_folder):
    folder = make_folder({"a": 400, "b": 2, "c": 1})
    assert "12.5% of every class is held out" in folder_source(folder, holdout=0.125).notes[0]
    source = folder_source(folder, holdout=0.2, seed=1)
    train, val = source.splits["train"], source.splits["val"]
    of_a, of_b = np.bincount(val.labels)  # and none of c
    assert abs(of_a - 80) < 25 and of_b == 1  # three standard deviations of 8; one of two in any case
    assert np.bincount(train.labels).tolist() == [400 - of_a, 1, 1]
    assert sorted([*train.filenames, *val.filenames]) == sorted(
        str(path.relative_to(folder)) for path in folder.glob("*/*")
    )
    for i, name in enumerate(val.filenames):
        assert val.read(i) == (folder / name).read_bytes()


def test_validation_folders_have_the_numbers_of_the_training_tables_classes(make_folder):
    """The table's classes are sorted as numbers, folders as text."""
    folder = make_folder({"train": 24, **{f"val/{number}": 1 for number in range(12)}})
    rows = [f"{index:03}.jpg,{index % 12}" for index in range(24)]
    (folder / "train.csv").write_text("\n".join(["file,label", *rows]))
    source = folder_source(folder)
    assert source.classes == tuple(map(str, range(12)))
    val = source.splits["val"]
    assert [f"{source.classes[label]}/000.jpg" for label in val.labels] == list(val.filenames)


def test_no_class_is_overlooked_where_a_picture_lies_beside_the_class_folders(make_folder):
    folder = make_folder({"train": 1, **{f"train/{number:04}": 2 for number in range(400)}})
    assert len(folder_source(folder).classes) == 400


def test_images_that_a_table_names_and_that_are_not_there_are_counted(make_folder):
    folder = make_folder({"train": 6})
    (folder / "train.csv").write_text("\n".join(["file,label", *(f"{i:03}.jpg,{'ab'[i % 2]}" for i in range(10))]))
    assert any(
        f"Of the 10 images that {folder / 'train.csv'} names, 6 are in {folder / 'train'}." in note
        for note in folder_source(folder).notes
    )


def test_the_seed_decides_what_is_held_out(make_folder):
    folder = make_folder({"a": 20, "b": 20})
    held = [list(folder_source(folder, seed=seed).splits["val"].filenames) for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


def test_train_and_test_without_validation_validates_on_test(make_folder):
    source = folder_source(make_folder({"train/a": 2, "train/b": 2, "test/a": 1, "test/b": 1}))
    assert {split: len(images) for split, images in source.splits.items()} == {"train": 4, "val": 2}
    assert "test split is used for validation" in source.notes[0]


def test_nested_files_count_hidden_ones_do_not_and_link_loops_end(make_folder):
    folder = make_folder({"a/deep/deeper": 2, "a/.hidden": 1, "b": 2})
    (folder / "b/.DS_Store").write_bytes(b"x")
    (folder / ".git").mkdir()
    (folder / "a/deep/loop").symlink_to(folder / "a")
    (folder / "b/everything").symlink_to(folder)
    source = folder_source(folder)
    names = sorted(name for images in source.splits.values() for name in images.filenames)
    assert names == ["a/deep/deeper/000.jpg", "a/deep/deeper/001.jpg", "b/000.jpg", "b/001.jpg"]


def test_the_digest_follows_names_labels_and_sizes(make_folder):
    folder = make_folder({"a": 3, "b": 3})
    before = folder_source(folder).digest()
    assert folder_source(folder).digest() == before
    (folder / "a/000.jpg").write_bytes(b"other")
    assert folder_source(folder).digest() != before


def test_a_missing_folder_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no folder"):
        folder_source(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "counts, words",
    [
        ({".": 0}, "is empty"),
        ({".": 2}, "no class folders"),
        ({"only": 3}, "one class, 'only'"),
        ({"a": 2, "b": 0}, "b has no images"),
        ({"a": 1, "b": 1}, "single image"),
        ({"train/a": 1, "train/b": 1, "val/a": 1, "val/c": 1}, "lacks b and also has c"),
    ],
)
def test_folders_that_cannot_be_used_are_named(tmp_path, counts, words):
    folder = tmp_path / "pictures"
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            (folder / name / f"{index}.jpg").write_bytes(b"not looked at here")
    with pytest.raises(DataError, match=words):
        folder_source(folder)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file"):
        folder_source(tmp_path / "file")
