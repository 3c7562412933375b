"""Decoded images in memory or on disk: the same batches, whole files, and no more than there is room for."""

import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recorded import Recorded, Work
from small_sets import COUNTS, small
from tiers import rest_slow

from alexnet_keras.data import CACHES, image_cache
from alexnet_keras.data.dataset import open_prepared
from alexnet_keras.data.image_cache import IMAGE_BYTES, cache_path, cached, free_memory
from alexnet_keras.data.pipeline import WorkerPart, training_batches
from alexnet_keras.data.preparation_directory import clear_for
from alexnet_keras.errors import UsageError
from alexnet_keras.recipes.schema import Augmentation

SINGLE = Augmentation(crop_group=1)
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def data(make_folder, tmp_path):
    """Twenty training images in four shards."""
    return small(make_folder(COUNTS), tmp_path / "dataset")


def batches(data, augmentation=SINGLE, **more):
    options = {"batch_size": 8, "crop_size": 224, "seed": 5, "epoch": 1} | more
    return [(images.numpy(), labels.numpy()) for images, labels in training_batches(data, augmentation, **options)]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for (images, labels), (images_too, labels_too) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(images, images_too)
        np.testing.assert_array_equal(labels, labels_too)


@pytest.mark.parametrize("cache", rest_slow(CACHES))
@pytest.mark.parametrize(
    ("augmentation", "more"),
    [
        (SINGLE, {}),
        (Augmentation(crop_group=4), {"first_step": 2}),
        (Augmentation(random_crop=False, flip=False), {"crop_size": 256}),
        (replace(SINGLE, crop_area=(0.08, 1.0)), {"crop_size": 64}),
        (SINGLE, {"part": WorkerPart(1, 2), "replicas": 2}),
        (SINGLE, {"order": 1}),
    ],
    ids=["single", "first-step", "centre", "crop-area", "part", "order-1"],
)
def test_batches_are_those_of_the_records_to_the_bit(prepared, tmp_path, cache, augmentation, more):
    ours = cached(prepared, cache, tmp_path if cache == "disk" else None)
    assert_same(batches(ours, augmentation, **more), batches(prepared, augmentation, **more))


def test_the_memory_is_not_copied(prepared):
    ours = cached(prepared, "memory")
    before = batches(ours)
    ours.decoded.rows[: 36 * 256] //= 2
    for (images, _), (images_too, _) in zip(batches(ours), before, strict=True):
        np.testing.assert_array_equal(images, images_too // 2)


@pytest.mark.parametrize("encoding", ["png", "raw"])
def test_images_of_every_encoding_are_cached(make_folder, tmp_path, encoding):
    data = small(make_folder(COUNTS), tmp_path / "dataset", encoding=encoding)
    assert_same(batches(cached(data, "memory")), batches(data))


def test_the_size_is_reported_before_and_the_file_has_it(data):
    reporter = Recorded()
    cached(data, "disk", reporter=reporter)
    assert "20 decoded images take 0.00 GB (196,608 bytes each)" in reporter.notes[0]
    assert reporter.work == [Work("decoding", 20, done=20)]
    assert 20 * IMAGE_BYTES < cache_path(data).stat().st_size < 20 * IMAGE_BYTES + 2000


def test_a_later_run_uses_the_file_without_reading_a_record(data, tmp_path):
    expected = batches(data)
    folder = tmp_path / "local" / "disk"
    cached(data, "disk", folder)
    for shard in data.splits["train"]:
        shard.path.write_bytes(bytes(shard.path.stat().st_size))
    reporter = Recorded()
    again = cached(open_prepared(data.path), "disk", folder, reporter)
    assert reporter.notes == [f"Using the decoded images in {cache_path(data, folder)}."] and not reporter.work
    assert_same(batches(again), expected)
    assert cache_path(data, folder).parent == folder


def test_a_file_that_nobody_may_write_is_read(data):
    cached(data, "disk")
    cache_path(data).chmod(0o444)
    assert not cached(data, "disk").decoded.rows.flags.writeable
    assert_same(batches(cached(data, "disk")), batches(data))


def test_a_file_that_is_damaged_or_removed_is_made_again(data):
    path, expected = cache_path(data), batches(data)
    cached(data, "disk")
    whole = path.read_bytes()
    other_labels = np.load(path)
    other_labels[20 * 256 :] = 0
    for damage in (
        lambda: path.write_bytes(whole[:-1]),
        lambda: path.write_bytes(b"nothing"),
        lambda: np.save(path, np.zeros((7, 768), np.uint8)),
        lambda: np.save(path, other_labels),
        path.unlink,
    ):
        damage()
        assert_same(batches(cached(data, "disk")), expected)
        assert path.read_bytes() == whole


def test_it_can_be_removed_while_it_is_read(data):
    ours = cached(data, "disk")
    cache_path(data).unlink()
    assert_same(batches(ours), batches(data))


def test_it_belongs_to_the_fingerprint_and_goes_when_the_dataset_is_prepared_again(data, make_folder, tmp_path):
    cached(data, "disk")
    other = small(make_folder(COUNTS, "others"), tmp_path / "other", seed=1)
    assert cache_path(other, data.path) != cache_path(data)
    clear_for(data.path, {}, "digest", overwrite=True)
    assert not cache_path(data).exists()


@pytest.mark.parametrize("cache", CACHES)
def test_what_has_no_room_is_refused_in_one_sentence_before_anything_is_read(data, monkeypatch, cache):
    monkeypatch.setattr(image_cache, "free_memory", lambda: 20 * IMAGE_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 20 * IMAGE_BYTES))
    monkeypatch.setattr(image_cache, "_fill", None)
    with pytest.raises(UsageError, match=r"20 decoded images take 0\.00 GB .* 0\.00 GB free: (use|choose) "):
        cached(data, cache)
    assert not list(data.path.glob("*.npy"))


def test_wrong_arguments_are_refused(data):
    with pytest.raises(UsageError, match="memory or disk"):
        cached(data, "tape")
    with pytest.raises(UsageError, match="--cache-dir goes with --cache disk"):
        cached(data, "memory", "somewhere")
    assert cached(data, None) is data


def test_an_interruption_leaves_no_file(data, monkeypatch, tmp_path):
    class Stopped(Recorded):
        def on_advance(self, work):
            raise KeyboardInterrupt

    monkeypatch.setattr(image_cache, "BATCH", 4)
    with pytest.raises(KeyboardInterrupt):
        cached(data, "disk", tmp_path / "local", reporter=Stopped())
    assert [path.suffix for path in (tmp_path / "local").iterdir()] == [".lock"]


def test_the_limit_of_a_control_group_counts_without_the_files_it_keeps(monkeypatch, tmp_path):
    (tmp_path / "box").mkdir()
    group = {"memory.max": "9000\n", "memory.current": "6000\n", "memory.stat": "anon 9\nactive_file 500\n"}
    for name, text in group.items():
        (tmp_path / "box" / name).write_text(text)
    (tmp_path / "group").write_text("0::/box\n")
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    4 kB\n")
    for name, path in (("_AVAILABLE", "meminfo"), ("_GROUP", "group"), ("_GROUPS", "")):
        monkeypatch.setattr(image_cache, name, tmp_path / path)
    assert free_memory() == 3500
    (tmp_path / "box/memory.max").write_text("max\n")
    assert free_memory() == 4096
    (tmp_path / "meminfo").unlink()
    assert free_memory() is None


WRITER = """
import sys
from recorded import Recorded
from alexnet_keras.data import image_cache
from alexnet_keras.data.dataset import open_prepared

class Telling(Recorded):
    def on_advance(self, work):
        print("reading", flush=True)
        sys.stdin.readline()

image_cache.BATCH = 4
image_cache.cached(open_prepared(sys.argv[1]), "disk", reporter=Telling())
print("written", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_killed_writer_and_two_at_once_leave_one_whole_file(data):
    def writer():
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        return subprocess.Popen(
            [sys.executable, "-c", WRITER, str(data.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    killed = writer()
    assert killed.stdout.readline() == "reading\n"
    assert not cache_path(data).exists(), "nothing under its name before it is whole"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    first, second = writer(), writer()
    for process in (first, second):  # either may be the one that decodes
        process.stdin.write("\n" * 9)
        process.stdin.flush()
    printed = [process.communicate()[0] for process in (first, second)]
    assert first.returncode == second.returncode == 0
    assert sorted(text.count("reading") for text in printed) == [0, 5], "one of them decoded"
    assert not list(data.path.glob(".partial-*"))
    assert_same(batches(cached(data, "disk")), batches(data))
