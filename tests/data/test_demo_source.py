"""The demo set: repeatable, of varying size, and with classes that need colour, shape and stripes."""

import io
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from alexnet_keras.data.sources.demo import KINDS, LOCK, Kind, demo_images, demo_source, draw
from alexnet_keras.data.sources.open import SourceRequest, open_source
from alexnet_keras.errors import UsageError
from alexnet_keras.storage.locks import locked


def test_an_image_depends_on_seed_split_class_and_number_alone():
    kind = Kind("red", "disc", "vertical")
    first = draw(kind, 3, "train", 5)
    np.testing.assert_array_equal(draw(kind, 3, "train", 5), first)
    others = [
        draw(kind, 4, "train", 5),
        draw(kind, 3, "val", 5),
        draw(kind, 3, "train", 6),
        draw(Kind("blue", "disc", "vertical"), 3, "train", 5),
    ]
    assert all(other.shape != first.shape or (other != first).any() for other in others)


def test_each_class_differs_from_another_in_one_thing_only():
    assert len(set(KINDS)) == 12
    for kind in KINDS:
        for field, value in (("color", {"red", "blue"}), ("stripes", {"horizontal", "vertical"})):
            assert {k._replace(**{field: getattr(kind, field)}) for k in KINDS} <= set(KINDS)
            assert {getattr(k, field) for k in KINDS} == value


def test_the_files_are_ordinary_images_of_varying_size(tmp_path):
    source = demo_source(tmp_path / "demo-pictures", train=2, val=1)
    assert source.given == "demo"
    assert {split: len(images) for split, images in source.splits.items()} == {"train": 24, "val": 12}
    assert source.classes == tuple(sorted(kind.folder for kind in KINDS))
    sizes = {Image.open(io.BytesIO(source.splits["train"].read(i))).size for i in range(24)}
    assert len(sizes) > 12
    assert all(200 <= side <= 420 for size in sizes for side in size)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    found = [demo_source(tmp_path / str(number), seed=seed, train=1, val=1) for number, seed in enumerate((7, 7, 8))]
    first, same, other = ([s.splits["train"].read(i) for i in range(12)] for s in found)
    assert first == same
    assert not set(first) & set(other)


def test_drawing_continues_where_it_was_interrupted(tmp_path):
    folder = tmp_path / "pictures"
    drawn = []

    def interrupt(number):
        drawn.append(number)
        if len(drawn) == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo_source(folder, train=2, val=1, advance=interrupt)
    there = {path: path.stat().st_mtime_ns for path in folder.rglob("[0-9]*.jpg")}
    assert 10 <= len(there) < 36
    again = demo_source(folder, train=2, val=1)
    assert {path: path.stat().st_mtime_ns for path in there} == there
    whole = demo_source(tmp_path / "whole", train=2, val=1)
    assert again.digest() == whole.digest()


@pytest.mark.slow
def test_images_of_another_seed_are_refused_unless_overwritten(tmp_path):
    demo_source(tmp_path / "p", seed=1, train=1, val=1)
    with pytest.raises(UsageError, match="--overwrite"):
        demo_source(tmp_path / "p", seed=2, train=1, val=1)
    fresh = demo_source(tmp_path / "fresh", seed=2, train=1, val=1)
    assert demo_source(tmp_path / "p", seed=2, train=1, val=1, overwrite=True).digest() == fresh.digest()


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(UsageError, match="something else"):
        demo_source(tmp_path, train=1, val=1)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_images_are_drawn_by_one_process_at_a_time(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    other = Thread(target=demo_source, args=(folder,), kwargs={"train": 1, "val": 1})
    with locked(folder / LOCK, None):
        other.start()
        other.join(0.3)
        assert other.is_alive() and not (folder / "train").exists()
    other.join()
    assert len(list(folder.rglob("*.jpg"))) == 24


def test_the_default_size():
    assert demo_images() == 1500


def test_a_request_has_to_say_where_to_draw():
    with pytest.raises(UsageError, match="demo_folder"):
        open_source(SourceRequest("demo"))
