"""Rows 2.11, 2.12 and 2.13: where crops are, who shares them, and which part of the mean image is subtracted.

The images tell where a crop was: red is the column and green the row of every pixel, stored without loss.
tests/evaluation/test_ten_crops.py has the order of the ten crops of 224 pixels, tests/evaluation/test_errors.py that
their probabilities are averaged, and tests/data/test_pipeline.py crops and order under other batch sizes.
"""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from narrow import narrow
from PIL import Image

from alexnet_keras import AlexNet, load_recipe
from alexnet_keras.data.pipeline import training_batches
from alexnet_keras.data.preparation import prepare
from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.data.statistics import PixelSums
from alexnet_keras.evaluation.crops import centre, ten_crop
from alexnet_keras.recipes.schema import Augmentation


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A function from an augmentation to the (top, left, flipped) of an epoch's 40 crops, in order."""
    root = tmp_path_factory.mktemp("grid")
    rows, columns = np.mgrid[0:256, 0:256].astype(np.uint8)
    for split, count in (("train", 20), ("val", 1)):
        for name in ("x", "y"):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = np.stack([columns, rows, np.full_like(rows, index)], -1)
                Image.fromarray(pixels).save(root / split / name / f"{index:02}.png")
    data = prepare(folder_source(root), tmp_path_factory.mktemp("data") / "grid", encoding="raw")

    def found(augmentation, *, batch_size=8, crop_size=224, **options):
        options = {"seed": 0, "epoch": 0, **options}
        batches = training_batches(data, augmentation, batch_size=batch_size, crop_size=crop_size, **options)
        corners = np.concatenate([images.numpy()[:, 0, [0, -1], :2] for images, _ in batches]).astype(int)
        (left_ends, right_ends), tops = corners[:, :, 0].T, corners[:, 0, 1]
        assert set(abs(right_ends - left_ends)) == {crop_size - 1}
        flipped = right_ends < left_ends
        return list(zip(tops, np.where(flipped, right_ends, left_ends), flipped, strict=True))

    return found


def test_offsets_are_0_to_32_in_each_axis_and_with_flips_there_are_2178_views(places):
    found = [place for epoch in range(8) for place in places(Augmentation(crop_group=1), batch_size=40, epoch=epoch)]
    tops, lefts, flips = (np.array(each) for each in zip(*found, strict=True))
    assert set(tops) == set(lefts) == set(range(33)), "both ends among them"
    assert len(set(tops)) * len(set(lefts)) * len(set(flips)) == 2178
    assert len(found) == 320
    for offsets in (tops, lefts):  # chi squared with 32 degrees of freedom: 62.5 is exceeded once in a thousand times
        assert np.sum((np.bincount(offsets, minlength=33) - 320 / 33) ** 2) / (320 / 33) < 62.5
    assert np.mean(flips) == pytest.approx(0.5, abs=0.07)
    for pair in ((tops, lefts), (tops, flips), (lefts, flips)):
        assert abs(np.corrcoef(*pair)[0, 1]) < 0.14, "each is drawn by itself"


def test_a_crop_of_227_pixels_has_offsets_0_to_29(places):
    found = [
        place
        for epoch in range(3)
        for place in places(Augmentation(crop_group=1), batch_size=40, crop_size=227, epoch=epoch)
    ]
    tops, lefts, _ = zip(*found, strict=True)
    assert set(tops) | set(lefts) == set(range(30))


@pytest.mark.parametrize(
    ("group", "batch_size", "sizes"),
    [
        (3, 8, [3] * 13 + [1]),  # the third group begins in one batch and ends in the next
        (32, 40, [32, 8]),
        (32, 8, [32, 8]),  # four batches share one view
        (7, 20, [7] * 5 + [5]),
        (1, 8, [1] * 40),
    ],
)
def test_one_crop_and_flip_serve_a_group_of_consecutive_images_whatever_the_batch(group, batch_size, sizes, places):
    found = places(Augmentation(crop_group=group), batch_size=batch_size)
    assert len(found) == sum(sizes) == 40
    starts = np.cumsum([0, *sizes])
    views = [set(found[start:stop]) for start, stop in itertools.pairwise(starts)]
    assert all(len(view) == 1 for view in views)
    assert len(set.union(*views)) > 0.8 * len(views), "and groups do not share one"


def test_an_epoch_that_goes_on_amid_a_group_goes_on_with_its_crop(places):
    whole, rest = (places(Augmentation(crop_group=3), first_step=step) for step in (0, 2))
    assert rest == whole[16:]


def test_without_random_crops_or_flips_the_centre_is_taken_as_it_is(places):
    assert set(places(Augmentation(random_crop=False, flip=False))) == {(16, 16, False)}
    assert set(places(Augmentation(random_crop=False, flip=False), crop_size=227)) == {(14, 14, False)}
    assert {place[2] for place in places(Augmentation(flip=False))} == {False}


@pytest.mark.parametrize(
    ("recipe", "group"), [("source", 32), ("paper", 1), ("caffe", 1), ("caffenet", 1), ("torchvision", 1)]
)
def test_the_source_shares_a_crop_among_32_images_and_the_others_do_not(recipe, group):
    augmentation = load_recipe(recipe).augmentation
    assert augmentation.crop_group == group and augmentation.random_crop and augmentation.flip


@pytest.mark.parametrize(("recipe", "size", "margin"), [("source", 224, 16), ("paper", 224, 16), ("caffe", 227, 14)])
def test_the_centre_of_the_mean_image_is_subtracted_whatever_the_crop(recipe, size, margin):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (3, 256, 256, 3)).astype(np.uint8)
    sums = PixelSums()
    sums.add(images)
    mean = images.astype(np.float64).mean(axis=0)
    model = AlexNet(narrow(recipe), classes=2, mean_image=sums.statistics().mean_image)
    centre_of_mean = mean[margin : margin + size, margin : margin + size]
    for top, left in ((0, 0), (256 - size, 3), (margin, margin)):
        crop = images[:1, top : top + size, left : left + size]
        expected = crop - centre_of_mean  # pixels stay on the scale of 0..255
        np.testing.assert_allclose(model.get_layer("mean")(crop)[0], expected[0], rtol=0, atol=1e-4)


def test_a_mean_colour_is_the_mean_of_the_mean_image():
    mean = np.random.default_rng(0).uniform(0, 255, (256, 256, 3))
    model = AlexNet(narrow("source", "augmentation.mean=channel"), classes=2, mean_image=mean)
    black = model.get_layer("mean")(np.zeros((1, 224, 224, 3), np.uint8))[0].numpy()
    np.testing.assert_allclose(black, np.broadcast_to(-mean.mean(axis=(0, 1)), black.shape), rtol=1e-5)


def test_the_order_of_ten_crops_of_227_pixels():
    rows, columns = np.mgrid[0:256, 0:256]
    images = tf.constant(np.stack([rows, columns, columns], -1)[None])
    views = [view.numpy()[0] for view in ten_crop(images, 227)]
    upper_left = [tuple(view[0, 0, :2]) for view in views[:5]]
    assert upper_left == [(0, 0), (0, 29), (14, 14), (29, 0), (29, 29)]
    for view, mirrored in zip(views[:5], views[5:], strict=True):
        np.testing.assert_array_equal(mirrored, view[:, ::-1])
    assert tuple(centre(images, 227)[0][0, 0, 0, :2].numpy()) == (14, 14)
