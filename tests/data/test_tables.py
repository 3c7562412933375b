"""Tables of file and label: the forms that are read, and those that are refused."""

import re
from pathlib import Path

import pytest
from layouts import TWO_LINES, read_as

from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.data.sources.splits import split_names
from alexnet_keras.errors import DataError, UsageError


@pytest.mark.parametrize(
    "table, expected",
    [
        ("file,label\na.jpg,cat\nb.jpg,dog\nc.jpg,cat\nd.jpg,dog", "cat, dog: 2 train, 2 val"),
        ("\ufeffid;breed\na;cat\nb;dog\nc;cat\nd;dog", "cat, dog: 2 train, 2 val"),
        ("image\tclass_id\tclass_name\na.jpg\t0\tcat\nb.jpg\t1\tdog\nc.jpg\t0\tcat\nd.jpg\t1\tdog",
         "cat, dog: 2 train, 2 val"),
        ("deep/a.jpg 10\nphotos/b.jpg 9\nc.jpg 10\nd.jpg 9", "9, 10: 2 train, 2 val"),
        ("name,species,split\na.jpg,cat,train\nb.jpg,dog,Training\nc.jpg,cat,valid\nd.jpg,dog,valid",
         "cat, dog: 2 train, 2 val"),
        ("id_code,diagnosis\na,1.0\nb,0.0\nc,1.0\nd,0.0", "0, 1: 2 train, 2 val"),
        ("image,level\na,cat\nb,dog\nc,cat\nd,dog", "cat, dog: 2 train, 2 val"),
        ("id,filename,label,type\n1,a.jpg,cat,x\n2,b.jpg,dog,x\n3,c.jpg,cat,x\n4,d.jpg,dog,x",
         "cat, dog: 2 train, 2 val"),
        ("\tfile\tlabel\n0\tdeep/a.jpg\tcat\n1\tb.jpg\tdog\n2\tc.jpg\tcat\n3\td.jpg\tdog\t",
         "cat, dog: 2 train, 2 val"),
        ("\ta.jpg 1\n\tb.jpg 0\n\tc.jpg 1\n\td.jpg 0", "0, 1: 2 train, 2 val"),
        (",filepaths,labels\n0,deep\\a.jpg,cat\n1,b.jpg,dog\n2,c.jpg,cat\n3,d.jpg,dog", "cat, dog: 2 train, 2 val"),
        ("image,dx,dataset\na,cat,vidir\nb,dog,rosendahl\nc,cat,vidir\nd,dog,vidir", "cat, dog: 2 train, 2 val"),
        ("a.jpg big cat\nb.jpg big dog\nc.jpg big cat\nd.jpg big dog", "big cat, big dog: 2 train, 2 val"),
        ("Bild;Klasse\na;cat\nb;dog\nc;cat\nd;dog", "cat, dog: 2 train, 2 val"),
        ("what,which\na.jpg,cat\nb.jpg,dog\nc.jpg,cat\nd.jpg,dog", "cat, dog: 2 train, 2 val"),
        ("file,label\na.jpg,007\nb.jpg,010\nc.jpg,007\nd.jpg,010", "007, 010: 2 train, 2 val"),
        ('file, label\na.jpg, "cat, big"\nb.jpg, dog\nc.jpg, "cat, big"\nd.jpg, "dog"',
         "cat, big, dog: 2 train, 2 val"),
        ("a.jpg,cat,\nb.jpg,dog,\nc.jpg,cat,\nd.jpg,dog,", "cat, dog: 2 train, 2 val"),
        ("file,label,test\na.jpg,cat,0\nb.jpg,dog,0\nc.jpg,cat,0\nd.jpg,dog,0", "cat, dog: 2 train, 2 val"),
        ("filename,label,train/test\na.jpg,cat,train\nb.jpg,dog,train\nc.jpg,cat,test\nd.jpg,dog,test",
         "cat, dog: 2 train, 2 val"),
        ("a.jpg\tn02123045\t0\t9\nb.jpg\tn02084071\t0\t9\nc.jpg\tn02123045\t0\t9\nd.jpg\tn02084071\t0\t9",
         "n02084071, n02123045: 2 train, 2 val"),
        ("/home/me/photos/deep/a.jpg cat\n/home/me/photos/b.jpg dog\nphotos/c.jpg cat\nphotos/d.jpg dog",
         "cat, dog: 2 train, 2 val"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tables_give_images_their_classes(made, table, expected, encoding):
    folder = made("deep/a.jpg b.jpg c.jpg d.jpg e.jpg")
    Path("table.csv").write_text(table, encoding=encoding)
    source = folder_source(folder, labels=["table.csv"])
    assert read_as(source) == expected
    assert any("Left out, not in a table: 1 of 5" in note for note in source.notes)
    of = {
        name: int(label)
        for split in source.splits.values()
        for name, label in zip(split.filenames, split.labels, strict=True)
    }
    assert of["deep/a.jpg"] == of["c.jpg"] != of["b.jpg"] == of["d.jpg"]


@pytest.mark.parametrize(
    "table, words",
    [
        ("file,label\na.jpg,cat\nx.jpg,dog", "1 of 2 files of table.csv are not in photos: x.jpg"),
        ("file,label\na.jpg,cat\na.jpg,dog", "two labels, cat and dog"),
        ("file,label,split\na.jpg,cat,train\nb.jpg,dog,train\na.jpg,cat,val", "a.jpg two splits, train and val"),
        ("file,label\nsame.jpg,cat\na.jpg,dog", "of which photos has several"),
        ("file,label\na.jpg,\n", "Line 2 of table.csv has no label"),
        ("image,MEL,NV\na,1,0\nb,0,1", "has the columns image, MEL, NV"),
        ("filename,artist,style\na.jpg,Monet,x\nb.jpg,Picasso,y", "has the columns filename, artist, style"),
        ("filename,split,mood\na.jpg,train,happy\nb.jpg,test,sad", "has the columns filename, split, mood"),
        ("image,MEL,NV\na.jpg,1.0,0.0\nb.jpg,0.0,1.0", "has the columns image, MEL, NV"),
        ("a.jpg,crane\nb.jpg,crane,machine", "has the columns b.jpg, crane, machine"),
        ("file,label,train\na.jpg,cat,1\nb.jpg,dog,0", "column train of yes and no, which is not read"),
        ("file,label\na.jpg,cat\nz/same.jpg,dog", "1 of 2 files of table.csv are not in photos: z/same.jpg"),
        ("a.jpg\nb.jpg", "has one column"),
        ("file,label\na.jpg,cat", "has one class, 'cat'"),
        ("file,label,split\na.jpg,cat,train\nb.jpg,dog,odd", "the split 'odd'"),
        ("file,label,split\na.jpg,cat,train\nb.jpg,dog,train_extra", "the split 'train_extra'"),
        ("file,label,split\na.jpg,cat,train\nb.jpg,dog", "the split ''"),
        ("file,label,partition\na.jpg,cat,0\nb.jpg,dog,1\nc.jpg,cat,0", "column partition with '0', '1': write train"),
        ("file,label,is_train\na.jpg,cat,1\nb.jpg,dog,0", "column istrain, which is not read"),
        ("image,label\na.jpg,Salad, Caesar\nb.jpg,Salad, Greek", "has 3 cells and its first 2"),
        ("a.jpg,1,2,30,40,cat\nb.jpg,1,2,30,40,dog", "has the columns a.jpg, 1, 2"),
        ('file,label\na.jpg,"cat\nb.jpg,dog', "a quote that is not closed"),
        ("file,label\na.jpg,nan\nb.jpg,dog", "Line 2 of table.csv has no label"),
        ("file,label\ntrain/a.jpg,cat\ntest/b.jpg,dog", "No file of table.csv is in photos"),
        ("file,label,split\na.jpg,cat,val\nb.jpg,dog,val", "no training images"),
        ("", "is empty"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(made, table, words):
    folder = made("a.jpg b.jpg x/same.jpg y/same.jpg")
    Path("table.csv").write_text(table, encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(words)) as error:
        folder_source(folder, labels=["table.csv"])
    assert len(str(error.value)) <= TWO_LINES


@pytest.mark.parametrize(
    "classes, labels, expected",
    [
        ("cat\nhot dog\n\n", "01", ["cat", "hot dog"]),
        ("1 001.Auk\n2 002.Owl\n", "12", ["001.Auk", "002.Owl"]),
        ("2\tn01443537 goldfish\n1\tn01440764 tench, Tinca tinca\n0\tn1", "12", ["n01440764", "n01443537"]),
        ("3 series\nsaloon\n", "01", ["3 series", "saloon"]),  # not every line has a number
        ("7 a\n7 b\n", "01", ["7 a", "7 b"]),
    ],
)
def test_labels_that_are_numbers_are_those_of_a_list_of_classes(made, classes, labels, expected):
    folder = made("a.jpg b.jpg c.jpg d.jpg")
    Path("classes.txt").write_text(classes)
    first, second = labels
    Path("table.csv").write_text(f"file,label\na.jpg,{first}\nb.jpg,{second}\nc.jpg,{first}\nd.jpg,{second}\n")
    source = folder_source(folder, labels=["table.csv"])
    assert {
        name: source.classes[label]
        for split in source.splits.values()
        for name, label in zip(split.filenames, split.labels, strict=True)
    } == dict(zip(("a.jpg", "b.jpg", "c.jpg", "d.jpg"), expected * 2, strict=True))
    note = f"The labels of table.csv are numbers of the list of classes next to it: {first} is {expected[0]}."
    assert note in source.notes


@pytest.mark.parametrize(
    "classes, words",
    [
        ("cat\n\ndog\nowl\n", "Line 2 of classes.txt is blank, and labels count its lines: take it out"),
        ("cat\ndog\n", "has the label 2, and none of the 2 classes in classes.txt has that number"),
        ("\n", "has the label 2, and none of the 0 classes in classes.txt has that number"),
        ("0 cat\n1 dog\n3 owl\n", "has the label 2, and none of the 3 classes in classes.txt has that number"),
    ],
)
def test_lists_of_classes_whose_numbers_are_in_doubt_are_refused(made, classes, words):
    folder = made("a.jpg b.jpg")
    Path("classes.txt").write_text(classes)
    Path("table.csv").write_text("file,label\na.jpg,0\nb.jpg,2\n")
    with pytest.raises(DataError, match=words):
        folder_source(folder, labels=["table.csv"])


def test_origins_that_are_called_like_splits_are_none(made):
    folder = made("a.jpg b.jpg c.jpg d.jpg")
    rows = "a.jpg,cat,train\nb.jpg,dog,test\nc.jpg,cat,test\nd.jpg,dog,train\n"
    Path("table.csv").write_text(f"file,label,origin\n{rows}")
    assert set(folder_source(folder, labels=["train=table.csv"]).splits) == {"train", "val"}


def test_names_of_splits_are_found_among_a_hundred_thousand_paths():  # compared two by two they would take hours
    letters = ["".join(chr(97 + int(digit)) for digit in f"{number:05d}") for number in range(100_000)]
    paths = [f"train {word}" for word in letters]
    assert not split_names(paths)
    assert split_names([*paths, "val bbbbb"]) == {"train bbbbb": "train", "val bbbbb": "val"}


def test_a_file_that_is_not_there_takes_no_image_of_the_same_end(made):
    folder = made("train/cat/1.jpg train/cat/2.jpg train/dog/1.jpg train/dog/2.jpg")
    rows = "file,label\n{0}/cat/1.jpg,dog\n{0}/cat/2.jpg,dog\n{0}/dog/1.jpg,cat\n{0}/dog/2.jpg,cat\n"
    for base, where in ((folder, "test"), (folder, "val/train2"), (folder / "train", "test")):
        Path("table.csv").write_text(rows.format(where))
        with pytest.raises(DataError, match=r"No file of table.csv is in photos.*its first is .*/cat/1\.jpg"):
            folder_source(base, labels=["table.csv"])
    Path("table.csv").write_text(rows.format("part1") + "part2/cat/1.jpg,cat\n")
    with pytest.raises(DataError, match=r"files of several folders, part1 and part2: name them from photos/train"):
        folder_source(folder / "train", labels=["table.csv"])
    others = "gone/cat/1.jpg,cat\n"
    for base, where, more in (
        (folder, "train", others),
        (folder, "photos/train", others),
        (folder / "train", "train", others),
        (folder / "train", "/home/me/Train", ""),
        (folder / "train", "/home/me/pictures", ""),
        (folder, "/a/train", ""),
    ):
        Path("table.csv").write_text(rows.format(where) + more)
        source = folder_source(base, labels=["table.csv"], partial=bool(more), holdout=0.5)
        assert source.classes == ("cat", "dog") and sum(map(len, source.splits.values())) == 4, where


def test_several_tables_and_a_part_of_the_images(made):
    folder = made("a.jpg b.jpg c.jpg d.jpg")
    Path("train.csv").write_text("file,label\na.jpg,cat\nb.jpg,dog\ngone.jpg,cat\n")
    Path("val.csv").write_text("file,label\nc.jpg,cat\n")
    tables = ["train=train.csv", "val=val.csv"]
    with pytest.raises(DataError, match=r"gone\.jpg.*--partial"):
        folder_source(folder, labels=tables)
    assert read_as(folder_source(folder, labels=tables, partial=True)) == "cat, dog: 2 train, 1 val"
    with pytest.raises(UsageError, match="needs its split"):
        folder_source(folder, labels=["train.csv", "val.csv"])
    with pytest.raises(DataError, match="in two splits"):
        folder_source(folder, labels=["train=train.csv", "val=train.csv"], partial=True)


def test_a_table_of_one_split_has_no_rows_of_another(made):
    folder = made("train/a.jpg train/b.jpg train/c.jpg train/d.jpg")
    rows = "file,label,split\na.jpg,cat,train\nb.jpg,dog,train\nc.jpg,cat,val\nd.jpg,dog,val\n"
    (folder / "train.csv").write_text(rows)
    words = "is the table of train and has rows of the split 'val': give it for all splits, as --labels"
    with pytest.raises(DataError, match=words):
        folder_source(folder, labels=[f"train={folder / 'train.csv'}"])
    with pytest.raises(DataError, match=words):
        folder_source(folder)
    assert read_as(folder_source(folder, labels=[str(folder / "train.csv")])) == "cat, dog: 2 train, 2 val"
    (folder / "train.csv").write_text(rows.replace("val", "Training"))
    assert sum(map(len, folder_source(folder).splits.values())) == 4


def test_official_lists_of_files_in_class_folders(made):
    folder = made("pie/1.jpg pie/2.jpg cake/1.jpg cake/2.jpg")
    Path("train.txt").write_text("pie/1\ncake/1\n")
    Path("test.txt").write_text("pie/2\ncake/2\n")
    found = folder_source(folder, labels=["train=train.txt", "test=test.txt"])
    assert read_as(found) == "cake, pie: 2 train, 2 val"


def test_tables_next_to_images_are_matched_like_others_and_noted(made):
    folder = made("train/a/1.jpg train/b/1.jpg val/x.0.jpg val/y.0.jpg")
    (folder / "val.csv").write_text("id,label\nx.0,b\ny.0,a\n")
    source = folder_source(folder)
    assert read_as(source) == "a, b: 2 train, 2 val"
    assert dict(zip(source.splits["val"].filenames, source.splits["val"].labels, strict=True)) == {
        "x.0.jpg": 1, "y.0.jpg": 0,
    }  # fmt: skip
    assert any("val are those of photos/val.csv (id, label)" in note for note in source.notes)
    (folder / "val.csv").write_text("id,label\nx.0,b\nx.0,a\ny.0,a\n")
    with pytest.raises(DataError, match="two labels"):
        folder_source(folder)
