"""ImageNet as the challenges of 2012 and 2010 distributed it.

Archives are read in place. Of each split of a challenge the first of these is taken:

- train: `ILSVRC2012_img_train.tar`, an archive of an archive for each synset (2010: `ILSVRC2010_images_train.tar`);
  a folder `train` with a folder, or an archive, for each synset; Kaggle's `ILSVRC/Data/CLS-LOC/train`.
- val and test: `ILSVRC2012_img_val.tar` (2010: `ILSVRC2010_images_val.tar`), a flat archive; a folder `val`, flat or
  with a folder for each synset; Kaggle's.

Labels of flat images come from their names, if those end in a WordNet id (as Hugging Face has them), from the devkit
(`ILSVRC2012_devkit_t12.tar.gz`, or unpacked), from Kaggle's `LOC_val_solution.csv` or from Caffe's `val.txt`; names of
classes come from the devkit, `LOC_synset_mapping.txt` or `synset_words.txt`."""

import csv
import re
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from alexnet_keras.data.class_names import WORD_LISTS, lines_of, read_class_list, read_words, some, word_list
from alexnet_keras.data.sources.devkit import Devkit, parse_ground_truth, read_devkit
from alexnet_keras.data.sources.folder import index_folders
from alexnet_keras.data.sources.layout import packed_split
from alexnet_keras.data.sources.listing import Skipped, children_of, is_image_name, refuse_dangling, refuse_twins
from alexnet_keras.data.sources.matching import match_rows
from alexnet_keras.data.sources.source import ImageList, Names, Source, check_classes, no_progress
from alexnet_keras.data.sources.splits import DEFAULT_HOLDOUT, SPLITS, with_validation
from alexnet_keras.data.sources.synsets import labelled_by_synset, refuse_packed, words_of_synsets
from alexnet_keras.data.sources.tables import split_table, wnid_of
from alexnet_keras.data.sources.tar import Index, index_flat, index_nested, index_synsets
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.reporter import Advance

PLACES = (
    "ILSVRC2012_img_{}", "ILSVRC2012_img_{}_v10102019", "ILSVRC2010_images_{}", "{}", "ILSVRC/Data/CLS-LOC/{}",
    "Data/CLS-LOC/{}",
)  # fmt: skip
SOLUTION = "LOC_val_solution.csv"
NUMBER = re.compile(r"_(\d+)\.\w+$")  # ILSVRC2012_val_00000001.JPEG


@dataclass
class _Challenge:
    """The contents of a challenge's directory, how to read them, and the notes made while reading."""

    folder: Path
    places: dict[str, Path]  # the archive or folder of each split
    devkit: Devkit | None
    words: dict[str, str]  # by WordNet id
    partial: bool
    cache: Path | None
    advance: Advance
    notes: list[str]
    skipped: Skipped = field(default_factory=Skipped)

    @property
    def remedy(self) -> str:
        """The sentence for a part of the set."""
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
    advance: Advance = no_progress,
) -> Source:
    """List the images of a directory that holds ILSVRC-2012 or ILSVRC-2010.

    The arguments are those of `SourceRequest`; `advance` is called with the number of images listed since its last
    call.

    Raises:
        UsageError: The directory does not exist, or there are no ILSVRC ids to order by.
        DataError: Something is missing, damaged, or does not agree with the rest.
    """
    challenge = _read_challenge(folder, partial, cache, advance)
    known = _known_classes(challenge)
    chosen = read_class_list(classes, known) if classes else None
    groups, images = _train_index(challenge, chosen)
    counts = dict(zip(groups, np.bincount(images.labels, minlength=len(groups)).tolist(), strict=True))
    wnids = _check_train(challenge, counts, known, chosen)
    if class_order == "ilsvrc":
        if challenge.devkit is None:
            raise UsageError(f"{folder} has no devkit, and only a devkit has ILSVRC ids: use --class-order wnid.")
        wnids = [synset.wnid for synset in challenge.devkit.synsets if synset.wnid in wnids]
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    splits = {"train": labelled_by_synset(groups, images, label_of)}
    for split in ("val", "test"):
        if split in challenge.places and (labelled := _labelled_split(challenge, split, label_of, known)):
            splits[split] = labelled
    id_of = {synset.wnid: synset.ilsvrc_id for synset in challenge.devkit.synsets} if challenge.devkit else {}
    source = Source(
        given=f"ilsvrc:{folder}",
        classes=tuple(wnids),
        splits=splits,
        words=words_of_synsets(wnids, challenge.words, chosen),
        ids=tuple(id_of[wnid] for wnid in wnids) if id_of.keys() >= set(wnids) else (),
        options={"class_order": class_order},
        notes=(*challenge.notes, *challenge.skipped.notes(folder)),
    )
    # The paper's results of 2010 (table 1) are of that year's test split: it is never validated on.
    return with_validation(source, holdout, seed, test_may_be_val=False)


def _read_challenge(folder: Path, partial: bool, cache: Path | None, advance: Advance) -> _Challenge:
    if not folder.exists():
        raise UsageError(f"There is no directory {folder}.")
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; give the directory that holds ImageNet's archives or folders.")
    names = sorted(path.name for path in folder.iterdir())
    years = {match.group(1) for name in names if (match := re.match(r"ILSVRC(20\d\d)_", name))}
    if len(years) > 1:
        raise DataError(f"{folder} holds more than one challenge: {some(sorted(years))}. Give each its own directory.")
    places, notes = {}, []
    for split in SPLITS:
        candidates = [folder / f"{place.format(split)}{suffix}" for place in PLACES for suffix in (".tar", "")]
        for path in candidates:
            refuse_dangling(path, unless_a_file=False)
        there = [path for path in candidates if path.exists()]
        if there:
            places[split] = there[0]
        elif split != "test" and (packed := packed_split(folder, split)):
            raise DataError(f"{packed} is still packed. Unpack it once; the tar that comes out is read in place.")
        if there[1:]:
            notes.append(f"The {split} split is read from {there[0]}, not from {some(map(str, there[1:]))}.")
    if "train" not in places:
        which = "neither ILSVRC2012_img_train.tar nor a folder train"
        remedy = "Give a folder of class folders without ilsvrc: in front."
        raise DataError(f"{folder} has no training images of ILSVRC, {which}. {remedy}")
    devkits = [folder / name for name in names if "devkit" in name.lower()]
    devkits.sort(key=lambda path: not path.is_file())
    devkit = read_devkit(devkits[0]) if devkits else None
    words = {synset.wnid: synset.words for synset in devkit.synsets} if devkit else {}
    # words.txt does not count: it has all of WordNet's synsets, and these are the classes that there can be.
    if not words and (path := word_list((folder,), WORD_LISTS[:2])):
        words = read_words(path)
    return _Challenge(folder, places, devkit, words, partial, cache, advance, notes)


def _known_classes(challenge: _Challenge) -> frozenset[str]:
    """The WordNet ids that can occur; without any list, those of the training folders, archives or images."""
    if challenge.words:
        return frozenset(challenge.words)
    train = challenge.places["train"]
    if train.is_dir():
        paths = children_of(train)
        inside = [path.name.removesuffix(".tar") for path in paths if path.is_dir() or path.suffix == ".tar"]
        return frozenset(inside or [wnid for path in paths if (wnid := wnid_of(path.name))])
    lists = "devkit (ILSVRC2012_devkit_t12.tar.gz) or LOC_synset_mapping.txt"
    raise DataError(f"{challenge.folder} has no {lists} that names the classes. Put one next to the archives.")


def _folders(challenge: _Challenge, place: Path, children: Sequence[Path]) -> list[str]:
    """The folders of synsets among a folder's children, by name.

    Raises:
        DataError: Two are one folder; or images lie next to them, as after a move that was interrupted.
    """
    refuse_twins(filter(Path.is_dir, children))
    folders = [path.name for path in children if path.is_dir()]
    outside = [path.name for path in children if is_image_name(path.name) and path.is_file()] if folders else []
    if outside:
        words = f"{place} has images outside the folders of its synsets, {some(outside, 1)}."
        if not challenge.partial:
            raise DataError(f"{words} {challenge.remedy}")
        challenge.notes.append(words)
    return folders


def _train_index(challenge: _Challenge, chosen: Mapping[str, str] | None) -> Index:
    """The synsets of the training images, and the images labelled by the number of their synset."""
    place, cache, advance = challenge.places["train"], challenge.cache, challenge.advance
    if place.is_file():
        return index_nested(place, advance, cache, None if chosen is None else frozenset(chosen))
    children = children_of(place)
    inside = _folders(challenge, place, children)
    folders = [name for name in inside if chosen is None or name in chosen]
    archives = [path for path in children if path.suffix == ".tar" and (chosen is None or path.stem in chosen)]
    refuse_packed(children, {*folders, *(path.stem for path in archives)}, chosen)
    if folders and archives:
        raise DataError(f"{place} has both folders and archives of synsets: {some([*folders[:2], archives[0].name])}.")
    if archives:
        return index_synsets(archives, advance, cache)
    if inside:
        return tuple(folders), index_folders(place, folders, advance, challenge.skipped)
    images = index_folders(place, [""], advance, challenge.skipped)
    wnids = [wnid_of(name) or "" for name in images.filenames]
    if "" in wnids:
        raise DataError(f"{place} is flat, and {images.filenames[wnids.index('')]} does not end in a WordNet id.")
    groups, labels = np.unique(wnids, return_inverse=True)
    by_group = np.argsort(labels, kind="stable")
    order = np.array([i for i in by_group if chosen is None or wnids[i] in chosen], np.int64)
    names = Names.pack(f"{wnids[i]}/{images.filenames[i]}" for i in order)
    return tuple(map(str, groups)), ImageList(
        names, labels[order].astype(np.int32), images.sizes[order], lambda i: images.read(int(order[i]))
    )


def _check_train(
    challenge: _Challenge, counts: Mapping[str, int], known: frozenset[str], chosen: Mapping[str, str] | None
) -> list[str]:
    """Compare the images of each synset with the devkit; returns the classes that take part, by WordNet id."""
    place, devkit = challenge.places["train"], challenge.devkit
    listed = str(devkit.path) if devkit else "the list of synsets"
    if unknown := sorted(counts.keys() - known):
        raise DataError(f"{place} has synsets that are not in {listed}: {some(unknown)}.")
    wanted = set(known if chosen is None else chosen)
    if missing := sorted(wnid for wnid in wanted if not counts.get(wnid)):
        if not challenge.partial:
            raise DataError(f"{place} has no images of {some(missing)}, which {listed} names. {challenge.remedy}")
        challenge.notes.append(f"Left out, without training images: {some(missing)}.")
    if devkit and not challenge.partial:
        for synset in devkit.synsets:
            if synset.wnid in wanted and counts[synset.wnid] != synset.train_images:
                images = f"{counts[synset.wnid]:,} images of {synset.wnid}"
                raise DataError(f"{place} has {images} and {listed} counts {synset.train_images:,}. {challenge.remedy}")
    wnids = sorted(wanted.difference(missing))
    check_classes(wnids, place)
    return wnids


def _labelled_split(
    challenge: _Challenge, split: str, label_of: Mapping[str, int], known: frozenset[str]
) -> ImageList | None:
    """The images of val or test, sorted by name; None, with a note, for a test split without labels."""
    place = challenge.places[split]
    folders = _folders(challenge, place, children_of(place)) if place.is_dir() else []
    if split == "test" and not folders and not _ground_truth(challenge, split):
        challenge.notes.append(f"The test split of {challenge.folder} has no labels and is left out.")
        return None
    if place.is_dir():
        images = index_folders(place, folders or [""], challenge.advance, challenge.skipped)
    else:
        _, images = index_flat(place, challenge.advance, challenge.cache)
    names = [PurePosixPath(name).name for name in images.filenames]
    if folders:
        if unknown := sorted(set(folders) - known):
            raise DataError(f"{place} has folders that are no synsets of the training images: {some(unknown)}.")
        if (lacking := sorted(known.difference(folders))) and not challenge.partial:
            raise DataError(f"{place} has no folder for {some(lacking)}. {challenge.remedy}")
        _check_count(challenge, split, len(names), _ground_truth(challenge, split))
        wnids = [folders[label] for label in images.labels.tolist()]
    else:
        wnids = _labels_of_flat(challenge, split, names)
        if unknown := [wnid for wnid in wnids if wnid not in known]:
            images_of = f"{len(unknown):,} images of {some(sorted(set(unknown)))}"
            if not challenge.partial:
                raise DataError(f"{place} has {images_of}, which are no synsets of train. {challenge.remedy}")
            challenge.notes.append(f"Left out of {place}, no synsets of train: {images_of}.")
    order = sorted(range(len(names)), key=names.__getitem__)
    for first, second in pairwise(order):
        if names[first] == names[second]:
            raise DataError(f"{place} has two images called {names[first]!r}.")
    labels = np.array([label_of.get(wnid, -1) for wnid in wnids], np.int32)
    renamed = ImageList(Names.pack(names), labels, images.sizes, images.read)
    labelled = renamed.take(np.array([i for i in order if labels[i] >= 0], np.int64))
    if not len(labelled):
        raise DataError(f"{place} has no image of any class of the training images.")
    return labelled


def _check_count(challenge: _Challenge, split: str, images: int, labels: tuple[str, Sized] | None) -> None:
    """Refuse fewer or more images than there are labels, given with their title, but with `--partial`."""
    if labels and images != len(labels[1]) and not challenge.partial:
        counted = f"{images:,} images and {labels[0]} labels {len(labels[1]):,}"
        raise DataError(f"{challenge.places[split]} has {counted}. {challenge.remedy}")


def _labels_of_flat(challenge: _Challenge, split: str, names: Sequence[str]) -> list[str]:
    """The WordNet id of each flat image."""
    place, folder = challenge.places[split], challenge.folder
    by_name = [wnid for name in names if (wnid := wnid_of(name))]
    if by_name and len(by_name) == len(names):
        _check_count(challenge, split, len(names), _ground_truth(challenge, split))
        return by_name
    truth: Mapping[Any, str]
    keys: list[Any]
    if split == "val" and (folder / SOLUTION).is_file():
        title, truth = str(folder / SOLUTION), _solution(folder / SOLUTION)
        keys = [PurePosixPath(name).stem for name in names]
    elif numbered := _ground_truth(challenge, split):
        title, truth = numbered[0], dict(enumerate(numbered[1], start=1))
        keys = [int(match.group(1)) if (match := NUMBER.search(name)) else name for name in names]
    elif table := split_table(split, (folder,)):
        row_of = match_rows(table, names, place, challenge.partial)
        title, truth = table.title, {i: table.rows[row].label for i, row in enumerate(row_of) if row >= 0}
        keys = list(range(len(names)))
    else:
        raise DataError(f"{place} is flat, and {folder} has no devkit, {SOLUTION} or val.txt to label its images.")
    if unlabelled := [name for name, key in zip(names, keys, strict=True) if key not in truth]:
        raise DataError(f"{some(unlabelled, 1)} of {place} has no label: {title} labels {len(truth):,} images.")
    if len(set(keys)) != len(keys):
        twice = next(name for name, key in zip(names, keys, strict=True) if keys.count(key) > 1)
        raise DataError(f"{place} has two images of the number of {twice}.")
    _check_count(challenge, split, len(keys), (title, truth))
    return [truth[key] for key in keys]


def _ground_truth(challenge: _Challenge, split: str) -> tuple[str, tuple[str, ...]] | None:
    """The title of a split's ground truth, in the devkit or next to it, and the WordNet ids of images 1, 2, ..."""
    devkit = challenge.devkit
    if devkit is None:
        return None
    if split in devkit.ground_truth:
        return f"the devkit {devkit.path}", devkit.ground_truth[split]
    title = {"val": "validation"}.get(split, split)
    for file in sorted(challenge.folder.glob(f"ILSVRC20??_{title}_ground_truth.txt")):
        return str(file), parse_ground_truth("\n".join(lines_of(file)).encode(), devkit.synsets, str(file))
    return None


def _solution(path: Path) -> dict[str, str]:
    """Kaggle's list by image: a WordNet id and a box, once for each box of the one class."""
    try:
        rows = list(csv.reader(lines_of(path), strict=True))
    except csv.Error as error:
        raise DataError(f"{path} is damaged ({error}). Copy or download it again.") from error
    if not rows or rows[0][:2] != ["ImageId", "PredictionString"]:
        raise DataError(f"{path} does not begin with ImageId,PredictionString.")
    if short := [number for number, row in enumerate(rows, start=1) if len(row) < 2 or not row[1].strip()]:
        raise DataError(f"Line {short[0]:,} of {path} has no label.")
    return {row[0]: row[1].split()[0] for row in rows[1:]}
