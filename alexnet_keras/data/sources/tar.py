"""Tar archives read in place: their members are indexed once, by offset and length, then read at random.

Nothing is extracted, so no member can write anywhere. Members that could write outside the archive's folder if they
were extracted are refused all the same, because no archive of ImageNet has one.
"""

import errno
import hashlib
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from alexnet_keras.data.images import LARGE, START, check_length, is_image
from alexnet_keras.data.sources.source import ImageList, NamePacker, Names, printable
from alexnet_keras.errors import DAMAGED, DataError
from alexnet_keras.reporter import Advance
from alexnet_keras.storage.kept import kept_arrays

REPORT_EVERY = 1000  # members between two reports of progress


class Member(NamedTuple):
    """A regular file of an archive: its name, without "./", and the place of its bytes in the archive's file."""

    name: str
    offset: int
    size: int


def read_at(path: Path, offset: int, size: int) -> bytes:
    """`size` bytes of a file from `offset`. The file is opened for each call, so that threads share nothing."""
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "pread"):
            contents = os.pread(file.fileno(), size, offset)
        else:
            file.seek(offset)
            contents = file.read(size)
    if len(contents) != size:
        raise OSError(errno.EBADMSG, f"{path.name} has become shorter")
    return contents


def members(path: Path, *, start: int = 0, size: int | None = None, title: str | None = None) -> Iterator[Member]:
    """The regular files of an archive, or of one inside another file, `size` bytes from `start`; errors name `title`.

    Raises:
        DataError: It is not a tar, is cut short or unfinished, is compressed, or has a link, a device or a name that
            climbs out.
    """
    title = title or str(path)
    if (control := path.with_name(f"{path.name}.aria2")).exists():
        raise DataError(f"{path} is not downloaded to its end, as {control.name} shows. Finish the download.")
    with path.open("rb") as file:
        window = _Window(file, start, path.stat().st_size - start if size is None else size)
        try:
            with tarfile.TarFile(fileobj=cast(BinaryIO, window)) as archive:
                while (member := archive.next()) is not None:
                    archive.members.clear()  # type: ignore[attr-defined]  # else it keeps every member; typeshed lacks it
                    if name := _checked(member, title):
                        yield Member(name, start + member.offset_data, member.size)
                end = archive.offset
        except (tarfile.TarError, *DAMAGED) as error:
            raise DataError(f"{title} is {_damage(file, start, error)}.") from error
        window.seek(end)
        # tarfile takes anything but a header for the end; the true end is a block of zeros.
        if window.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise DataError(f"{title} is cut short or damaged after {end:,} bytes. Copy or download it again.")


class _Window:
    """A part of a file, read as a file that starts at 0."""

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
        contents = self._file.read(size)
        self._position += len(contents)
        return contents


def _damage(file: BinaryIO, start: int, error: Exception) -> str:
    file.seek(start)
    if file.read(2) in (b"\x1f\x8b", b"BZ", b"\xfd7"):
        return "compressed and cannot be read at random: unpack it once (gunzip)"
    if str(error) in ("unexpected end of data", "empty file"):
        return "cut short. Copy or download it again"
    return f"no tar archive, or damaged ({error})"


def _checked(member: tarfile.TarInfo, title: str) -> str | None:
    """The member's name; None for a directory or a hidden file.

    Raises:
        DataError: It is neither a plain file nor a directory, or its name leads out of the archive.
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


Index = tuple[tuple[str, ...], ImageList]  # the groups, and the images labelled by the number of their group
Columns = dict[str, np.ndarray]  # an index as it is kept


def index_flat(path: Path, advance: Advance, cache: Path | None) -> Index:
    """The images of one archive, in one group without a name; folders inside the archive do not count."""
    return _kept([path], ["flat"], cache, [("", path, members(path))], advance)


def index_synsets(paths: Iterable[Path], advance: Advance, cache: Path | None) -> Index:
    """The images of archives of one synset each; a group has the name of its archive."""
    archives = sorted(paths, key=lambda path: path.stem)
    return _kept(archives, ["synsets"], cache, ((path.stem, path, members(path)) for path in archives), advance)


def index_nested(path: Path, advance: Advance, cache: Path | None, only: frozenset[str] | None = None) -> Index:
    """The images of an archive of archives, all of them or `only` some; an inner archive is a group."""

    def groups() -> Iterator[tuple[str, Path, Iterator[Member]]]:
        for inner in sorted(members(path), key=lambda inner: PurePosixPath(inner.name).name):
            name = PurePosixPath(inner.name)
            if name.suffix != ".tar":
                raise DataError(f"{path} should hold a tar for each synset, and has {inner.name!r}.")
            if only is None or name.stem in only:
                title = f"{name.name} in {path}"
                yield name.stem, path, members(path, start=inner.offset, size=inner.size, title=title)

    return _kept([path], ["nested", *sorted(only or ())], cache, groups(), advance)


def index_members(groups: Iterable[tuple[str, Path, Iterable[Member]]], advance: Advance) -> Columns:
    """Index groups of members, each given as (group, archive, members).

    Returns:
        "facts": JSON of the groups' names and the archives' paths. "archives": (groups,) int64, the number of a group's
        archive. "counts": (groups,) int64, its images, which follow each other, sorted by name. "text", "lengths": the
        n images' names, "group/name", or the bare name without a group. "offsets": (n,) int64, bytes from the
        archive's start. "sizes": (n,) uint32 or int64, bytes.

    Raises:
        DataError: A group has two members of one name, or two archives.
    """
    names: list[str] = []
    archives, counts, packer = [], [], NamePacker()
    offsets, sizes, unreported = [], [], 0
    for group, path, inside in groups:
        listed = []
        for member in inside:
            name = f"{group}/{member.name.removeprefix(f'{group}/')}" if group else PurePosixPath(member.name).name
            listed.append((name, member.offset, member.size))
            unreported += 1
            if unreported == REPORT_EVERY:
                advance(unreported)
                unreported = 0
        listed.sort()
        for (name, *_), (following, *_) in pairwise(listed):
            if name == following:
                raise DataError(f"{path} has two members called {name!r}. Copy or download it again.")
        names.append(group)
        archives.append(str(path.absolute()))
        counts.append(len(listed))
        packer.extend(name for name, _, _ in listed)
        offsets.append(np.fromiter((offset for _, offset, _ in listed), np.int64, len(listed)))
        largest = max((size for _, _, size in listed), default=0)
        small = np.uint32 if largest < 2**32 else np.int64  # half the memory unless an image has 4 GB
        sizes.append(np.fromiter((size for _, _, size in listed), small, len(listed)))
    advance(unreported)
    if twice := [group for group, count in Counter(names).items() if count > 1]:
        first = archives[names.index(twice[0])]
        raise DataError(f"There are two archives of {twice[0]}, {first} and another next to it. Remove one.")
    paths, packed = list(dict.fromkeys(archives)), packer.names()
    number = {path: index for index, path in enumerate(paths)}
    return {
        "facts": np.array(json.dumps({"groups": names, "paths": paths})),
        "archives": np.array([number[path] for path in archives], np.int64),
        "counts": np.array(counts, np.int64),
        "text": packed.text,
        "lengths": packed.lengths,
        "offsets": np.concatenate([np.zeros(0, np.int64), *offsets]),
        "sizes": np.concatenate([np.zeros(0, np.uint32), *sizes]),
    }


def images_of(columns: Columns) -> Index:
    """The groups of an index, and their images.

    Reading an image raises OSError if its archive is gone, or has become shorter.
    """
    facts = json.loads(columns["facts"].item())
    paths = [Path(path) for path in facts["paths"]]
    archives, offsets, sizes = (columns[name] for name in ("archives", "offsets", "sizes"))
    ends = np.cumsum(columns["counts"])

    def read(i: int) -> bytes:
        archive = paths[archives[np.searchsorted(ends, i, "right")]]
        offset, size = int(offsets[i]), int(sizes[i])
        if size > START:
            check_length(size)
            if size > LARGE and not is_image(start := read_at(archive, offset, START)):
                return start
        return read_at(archive, offset, size)

    labels = np.repeat(np.arange(len(ends), dtype=np.int32), columns["counts"])
    names = Names.from_lengths(columns["text"], columns["lengths"])
    return tuple(facts["groups"]), ImageList(names, labels, sizes, read)


def _kept(
    paths: Sequence[Path],
    kind: list[str],
    cache: Path | None,
    groups: Iterable[tuple[str, Path, Iterable[Member]]],
    advance: Advance,
) -> Index:
    """The index kept from an earlier time, as long as the archives have the same sizes and times."""
    if cache is None:
        return images_of(index_members(groups, advance))
    stamps = [(str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    digest = hashlib.sha256(json.dumps([kind, stamps]).encode()).hexdigest()
    file = cache / f"index-{digest[:16]}.npz"
    made: dict[str, np.ndarray] = {}

    def make() -> dict[str, np.ndarray]:
        made.update(index_members(groups, advance))
        return made

    try:
        return images_of(kept_arrays(file, {"archives": digest}, make))
    except OSError:
        if not made:
            raise
        return images_of(made)  # which can be kept nowhere: the next time it is made again
