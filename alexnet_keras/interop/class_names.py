"""What the classes of imported weights are called: the files themselves do not say."""

import re
from pathlib import Path
from typing import NamedTuple

from alexnet_keras.data.prepared import PreparedDataset
from alexnet_keras.data.sources.class_list import lines_of
from alexnet_keras.errors import DataError

WORDNET_ID = re.compile(r"n\d{8}")


class ClassNames(NamedTuple):
    """The classes in the order of the network's outputs.

    Attributes:
        names: What tells them apart, of ImageNet's the WordNet ids.
        titles: What they are called in pictures and tables.
    """

    names: tuple[str, ...]
    titles: tuple[str, ...]


def numbered_classes(count: int) -> ClassNames:
    """Classes of which nothing is known: 0000, 0001, ..."""
    names = tuple(f"{number:04}" for number in range(count))
    return ClassNames(names, names)


def read_class_names(path: Path) -> ClassNames:
    """The classes of a file with one a line: a name, or a WordNet id and perhaps words behind it.

    Raises:
        UsageError: there is no such file.
        DataError: it is no text, or names a class twice.
    """
    names, titles = [], []
    for line in lines_of(path):
        first, _, words = line.replace("\t", " ").partition(" ")
        is_id = bool(WORDNET_ID.fullmatch(first))
        names.append(first if is_id else line)
        titles.append((words.strip() or first).split(",")[0] if is_id else line)
        if names[-1] in names[:-1]:
            raise DataError(f"{path} names the class {names[-1]!r} twice.")
    return ClassNames(tuple(names), tuple(titles))


def class_names(classes: int, labels: Path | None, data: PreparedDataset | None) -> ClassNames:
    """The names of a network's classes: those of a file, those of a prepared dataset, or numbers.

    Raises:
        UsageError: there is no such file.
        DataError: they are more or fewer than the network tells apart; file and dataset differ; or the dataset has
            ImageNet's classes in another order than that of their WordNet ids, which published weights have.
    """
    if labels is not None:
        found, whose = read_class_names(labels), str(labels)
        if data is not None and found.names != data.classes:
            raise DataError(f"The classes of the dataset {data.path} are not those of {labels} in the same order.")
    elif data is not None:
        found, whose = ClassNames(data.classes, data.titles), f"the dataset {data.path}"
        if all(map(WORDNET_ID.fullmatch, data.classes)) and list(data.classes) != sorted(data.classes):
            raise DataError(
                f"The dataset {data.path} does not have its classes in the order of their WordNet ids, as published "
                "weights have: prepare it with `--class-order wnid`, or name the network's classes with --labels."
            )
    else:
        return numbered_classes(classes)
    if len(found.names) != classes:
        raise DataError(f"The network tells {classes} classes apart and {whose} names {len(found.names)}.")
    return found
