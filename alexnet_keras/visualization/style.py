"""One look for every picture, and how it is written."""

from pathlib import Path

import matplotlib
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from alexnet_keras.errors import UsageError
from alexnet_keras.files import write_by_rename

matplotlib.rcParams["text.parse_math"] = False  # class names are names: a dollar sign in one begins no formula
FORMATS = (".png", ".svg", ".pdf")
INK, QUIET = "#222222", "#777777"
RIGHT, WRONG = "#1a7f37", "#b42318"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # told apart by all eyes
DPI = 200


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure whole, in the format of the path's suffix.

    Raises:
        UsageError: the suffix is none of FORMATS.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: a picture is written as {', '.join(FORMATS)}.")
    with write_by_rename(path) as unfinished:
        figure.savefig(unfinished, dpi=DPI, facecolor="white", bbox_inches="tight", pad_inches=0.15)


def logarithmic(axis: XAxis | YAxis) -> None:
    """Makes an axis logarithmic, with plain numbers at its ticks: matplotlib's own would be mathtext, which is off."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def shorten(text: str, length: int) -> str:
    """The text, cut with an ellipsis where it is longer than `length` characters."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
