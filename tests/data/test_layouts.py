"""How folders as people have them are read: those of the documentation, and others."""

import inspect
import io
import os
import re
import shlex
import sys
from pathlib import Path

import imagenet
import pytest
from PIL import Image

from alexnet_keras.cli.prepare import _request, prepare
from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.data.sources.open import open_source
from alexnet_keras.data.sources.source import split_names
from alexnet_keras.errors import AlexNetError, DataError, UsageError

PAGE = Path(__file__).parents[2] / "docs/preparing-data.md"
EXAMPLES = re.findall(r"```text\n(\$ alexnet prepare.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
TWO_LINES = 2 * 80 - len("Error: ")
SYNSETS = {"n01440764": "tench, Tinca tinca", "n01443537": "goldfish, Carassius auratus"}


def image(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (number % 256, 0, 0)).save(file, "JPEG")
    return file.getvalue()


def parsed(tree: str) -> dict[str, bytes | None]:
    """The files of a drawn tree, in order, by path; None for a folder. A tar has its members as files below it."""
    files, above = {}, []
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name, *inside = line.split()
        del above[depth:]
        if name.endswith("/"):
            above.append(name)
            files["".join(above)] = None
            for each in inside:
                files["".join([*above, each])] = None if each.endswith("/") else image(len(files))
        elif name.endswith(":"):
            files["".join([*above, name[:-1]])] = "\n".join(line.partition(": ")[2].split(" | ")).encode()
        else:
            for each in [name, *inside]:
                files["".join([*above, each])] = b"no image" if each.endswith((".txt", ".json")) else image(len(files))
    return files


def build(tree: str, root: Path) -> None:
    """Makes a drawn tree: folders, tars with what stands below them, tables with their lines."""
    files = parsed(tree)
    while archives := [name for name in files if name.endswith(".tar/")]:
        deepest = max(archives, key=lambda name: name.count("/"))
        members = {name.removeprefix(deepest): files.pop(name) for name in list(files) if name.startswith(deepest)}
        members.pop("")
        files[deepest[:-1]] = imagenet.tar_of(members, top=())
    for name, contents in files.items():
        path = root / name
        (path if contents is None else path.parent).mkdir(parents=True, exist_ok=True)
        if name.endswith(".parquet"):
            write_parquet(path, contents.decode().split("\n"))
        elif "devkit" in name:
            counts, ids = {"n01440764": 2, "n01443537": 1}, {"n01440764": 1, "n01443537": 2}
            made = imagenet.devkit_files(counts, val=["n01443537", "n01440764"], ids=ids, words=SYNSETS)
            path.write_bytes(imagenet.gzipped_devkit(made, "ILSVRC2012_devkit_t12"))
        elif contents is not None:
            path.write_bytes(contents)


def write_parquet(path: Path, labels: list[str], names=("healthy", "rust"), rows: int = 2, **columns) -> None:
    """A parquet file as Hugging Face's datasets write them."""
    import json

    import pyarrow as pa
    import pyarrow.parquet

    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    images = pa.array([{"bytes": image(i), "path": f"{i}.jpg"} for i in range(len(labels))])
    numbers = pa.array([names.index(label) if label in names else -1 for label in labels], pa.int64())
    table = pa.table({"image": images, "label": numbers, **columns})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, path, row_group_size=rows)


def opened(command: str):
    """The source that `alexnet prepare` would read."""
    context = prepare.make_context("prepare", shlex.split(command)[2:])
    choices = dict(context.params)
    return open_source(_request(choices.pop("source"), Path("out/set"), choices))


def read_as(source) -> str:
    counts = ", ".join(f"{len(images)} {split}" for split, images in source.splits.items())
    return f"{', '.join(source.classes)}: {counts}"


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.splitlines()[0][2:] for example in EXAMPLES])
def test_the_layouts_of_the_documentation_are_read_as_it_says(example, tmp_path, monkeypatch):
    first, tree, last = re.fullmatch(r"\$ (.*?)\n(.*)\n= (.*?)\n", example, re.DOTALL).groups()
    assert len(tree.splitlines()) <= 14
    monkeypatch.chdir(tmp_path)
    build(tree, tmp_path)
    if last.startswith("refused: "):
        with pytest.raises(DataError, match=re.escape(last.removeprefix("refused: "))) as error:
            opened(first)
        assert len(str(error.value)) <= TWO_LINES
        return
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
        for heading in re.findall(r"^### (.*)$", page, re.MULTILINE)
    }
    assert linked and linked <= headings
    assert len(EXAMPLES) >= len(linked)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """`made("a/1.jpg b/")`: files and folders below "photos"; the working directory is the one above."""
    monkeypatch.chdir(tmp_path)

    def make(spec: str) -> Path:
        for name in spec.split():
            path = Path("photos", name.replace("~", " "))
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                path.write_bytes(image(1) if path.suffix in (".jpg", ".JPEG", "") else b"no image at all")
        return Path("photos")

    return make


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


@pytest.mark.parametrize("text, found", [("none", {}), ("train=A b,val=C", {"train": "A b", "val": "C"})])
def test_split_folders_on_the_command_line(text, found):
    assert prepare.make_context("prepare", ["x", "--splits", text]).params["splits"] == found


@pytest.mark.parametrize("text", ["train", "train=", "dev=x", "train=a,train=b", ""])
def test_split_folders_that_are_none_are_refused(text):
    import click

    with pytest.raises(click.BadParameter, match="split folders such as"):
        prepare.make_context("prepare", ["x", "--splits", text])


def test_what_is_no_image_is_passed_over_and_counted(made):
    folder = made(
        "a/1.jpg a/2.jpg b/1.jpg b/2.jpg b/noSuffix a/notes.txt a/train.log a/weights.npy a/1.jpg.part b/2.jpg~ "
        "a/._1.jpg a/@eaDir/1.jpg/THUMB_M.jpg b/#recycle/old.jpg a/__MACOSX/1.jpg prepared/.prepare/x a/run/run.json "
        "a/run/recipe.toml a/run/figures/1.jpg venv/pyvenv.cfg venv/lib/1.jpg"
    )
    source = folder_source(folder)
    names = sorted(name for images in source.splits.values() for name in images.filenames)
    assert names == ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "b/noSuffix"]
    notes = " ".join(source.notes)
    assert "5 files that are no images" in notes and "3 folders of the system" in notes
    assert "made by alexnet: prepared, venv" in notes and "made by alexnet: run" in notes
    assert all(len(note) <= 160 for note in source.notes)


def test_the_output_inside_the_input_is_no_class_the_second_time(make_folder, monkeypatch):
    from alexnet_keras.data.preparation import prepare as prepare_set

    folder = make_folder({"a": 3, "b": 3})
    first = prepare_set(folder_source(folder), folder / "out/set")
    again = prepare_set(folder_source(folder), folder / "out/set")  # done already: the same images
    assert again.fingerprint == first.fingerprint and again.classes == ("a", "b")
    with pytest.raises(DataError, match="is prepared already"):
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


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is unreadable to root")
def test_a_folder_that_cannot_be_read_is_told(made):
    folder = made("a/1.jpg b/1.jpg")
    (folder / "b").chmod(0)
    with pytest.raises(DataError, match="b cannot be read"):
        folder_source(folder)


def test_links_to_themselves_are_told_when_they_are_read(made):
    folder = made("a/1.jpg a/2.jpg b/1.jpg b/2.jpg")
    (folder / "a/loop.jpg").symlink_to("loop.jpg")
    images = folder_source(folder, holdout=0.01).splits["train"]
    with pytest.raises(OSError, match="loop"):
        [images.read(i) for i in range(len(images))]


def test_folders_without_end_are_told(made):
    made("a/" + "x/" * 150 + "1.jpg b/1.jpg")
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 120)
    try:
        with pytest.raises(DataError, match="folders hundreds deep"):
            opened("alexnet prepare photos")
    finally:
        sys.setrecursionlimit(before)


def test_tables_beside_images_are_matched_as_others_and_told(made):
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
        (",filepaths,labels\n0,deep\\a.jpg,cat\n1,b.jpg,dog\n2,c.jpg,cat\n3,d.jpg,dog", "cat, dog: 2 train, 2 val"),
        ("image,dx,dataset\na,cat,vidir\nb,dog,rosendahl\nc,cat,vidir\nd,dog,vidir", "cat, dog: 2 train, 2 val"),
        ("a.jpg big cat\nb.jpg big dog\nc.jpg big cat\nd.jpg big dog", "big cat, big dog: 2 train, 2 val"),
        ("Bild;Klasse\na;cat\nb;dog\nc;cat\nd;dog", "cat, dog: 2 train, 2 val"),
        ("what,which\na.jpg,cat\nb.jpg,dog\nc.jpg,cat\nd.jpg,dog", "cat, dog: 2 train, 2 val"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tables_give_images_their_classes(made, table, expected, encoding):
    folder = made("deep/a.jpg b.jpg c.jpg d.jpg e.jpg")
    Path("table.csv").write_text(table, encoding=encoding)
    source = folder_source(folder, labels=["table.csv"])
    assert read_as(source) == expected
    assert any("Left out, being in no table: 1 of 5" in note for note in source.notes)
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
        ("file,label\nsame.jpg,cat\na.jpg,dog", "of which photos has several"),
        ("file,label\na.jpg,\n", "Line 2 of table.csv has no label"),
        ("image,MEL,NV\na,1,0\nb,0,1", "has the columns image, MEL, NV"),
        ("a.jpg\nb.jpg", "has one column"),
        ("file,label\na.jpg,cat", "has one class, 'cat'"),
        ("file,label,split\na.jpg,cat,train\nb.jpg,dog,odd", "the split 'odd'"),
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


def test_official_lists_of_files_in_class_folders(made):
    folder = made("pie/1.jpg pie/2.jpg cake/1.jpg cake/2.jpg")
    Path("train.txt").write_text("pie/1\ncake/1\n")
    Path("test.txt").write_text("pie/2\ncake/2\n")
    found = folder_source(folder, labels=["train=train.txt", "test=test.txt"])
    assert read_as(found) == "cake, pie: 2 train, 2 val"


@pytest.mark.parametrize(
    "command, words",
    [
        ("alexnet prepare photos --labels none.csv", "no file none.csv"),
        ("alexnet prepare photos --labels t.csv --splits none", "exclude each other"),
        ("alexnet prepare ilsvrc:photos --labels t.csv", "--labels is for folders"),
        ("alexnet prepare synsets:photos --splits none", "--splits is for folders"),
        ("alexnet prepare photos --partial", "--partial is for ilsvrc: sources and --labels"),
        ("alexnet prepare parquet:nowhere", "no directory or file nowhere"),
    ],
)
def test_options_that_do_not_apply_are_refused(made, command, words):
    made("a/1.jpg b/1.jpg")
    with pytest.raises(UsageError, match=re.escape(words)):
        opened(command)


@pytest.mark.parametrize("kind", ["", "folder:", "ilsvrc:", "synsets:", "parquet:"])
def test_the_home_directory_is_meant_by_a_tilde(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "mine").mkdir()
    with pytest.raises(AlexNetError, match=re.escape(str(tmp_path / "mine"))):
        opened(f"alexnet prepare '{kind}~/mine'")


@pytest.mark.parametrize(
    "name", ["ILSVRC2012_img_val.tar.gz", "val.zip", "val_images.tar.gz", "ILSVRC2012_img_val.tar.part"]
)
def test_a_packed_validation_split_of_imagenet_is_not_passed_over(tmp_path, name):
    imagenet.as_folders(tmp_path)
    imagenet.write_files(tmp_path, {name: b"x"})
    (tmp_path / "val").rename(tmp_path / "moved")
    with pytest.raises(DataError, match=f"{name} is still packed") as error:
        open_source(_request(f"ilsvrc:{tmp_path}", tmp_path / "out", _defaults()))
    assert error.value.exit_code == 3


def _defaults() -> dict:
    return dict(prepare.make_context("prepare", ["x"]).params)


def test_a_ground_truth_with_a_byte_order_mark_is_read(tmp_path):
    imagenet.as_folders(tmp_path)
    truth = tmp_path / "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"
    before = open_source(_request(f"ilsvrc:{tmp_path}", tmp_path / "out", _defaults())).splits["val"].labels
    truth.write_bytes(b"\xef\xbb\xbf" + truth.read_bytes())
    after = open_source(_request(f"ilsvrc:{tmp_path}", tmp_path / "out", _defaults())).splits["val"].labels
    assert after.tolist() == before.tolist()


def test_litter_among_synsets_is_passed_over(tmp_path):
    imagenet.as_folders(tmp_path)
    imagenet.write_files(tmp_path / "train", {"@eaDir/1.jpg": image(1), "n01440764/list.txt": b"no image"})
    source = open_source(_request(f"ilsvrc:{tmp_path}", tmp_path / "out", _defaults()))
    assert len(source.classes) == 4
    assert any("1 file that is no image" in note for note in source.notes)


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


@pytest.mark.parametrize("names", [("beans_train", "beans_test"), ("default/train/0000", "default/test/0000")])
def test_parquet_files_of_splits_under_other_names(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_parquet(tmp_path / f"{name}.parquet", ["rust", "healthy", "rust"][: 3 - names.index(name)])
    source = open_source(_request(f"parquet:{tmp_path}", tmp_path / "out", _defaults()))
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
        open_source(_request(f"parquet:{tmp_path}", tmp_path / "out", _defaults()))
