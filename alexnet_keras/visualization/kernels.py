"""Figure 3: the kernels of the first layer, at the end of training, over time, and by their colour (section 6.1)."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import keras
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_keras.errors import DataError, UsageError, check_choice
from alexnet_keras.evaluation.errors import not_finite
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
from alexnet_keras.visualization.style import (
    INK,
    PALE,
    QUIET,
    SERIES,
    heading,
    new_figure,
    own_style,
    save_figure,
    show_image,
)

WIDTH = 9.0  # inches
MOMENTS = 6  # side by side over time
NARROW = 6  # kernels in a row of one moment
PANEL = 1.8  # inches: the width of one moment
JITTER = 0.3  # of the distance between two towers


@own_style()
def draw_kernels(model: keras.Model, path: str | Path, scaling: Scaling = "kernel") -> None:
    """Draw the first convolution's kernels, tower a above tower b (paper, figure 3).

    Args:
        model: The network.
        path: .png, .svg or .pdf.
        scaling: `"kernel"` scales each kernel by its own largest weight, `"global"` all by the largest of them.

    Raises:
        UsageError: There is no such scaling, or the file has another suffix.
        NotFiniteError: The kernels are not finite.
    """
    check_choice("scaling", scaling, get_args(Scaling))
    towers = _finite(first_kernels(model))
    largest = largest_weight(towers, scaling)
    titles = [
        f"Tower {tower_letter(tower)}: {kernels.shape[-1]} kernels of {kernels.shape[0]}×{kernels.shape[0]}×3"
        for tower, kernels in enumerate(towers)
    ]
    figure, _ = _draw_rows([kernel_grid(kernels, largest=largest) for kernels in towers], titles)
    figure.supxlabel(_scale_text(largest), fontsize=8, color=QUIET, x=0.005, ha="left")
    save_figure(figure, path)


@own_style()
def draw_kernels_over_time(run: Run, path: str | Path, scaling: Scaling = "kernel") -> None:
    """Draw the kernels at about six moments of training side by side, most of them early, each kernel in its place.

    Args:
        run: A run that kept its kernels.
        path: .png, .svg or .pdf.
        scaling: `"kernel"` scales each kernel of each moment by its own largest weight, `"global"` all of them by the
            largest.

    Raises:
        UsageError: The run kept no kernels, there is no such scaling, or the file has another suffix.
        DataError: A file of kernels is damaged.
        NotFiniteError: The kernels are not finite.
    """
    check_choice("scaling", scaling, get_args(Scaling))
    moments = kernel_snapshots(run.kernels_path)
    if not moments:
        raise UsageError(
            f"The run {run.path} kept no kernels while it was trained: leave out --over-time, or train a new run."
        )
    chosen = moments_shown(moments)
    kernels = [_finite(list(moment.kernels())) for moment in chosen]
    for moment, towers in zip(chosen, kernels, strict=True):
        if [each.shape for each in towers] != [each.shape for each in kernels[0]]:
            raise DataError(f"{moment.path} is damaged or of another network: its kernels have another shape.")
    largest = largest_weight([own for towers in kernels for own in towers], scaling)
    rows, columns = len(kernels[0]), len(chosen)
    sample = kernel_grid(kernels[0][0], NARROW)
    height = PANEL * sample.shape[0] / sample.shape[1]
    figure, axes = new_figure(PANEL * columns + 0.3, (height + 0.15) * rows + 0.6, rows, columns)
    for column, moment, towers in zip(axes.T, chosen, kernels, strict=True):
        for axis, own in zip(column, towers, strict=True):
            show_image(axis, kernel_grid(own, NARROW, largest), interpolation="nearest")
        column[0].set_title(_moment_text(moment), fontsize=8.5, color=INK)
    for tower, axis in enumerate(axes[:, 0]):
        axis.set_ylabel(f"Tower {tower_letter(tower)}", fontsize=9, color=INK)
    figure.supxlabel(_scale_text(largest), fontsize=8, color=QUIET, x=0.005, ha="left")
    save_figure(figure, path)


def moments_shown(moments: Sequence[KernelSnapshot]) -> list[KernelSnapshot]:
    """Choose at most six moments, with the first and the last: each about as many times later than the one before.

    Kernels take shape in the first few epochs and hardly change in the last ones.
    """
    if len(moments) <= MOMENTS:
        return list(moments)
    spaced = np.geomspace(1, len(moments), MOMENTS).round().astype(int) - 1
    return [moments[index] for index in np.maximum(spaced, np.arange(MOMENTS))]


def _finite(towers: list[np.ndarray]) -> list[np.ndarray]:
    """Return the kernels of each tower, if all of them are finite: in a figure others would be white, or dead."""
    for tower, kernels in enumerate(towers):
        if not np.isfinite(kernels).all():
            raise not_finite("The kernels of the first layer", f"tower {tower_letter(tower)}")
    return towers


def _draw_rows(grids: Sequence[np.ndarray], titles: Sequence[str], chart: float = 0.0) -> tuple[Figure, Axes]:
    """Draw grids of kernels `(height, width, 3)`, 0..1, one above the other, each under its title.

    Returns:
        The figure, and its last axes: those of a chart below the grids where that has a height in inches.
    """
    heights = [WIDTH * grid.shape[0] / grid.shape[1] for grid in grids] + [chart] * bool(chart)
    margins = 0.35 * len(grids) + (0.6 if chart else 0.25)
    figure, axes = new_figure(WIDTH, sum(heights) + margins, len(heights), height_ratios=heights)
    for axis, grid, title in zip(axes.flat, grids, titles, strict=False):
        show_image(axis, grid, interpolation="nearest")
        heading(axis, title, 10, INK)
    return figure, axes[-1, 0]


def _moment_text(moment: KernelSnapshot) -> str:
    if not moment.epochs:
        return "before training"
    return f"{moment.epochs} epoch{'s' if moment.epochs > 1 else ''}\n{moment.steps:,} steps"


def _scale_text(largest: float | None) -> str:
    if largest is None:
        return "Mid-grey is zero; each kernel is scaled by its own largest weight."
    return f"Mid-grey is zero; all kernels are scaled by the largest weight, {largest:.2g}."


@own_style()
def draw_towers(towers: list[np.ndarray], report: ColorReport, path: str | Path) -> None:
    """Draw each tower's kernels in the order of their colour shares, and below them the shares (paper, section 6.1).

    Args:
        towers: The kernels of each tower, `(height, width, 3, filters)`.
        report: Their colour, from `compare_towers`.
        path: .png, .svg or .pdf.

    Raises:
        NotFiniteError: The kernels are not finite.
    """
    grids = [
        kernel_grid(kernels[..., np.argsort(color.shares, kind="stable")])  # NaN, of dead kernels, comes last
        for kernels, color in zip(_finite(towers), report.towers, strict=True)
    ]
    figure, chart = _draw_rows(grids, list(map(_color_text, report.towers)), chart=0.55 * len(grids) + 0.5)
    _draw_shares(chart, report, pixels=towers[0].shape[0] * towers[0].shape[1])
    save_figure(figure, path)


def _draw_shares(axis: Axes, report: ColorReport, pixels: int) -> None:
    """One dot per kernel, its area growing with the kernel's energy, and a bar at each tower's median."""
    low, high = random_shares(pixels)
    axis.axvspan(low, high, color=PALE, linewidth=0, zorder=0)
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
    label = "colour share of a kernel: 0 grey, 1 purely chromatic; area is energy, a bar the median"
    axis.set_xlabel(label, fontsize=8, color=INK)
    differences = [
        f"A kernel of tower {found.more} is more colourful than one of {found.less} with probability "
        f"{found.probability:.2f} (Mann-Whitney, p = {found.p_value:.2g})"
        for found in report.differences
    ]
    heading(axis, "; ".join(differences), color=INK)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(colors=INK, labelsize=8)
    axis.tick_params(axis="y", length=0)


def _color_text(color: TowerColor) -> str:
    if np.isnan(color.median):
        return f"Tower {color.tower}: {len(color.shares)} kernels, all of them dead"
    dead = f", {color.dead} of them dead" if color.dead else ""
    return (
        f"Tower {color.tower}: {len(color.shares)} kernels{dead}, grey to colourful; "
        f"colour share: median {color.median:.2f}, weighted by energy {color.weighted_mean:.2f}"
    )
