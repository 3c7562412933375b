"""Images in folders: `DIR/<class>/*`, `DIR/{train,val,test}/<class>/*` under any of the usual names of splits, images
whose names end in a WordNet id, and images that a table gives their classes.

Files may lie deeper inside a class folder. A file that is not an image is skipped and counted; one that turns out not
to be an image when it is decoded is rejected, with the reason.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from alexnet_keras.data.class_names import are_wordnet_ids, read_words, some, word_list
from alexnet_keras.data.images import read_image_file
from alexnet_keras.data.sources import tables
from alexnet_keras.data.sources.layout import Root, read_layout
from alexnet_keras.data.sources.listing import Skipped, images_below, is_own, with_all_above
from alexnet_keras.data.sources.matching import match_rows
from alexnet_keras.data.sources.source import ImageList, Names, Source, check_classes, no_progress, printable
from alexnet_keras.data.sources.splits import DEFAULT_HOLDOUT, split_names, with_validation
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.reporter import Advance
from alexnet_keras.storage.places import command, exists, refuse_url


def folder_source(
    folder: Path,
    *,
    holdout: float = DEFAULT_HOLDOUT,
    seed: int = 0,
    given: str | None = None,
    splits: Mapping[str, str] | None = None,
    labels: Sequence[str] = (),
    partial: bool = False,
    advance: Advance = no_progress,
) -> Source:
    """List a folder of images.

    Without a "val" folder, "test" becomes "val"; without either, `holdout` of every class does.

    Args:
        folder: The folder.
        holdout: The part of each class to hold out, 0..1.
        seed: Decides which images are held out.
        given: The source as the user named it; "folder:" and the path by default.
        splits: The folder of each split, {"train": "Training"}; {} for no splits; None to go by the folders' names.
        labels: Tables of file and label, each as "FILE" or "SPLIT=FILE"; class folders are then ignored.
        partial: Accept tables that name files which do not exist.
        advance: Called with the number of images listed since the last call.

    Raises:
        UsageError: The folder, a table or a split's folder does not exist.
        DataError: It is empty, has fewer than two classes, its splits have different classes, or no reading of it fits,
            or two do.
    """
    if not exists(folder):
        refuse_url(folder)
        raise UsageError(f"There is no folder {folder}. Give one of class folders, or demo, tfds:NAME or ilsvrc:DIR.")
    if not folder.is_dir():
        hint = f"parquet:{folder}" if folder.suffix == ".parquet" else "the folder that it unpacks to"
        raise DataError(f"{folder} is a file, not a folder of class folders. Give {hint}.")
    if given is None and is_own(folder) and (folder / "manifest.json").exists():
        trained = command("train", "--data", folder)
        raise DataError(f"{folder} is prepared already: {trained}, or give the images that it was prepared from.")
    given = given or f"folder:{folder}"
    if labels:
        source = _from_tables(folder, given, labels, partial, advance)
    else:
        source = _from_layout(folder, given, splits, advance)
    return with_validation(source, holdout, seed)


def _from_layout(folder: Path, given: str, chosen: Mapping[str, str] | None, advance: Advance) -> Source:
    layout = read_layout(folder, chosen)
    classes: tuple[str, ...] = ()
    splits = {}
    for split in sorted(layout.roots, key=lambda split: split != "train"):  # train first: it has all classes
        root = layout.roots[split]
        if root.classes:
            classes = classes or root.classes
            missing, extra = sorted({*classes} - {*root.classes}), sorted({*root.classes} - {*classes})
            differences = [f"lacks {some(missing)}"] * bool(missing) + [f"also has {some(extra)}"] * bool(extra)
            if differences:
                raise DataError(f"{root.path} should have the classes of train; it {' and '.join(differences)}.")
            images = index_folders(root.path, classes, advance, layout.skipped)  # in the order of train's classes
            counts = np.bincount(images.labels, minlength=len(classes))
            if not counts.all():
                empty = root.path / classes[int(np.argmin(counts))]
                raise DataError(f"The class folder {empty} has no images in it. Fill it or remove it.")
            splits[split] = images
        else:
            images = index_folders(root.path, [""], advance, layout.skipped)
            labels = _labels_of_flat(images.filenames, root, layout.notes)
            classes = classes or tuple(tables.sorted_classes(labels))
            splits[split] = _labelled(images, labels, classes, root.path)
    train = layout.roots["train"].path
    return Source(
        given,
        classes,
        splits,
        words=_words((folder, train, train.parent), classes),
        notes=(*layout.notes, *layout.skipped.notes(folder)),
    )


def _words(folders: Sequence[Path], classes: Sequence[str]) -> tuple[str, ...]:
    """The classes' names in words, if one of the folders has one of ImageNet's lists with all of them."""
    path = word_list(folders)
    if not path or not are_wordnet_ids(classes):
        return ()
    words = read_words(path)
    return tuple(words[name] for name in classes) if words.keys() >= set(classes) else ()


def _labels_of_flat(names: Sequence[str], root: Root, notes: list[str]) -> list[str]:
    """The class of each image, by its root's table or by the WordNet id in its name."""
    if root.table:
        numbers = match_rows(root.table, names, root.path, partial=True)
        if (found := np.count_nonzero(numbers >= 0)) < (rows := len(root.table.rows)):
            notes.append(f"Of the {rows:,} images that {root.table.path} names, {found:,} are in {root.path}.")
        labels = [root.table.rows[number].label if number >= 0 else "" for number in numbers]
    else:
        labels = [tables.wnid_of(name) or "" for name in names]
    if "" in labels:
        first = PurePosixPath(names[labels.index("")]).name
        remedy = f"--labels {root.table.path} leaves them out" if root.table else "name them, or move them away"
        number = f"{labels.count(''):,} of {len(labels):,}"
        raise DataError(f"{number} images in {root.path} have no label: {first}; {remedy}.")
    return labels


def _from_tables(folder: Path, given: str, arguments: Sequence[str], partial: bool, advance: Advance) -> Source:
    skipped = Skipped()
    images = index_folders(folder, [""], advance, skipped)
    if not len(images):
        raise DataError(f"{folder} has no images in it.")
    labels_of: dict[str, list[str]] = {}  # by split; "" for an image that is not in it
    listed = np.zeros(len(images), bool)
    notes = []
    parsed = tables.parse_tables(arguments)
    for split, path in parsed:
        table = tables.read_table(path)
        if split:
            tables.check_split(table, split)
        if table.columns:
            notes.append(f"The classes are those of {table.title}.")
        row_of = match_rows(table, images.filenames, folder, partial)
        names = tables.label_names(table, (folder, path.parent))
        if names != table.labels:
            first = f"{table.labels[0]} is {names[0]}"
            notes.append(f"The labels of {path} are numbers of the list of classes next to it: {first}.")
        split_of = split_names(sorted({row.split for row in table.rows if row.split}))
        for image in np.flatnonzero(row_of >= 0):
            row = table.rows[row_of[image]]
            if listed[image]:
                raise DataError(f"The tables name {row.file} in two splits: leave it in one.")
            listed[image] = True
            its_split = split or (split_of[row.split] if row.split else "train")
            labels_of.setdefault(its_split, [""] * len(images))[image] = names[row_of[image]]
    first = parsed[0][1]
    if "train" not in labels_of:
        raise DataError(f"The tables name no training images: --labels train={first}.")
    classes = tuple(tables.sorted_classes(label for label in labels_of["train"] if label))
    check_classes(classes, first)
    if number := int((~listed).sum()):
        notes.append(f"Left out, not in a table: {number:,} of {len(listed):,} images in {folder}.")
    return Source(
        given,
        classes,
        {split: _labelled(images, labels, classes, f"The {split} split") for split, labels in labels_of.items()},
        words=_words((folder,), classes),
        notes=(*notes, *skipped.notes(folder)),
    )


def _labelled(images: ImageList, labels: Sequence[str], classes: Sequence[str], place: object) -> ImageList:
    """The images with their class names, (n,), as labels; those without ("") are left out."""
    number = {"": -1, **{name: label for label, name in enumerate(classes)}}
    if unknown := sorted(set(labels) - number.keys()):
        raise DataError(f"{place} has images of classes that train does not have: {some(unknown)}.")
    return images.relabelled(np.fromiter((number[label] for label in labels), np.int32, len(labels)))


def index_folders(root: Path, classes: Sequence[str], advance: Advance, skipped: Skipped) -> ImageList:
    """Every image below the class folders of `root` ([""] for `root` itself), labelled by the number of its folder.

    Images have names such as "class/name", and are sorted within each folder.
    """
    names: list[str] = []
    counts: list[int] = []
    sizes: list[int] = []
    for name in classes:
        before = len(names)
        ancestors = with_all_above(root.parent, root, root / name)
        for path, size in sorted(images_below(root / name, name, ancestors, skipped)):
            names.append(path)
            sizes.append(size)
        counts.append(len(names) - before)
        advance(counts[-1])
    paths = Names.pack(names)  # as the file system has them
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return ImageList(
        Names.pack(map(printable, names)),
        labels,
        np.array(sizes, np.int64),
        read=lambda i: read_image_file(root / paths[i]),
    )
