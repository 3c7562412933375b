"""A prepared dataset: right images, right numbers, and open to anyone."""

import hashlib
import inspect
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from recorded import Recorded, Work
from small_sets import small

import alexnet_keras
from alexnet_keras.cli.main import cli
from alexnet_keras.cli.prepare import PARTS
from alexnet_keras.data import shards
from alexnet_keras.data.dataset import latest_prepared, open_prepared
from alexnet_keras.data.images import fit_to_square
from alexnet_keras.data.preparation import Preparation, prepare
from alexnet_keras.data.shards import ShardRecord
from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.data.sources.source import ImageList, Source
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.storage.files import tensorflow_errors_as_os_errors

OPENED = Source("mine", ("a", "b"), {"train": ImageList([""] * 100, np.zeros(100, np.int32), np.zeros(100), bytes)})


def records(prepared, split):
    features = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "filename": tf.io.FixedLenFeature([], tf.string),
    }
    for shard in prepared.splits[split]:
        found = list(tf.data.TFRecordDataset(str(shard.path)).as_numpy_iterator())
        assert len(found) == shard.examples
        for record in found:
            parsed = tf.io.parse_single_example(record, features)
            yield parsed["filename"].numpy().decode(), int(parsed["label"]), parsed["image"].numpy()


def test_every_image_arrives_once_with_its_label_as_a_jpeg_of_its_square(folder, tmp_path):
    prepared = small(folder, tmp_path / "set")
    assert prepared.classes == ("cat", "dog")
    assert [shard.examples for shard in prepared.splits["train"]] == [5, 5, 5, 5]
    assert (prepared.examples("train"), prepared.examples("val")) == (20, 5)
    assert prepared.class_counts("train") == [11, 9]
    for split in ("train", "val"):
        found = {name: (label, image) for name, label, image in records(prepared, split)}
        assert sorted(found) == sorted(str(p.relative_to(folder / split)) for p in (folder / split).glob("*/*"))
        for name, (label, image) in found.items():
            assert prepared.classes[label] == name.split("/")[0]
            square = fit_to_square((folder / split / name).read_bytes())
            error = np.abs(tf.io.decode_jpeg(image, dct_method="INTEGER_ACCURATE").numpy().astype(int) - square)
            assert error.mean() < 2


def test_the_order_is_shuffled_over_the_whole_split_by_the_seed(folder, tmp_path):
    first, other = (
        [label for _, label, _ in records(small(folder, tmp_path / str(seed), seed=seed), "train")] for seed in (0, 1)
    )
    assert sorted(first) == sorted(other)
    assert first != other
    assert first != sorted(first)


def test_statistics_are_those_of_the_training_squares_in_float64(folder, tmp_path):
    prepared = small(folder, tmp_path / "set")
    squares = np.stack([fit_to_square(p.read_bytes()) for p in sorted((folder / "train").glob("*/*"))])
    flat = squares.reshape(-1, 3).astype(np.float64)
    statistics = prepared.statistics
    np.testing.assert_array_equal(statistics.mean_image, squares.astype(np.float64).mean(axis=0).astype(np.float32))
    np.testing.assert_allclose(statistics.rgb_mean, flat.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.covariance, np.cov(flat, rowvar=False, bias=True), rtol=1e-10)
    # and close to those of the stored JPEGs, which differ by the loss of JPEG alone
    stored = np.stack(
        [tf.io.decode_jpeg(image, dct_method="INTEGER_ACCURATE").numpy() for _, _, image in records(prepared, "train")]
    )
    assert np.abs(stored.mean(axis=(0, 1, 2), dtype=np.float64) - statistics.rgb_mean).max() < 0.3


TFDS_ONLY = """
import json, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "alexnet_keras":
            raise ImportError("not to be had here")
sys.meta_path.insert(0, Blocker())
import tensorflow_datasets as tfds
builder = tfds.builder_from_directory(sys.argv[1])
names = builder.info.features["label"].names
found = [
    (e["filename"].decode(), names[e["label"]], list(e["image"].shape), str(e["image"].dtype))
    for e in tfds.as_numpy(builder.as_dataset(split="train"))
]
frame = tfds.as_dataframe(builder.as_dataset(split="val"), builder.info)
shapes = {str(image.shape) for image in frame["image"]}
print(json.dumps([found, len(frame), sorted(shapes), builder.info.splits["train"].num_examples, builder.name]))
"""


@pytest.mark.slow
def test_plain_tfds_opens_it_without_this_package(folder, tmp_path):
    prepared = small(folder, tmp_path / "Set 1", name="Set 1")
    done = subprocess.run(
        [sys.executable, "-c", TFDS_ONLY, str(prepared.path)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found, val, shapes, examples, name = json.loads(done.stdout.splitlines()[-1])
    assert (len(found), val, shapes, examples, name) == (20, 5, ["(256, 256, 3)"], 20, "set_1")
    for filename, label, shape, kind in found:
        assert filename.startswith(f"{label}/")
        assert (shape, kind) == ([256, 256, 3], "uint8")


def test_the_manifest_holds_the_checksums_and_the_choices(folder, tmp_path):
    prepared = small(folder, tmp_path / "set", seed=4)
    manifest = json.loads((prepared.path / "manifest.json").read_text())
    for split in manifest["splits"].values():
        for shard in split["shards"]:
            data = (prepared.path / shard["name"]).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (shard["bytes"], shard["sha256"])
    assert manifest["options"]["seed"] == 4
    assert len(prepared.fingerprint) == 64


# From Python


def test_the_front_door_takes_a_source_by_name_and_puts_it_where_the_command_does(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder.rename("photos")
    reporter = Recorded()
    data = alexnet_keras.prepare("photos", limit_per_class=2, encoding="raw", reporter=reporter)
    assert (str(data.path), data.name, data.source) == ("data/photos", "photos", "folder:photos")
    assert data.examples("train") == 4 and data.encoding.kind == "raw"
    assert [work.total for work in reporter.work] == [None, 8] and "2 classes, seed 0, 2 shards" in reporter.notes[0]
    again = alexnet_keras.prepare(Path("photos"), "data/photos", limit_per_class=2, encoding="raw")
    assert again.fingerprint == data.fingerprint


def test_the_front_door_and_a_divided_preparation_take_the_same_arguments_with_the_defaults_of_the_command():
    function, planned = inspect.signature(alexnet_keras.prepare), inspect.signature(Preparation)
    assert function.parameters == planned.parameters
    options = {option.name: option for option in cli.commands["prepare"].params}
    for name in ("seed", "holdout", "max_pixels", "encoding", "shard_examples"):
        assert options[name].default == function.parameters[name].default, name
    made_by_the_command = {*PARTS, "verify", "as_json", "quiet"}
    assert options.keys() - made_by_the_command == function.parameters.keys() - {"reporter"}


@pytest.mark.parametrize(
    "choices, words",
    [
        ({"quality": 90, "encoding": "png"}, "--quality is for JPEG; png loses nothing"),
        ({"name": "a/b"}, "--name 'a/b' is no name"),
        ({"encoding": "jpg"}, "encoding must be one of 'jpeg', 'png', 'raw'. Received: encoding='jpg'"),
        (
            {"class_order": "ILSVRC"},
            "class_order must be one of None, 'wnid', 'ilsvrc'. Received: class_order='ILSVRC'",
        ),
        ({"holdout": 20}, "holdout must be between 0 and 1, .* Received: holdout=20"),
        ({"holdout": 0.0}, "holdout must be between 0 and 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"quality": "90"}, "quality must be a whole number"),
        ({"limit_per_class": 0}, "limit_per_class must be at least 1. Received: limit_per_class=0"),
        ({"max_pixels": 0}, "max_pixels must be at least 1"),
        ({"max_bad": -1}, "max_bad must be at least 0"),
        ({"max_bad": 2.0}, "max_bad must be from 0 to 1. Received: max_bad=2.0"),
        ({"quality": 0}, "quality must be from 1 to 100. Received: quality=0"),
        ({"shard_examples": 0}, "shard_examples must be from 1 to 1,000,000"),
        ({"shard_examples": 20_000_000}, "shard_examples must be from 1 to 1,000,000"),
        ({"source": OPENED, "limit_per_class": 5}, "limit_per_class comes too late: give it where the source mine is"),
        ({"source": OPENED, "holdout": 0.1}, "holdout comes too late"),
        ({"source": OPENED, "labels": "t.csv"}, "labels comes too late"),
    ],
)
def test_choices_that_are_out_of_range_or_do_not_apply_are_refused_before_anything_is_read(choices, words):
    with pytest.raises(UsageError, match=words):
        Preparation(**choices)


def test_arguments_mean_what_their_types_say(tmp_path):
    assert Preparation(Path("demo")).request.place == Path("demo"), "a folder, and not the images drawn by code"
    assert Preparation("demo").given == "demo"
    numbers = Preparation("photos", "~/set", seed=np.int64(3), limit_per_class=np.int32(2), holdout=np.float32(0.25))
    assert [type(each) for each in (numbers.seed, numbers.limit_per_class, numbers.holdout)] == [int, int, float]
    assert numbers.directory == Path.home() / "set"
    for labels in ("t.csv", Path("t.csv"), ["t.csv"]):
        planned = Preparation("photos", labels=labels)
        assert planned.request.labels == ("t.csv",) and planned.further_options == ["--labels", "t.csv"]
    assert Preparation("photos", labels=["train=a", "val=b"]).request.labels == ("train=a", "val=b")


# Images that cannot be used


def spoil(folder):
    cut = folder / "train/cat/003.jpg"
    cut.write_bytes(cut.read_bytes()[:-200])
    (folder / "train/dog/notes.jpg").write_text("not an image")
    (folder / "val/dog/empty.jpg").write_bytes(b"")
    (folder / "train/dog/gone.jpg").symlink_to(folder / "nowhere")


def test_bad_files_are_skipped_and_named_in_the_manifest(folder, tmp_path):
    spoil(folder)
    prepared = small(folder, tmp_path / "set")
    reasons = {(bad["split"], bad["filename"]): bad["reason"] for bad in prepared.rejected}
    assert set(reasons) == {
        ("train", "cat/003.jpg"), ("train", "dog/notes.jpg"), ("val", "dog/empty.jpg"), ("train", "dog/gone.jpg"),
    }  # fmt: skip
    assert "cut short" in reasons["train", "cat/003.jpg"]
    assert "empty" in reasons["val", "dog/empty.jpg"]
    assert "No such file" in reasons["train", "dog/gone.jpg"]
    names = [name for name, _, _ in records(prepared, "train")]
    assert len(names) == 19 == prepared.examples("train")
    assert not set(names) & {name for _, name in reasons}


@pytest.mark.parametrize("encoding", ["jpeg", "raw"])
def test_an_image_that_is_in_train_as_well_is_listed_and_warned_of(folder, tmp_path, encoding):
    assert not small(folder, tmp_path / "before", encoding=encoding).repeated
    (folder / "val/dog/again.jpg").write_bytes((folder / "train/cat/003.jpg").read_bytes())
    (folder / "train/cat/000.jpg").write_text("not an image")  # rejected images take no place
    reporter = Recorded()
    prepared = small(folder, tmp_path / "set", encoding=encoding, reporter=reporter)
    again = {"filename": "dog/again.jpg", "in_train": "cat/003.jpg"}
    assert prepared.repeated == {"val": {"count": 1, "images": [again]}}
    assert len(reporter.warnings) == 1
    assert (
        "1 of the 6 images of val are in train as well, such as dog/again.jpg, there cat/003.jpg: errors on val"
        in (reporter.warnings[0])
    )


def test_images_that_lie_on_their_side_are_counted_and_warned_of(folder, tmp_path):
    places = {
        "a.jpg": ("train", 1),
        "b.jpg": ("train", 6),
        "c.png": ("train", 8),
        "d.tif": ("val", 3),
        "e.webp": ("val", 2),
    }
    for seed, (name, (split, orientation)) in enumerate(places.items()):
        exif = Image.Exif()
        exif[0x0112] = orientation
        pixels = np.random.default_rng(seed).integers(0, 256, (300, 260, 3), np.uint8)
        Image.fromarray(pixels).save(folder / split / "dog" / name, exif=exif)
    reporter = Recorded()
    preparation = Preparation(folder_source(folder), tmp_path / "set", shard_examples=6, reporter=reporter)
    preparation.make_part(0, len(preparation.shards))
    assert not reporter.warnings
    preparation.finish()
    (warning,) = reporter.warnings
    assert warning.startswith("4 of the 30 images are stored on their side, upside down or mirrored: their EXIF")
    small(folder, tmp_path / "upright", exif=True, reporter=reporter)
    assert reporter.warnings == [warning]


def test_many_repeated_images_are_counted_and_shards_without_digests_are_not_judged(folder, tmp_path, monkeypatch):
    for path in (folder / "train/cat").iterdir():
        (folder / "val/dog" / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(shards, "MOST_REPEATED", 2)
    found = small(folder, tmp_path / "set").repeated["val"]
    assert found["count"] == 11 and len(found["images"]) == 2
    assert all(f"cat/{image['filename'][4:]}" == image["in_train"] for image in found["images"])
    load = ShardRecord.load
    monkeypatch.setattr(ShardRecord, "load", lambda path: replace(load(path), digests=np.zeros(0, np.uint64)))
    assert "repeated" not in small(folder, tmp_path / "older").manifest


def test_the_options_that_chose_the_images_are_recorded_as_words(folder, tmp_path):
    table = tmp_path / "classes.txt"
    table.write_text("cat\ndog\n")
    splits = {"train": "train", "val": "val"}
    prepared = prepare(folder, tmp_path / "set", classes=table, splits=splits, max_bad=0.5)
    words = ["--classes", str(table), "--splits", "train=train,val=val", "--max-bad", "50%"]
    assert prepared.facts["further_options"] == words
    assert small(folder, tmp_path / "plain").facts["further_options"] == []


def test_a_png_among_the_jpegs_keeps_its_place(folder, tmp_path):
    before = [name for name, _, _ in records(small(folder, tmp_path / "before"), "train")]
    pixels = np.asarray(Image.open(folder / "train/cat/004.jpg"))
    Image.fromarray(pixels).save(folder / "train/cat/004.jpg", "PNG")
    prepared = small(folder, tmp_path / "after")
    after = list(records(prepared, "train"))
    assert [name for name, _, _ in after] == before
    image = next(image for name, _, image in after if name == "cat/004.jpg")
    square = fit_to_square((folder / "train/cat/004.jpg").read_bytes())
    assert np.abs(tf.io.decode_jpeg(image, dct_method="INTEGER_ACCURATE").numpy().astype(int) - square).mean() < 2
    assert not prepared.rejected


@pytest.mark.parametrize("allowed", [3, 0.15])
def test_more_bad_files_than_allowed_stop_it_and_leave_no_dataset(folder, tmp_path, allowed):
    spoil(folder)
    with pytest.raises(DataError, match=r"4 of 28 images cannot be used|--max-bad allows"):
        small(folder, tmp_path / "set", max_bad=3 if allowed == 3 else 0.1)
    with pytest.raises(DataError, match="not finished"):
        open_prepared(tmp_path / "set")
    assert len(small(folder, tmp_path / "set", max_bad=4 if allowed == 3 else allowed).rejected) == 4


def test_a_part_of_the_images_may_be_bad_without_what_floating_point_leaves_out():
    preparation = Preparation(OPENED, max_bad=0.29)
    preparation._check_bad([("name", "reason")] * 29)
    with pytest.raises(DataError, match="30 of 100 images cannot be used and --max-bad allows 29"):
        preparation._check_bad([("name", "reason")] * 30)


def test_a_class_without_a_usable_image_is_named_and_the_work_is_not_lost(folder, tmp_path):
    for image in (folder / "train/dog").iterdir():
        image.write_bytes(b"no")
    reporter = Recorded()
    prepared = small(folder, tmp_path / "set", reporter=reporter)
    assert reporter.warnings == ["no training image of the class dog can be used."]
    assert reporter.work == [Work("preparing", 25, done=25)], "also those that cannot be used"
    assert prepared.class_counts("train") == [11, 0]


# Opening


def test_a_dataset_is_opened_by_name_or_path_and_the_latest_is_found(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_HOME", str(tmp_path))
    root = tmp_path / "data"
    with pytest.raises(UsageError, match="alexnet prepare"):
        latest_prepared()
    small(folder, root / "newer")
    small(folder, root / "older")
    os.utime(root / "older/manifest.json", (1, 1))
    (root / "unfinished").mkdir()
    assert latest_prepared() == root / "newer"
    assert open_prepared("older").name == "older"
    assert open_prepared(root / "older").path == root / "older"
    with pytest.raises(UsageError, match=r"Prepared here: .*newer"):
        open_prepared("nothing")


@pytest.mark.parametrize("damage", ["missing", "short", "manifest", "foreign"])
def test_damage_is_a_data_error(folder, tmp_path, damage):
    out = small(folder, tmp_path / "set").path
    shard = next(out.glob("*-train.tfrecord-00001-*"))
    if damage == "missing":
        shard.unlink()
    elif damage == "short":
        shard.write_bytes(shard.read_bytes()[:-1])
    else:
        (out / "manifest.json").write_text("{" if damage == "manifest" else "{}")
    with pytest.raises(DataError, match="manifest" if damage in ("manifest", "foreign") else "00001"):
        open_prepared(out)


def test_tensorflows_full_disk_is_pythons(tmp_path):
    with pytest.raises(OSError, match="No space left") as caught, tensorflow_errors_as_os_errors(tmp_path):
        raise tf.errors.ResourceExhaustedError(None, None, "x; No space left on device")
    assert caught.value.errno == 28
