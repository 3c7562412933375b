"""Images in folders: `DIR/<class>/*`, `DIR/{train,val,test}/<class>/*` under any of the names people have for those,
images whose names end in a WordNet id, and images that a table gives their classes.

Files may lie deeper inside a class folder. What is no image is passed over and counted; what turns out not to be one
is rejected, with the reason, when it is decoded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from alexnet_keras.data.class_names import are_wordnet_ids, read_words, some
from alexnet_keras.data.images import read_image_file
from alexnet_keras.data.sources import tables
from alexnet_keras.data.sources.layout import Layout, Root, read_layout
from alexnet_keras.data.sources.listing import PassedOver, identity_of, images_below, is_own
from alexnet_keras.data.sources.source import (
    DEFAULT_HOLDOUT,
    SPLITS,
    ImageList,
    Names,
    Source,
    images_of,
    printable,
    split_names,
    with_validation,
)
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.storage.places import command, exists, refuse_url

WORD_LISTS = ("LOC_synset_mapping.txt", "synset_words.txt", "words.txt")


def folder_source(
    folder: Path,
    *,
    holdout: float = DEFAULT_HOLDOUT,
    seed: int = 0,
    given: str | None = None,
    splits: Mapping[str, str] | None = None,
    labels: Sequence[str] = (),
    partial: bool = False,
    on_progress: Callable[[int], None] = lambda images: None,
) -> Source:
    """List a folder of images.

    Without split folders (or with only "train"), `holdout` of every class becomes "val". With "train" and
    "test" but no validation folder, "test" becomes "val".

    Args:
        folder: The folder.
        holdout: The part of each class to hold out, 0..1.
        seed: Decides which images are held out.
        given: How the user named the source; "folder:" and the path by default.
        splits: Which folder is which split, {"train": "Training"}; {} for none; None to tell by their names.
        labels: Tables of file and label, each as "FILE" or "SPLIT=FILE"; class folders then say nothing.
        partial: Accept tables that name files which are not there.
        on_progress: Called with the number of images found since the last call.

    Raises:
        UsageError: The folder, a table or a split's folder does not exist.
        DataError: It is empty, has fewer than two classes, its splits have different classes, or it can be read in
            none or in two ways.
    """
    if not exists(folder):
        refuse_url(folder)
        raise UsageError(
            f"There is no folder {folder}. Give a folder of class folders, demo, tfds:NAME, ilsvrc:DIR or synsets:DIR."
        )
    if not folder.is_dir():
        hint = f"parquet:{folder}" if folder.suffix == ".parquet" else "the folder that it unpacks to"
        raise DataError(f"{folder} is a file, not a folder of class folders. Give {hint}.")
    if given is None and is_own(folder) and (folder / "manifest.json").exists():
        raise DataError(f"{folder} is prepared already: {command('train', '--data', folder)}.")
    passed, places = PassedOver(), [folder]
    if labels:
        found, classes, notes = _from_tables(folder, tables.parse_tables(labels), partial, passed, on_progress)
    else:
        layout = read_layout(folder, splits)
        passed = layout.passed
        found, classes = _from_layout(layout, passed, on_progress)
        notes = layout.notes
        places += [layout.roots["train"].path, layout.roots["train"].path.parent]
    notes += passed.notes(folder)
    options, note = with_validation(found, classes, holdout, seed, folder, "folder")
    notes += [note] * bool(note)
    return Source(
        given=given or f"folder:{folder}",
        classes=tuple(printable(name) for name in classes),
        splits={split: found[split] for split in SPLITS if split in found},
        words=_words(places, classes),
        options=options,
        notes=tuple(notes),
    )


def _words(folders: Sequence[Path], classes: Sequence[str]) -> tuple[str, ...]:
    """The classes' names in words, where one of the folders has one of ImageNet's lists of them all."""
    lists = [path for folder in folders for name in WORD_LISTS if (path := folder / name).is_file()]
    if not lists or not are_wordnet_ids(classes):
        return ()
    known = read_words(lists[0])
    return tuple(known[name] for name in classes) if known.keys() >= set(classes) else ()


def _from_layout(
    layout: Layout, passed: PassedOver, on_progress: Callable[[int], None]
) -> tuple[dict[str, ImageList], list[str]]:
    """The images of each split, and the classes."""
    train = layout.roots["train"]
    splits: dict[str, ImageList] = {}
    classes = list(train.classes)
    if not train.classes:
        index = index_folders(train.path, [""], on_progress, passed)
        labels = _labels_by_name(index, train)
        classes = _at_least_two(tables.in_order(labels), train.path)
        splits["train"] = _labelled(index, labels, classes)
    for split, root in layout.roots.items():
        if split in splits:
            continue
        if root.classes:
            _same_classes(classes, list(root.classes), split, root.path)
            splits[split] = _images(root.path, classes, passed, on_progress)
            continue
        index = index_folders(root.path, [""], on_progress, passed)
        labels = _labels_by_name(index, root)
        if strange := sorted(set(labels) - set(classes)):
            raise DataError(f"{root.path} has images of classes that train does not have: {some(strange)}.")
        splits[split] = _labelled(index, labels, classes)
    return splits, classes


def _labels_by_name(index: "FolderIndex", root: Root) -> list[str]:
    """The class of each image, by its root's table or by the WordNet id in its name."""
    if root.table:
        rows = tables.matched(root.table, index.names, root.path, partial=True)
        labels = [root.table.rows[row].label if row >= 0 else "" for row in rows]
    else:
        labels = [tables.wnid_of(name) or "" for name in index.names]
    if "" in labels:
        first = PurePosixPath(index.names[labels.index("")]).name
        source = f"--labels {root.table.path} leaves them out" if root.table else "name them, or move them away"
        raise DataError(
            f"{labels.count(''):,} of {len(labels):,} images in {root.path} have no label: {first}; {source}."
        )
    return labels


def _labelled(index: "FolderIndex", labels: Sequence[str], classes: Sequence[str]) -> ImageList:
    number = {name: label for label, name in enumerate(classes)}
    numbers = np.fromiter((number.get(label, -1) for label in labels), np.int32, len(labels))
    images = ImageList(index.names, numbers, index.sizes, index.read)
    return images if (numbers >= 0).all() else images.take(np.flatnonzero(numbers >= 0))


def _from_tables(
    folder: Path,
    given: Sequence[tuple[str | None, Path]],
    partial: bool,
    passed: PassedOver,
    on_progress: Callable[[int], None],
) -> tuple[dict[str, ImageList], list[str], list[str]]:
    """The images of each split, the classes, and notes, where tables name both."""
    index = index_folders(folder, [""], on_progress, passed)
    if not len(index.names):
        raise DataError(f"{folder} has no images in it.")
    of_split: dict[str, list[str]] = {}
    labelled = np.zeros(len(index.names), bool)
    notes = []
    for split, path in given:
        table = tables.read_table(path)
        if table.columns:
            notes.append(f"The classes are those of {table.title}.")
        rows_of = tables.matched(table, index.names, folder, partial)
        names = tables.named_labels([row.label for row in table.rows], (folder, path.parent), path)
        if names != [row.label for row in table.rows]:
            notes.append(f"The labels of {path} count the lines of a list of classes beside it, from 0.")
        parts = split_names(sorted({row.split for row in table.rows if row.split}))
        for i in np.flatnonzero(rows_of >= 0):
            row = table.rows[rows_of[i]]
            part = split or (parts[row.split] if row.split else "train")
            if labelled[i]:
                raise DataError(f"The tables name {row.file} in two splits: leave it in one.")
            of_split.setdefault(part, [""] * len(labelled))[i] = names[rows_of[i]]
            labelled[i] = True
    if "train" not in of_split:
        raise DataError(f"The tables name no training images: --labels train={given[0][1]}.")
    classes = _at_least_two(tables.in_order(label for label in of_split["train"] if label), given[0][1])
    for split, labels in of_split.items():
        if strange := sorted(set(labels) - set(classes) - {""}):
            raise DataError(f"The {split} split has classes that train does not have: {some(strange)}.")
    if unnamed := int((~labelled).sum()):
        notes.append(f"Left out, being in no table: {unnamed:,} of {len(labelled):,} images in {folder}.")
    return {split: _labelled(index, labels, classes) for split, labels in of_split.items()}, classes, notes


def _at_least_two(classes: list[str], place: Path) -> list[str]:
    if len(classes) < 2:
        raise DataError(f"{place} has one class, {classes[0]!r}. At least two are needed to tell apart.")
    return classes


def _same_classes(expected: list[str], found: list[str], split: str, root: Path) -> None:
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or extra:
        parts = [f"lacks {some(missing)}"] * bool(missing) + [f"also has {some(extra)}"] * bool(extra)
        raise DataError(f"The classes of {root} are not those of train: it {' and '.join(parts)}. Make them the same.")


@dataclass(frozen=True, eq=False)
class FolderIndex:
    """The files below class folders, in columns; files of a class stand together, sorted by name.

    Attributes:
        root: The folder of the class folders.
        groups: The class folders.
        counts: (groups,) int64, files in each.
        names: (n,) "class/name", as TFDS can store it.
        paths: (n,) the same as the file system has it.
        sizes: (n,) int64, bytes.
    """

    root: Path
    groups: tuple[str, ...]
    counts: np.ndarray
    names: Names
    paths: Names
    sizes: np.ndarray

    def read(self, i: int) -> bytes:
        """The bytes of file i; raises OSError where they cannot be had."""
        return read_image_file(self.root / self.paths[i])


def index_folders(
    root: Path, classes: Sequence[str], on_progress: Callable[[int], None], passed: PassedOver
) -> FolderIndex:
    """Every image below the class folders of `root`; what is none is counted in `passed`."""
    names: list[str] = []
    counts: list[int] = []
    sizes: list[int] = []
    for name in classes:
        before = len(names)
        ancestors = frozenset(identity_of(path) for path in (root.parent, root, root / name))
        for path, size in sorted(images_below(root / name, name, ancestors, passed)):
            names.append(path)
            sizes.append(size)
        counts.append(len(names) - before)
        on_progress(counts[-1])
    paths, plain = Names.pack(names), Names.pack(printable(name) for name in names)
    return FolderIndex(root, tuple(classes), np.array(counts, np.int64), plain, paths, np.array(sizes, np.int64))


def _images(root: Path, classes: list[str], passed: PassedOver, on_progress: Callable[[int], None]) -> ImageList:
    """Every image of a split; names are relative to the split's folder, in sorted order."""
    index = index_folders(root, classes, on_progress, passed)
    if not index.counts.all():
        empty = classes[int(np.argmin(index.counts))]
        raise DataError(f"The class folder {root / empty} has no images in it. Fill it or remove it.")
    return images_of(index, range(len(classes)))
