"""The images below a folder, and everything else that lies there.

A file counts as an image by its suffix, or by its first bytes if the suffix is unknown. Hidden files, system folders
of operating systems and network disks, and folders that this program made are skipped.
"""

import functools
import mimetypes
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from alexnet_keras.data.class_names import some
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
SCANNED = (2**62, 2**62, 64)  # entries read of a folder that has an image among them, by depth
SHOWN = 3  # kinds in a sentence


@dataclass
class Skipped:
    """Counts of the files and folders that were skipped.

    Attributes:
        files: Files that are not images, by suffix in lower case.
        folders: Folders of operating systems and disks, by name.
        own: Names of folders that this program made, and of Python environments.
    """

    files: Counter[str] = field(default_factory=Counter)
    folders: Counter[str] = field(default_factory=Counter)
    own: list[str] = field(default_factory=list)

    def notes(self, folder: Path) -> list[str]:
        """The counts as sentences; none if nothing was skipped."""
        notes = []
        if number := self.files.total():
            files = f"{number:,} files that are not images" if number > 1 else "1 file that is not an image"
            notes.append(f"Skipped in {folder}: {files} ({_kinds(self.files)}).")
        if number := self.folders.total():
            notes.append(f"Skipped in {folder}: {number:,} system folder{'s' * (number > 1)} ({_kinds(self.folders)}).")
        if self.own:
            notes.append(f"Skipped in {folder}, made by alexnet: {some(sorted(self.own), SHOWN)}.")
        return notes


def _kinds(counts: Counter[str]) -> str:
    common = [f"{number:,} {kind or 'without suffix'}" for kind, number in counts.most_common(SHOWN)]
    others = counts.total() - sum(number for _, number in counts.most_common(SHOWN))
    return ", ".join([*common, *[f"{others:,} other"] * (others > 0)])


@functools.lru_cache(maxsize=4096)
def _known_kind(suffix: str) -> bool | None:
    """True if files with a suffix are images, False if not; None for a suffix that may be anything."""
    if suffix in SUFFIXES:
        return True
    if suffix.endswith(UNFINISHED):
        return False
    kind = mimetypes.MimeTypes().guess_type(f"file{suffix}")[0]  # Python's own table, not the machine's
    return kind.startswith("image/") if kind else None


def _suffix(name: str) -> str:
    """A name's suffix in lower case, with its dot."""
    _, dot, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if dot else ""


def is_image_name(name: str) -> bool | None:
    """True if a file of this name is an image, False if not; None if only its first bytes can say."""
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


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def entries_of(path: Path, skipped: Skipped | None = None) -> Iterator[tuple[os.DirEntry, bool]]:
    """Each image of a folder, with False, and each folder in it, with True; others are counted in `skipped`.

    Raises:
        DataError: The folder cannot be read, or a link in it leads to something that is gone and may be a folder.
    """
    try:
        scan = os.scandir(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Make it readable, or move it away.") from error
    with scan:
        for entry in scan:
            name = entry.name
            if name.startswith("."):
                continue
            if _is_folder(entry):
                if name.lower() not in SYSTEM_FOLDERS:
                    yield entry, True
                elif skipped:
                    skipped.folders[name] += 1
            elif (is_link := entry.is_symlink()) or entry.is_file():
                if is_link and name.lower() not in SYSTEM_FOLDERS:
                    refuse_dangling(Path(entry.path))
                if _is_image_file(entry):
                    yield entry, False
                elif skipped:
                    skipped.files[_suffix(name)] += 1


def refuse_dangling(path: Path, unless_a_file: bool = True) -> None:
    """Refuse a link to what is gone, by default unless its name is that of a file: a lost image is reported when read.

    Raises:
        DataError: It may have been a folder, or `unless_a_file` is False.
    """
    if not (unless_a_file and is_image_name(path.name) is not None) and path.is_symlink() and not path.exists():
        remedy = "Mount or download it, or remove the link."
        raise DataError(f"{path} is a link to {path.readlink()}, which is not there. {remedy}")


def is_own(path: Path) -> bool:
    """True if a folder is a dataset or run of this program, its demo images, or a Python environment."""
    try:
        return any(all((path / name).exists() for name in names) for names in OWN_FILES)
    except PermissionError:  # which scanning it reports
        return False


def images_below(
    path: Path, name: str, ancestors: frozenset[tuple[int, int]], skipped: Skipped
) -> Iterator[tuple[str, int]]:
    """(name, bytes) of each image below a folder, whose own name is put before, with a slash, unless it is "".

    A link back to a folder above, by their identities in `ancestors`, is not followed.
    """
    for entry, is_folder in entries_of(path, skipped):
        inner = f"{name}/{entry.name}" if name else entry.name
        if not is_folder:
            try:
                yield inner, entry.stat().st_size
            except OSError:
                yield inner, 0  # a dangling link: counted, and rejected when it is read
            continue
        child = Path(entry.path)
        identity = identity_of(child)
        if identity in ancestors:
            continue
        if is_own(child):
            skipped.own.append(entry.name)
        else:
            yield from images_below(child, inner, ancestors | {identity}, skipped)


def identity_of(path: Path) -> tuple[int, int]:
    """Device and inode, the same for a folder under every name that leads to it."""
    status = path.stat()
    return status.st_dev, status.st_ino


def with_all_above(*paths: Path) -> frozenset[tuple[int, int]]:
    """The identities of folders and of all folders above them."""
    whole = [path.resolve() for path in paths]
    return frozenset(identity_of(path) for folder in whole for path in (folder, *folder.parents))


def children_of(place: Path) -> list[Path]:
    """The contents of a folder, without hidden files, system folders and links to a folder above.

    Raises:
        DataError: A link leads to a folder that is gone.
    """
    above = with_all_above(place)
    named = [path for path in place.iterdir() if not path.name.startswith(".")]
    paths = sorted(path for path in named if path.name.lower() not in SYSTEM_FOLDERS)
    for path in paths:
        refuse_dangling(path)
    return [path for path in paths if is_image_name(path.name) or not path.is_dir() or identity_of(path) not in above]


def refuse_twins(folders: Iterable[Path]) -> None:
    """Refuse two names of one folder, as a link next to it gives.

    Raises:
        DataError: There are two.
    """
    known: dict[tuple[int, int], Path] = {}
    for path in folders:
        if (first := known.setdefault(identity_of(path), path)) != path:
            raise DataError(f"{path.parent} has one folder under two names, {first.name} and {path.name}. Remove one.")


@dataclass(frozen=True)
class Tree:
    """A folder, and the folders below it that hold images.

    Attributes:
        path: The folder.
        has_images: True if images lie in the folder itself.
        folders: The folders in it that hold images at any depth, by name, in sorted order.
        empty: The folders in it that hold nothing at all.
        imageless: The folders in it that hold files, and no images.
        own: The folders in it that this program made, and Python environments.
    """

    path: Path
    has_images: bool
    folders: dict[str, "Tree"]
    empty: tuple[str, ...] = ()
    imageless: tuple[str, ...] = ()
    own: tuple[str, ...] = ()

    @property
    def holds_images(self) -> bool:
        """True if images lie in the folder or anywhere below."""
        return self.has_images or bool(self.folders)


def folder_tree(path: Path, ancestors: frozenset[tuple[int, int]] = frozenset(), depth: int = 0) -> Tree:
    """The tree of the folders below `path` that hold images. Links back to a folder above are not followed.

    Of a folder deeper down that has an image, only the first entries are read, so that ImageNet's 1,281,167 files are
    not listed twice.
    """
    enough = SCANNED[min(depth, len(SCANNED) - 1)]
    has_images, inside = False, []
    for count, (entry, is_folder) in enumerate(entries_of(path)):
        if is_folder:
            inside.append(entry)
        has_images = has_images or not is_folder
        if has_images and count > enough:
            break
    if has_images and depth >= len(SCANNED) - 1:
        return Tree(path, True, {})
    ancestors |= {identity_of(path)} if depth else with_all_above(path)
    folders, empty, imageless, own = {}, [], [], []
    for entry in sorted(inside, key=lambda entry: entry.name):
        child = Path(entry.path)
        if identity_of(child) in ancestors:
            continue
        if is_own(child):
            own.append(entry.name)
        elif (tree := folder_tree(child, ancestors, depth + 1)).holds_images:
            folders[entry.name] = tree
        elif any(not inner.name.startswith(".") for inner in child.iterdir()):
            imageless.append(entry.name)
        else:
            empty.append(entry.name)
    return Tree(path, has_images, folders, tuple(empty), tuple(imageless), tuple(own))
