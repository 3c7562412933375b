"""Fonts that have the characters of class names: those of Chinese, Hindi or an emoji are not in matplotlib's own."""

import functools
import logging
import unicodedata
from collections.abc import Iterable

from matplotlib import font_manager
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font

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
