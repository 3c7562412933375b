"""Names of classes: lists of them in text files, and their titles in figures and tables, no two alike.

ImageNet's own lists are read as they are: `words.txt` (id, tab, words), `synset_words.txt` and
`LOC_synset_mapping.txt` (id, space, words), or bare ids."""

import codecs
import functools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from alexnet_keras.errors import DataError, UsageError

WORDNET_ID = re.compile(r"n\d{8}")
WORDS = Path(__file__).with_name("imagenet2012_words.tsv")  # the devkit's words of the 1000 synsets of ILSVRC-2012
WORD_LISTS = ("LOC_synset_mapping.txt", "synset_words.txt", "words.txt")  # of synsets with their words
LIMIT = 64 * 2**20  # bytes; ImageNet's longest list has 4 MB
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # PowerShell's > writes these


@functools.cache
def imagenet_words() -> dict[str, str]:
    """The words of the 1000 synsets of ILSVRC-2012 by WordNet id, sorted by these."""
    lines = WORDS.read_text(encoding="utf-8").splitlines()
    return {wnid: words for wnid, _, words in (line.partition("\t") for line in lines)}


@functools.cache
def imagenet_titles() -> tuple[str, ...]:
    """The titles of the same synsets in the same order, no two alike."""
    return class_titles(list(imagenet_words()), list(imagenet_words().values()))


def are_wordnet_ids(names: Sequence[str]) -> bool:
    """True if all classes have WordNet ids, "n" and eight digits, for names."""
    return bool(names) and all(map(WORDNET_ID.fullmatch, names))


def numbered(count: int) -> tuple[str, ...]:
    """Return names for classes that have none: 0000, 0001, ..."""
    return tuple(f"{number:04}" for number in range(count))


def class_words(names: Sequence[str], words: Sequence[str] = ()) -> tuple[str, ...]:
    """Each class in words, "tench, Tinca tinca": those given, ImageNet's if all names are WordNet ids, or the name."""
    words = tuple(words) or tuple(names)
    if not are_wordnet_ids(names) or not any(map(str.__eq__, names, words)):
        return words
    known = imagenet_words()
    return tuple(known.get(name, name) if text == name else text for name, text in zip(names, words, strict=True))


def class_titles(names: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
    """One title for each class, no two of which look the same.

    WordNet's words are synonyms separated by commas, and the first is the title. If two classes share it, those with
    another synonym take their next one; without any, both add their WordNet id: "crane (n02012849)". Other classes have
    their whole words for a title; if two share them, each adds the class's name, or else its label.
    """
    synonyms = [_synonyms(name, text) for name, text in zip(names, words, strict=True)]
    chosen = [0] * len(synonyms)
    titles = [first for first, *_ in synonyms]
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
    """The titles of classes, from those that version 0.1 wrote, which may be cut at the first comma and be shared."""
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
    """The labels of classes whose titles look the same, by group."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for label, (name, title) in enumerate(zip(names, titles, strict=True)):
        groups[_look(title).casefold() if WORDNET_ID.fullmatch(name) else _look(title)].append(label)
    return [labels for labels in groups.values() if len(labels) > 1]


def _look(text: str) -> str:
    """The text without what the eye cannot see: invisible characters, kinds of spaces and of encoding."""
    if text.isascii():
        return " ".join(text.split())
    shown = (sign for sign in unicodedata.normalize("NFC", text) if unicodedata.category(sign) != "Cf")
    return " ".join("".join(shown).split())


def read_class_list(path: Path, known: Container[str]) -> dict[str, str]:
    """The classes of a file, in its order, each with its words ("" if the file has none).

    A line is one of the `known` classes, or begins with one.

    Raises:
        UsageError: There is no such file.
        DataError: It is not text, names an unknown class or one twice, or names none.
    """
    classes: dict[str, str] = {}
    for line in lines_of(path):
        name, words = _split(line, known)
        if name in classes:
            raise DataError(f"{path} names the class {name!r} twice.")
        classes[name] = words
    if unknown := [name for name in classes if name not in known]:
        raise DataError(f"{path} names classes that the source does not have: {some(unknown)}.")
    if not classes:
        raise DataError(f"{path} names no class.")
    return classes


def word_list(folders: Iterable[Path], names: Sequence[str] = WORD_LISTS) -> Path | None:
    """The first of ImageNet's lists of words in one of the folders, for `read_words`."""
    paths = (folder / name for folder in folders for name in names)
    return next(filter(Path.is_file, paths), None)


def read_words(path: Path) -> dict[str, str]:
    """Each synset of one of ImageNet's lists with its words.

    Raises:
        UsageError: There is no such file.
        DataError: It is not text.
    """
    return dict(_split(line, ()) for line in lines_of(path))


def lines_of(path: Path, limit: int = LIMIT) -> list[str]:
    """The lines of a text file of at most `limit` bytes, stripped, without blank ones.

    Raises:
        UsageError, DataError: As `whole_lines_of`.
    """
    return [stripped for line in whole_lines_of(path, limit) if (stripped := line.strip())]


def whole_lines_of(path: Path, limit: int = LIMIT) -> list[str]:
    """The lines of a text file of at most `limit` bytes, with their spaces, and blank ones.

    Raises:
        UsageError: There is no such file.
        DataError: It is not text, or larger than any such list.
    """
    if not path.is_file():
        raise UsageError(f"There is no file {path}.")
    if path.stat().st_size > limit:
        raise DataError(f"{path} has {path.stat().st_size:,} bytes: too large for a list of classes or labels.")
    contents = path.read_bytes()
    try:
        text = contents.decode("utf-16" if contents.startswith(UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file, or not in UTF-8: save it as UTF-8.") from error
    return text.splitlines()


def _split(line: str, known: Container[str]) -> tuple[str, str]:
    """The class of a line and its words."""
    if line in known:
        return line, ""
    name, _, words = line.partition("\t" if "\t" in line else " ")
    return name.strip(), words.strip()


def some(names: Iterable[str], shown: int = 5) -> str:
    """The first names and the number of the others, for a sentence; names that contain a comma are quoted."""
    names = list(names)
    more = len(names) - shown
    listed = ", ".join(f'"{name}"' if "," in name else name for name in names[:shown])
    return listed + (f" and {more:,} more" if more > 0 else "")
