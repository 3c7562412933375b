"""Figure 3: the kernels of the first layer, as they are, as they came to be, and by how colour-specific they are."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_keras.errors import UsageError
from alexnet_keras.layers.towers import tower_letter
from alexnet_keras.network.kernels import (
    RANDOM_SHARE,
    ColorReport,
    Scaling,
    TowerColor,
    first_kernels,
    kernel_grid,
    largest_weight,
    random_shares,
)
from alexnet_keras.runs import Run
from alexnet_keras.training.records import KernelSnapshot, kernel_snapshots
from alexnet_keras.visualization.style import INK, QUIET, SERIES, save_figure

WIDTH = 9.0  # inches
MOMENTS = 6  # side by side over time
NARROW = 6  # kernels in a row of one moment


def draw_kernels(model: keras.Model, path: Path, scaling: Scaling = "kernel") -> None:
    """Writes the first convolution's kernels, tower a above tower b (paper, figure 3).

    Args:
        path: .png, .svg or .pdf.
        scaling: `"kernel"` shows each kernel at its own scale, `"global"` all at one.

    Raises:
        UsageError: the file has another suffix.
    """
    towers = first_kernels(model)
    largest = largest_weight(towers, scaling)
    grids = [kernel_grid(kernels, largest=largest) for kernels in towers]
    heights = [WIDTH * grid.shape[0] / grid.shape[1] for grid in grids]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.35 * len(grids) + 0.25), layout="constrained")
    axes = figure.subplots(len(grids), 1, squeeze=False, height_ratios=heights)[:, 0]
    for tower, (axis, grid) in enumerate(zip(axes, grids, strict=True)):
        side = towers[tower].shape[0]
        show_grid(axis, grid)
        title = f"Tower {tower_letter(tower)}: {towers[tower].shape[-1]} kernels of {side}×{side}×3"
        axis.set_title(title, loc="left", fontsize=10, color=INK)
    figure.supxlabel(_about(largest), fontsize=8, color=QUIET, x=0.005, ha="left")
    save_figure(figure, path)


def draw_kernels_over_time(run: Run, path: Path, scaling: Scaling = "kernel") -> None:
    """Writes the kernels at about six moments of training side by side, the same kernel in the same place.

    Args:
        path: .png, .svg or .pdf.
        scaling: `"kernel"` shows each kernel of each moment at its own scale, `"global"` all of them at one.

    Raises:
        UsageError: the run kept no kernels, or the file has another suffix.
        DataError: a file of kernels is damaged.
    """
    moments = kernel_snapshots(run.kernels_path)
    if not moments:
        raise UsageError(
            f"The run {run.path} kept no kernels while it was trained: leave out --over-time, or train a new run."
        )
    chosen = evenly_chosen(moments)
    kernels = [moment.kernels() for moment in chosen]
    largest = largest_weight([own for towers in kernels for own in towers], scaling)
    rows = max(len(towers) for towers in kernels)
    sample = kernel_grid(kernels[0][0], NARROW)
    panel = 1.8  # inches wide
    height = panel * sample.shape[0] / sample.shape[1]
    figure = Figure(figsize=(panel * len(chosen) + 0.3, (height + 0.15) * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, len(chosen), squeeze=False)
    for column, (moment, towers) in enumerate(zip(chosen, kernels, strict=True)):
        for tower, grid in enumerate(kernel_grid(own, NARROW, largest) for own in towers):
            show_grid(axes[tower][column], grid)
        axes[0][column].set_title(_when(moment), fontsize=8.5, color=INK)
    for tower, row in enumerate(axes):
        row[0].set_ylabel(f"Tower {tower_letter(tower)}", fontsize=9, color=INK)
    figure.supxlabel(_about(largest), fontsize=8, color=QUIET, x=0.005, ha="left")
    save_figure(figure, path)


def evenly_chosen(moments: Sequence[KernelSnapshot], count: int = MOMENTS) -> list[KernelSnapshot]:
    """At most `count` moments, evenly spaced, the first and the last among them."""
    if len(moments) <= count:
        return list(moments)
    return [moments[round(index)] for index in np.linspace(0, len(moments) - 1, count)]


def show_grid(axis: Axes, grid: np.ndarray) -> None:
    """Shows a grid of kernels, `(height, width, 3)` in 0..1, pixel by pixel and without axes."""
    axis.imshow(grid, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def _when(moment: KernelSnapshot) -> str:
    if not moment.epochs:
        return "before training"
    return f"{moment.epochs} epoch{'s' if moment.epochs > 1 else ''}\n{moment.steps:,} steps"


def _about(largest: float | None) -> str:
    if largest is None:
        return "Mid-grey is zero; each kernel is scaled by its own largest weight."
    return f"Mid-grey is zero; all kernels are scaled by the largest weight, {largest:.2g}."


JITTER = 0.3  # of the distance between two towers


def draw_towers(towers: list[np.ndarray], report: ColorReport, path: Path) -> None:
    """Writes each tower's kernels in the order of their colour shares, and the shares on one line a tower.

    Args:
        towers: the kernels, `(height, width, 3, filters)` each, that `report` is about.
        path: .png, .svg or .pdf.

    Raises:
        UsageError: the file has another suffix.
    """
    grids = [
        kernel_grid(kernels[..., np.argsort(color.shares, kind="stable")])  # NaN, of dead kernels, comes last
        for kernels, color in zip(towers, report.towers, strict=True)
    ]
    heights = [WIDTH * grid.shape[0] / grid.shape[1] for grid in grids]
    strip = 0.55 * len(grids) + 0.5
    figure = Figure(figsize=(WIDTH, sum(heights) + strip + 0.35 * len(grids) + 0.6), layout="constrained")
    *axes, line = figure.subplots(len(grids) + 1, 1, height_ratios=[*heights, strip])
    for axis, grid, color in zip(axes, grids, report.towers, strict=True):
        show_grid(axis, grid)
        axis.set_title(_about_color(color), loc="left", fontsize=10, color=INK)
    pixels = towers[0].shape[0] * towers[0].shape[1]
    _draw_shares(line, report, pixels)
    save_figure(figure, path)


def _draw_shares(axis: Axes, report: ColorReport, pixels: int) -> None:
    """A dot a kernel, its area in proportion to the kernel's energy, and a bar at each tower's median."""
    low, high = random_shares(pixels)
    axis.axvspan(low, high, color="#e5e5e5", linewidth=0, zorder=0)
    axis.text(RANDOM_SHARE, -0.62, "random weights", fontsize=7, color=QUIET, ha="center", va="center")
    most = max(float(color.energies.max()) for color in report.towers) or 1.0
    jitter = np.random.default_rng(0)  # the same figure every time
    for row, color in enumerate(report.towers):
        heights = row + jitter.uniform(-JITTER, JITTER, len(color.shares))
        areas = 6 + 60 * color.energies / most
        shade = SERIES[row % len(SERIES)]
        axis.scatter(color.shares, heights, s=areas, color=shade, alpha=0.55, linewidth=0)
        axis.vlines(color.median, row - 0.42, row + 0.42, color=shade, linewidth=2)
    axis.set_yticks(range(len(report.towers)), [f"Tower {color.tower}" for color in report.towers])
    axis.set_ylim(len(report.towers) - 0.4, -0.85)
    axis.set_xlim(-0.01, 1.01)
    axis.set_xlabel(
        "colour share of a kernel: 0 grey, 1 purely chromatic; area is energy, a bar the median", fontsize=8, color=INK
    )
    axis.set_title("; ".join(_difference(report)), loc="left", fontsize=9, color=INK)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(colors=INK, labelsize=8)
    axis.tick_params(axis="y", length=0)


def _about_color(color: TowerColor) -> str:
    dead = f", {color.dead} of them dead" if color.dead else ""
    if np.isnan(color.median):
        return f"Tower {color.tower}: {len(color.shares)} kernels, all of them dead"
    return (
        f"Tower {color.tower}: {len(color.shares)} kernels{dead}, grey to colourful; "
        f"colour share: median {color.median:.2f}, weighted by energy {color.weighted_mean:.2f}"
    )


def _difference(report: ColorReport) -> list[str]:
    return [
        f"A kernel of tower {found.more} is more colourful than one of {found.less} with probability "
        f"{found.probability:.2f} (Mann-Whitney, p = {found.p_value:.2g})"
        for found in report.differences
    ]
