"""The first layer's kernels as one image (figure 3), and how colour-specific those of each tower are (section 6.1).

"The kernels on GPU 1 are largely color-agnostic, while the kernels on GPU 2 are largely color-specific. This kind of
specialization occurs during every run and is independent of any particular random weight initialization (modulo a
renumbering of the GPUs)."

The colour share of a kernel is the share of its energy, the sum of its squared weights, that lies off the grey axis
R = G = B. At a pixel with the weights w = (r, g, b) the part along that axis has the energy (r + g + b)^2 / 3, so

    colour share = 1 - sum over pixels of (r + g + b)^2 / 3  /  sum over pixels of (r^2 + g^2 + b^2)

It is 0 for a kernel that responds to brightness alone, and 1 for one that does not respond to any grey image."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal

import keras
import numpy as np
from scipy.stats import beta, mannwhitneyu

from alexnet_keras.layers.towers import tower_letter
from alexnet_keras.network.summary import tower_layers

MOST_COLUMNS = 16  # as in the paper: the 48 kernels of a tower in three rows of 16
GAP = 1  # pixels of a kernel, between kernels

Scaling = Literal["kernel", "global"]


def first_kernels(model: keras.Model) -> list[np.ndarray]:
    """Return the kernels of the first convolution, one float32 array `(height, width, 3, filters)` per tower."""
    first = tower_layers(model)[0]
    return [keras.ops.convert_to_numpy(kernel).astype(np.float32) for kernel in first.kernels]


def kernel_grid(kernels: np.ndarray, columns: int | None = None, largest: float | None = None) -> np.ndarray:
    """Return kernels side by side as one RGB image in 0..1: mid-grey is zero.

    Args:
        kernels: `(height, width, 3, filters)`.
        columns: Number of kernels in a row; by default the most, up to 16, that fill every row.
        largest: The size of a weight that is shown as 0 or 1; by default each kernel's own largest.
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
    """Return the `largest` of `kernel_grid`: one for all towers under `"global"`, None under `"kernel"`."""
    return max(float(np.abs(kernels).max()) for kernels in towers) if scaling == "global" else None


def _full_rows(filters: int) -> int:
    """Return the largest number of columns that leaves no row unfinished, unless the grid would be tall and narrow."""
    best = max(number for number in range(1, MOST_COLUMNS + 1) if filters % number == 0)
    return best if best >= min(filters, MOST_COLUMNS // 2) else MOST_COLUMNS


RANDOM_SHARE = 2 / 3  # expected of independent weights: two of the three directions of colour space are off grey

CAVEAT = (
    "The kernels of a network are trained together and are no independent replicates: p says how clearly these two "
    "sets of kernels differ, not that another seed would separate them, too. That takes several runs."
)


@dataclass(frozen=True)
class TowerColor:
    """The colour of one tower's kernels.

    Attributes:
        tower: Its letter.
        shares: The colour share of each kernel, `(filters,)` float64; NaN for a kernel without energy.
        energies: Each kernel's sum of squared weights, `(filters,)` float64.
    """

    tower: str
    shares: np.ndarray
    energies: np.ndarray

    @property
    def alive(self) -> np.ndarray:
        """The shares of the kernels that have one."""
        return self.shares[~np.isnan(self.shares)]

    @property
    def dead(self) -> int:
        """The number of kernels without energy, and so without a colour share; median and mean leave them out."""
        return len(self.shares) - len(self.alive)

    @property
    def median(self) -> float:
        """The median of the kernels' shares; NaN where every kernel is dead."""
        return float(np.median(self.alive)) if len(self.alive) else float("nan")

    @property
    def weighted_mean(self) -> float:
        """The kernels' mean share, weighted by energy: the colour share of the tower as a whole."""
        energy = self.energies.sum()
        return float(np.nansum(self.shares * self.energies) / energy) if energy else float("nan")


@dataclass(frozen=True)
class TowerDifference:
    """The difference in colour between two towers.

    Attributes:
        more, less: The letters of the tower with the more colourful kernels, and of the other.
        probability: The probability that a kernel of `more` has a larger colour share than one of `less`, ties counted
            half: the area under the ROC curve, 0.5 where the towers do not differ and 1 where they do not overlap.
        p_value: The p-value of the two-sided Mann-Whitney test.
    """

    more: str
    less: str
    probability: float
    p_value: float


@dataclass(frozen=True)
class ColorReport:
    """The colour of every tower, and the difference of every two."""

    towers: tuple[TowerColor, ...]
    differences: tuple[TowerDifference, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON has it; a value that does not exist, such as a dead kernel's share, is None."""
        return {
            "random_share": RANDOM_SHARE,
            "towers": [
                {
                    "tower": tower.tower,
                    "kernels": len(tower.shares),
                    "dead": tower.dead,
                    "median": _number(tower.median),
                    "weighted_mean": _number(tower.weighted_mean),
                    "shares": [_number(share) for share in tower.shares],
                }
                for tower in self.towers
            ],
            "differences": [asdict(difference) for difference in self.differences],
            "caveat": CAVEAT,
        }


def color_shares(kernels: np.ndarray) -> np.ndarray:
    """Return the colour share of each kernel, float64 `(filters,)` in 0..1; NaN for a kernel of zeros.

    Args:
        kernels: `(height, width, 3, filters)`.
    """
    # Scaled first: the squares of weights that have almost decayed away would vanish, and NaN would hide a share.
    largest = np.abs(kernels).max(axis=(0, 1, 2)).astype(np.float64)
    scaled = np.divide(kernels, largest, out=np.zeros(kernels.shape), where=largest > 0)
    energy = np.square(scaled).sum(axis=(0, 1, 2))
    grey = np.square(scaled.sum(axis=2)).sum(axis=(0, 1)) / 3
    off_grey = np.maximum(energy - grey, 0.0)
    return np.divide(off_grey, energy, out=np.full(energy.shape, np.nan), where=energy > 0)


def random_shares(pixels: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval that holds most shares of kernels of independent normal weights, as before training.

    Off grey such a kernel has twice as many free weights as on it, so its share has a Beta(pixels, pixels / 2)
    distribution, with the mean 2/3.

    Args:
        pixels: Number of pixels of a kernel, 121 for 11x11.
        level: The part of the shares that lies in the interval, 0..1.
    """
    low, high = beta.interval(level, pixels, pixels / 2)
    return float(low), float(high)


def compare_towers(towers: Sequence[np.ndarray]) -> ColorReport:
    """Measure the towers, each `(height, width, 3, filters)`, and compare every two that have living kernels."""
    colors = tuple(
        TowerColor(tower_letter(index), color_shares(kernels), np.square(kernels, dtype=np.float64).sum(axis=(0, 1, 2)))
        for index, kernels in enumerate(towers)
    )
    living = [color for color in colors if len(color.alive)]
    return ColorReport(colors, tuple(_difference(one, other) for one, other in combinations(living, 2)))


def _difference(one: TowerColor, other: TowerColor) -> TowerDifference:
    test = mannwhitneyu(one.alive, other.alive, alternative="two-sided")
    probability = float(test.statistic) / (len(one.alive) * len(other.alive))
    if probability < 0.5:
        one, other, probability = other, one, 1 - probability
    return TowerDifference(one.tower, other.tower, probability, float(test.pvalue))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
