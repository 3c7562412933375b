"""Fewer classes and fewer images, from any source."""

import numpy as np
import pytest

from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.data.sources.source import ImageList, Names, Source, drawn, limit_per_class, select_classes
from alexnet_keras.data.sources.splits import hold_out
from alexnet_keras.errors import DataError


@pytest.fixture
def folder(make_folder):
    return make_folder(
        {"train/cat": 6, "train/dog": 5, "train/hot dog": 4, "val/cat": 3, "val/dog": 2, "val/hot dog": 1}
    )


def test_classes_of_a_file_are_taken_and_named(folder, tmp_path):
    (tmp_path / "list.txt").write_text("hot dog\ncat\tFelis catus\n")
    source = select_classes(folder_source(folder), tmp_path / "list.txt")
    assert source.classes == ("cat", "hot dog")
    assert source.words == ("Felis catus", "hot dog")
    for split in ("train", "val"):
        images = source.splits[split]
        for i, (name, label) in enumerate(zip(images.filenames, images.labels, strict=True)):
            assert name.startswith(source.classes[label] + "/")
            assert images.read(i) == (folder / split / name).read_bytes()


@pytest.mark.parametrize(
    "text, words",
    [
        ("cat\nemu\n", "does not have: emu"),
        ("cat\ncat\n", "'cat' twice"),
        ("\n", "names no class"),
        ("cat\n", "one class"),
    ],
)
def test_a_wrong_list_is_refused(folder, tmp_path, text, words):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(DataError, match=words):
        select_classes(folder_source(folder), tmp_path / "list.txt")


def test_a_limit_holds_for_each_class_and_split_and_is_a_choice_of_the_seed(folder):
    source = folder_source(folder)
    taken = [limit_per_class(source, 2, seed) for seed in (0, 0, 1)]
    for limited in taken:
        assert np.bincount(limited.splits["train"].labels).tolist() == [2, 2, 2]
        assert np.bincount(limited.splits["val"].labels).tolist() == [2, 2, 1]
        images = limited.splits["train"]
        for i, name in enumerate(images.filenames):
            assert images.read(i) == (folder / "train" / name).read_bytes()
    names = [list(limited.splits["train"].filenames) for limited in taken]
    assert names[0] == names[1] != names[2]


def test_packed_names_are_a_list_of_strings():
    made = ["n01440764/a.JPEG", "", "Käse/ß.jpg", "bad\udcff.jpg", "last"]
    names = Names.pack(made)
    assert (len(names), list(names), names[2], names[-1]) == (5, made, made[2], "last")
    assert list(names.take(np.array([4, 0, 0, 3]))) == ["last", made[0], made[0], made[3]]
    assert list(names[1:3]) == made[1:3]
    assert list(Names.pack([])) == []


def numbered(classes, each, extra=()):
    """A source of named images; `extra` are (class, name) beside them."""
    names = [(name, f"{name}/{index:04}.jpg") for name in classes for index in range(each)]
    names = sorted([*names, *extra])
    labels = np.array([classes.index(name) for name, _ in names], np.int32)
    return ImageList([name for _, name in names], labels, np.ones(len(names), np.int64), lambda index: b"")


@pytest.mark.parametrize("change", ["one more class", "one more image", "another order of classes"])
def test_what_is_held_out_stays_so_whatever_is_added(change):
    before = numbered(["bee", "cat", "dog"], 200)
    classes, images = ["bee", "cat", "dog"], numbered(["bee", "cat", "dog"], 200, [("cat", "cat/new.jpg")])
    if change == "one more class":
        classes = ["ant", "bee", "cat", "dog"]
        images = numbered(classes, 200)
    elif change == "another order of classes":
        classes = ["dog", "bee", "cat"]
        images = numbered(classes, 200)
    held = [hold_out(before, ["bee", "cat", "dog"], 0.2, seed=1), hold_out(images, classes, 0.2, seed=1)]
    for split, other in (("train", "val"), ("val", "train")):
        assert not set(held[0][split].filenames) & set(held[1][other].filenames)
    assert abs(len(held[0]["val"]) - 120) < 3 * 10  # of 600, by three standard deviations


def test_a_limit_chooses_the_same_images_but_for_those_that_must_move():
    def chosen(images, classes):
        source = Source("x", tuple(classes), {"train": images})
        return set(limit_per_class(source, 50, seed=3).splits["train"].filenames)

    before = chosen(numbered(["bee", "cat"], 200), ["bee", "cat"])
    assert len(before) == 100
    after = chosen(numbered(["ant", "bee", "cat"], 200), ["ant", "bee", "cat"])
    assert before < after, "another class takes nothing from those that were there"
    one_more = chosen(numbered(["bee", "cat"], 200, [("cat", "cat/new.jpg")]), ["bee", "cat"])
    assert len(before - one_more) <= 1


def test_draws_are_even_and_of_seed_class_and_name_alone():
    images = numbered(["bee", "cat"], 2000)
    draws = drawn(images, ["bee", "cat"], seed=0)
    assert np.abs(np.histogram(draws, 10, (0, 1))[0] - 400).max() < 4 * 400**0.5
    swapped = drawn(images.take(np.arange(4000)[::-1]), ["bee", "cat"], seed=0)
    np.testing.assert_array_equal(swapped[::-1], draws)
    assert (drawn(images, ["bee", "cat"], seed=1) != draws).all()
    assert (drawn(images, ["bee", "dog"], seed=0) != draws).sum() == 2000
