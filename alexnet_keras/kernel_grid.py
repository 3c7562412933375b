"""The first layer's kernels as one picture, which figure 3 and TensorBoard show."""

from collections.abc import Sequence
from typing import Literal

import keras
import numpy as np

from alexnet_keras.layers import TowerConv2D

MOST_COLUMNS = 16  # as in the paper: 48 kernels a tower in three rows of 16
GAP = 1  # pixels of a kernel, between kernels

Scaling = Literal["kernel", "global"]


def first_kernels(model: keras.Model) -> list[np.ndarray]:
    """The kernels of the model's first convolution, one float32 array `(height, width, 3, filters)` a tower."""
    first = next(layer for layer in model.layers if isinstance(layer, TowerConv2D))
    return [keras.ops.convert_to_numpy(kernel).astype(np.float32) for kernel in first.kernels]


def kernel_grid(kernels: np.ndarray, columns: int | None = None, largest: float | None = None) -> np.ndarray:
    """Kernels side by side as one RGB image in 0..1: mid-grey is zero.

    Args:
        kernels: `(height, width, 3, filters)`.
        columns: kernels in a row; by default the most, up to 16, that fill every row.
        largest: the size of a weight that is shown as 0 or 1; by default each kernel's own largest.
    """
    height, width, channels, filters = kernels.shape
    columns = columns or _full_rows(filters)
    scale = np.abs(kernels).max(axis=(0, 1, 2), keepdims=True) if largest is None else np.float32(largest)
    shown = np.clip(0.5 + 0.5 * kernels / np.maximum(scale, np.finfo(np.float32).tiny), 0.0, 1.0)
    rows = -(-filters // columns)
    grid = np.ones((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), np.float32)
    for index in range(filters):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        grid[top : top + height, left : left + width] = shown[..., index]
    return grid


def largest_weight(towers: Sequence[np.ndarray], scaling: Scaling) -> float | None:
    """The `largest` of `kernel_grid`: one for all towers under `"global"`, None under `"kernel"`."""
    return max(float(np.abs(kernels).max()) for kernels in towers) if scaling == "global" else None


def _full_rows(filters: int) -> int:
    """The largest number of columns that leaves no row unfinished, unless that makes a narrow tower of rows."""
    best = max(number for number in range(1, MOST_COLUMNS + 1) if filters % number == 0)
    return best if best >= min(filters, MOST_COLUMNS // 2) else MOST_COLUMNS
