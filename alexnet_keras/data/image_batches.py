"""Batches of images for Keras's `fit` on any backend, straight from their files."""

import functools
import math
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
from PIL import Image

from alexnet_keras.data.image_formats import Decoding, UnreadableImage, decode_with_pillow
from alexnet_keras.data.images import IMAGE_SIZE
from alexnet_keras.data.sources.source import ImageList
from alexnet_keras.data.statistics import PixelSums, Statistics
from alexnet_keras.errors import DataError, UsageError, whole_number
from alexnet_keras.recipes.schema import Recipe


class ImageBatches(keras.utils.PyDataset):
    """Batches of images, decoded by Pillow whenever they are used: no prepared dataset, and no TensorFlow.

        source = folder_source(Path("photos"))
        training = ImageBatches(source.splits["train"], recipe, workers=2)
        validation = ImageBatches(source.splits["val"], recipe, training=False)

    In training the order, crops and flips of an epoch are functions of (seed, epoch, position), and every batch is
    full: the last one is filled up from the epoch's start. In validation the images keep their order and the crop
    is the centre. `fit` also shuffles the batches, unless it is told `shuffle=False`.

    Args:
        images: The images of a split, as a source lists them.
        recipe: Its augmentation, batch size and input size.
        training: False for validation.
        seed: The seed of order, crops and flips.
        workers: The number of threads that decode the images of a batch. Keras's own workers, which make batches
            beforehand, would take those of one epoch into the next, and are not used.

    An item is `(images, labels)`: uint8 `(batch, size, size, 3)`, RGB, and int32 `(batch,)`. The 256x256 image before
    the crop has the pixels of `alexnet prepare`, but for what Pillow decodes or enlarges otherwise than TensorFlow.

    Raises:
        UsageError: The recipe has crops of random area, which only a prepared dataset has; or `workers` is below 1.
        DataError: There are no images; or a file is no usable image, which is raised where the batch is used.

    Attributes:
        epoch: The epoch whose order, crops and flips the batches have, from 0. `FollowRecipe(recipe, batches=training)`
            sets it; otherwise every epoch that ends moves it on, of which Keras makes one before it trains.
    """

    def __init__(
        self, images: ImageList, recipe: Recipe, training: bool = True, seed: int = 0, workers: int = 1
    ) -> None:
        super().__init__()
        self.threads = whole_number("workers", workers, 1, UsageError)
        if not len(images):
            raise DataError("There are no images in the split.")
        if training and recipe.augmentation.crop_area:
            raise UsageError(
                f"The recipe {recipe.name} has crops of random area, which ImageBatches does not make: change "
                "augmentation.crop_area to None, or prepare the images."
            )
        self.images, self.training, self.seed, self.epoch = images, training, seed, 0
        self.augmentation, self.crop_size = recipe.augmentation, recipe.network.input_size
        self.batch_size = min(recipe.training.batch_size, len(images))

    def __len__(self) -> int:
        return math.ceil(len(self.images) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        start = index * self.batch_size
        chosen = self._order()[start : start + self.batch_size]

        def crop(place: int) -> np.ndarray:
            return self._crop(self._square(int(chosen[place])), start + place)

        with ThreadPoolExecutor(self.threads) as pool:
            return np.stack(list(pool.map(crop, range(len(chosen))))), self.images.labels[chosen]

    def on_epoch_end(self) -> None:
        self.epoch += 1

    def statistics(self) -> Statistics:
        """Measure the mean image and the colours of the images, each of which is decoded once."""
        sums = PixelSums()
        for example in range(len(self.images)):
            sums.add(self._square(example)[None])
        return sums.statistics()

    def _order(self) -> np.ndarray:
        """The examples of the epoch, whole batches in training."""
        images = len(self.images)
        if not self.training:
            return np.arange(images)
        return _shuffled(images, len(self) * self.batch_size, self.seed, self.epoch)

    def _crop(self, square: np.ndarray, position: int) -> np.ndarray:
        """The crop of the image at a position of the epoch, mirrored or not."""
        most, augmentation = IMAGE_SIZE - self.crop_size, self.augmentation
        top = left = most // 2
        flip = False
        if self.training:
            random = np.random.default_rng([self.seed, self.epoch, 1 + position // augmentation.crop_group])
            if augmentation.random_crop:
                top, left = random.integers(0, most, 2, endpoint=True).tolist()
            flip = augmentation.flip and random.random() < 0.5
        crop = square[top : top + self.crop_size, left : left + self.crop_size]
        return crop[:, ::-1] if flip else crop

    def _square(self, example: int) -> np.ndarray:
        try:
            return square_with_pillow(self.images.read(example))
        except (OSError, UnreadableImage) as error:
            raise DataError(f"{self.images.filenames[example]} cannot be used: {error}.") from error


@functools.lru_cache(maxsize=2)  # every batch of an epoch asks for the same
def _shuffled(images: int, length: int, seed: int, epoch: int) -> np.ndarray:
    """Permute the numbers of images, and repeat them from the first to a length."""
    order = np.resize(np.random.default_rng([seed, epoch]).permutation(images), length)
    order.setflags(write=False)
    return order


def square_with_pillow(encoded: bytes) -> np.ndarray:
    """Decode an image and bring it to (256, 256, 3) uint8, RGB, without TensorFlow: `images.fit_to_square` by Pillow.

    Raises:
        UnreadableImage: Not an image, cut short, damaged, or too large.
    """
    pixels = decode_with_pillow(encoded, Decoding())
    side = min(pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    square = pixels[top : top + side, left : left + side]
    if side > IMAGE_SIZE:
        across = _coverage(side)
        means = np.einsum("ia,jb,abc->ijc", across, across, square, optimize=True)
        return means.round().astype(np.uint8)
    return np.asarray(Image.fromarray(square).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))


@functools.lru_cache(maxsize=64)
def _coverage(side: int) -> np.ndarray:
    """The share of each of `side` pixels in each of 256 larger ones, float32 `(256, side)`: Pillow's BOX rounds it."""
    edges = np.arange(IMAGE_SIZE + 1) * (side / IMAGE_SIZE)
    pixels = np.arange(side)
    shares = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.maximum(shares, 0) * (IMAGE_SIZE / side)).astype(np.float32)
