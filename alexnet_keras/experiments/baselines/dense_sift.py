"""SIFT on a grid, at several scales: D. Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 2004.

Nothing is detected and nothing is turned upright: every patch of the grid has a descriptor, as in the two systems that
table 1 compares with.
"""

import numpy as np

from alexnet_keras.errors import DataError
from alexnet_keras.experiments.baselines.libraries import library
from alexnet_keras.experiments.baselines.settings import Grid

LENGTH = 128  # 4x4 bins of 8 directions
_PATCH_OF_SIZE = 6  # OpenCV's bins are 1.5 times a keypoint's size wide, and there are four of them
_SMOOTHING = 6  # a bin is so many times the standard deviation of the blur before it: VLFeat's choice for dense SIFT
_FLAT = 4.0  # grey levels of 255: patches that vary less are noise, which SIFT's normalisation would make loud


class DenseSift:
    """From pictures to descriptors, with the positions of a grid laid once.

    Args:
        grid: the scales, patches and steps.
    """

    def __init__(self, grid: Grid) -> None:
        cv2 = library("cv2")
        self._patch, self._scales, places = grid.patch, [], []
        for side in grid.sides:
            centers = _centers(side, grid.patch, grid.step)
            rows, columns = (axis.ravel() for axis in np.meshgrid(centers, centers, indexing="ij"))
            size = grid.patch / _PATCH_OF_SIZE
            points = [cv2.KeyPoint(float(x), float(y), size, 0.0) for y, x in zip(rows, columns, strict=True)]
            self._scales.append((side, points, np.stack([rows, columns]).round().astype(int)))
            places.append(np.stack([rows + 0.5, columns + 0.5], axis=1) / side)
        # float32 (n, 2): the centre of each descriptor's patch, (y, x), as shares of the picture's sides.
        self.places = np.concatenate(places).astype(np.float32)
        self._sigma = max(grid.patch / 4 / _SMOOTHING, 0.6)  # OpenCV takes it that pictures have 0.5 already
        self._sift = cv2.SIFT_create(nOctaveLayers=1, sigma=self._sigma)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The descriptors of a picture uint8 `(side, side, 3)`, RGB: float32 `(n, 128)`, in the order of `places`.

        Each is the square root of a SIFT descriptor that sums to 1, which has length 1 and compares histograms better
        (R. Arandjelović, A. Zisserman, "Three things everyone should know to improve object retrieval", CVPR 2012).
        That of a patch with hardly any contrast is shorter in proportion to it.
        """
        cv2 = library("cv2")
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        descriptors = []
        for side, points, (rows, columns) in self._scales:
            scaled = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA)
            _, found = self._sift.compute(scaled, points)
            found /= np.maximum(found.sum(axis=1, keepdims=True), 1e-6)
            contrast = _contrast(scaled, self._patch)[rows, columns, None]
            descriptors.append(np.sqrt(found, out=found) * np.minimum(contrast / _FLAT, 1))
        return np.concatenate(descriptors)


def too_few_patches(count: int, what: str) -> DataError:
    """What to raise where nothing can be learnt from so few descriptors."""
    return DataError(f"{count:,} patches with any contrast are too few for {what}: take more pictures, or learn less.")


def _centers(side: int, patch: int, step: int) -> np.ndarray:
    """The middles of as many patches as fit a side, in pixels, with the same margin at both ends."""
    count = (side - patch) // step + 1
    return (side - 1) / 2 + step * (np.arange(count) - (count - 1) / 2)


def _contrast(grey: np.ndarray, patch: int) -> np.ndarray:
    """The standard deviation of the patch around every pixel, float32 `(side, side)`, grey levels of 255."""
    cv2 = library("cv2")
    mean = cv2.boxFilter(grey, cv2.CV_32F, (patch, patch))
    squares = cv2.sqrBoxFilter(grey, cv2.CV_32F, (patch, patch))
    return np.sqrt(np.maximum(squares - mean**2, 0))
