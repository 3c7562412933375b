"""Names for the classes of imported weights, whose files have none: from lists in many forms, or a dataset."""

import ast
import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from alexnet_keras.data.class_names import (
    WORDNET_ID,
    are_wordnet_ids,
    imagenet_titles,
    imagenet_words,
    lines_of,
    numbered,
    renewed_titles,
)
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
ALIKE = 0.95  # the share of ImageNet's classes that a list of words has to name as ImageNet does


class ClassNames(NamedTuple):
    """The classes in the order of the network's outputs.

    Attributes:
        names: Their names, all different; for ImageNet the WordNet ids.
        titles: Their titles in figures and tables.
    """

    names: tuple[str, ...]
    titles: tuple[str, ...]


def read_class_names(path: Path, count: int | None = None) -> ClassNames:
    """Read the classes of a file: one on each line, or a JSON or Python list or dictionary.

    A class is a name, a WordNet id, or a WordNet id and words. If each has its number, from 0 or from 1, they may be in
    any order. ImageNet's 1000 classes in its order are recognised by their words and get their WordNet ids. Other
    classes that share a name get their label after it.

    Args:
        path: The file.
        count: The number of classes that there must be, if that is known.

    Raises:
        UsageError: There is no such file.
        DataError: It is no text, has none of these forms, names another number of classes, or a WordNet id twice.
    """
    entries = _entries(path)
    if count and len(entries) == count + 1 and entries[0][-1].lower() in BACKGROUND:
        raise DataError(
            f"{path} begins with {entries[0][-1]!r}, which is none of the network's {count} classes: remove it."
        )
    names = [entry[0] for entry in entries]
    words = [", ".join(entry[1:]) or entry[0] for entry in entries]
    repeated = {name for name, times in Counter(names).items() if times > 1}
    if count and len(names) != count:
        twice = f", {min(repeated)!r} twice" if repeated else ""
        raise DataError(f"The network has {count} classes and {path} names {len(names)}{twice}.")
    if _are_imagenets(words):
        names = words = list(imagenet_words())
    elif wnid := next(filter(WORDNET_ID.fullmatch, sorted(repeated)), None):
        raise DataError(f"{path} names the class {wnid!r} twice.")
    else:
        names = _all_different(names)
        words = [name if text in repeated else text for name, text in zip(names, words, strict=True)]
    return ClassNames(tuple(names), renewed_titles(names, words))


def _all_different(names: list[str]) -> list[str]:
    """The names, those that several share with their labels after them, as often as it takes."""
    while repeated := {name for name, times in Counter(names).items() if times > 1}:
        names = [f"{name} ({label})" if name in repeated else name for label, name in enumerate(names)]
    return names


def class_names(
    classes: int, labels: Path | None, data: PreparedDataset | None, *, imagenet: bool = False
) -> ClassNames:
    """Name a number of classes: by a file, by a prepared dataset, as ImageNet's, or by numbers, 0000, 0001, ...

    `imagenet` says that they are those of ImageNet 2012 in the order of their WordNet ids, if they are as many.

    Raises:
        UsageError: There is no such file.
        DataError: There are more or fewer names than classes; the file is no list of classes; file and dataset differ;
            or they are other WordNet ids than those of published weights, or these or their words in another order.
    """
    if labels is not None:
        names = read_class_names(labels, classes)
        if data is not None and names.names != data.classes:
            raise DataError(f"The classes of the dataset {data.path} are not those of {labels} in the same order.")
        if imagenet:
            _check_published(names.names, str(labels), "leave --labels out")
        return names
    if data is None and imagenet and classes == len(imagenet_words()):
        return ClassNames(tuple(imagenet_words()), imagenet_titles())
    if data is None:
        return ClassNames(numbered(classes), numbered(classes))
    if are_wordnet_ids(data.classes) and list(data.classes) != sorted(data.classes):
        raise DataError(
            f"The classes of {data.path} are not in the order of their WordNet ids, as published weights have them: "
            "prepare it with `--class-order wnid`, or name the network's classes with --labels."
        )
    if len(data.classes) != classes:
        raise DataError(f"The network has {classes} classes and the dataset {data.path} names {len(data.classes)}.")
    if imagenet:
        _check_published(data.classes, f"The dataset {data.path}", "leave --data out")
    return ClassNames(data.classes, data.titles)


def _check_published(names: Sequence[str], named: str, remedy: str) -> None:
    """Refuse WordNet ids that are not those of published weights, and their words in another order.

    Other names may stand for the same classes.
    """
    ids = list(imagenet_words())
    if list(names) == ids or not (are_wordnet_ids(names) or _are_imagenets_reordered(names)):
        return
    other = next((name for name in names if WORDNET_ID.fullmatch(name) and name not in ids), None)
    if other is None:
        what = "the classes of published weights, but in another order than that of their WordNet ids"
    else:
        what = f"other classes than ImageNet 2012, which published weights have ({other}, for one)"
    raise DataError(f"{named} has {what}: {remedy}.")


def _entries(path: Path) -> list[tuple[str, ...]]:
    """The fields of each class, in the order of labels: a name, or a WordNet id and words."""
    lines = lines_of(path)
    if not lines:
        return []
    lines[0] = ASSIGNED.sub("", lines[0], count=1)
    if lines[0][0] in "[{" and (len(lines) == 1 or lines[0][-1] not in "]}"):
        return _literal_entries(path, "\n".join(lines))
    for skipped in range(min(HEADING, len(lines) // 3) + 1):
        if ordered := _by_number(lines[skipped:]):
            lines = ordered
            break
    if COLUMNS.search(lines[0]) and len(lines) > 1 and all(map(IDENTIFIED.fullmatch, lines[1:])):
        lines = lines if IDENTIFIED.fullmatch(lines[0]) else lines[1:]
    return [_fields(_unquoted(line)) for line in lines]


def _literal_entries(path: Path, text: str) -> list[tuple[str, ...]]:
    """The same for JSON, and for a list or dictionary as Python writes it."""
    try:
        if len(text) > LITERAL_LIMIT:
            raise ValueError("too long")
        try:
            value = json.loads(text, object_pairs_hook=_without_twins)
        except ValueError:
            if not LITERAL.fullmatch(STRING.sub("", text)):  # characters that could be too much for Python's parser
                raise
            value = _python_literal(text.rstrip(";"))
        entries = [entry if isinstance(entry, list | tuple) else (entry,) for entry in _listed(value)]
        if not all(entry and all(isinstance(part, str | int) for part in entry) for entry in entries):
            raise TypeError(entries)
    except _Twins as error:
        raise DataError(f"{path} has an entry {error} twice: which of the two it is, is not known.") from error
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(
            f"{path} is no list of classes: write one name on each line, or a name for every number from 0."
        ) from error
    return [_fields(", ".join(" ".join(str(part).split()) for part in entry)) for entry in entries]


class _Twins(Exception):
    """A dictionary in a file has a key twice, of which reading would keep the last."""


def _without_twins(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    entries = dict[Any, Any]()
    for key, value in pairs:
        if key in entries:
            raise _Twins(repr(key))
        entries[key] = value
    return entries


def _python_literal(text: str) -> Any:
    tree = ast.parse(text, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            _without_twins([(ast.literal_eval(key), None) for key in node.keys if key])
    return ast.literal_eval(tree)


def _listed(value: Any) -> list[Any]:
    """The entries of a list, or of a dictionary by number, by id or, as Keras keeps classes, with numbers as values."""
    if isinstance(value, dict) and "id2label" in value:  # a network's configuration
        value = value["id2label"]
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, dict):
        raise TypeError(type(value))
    if all(isinstance(number, int) for number in value.values()):
        return _in_order(list(value.values()), list(value))
    if are_wordnet_ids([str(key) for key in value]):
        return list(value.items())
    return _in_order([int(key) for key in value], list(value.values()))


def _by_number(lines: list[str]) -> list[str]:
    """The lines in the order of the numbers that all of them have, without the numbers; [] if some have none."""
    for pattern in NUMBERED:
        matches = [match for line in lines if (match := pattern.fullmatch(line))]
        rest = [match[1] + match[3] for match in matches]
        # In "1 euro", "2 euro" the numbers are part of the names.
        if len(matches) == len(lines) and 2 * len(set(rest)) > len(lines):
            with suppress(ValueError):
                return _in_order([int(match["number"]) for match in matches], rest)
    return []


def _in_order(numbers: list[int], entries: list[Any]) -> list[Any]:
    """Entries by their numbers.

    Raises:
        ValueError: They are not all numbers from 0, or from 1.
    """
    if sorted(numbers) not in (list(range(len(entries))), list(range(1, len(entries) + 1))):
        raise ValueError("numbers are missing or repeated")
    return [entry for _, entry in sorted(zip(numbers, entries, strict=True), key=lambda pair: pair[0])]


def _fields(text: str) -> tuple[str, ...]:
    """A name, or a WordNet id and words."""
    if not (match := IDENTIFIED.fullmatch(text)):
        return (text,)
    return (match[1], _unquoted(match[2]).replace("_", " ")) if match[2] else (match[1],)


def _unquoted(text: str) -> str:
    inner = text.rstrip(", ")
    if len(inner) > 1 and inner[0] == inner[-1] and inner[0] in "'\"":
        return inner[1:-1].replace(2 * inner[0], inner[0])
    return text


def _are_imagenets(words: Sequence[str]) -> bool:
    """True if words are those of ImageNet's 1000 classes in its order: most are, and the others are of no class."""
    named = _named_labels(words)
    others = [labels for label, labels in enumerate(named) if label not in labels]
    return len(words) == len(imagenet_words()) and len(others) <= (1 - ALIKE) * len(words) and not any(others)


def _are_imagenets_reordered(words: Sequence[str]) -> bool:
    """True if most words are those of ImageNet's classes, and some are of a class that has its place elsewhere."""
    named = _named_labels(words)
    in_place = {label for label, labels in enumerate(named) if label in labels}
    others = [labels for label, labels in enumerate(named) if label not in in_place]
    return sum(map(bool, named)) >= ALIKE * len(imagenet_words()) and any(labels - in_place for labels in others)


def _named_labels(words: Sequence[str]) -> list[set[int]]:
    """The labels of the ImageNet classes that each first word names: two of crane and of maillot, none of others."""
    known: defaultdict[str, set[int]] = defaultdict(set)
    for label, text in enumerate(imagenet_words().values()):
        for synonym in _plain(text).split(", "):
            known[synonym].add(label)
    return [known.get(_plain(text).split(", ")[0], set()) for text in words]


def _plain(text: str) -> str:
    return text.replace("_", " ").casefold()
