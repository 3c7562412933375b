"""Charts that several experiments draw: one row per quantity, and errors over epochs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_keras.experiments.outcome import OverSeeds
from alexnet_keras.visualization.style import INK, LEGEND, QUIET, SERIES, save_figure


def row_axes(labels: Sequence[str], row_height: float = 0.4) -> Axes:
    """Axes with one labelled row per quantity at y = 0, 1, ..., the first at the top; heights in inches."""
    figure = Figure(figsize=(7.2, 0.9 + row_height * max(1, len(labels))))
    axes = figure.add_subplot()
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.3, -0.7)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return axes


def draw_over_seeds(
    rows: Mapping[str, OverSeeds | None], path: Path, label: str, dots: str = "seeds", reference: float | None = None
) -> None:
    """Draw each quantity in its row: a dot per value, a diamond at the mean, a line along the 95 % interval.

    Args:
        rows: Errors or differences of errors, shares, by label; None for a network that diverged.
        label: The label of the horizontal axis, in percent or points.
        dots: What the values are of.
        reference: Where a vertical line stands, share.
    """
    axes = row_axes(list(rows))
    if reference is not None:
        axes.axvline(100 * reference, color=QUIET, lw=0.8)
    for row, ours in enumerate(rows.values()):
        if ours is None:
            axes.text(0.01, row, "diverged", color=QUIET, va="center", transform=axes.get_yaxis_transform())
            continue
        axes.plot(
            [100 * value for value in ours.values], [row] * len(ours.values), "o", color=SERIES[0], ms=4, alpha=0.6
        )
        axes.plot(100 * ours.mean, row, "D", color=INK, ms=5)
        if ours.interval:
            axes.plot([100 * end for end in ours.interval], [row, row], color=INK, lw=1)
    axes.set_xlabel(f"{label}; dots: {dots}, diamond: mean, line: its 95 % interval")
    write(axes, path)


def epoch_axes(label: str) -> Axes:
    """Axes for errors over epochs, with this label of the vertical axis, on which shares are shown as percentages."""
    axes = Figure(figsize=(6.4, 4.0)).add_subplot()
    axes.set(xlabel="epochs", ylabel=label)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def write_epochs(axes: Axes, path: Path, errors: tuple[float, float | None] = (0, None)) -> None:
    """Write the figure of `epoch_axes`, on which all lines are drawn, with its legend and this range of errors."""
    axes.set(xlim=(0, None), ylim=errors)  # only now: a limit that is set stays as later lines are drawn
    axes.legend(labelcolor=INK, **LEGEND)
    write(axes, path)


def write(axes: Axes, path: Path) -> None:
    """Write the figure of these axes."""
    figure = axes.figure
    assert isinstance(figure, Figure)  # no figure here has figures inside
    save_figure(figure, path)
