"""Every way to store an image: what goes in comes out, through this package and through plain TFDS."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tiers import rest_slow

from alexnet_keras.data.images import fit_to_square
from alexnet_keras.data.pipeline import evaluation_batches, training_batches
from alexnet_keras.data.preparation import prepare
from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.recipes.schema import Augmentation

MEAN_ERROR = {"png": 0, "raw": 0, "jpeg": 2}


@pytest.fixture(scope="module")
def prepared_as(tmp_path_factory, write_images):
    root = tmp_path_factory.mktemp("encodings")
    for split, count in (("train", 5), ("val", 2)):
        write_images(root / "in" / split, {"blue": count, "green": count}, size=(280, 300))

    def make(kind, quality=None):
        out = root / f"{kind}{quality}"
        return prepare(folder_source(root / "in"), out, encoding=kind, quality=quality, shard_examples=4)

    return root / "in", make


def squares(folder, split):
    return {str(p.relative_to(folder / split)): fit_to_square(p.read_bytes()) for p in (folder / split).glob("*/*")}


@pytest.mark.parametrize("kind", rest_slow(("jpeg", "png", "raw")))
def test_plain_tfds_and_the_pipeline_give_the_same_images(kind, prepared_as):
    folder, make = prepared_as
    data = make(kind)
    expected = squares(folder, "train")
    builder = tfds.builder_from_directory(str(data.path))
    plain = {e["filename"].decode(): e for e in tfds.as_numpy(builder.as_dataset(split="train"))}
    assert plain.keys() == expected.keys()
    names = builder.info.features["label"].names
    ours = {}
    for images, labels, filenames in evaluation_batches(data, "train", 4):
        for image, label, filename in zip(images.numpy(), labels.numpy(), filenames.numpy(), strict=True):
            ours[filename.decode()] = image
            assert filename.decode().startswith(names[label])
    for name, square in expected.items():
        image = plain[name]["image"]
        assert (image.shape, image.dtype) == ((256, 256, 3), np.uint8)
        assert np.abs(ours[name].astype(int) - square).mean() <= 3 * MEAN_ERROR[kind]  # these are mostly noise
        if kind != "jpeg":
            np.testing.assert_array_equal(ours[name], square)
            np.testing.assert_array_equal(image, square)


@pytest.mark.parametrize("kind", ["png", "raw"])
def test_training_crops_come_from_the_same_places_whatever_the_encoding(kind, prepared_as):
    folder, make = prepared_as
    data = make(kind)
    expected = squares(folder, "train").values()
    augmentation = Augmentation(random_crop=True, flip=False)
    for images, _ in training_batches(data, augmentation, batch_size=5, crop_size=224, seed=1, epoch=0):
        for image in images.numpy():
            assert any(is_crop_of(image, square) for square in expected)


def is_crop_of(crop, square):
    places = np.argwhere((square[:33, :33] == crop[0, 0]).all(axis=-1))
    return any((square[y : y + 224, x : x + 224] == crop).all() for y, x in places)


def test_quality_is_what_it_says(prepared_as):
    _, make = prepared_as
    sizes = [sum(shard.path.stat().st_size for shard in make("jpeg", q).splits["train"]) for q in (50, 95)]
    assert sizes[0] < sizes[1] / 2


def test_encodings_do_not_change_the_statistics(prepared_as):
    _, make = prepared_as
    jpeg, raw = make("jpeg").statistics, make("raw").statistics
    np.testing.assert_array_equal(jpeg.covariance, raw.covariance)
    np.testing.assert_array_equal(jpeg.mean_image, raw.mean_image)
