"""Curves of several runs: loss, error and learning rate over the epochs; and reliability (Guo et al. 2017)."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from alexnet_keras.errors import UsageError
from alexnet_keras.evaluation.analysis import Calibration
from alexnet_keras.runs import Run, best_epoch, names_of
from alexnet_keras.visualization.style import (
    INK,
    QUIET,
    SERIES,
    heading,
    logarithmic,
    new_figure,
    own_style,
    save_figure,
    shorten_all,
    style_chart,
)

MOST_RUNS = len(SERIES)
MOST_RATES = 6  # ticks of the learning rate
NARROW = 26  # characters of a run's name, of which the legend has four in a row
MOST_LABELLED = 3  # runs whose lowest error is written at its point


@own_style()
def draw_curves(runs: Sequence[Run], path: str | Path) -> None:
    """Draw cross-entropy, top-1 error and the weights' learning rate over the epochs, with the best epoch marked.

    Training is dotted: it is measured while the network learns, on augmented crops and with dropout. Validation is
    solid. The axes of loss and error begin at 0 and end above the largest value.

    Args:
        runs: At most seven runs.
        path: .png, .svg or .pdf.

    Raises:
        UsageError: A run has no finished epoch, there are too many runs, or the file has another suffix.
        DataError: A history is damaged.
    """
    if len(runs) > MOST_RUNS:
        raise UsageError(f"{len(runs)} runs are too many to tell apart in one figure: name {MOST_RUNS} or fewer.")
    histories = [run.history for run in runs]
    for run, history in zip(runs, histories, strict=True):
        if not history:
            raise UsageError(f"The run {run.path} has not finished an epoch: there is nothing to draw.")
    figure, grid = new_figure(9.0, 7.0, 3, sharex=True, height_ratios=[3, 3, 1.4])
    loss, error, rate = grid.flat
    lines: list[Line2D] = []
    for history, color in zip(histories, SERIES, strict=False):
        epochs = [row["epoch"] + 1 for row in history]
        marker = "o" if len(history) == 1 else None  # one point has no line
        options = {"color": color, "marker": marker, "markersize": 3}
        hollow = {**options, "marker": marker, "markersize": 6, "markerfacecolor": "none"}  # so that both are seen
        loss.plot(epochs, [row["loss"] for row in history], ":", **hollow)
        lines += loss.plot(epochs, [row["val_loss"] for row in history], "-", **options)
        error.plot(epochs, [row["top1_error"] for row in history], ":", **hollow)
        error.plot(epochs, [row["val_top1_error"] for row in history], "-", **options)
        best = best_epoch(history)
        if best is not None:
            at, low = best["epoch"] + 1, best["val_top1_error"]
            error.plot([at], [low], "o", color=color, markersize=5, markeredgecolor="white", zorder=3, clip_on=False)
            if len(runs) <= MOST_LABELLED:
                note = {"textcoords": "offset points", "ha": "center", "fontsize": 7.5, "color": color}
                error.annotate(f"{low:.1%}", (at, low), (0, -11 if low > 0.1 else 6), **note)
        used = [row["rate_weights"] for row in history]  # each in the epoch that ends at its place
        rate.step([epochs[0] - 1, *epochs], [used[0], *used], where="pre", color=color)
    loss.set_ylabel("cross-entropy, nats")
    error.set_ylabel("top-1 error")
    error.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    for axis, column in ((loss, "loss"), (error, "top1_error")):
        shown = [row[name] for history in histories for row in history for name in (column, f"val_{column}")]
        axis.set_ylim(0, 1.08 * (max(shown) or 1.0))
    rate.set_ylabel("learning rate")
    logarithmic(rate.yaxis)
    rates = sorted({row["rate_weights"] for history in histories for row in history if row["rate_weights"] > 0})
    rate.set_yticks(rates[:: ceil(len(rates) / MOST_RATES)] if rates else [], minor=False)
    rate.minorticks_off()
    if rates:
        rate.set_ylim(rates[0] / 1.6, rates[-1] * 1.6)
    rate.set_xlabel("epoch")
    rate.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels(grid[:, 0])
    for axis in grid.flat:
        style_chart(axis)
    alone = any(len(history) == 1 for history in histories)
    lone: dict[str, Any] = {"marker": "o", "markersize": 6, "markerfacecolor": "none"} if alone else {}
    styles = {
        "validation": Line2D([], [], color=QUIET),
        "training": Line2D([], [], color=QUIET, linestyle=":", **lone),
        "best epoch": Line2D([], [], color=QUIET, linestyle="", marker="o", markersize=5),
    }
    names = names_of(runs)
    short = shorten_all(names.values(), 40)
    texts = [*(short[names[run.path]] for run in runs), *styles]
    columns = 4 if max(map(len, texts)) <= NARROW else 3
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": columns}  # above the lines, covers none of them
    legend = loss.legend([*lines, *styles.values()], ["-"] * len(texts), fontsize=8, frameon=False, **place)
    for text, shown in zip(legend.get_texts(), texts, strict=True):
        text.set_text(shown)  # a label that begins with _ would be left out
    save_figure(figure, path)


@own_style()
def draw_reliability(calibration: Calibration, path: str | Path) -> None:
    """Draw accuracy over confidence, one dot per bin, and below it the number of images in each bin.

    On the dashed diagonal the network is right as often as it is confident; below it, it is overconfident.
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
