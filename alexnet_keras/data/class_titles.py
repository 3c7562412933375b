"""What classes are called in pictures and tables: short, in words where these are known, and each differently."""

import functools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

WORDNET_ID = re.compile(r"n\d{8}")
WORDS = Path(__file__).with_name("imagenet2012_words.tsv")  # the devkit's words of the 1000 synsets of ILSVRC-2012


@functools.cache
def imagenet_words() -> dict[str, str]:
    """The words of the 1000 synsets of ILSVRC-2012 by their WordNet ids, in the order of these."""
    lines = WORDS.read_text(encoding="utf-8").splitlines()
    return {wnid: words for wnid, _, words in (line.partition("\t") for line in lines)}


def are_wordnet_ids(names: Sequence[str]) -> bool:
    """Whether classes are called by WordNet ids, n and eight digits, all of them."""
    return bool(names) and all(map(WORDNET_ID.fullmatch, names))


def class_words(names: Sequence[str], words: Sequence[str] = ()) -> tuple[str, ...]:
    """Classes in words, "tench, Tinca tinca": those given, or ImageNet's where all names are WordNet ids, or the names.

    Args:
        names: of the classes.
        words: of each, its name where nothing else is known; or () for none.
    """
    words = tuple(words) or tuple(names)
    if not are_wordnet_ids(names) or not any(map(str.__eq__, names, words)):
        return words
    known = imagenet_words()
    return tuple(known.get(name, name) if text == name else text for name, text in zip(names, words, strict=True))


def class_titles(names: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
    """One title for each class, no two of which look the same.

    WordNet's words are synonyms between commas, and the first is the title. Where two classes share it, those that have
    one take their next synonym, and otherwise both their WordNet id: "crane (n02012849)". Of other classes the words
    are the title as they are, with the class's name, or else its label, behind them where two share them.

    Args:
        names: of the classes, all different.
        words: of each, as `class_words` returns them.
    """
    synonyms = [_synonyms(name, text) for name, text in zip(names, words, strict=True)]
    chosen = [0] * len(synonyms)
    titles = [found[0] for found in synonyms]
    while shared := _shared(names, titles):
        for labels in shared:
            further = [label for label in labels if chosen[label] + 1 < len(synonyms[label])]
            for label in further or labels:
                chosen[label] += 1
                if further:
                    titles[label] = synonyms[label][chosen[label]]
                elif chosen[label] == len(synonyms[label]) and synonyms[label][0] != names[label]:
                    titles[label] = f"{synonyms[label][0]} ({names[label]})"
                else:
                    titles[label] = f"{titles[label]} ({label})"
    return tuple(titles)


def renewed_titles(names: Sequence[str], titles: Sequence[str]) -> tuple[str, ...]:
    """The titles of classes from those that a file keeps, which may be cut at the first comma and be shared.

    Args:
        names: of the classes, all different.
        titles: of each, as version 0.1 kept them, or words.
    """
    if len(titles) != len(names):
        titles = names
    words = [name if name.startswith(f"{title},") else title for name, title in zip(names, titles, strict=True)]
    if are_wordnet_ids(names):
        known = imagenet_words()
        longer = ((known.get(name, ""), title) for name, title in zip(names, words, strict=True))
        words = [text if text.startswith(f"{title},") else title for text, title in longer]
    return class_titles(names, class_words(names, words))


def _synonyms(name: str, words: str) -> list[str]:
    if not WORDNET_ID.fullmatch(name):
        return [words]
    return [word for part in words.split(",") if (word := part.strip())] or [name]


def _shared(names: Sequence[str], titles: Sequence[str]) -> list[list[int]]:
    """The labels of classes whose titles look the same, group by group."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for label, (name, title) in enumerate(zip(names, titles, strict=True)):
        groups[_look(title).casefold() if WORDNET_ID.fullmatch(name) else _look(title)].append(label)
    return [labels for labels in groups.values() if len(labels) > 1]


def _look(text: str) -> str:
    """What two texts share that nobody can tell apart: signs that show nothing, kinds of spaces and of encoding."""
    if text.isascii():
        return " ".join(text.split())
    shown = (sign for sign in unicodedata.normalize("NFC", text) if unicodedata.category(sign) != "Cf")
    return " ".join("".join(shown).split())
