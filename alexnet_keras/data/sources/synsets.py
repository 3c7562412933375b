"""ImageNet as it was given out by synset: an archive for each, as Fall 2009 (10,184 classes) and Fall 2011 (21,841)
come, or one archive of them all (`fall11_whole.tar`). Nothing is unpacked.
"""

from collections.abc import Callable
from pathlib import Path

from alexnet_keras.data.sources.class_list import read_class_list, read_words
from alexnet_keras.data.sources.holdout import DEFAULT_HOLDOUT, hold_out
from alexnet_keras.data.sources.names import some
from alexnet_keras.data.sources.source import Source, pictures_of
from alexnet_keras.data.sources.tar import index_nested, index_synsets
from alexnet_keras.errors import DataError, UsageError

WORD_LISTS = ("words.txt", "synset_words.txt", "LOC_synset_mapping.txt")


def synsets_source(
    place: Path,
    *,
    classes: Path | None = None,
    holdout: float = DEFAULT_HOLDOUT,
    seed: int = 0,
    cache: Path | None = None,
    on_progress: Callable[[int], None] = lambda pictures: None,
) -> Source:
    """List the pictures of archives of one synset each. Classes are in the order of their WordNet ids.

    Args:
        place: A directory of `<wnid>.tar`, or an archive of them.
        classes: A file of the classes to take; all by default.
        holdout: The part of each class to hold out for validation, 0..1 (the paper halves Fall 2009).
        seed: Decides which.
        cache: A directory to keep the archives' index in.
        on_progress: Called with the number of pictures found since the last call.

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
    lists = [folder / name for name in WORD_LISTS if (folder / name).is_file()]
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
        raise DataError(f"{place} has pictures of {len(ordered)} classes. At least two are needed to tell apart.")
    label_of = {group: label for label, group in enumerate(ordered)}
    pictures = pictures_of(index, (label_of.get(group, -1) for group in index.groups))
    notes.append(f"Archives of synsets have no validation split; {holdout:.0%} of every class is held out.")
    return Source(
        given=f"synsets:{place}",
        classes=tuple(ordered),
        splits=hold_out(pictures, ordered, holdout, seed),
        words=tuple(words.get(group) or group for group in ordered) if words else (),
        options={"holdout": holdout},
        notes=tuple(notes),
    )
