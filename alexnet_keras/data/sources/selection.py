"""Fewer classes, or fewer pictures of each, than a source has."""

import dataclasses
from pathlib import Path

import numpy as np

from alexnet_keras.data.sources.class_list import read_class_list
from alexnet_keras.data.sources.holdout import drawn
from alexnet_keras.data.sources.source import Source
from alexnet_keras.errors import DataError


def select_classes(source: Source, classes: Path) -> Source:
    """The classes that a file names, in the source's order; words of the file become the classes' words.

    Raises:
        UsageError: There is no such file.
        DataError: It names a class that the source does not have, or fewer than two.
    """
    chosen = read_class_list(classes, frozenset(source.classes))
    if len(chosen) < 2:
        raise DataError(f"{classes} names one class. At least two are needed to tell apart.")
    kept = [label for label, name in enumerate(source.classes) if name in chosen]
    new_label = np.full(len(source.classes), -1, np.int32)
    new_label[kept] = np.arange(len(kept), dtype=np.int32)
    splits = {}
    for split, pictures in source.splits.items():
        taken = pictures.take(np.flatnonzero(new_label[pictures.labels] >= 0))
        splits[split] = dataclasses.replace(taken, labels=new_label[taken.labels])
        if not len(taken):
            raise DataError(f"The {split} split of {source.given} has no picture of the classes in {classes}.")
    names = tuple(source.classes[label] for label in kept)
    before = dict(zip(source.classes, source.words, strict=True)) if source.words else {}
    words = tuple(chosen[name] or before.get(name, name) for name in names)
    return dataclasses.replace(source, classes=names, splits=splits, words=words if words != names else ())


def limit_per_class(source: Source, limit: int, seed: int) -> Source:
    """At most `limit` pictures of each class in each split.

    They are the first in an order that depends on the seed, the class's name and the picture's alone, so that one more
    picture replaces one of those chosen before at most.
    """
    splits = {}
    for split, pictures in source.splits.items():
        order = np.lexsort((drawn(pictures, source.classes, seed), pictures.labels))
        labels = pictures.labels[order]
        place_in_class = np.arange(len(order)) - np.searchsorted(labels, labels)
        splits[split] = pictures.take(np.sort(order[place_in_class < limit]))
    return dataclasses.replace(source, splits=splits, options={**source.options, "limit_per_class": limit})
