"""Which files below a folder are images, and what else lies there.

A file is taken for an image by its suffix; where its name has none that is known, by its first bytes. Hidden files,
what operating systems and network disks leave in folders, and what this program has made itself are passed over.
"""

import functools
import mimetypes
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from alexnet_keras.data.images import START, SUFFIXES, is_image
from alexnet_keras.errors import DataError

# Recycle bins, thumbnails and snapshots of Windows, macOS, Synology, QNAP and others, in lower case.
SYSTEM_FOLDERS = frozenset((
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "@__thumb", "#recycle", "#snapshot", "__macosx", "_vti_cnf",
    "$recycle.bin", "recycler", "system volume information", "found.000", "lost+found", "network trash folder",
    "temporary items", "__pycache__", "site-packages", "node_modules",
))  # fmt: skip
UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".tmp", ".bak", ".orig", ".swp", "~")
# A folder with all files of one of these is a dataset, a run, or the drawn demo images; or a Python environment.
OWN_FILES = (
    frozenset(("manifest.json", "dataset_info.json")),
    frozenset((".prepare",)),
    frozenset((".demo.json",)),
    frozenset(("run.json", "recipe.toml")),
    frozenset(("pyvenv.cfg",)),
)
OWN_NAMES = frozenset().union(*OWN_FILES)
LOOKED_AT = (2**62, 256, 64)  # entries of a folder, by depth, after which one with an image is a folder of images
SHOWN = 3  # kinds in a sentence


@dataclass
class PassedOver:
    """What was not taken, counted.

    Attributes:
        files: Files that are no images, by suffix in lower case.
        folders: Folders of operating systems and disks, by name.
        own: Folders that this program made, and Python environments, by name.
    """

    files: Counter[str] = field(default_factory=Counter)
    folders: Counter[str] = field(default_factory=Counter)
    own: list[str] = field(default_factory=list)

    def notes(self, folder: Path) -> list[str]:
        """Sentences about it; none where there is nothing to say."""
        found = []
        if number := self.files.total():
            files = f"{number:,} files that are no images" if number > 1 else "1 file that is no image"
            found.append(f"Passed over in {folder}: {files} ({_kinds(self.files)}).")
        if number := self.folders.total():
            folders = f"{number:,} folder{'s' * (number > 1)} of the system"
            found.append(f"Passed over in {folder}: {folders} ({_kinds(self.folders)}).")
        if self.own:
            found.append(f"Passed over in {folder}, being made by alexnet: {', '.join(sorted(self.own)[:SHOWN])}.")
        return found


def _kinds(counts: Counter[str]) -> str:
    common = [f"{number:,} {kind or 'without suffix'}" for kind, number in counts.most_common(SHOWN)]
    others = counts.total() - sum(number for _, number in counts.most_common(SHOWN))
    return ", ".join([*common, *[f"{others:,} other"] * (others > 0)])


@functools.lru_cache(maxsize=4096)
def _known_kind(suffix: str) -> bool | None:
    """Whether files with a suffix are images; None where it may be anything."""
    if suffix in SUFFIXES:
        return True
    if suffix.endswith(UNFINISHED):
        return False
    kind = mimetypes.MimeTypes().guess_type(f"file{suffix}")[0]  # Python's own table, and not that of the machine
    return kind.startswith("image/") if kind else None


def _suffix(name: str) -> str:
    """A name's suffix in lower case, with its dot."""
    _, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if dot else ""


def is_image_name(name: str) -> bool | None:
    """Whether a file with this name is an image; None where only its first bytes say."""
    return _known_kind(_suffix(name))


def _is_image_file(entry: os.DirEntry) -> bool:
    known = is_image_name(entry.name)
    if known is not None:
        return known
    try:
        with Path(entry.path).open("rb") as file:
            return is_image(file.read(START))
    except OSError:
        return False


def _scanned(path: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
    """What a folder holds.

    Raises:
        DataError: It cannot be read.
    """
    try:
        return os.scandir(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Make it readable, or move it away.") from error


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def entries_of(
    path: Path, passed: PassedOver | None = None, marks: set[str] | None = None
) -> Iterator[tuple[os.DirEntry, bool]]:
    """What a folder holds that counts: each image, with False, and each folder, with True.

    Args:
        path: The folder.
        passed: Where to count what is passed over.
        marks: Where to put the names of files that tell a folder of this program's own.
    """
    with _scanned(path) as entries:
        for entry in entries:
            name = entry.name
            if marks is not None and name in OWN_NAMES:
                marks.add(name)
            if name.startswith("."):
                continue
            if _is_folder(entry):
                if name.lower() not in SYSTEM_FOLDERS:
                    yield entry, True
                elif passed:
                    passed.folders[name] += 1
            elif entry.is_symlink() or entry.is_file():  # a link to nothing is told of when it is read
                if _is_image_file(entry):
                    yield entry, False
                elif passed:
                    passed.files[_suffix(name)] += 1


def is_own(path: Path) -> bool:
    """Whether a folder is a dataset or run of this program, its demo images, or a Python environment."""
    return any(all((path / name).exists() for name in names) for names in OWN_FILES)


def images_below(
    path: Path, name: str, ancestors: frozenset[tuple[int, int]], passed: PassedOver
) -> Iterator[tuple[str, int]]:
    """(name, bytes) of each image below a folder; a link back to a folder above is not followed.

    Args:
        path: The folder.
        name: What its images' names begin with; "" for nothing.
        ancestors: The identities of the folders above, and its own.
        passed: Where to count what is passed over.
    """
    for entry, is_folder in entries_of(path, passed):
        inner = f"{name}/{entry.name}" if name else entry.name
        if not is_folder:
            try:
                yield inner, entry.stat().st_size
            except OSError:
                yield inner, 0  # a dangling link: counted, and rejected when it is read
            continue
        identity = identity_of(Path(entry.path))
        if identity in ancestors:
            continue
        if is_own(Path(entry.path)):
            passed.own.append(entry.name)
        else:
            yield from images_below(Path(entry.path), inner, ancestors | {identity}, passed)


def identity_of(path: Path) -> tuple[int, int]:
    """What tells a folder from all others, by whatever name it is reached."""
    status = path.stat()
    return status.st_dev, status.st_ino


@dataclass(frozen=True)
class Tree:
    """A folder, and those folders below it that hold images.

    Attributes:
        path: The folder.
        images: Whether there are images in the folder itself.
        folders: The folders in it that hold images at any depth, by name, in sorted order.
        empty: The folders in it that hold nothing at all.
        without: The folders in it that hold files, and no images.
        own: The folders in it that this program made, and Python environments.
    """

    path: Path
    images: bool
    folders: dict[str, "Tree"]
    empty: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    own: tuple[str, ...] = ()

    @property
    def holds_images(self) -> bool:
        """Whether there are images in it or anywhere below."""
        return self.images or bool(self.folders)


def look(path: Path) -> Tree:
    """How images lie below a folder.

    Of a folder with images in it the first entries say enough, so that ImageNet's 1,281,167 files are not listed
    twice.
    """
    return _look(path, frozenset(), 0)[0]


def _look(path: Path, ancestors: frozenset[tuple[int, int]], depth: int) -> tuple[Tree, bool]:
    """A folder's tree, and whether the folder is of this program's own."""
    enough = LOOKED_AT[min(depth, len(LOOKED_AT) - 1)]
    images, inside, marks = False, [], set[str]()
    for seen, (entry, is_folder) in enumerate(entries_of(path, marks=marks)):
        if is_folder:
            inside.append(entry)
        images = images or not is_folder
        if images and seen > enough:
            break
    own = any(names <= marks for names in OWN_FILES)
    if images and depth >= len(LOOKED_AT) - 1:
        return Tree(path, True, {}), own
    ancestors |= {identity_of(path)}
    folders, empty, without, made = {}, [], [], []
    for entry in sorted(inside, key=lambda entry: entry.name):
        child = Path(entry.path)
        if identity_of(child) in ancestors:
            continue
        found, is_ours = _look(child, ancestors, depth + 1)
        if is_ours:
            made.append(entry.name)
        elif found.holds_images:
            folders[entry.name] = found
        elif any(not inner.name.startswith(".") for inner in child.iterdir()):
            without.append(entry.name)
        else:
            empty.append(entry.name)
    return Tree(path, images, folders, tuple(empty), tuple(without), tuple(made)), own
