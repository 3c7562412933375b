"""Folders as people have them, and how they are read: the layouts of the documentation, and others."""

import os
import re
from pathlib import Path

import pytest
from layouts import TWO_LINES, build, opened, read_as

from alexnet_keras.cli.prepare import prepare
from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.data.sources.splits import split_names
from alexnet_keras.errors import DataError, UsageError

PAGE = Path(__file__).parents[2] / "docs/preparing-data.md"
BLOCKS = re.findall(r"```text\n(\$ alexnet prepare.*?)\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
EXAMPLES = [example for block in BLOCKS for example in block.split("\n\n")]


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.splitlines()[0][2:] for example in EXAMPLES])
def test_the_layouts_of_the_documentation_are_read_as_it_says(example, tmp_path, monkeypatch):
    first, tree, last = re.fullmatch(r"\$ (.*?)\n(.*)\n= (.*?)", example, re.DOTALL).groups()
    assert len(tree.splitlines()) <= 14
    monkeypatch.chdir(tmp_path)
    build(tree, tmp_path)
    source = opened(first)
    assert read_as(source) == last
    for images in source.splits.values():
        for i in range(len(images)):
            assert images.read(i).startswith(b"\xff\xd8")


def test_every_layout_of_the_table_of_sources_has_its_example():
    page = PAGE.read_text(encoding="utf-8")
    table = page[page.index("| SOURCE |") : page.index("A file counts")]
    linked = set(re.findall(r"\(#([^)]+)\)", table))
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^##+ (.*)$", page, re.MULTILINE)
    }
    assert linked and linked <= headings
    assert len(EXAMPLES) >= len(linked)


@pytest.mark.parametrize(
    "files, expected",
    [
        ("training_set/a/1.jpg training_set/b/1.jpg test_set/a/1.jpg test_set/b/1.jpg", "a, b: 2 train, 2 val"),
        ("seg_train/seg_train/a/1.jpg seg_train/seg_train/b/1.jpg seg_test/seg_test/a/1.jpg seg_test/seg_test/b/1.jpg"
         " seg_pred/seg_pred/1.jpg", "a, b: 2 train, 2 val"),
        ("TRAIN/a/1.jpg TRAIN/b/1.jpg Validation/a/1.jpg Validation/b/2.jpg", "a, b: 2 train, 2 val"),
        ("01~Train~Images/a/1.jpg 01~Train~Images/b/1.jpg 02~DEV~images/a/1.jpg 02~DEV~images/b/2.jpg",
         "a, b: 2 train, 2 val"),
        ("brain-trainset/a/1.jpg brain-trainset/b/1.jpg brain-testset/a/1.jpg brain-testset/b/2.jpg",
         "a, b: 2 train, 2 val"),
        ("trainData/a/1.jpg trainData/b/1.jpg valData/a/1.jpg valData/b/2.jpg testData/a/1.jpg testData/b/1.jpg",
         "a, b: 2 train, 2 val, 2 test"),
        ("x/y/a/1.jpg x/y/a/2.jpg x/y/b/1.jpg x/y/b/2.jpg x/readme.txt", "a, b: 2 train, 2 val"),
        ("car/1.jpg car/2.jpg train/1.jpg train/2.jpg", "car, train: 2 train, 2 val"),
        ("test~tube/1.jpg test~tube/2.jpg train~car/1.jpg train~car/2.jpg", "test tube, train car: 2 train, 2 val"),
        ("animals/cat/1.jpg animals/dog/1.jpg cars/bus/1.jpg cars/van/2.jpg", "animals, cars: 2 train, 2 val"),
        ("train/a/1.jpg train/b/1.jpg test/1.jpg", "a, b: 2 train, 0 val"),
        ("train_val2019/a/1.jpg train_val2019/b/1.jpg test2019/1.jpg x", "a, b: 2 train, 0 val"),
        ("cover.jpg flowers/train/a/1.jpg flowers/train/b/1.jpg flowers/val/a/1.jpg flowers/val/b/1.jpg",
         "a, b: 2 train, 2 val"),
        ("0/1.jpg 0/2.jpg 1/1.jpg 1/2.jpg cvs/1.jpg cvs/2.jpg", "0, 1, cvs: 3 train, 3 val"),
        ("n01440764_1.JPEG n01440764_2.JPEG n01443537_1.JPEG n01443537_2.JPEG", "n01440764, n01443537: 2 train, 2 val"),
        ("train/n01440764_18_n01440764.JPEG train/n01443537_2_n01443537.JPEG val/ILSVRC2012_val_00000293_n01440764.JPEG"
         " val/ILSVRC2012_val_00000236_n01443537.JPEG", "n01440764, n01443537: 2 train, 2 val"),
    ],
)  # fmt: skip
def test_folders_are_read_by_what_fits(made, files, expected):
    folder = made(files)
    if expected.endswith("0 val"):
        with pytest.raises(DataError, match="single image"):
            folder_source(folder)
        return
    assert read_as(folder_source(folder)) == expected


@pytest.mark.parametrize(
    "files, words",
    [
        ("color/a/1.jpg color/b/1.jpg gray/a/1.jpg gray/b/1.jpg", "fits two readings: classes color, gray"),
        ("cats/2019/1.jpg cats/2020/1.jpg dogs/2019/1.jpg dogs/2020/1.jpg", "fits two readings: classes cats, dogs"),
        ("images/a/1.jpg images/b/1.jpg masks/1.png", "or those in images. Give photos/images"),
        ("cats/train/1.jpg cats/val/1.jpg dogs/train/1.jpg dogs/val/1.jpg", "split folders inside cats"),
        ("train/cat.0.jpg train/dog.1.jpg test1/1.jpg", "images but no class folders"),
        ("train/a/1.jpg train/b/1.jpg val/1.jpg", "photos/val has images but no class folders"),
        ("train/images/1.jpg train/labels/1.txt valid/images/1.jpg", "one class, 'images'"),
        ("train/a/1.jpg train/b/1.jpg training/a/1.jpg", "two train folders: train and training"),
        ("Testing/a/1.jpg Testing/b/1.jpg", "but no train folder"),
        ("train/a/1.jpg train/b/1.jpg val.zip", "val.zip is still packed"),
        ("train/a/1.jpg train/b/1.jpg Validation.tar.gz.part", "still packed"),
        ("train/a/1.jpg train/b/1.jpg val.tar.partial", "still packed"),
        ("daisy/1.jpg rose/1.jpg flowers/daisy/1.jpg flowers/rose/1.jpg", "has classes again in flowers"),
        ("images/1.jpg annotations/trimaps/1.png", "annotations, images, which do not look like classes"),
        ("train/images/1.jpg train/masks/1.png val/images/1.jpg val/masks/1.png", "images, masks, which do not"),
        ("images_001/images/1.png images_002/images/2.png", "which do not look like classes"),
        ("ham_part_1/1.jpg ham_part_2/2.jpg", "which do not look like classes"),
        (
            "amazon/images/bike/1.jpg amazon/images/mug/1.jpg dslr/images/bike/1.jpg dslr/images/mug/1.jpg",
            "two readings",
        ),
        ("rps/rps/p/1.jpg rps/rps/r/1.jpg more/more/p/1.jpg more/more/r/1.jpg", "two readings"),
        ("flowers/train/a/1.jpg flowers/val/a/1.jpg results/1.png", "Give photos/flowers"),
        (
            "train/apple/scab/1.jpg train/apple/fine/1.jpg train/corn/scab/1.jpg train/corn/fine/1.jpg",
            "say --splits train=train",
        ),
        ("train/a/1.jpg train/b/1.jpg val/", "val has no images in it"),
        ("train/a/1.jpg train/b/1.jpg val/notes.txt", "val has no images in it"),
        ("0/a/1.jpg 0/b/1.jpg 1/a/1.jpg 1/b/1.jpg 2/1.jpg", "fits two readings: classes 0, 1"),
        ("scans/1.dcm scans/2.dcm", "but .dcm"),
        ("a.zip b.zip", "packed archives and no images"),
        ("data/train.parquet", "parquet:photos"),
        ("a.txt", "has no images"),
        ("mine/manifest.json mine/dataset_info.json mine/sheet.jpg", "what alexnet made: mine"),
    ],
)
def test_folders_that_nothing_fits_are_refused_with_what_to_do(made, files, words):
    folder = made(files)
    with pytest.raises(DataError, match=re.escape(words)) as error:
        folder_source(folder)
    assert len(str(error.value)) <= TWO_LINES


def test_split_folders_can_be_named(made):
    folder = made("lot1/a/1.jpg lot1/b/1.jpg lot2/a/1.jpg lot2/b/1.jpg")
    with pytest.raises(DataError, match="two readings"):
        folder_source(folder)
    assert read_as(folder_source(folder, splits={"train": "lot1", "val": "lot2"})) == "a, b: 2 train, 2 val"
    assert read_as(folder_source(folder, splits={})) == "lot1, lot2: 2 train, 2 val"
    with pytest.raises(UsageError, match="no folder photos/lot3"):
        folder_source(folder, splits={"train": "lot1", "val": "lot3"})
    with pytest.raises(UsageError, match="no train folder"):
        folder_source(folder, splits={"val": "lot1"})
    with pytest.raises(UsageError, match=r"split must be one of 'train', 'val', 'test'. Received: split='valid'"):
        folder_source(folder, splits={"train": "lot1", "valid": "lot2"})


@pytest.mark.parametrize("text, found", [("none", {}), ("train=A b,val=C", {"train": "A b", "val": "C"})])
def test_split_folders_on_the_command_line(text, found):
    assert prepare.make_context("prepare", ["x", "--splits", text]).params["splits"] == found


@pytest.mark.parametrize("text", ["train", "train=", "dev=x", "train=a,train=b", ""])
def test_split_folders_that_are_none_are_refused(text):
    import click

    with pytest.raises(click.BadParameter, match="split folders such as"):
        prepare.make_context("prepare", ["x", "--splits", text])


def test_what_is_not_an_image_is_skipped_and_counted(made):
    folder = made(
        "a/1.jpg a/2.jpg b/1.jpg b/2.jpg b/noSuffix a/notes.txt a/train.log a/weights.npy a/1.jpg.part b/2.jpg~ "
        "a/._1.jpg a/@eaDir/1.jpg/THUMB_M.jpg b/#recycle/old.jpg a/__MACOSX/1.jpg prepared/.prepare/x a/run/run.json "
        "a/run/recipe.toml a/run/figures/1.jpg venv/pyvenv.cfg venv/lib/1.jpg"
    )
    source = folder_source(folder)
    names = sorted(name for images in source.splits.values() for name in images.filenames)
    assert names == ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "b/noSuffix"]
    notes = " ".join(source.notes)
    assert "5 files that are not images" in notes and "3 system folders" in notes
    assert "made by alexnet: prepared, venv" in notes and "made by alexnet: run" in notes
    assert all(len(note) <= 160 for note in source.notes)


def test_the_output_inside_the_input_is_no_class_the_second_time(make_folder, monkeypatch):
    from alexnet_keras.data.preparation import prepare as prepare_set

    folder = make_folder({"a": 3, "b": 3})
    first = prepare_set(folder_source(folder), folder / "out/set")
    again = prepare_set(folder_source(folder), folder / "out/set")  # done already: the same images
    assert again.fingerprint == first.fingerprint and again.classes == ("a", "b")
    with pytest.raises(DataError, match=r"is prepared already: .*, or give the images that it was prepared from"):
        folder_source(folder / "out/set")


def test_two_splits_are_not_one_folder(made):
    folder = made("train/a/1.jpg train/b/1.jpg")
    (folder / "val").symlink_to("train")
    with pytest.raises(DataError, match="the same folder under two splits"):
        folder_source(folder)
    with pytest.raises(UsageError, match="two splits the same folder"):
        folder_source(folder, splits={"train": "train", "val": "val"})


def test_split_folders_are_named_as_they_are_below_a_folder_in_the_folder(made):
    folder = made("brain/Training/a/1.jpg brain/Training/b/1.jpg brain/Testing/a/1.jpg brain/Testing/b/1.jpg")
    expected = "a, b: 2 train, 2 val"
    assert read_as(folder_source(folder)) == expected
    assert read_as(folder_source(folder, splits={"train": "Training", "val": "Testing"})) == expected


@pytest.mark.parametrize("name", ["val", "train/emu", "train/a/more", "val.zip"])
def test_a_link_to_a_folder_that_is_gone_is_refused(made, name):
    folder = made("train/a/1.jpg train/a/2.jpg train/b/1.jpg train/b/2.jpg train/@eaDir/")
    (folder / "train/venv").mkdir()
    (folder / "train/venv/pyvenv.cfg").touch()
    for inside in ("notes.txt", "train/@tmp", "train/venv/python"):  # which nobody looks for
        (folder / inside).symlink_to("/mnt/gone")
    assert read_as(folder_source(folder)) == "a, b: 2 train, 2 val"
    (folder / name).symlink_to("/mnt/gone/it")
    words = "is still packed" if name == "val.zip" else "is a link to /mnt/gone/it, which is not there. Mount or"
    with pytest.raises(DataError, match=f"photos/{name} {words}") as error:
        folder_source(folder)
    assert len(str(error.value)) <= TWO_LINES


def test_a_class_has_one_name(made):
    folder = made("cat/1.jpg cat/2.jpg dog/1.jpg dog/2.jpg")
    (folder / "kitty").symlink_to("cat")
    with pytest.raises(DataError, match="photos has one folder under two names, cat and kitty"):
        folder_source(folder)


@pytest.mark.parametrize("given", ["photos/birds", "birds"])
def test_a_link_to_a_folder_above_is_no_class(made, given):
    folder = made("birds/emu/1.jpg birds/emu/2.jpg birds/owl/1.jpg birds/owl/2.jpg more/1.jpg")
    Path("birds").symlink_to("photos/birds")
    (folder / "birds/up").symlink_to("..")
    (folder / "birds/emu/all").symlink_to(folder.parent.resolve())
    assert read_as(folder_source(Path(given))) == "emu, owl: 2 train, 2 val"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is unreadable to root")
def test_a_folder_that_cannot_be_read_is_named(made):
    folder = made("a/1.jpg b/1.jpg")
    (folder / "b").chmod(0)
    with pytest.raises(DataError, match="b cannot be read"):
        folder_source(folder)


def test_links_to_themselves_are_reported_when_they_are_read(made):
    folder = made("a/1.jpg a/2.jpg b/1.jpg b/2.jpg")
    (folder / "a/loop.jpg").symlink_to("loop.jpg")
    images = folder_source(folder, holdout=0.01).splits["train"]
    with pytest.raises(OSError, match="loop"):
        [images.read(i) for i in range(len(images))]


def test_names_that_splits_have():
    said = {
        "train": "train", "Training": "train", "TRAIN_SET": "train", "train2017": "train", "trainImages": "train",
        "val": "val", "Valid": "val", "validation-set": "val", "dev": "val", "Test": "test", "Testing Data": "test",
    }  # fmt: skip
    assert split_names(said) == said
    assert split_names(["trains", "contest", "latest", "retraining", "developer", "tests_train", "value"]) == {
        "trains": "train"
    }
    assert split_names(["seg_train", "seg_test", "seg_pred", "other_val"]) == {"seg_train": "train", "seg_test": "test"}
