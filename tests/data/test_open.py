"""Requests for a source: what a name stands for, and options that do not apply to it."""

import inspect
import re
import sys

import pytest
from layouts import opened
from recorded import Recorded, Work

from alexnet_keras.data.sources import demo
from alexnet_keras.data.sources.open import SourceRequest, default_name, open_source
from alexnet_keras.errors import AlexNetError, DataError, UsageError


def test_progress_counts_the_images_that_are_listed_or_drawn(make_folder, tmp_path, monkeypatch):
    reporter = Recorded()
    open_source(SourceRequest(str(make_folder({"a": 3, "b": 4}))), reporter=reporter)
    monkeypatch.setattr(demo, "KINDS", demo.KINDS[:2])
    monkeypatch.setattr(demo.demo_images, "__defaults__", (2, 1))
    monkeypatch.setattr(demo.demo_source, "__kwdefaults__", {**demo.demo_source.__kwdefaults__, "train": 2, "val": 1})
    open_source(SourceRequest("demo", demo_folder=tmp_path / "demo"), reporter=reporter)
    assert reporter.work == [Work("listing", None, done=7), Work("drawing", 6, done=6)]


def test_a_request_is_all_that_is_needed(make_folder, tmp_path):
    folder = make_folder(
        {"train/cat": 2, "train/dog": 2, "train/hot dog": 2, "val/cat": 1, "val/dog": 1, "val/hot dog": 1}
    )
    (tmp_path / "list.txt").write_text("dog\nhot dog\n")
    request = SourceRequest(f"folder:{folder}", classes=tmp_path / "list.txt", limit_per_class=1)
    source = open_source(request)
    assert source.classes == ("dog", "hot dog")
    assert [len(images) for images in source.splits.values()] == [2, 2]


@pytest.mark.parametrize(
    "given, name",
    [
        ("demo", "demo"), ("/data/photos/", "photos"), ("tfds:cifar10", "cifar10"), ("tfds:a/b:1.0.0", "a"),
        ("ilsvrc:/data/ImageNet", "ImageNet"), ("synsets:x/fall11_whole.tar", "fall11_whole"), ("folder:v1.2", "v1.2"),
    ],
)  # fmt: skip
def test_the_name_of_a_preparation_comes_from_its_source(given, name):
    assert default_name(given) == name


@pytest.mark.parametrize(
    "command, words",
    [
        ("alexnet prepare photos --labels none.csv", "no file none.csv"),
        ("alexnet prepare photos --labels t.csv --splits none", "exclude each other"),
        ("alexnet prepare ilsvrc:photos --labels t.csv", "--labels is for folders"),
        ("alexnet prepare synsets:photos --splits none", "--splits is for folders"),
        ("alexnet prepare photos --partial", "--partial is for ilsvrc: sources and --labels"),
        ("alexnet prepare photos --tfds-dir x", "--tfds-dir is for tfds: sources, and photos is none"),
        ("alexnet prepare photos --class-order wnid", "--class-order wnid is for ilsvrc: sources"),
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


def test_folders_without_end_are_refused(made):
    made("a/" + "x/" * 150 + "1.jpg b/1.jpg")
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 120)
    try:
        with pytest.raises(DataError, match="folders hundreds deep"):
            opened("alexnet prepare photos")
    finally:
        sys.setrecursionlimit(before)
