"""ImageNet as it was given out: the challenges of 2012 and 2010, and archives by synset (Fall 2009, Fall 2011).

Archives are read in place. Of each split of a challenge the first of these is taken:

- train: `ILSVRC2012_img_train.tar`, an archive of an archive for each synset (2010: `ILSVRC2010_images_train.tar`);
  a folder `train` with a folder, or an archive, for each synset; Kaggle's `ILSVRC/Data/CLS-LOC/train`.
- val and test: `ILSVRC2012_img_val.tar` (2010: `ILSVRC2010_images_val.tar`), a flat archive; a folder `val`, flat or
  with a folder for each synset; Kaggle's.

Labels of flat images come from their names, where those end in a WordNet id (as Hugging Face has them), from the
devkit (`ILSVRC2012_devkit_t12.tar.gz`, or unpacked), from Kaggle's `LOC_val_solution.csv` or from Caffe's `val.txt`;
names of classes from the devkit, `LOC_synset_mapping.txt` or `synset_words.txt`.

By synset there is an archive for each, as Fall 2009 (10,184 classes) and Fall 2011 (21,841) come, or one archive of
them all (`fall11_whole.tar`)."""

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from alexnet_keras.data.class_names import lines_of, read_class_list, read_words, some
from alexnet_keras.data.sources.devkit import Devkit, parse_ground_truth, read_devkit
from alexnet_keras.data.sources.folder import FolderIndex, index_folders
from alexnet_keras.data.sources.layout import packed_split
from alexnet_keras.data.sources.listing import SYSTEM_FOLDERS, PassedOver
from alexnet_keras.data.sources.source import DEFAULT_HOLDOUT, ImageList, Index, Names, Source, hold_out, images_of
from alexnet_keras.data.sources.tables import labels_beside, matched, wnid_of
from alexnet_keras.data.sources.tar import index_flat, index_nested, index_synsets
from alexnet_keras.errors import DataError, UsageError

KAGGLE = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
PLACES = {
    "train": ("ILSVRC2012_img_train", "ILSVRC2010_images_train", "train", *(f"{k}/train" for k in KAGGLE)),
    "val": ("ILSVRC2012_img_val", "ILSVRC2010_images_val", "val", *(f"{k}/val" for k in KAGGLE)),
    "test": (
        "ILSVRC2012_img_test",
        "ILSVRC2012_img_test_v10102019",
        "ILSVRC2010_images_test",
        "test",
        *(f"{k}/test" for k in KAGGLE),
    ),
}
WORD_LISTS = ("LOC_synset_mapping.txt", "synset_words.txt")
SOLUTION = "LOC_val_solution.csv"
NUMBER = re.compile(r"_(\d+)\.\w+$")  # ILSVRC2012_val_00000001.JPEG
CLASS_ORDERS = ("wnid", "ilsvrc")


@dataclass
class _Found:
    """What a directory holds."""

    folder: Path
    places: dict[str, Path]
    devkit: Devkit | None
    words: dict[str, str]
    notes: list[str] = field(default_factory=list)
    passed: PassedOver = field(default_factory=PassedOver)

    @property
    def partly(self) -> str:
        return f"If {self.folder} is meant to be a part of the set, say so with --partial."


def ilsvrc_source(
    folder: Path,
    *,
    class_order: str = "wnid",
    classes: Path | None = None,
    partial: bool = False,
    holdout: float = DEFAULT_HOLDOUT,
    seed: int = 0,
    cache: Path | None = None,
    on_progress: Callable[[int], None] = lambda images: None,
) -> Source:
    """List the images of a directory that holds ILSVRC-2012 or ILSVRC-2010.

    Args:
        folder: The directory.
        class_order: "wnid" sorts classes by WordNet id, as Caffe, Keras and torchvision do; "ilsvrc" by the devkit's
            own id.
        classes: A file of the classes to take; all by default.
        partial: Accept fewer classes and images than the devkit counts.
        holdout: The part of each class to hold out where there is no validation split, 0..1.
        seed: Decides which.
        cache: A directory to keep the archives' indices in.
        on_progress: Called with the number of images found since the last call.

    Raises:
        UsageError: The directory does not exist, or there are no ILSVRC ids to order by.
        DataError: Something is missing, damaged, or does not agree with the rest.
    """
    found = _look(folder)
    known = _known_classes(found)
    chosen = read_class_list(classes, known) if classes else None
    train = _train_index(found, None if chosen is None else frozenset(chosen), cache, on_progress)
    wnids = _check_train(found, train, known, chosen, partial)
    ordered = _order(found, wnids, class_order)
    label_of = {wnid: label for label, wnid in enumerate(ordered)}
    splits = {"train": images_of(train, (label_of.get(group, -1) for group in train.groups))}
    for split in ("val", "test"):
        if split in found.places and (images := _labelled_split(found, split, label_of, partial, cache, on_progress)):
            splits[split] = images
    options: dict[str, Any] = {"class_order": class_order}
    if "val" not in splits:
        options["holdout"] = holdout
        splits |= hold_out(splits["train"], ordered, holdout, seed)
        found.notes.append(f"{folder} has no validation split; {holdout:.0%} of every class is held out.")
    found.notes += found.passed.notes(folder)
    words = {**found.words, **{wnid: text for wnid, text in (chosen or {}).items() if text}}
    return Source(
        given=f"ilsvrc:{folder}",
        classes=tuple(ordered),
        splits={split: splits[split] for split in ("train", "val", "test") if split in splits},
        words=tuple(words.get(wnid) or wnid for wnid in ordered) if words else (),
        ids=_ids(found, ordered),
        options=options,
        notes=tuple(found.notes),
    )


def _ids(found: _Found, wnids: list[str]) -> tuple[int, ...]:
    id_of = {synset.wnid: synset.ilsvrc_id for synset in found.devkit.synsets} if found.devkit else {}
    return tuple(id_of[wnid] for wnid in wnids) if set(wnids) <= id_of.keys() else ()


def _look(folder: Path) -> _Found:
    if not folder.exists():
        raise UsageError(f"There is no directory {folder}.")
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; give the directory that holds ImageNet's archives or folders.")
    names = sorted(path.name for path in folder.iterdir())
    years = {match.group(1) for name in names if (match := re.match(r"ILSVRC(20\d\d)_", name))}
    if len(years) > 1:
        raise DataError(f"{folder} holds more than one challenge: {some(sorted(years))}. Give each its own directory.")
    places, notes = {}, []
    for split, candidates in PLACES.items():
        there = [path for name in candidates for path in (folder / f"{name}.tar", folder / name) if path.exists()]
        if there:
            places[split] = there[0]
        elif split != "test" and (packed := packed_split(folder, split)):
            raise DataError(f"{packed} is still packed. Unpack it once; the tar that comes out is read in place.")
        if there[1:]:
            notes.append(f"Of the {split} split {there[0]} is read, not {some(map(str, there[1:]))}.")
    if "train" not in places:
        raise DataError(
            f"{folder} has no training images of ILSVRC: neither ILSVRC2012_img_train.tar nor a folder train. "
            "Images in class folders need no ilsvrc: in front."
        )
    devkits = [folder / name for name in names if "devkit" in name.lower()]
    devkits.sort(key=lambda path: not path.is_file())
    devkit = read_devkit(devkits[0]) if devkits else None
    words = {synset.wnid: synset.words for synset in devkit.synsets} if devkit else {}
    if not words and (lists := [folder / name for name in WORD_LISTS if (folder / name).is_file()]):
        words = read_words(lists[0])
    return _Found(folder, places, devkit, words, notes)


def _known_classes(found: _Found) -> frozenset[str]:
    """The WordNet ids there can be; of a folder without any list, its class folders."""
    if found.words:
        return frozenset(found.words)
    train = found.places["train"]
    if train.is_dir():
        inside = [path for path in _visible(train) if path.is_dir() or path.suffix == ".tar"]
        names = [wnid for path in _visible(train) if not path.is_dir() and (wnid := wnid_of(path.name))]
        return frozenset(path.stem if path.suffix == ".tar" else path.name for path in inside) or frozenset(names)
    raise DataError(
        f"{found.folder} has no devkit (ILSVRC2012_devkit_t12.tar.gz) and no LOC_synset_mapping.txt, so nothing says "
        "which classes there are. Put one beside the archives."
    )


def _visible(place: Path) -> list[Path]:
    """What a folder holds, but for what systems leave there."""
    return sorted(
        path for path in place.iterdir() if not path.name.startswith(".") and path.name.lower() not in SYSTEM_FOLDERS
    )


def _train_index(
    found: _Found, only: frozenset[str] | None, cache: Path | None, on_progress: Callable[[int], None]
) -> Index:
    place = found.places["train"]
    if place.is_file():
        return index_nested(place, on_progress, cache, only)
    children = _visible(place)
    folders = [path.name for path in children if path.is_dir() and (only is None or path.name in only)]
    archives = [path for path in children if path.suffix == ".tar" and (only is None or path.stem in only)]
    if folders and archives:
        raise DataError(f"{place} has both folders and archives of synsets: {some([*folders[:2], archives[0].name])}.")
    if archives:
        return index_synsets(archives, on_progress, cache)
    if not any(path.is_dir() for path in children):
        return _by_name(index_folders(place, [""], on_progress, found.passed), only)
    return index_folders(place, folders, on_progress, found.passed)


def _by_name(index: FolderIndex, only: frozenset[str] | None) -> FolderIndex:
    """Images in no folders, grouped by the WordNet ids in their names."""
    wnids = [wnid_of(name) or "" for name in index.names]
    order = np.array(
        sorted((i for i, wnid in enumerate(wnids) if only is None or wnid in only), key=wnids.__getitem__), np.int64
    )
    if "" in wnids:
        raise DataError(f"{index.root} is flat, and {index.names[wnids.index('')]} does not end in a WordNet id.")
    groups, counts = np.unique([wnids[i] for i in order], return_counts=True)
    names = Names.pack(f"{wnids[i]}/{index.names[i]}" for i in order)
    return FolderIndex(
        index.root, tuple(map(str, groups)), counts.astype(np.int64), names, index.paths.take(order), index.sizes[order]
    )


def _check_train(
    found: _Found, train: Index, known: frozenset[str], chosen: Mapping[str, str] | None, partial: bool
) -> set[str]:
    """The classes that take part, after holding the training images against the devkit."""
    place = found.places["train"]
    listed = str(found.devkit.path) if found.devkit else "the list of synsets"
    if strange := sorted(set(train.groups) - known):
        raise DataError(f"{place} has synsets that are not in {listed}: {some(strange)}.")
    counts = dict(zip(train.groups, train.counts.tolist(), strict=True))
    wanted = set(chosen) if chosen is not None else set(known)
    if missing := sorted(wnid for wnid in wanted if not counts.get(wnid)):
        if not partial:
            raise DataError(f"{place} has no images of {some(missing)}, which {listed} names. {found.partly}")
        found.notes.append(f"Left out, having no training images: {some(missing)}.")
    if found.devkit and not partial:
        for synset in found.devkit.synsets:
            if synset.wnid in wanted and counts[synset.wnid] != synset.train_images:
                raise DataError(
                    f"{place} has {counts[synset.wnid]:,} images of {synset.wnid} and {listed} counts "
                    f"{synset.train_images:,}. {found.partly}"
                )
    taking_part = wanted - set(missing)
    if len(taking_part) < 2:
        raise DataError(f"{place} has images of {len(taking_part)} classes. At least two are needed to tell apart.")
    return taking_part


def _order(found: _Found, wnids: set[str], class_order: str) -> list[str]:
    if class_order == "wnid":
        return sorted(wnids)
    if found.devkit is None:
        raise UsageError(f"{found.folder} has no devkit, and only a devkit has ILSVRC ids: use --class-order wnid.")
    return [synset.wnid for synset in found.devkit.synsets if synset.wnid in wnids]


def _labelled_split(
    found: _Found,
    split: str,
    label_of: Mapping[str, int],
    partial: bool,
    cache: Path | None,
    on_progress: Callable[[int], None],
) -> ImageList | None:
    """The images of val or test, sorted by name; None, with a note, where a test split has no labels."""
    place = found.places[split]
    folders: list[str] = []
    if place.is_dir():
        folders = [path.name for path in _visible(place) if path.is_dir()]
    if split == "test" and not folders and not _numbered(found, split):
        found.notes.append(f"The test split of {found.folder} has no labels and is left out.")
        return None
    if place.is_dir():
        index = index_folders(place, folders or [""], on_progress, found.passed)
    else:
        index = index_flat(place, on_progress, cache)
    names = [PurePosixPath(name).name for name in index.names]
    if folders:
        wnids = list(np.repeat(np.array(index.groups, object), index.counts))
        if strange := sorted(set(folders) - _known_classes(found)):
            raise DataError(f"{place} has folders that are no synsets of the training images: {some(strange)}.")
    else:
        wnids = _ground_truth(found, split, names, partial)
    order = sorted(range(len(names)), key=names.__getitem__)
    for first, second in pairwise(order):
        if names[first] == names[second]:
            raise DataError(f"{place} has two images called {names[first]!r}.")
    kept = np.array([i for i in order if wnids[i] in label_of], np.int64)
    labels = np.array([label_of.get(wnid, -1) for wnid in wnids], np.int32)
    images = ImageList(Names.pack(names), labels, index.sizes, index.read).take(kept)
    if not len(images):
        raise DataError(f"{place} has no image of any class of the training images.")
    return images


def _ground_truth(found: _Found, split: str, names: list[str], partial: bool) -> list[str]:
    """The WordNet id of each flat image."""
    truth: Mapping[Any, str]
    keys: list[Any]
    place = found.places[split]
    by_name = [wnid_of(name) for name in names]
    if by_name and None not in by_name:
        return [wnid for wnid in by_name if wnid]
    if split == "val" and (found.folder / SOLUTION).is_file():
        truth = _solution(found.folder / SOLUTION)
        title, keys = str(found.folder / SOLUTION), [PurePosixPath(name).stem for name in names]
    elif numbered := _numbered(found, split):
        truth = dict(enumerate(numbered[0], start=1))
        title = numbered[1]
        keys = [int(match.group(1)) if (match := NUMBER.search(name)) else name for name in names]
    elif listed := labels_beside(split, (found.folder,)):
        rows = matched(listed, names, place, partial)
        truth, title = {i: listed.rows[row].label for i, row in enumerate(rows) if row >= 0}, listed.title
        keys = list(range(len(names)))
    else:
        raise DataError(
            f"{place} is flat, and {found.folder} has no devkit, {SOLUTION} or val.txt to label its images."
        )
    if unlabelled := [name for name, key in zip(names, keys, strict=True) if key not in truth]:
        raise DataError(f"{some(unlabelled, 1)} of {place} has no label: {title} labels {len(truth):,} images.")
    if len(set(keys)) != len(keys):
        twice = next(name for name, key in zip(names, keys, strict=True) if keys.count(key) > 1)
        raise DataError(f"{place} has two images of the number of {twice}.")
    if len(keys) != len(truth) and not partial:
        raise DataError(f"{place} has {len(keys):,} images and {title} labels {len(truth):,}. {found.partly}")
    return [truth[key] for key in keys]


def _numbered(found: _Found, split: str) -> tuple[tuple[str, ...], str] | None:
    """The WordNet ids of images 1, 2, ... and where they come from."""
    if found.devkit is None:
        return None
    if split in found.devkit.ground_truth:
        return found.devkit.ground_truth[split], f"the devkit {found.devkit.path}"
    for file in sorted(found.folder.glob(f"ILSVRC20??_{ {'val': 'validation'}.get(split, split) }_ground_truth.txt")):
        return parse_ground_truth("\n".join(lines_of(file)).encode(), found.devkit.synsets, str(file)), str(file)
    return None


def _solution(path: Path) -> dict[str, str]:
    """Kaggle's list: image, then WordNet id and box, once for each box of the one class."""
    try:
        rows = list(csv.reader(lines_of(path), strict=True))
    except csv.Error as error:
        raise DataError(f"{path} is damaged ({error}). Copy or download it again.") from error
    if not rows or rows[0][:2] != ["ImageId", "PredictionString"]:
        raise DataError(f"{path} does not begin with ImageId,PredictionString.")
    if short := [number for number, row in enumerate(rows, start=1) if len(row) < 2 or not row[1].strip()]:
        raise DataError(f"Line {short[0]:,} of {path} has no label.")
    return {row[0]: row[1].split()[0] for row in rows[1:]}


SYNSET_WORD_LISTS = ("words.txt", "synset_words.txt", "LOC_synset_mapping.txt")


def synsets_source(
    place: Path,
    *,
    classes: Path | None = None,
    holdout: float = DEFAULT_HOLDOUT,
    seed: int = 0,
    cache: Path | None = None,
    on_progress: Callable[[int], None] = lambda images: None,
) -> Source:
    """List the images of archives of one synset each. Classes are in the order of their WordNet ids.

    Args:
        place: A directory of `<wnid>.tar`, or an archive of them.
        classes: A file of the classes to take; all by default.
        holdout: The part of each class to hold out for validation, 0..1 (the paper halves Fall 2009).
        seed: Decides which.
        cache: A directory to keep the archives' index in.
        on_progress: Called with the number of images found since the last call.

    Raises:
        UsageError: There is no such directory or archive.
        DataError: An archive is damaged, or a class of the list has none.
    """
    if not place.exists():
        raise UsageError(f"There is no directory or archive {place}.")
    folder = place if place.is_dir() else place.parent
    notes = []
    if place.is_dir():
        archives = {path.stem: path for path in sorted(place.glob("*.tar")) if not path.name.startswith(".")}
        if not archives:
            packed = " They are compressed: unpack them once (gunzip)." if any(place.glob("*.tar.gz")) else ""
            raise DataError(f"{place} has no archives called <wnid>.tar.{packed}")
        chosen = read_class_list(classes, archives) if classes else None
        paths = [path for name, path in archives.items() if chosen is None or name in chosen]
        index = index_synsets(paths, on_progress, cache)
    else:
        index = index_nested(place, on_progress, cache)
        chosen = read_class_list(classes, frozenset(index.groups)) if classes else None
    lists = [folder / name for name in SYNSET_WORD_LISTS if (folder / name).is_file()]
    words = read_words(lists[0]) if lists else {}
    if words and (strange := sorted(set(index.groups) - words.keys())):
        raise DataError(f"{place} has synsets that are not in {lists[0]}: {some(strange)}.")
    words |= {name: text for name, text in (chosen or {}).items() if text}
    filled = [group for group, count in zip(index.groups, index.counts, strict=True) if count]
    if empty := sorted(set(index.groups) - set(filled)):
        if chosen:
            raise DataError(f"The archive of {empty[0]}, which {classes} names, is empty.")
        notes.append(f"Left out, their archives being empty: {some(empty)}.")
    ordered = sorted(group for group in filled if chosen is None or group in chosen)
    if len(ordered) < 2:
        raise DataError(f"{place} has images of {len(ordered)} classes. At least two are needed to tell apart.")
    label_of = {group: label for label, group in enumerate(ordered)}
    images = images_of(index, (label_of.get(group, -1) for group in index.groups))
    notes.append(f"Archives of synsets have no validation split; {holdout:.0%} of every class is held out.")
    return Source(
        given=f"synsets:{place}",
        classes=tuple(ordered),
        splits=hold_out(images, ordered, holdout, seed),
        words=tuple(words.get(group) or group for group in ordered) if words else (),
        options={"holdout": holdout},
        notes=tuple(notes),
    )
