"""Batches of image files for `fit` on any backend: the crops that they should be, and Pillow's squares."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from alexnet_keras import ImageBatches
from alexnet_keras.data.image_batches import square_with_pillow
from alexnet_keras.data.images import fit_to_square
from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.recipes.edits import edit
from alexnet_keras.recipes.toml import load_recipe


def encoded(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("size", [(300, 420), (512, 256), (256, 256), (1000, 700), (90, 120)], ids=str)
def test_a_square_without_tensorflow_is_that_of_preparation(size):
    noise = np.random.default_rng(0).normal(128, 60, (32, 24)).clip(0, 255).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(noise).resize(size[::-1], Image.Resampling.BICUBIC))
    pixels = np.stack([smooth, smooth[::-1], 255 - smooth], axis=-1)
    ours, prepared = (square(encoded(pixels)).astype(int) for square in (square_with_pillow, fit_to_square))
    assert ours.shape == (256, 256, 3)
    apart = np.abs(ours - prepared)
    if min(size) >= 256:  # means halfway between two values may be rounded to either
        assert apart.max() <= 1 and apart.mean() < 1e-3
    else:  # other cubic filters
        assert apart.mean() < 0.5 and apart.max() <= 8


@pytest.fixture
def folder(images, tmp_path):
    """Files that a test may change."""
    return shutil.copytree(images, tmp_path / "images")


@pytest.fixture
def batches(folder, tiny):
    source = folder_source(folder)
    recipe = edit(tiny, {"training.batch_size": 5, "augmentation.crop_group": 1})
    return lambda split="train", **options: ImageBatches(source.splits[split], recipe, **options)


def test_threads_decode_the_images_of_a_batch_and_keras_makes_none_beforehand(batches):
    one, four = batches(), batches(workers=4)
    for index in range(len(one)):
        for ours, theirs in zip(four[index], one[index], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert four.workers == 1 and not four.use_multiprocessing, "what Keras's workers make ahead is of another epoch"
    for refused in (0, 1.5):
        with pytest.raises(UsageError, match="workers must be"):
            batches(workers=refused)


def test_an_epoch_has_every_image_in_full_batches_and_another_order(batches):
    training = batches()
    first = [training[index] for index in range(len(training))]
    assert all(crops.shape == (5, *training_size(training)) and crops.dtype == np.uint8 for crops, _ in first)
    labels = np.concatenate([each for _, each in first])
    images = len(training.images)
    assert len(labels) == len(training) * 5 >= images
    np.testing.assert_array_equal(np.sort(labels[:images]), np.sort(training.images.labels))
    np.testing.assert_array_equal(training[0][0], batches()[0][0])
    training.on_epoch_end()
    assert not np.array_equal(training[0][0], first[0][0])
    assert not np.array_equal(batches(seed=1)[0][0], first[0][0])


def test_in_validation_the_order_stays_and_the_crop_is_the_centre(batches):
    validation = batches("val", training=False)
    crops, labels = validation[0]
    np.testing.assert_array_equal(labels, validation.images.labels[:5])
    side = validation.crop_size
    start = (256 - side) // 2
    square = square_with_pillow(validation.images.read(0))
    np.testing.assert_array_equal(crops[0], square[start : start + side, start : start + side])
    assert sum(len(validation[index][1]) for index in range(len(validation))) == len(validation.images)


def test_a_training_crop_is_a_part_of_the_image_mirrored_or_not(batches):
    training = batches()
    example = int(training._order()[0])
    square, side = square_with_pillow(training.images.read(example)), training.crop_size
    places = np.lib.stride_tricks.sliding_window_view(square, (side, side, 3))[:, :, 0]
    crop = training[0][0][0]
    assert any((places == each).all(axis=(2, 3, 4)).any() for each in (crop, crop[:, ::-1]))


def test_statistics_are_those_of_the_squares(batches):
    validation = batches("val", training=False)
    squares = [square_with_pillow(validation.images.read(example)) for example in range(len(validation.images))]
    np.testing.assert_allclose(validation.statistics().mean_image, np.mean(squares, axis=0), atol=1e-3)


def test_what_cannot_be_used_is_said_where_it_is_used(batches, folder, tiny):
    (folder / "train/blue/000.jpg").write_bytes(b"no image")
    training = batches()
    with pytest.raises(DataError, match=r"000\.jpg cannot be used"):
        [training[index] for index in range(len(training))]
    with pytest.raises(UsageError, match="random area"):
        ImageBatches(training.images, edit(tiny, {"augmentation.crop_area": (0.1, 1.0)}))


def training_size(batches):
    return batches.crop_size, batches.crop_size, 3


def test_a_split_without_images_is_refused(batches):
    images = batches().images
    with pytest.raises(DataError, match="no images"):
        ImageBatches(images.take(np.array([], np.int64)), load_recipe("quickstart"))
