"""One style for every figure, how a figure is written, and fonts that have the characters of class names.

Characters of Chinese, Hindi or an emoji are not in matplotlib's own font."""

import functools
import logging
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.ticker import NullFormatter

from alexnet_keras.errors import UsageError
from alexnet_keras.storage.files import write_by_rename

EMPTY = ("Color Emoji", "Last Resort", "Blank")  # families of which matplotlib draws bitmaps, boxes or nothing
EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH")
EMOJI = "\U0001f000"  # about where they begin

_families: list[str] = []  # that were needed so far
_known: dict[str, bool] = {}  # whether our own font or one of _families has a character
_told: set[str] = set()  # the fonts that have been recommended


def more_families() -> list[str]:
    """The font families, besides the default one, that texts seen by `drawable` need."""
    return list(_families)


def drawable(text: str) -> str:
    """One line of text as it can be drawn: what no installed font has, and no font could, is escaped as Python does it.

    Of installed fonts those that have the most of what ours lacks become `more_families`. The first time that there is
    none for a character, that is reported on stderr.
    """
    if text.isascii() and text.isprintable():
        return text
    if new := {sign for sign in text if sign.isprintable() or _is_silent(sign)} - _known.keys():
        _find(new)
    return "".join(map(_drawn, text))


def covered(fonts: Iterable[str], signs: set[str]) -> set[str]:
    """Those of the characters that each of the font files has."""
    for path in fonts:
        font = FT2Font(path)
        signs = {sign for sign in signs if font.get_char_index(ord(sign))}
    return signs


def installed_fonts() -> dict[str, str]:
    """The families of scalable fonts by their files, upright and of normal weight first.

    Matplotlib's own list is made once and lacks what was installed since.
    """
    listed = {font.fname for font in font_manager.fontManager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - listed):
        try:
            font_manager.fontManager.addfont(path)
        except (OSError, RuntimeError, ValueError):  # a damaged file
            continue
    fonts = sorted(
        font_manager.fontManager.ttflist,
        key=lambda font: (font.style != "normal", font.weight not in (400, "normal", "regular"), font.name, font.fname),
    )
    return {
        font.fname: font.name
        for font in fonts
        if font.size == "scalable" and not any(part in font.name for part in EMPTY)
    }


@functools.cache
def _own_fonts() -> tuple[str, ...]:
    return tuple(font_manager.findfont(FontProperties(weight=weight)) for weight in ("normal", "bold"))


def _find(signs: set[str]) -> None:
    """Takes families until they and ours have all of the characters, or no font has any of the others."""
    rest = signs - covered(_own_fonts(), signs)
    having: dict[str, set[str]] = {}
    for path, family in installed_fonts().items() if rest else ():
        try:
            having[family] = covered([path], rest) | having.get(family, set())
        except (OSError, RuntimeError, ValueError):
            continue
    while having and (best := max(having, key=lambda family: (family in _families, len(having[family] & rest)))):
        found = having.pop(best) & rest
        if found and best not in _families:
            _families.append(best)
        rest -= found
    _known.update({sign: sign not in rest for sign in signs})
    if fonts := {_font_with(sign) for sign in rest if not _is_silent(sign)} - _told:
        _told.update(fonts)
        logging.getLogger(__name__).warning(
            "Note: no installed font has the characters of some names, which figures show as %s. Install %s.",
            ascii(min(rest))[1:-1],
            " and ".join(sorted(fonts)),
        )


def _font_with(sign: str) -> str:
    """The font that can be had for the script of a character."""
    script = unicodedata.name(sign, "Symbols").split()[0]
    if unicodedata.category(sign)[0] in "SP" and script not in EAST_ASIAN:
        return "Noto Emoji" if sign >= EMOJI else "Noto Sans Symbols"
    return f"Noto Sans {'CJK' if script in EAST_ASIAN else script.title()}"


def _is_silent(sign: str) -> bool:
    """Whether a character only says how others look: joiners, and what chooses between two forms of an emoji."""
    return unicodedata.category(sign) == "Cf" or unicodedata.name(sign, "").startswith("VARIATION SELECTOR")


def _drawn(sign: str) -> str:
    if _known.get(sign):
        return sign
    return "" if _is_silent(sign) else ascii(sign)[1:-1]


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
        raise UsageError(f"{path}: a figure is written as {', '.join(FORMATS)}.")
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
