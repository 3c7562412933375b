"""Batches: crops and flips against hand-made images, order and randomness."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from alexnet_keras.data import pipeline
from alexnet_keras.data.dataset import open_prepared
from alexnet_keras.data.image_cache import cached
from alexnet_keras.data.pipeline import (
    WorkerPart,
    epoch_order,
    evaluation_batches,
    images_at,
    iterate,
    steps_per_epoch,
    training_batches,
)
from alexnet_keras.data.preparation import prepare
from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.data.verify import verify
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.recipes.schema import Augmentation

PLAIN = Augmentation(random_crop=False, flip=False)
SINGLE = Augmentation(crop_group=1)
FIRST_PLACES = [(27, 2, True), (28, 2, True), (27, 4, True), (7, 8, True)]  # of seed 0, epoch 0


@pytest.fixture(scope="module")
def ramps(tmp_path_factory):
    """Images that tell where a crop was: red grows by one a column, green by one a row; blue names the image."""
    root = tmp_path_factory.mktemp("ramps")
    rows, columns = np.mgrid[0:256, 0:256]
    for split, count in (("train", 20), ("val", 3)):
        for name in ("x", "y"):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                blue = np.full_like(rows, 10 + 10 * index + 5 * (name == "y"))
                pixels = np.stack([columns, rows, blue], -1).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{index:02}.png")
    return prepare(folder_source(root), tmp_path_factory.mktemp("data") / "ramps", seed=0)


def batches(data, augmentation=SINGLE, *, batch_size=8, seed=0, epoch=0, **more):
    dataset = training_batches(data, augmentation, batch_size=batch_size, crop_size=224, seed=seed, epoch=epoch, **more)
    images, labels = zip(*((images.numpy(), labels.numpy()) for images, labels in dataset), strict=True)
    return np.concatenate(images), np.concatenate(labels)


@pytest.fixture(scope="module")
def where(ramps):
    """A function from a crop to its (top, left, flipped), exact to the pixel: the crop is found in its image."""
    by_name = {
        name_of(image): image for images, *_ in evaluation_batches(ramps, "train", 40) for image in images.numpy()
    }
    assert len(by_name) == 40

    def find(crop):
        whole = by_name[name_of(crop)]
        found = [
            (top, left, flipped)
            for flipped in (False, True)
            for top in range(33)
            for left in range(33)
            if np.array_equal((crop[:, ::-1] if flipped else crop)[112], whole[top + 112, left : left + 224])
        ]
        assert len(found) == 1
        top, left, flipped = found[0]
        cut = whole[top : top + 224, left : left + 224]
        np.testing.assert_array_equal(crop[:, ::-1] if flipped else crop, cut)
        return found[0]

    return find


def name_of(image):
    return round(float(image[..., 2].mean()) / 5)


def test_without_augmentation_the_crop_is_the_centre(ramps, where):
    images, _ = batches(ramps, PLAIN)
    assert {where(image) for image in images} == {(16, 16, False)}
    rows, columns = np.mgrid[16:240, 16:240]
    assert np.abs(images[0][..., 0].astype(int) - columns).max() <= 4
    assert np.abs(images[0][..., 1].astype(int) - rows).max() <= 4


@pytest.mark.slow
def test_random_crops_stay_inside_and_reach_both_ends_and_half_are_flipped(ramps, where):
    found = [where(image) for epoch in range(12) for image in batches(ramps, epoch=epoch)[0]]
    tops, lefts, flips = zip(*found, strict=True)
    assert min(tops) >= 0 and max(tops) <= 32 and min(lefts) >= 0 and max(lefts) <= 32
    assert len(set(tops)) > 25 and len(set(lefts)) > 25
    assert {min(tops), min(lefts)} <= {0, 1} and {max(tops), max(lefts)} <= {31, 32}
    assert 0.4 < np.mean(flips) < 0.6


def test_the_source_shares_one_crop_and_flip_among_consecutive_images(ramps, where):
    images, _ = batches(ramps, Augmentation(crop_group=8))
    groups = [{where(image) for image in images[start : start + 8]} for start in range(0, len(images), 8)]
    assert all(len(group) == 1 for group in groups)
    assert len(set.union(*groups)) > 1


def test_an_epoch_holds_every_image_once_and_a_full_last_batch(ramps):
    images, labels = batches(ramps, PLAIN, batch_size=16)
    blues = [name_of(image) for image in images]
    assert len(images) == 48 == 16 * steps_per_epoch(40, 16)
    assert len(set(blues[:40])) == 40
    assert blues[40:] == blues[:8]  # filled up from the epoch's start
    assert sorted(labels[:40]) == [0] * 20 + [1] * 20
    assert [blue % 2 for blue in blues] == labels.tolist()  # label and image belong together


def test_a_seed_and_epoch_repeat_exactly_and_others_differ(ramps):
    first, again, next_epoch, other = (
        batches(ramps, seed=seed, epoch=epoch)[0] for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, next_epoch)
    assert not np.array_equal(first, other)


def test_the_crop_of_an_example_does_not_depend_on_the_batch_size(ramps):
    small, large = (batches(ramps, batch_size=size)[0][:40] for size in (4, 20))
    np.testing.assert_array_equal(small, large)


def test_evaluation_gives_whole_images_in_stored_order_with_names(ramps):
    runs = [list(evaluation_batches(ramps, "val", 4)) for _ in range(2)]
    assert [len(labels) for _, labels, _ in runs[0]] == [4, 2]
    for (images, labels, names), (images_again, _, _) in zip(*runs, strict=True):
        np.testing.assert_array_equal(images, images_again)
        assert images.shape[1:] == (256, 256, 3)
        for label, name in zip(labels.numpy(), names.numpy(), strict=True):
            assert ramps.classes[label] in name.decode().split("/")


def test_the_recipe_decides_whether_crops_are_random(ramps, where):
    only_flips = replace(PLAIN, flip=True)
    assert {where(image)[:2] for image in batches(ramps, only_flips)[0]} == {(16, 16)}


def test_a_damaged_record_is_reported(ramps, tmp_path):
    shutil.copytree(ramps.path, tmp_path / "copy")
    copy = open_prepared(tmp_path / "copy")
    for split in ("train", "val"):
        shard = copy.splits[split][0].path
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 0xFF
        shard.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        list(evaluation_batches(copy, "val", 4))
    dataset = training_batches(copy, SINGLE, batch_size=8, crop_size=224, seed=0, epoch=0)
    with pytest.raises(DataError, match=r"A record of .*copy is damaged"):
        list(iterate(copy, dataset))


def test_crops_of_random_size_have_the_areas_and_shapes_that_were_asked_for(ramps):
    images, _ = batches(ramps, replace(SINGLE, crop_area=(0.25, 0.5)))
    assert images.shape[1:] == (224, 224, 3)
    # Red grows by one a column and green by one a row, so what they span is the crop's width and height.
    spans = [(np.ptp(image[112, 8:-8, 0].astype(int)), np.ptp(image[8:-8, 112, 1].astype(int))) for image in images]
    widths, heights = (np.array(each) * 224 / 208 for each in zip(*spans, strict=True))
    areas, ratios = widths * heights / 256**2, widths / heights
    assert 0.22 < areas.min() < 0.32
    assert 0.43 < areas.max() < 0.54
    assert 0.70 < ratios.min() < 0.85
    assert 1.18 < ratios.max() < 1.42
    corners = {(int(image[..., 0].min()), int(image[..., 1].min())) for image in images}
    assert len(corners) > 30


def test_a_crop_of_the_whole_image_shrinks_it(ramps):
    images, _ = batches(ramps, replace(PLAIN, crop_area=(1.0, 1.0)))
    square = [image for image in images if np.ptp(image[112, :, 0].astype(int)) > 250]
    assert square, "some shapes are close to a square"
    expected = (np.arange(224) + 0.5) * 256 / 224 - 0.5
    assert np.abs(square[0][112, :, 0] - expected).max() <= 6  # JPEG, and a shape that is not quite a square


def test_without_crops_of_random_size_the_draws_are_what_they_were(ramps, where):
    """A run that began before there were such crops, or with 0.1, continues with the same ones in the same order."""
    assert [where(image) for image in batches(ramps, order=1)[0][:4]] == FIRST_PLACES


def test_an_order_of_a_later_version_is_refused(ramps):
    with pytest.raises(UsageError, match=r"order must be one of 1, 2. Received: order=3"):
        batches(ramps, order=3)


def test_the_order_is_a_function_of_seed_and_epoch_whatever_tensorflow_was_seeded_with(ramps):
    found = []
    for seed in (1, 2):
        tf.random.set_seed(seed)
        found.append([name_of(image) for image in batches(ramps, PLAIN, epoch=3)[0]])
    tf.random.set_seed(None)  # the order of 0.1 depends on it
    assert found[0] == found[1]
    assert found[0] != [name_of(image) for image in batches(ramps, PLAIN, epoch=4)[0]]
    assert epoch_order(6, 2, seed=0, epoch=0).tolist() == [5, 4, 2, 1, 0, 3], "with every version of NumPy"


def test_the_images_of_a_shard_meet_in_a_batch_as_often_as_in_a_true_shuffle():
    """Of 100,000 images in shards of 100: the share of pairs in a batch that are of one shard, to that of any pairs.

    It was 65 where records were shuffled in a window of 256 MiB. Over 100 epochs its standard deviation is 0.5 %.
    """
    examples, batch, shard, epochs = 100_000, 100, 100, 100
    met = 0
    for epoch in range(epochs):
        shards = epoch_order(examples, batch, seed=1, epoch=epoch).reshape(-1, batch) // shard
        ordered = np.sort(shards, axis=1)
        _, counts = np.unique((np.arange(len(ordered))[:, None] * (examples // shard) + ordered), return_counts=True)
        met += (counts * (counts - 1) // 2).sum()
    pairs = epochs * (examples // batch) * batch * (batch - 1) // 2
    assert met / pairs / ((shard - 1) / (examples - 1)) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("order", [1, 2])
def test_a_later_step_and_the_parts_of_workers_are_parts_of_the_same_stream(ramps, order):
    whole = [name_of(image) for image in batches(ramps, PLAIN, order=order)[0]]
    assert [name_of(image) for image in batches(ramps, PLAIN, first_step=2, order=order)[0]] == whole[16:]
    parts = [batches(ramps, PLAIN, part=WorkerPart(index, 2), order=order)[0] for index in (0, 1)]
    joined = [name_of(image) for start in range(0, 20, 4) for part in parts for image in part[start : start + 4]]
    assert joined == whole


def test_a_worker_reads_no_record_but_its_own(ramps, monkeypatch):
    """Neither in training nor in validation."""
    read = []
    from_offset = pipeline._from_offset

    def counted(path, offset, buffer_size):
        records = from_offset(path, offset, buffer_size)
        return records.map(lambda record: tf.numpy_function(lambda r: read.append(r) or r, [record], tf.string))

    monkeypatch.setattr(pipeline, "_from_offset", counted)
    batches(ramps, PLAIN, part=WorkerPart(1, 4))
    assert len(read) == 10, "of 40 images a quarter"
    read.clear()
    seen = [evaluation_batches(ramps, "train", 40, WorkerPart(index, 3)) for index in range(3)]
    names = [[name_of(image) for images, *_ in share for image in images.numpy()] for share in seen]
    assert [len(share) for share in names] == [13, 13, 14] and len({name for share in names for name in share}) == 40
    assert len(read) == 40
    read.clear()
    (rest,) = evaluation_batches(ramps, "train", 40, first=33)
    assert [name_of(image) for image in rest[0].numpy()] == names[2][-7:] and len(read) == 7


def test_a_shard_that_is_gone_is_reported_as_a_file(ramps, tmp_path):
    data = open_prepared(shutil.copytree(ramps.path, tmp_path / "set"))
    stream = training_batches(data, PLAIN, batch_size=8, crop_size=224, seed=0, epoch=0)
    data.splits["train"][0].path.unlink()
    with pytest.raises(
        DataError, match=r"A file of .*set is gone, or cannot be read: `alexnet prepare --verify .*set` names it"
    ):
        list(iterate(data, stream))


def test_a_dataset_of_0_1_has_its_records_found_in_its_shards(ramps, tmp_path):
    copy = shutil.copytree(ramps.path, tmp_path / "set")
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["files"]["index.npz"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    (copy / "index.npz").unlink()
    old = open_prepared(copy)
    for found, known in zip(old.record_lengths("train"), ramps.record_lengths("train"), strict=True):
        np.testing.assert_array_equal(found, known)
    shard = old.splits["train"][0].path
    content = bytearray(shard.read_bytes())
    content[1] ^= 1  # of the length of the first record
    shard.write_bytes(content)
    with pytest.raises(DataError, match=r"A record of .* is damaged"):
        open_prepared(copy).record_lengths("train")


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.99])
def test_a_damaged_index_is_reported(ramps, tmp_path, place):
    copy = shutil.copytree(ramps.path, tmp_path / "set")
    content = bytearray((copy / "index.npz").read_bytes())
    content[int(place * len(content))] ^= 255
    (copy / "index.npz").write_bytes(content)
    try:
        found = open_prepared(copy).record_lengths("train")
    except DataError as error:
        assert "index.npz is damaged" in str(error)
    else:
        for one, other in zip(found, ramps.record_lengths("train"), strict=True):
            np.testing.assert_array_equal(one, other)


def test_no_dataset_is_tuned_while_it_is_read(images, tmp_path, monkeypatch):
    """The end of one that is tuned can wait for the tuning thread's next turn, a minute later."""
    plain, tuned = tf.data.Dataset.__iter__, {}

    def watched(dataset):
        tuned.setdefault(doing, []).append(dataset.options().autotune.enabled)
        return plain(dataset)

    monkeypatch.setattr(tf.data.Dataset, "__iter__", watched)
    doing = "prepare"
    data = prepare(folder_source(images), tmp_path / "set", seed=0)
    doing = "train"
    for order in (1, pipeline.ORDER):
        list(iterate(data, training_batches(data, SINGLE, batch_size=18, crop_size=224, seed=0, epoch=0, order=order)))
    doing = "train on decoded images"
    list(iterate(data, training_batches(cached(data, "memory"), SINGLE, batch_size=18, crop_size=224, seed=0, epoch=0)))
    doing = "evaluate"
    assert len(list(evaluation_batches(data, "val", 4, WorkerPart(1, 2)))) == 2
    doing = "look at some"
    assert len(list(images_at(data, "val", [0, 5]))) == 2
    doing = "verify"
    assert not verify(data).problems
    parts = ("prepare", "train", "train on decoded images", "evaluate", "look at some", "verify")
    assert {name: set(found) for name, found in tuned.items()} == {part: {False} for part in parts}
