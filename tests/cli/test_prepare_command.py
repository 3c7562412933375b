"""`alexnet prepare` as a user types it: what it prints, where, and how it ends."""

import errno
import json
from pathlib import Path

import click
import numpy as np
import pytest
from invoking import invoke
from PIL import Image

from alexnet_keras.cli.main import cli
from alexnet_keras.data.dataset import open_prepared


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for label, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for index in range(5):
            pixels = np.random.default_rng([label, index]).integers(0, 256, (50, 70, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.jpg")
    return folder


def test_a_folder_is_prepared_under_its_name_and_the_next_command_named(alexnet, photos):
    done = alexnet("prepare", photos)
    assert done.exit_code == 0, done.output
    assert "7 train, 3 val" in done.stdout
    assert "2 classes: cat, dog." in done.stdout
    assert "alexnet train --data data/photos" in done.stdout
    assert "20% of every class is held out" in done.stderr
    assert open_prepared("photos").examples("train") == 7
    again = alexnet("prepare", photos)
    assert again.exit_code == 0
    assert "already prepared" in again.stderr


def test_without_arguments_it_draws_and_prepares_the_demo_set(alexnet, monkeypatch):
    from alexnet_keras.data.sources import demo

    monkeypatch.setattr(demo.demo_source, "__kwdefaults__", {**demo.demo_source.__kwdefaults__, "train": 2, "val": 1})
    done = alexnet("prepare")
    assert done.exit_code == 0, done.output
    assert open_prepared("data/demo").source == "demo"
    assert len(open_prepared("demo").classes) == 12
    assert Path("data/demo-pictures/train/red-disc-vertical/000.jpg").is_file()


def test_json_is_all_there_is_on_stdout(alexnet, photos):
    (photos / "cat/notes.jpg").write_text("no image")
    done = alexnet("prepare", photos, "--out", "set", "--holdout", "0.4", "--json")
    found = json.loads(done.stdout)
    assert found["splits"]["val"]["examples"] in (3, 4)
    assert found["rejected"][0]["filename"] == "cat/notes.jpg"
    assert found["fingerprint"] == open_prepared("set").fingerprint


def test_rejected_images_are_shown_with_their_reasons(alexnet, photos):
    (photos / "cat/notes.jpg").write_text("no image")
    done = alexnet("prepare", photos)
    assert done.exit_code == 0
    assert "1 image could not be used" in done.stdout
    assert "cat/notes.jpg" in done.stdout


def empty(folder):
    for image in folder.rglob("*.jpg"):
        image.unlink()
    for name in ("cat", "dog"):
        (folder / name).rmdir()


def one_class(folder):
    for image in (folder / "dog").iterdir():
        image.unlink()
    (folder / "dog").rmdir()


def other_classes(folder):
    for split, name in (("train", "cat"), ("train", "dog"), ("val", "cat"), ("val", "emu")):
        (folder / split / name).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(folder / split / name / "0.jpg")


def bad_images(folder):
    for image in [*sorted((folder / "cat").iterdir())[:2], *sorted((folder / "dog").iterdir())[:2]]:
        image.write_bytes(image.read_bytes()[:100])


@pytest.mark.parametrize(
    "spoil, arguments, exit_code, words",
    [
        (lambda folder: None, ["nowhere"], 2, "There is no folder nowhere"),
        (lambda folder: None, [""], 2, "The source '' is empty: name a folder"),
        (lambda folder: None, ["ilsvrc:"], 2, "The source 'ilsvrc:' is empty"),
        (lambda folder: None, ["photos", "--max-bad", "many"], 2, "neither a count"),
        (lambda folder: None, ["photos", "--max-bad", "nan%"], 2, "max_bad must be from 0 to 1"),
        (lambda folder: None, ["photos", "--holdout", "1"], 2, "holdout"),
        (lambda folder: None, ["photos", "--out", "photos"], 2, "not a prepared dataset"),
        (lambda folder: None, ["photos/cat/0.jpg"], 3, "is a file"),
        (empty, ["photos"], 3, "is empty"),
        (one_class, ["photos"], 3, "one class"),
        (other_classes, ["photos"], 3, "lacks dog and also has emu"),
        (bad_images, ["photos", "--max-bad", "3"], 3, "--max-bad allows 3"),
        (bad_images, ["photos", "--max-bad", "30%"], 3, "--max-bad allows 3"),
        (bad_images, ["folder:photos", "--max-bad", "40%"], 0, ""),
        (lambda folder: None, ["tfds:no_such_set"], 2, "knows no set"),
        (lambda folder: None, ["ilsvrc:nowhere"], 2, "no directory nowhere"),
        (lambda folder: None, ["ilsvrc:photos"], 3, "no training images of ILSVRC"),
        (lambda folder: None, ["synsets:photos"], 3, "no archives called <wnid>.tar"),
        (lambda folder: None, ["photos", "--classes", "nowhere.txt"], 2, "no file nowhere.txt"),
        (lambda folder: None, ["photos", "--partial"], 2, "--partial is for ilsvrc: sources"),
        (lambda folder: None, ["photos", "--class-order", "ilsvrc"], 2, "--class-order ilsvrc is for ilsvrc: sources"),
        (lambda folder: None, ["photos", "--quality", "90", "--encoding", "png"], 2, "--quality is for JPEG"),
        (lambda folder: None, ["photos", "--tfds-dir", "x"], 2, "--tfds-dir is for tfds: sources"),
        (lambda folder: None, ["photos", "--shard-range", "5"], 2, "no range of shards"),
        (lambda folder: None, ["photos", "--shard-range", "7:9"], 2, "the shards are 0:2"),
        (lambda folder: None, ["photos", "--shard-range", "0:1", "--finish"], 2, "exclude each other"),
        (lambda folder: None, ["photos", "--finish"], 3, "2 of the 2 shards of data/photos are not there yet: 0:2"),
        (lambda folder: None, ["photos", "--beam-option", "a=b"], 2, "--beam-option needs --beam-runner"),
        (lambda folder: None, ["--verify", "photos"], 3, "not a prepared dataset"),
        (
            lambda folder: None,
            ["--verify", "photos", "--seed", "3"],
            2,
            "takes a prepared dataset and no --seed",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_an_exit_code(alexnet, photos, spoil, arguments, exit_code, words):
    spoil(photos)
    done = alexnet("prepare", *arguments)
    assert done.exit_code == exit_code, done.output
    assert words in done.stderr
    assert "Traceback" not in done.output
    if exit_code:
        assert not list(Path.cwd().rglob("manifest.json"))


def test_other_options_are_refused_naming_what_differs(alexnet, photos):
    assert alexnet("prepare", photos).exit_code == 0
    done = alexnet("prepare", photos, "--seed", 5)
    assert done.exit_code == 3
    assert "seed is 0 there and 5 here" in done.stderr
    assert alexnet("prepare", photos, "--seed", 5, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    "error, exit_code, words",
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left on device"),
        (KeyboardInterrupt(), 130, "run the same command to continue"),
    ],
)
def test_a_full_disk_and_an_interruption_leave_nothing_that_looks_complete(
    alexnet, photos, monkeypatch, error, exit_code, words
):
    rename = Path.replace

    def fail_late(self, target):
        if Path(target).name == "statistics.npz":
            raise error
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail_late)
        done = alexnet("prepare", photos)
    assert done.exit_code == exit_code, done.output
    assert words in done.stderr
    assert not Path("data/photos/manifest.json").exists()
    done = alexnet("prepare", photos)
    assert done.exit_code == 0
    assert "2 of 2 shards are done" in done.stderr


def test_help_names_every_default_and_an_example_that_parses():
    done = invoke("prepare", "--help")
    assert done.exit_code == 0
    assert "alexnet prepare photos --out data/photos --holdout 0.1" in " ".join(done.stdout.split())
    for option in cli.commands["prepare"].params:
        if isinstance(option, click.Option) and not option.is_flag and not option.multiple:
            shown = option.get_help_record(click.Context(cli.commands["prepare"], show_default=True))[1]
            assert "default:" in shown, option.name


def test_an_array_of_jobs_and_a_last_one_end_with_the_bytes_of_one_process(alexnet, photos):
    whole = ["prepare", photos, "--shard-examples", 3]
    assert alexnet(*whole, "--out", "one/photos").exit_code == 0
    parts = [*whole, "--out", "many/photos"]
    for shards in ("2:9", "0:1", "1:2"):
        done = alexnet(*parts, "--shard-range", shards)
        assert done.exit_code == 0, done.output
        end = {"2:9": "2:4"}.get(shards, shards)
        assert f"The shards {end} of many/photos are there" in done.stdout
        if shards == "0:1":
            early = alexnet(*parts, "--finish")
            assert (early.exit_code, "1 of the 4 shards" in early.stderr, "1:2" in early.stderr) == (3, True, True)
    assert not Path("many/photos/manifest.json").exists()
    assert json.loads(alexnet(*parts, "--shard-range", "2:9", "--json").stdout)["shards"] == [2, 4]
    done = alexnet(*parts, "--finish", "--json")
    assert done.exit_code == 0, done.output
    one, many = ({p.name: p.read_bytes() for p in Path(d).iterdir()} for d in ("one/photos", "many/photos"))
    assert one == many
    assert json.loads(done.stdout)["splits"]["train"]["examples"] == 7


def test_verify_finds_it_whole_and_then_the_damage(alexnet, photos):
    alexnet("prepare", photos)
    done = alexnet("prepare", "--verify")
    assert done.exit_code == 0, done.output
    assert "2 shards have the manifest's checksums and 10 images decode" in done.stdout
    shard = next(Path("data/photos").glob("*train*"))
    contents = bytearray(shard.read_bytes())
    contents[len(contents) // 2] ^= 255
    shard.write_bytes(contents)
    done = alexnet("prepare", "--verify", "photos")
    assert done.exit_code == 3
    assert f"{shard.name}: its checksum is not the manifest's." in done.stdout
    assert "Prepare it again with --overwrite" in done.stderr


def test_info_data_shows_counts_rejects_and_statistics_and_draws_a_sheet(alexnet, photos):
    (photos / "cat/notes.jpg").write_text("no image")
    (photos.parent / "names.txt").write_text("dog good dog, hound\ncat\n")
    assert alexnet("prepare", photos, "--classes", "names.txt", "--out", "data/pets").exit_code == 0
    done = alexnet("info", "data", "pets", "--sheet")
    assert done.exit_code == 0, done.output
    for words in (
        " MB, seed 0",
        "good dog, hound",
        "cat/notes.jpg",
        "not a picture in a known format",
        "standard deviation",
    ):
        assert words in done.stdout
    from PIL import Image

    with Image.open("data/pets/contact-sheet.png") as sheet:
        assert min(sheet.size) > 300
    facts = json.loads(alexnet("info", "data", "--json", "--sheet", "contact-sheet.png").stdout)
    assert facts["splits"]["train"]["class_counts"] == [3, 4]
    assert facts["rejected"][0]["filename"] == "cat/notes.jpg"
    assert len(facts["statistics"]["eigenvectors"]) == 3
    assert facts["sheet"] == "contact-sheet.png" and Path("contact-sheet.png").stat().st_size > 1000
    assert "no split 'test'" in alexnet("info", "data", "pets", "--sheet", "x.png", "--split", "test").stderr
    assert alexnet("prepare", "--verify", "pets").exit_code == 0, "a sheet next to the shards is no damage"


@pytest.mark.parametrize("parts", [[], ["--shard-range", "0:1"], ["--finish"]])
def test_a_finished_dataset_is_refused_where_the_first_run_would_have_been(alexnet, photos, parts):
    bad_images(photos)
    given = ["prepare", photos, *parts, "--max-bad"]
    assert alexnet("prepare", photos, "--max-bad", 4).exit_code == 0
    done = alexnet(*given, 3)
    assert done.exit_code == 3, done.output
    assert "4 of 10 images cannot be used and --max-bad allows 3" in done.stderr
    assert "nothing to do" not in done.stderr
    done = alexnet(*given, 4)
    assert (done.exit_code, "nothing to do" in done.stderr) == (0, True)


def test_the_names_of_repeated_images_are_those_that_the_manifest_keeps(alexnet, photos, monkeypatch):
    from alexnet_keras.cli import info
    from alexnet_keras.data import shards

    monkeypatch.setattr(shards, "MOST_REPEATED", 2)
    monkeypatch.setattr(info, "REJECTS_SHOWN", 1)
    for image in [*photos.glob("cat/*"), *photos.glob("dog/*")]:
        for split in ("train", "val"):
            copy = photos.with_name("twice") / split / image.relative_to(photos)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(image.read_bytes())
    assert alexnet("prepare", "twice").exit_code == 0
    assert "and 9 more images: --all" in alexnet("info", "data").stdout
    shown = alexnet("info", "data", "--all").stdout
    assert "and 8 more images: the manifest does not keep their names" in shown
    assert "--all" not in shown


MADE = ("features.json", "dataset_info.json", "index.npz", "a-train.tfrecord-00000-of-00001", "decoded-1.npy")


@pytest.mark.parametrize(
    "manifest, others, refused",
    [
        ('{"name": "a web application", "icons": []}', MADE, True),
        ("[]", (), True),
        ('{"format": "another program\'s"}', MADE, True),
        ("{", (*MADE, "index.html"), True),
        ("{", MADE, False),
        ("\xff", (), False),
        ('{"format": "alexnet-keras prepared dataset, version 1"}', (*MADE, "notes.txt"), False),
    ],
)
def test_another_programs_directory_is_not_replaced(alexnet, photos, manifest, others, refused):
    folder = photos.with_name("site")
    folder.mkdir()
    (folder / "manifest.json").write_text(manifest, encoding="latin-1")
    for name in others:
        (folder / name).write_bytes(b"years of work")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = alexnet("prepare", photos, "--out", "site", "--overwrite")
    if refused:
        assert done.exit_code == 2, done.output
        assert "site is not empty and not a prepared dataset; choose another --out" in done.stderr
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    else:
        assert done.exit_code == 0, done.output
        assert (folder / "notes.txt").exists() == ("notes.txt" in others)


def test_a_foreign_directory_is_not_touched_even_by_an_index(alexnet, tmp_path):
    import imagenet

    imagenet.as_tars(tmp_path / "in")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter1.tex").write_text("years of work")
    done = alexnet("prepare", "ilsvrc:in", "--out", "thesis")
    assert done.exit_code == 2
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter1.tex"]


def test_imagenet_from_tars_to_info(alexnet, tmp_path):
    import imagenet

    imagenet.as_tars(tmp_path / "in")
    done = alexnet("prepare", "ilsvrc:in", "--limit-per-class", 5, "--exif", "--encoding", "png", "--out", "data/small")
    assert done.exit_code == 0, done.output
    assert "4 classes: tench, goldfish, English springer, chain saw" in done.stdout
    facts = json.loads(alexnet("info", "data", "small", "--json").stdout)
    assert facts["options"]["limit_per_class"] == 5
    assert max(facts["splits"]["train"]["class_counts"]) == 5
    other = alexnet("prepare", "ilsvrc:in", "--limit-per-class", 5, "--out", "data/small", "--class-order", "ilsvrc")
    assert other.exit_code == 3
    assert "encoding is png there and jpeg here" in other.stderr
    assert "class_order is wnid there and ilsvrc here" in other.stderr


def test_a_tilde_after_an_equals_sign_is_the_home_directory(alexnet, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    assert alexnet("prepare", photos, "--out=~/sets/pets").exit_code == 0
    assert (tmp_path / "home/sets/pets/manifest.json").is_file() and not (photos.parent / "~").exists()
