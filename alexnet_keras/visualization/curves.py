"""Curves of several runs: loss, error and learning rate over the epochs; and reliability (Guo et al. 2017)."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from alexnet_keras.errors import UsageError
from alexnet_keras.evaluation.analysis import Calibration
from alexnet_keras.runs import Run
from alexnet_keras.visualization.style import (
    INK,
    QUIET,
    SERIES,
    heading,
    logarithmic,
    new_figure,
    save_figure,
    shorten_all,
    style_chart,
)

MOST_RUNS = len(SERIES)
MOST_RATES = 6  # ticks of the learning rate


def draw_curves(runs: Sequence[Run], path: Path) -> None:
    """Draw cross-entropy, top-1 error on the validation split, and the weights' learning rate, over the epochs.

    Training is dotted: it is measured while the network learns, on augmented crops and with dropout. Validation is
    solid.

    Args:
        runs: At most seven runs.
        path: .png, .svg or .pdf.

    Raises:
        UsageError: A run has no finished epoch, there are too many runs, or the file has another suffix.
    """
    if len(runs) > MOST_RUNS:
        raise UsageError(f"{len(runs)} runs are too many to tell apart in one figure: name {MOST_RUNS} or fewer.")
    histories = [run.history for run in runs]
    for run, history in zip(runs, histories, strict=True):
        if not history:
            raise UsageError(f"The run {run.path} has not finished an epoch yet: there is nothing to draw.")
    figure, grid = new_figure(9.0, 7.0, 3, sharex=True, height_ratios=[3, 3, 1.4])
    loss, error, rate = grid.flat
    lines: list[Line2D] = []
    for history, color in zip(histories, SERIES, strict=False):
        epochs = [row["epoch"] + 1 for row in history]
        marker = "o" if len(history) == 1 else None  # one point has no line
        options = {"color": color, "marker": marker, "markersize": 3}
        loss.plot(epochs, [row["loss"] for row in history], ":", **options)
        lines += loss.plot(epochs, [row["val_loss"] for row in history], "-", **options)
        error.plot(epochs, [row["top1_error"] for row in history], ":", **options)
        error.plot(epochs, [row["val_top1_error"] for row in history], "-", **options)
        rate.step(epochs, [row["rate_weights"] for row in history], where="post", **options)
    loss.set_ylabel("cross-entropy, nats")
    error.set_ylabel("top-1 error")
    error.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    for axis in (loss, error):
        axis.set_ylim(bottom=0)
    rate.set_ylabel("rate of the weights")
    logarithmic(rate.yaxis)
    rates = sorted({row["rate_weights"] for history in histories for row in history if row["rate_weights"] > 0})
    rate.set_yticks(rates[:: ceil(len(rates) / MOST_RATES)] if rates else [], minor=False)
    rate.set_xlabel("epoch")
    rate.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in grid.flat:
        style_chart(axis)
    heading(loss, "validation solid, training dotted")
    names = shorten_all((run.name for run in runs), 40)
    legend = loss.legend(lines, ["run"] * len(runs), fontsize=8, frameon=False, loc="upper right")
    for text, run in zip(legend.get_texts(), runs, strict=True):
        text.set_text(names[run.name])  # a label that begins with _ would be left out
    save_figure(figure, path)


def draw_reliability(calibration: Calibration, path: Path) -> None:
    """Draw accuracy over confidence, one dot per bin, and below it the number of images in each bin.

    On the dashed diagonal the network is right as often as it is confident; below it, it is overconfident.

    Args:
        calibration: The bins.
        path: .png, .svg or .pdf.

    Raises:
        UsageError: The file has another suffix.
    """
    figure, grid = new_figure(5.0, 5.6, 2, sharex=True, height_ratios=[4, 1.1])
    accuracy, images = grid.flat
    confidence, color = calibration.confidence, SERIES[0]
    accuracy.plot([0, 1], [0, 1], "--", color=QUIET, linewidth=1)
    accuracy.vlines(confidence, confidence, calibration.accuracy, color=color, alpha=0.35, linewidth=3)
    accuracy.plot(confidence, calibration.accuracy, "o-", color=color, markersize=5, linewidth=1.2)
    accuracy.set_ylim(-0.02, 1.02)
    accuracy.set_ylabel("share of right answers")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    title = f"expected calibration error {calibration.expected_error:.1%}; dashed: as sure as right"
    heading(accuracy, title, color=INK)
    images.vlines(confidence, 0, calibration.images, color=color, linewidth=5)
    images.set_ylim(bottom=0)
    images.set_ylabel("images")
    images.set_xlim(-0.02, 1.02)
    images.set_xlabel("confidence: the probability of the likeliest class")
    images.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    for axis in grid.flat:
        style_chart(axis)
    save_figure(figure, path)
