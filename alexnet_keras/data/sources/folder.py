"""Pictures in folders: `DIR/<class>/*`, or `DIR/{train,val,test}/<class>/*`.

Files may lie deeper inside a class folder. Hidden files are not looked at. Every other file counts as a
picture; what turns out not to be one is rejected, with the reason, when it is decoded.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_keras.data.decode import read_picture_file
from alexnet_keras.data.sources.holdout import DEFAULT_HOLDOUT, hold_out
from alexnet_keras.data.sources.names import Names, printable, some
from alexnet_keras.data.sources.source import Pictures, Source, pictures_of
from alexnet_keras.errors import DataError, UsageError

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def folder_source(
    folder: Path,
    *,
    holdout: float = DEFAULT_HOLDOUT,
    seed: int = 0,
    given: str | None = None,
    on_progress: Callable[[int], None] = lambda pictures: None,
) -> Source:
    """List a folder of class folders.

    Without split folders (or with only "train"), `holdout` of every class becomes "val". With "train" and
    "test" but no validation folder, "test" becomes "val".

    Args:
        folder: The folder.
        holdout: The part of each class to hold out, 0..1.
        seed: Decides which pictures are held out.
        given: How the user named the source; "folder:" and the path by default.
        on_progress: Called with the number of pictures found since the last call.

    Raises:
        UsageError: The folder does not exist.
        DataError: It is empty, has fewer than two classes, or its splits have different classes.
    """
    if not folder.exists():
        raise UsageError(
            f"There is no folder {folder}. Give a folder of class folders, demo, tfds:NAME, ilsvrc:DIR or synsets:DIR."
        )
    if not folder.is_dir():
        raise DataError(f"{folder} is a file, not a folder of class folders.")
    roots, notes = _split_roots(folder)
    classes = _classes(roots["train"])
    for split, root in roots.items():
        _same_classes(classes, _classes(root), split, root)
    splits = {split: _pictures(root, classes, on_progress) for split, root in roots.items()}
    if "val" not in splits and "test" in splits:
        splits["val"] = splits.pop("test")
        notes = (*notes, f"{folder} has no validation folder; its test folder is used for validation.")
    options = {}
    if "val" not in splits:
        options = {"holdout": holdout}
        splits |= hold_out(splits["train"], classes, holdout, seed)
        notes = (*notes, f"{folder} has no validation folder; {holdout:.0%} of every class is held out.")
    if not len(splits["val"]):
        raise DataError(f"Every class in {folder} has a single picture, so none can be held out for validation.")
    return Source(
        given=given or f"folder:{folder}",
        classes=tuple(printable(name) for name in classes),
        splits={split: splits[split] for split in ("train", "val", "test") if split in splits},
        options=options,
        notes=notes,
    )


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _split_roots(folder: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Where each split lies; {"train": folder} where there are no split folders."""
    roots: dict[str, Path] = {}
    others = []
    for child in _folders(folder):
        split = SPLIT_NAMES.get(child.name.lower())
        # A class may be called "train" (beside "car" and "plane"); a split folder has folders in it.
        if split is None or not _folders(child):
            others.append(child.name)
        elif split in roots:
            raise DataError(f"{folder} has two {split} folders: {roots[split].name} and {child.name}. Keep one.")
        else:
            roots[split] = child
    if not roots:
        return {"train": folder}, ()
    if "train" not in roots:
        found = ", ".join(sorted(root.name for root in roots.values()))
        raise DataError(f"{folder} has the split folder {found} but no train folder with class folders in it.")
    notes = (f"Ignored in {folder}, beside its split folders: {some(others)}.",) if others else ()
    return roots, notes


def _classes(root: Path) -> list[str]:
    names = [path.name for path in _folders(root)]
    if not names:
        if not any(not p.name.startswith(".") for p in root.iterdir()):
            raise DataError(f"{root} is empty. It should hold a folder of pictures for each class.")
        if any(root.glob("*.tar")):
            raise DataError(f"{root} has tar files and no class folders. Give it as ilsvrc:{root} or synsets:{root}.")
        raise DataError(f"{root} has files but no class folders. Put pictures in {root}/<class>/.")
    if len(names) == 1:
        raise DataError(f"{root} has one class, {names[0]!r}. At least two are needed to tell apart.")
    return names


def _same_classes(expected: list[str], found: list[str], split: str, root: Path) -> None:
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or extra:
        parts = [f"lacks {some(missing)}"] * bool(missing) + [f"also has {some(extra)}"] * bool(extra)
        raise DataError(f"The classes of {root} differ from those of train: it {' and '.join(parts)}.")


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
        return read_picture_file(self.root / self.paths[i])


def index_folders(root: Path, classes: Sequence[str], on_progress: Callable[[int], None]) -> FolderIndex:
    """Every file below the class folders of `root`."""
    names: list[str] = []
    counts: list[int] = []
    sizes: list[int] = []
    for name in classes:
        before = len(names)
        ancestors = frozenset(_identity(path) for path in (root.parent, root, root / name))
        for path, size in sorted(_files(root / name, name, ancestors)):
            names.append(path)
            sizes.append(size)
        counts.append(len(names) - before)
        on_progress(counts[-1])
    paths, plain = Names.pack(names), Names.pack(printable(name) for name in names)
    return FolderIndex(root, tuple(classes), np.array(counts, np.int64), plain, paths, np.array(sizes, np.int64))


def _pictures(root: Path, classes: list[str], on_progress: Callable[[int], None]) -> Pictures:
    """Every file of a split; names are relative to the split's folder, in sorted order."""
    index = index_folders(root, classes, on_progress)
    if not index.counts.all():
        empty = classes[int(np.argmin(index.counts))]
        raise DataError(f"The class folder {root / empty} has no pictures in it. Fill it or remove it.")
    return pictures_of(index, range(len(classes)))


def _files(path: Path, name: str, ancestors: frozenset[tuple[int, int]]) -> Iterator[tuple[str, int]]:
    """(name, bytes) of each file below a folder; a link back to a folder above is not followed."""
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            inner = f"{name}/{entry.name}" if name else entry.name
            if entry.is_file():
                yield inner, entry.stat().st_size
            elif entry.is_dir():
                identity = _identity(Path(entry.path))
                if identity not in ancestors:
                    yield from _files(Path(entry.path), inner, ancestors | {identity})
            elif entry.is_symlink():
                yield inner, 0  # a dangling link: counted, and rejected when it is read


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
