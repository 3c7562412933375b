"""Tar archives read in place: their members are indexed once, by offset and length, then read at random.

Nothing is ever extracted, so no member can write anywhere; members that would, if they were, are refused all the
same, because no archive of ImageNet has one.
"""

import errno
import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import numpy as np

from alexnet_keras.data.images import LARGE, START, check_length, is_image
from alexnet_keras.data.sources.source import NamePacker, Names, printable
from alexnet_keras.errors import DAMAGED, DataError
from alexnet_keras.storage.files import write_by_rename

REPORT_EVERY = 1000  # members between two reports of progress


@dataclass(frozen=True)
class Member:
    """A regular file of an archive: its name, "./" taken off, and where its bytes lie in the archive's file."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, eq=False)
class ArchiveIndex:
    """Every image of one or more archives, in columns; images of a group stand together, sorted by name.

    Attributes:
        groups: A name for each group: the synset of an archive of one synset, "" for a flat archive.
        counts: (groups,) int64, images in each.
        archives: The archive of each group.
        names: (n,) the images: "group/name", or the bare name in a flat archive.
        offsets: (n,) int64, bytes from the archive's start.
        sizes: (n,) uint32 or int64, bytes.
    """

    groups: tuple[str, ...]
    counts: np.ndarray
    archives: tuple[Path, ...]
    names: Names
    offsets: np.ndarray
    sizes: np.ndarray

    @cached_property
    def _edges(self) -> np.ndarray:
        return np.cumsum(self.counts)

    def read(self, i: int) -> bytes:
        """The bytes of image i.

        Raises:
            OSError: The archive is gone, or has become shorter.
        """
        archive = self.archives[int(np.searchsorted(self._edges, i, "right"))]
        offset, size = int(self.offsets[i]), int(self.sizes[i])
        if size > START:
            check_length(size)
            if size > LARGE and not is_image(start := read_at(archive, offset, START)):
                return start
        return read_at(archive, offset, size)


def read_at(path: Path, offset: int, size: int) -> bytes:
    """`size` bytes of a file from `offset`. The file is opened for it alone, so nothing is shared by threads."""
    with path.open("rb", buffering=0) as file:
        found = os.pread(file.fileno(), size, offset) if hasattr(os, "pread") else _seek_and_read(file, offset, size)
    if len(found) != size:
        raise OSError(errno.EIO, f"{path.name} has become shorter")
    return found


def _seek_and_read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def members(path: Path, *, start: int = 0, size: int | None = None, title: str | None = None) -> Iterator[Member]:
    """The regular files of an archive, or of an archive that lies in a file from `start` on.

    Args:
        path: The file.
        start: Where the archive begins in it, bytes.
        size: Its length; up to the file's end by default.
        title: What to call it in an error; the path by default.

    Raises:
        DataError: It is no tar, is cut short, is compressed, or has a link, a device or a name that climbs out.
    """
    title = title or str(path)
    with path.open("rb") as file:
        window = _Window(file, start, path.stat().st_size - start if size is None else size)
        try:
            with tarfile.TarFile(fileobj=cast(BinaryIO, window)) as archive:
                while (member := archive.next()) is not None:
                    archive.members.clear()  # type: ignore[attr-defined]  # or it keeps every member; typeshed lacks it
                    if name := _checked(member, title):
                        yield Member(name, start + member.offset_data, member.size)
                end = archive.offset
        except (tarfile.TarError, *DAMAGED) as error:
            raise DataError(f"{title} is {_damage(file, start, error)}.") from error
        window.seek(end)
        # tarfile takes whatever is no header for the end; the end is a block of zeros.
        if window.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise DataError(f"{title} is cut short or damaged after {end:,} bytes. Copy or download it again.")


class _Window:
    """A part of a file, as a file that starts at 0."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._position = file, start, size, 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        self._position = position
        return position

    def read(self, size: int) -> bytes:
        size = max(0, min(size, self._size - self._position))
        self._file.seek(self._start + self._position)
        found = self._file.read(size)
        self._position += len(found)
        return found


def _damage(file: BinaryIO, start: int, error: Exception) -> str:
    file.seek(start)
    if file.read(2) in (b"\x1f\x8b", b"BZ", b"\xfd7"):
        return "compressed and cannot be read at random: unpack it once (gunzip)"
    if str(error) in ("unexpected end of data", "empty file"):
        return "cut short. Copy or download it again"
    return f"no tar archive or damaged ({error})"


def _checked(member: tarfile.TarInfo, title: str) -> str | None:
    """The member's name; None for a directory.

    Raises:
        DataError: It is neither a plain file nor a directory, or its name leaves the archive.
    """
    parts = PurePosixPath(member.name).parts
    shown = printable(member.name)
    if ".." in parts or (member.name.startswith("/") and not member.isdir()):
        raise DataError(f"{title} has a member {shown!r} that climbs out of it. No archive of ImageNet has.")
    if member.isdir():
        return None
    if not member.isreg() or member.issparse():
        kind = "link" if member.issym() or member.islnk() else "device or other special file"
        raise DataError(f"{title} has the {kind} {shown!r}, where every member should be a plain file.")
    return None if parts[-1].startswith(".") else printable("/".join(parts))


def index_flat(path: Path, on_progress: Callable[[int], None], cache: Path | None) -> ArchiveIndex:
    """The images of one archive, in one group without a name; folders inside the archive do not count."""

    def found() -> Iterator[tuple[str, Path, Iterator[Member]]]:
        yield "", path, members(path)

    return _cached([path], ["flat"], cache, lambda: index_members(found(), on_progress))


def index_synsets(paths: Sequence[Path], on_progress: Callable[[int], None], cache: Path | None) -> ArchiveIndex:
    """The images of archives of one synset each; a group is called as its archive is."""

    def found() -> Iterator[tuple[str, Path, Iterator[Member]]]:
        for path in sorted(paths, key=lambda path: path.stem):
            yield path.stem, path, members(path)

    return _cached(paths, ["synsets"], cache, lambda: index_members(found(), on_progress))


def index_nested(
    path: Path, on_progress: Callable[[int], None], cache: Path | None, only: frozenset[str] | None = None
) -> ArchiveIndex:
    """The images of an archive of archives; an inner archive is a group.

    Args:
        path: The outer archive.
        on_progress: Called with the number of images found since the last call.
        cache: A directory to keep the index in, for the next time.
        only: The inner archives to look into, without ".tar"; all by default.
    """

    def found() -> Iterator[tuple[str, Path, Iterator[Member]]]:
        for inner in sorted(members(path), key=lambda inner: PurePosixPath(inner.name).name):
            name = PurePosixPath(inner.name)
            if name.suffix != ".tar":
                raise DataError(f"{path} should hold a tar for each synset, and has {inner.name!r}.")
            if only is None or name.stem in only:
                title = f"{name.name} in {path}"
                yield name.stem, path, members(path, start=inner.offset, size=inner.size, title=title)

    kind = ["nested", *sorted(only or ())]
    return _cached([path], kind, cache, lambda: index_members(found(), on_progress))


def index_members(
    found: Iterable[tuple[str, Path, Iterable[Member]]], on_progress: Callable[[int], None]
) -> ArchiveIndex:
    """The index of (group, archive, members of the group), one after the other.

    Raises:
        DataError: A group has two members of one name, or there are two archives of a group.
    """
    groups: list[str] = []
    archives, counts, packer = [], [], NamePacker()
    offsets, sizes, unreported = [], [], 0
    for group, path, inside in found:
        listed = []
        for member in inside:
            name = f"{group}/{member.name.removeprefix(f'{group}/')}" if group else PurePosixPath(member.name).name
            listed.append((name, member.offset, member.size))
            unreported += 1
            if unreported == REPORT_EVERY:
                on_progress(unreported)
                unreported = 0
        listed.sort()
        for (name, *_), (following, *_) in pairwise(listed):
            if name == following:
                raise DataError(f"{path} has two members called {name!r}. Copy or download it again.")
        groups.append(group)
        archives.append(path)
        counts.append(len(listed))
        packer.extend(name for name, _, _ in listed)
        offsets.append(np.fromiter((offset for _, offset, _ in listed), np.int64, len(listed)))
        sizes.append(_compact([size for _, _, size in listed]))
    on_progress(unreported)
    if len(set(groups)) != len(groups):
        twice = next(group for group in groups if groups.count(group) > 1)
        raise DataError(f"There are two archives of {twice}, in {archives[groups.index(twice)]} and beside it.")
    return ArchiveIndex(
        tuple(groups),
        np.array(counts, np.int64),
        tuple(archives),
        packer.names(),
        np.concatenate([np.zeros(0, np.int64), *offsets]),
        np.concatenate([np.zeros(0, np.uint32), *sizes]),
    )


def _compact(sizes: list[int]) -> np.ndarray:
    """Bytes of images, in half the memory where none has 4 GB."""
    return np.array(sizes, np.uint32 if max(sizes, default=0) < 2**32 else np.int64)


def _cached(
    paths: Sequence[Path], kind: list[str], cache: Path | None, make: Callable[[], ArchiveIndex]
) -> ArchiveIndex:
    """An index kept from an earlier time, as long as the archives have the same sizes and times."""
    if cache is None:
        return make()
    stamps = [(str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    file = cache / f"index-{hashlib.sha256(json.dumps([kind, stamps]).encode()).hexdigest()[:16]}.npz"
    try:
        return _load(file)
    except DAMAGED:
        index = make()
    _save(index, file)
    return index


def _save(index: ArchiveIndex, file: Path) -> None:
    paths = list(dict.fromkeys(index.archives))
    numbers = {path: number for number, path in enumerate(paths)}
    with write_by_rename(file) as partial, partial.open("wb") as opened:
        np.savez(
            opened,
            facts=np.array(json.dumps({"groups": index.groups, "paths": [str(path.absolute()) for path in paths]})),
            archives=np.array([numbers[path] for path in index.archives], np.int64),
            counts=index.counts,
            text=index.names.text,
            lengths=index.names.lengths,
            offsets=index.offsets,
            sizes=index.sizes,
        )


def _load(file: Path) -> ArchiveIndex:
    with np.load(file, allow_pickle=False) as found:
        facts = json.loads(found["facts"].item())
        paths = [Path(path) for path in facts["paths"]]
        return ArchiveIndex(
            tuple(facts["groups"]),
            found["counts"],
            tuple(paths[number] for number in found["archives"]),
            Names.from_lengths(found["text"], found["lengths"]),
            found["offsets"],
            found["sizes"],
        )
