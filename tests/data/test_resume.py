"""A preparation that was interrupted, or is there already: the same bytes in the end, and nobody's files lost."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from recorded import Recorded, Work
from small_sets import contents, small

from alexnet_keras.data.dataset import open_prepared
from alexnet_keras.data.preparation import Preparation, prepare
from alexnet_keras.data.sources.demo import demo_source
from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.errors import AlexNetError, DataError, UsageError
from alexnet_keras.storage.locks import locked


@pytest.mark.slow
def test_interrupted_before_any_rename_it_goes_on_and_ends_with_the_same_bytes(folder, tmp_path, monkeypatch):
    whole = contents(small(folder, tmp_path / "whole/set").path)
    out = tmp_path / "cut/set"
    rename, renamed = Path.replace, []

    def interrupted(self, target):
        if len(renamed) >= allowed:
            raise KeyboardInterrupt
        renamed.append(Path(target).name)
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    allowed = -1
    while allowed < 30:  # one rename more each time, each starting from what the last one left
        allowed += 1
        renamed.clear()
        try:
            small(folder, out)
        except KeyboardInterrupt:
            with pytest.raises((DataError, UsageError)):
                open_prepared(out)
        else:
            break
    assert allowed > 3
    assert contents(out) == whole


def test_finished_shards_are_not_made_again(folder, tmp_path, monkeypatch):
    out = tmp_path / "set"
    rename = Path.replace

    def stop_at_manifest(self, target):
        if Path(target).name == "manifest.json":
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop_at_manifest)
        with pytest.raises(KeyboardInterrupt):
            small(folder, out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.tfrecord-*")}
    assert len(before) == 5
    reporter = Recorded()
    small(folder, out, reporter=reporter)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "5 of 5 shards are done" in reporter.notes[-1]
    assert reporter.work == [Work("preparing", 25, done=25)]


KILLED = """
import sys
from pathlib import Path
from alexnet_keras.data.preparation import Preparation, prepare
from alexnet_keras.data.sources.demo import demo_source
from alexnet_keras.data.sources.folder import folder_source
print("ready", flush=True)
prepare(folder_source(Path(sys.argv[1])), Path(sys.argv[2]), shard_examples=4)
"""


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bytes(make_folder, tmp_path):
    """ALEXNET_KILLS=20 for more of them; the first are early, the last late."""
    folder = make_folder({"train/a": 60, "train/b": 60, "val/a": 4, "val/b": 4})
    whole = contents(prepare(folder_source(folder), tmp_path / "whole/set", shard_examples=4).path)
    rng = np.random.default_rng()
    kills = int(os.environ.get("ALEXNET_KILLS", 2))
    killed = 0
    for number in range(kills):
        out = tmp_path / f"killed{number}/set"
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(folder), str(out)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        shards = 1 + number * 30 // kills
        while child.poll() is None and len(list(out.glob("*.tfrecord-*"))) < shards:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        child.send_signal(signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
        child.stdout.close()
        if not (out / "manifest.json").exists():
            with pytest.raises(DataError, match="not finished"):
                open_prepared(out)
        assert contents(prepare(folder_source(folder), out, shard_examples=4).path) == whole
    assert killed


# What is there already


def test_the_same_again_is_found_and_left_alone(folder, tmp_path):
    small(folder, tmp_path / "set")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "set").iterdir()}
    reporter = Recorded()
    small(folder, tmp_path / "set", reporter=reporter)
    assert "already prepared" in reporter.notes[0]
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "set").iterdir()} == before


def test_other_options_are_refused_with_what_differs_and_overwrite_replaces(folder, tmp_path):
    out = tmp_path / "set"
    small(folder, out)
    before = contents(out)
    with pytest.raises(DataError, match="limit_per_class is none there and 2 here"):
        prepare(str(folder), out, limit_per_class=2, shard_examples=6)
    with pytest.raises(DataError, match="seed is 0 there and 9 here"):
        small(folder, out, seed=9)
    with pytest.raises(DataError, match="shard_examples is 6 there and 3 here"):
        prepare(folder_source(folder), out, shard_examples=3)
    assert contents(out) == before
    again = prepare(folder_source(folder), out, seed=9, shard_examples=3, overwrite=True)
    fresh = prepare(folder_source(folder), tmp_path / "fresh/set", seed=9, shard_examples=3)
    assert contents(again.path) == contents(fresh.path)


def test_new_words_of_classes_replace_the_old_ones_and_nothing_else(folder, tmp_path):
    out, (one, two) = tmp_path / "set", sorted(path.name for path in (folder / "train").iterdir())[:2]
    table = tmp_path / "names.txt"

    def again(text):
        table.write_text(text, encoding="utf-8")
        reporter = Recorded()
        return prepare(str(folder), out, classes=table, reporter=reporter), reporter.notes[-1]

    first, _ = again(f"{one}\n{two}\tof old\n")
    before = contents(out)
    data, note = again(f"{one}\tnew, newer\n{two}\tof old\n")
    assert data.words == ("new, newer", "of old") == open_prepared(out).words
    assert note.endswith(f'only names have changed: "{one} is new, newer now".')
    assert data.fingerprint == first.fingerprint and data.facts["titles"] == ["new, newer", "of old"]
    assert {name: content for name, content in contents(out).items() if before[name] != content}.keys() == {
        "manifest.json"
    }
    assert again(f"{one}\tnew, newer\n{two}\tof old\n")[1].endswith("--overwrite prepares them again.")
    assert data.facts["further_options"] == ["--classes", str(table)]


def test_words_are_not_replaced_by_names(folder, tmp_path):
    out, table = tmp_path / "set", tmp_path / "names.txt"
    names = sorted(path.name for path in (folder / "train").iterdir())
    table.write_text("".join(f"{name}\tword {name}\n" for name in names), encoding="utf-8")
    words = prepare(str(folder), out, classes=table, reporter=Recorded()).words
    assert words[0].startswith("word") and prepare(str(folder), out, reporter=Recorded()).words == words


def test_demo_images_are_not_drawn_anew_under_a_preparation(tmp_path):
    out, pictures = tmp_path / "set", tmp_path / "set-pictures"
    demo_source(pictures, train=1, val=1)
    before = {path: path.read_bytes() for path in pictures.rglob("*.jpg")}
    out.mkdir()
    with locked(out / ".lock", None), pytest.raises(AlexNetError, match="is preparing or reading"):
        prepare("demo", out, seed=1, overwrite=True, reporter=Recorded())
    assert {path: path.read_bytes() for path in pictures.rglob("*.jpg")} == before


@pytest.mark.parametrize("damage", ["a byte", "an index"])
def test_overwrite_prepares_a_damaged_dataset_again(folder, tmp_path, damage):
    out = tmp_path / "set"
    small(folder, out)
    whole = contents(out)
    shard = next(out.glob("*.tfrecord-*"))
    if damage == "a byte":
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    else:
        (out / "index.npz").unlink()
    small(folder, out, overwrite=True)
    assert contents(out) == whole


def test_overwrite_begins_an_unfinished_preparation_anew_and_goes_on_with_it(folder, tmp_path, monkeypatch):
    out, made, rename = tmp_path / "set", [], Path.replace

    def stops_after_two(self, target):
        if re.search(r"\.tfrecord-\d{5}-of-\d{5}$", Path(target).name):
            if len(made) == 2:
                raise KeyboardInterrupt
            made.append(target)
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", stops_after_two)
    for options, finished in (({}, 2), ({"overwrite": True}, 2), ({"overwrite": True}, 4)):
        made.clear()
        before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tfrecord-*")}
        with pytest.raises(KeyboardInterrupt):
            small(folder, out, **options)
        after = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tfrecord-*")}
        assert len(after) == finished and (finished == 2 or before.items() <= after.items())
    monkeypatch.undo()
    assert contents(small(folder, out).path) == contents(small(folder, tmp_path / "fresh/set").path)


def test_a_part_replaces_no_finished_dataset(folder, tmp_path):
    out = tmp_path / "set"
    small(folder, out)
    before = contents(out)

    def part(**options):
        chosen = Preparation(folder_source(folder), out, overwrite=True, shard_examples=6, **options)
        chosen.make_part(0, 1)

    part()  # nothing to do
    with pytest.raises(DataError, match="parts replace no finished dataset"):
        part(seed=9)
    assert contents(out) == before


def test_a_disk_that_fails_for_a_while_costs_no_image(folder, tmp_path):
    source, failing = folder_source(folder), [True]
    images = source.splits["train"]

    def fails(position):
        if failing[0] and position == 3:
            raise OSError(errno.EIO, "Input/output error", images.filenames[3])
        return images.read(position)

    refused = replace(source, splits={**source.splits, "train": replace(images, read=fails)})
    with pytest.raises(
        DataError, match=r"cannot be read \(.*Input/output error.*once it can, the same command goes on"
    ):
        prepare(refused, tmp_path / "set", shard_examples=6)
    failing[0] = False
    made = prepare(refused, tmp_path / "set", shard_examples=6)
    assert made.examples("train") == len(images)
    assert contents(made.path) == contents(small(folder, tmp_path / "fresh/set").path)


def test_other_images_are_refused(folder, tmp_path):
    small(folder, tmp_path / "set")
    (folder / "train/cat/000.jpg").unlink()
    with pytest.raises(DataError, match="images are not the same"):
        small(folder, tmp_path / "set")


def test_an_interrupted_overwrite_can_be_run_again(folder, tmp_path, monkeypatch):
    out = tmp_path / "set"
    small(folder, out)
    unlink = Path.unlink

    def stop(self, missing_ok=False):
        if ".tfrecord-" in self.name and "partial" not in self.name:
            raise KeyboardInterrupt
        return unlink(self, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", stop)
        with pytest.raises(KeyboardInterrupt):
            small(folder, out, seed=9, overwrite=True)
    with pytest.raises(DataError, match="not finished"):
        open_prepared(out)
    small(folder, out, seed=9)
    assert contents(out) == contents(small(folder, tmp_path / "fresh/set", seed=9).path)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_directory_that_is_not_ours_is_left_alone(folder, tmp_path, overwrite):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.tex").write_text("years of work")
    with pytest.raises(UsageError, match="not empty and not a prepared dataset"):
        small(folder, out, overwrite=overwrite)
    assert contents(out).keys() == {"chapter1.tex"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_stops_it_and_it_goes_on_once_there_is_room(folder, tmp_path, monkeypatch):
    out = tmp_path / "set"
    writer = tf.io.TFRecordWriter
    monkeypatch.setattr(tf.io, "TFRecordWriter", lambda path: writer("/dev/full" if "00002-of" in path else path))
    with pytest.raises(OSError, match="No space left"):
        small(folder, out)
    with pytest.raises(DataError, match="not finished"):
        open_prepared(out)
    monkeypatch.undo()
    assert contents(small(folder, out).path) == contents(small(folder, tmp_path / "fresh/set").path)
