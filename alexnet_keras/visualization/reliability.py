"""Reliability: how often the network is right where it is so and so sure (Guo et al. 2017)."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from alexnet_keras.evaluation.analysis import Calibration
from alexnet_keras.visualization.style import INK, QUIET, SERIES, save_figure


def draw_reliability(found: Calibration, path: Path) -> None:
    """Writes accuracy over confidence, a dot a bin, and below it how many pictures are in each bin.

    On the dashed diagonal the network is right as often as it says; below it, it is too sure of itself.

    Args:
        path: .png, .svg or .pdf.

    Raises:
        UsageError: the file has another suffix.
    """
    figure = Figure(figsize=(5.0, 5.6), layout="constrained")
    accuracy, images = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1.1])
    color = SERIES[0]
    accuracy.plot([0, 1], [0, 1], "--", color=QUIET, linewidth=1)
    accuracy.vlines(found.confidence, found.confidence, found.accuracy, color=color, alpha=0.35, linewidth=3)
    accuracy.plot(found.confidence, found.accuracy, "o-", color=color, markersize=5, linewidth=1.2)
    accuracy.set_ylim(-0.02, 1.02)
    accuracy.set_ylabel("share of right answers")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    accuracy.set_title(
        f"expected calibration error {found.expected_error:.1%}; dashed: as sure as right",
        loc="left",
        fontsize=9,
        color=INK,
    )
    images.vlines(found.confidence, 0, found.images, color=color, linewidth=5)
    images.set_ylim(bottom=0)
    images.set_ylabel("images")
    images.set_xlim(-0.02, 1.02)
    images.set_xlabel("confidence: the probability of the likeliest class")
    images.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    for axis in (accuracy, images):
        axis.grid(color="#e5e5e5", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=INK, labelsize=8)
    save_figure(figure, path)
