"""Statistics of the training images: the mean image and the covariance of RGB, in one pass.

The paper subtracts the mean image (section 2) and draws its colour noise along the eigenvectors of the
covariance of RGB pixel values (section 4.1).
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from alexnet_keras.data.images import IMAGE_SIZE, SHAPE
from alexnet_keras.errors import DAMAGED, DataError

BLOCK = 3072  # values of each image at once; a multiple of 3 that divides 256 * 256 * 3


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of a training split, of RGB pixels 0..255.

    Attributes:
        mean_image: (256, 256, 3) float32.
        rgb_mean: (3,) float64, over all pixels.
        covariance: (3, 3) float64, over all pixels (divided by their number, not by one less).
    """

    mean_image: np.ndarray
    rgb_mean: np.ndarray
    covariance: np.ndarray

    @cached_property
    def _eigen(self) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = np.linalg.eigh(self.covariance)
        return np.maximum(values, 0), vectors

    @property
    def eigenvalues(self) -> np.ndarray:
        """(3,) float64, ascending."""
        return self._eigen[0]

    @property
    def eigenvectors(self) -> np.ndarray:
        """(3, 3) float64, in columns, in the order of `eigenvalues`."""
        return self._eigen[1]

    @property
    def standard_deviations(self) -> np.ndarray:
        """(3,) float64, the square roots of `eigenvalues`: spread along each eigenvector, 0..255."""
        return np.sqrt(self.eigenvalues)

    def save(self, path: Path) -> None:
        """Write an .npz file."""
        np.savez(path, mean_image=self.mean_image, rgb_mean=self.rgb_mean, covariance=self.covariance)

    @classmethod
    def load(cls, path: Path) -> "Statistics":
        """Read a file that `save` wrote.

        Raises:
            DataError: The file is missing, damaged, or holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                statistics = cls(file["mean_image"], file["rgb_mean"], file["covariance"])
        except DAMAGED as error:
            raise DataError(f"The statistics in {path} cannot be read; prepare the dataset again.") from error
        shapes = statistics.mean_image.shape, statistics.rgb_mean.shape, statistics.covariance.shape
        if shapes != (SHAPE, (3,), (3, 3)):
            raise DataError(f"The statistics in {path} have the wrong shapes {shapes}; prepare the dataset again.")
        return statistics


@dataclass(eq=False)
class PixelSums:
    """Running sums over images, in integers: exact, and the same in any order of addition.

    Attributes:
        images: The number of images added.
        image: (256, 256, 3) int64, their sum.
        products: (3, 3) int64, the sums of products of channels over all pixels.
    """

    images: int = 0
    image: np.ndarray = field(default_factory=lambda: np.zeros(SHAPE, np.int64))
    products: np.ndarray = field(default_factory=lambda: np.zeros((3, 3), np.int64))

    def add(self, pixels: np.ndarray) -> None:
        """Add images, (n, 256, 256, 3) uint8, at most 257 at once: their sums and sums of squares are then integers
        below 2**24, which float32 holds exactly in any order of addition.
        """
        self.images += len(pixels)
        flat = pixels.reshape(len(pixels), -1)
        total = np.empty(flat.shape[1], np.float32)
        # [0]: each value by itself; [1]: by its right neighbour, red-green, green-blue, blue-(red of the next
        # pixel); [2]: by the one after, red-blue and two that are not needed.
        products = np.empty((3, flat.shape[1]), np.float32)
        block = np.zeros((len(flat), BLOCK + 2), np.float32)  # stays in the processor's cache
        values = block[:, :BLOCK]
        for start in range(0, flat.shape[1], BLOCK):
            part = slice(start, start + BLOCK)
            values[:] = flat[:, part]
            np.add.reduce(values, axis=0, out=total[part])
            for distance in range(3):
                np.einsum("ij,ij->j", values, block[:, distance : distance + BLOCK], out=products[distance, part])
        self.image += total.astype(np.int64).reshape(SHAPE)
        blocks = products.reshape(3, -1, BLOCK).sum(axis=1, dtype=np.float64)  # exact as well: below 2**53
        (rr, gg, bb), (rg, gb, _), (rb, *_) = blocks.reshape(3, -1, 3).sum(axis=1).astype(np.int64)
        self.products += np.array([(rr, rg, rb), (rg, gg, gb), (rb, gb, bb)])

    def merge(self, other: "PixelSums") -> None:
        """Add another part's sums."""
        self.images += other.images
        self.image += other.image
        self.products += other.products

    def statistics(self) -> Statistics:
        """Mean image, RGB mean and covariance of everything added so far (at least one image)."""
        pixels = self.images * IMAGE_SIZE * IMAGE_SIZE
        rgb_mean = self.image.sum(axis=(0, 1)) / pixels
        return Statistics(
            mean_image=(self.image / self.images).astype(np.float32),
            rgb_mean=rgb_mean,
            covariance=self.products / pixels - np.outer(rgb_mean, rgb_mean),
        )
