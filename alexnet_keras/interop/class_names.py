"""What the classes of imported weights are called: the files themselves do not say."""

import ast
import json
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from alexnet_keras.data.class_names import WORDNET_ID, are_wordnet_ids, imagenet_words, lines_of, renewed_titles
from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.errors import DataError

NUMBERED = (  # "0: tench", "0,tench"; "tench,0"; "n01440764 1 tench"; "0 tench"
    re.compile(r"()(?P<number>\d+)(?:\s*[,;:\t]\s*|[.)]\s+)(\S.*)"),
    re.compile(r"(.*\S)\s*[,;\t]\s*(?P<number>\d+)()"),
    re.compile(r"(n\d{8}[,;\t ]+)(?P<number>\d+)[,;\t ]+(\S.*)"),
    re.compile(r"()(?P<number>\d+) +(\S.*)"),
)
IDENTIFIED = re.compile(r"(n\d{8})(?:[\s,;:]+(\S.*))?")
ASSIGNED = re.compile(r"\w+\s*=\s*(?=[\[{])")  # a list that was copied with the variable that held it
COLUMNS = re.compile(r"[,;\t]")  # in a heading above WordNet ids and words
HEADING = 5  # lines at most before the first number
BACKGROUND = ("background", "dummy", "__background__")  # what TensorFlow's lists begin with
LITERAL_LIMIT = 2**22  # characters of a dictionary, which takes some thirty times its size to read
STRING = re.compile(r"""'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*\"""")
LITERAL = re.compile(r"[\[\](){},:;\s\d]*")  # without its strings
ALIKE = 0.95  # the part of ImageNet's classes that a list of words has to name as ImageNet does


class ClassNames(NamedTuple):
    """The classes in the order of the network's outputs.

    Attributes:
        names: What tells them apart, of ImageNet's the WordNet ids.
        titles: What they are called in images and tables.
    """

    names: tuple[str, ...]
    titles: tuple[str, ...]


def numbered_classes(count: int) -> ClassNames:
    """Classes of which nothing is known: 0000, 0001, ..."""
    names = tuple(f"{number:04}" for number in range(count))
    return ClassNames(names, names)


def read_class_names(path: Path, count: int | None = None) -> ClassNames:
    """The classes of a file: a line each, or a JSON or Python list or dictionary.

    A class is a name, a WordNet id, or a WordNet id and words; where each has its number with it, from 0 or from 1 on,
    they may be in any order. ImageNet's 1000 classes in its order are recognised by their words and get their WordNet
    ids. Of other classes, those that share a name have their labels behind it.

    Args:
        count: how many there have to be, if that is known.

    Raises:
        UsageError: there is no such file.
        DataError: it is no text, is none of these, names another number of classes, or a WordNet id twice.
    """
    entries = _entries(path)
    if count and len(entries) == count + 1 and entries[0][-1].lower() in BACKGROUND:
        raise DataError(
            f"{path} begins with {entries[0][-1]!r}, which the network's {count} classes lack: remove it from the list."
        )
    names = [entry[0] for entry in entries]
    words = [", ".join(entry[1:]) or entry[0] for entry in entries]
    double = {name for name, times in Counter(names).items() if times > 1}
    if count and len(names) != count:
        twice = f", {min(double)!r} twice" if double else ""
        raise DataError(f"The network tells {count} classes apart and {path} names {len(names)}{twice}.")
    if _are_imagenets(words):
        names = words = list(imagenet_words())
    elif wnid := next(filter(WORDNET_ID.fullmatch, sorted(double)), None):
        raise DataError(f"{path} names the class {wnid!r} twice.")
    else:
        names = [f"{name} ({label})" if name in double else name for label, name in enumerate(names)]
        words = [name if text in double else text for name, text in zip(names, words, strict=True)]
    return ClassNames(tuple(names), renewed_titles(names, words))


def class_names(classes: int, labels: Path | None, data: PreparedDataset | None) -> ClassNames:
    """The names of a network's classes: those of a file, those of a prepared dataset, or numbers.

    Raises:
        UsageError: there is no such file.
        DataError: they are more or fewer than the network tells apart; the file is no list of classes; file and dataset
            differ; or the dataset has ImageNet's classes in another order than that of their WordNet ids, which
            published weights have.
    """
    if labels is not None:
        found = read_class_names(labels, classes)
        if data is not None and found.names != data.classes:
            raise DataError(f"The classes of the dataset {data.path} are not those of {labels} in the same order.")
        return found
    if data is None:
        return numbered_classes(classes)
    if are_wordnet_ids(data.classes) and list(data.classes) != sorted(data.classes):
        raise DataError(
            f"The dataset {data.path} does not have its classes in the order of their WordNet ids, as published "
            "weights have: prepare it with `--class-order wnid`, or name the network's classes with --labels."
        )
    if len(data.classes) != classes:
        raise DataError(
            f"The network tells {classes} classes apart and the dataset {data.path} names {len(data.classes)}."
        )
    return ClassNames(data.classes, data.titles)


def _entries(path: Path) -> list[tuple[str, ...]]:
    """What a file says of each class, in the order of labels: its name, or a WordNet id and words."""
    lines = lines_of(path)
    if not lines:
        return []
    lines[0] = ASSIGNED.sub("", lines[0], count=1)
    if lines[0][0] in "[{" and (len(lines) == 1 or lines[0][-1] not in "]}"):
        return _of_literal(path, "\n".join(lines))
    for skipped in range(min(HEADING, len(lines) // 3) + 1):
        if ordered := _by_number(lines[skipped:]):
            lines = ordered
            break
    if COLUMNS.search(lines[0]) and len(lines) > 1 and all(map(IDENTIFIED.fullmatch, lines[1:])):
        lines = lines if IDENTIFIED.fullmatch(lines[0]) else lines[1:]
    return [_fields(_unquoted(line)) for line in lines]


def _of_literal(path: Path, text: str) -> list[tuple[str, ...]]:
    """The same of JSON, or of a list or dictionary as Python writes it."""
    try:
        if len(text) > LITERAL_LIMIT:
            raise ValueError("too long")
        try:
            found = json.loads(text)
        except ValueError:
            if not LITERAL.fullmatch(STRING.sub("", text)):  # signs that could be too much for Python's parser
                raise
            found = ast.literal_eval(text.rstrip(";"))
        entries = [entry if isinstance(entry, list | tuple) else (entry,) for entry in _listed(found)]
        if not all(entry and all(isinstance(part, str | int) for part in entry) for entry in entries):
            raise TypeError(entries)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(
            f"{path} is no list of classes: write one name a line, or give every number from 0 on a name."
        ) from error
    return [_fields(", ".join(map(str, entry))) for entry in entries]


def _listed(found: Any) -> list[Any]:
    """The entries of a list, and of a dictionary by number, id or, as Keras keeps classes, with numbers as values."""
    if isinstance(found, dict) and "id2label" in found:  # of a configuration
        found = found["id2label"]
    if isinstance(found, list | tuple):
        return list(found)
    if not isinstance(found, dict):
        raise TypeError(type(found))
    if all(isinstance(value, int) for value in found.values()):
        return _in_order(list(found.values()), list(found))
    if are_wordnet_ids([str(key) for key in found]):
        return list(found.items())
    return _in_order([int(key) for key in found], list(found.values()))


def _by_number(lines: list[str]) -> list[str]:
    """The lines in the order of the numbers that all of them have, without these; none where they are other lines."""
    for pattern in NUMBERED:
        found = [match for line in lines if (match := pattern.fullmatch(line))]
        rest = [match[1] + match[3] for match in found]
        # Of "1 euro", "2 euro" the numbers are part of the names.
        if len(found) == len(lines) and 2 * len(set(rest)) > len(lines):
            with suppress(ValueError):
                return _in_order([int(match["number"]) for match in found], rest)
    return []


def _in_order(numbers: list[int], entries: list[Any]) -> list[Any]:
    """Entries by their numbers.

    Raises:
        ValueError: these are not all from 0, or from 1, on.
    """
    if sorted(numbers) not in (list(range(len(entries))), list(range(1, len(entries) + 1))):
        raise ValueError("numbers are missing or double")
    return [entry for _, entry in sorted(zip(numbers, entries, strict=True), key=lambda pair: pair[0])]


def _fields(text: str) -> tuple[str, ...]:
    """A name, or a WordNet id and words."""
    if not (found := IDENTIFIED.fullmatch(text)):
        return (text,)
    return (found[1], _unquoted(found[2]).replace("_", " ")) if found[2] else (found[1],)


def _unquoted(text: str) -> str:
    inner = text.rstrip(", ")
    if len(inner) > 1 and inner[0] == inner[-1] and inner[0] in "'\"":
        return inner[1:-1].replace(2 * inner[0], inner[0])
    return text


def _are_imagenets(words: Sequence[str]) -> bool:
    """Whether words are of ImageNet's 1000 classes in its order: most are, and no other is one of another class."""
    known = [_plain(text).split(", ") for text in imagenet_words().values()]
    if len(words) != len(known):
        return False
    every = {synonym for synonyms in known for synonym in synonyms}
    others = [
        first
        for text, synonyms in zip(words, known, strict=True)
        if (first := _plain(text).split(", ")[0]) not in synonyms
    ]
    return len(others) <= (1 - ALIKE) * len(known) and not every & set(others)


def _plain(text: str) -> str:
    return text.replace("_", " ").casefold()
