"""How colour-specific each tower's kernels are (paper, section 6.1): the kernels in order, and the distributions."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_keras.kernel_color import RANDOM_SHARE, ColorReport, TowerColor, random_shares
from alexnet_keras.kernel_grid import kernel_grid
from alexnet_keras.visualization.kernels import WIDTH, show_grid
from alexnet_keras.visualization.style import INK, QUIET, SERIES, save_figure

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
        axis.set_title(_about(color), loc="left", fontsize=10, color=INK)
    pixels = towers[0].shape[0] * towers[0].shape[1]
    _draw_shares(line, report, pixels)
    save_figure(figure, path)


def _draw_shares(axis: Axes, report: ColorReport, pixels: int) -> None:
    """A dot a kernel, its area in proportion to the kernel's energy, and a bar at each tower's median."""
    low, high = random_shares(pixels)
    axis.axvspan(low, high, color="#e5e5e5", linewidth=0, zorder=0)
    axis.text(RANDOM_SHARE, -0.62, "random weights", fontsize=7, color=QUIET, ha="center", va="center")
    most = max(float(color.energies.max()) for color in report.towers) or 1.0
    jitter = np.random.default_rng(0)  # the same picture every time
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


def _about(color: TowerColor) -> str:
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
