"""One look for every picture, and how it is written."""

import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import matplotlib
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import NullFormatter

from alexnet_keras.errors import UsageError
from alexnet_keras.files import write_by_rename
from alexnet_keras.visualization.fonts import drawable, more_families

matplotlib.rcParams["text.parse_math"] = False  # class names are names: a dollar sign in one begins no formula
matplotlib.rcParams["text.usetex"] = False  # whatever a matplotlibrc says
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
    for text in figure.findobj(Text):
        lines = text.get_text().split("\n")
        text.set_text("\n".join(map(drawable, lines)))
    for text in figure.findobj(Text) if more_families() else ():
        text.set_fontfamily([*text.get_fontfamily(), *more_families()])
    with write_by_rename(path) as unfinished, warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+")  # that a family has upright and not in bold
        figure.savefig(unfinished, dpi=DPI, facecolor="white", bbox_inches="tight", pad_inches=0.15)


def logarithmic(axis: XAxis | YAxis) -> None:
    """Makes an axis logarithmic, with plain numbers at its ticks: matplotlib's own would be mathtext, which is off."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def shorten(text: str, length: int) -> str:
    """The text as a figure shows it, cut with an ellipsis where it is wider than `length` Latin letters."""
    return _cut(_shown(text), length, 0)


def shorten_all(texts: Iterable[str], length: int) -> dict[str, str]:
    """What `shorten` makes of each text, but that no two of them become the same.

    Where the beginnings are, beginning and end are shown, and else a number.
    """
    names = list(dict.fromkeys(texts))
    drawable("".join(names))  # all of them at once, so that one note tells of all that cannot be drawn
    shown = {name: _shown(name) for name in names}
    short = {text: _cut(own, length, 0) for text, own in shown.items()}
    for ending in (length // 2, length - 3):
        for text in _alike(short):
            short[text] = _cut(shown[text], length, ending)
    for number, text in enumerate(_alike(short), start=1):
        short[text] = f"{_cut(shown[text], length - 5, 0)} ({number})"
    return short


def _shown(text: str) -> str:
    return drawable(" ".join(text.split()))


def _cut(text: str, length: int, ending: int) -> str:
    """The first and the `ending` last of as many characters as are `length` Latin letters wide."""
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in text)
    if len(text) + wide <= length:
        return text
    length, ending = (max(2, number * len(text) // (len(text) + wide)) if number else 0 for number in (length, ending))
    return f"{text[: max(1, length - 1 - ending)].rstrip()}…{text[len(text) - ending :].lstrip()}"


def _alike(short: dict[str, str]) -> list[str]:
    """The texts that became what another became, too."""
    times = Counter(short.values())
    return [text for text, own in short.items() if times[own] > 1]
