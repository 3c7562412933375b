"""The style of every figure, the writing of its file, and fonts for the characters of class names.

Matplotlib's own font lacks, for example, Chinese and Hindi characters and emoji.
"""

import functools
import logging
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.ticker import NullFormatter

from alexnet_keras.errors import UsageError
from alexnet_keras.storage.files import write_by_rename
from alexnet_keras.visualization import FORMATS

EMPTY = ("Color Emoji", "Last Resort", "Blank")  # families of which matplotlib draws bitmaps, boxes or nothing
EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH")
EMOJI = "\U0001f000"  # about where they begin
NORMAL_WEIGHTS = (400, "normal", "regular")
DAMAGED_FONT = (OSError, RuntimeError, ValueError)  # raised for a damaged file

_families: list[str] = []  # needed so far
_known: dict[str, bool] = {}  # whether matplotlib's own font or one of _families has a character
_recommended: set[str] = set()  # fonts that were named in a note


def drawable(text: str) -> str:
    """Return one line of text with Python's escapes for control characters and for what no installed font has.

    Every figure from then on also uses the installed fonts that have the most of the characters which matplotlib's own
    lacks. A note on stderr names the fonts to install, the first time that each is needed.
    """
    if text.isascii() and text.isprintable():
        return text
    if new := {sign for sign in text if sign.isprintable() or _is_silent(sign)} - _known.keys():
        _find(new)
    return "".join(map(_drawn, text))


def covered(fonts: Iterable[str], signs: set[str]) -> set[str]:
    """Return those of the characters that every one of the font files has."""
    for path in fonts:
        font = FT2Font(path)
        signs = {sign for sign in signs if font.get_char_index(ord(sign))}
    return signs


def installed_fonts() -> dict[str, str]:
    """Return the families of scalable fonts by their files, upright fonts of normal weight first.

    Matplotlib makes its own list once: fonts installed since then are added.
    """
    manager = font_manager.fontManager
    for path in sorted(set(font_manager.findSystemFonts()) - {font.fname for font in manager.ttflist}):
        with suppress(*DAMAGED_FONT):
            manager.addfont(path)
    fonts = [
        font for font in manager.ttflist if font.size == "scalable" and not any(part in font.name for part in EMPTY)
    ]
    fonts.sort(key=lambda font: (font.style != "normal", font.weight not in NORMAL_WEIGHTS, font.name, font.fname))
    return {font.fname: font.name for font in fonts}


@functools.cache
def _own_fonts() -> tuple[str, ...]:
    return tuple(font_manager.findfont(FontProperties(weight=weight)) for weight in ("normal", "bold"))


def _find(signs: set[str]) -> None:
    """Add families until every character is covered, or no font has any of the rest."""
    rest = signs - covered(_own_fonts(), signs)
    having: dict[str, set[str]] = {}
    for path, family in installed_fonts().items() if rest else ():
        with suppress(*DAMAGED_FONT):
            having[family] = covered([path], rest) | having.get(family, set())
    while having and (best := max(having, key=lambda family: (family in _families, len(having[family] & rest)))):
        found = having.pop(best) & rest
        if found and best not in _families:
            _families.append(best)
        rest -= found
    _known.update({sign: sign not in rest for sign in signs})
    if fonts := {_font_with(sign) for sign in rest if not _is_silent(sign)} - _recommended:
        _recommended.update(fonts)
        logging.getLogger(__name__).warning(
            "Note: no installed font has the characters of some names, which figures show as %s. Install %s.",
            ascii(min(rest))[1:-1],
            " and ".join(sorted(fonts)),
        )


def _font_with(sign: str) -> str:
    """Name a freely available font for the script of a character."""
    script = unicodedata.name(sign, "Symbols").split()[0]
    if unicodedata.category(sign)[0] in "SP" and script not in EAST_ASIAN:
        return "Noto Emoji" if sign >= EMOJI else "Noto Sans Symbols"
    return f"Noto Sans {'CJK' if script in EAST_ASIAN else script.title()}"


def _is_silent(sign: str) -> bool:
    """True if a character only changes how others look: joiners, and variation selectors of emoji."""
    return unicodedata.category(sign) == "Cf" or unicodedata.name(sign, "").startswith("VARIATION SELECTOR")


def _drawn(sign: str) -> str:
    if _known.get(sign):
        return sign
    return "" if _is_silent(sign) else ascii(sign)[1:-1]


# Class names are names: a dollar sign in one begins no formula.
PLAIN: dict[Any, Any] = {"text.parse_math": False, "text.usetex": False}
INK, QUIET, PALE = "#222222", "#777777", "#e5e5e5"  # of text, of text in the background, of lines and bands
RIGHT, WRONG = "#1a7f37", "#b42318"
# Distinct for all kinds of colour vision.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
LEGEND: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "framealpha": 0.9}  # no grid behind its texts
DPI = 200


@contextmanager
def own_style() -> Iterator[None]:
    """Draw with matplotlib's defaults, whatever a matplotlibrc or a style in use says; also a decorator."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure by rename, in the format of the path's suffix; its parts are made in `own_style`.

    Raises:
        UsageError: The suffix is none of FORMATS.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: a figure is written as {', '.join(FORMATS)}.")
    texts: list[Any] = figure.findobj(Text)
    for text in texts:
        lines = text.get_text().split("\n")
        text.set(text="\n".join(map(drawable, lines)), parse_math=False, usetex=False)
    for text in texts:
        text.set_fontfamily([*text.get_fontfamily(), *_families])
    drawn = BytesIO()  # Matplotlib itself hides the error of a full disk
    # PLAIN, too, for texts that are made while the figure is drawn, such as further ticks
    with warnings.catch_warnings(), matplotlib.rc_context(PLAIN):
        warnings.filterwarnings("ignore", r"Glyph \d+")  # a family may have it upright and not in bold
        kind = path.suffix[1:].lower()
        figure.savefig(drawn, format=kind, dpi=DPI, facecolor="white", bbox_inches="tight", pad_inches=0.15)
    with write_by_rename(path) as unfinished:
        unfinished.write_bytes(drawn.getvalue())


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    """Make a figure of a size in inches, and its axes in an array `(rows, columns)`; the options are `subplots`'s."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def show_image(axis: Axes, image: np.ndarray, label: str = "", color: str = INK, **options: Any) -> None:
    """Show an image without ticks and frame, with a label below; `Axes.imshow` gets the options.

    The image is `(height, width, 3)` RGB, uint8 or 0..1, or `(height, width)` values of a colour map.
    """
    axis.imshow(image, **options)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    axis.set_xlabel(label, fontsize=7.5, color=color)


def heading(axis: Axes, text: str, size: float = 9, color: str = QUIET) -> None:
    """Write a heading above axes, on their left."""
    axis.set_title(text, loc="left", fontsize=size, color=color)


def style_chart(axis: Axes) -> None:
    """Give the axes of a chart a pale grid behind the data and no frame but for the left and the bottom."""
    axis.grid(color=PALE, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=INK, labelsize=8)


def logarithmic(axis: XAxis | YAxis) -> None:
    """Make an axis logarithmic, with plain numbers at its ticks: matplotlib's own would be mathtext, which is off."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def shorten(text: str, length: int) -> str:
    """Return a text as figures show it, cut with an ellipsis where it is wider than `length` Latin letters."""
    return _cut(_shown(text), length, 0)


def shorten_all(texts: Iterable[str], length: int) -> dict[str, str]:
    """Shorten texts so that no two of them become the same.

    Texts with the same beginning are shown with their beginning and end, and otherwise with a number.

    Returns:
        The shortened text by text.
    """
    names = list(dict.fromkeys(texts))
    drawable("".join(names))  # all at once, so that one note names all fonts
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
    """Cut a text to the width of `length` Latin letters, the last `ending` of them from its end."""
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in text)
    if len(text) + wide <= length:
        return text
    length, ending = (max(2, number * len(text) // (len(text) + wide)) if number else 0 for number in (length, ending))
    return f"{text[: max(1, length - 1 - ending)].rstrip()}…{text[len(text) - ending :].lstrip()}"


def _alike(short: dict[str, str]) -> list[str]:
    """List the texts whose short forms are not unique."""
    times = Counter(short.values())
    return [text for text, own in short.items() if times[own] > 1]
