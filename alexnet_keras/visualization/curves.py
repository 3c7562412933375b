"""Curves of several runs together: loss, error and learning rate over the epochs, and reliability (Guo et al. 2017)."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from alexnet_keras.errors import UsageError
from alexnet_keras.evaluation.analysis import Calibration
from alexnet_keras.runs import Run
from alexnet_keras.visualization.style import INK, QUIET, SERIES, logarithmic, save_figure, shorten_all

MOST_RUNS = len(SERIES)


def draw_curves(runs: Sequence[Run], path: Path) -> None:
    """Writes three panels: cross-entropy, top-1 error on the validation split, and the rate of the weights.

    Training is dotted (measured while the network learns, on changed crops and with dropout), validation solid.

    Raises:
        UsageError: a run has no finished epoch, there are too many runs, or the suffix of the path is unknown.
    """
    if len(runs) > MOST_RUNS:
        raise UsageError(f"{len(runs)} runs are too many to tell apart in one figure: name {MOST_RUNS} or fewer.")
    histories = [run.history for run in runs]
    for run, history in zip(runs, histories, strict=True):
        if not history:
            raise UsageError(f"The run {run.path} has not finished an epoch yet: there is nothing to draw.")
    names = shorten_all((run.name for run in runs), 40)
    figure = Figure(figsize=(9.0, 7.0), layout="constrained")
    lines: list[Line2D] = []
    loss, error, rate = figure.subplots(3, 1, sharex=True, height_ratios=[3, 3, 1.4])
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
    loss.set_ylim(bottom=0)
    error.set_ylabel("top-1 error")
    error.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    error.set_ylim(bottom=0)
    rate.set_ylabel("rate of the weights")
    logarithmic(rate.yaxis)
    rates = sorted({row["rate_weights"] for history in histories for row in history if row["rate_weights"] > 0})
    rate.set_yticks(rates[:: -(-len(rates) // 6)] if rates else [], minor=False)
    rate.set_xlabel("epoch")
    rate.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (loss, error, rate):
        axis.grid(color="#e5e5e5", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(colors=INK, labelsize=8)
    loss.set_title("validation solid, training dotted", loc="left", fontsize=9, color=QUIET)
    legend = loss.legend(lines, ["run"] * len(runs), fontsize=8, frameon=False, loc="upper right")
    for text, run in zip(legend.get_texts(), runs, strict=True):
        text.set_text(names[run.name])  # a label that begins with _ would be left out
    save_figure(figure, path)


def draw_reliability(found: Calibration, path: Path) -> None:
    """Writes accuracy over confidence, a dot a bin, and below it how many images are in each bin.

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
