"""ImageNet by synset: an archive for each, as in Fall 2009 (10,184 classes) and Fall 2011 (21,841), or one archive of
them all (`fall11_whole.tar`). Archives are read in place."""

from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from alexnet_keras.data.class_names import WORD_LISTS, WORDNET_ID, read_class_list, read_words, some, word_list
from alexnet_keras.data.sources.layout import is_packed
from alexnet_keras.data.sources.listing import children_of
from alexnet_keras.data.sources.source import ImageList, Source, no_progress
from alexnet_keras.data.sources.splits import DEFAULT_HOLDOUT, with_validation
from alexnet_keras.data.sources.tar import index_nested, index_synsets
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.reporter import Advance


def synsets_source(
    place: Path,
    *,
    classes: Path | None = None,
    holdout: float = DEFAULT_HOLDOUT,
    seed: int = 0,
    cache: Path | None = None,
    advance: Advance = no_progress,
) -> Source:
    """List the images of archives of one synset each. Classes are in the order of their WordNet ids.

    The arguments are those of `SourceRequest`; `advance` is called with the number of images listed since its last
    call; `place` is a directory of `<wnid>.tar`, or an archive of them.

    Raises:
        UsageError: There is no such directory or archive.
        DataError: An archive is damaged, or a class of the list has none.
    """
    if not place.exists():
        raise UsageError(f"There is no directory or archive {place}.")
    chosen = None
    if place.is_dir():
        archives = {path.stem: path for path in sorted(place.glob("*.tar")) if not path.name.startswith(".")}
        if not archives:
            packed = " They are compressed: unpack them once (gunzip)." if any(place.glob("*.tar.gz")) else ""
            raise DataError(f"{place} has no archives called <wnid>.tar.{packed}")
        if classes:
            chosen = read_class_list(classes, archives)
            archives = {name: path for name, path in archives.items() if name in chosen}
        else:
            _check_synsets(place, archives)
        refuse_packed(children_of(place), archives, chosen)
        groups, images = index_synsets(archives.values(), advance, cache)
    else:
        groups, images = index_nested(place, advance, cache)
        if classes:
            chosen = read_class_list(classes, groups)
        else:
            _check_synsets(place, groups)
    # words.txt first, because it has all of WordNet's synsets and the others those of the challenge.
    listed = word_list((place if place.is_dir() else place.parent,), WORD_LISTS[::-1])
    words = read_words(listed) if listed else {}
    if words and (unknown := sorted(set(groups) - words.keys())):
        raise DataError(f"{place} has synsets that are not in {listed}: {some(unknown)}.")
    filled = {groups[label] for label in np.unique(images.labels)}
    notes = []
    if empty := sorted(set(groups) - filled):
        if chosen:
            raise DataError(f"The archive of {empty[0]}, which {classes} names, is empty.")
        notes.append(f"Left out, with empty archives: {some(empty)}.")
    wnids = sorted(filled.intersection(chosen) if chosen else filled)
    source = Source(
        given=f"synsets:{place}",
        classes=tuple(wnids),
        splits={"train": labelled_by_synset(groups, images, {wnid: label for label, wnid in enumerate(wnids)})},
        words=words_of_synsets(wnids, words, chosen),
        notes=tuple(notes),
    )
    return with_validation(source, holdout, seed)


def _check_synsets(place: Path, names: Iterable[str]) -> None:
    """Raise a DataError that names `place` unless all names are WordNet ids."""
    if strange := [name for name in names if not WORDNET_ID.fullmatch(name)]:
        remedy = "Move them away, or say which to take with --classes FILE."
        raise DataError(f"{place} has archives that are not named by a WordNet id: {some(strange)}. {remedy}")


def labelled_by_synset(groups: Sequence[str], images: ImageList, label_of: Mapping[str, int]) -> ImageList:
    """The images of an index with the labels of their groups; those of other groups are left out."""
    labels = np.array([label_of.get(group, -1) for group in groups], np.int32)
    return images.relabelled(labels[images.labels])


def words_of_synsets(
    wnids: Sequence[str], known: Mapping[str, str], chosen: Mapping[str, str] | None
) -> tuple[str, ...]:
    """Each class's words, in the file of the classes to take or else as known, or its id; () if none has words."""
    words = {**known, **{wnid: text for wnid, text in (chosen or {}).items() if text}}
    return tuple(words.get(wnid) or wnid for wnid in wnids) if words else ()


def refuse_packed(children: Sequence[Path], there: Container[str], chosen: Container[str] | None) -> None:
    """Refuse an archive of a synset that is packed or unfinished, unless the synset is not taken or there as well."""
    for path in filter(is_packed, children):
        wnid = path.name.partition(".")[0]
        if wnid not in there and (WORDNET_ID.fullmatch(wnid) if chosen is None else wnid in chosen):
            raise DataError(f"{path} is packed or not downloaded to its end: unpack or finish it, or move it away.")
