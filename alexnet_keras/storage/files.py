"""Files and directories that are written whole, by rename, and checksums."""

import errno
import functools
import hashlib
import os
import re
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from alexnet_keras.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

PARTIAL = ".partial-"  # the start of the name of a file that is being written
REPLACED = ".replaced-"  # of a directory that another one takes the place of, which it does in two renames
FULL = (errno.ENOSPC, errno.EDQUOT)
FIRST_NAMESPACE = "pid:[4026531836]"  # that of Linux's processes outside containers: PROC_PID_INIT_INO


def partial_path(path: Path) -> Path:
    """The temporary path at which this process writes `path`, unlike that of any other process that writes it.

    Temporary files that killed processes of this machine left there are removed; a directory that one had moved away
    and not yet replaced is put back.
    """
    _clear_leftovers(path.parent, os.getpid())
    return path.with_name(f"{PARTIAL}{process_name()}-{path.name}")


def process_name() -> str:
    """A name of this process that no other on the same file system has."""
    return f"{_place()}-{os.getpid()}"


def _place() -> str:
    """Where this process's number is unique: this machine, or a container on it, which may have the machine's name."""
    host = socket.gethostname()
    with suppress(OSError):  # only Linux has such namespaces
        if (namespace := str(Path("/proc/self/ns/pid").readlink())) != FIRST_NAMESPACE:
            return f"{host}-{namespace[5:-1]}"
    return host


@functools.cache  # a directory may hold thousands of files: it is listed once
def _clear_leftovers(folder: Path, pid: int) -> None:
    ours = re.compile(f"({re.escape(PARTIAL)}|{re.escape(REPLACED)}){re.escape(_place())}-" + r"(\d+)-(.+)", re.DOTALL)
    if os.name != "posix" or not folder.is_dir():  # elsewhere os.kill(pid, 0) may end the process
        return
    for path in folder.iterdir():
        found = ours.fullmatch(path.name)
        if not found or _lives(int(found[2])):
            continue
        if found[1] == REPLACED and _renamed(path, path.with_name(found[3])):
            continue
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _renamed(path: Path, to: Path) -> bool:
    """Rename a directory; False if there is a directory with something in it, or a file."""
    with suppress(OSError):
        path.rename(to)
        return True
    return False


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


@contextmanager
def write_by_rename(path: Path, disk: "Disk | None" = None) -> Iterator[Path]:
    """Write a file by rename: yields a temporary path; on success its file is flushed to disk and renamed to `path`.

    On an error nothing is left behind and an older `path` stays as it was. Missing directories are made. The
    temporary path has the suffix of `path`, which Keras and Matplotlib depend on, and belongs to this process: two
    processes that write the same path each write it whole.

    Args:
        path: The file.
        disk: Flushes the file after it was renamed, while the process goes on; a power cut before that can damage it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    try:
        yield partial
        if disk:
            partial.replace(path)
            disk.flush(path)
            return
        flush(partial)
        replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        _name_place(error, partial, path)
        raise


def _name_place(error: BaseException, partial: Path, path: Path) -> None:
    """Let an error of the operating system name the path that was asked for, and one of a full disk any at all."""
    if isinstance(error, OSError) and error.errno in FULL and error.filename is None:
        error.filename = str(path)
    elif isinstance(error, OSError) and str(error.filename).startswith(str(partial)):
        error.filename = str(path) + str(error.filename).removeprefix(str(partial))


def save_array(path: Path, array: "np.ndarray") -> None:
    """Write an array as an `.npy` file, by rename.

    Raises:
        OSError: It cannot be written (disk full, for one).
    """
    import numpy as np

    with write_by_rename(path) as partial, partial.open("wb") as file:
        # Into a file itself NumPy writes past Python, and raises an error without a number where the disk is full.
        np.save(SimpleNamespace(write=file.write), array, allow_pickle=False)


@contextmanager
def write_directory_by_rename(path: Path, *, replacing: bool = False) -> Iterator[Path]:
    """Write a directory by rename: yields a new, empty one, which becomes `path` on success.

    On an error nothing is left behind and an older `path` stays as it was. Missing directories above it are made.

    Args:
        path: The directory.
        replacing: Replace an older directory, which stays whole until then; else only an empty one.

    Raises:
        UsageError: Another process has made it meanwhile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    made = partial_path(path)
    shutil.rmtree(made, ignore_errors=True)  # of a killed process that had the same number
    made.mkdir()
    try:
        yield made
        if replacing:
            _replace_directory(made, path)
        else:
            _replace_nothing(made, path)
    except OSError as error:
        _name_place(error, made, path)
        raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _replace_nothing(made: Path, path: Path) -> None:
    try:
        replace(made, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise UsageError(f"{path} exists, which it did not before: choose another name.") from error
        raise


def _replace_directory(made: Path, path: Path) -> None:
    """Rename a directory to `path` in place of an older one; of two processes at once the second replaces the first's.

    A lock would have to be a file that stays beside the directory for good.
    """
    old = made.with_name(REPLACED + made.name.removeprefix(PARTIAL))
    placed = False
    try:
        while not placed:
            shutil.rmtree(old, ignore_errors=True)  # of a killed process that had the same number, or of the last try
            with suppress(FileNotFoundError):  # there is none, or another process has just moved it away
                path.rename(old)
            try:
                replace(made, path)
                placed = True
            except OSError:
                if not path.exists():
                    raise
                # of another process, which was faster
    finally:
        if placed or not _renamed(old, path):  # an interruption may come between any two of these lines
            shutil.rmtree(old, ignore_errors=True)


class Disk:
    """Flushes files to disk one after another, while the process that wrote them goes on."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._pending: list[Future[None]] = []

    def flush(self, path: Path) -> None:
        """Begin to flush a file that was renamed to `path`; one that cannot be flushed is removed."""
        self._pending.append(self._thread.submit(self._flush, path))

    def wait(self) -> None:
        """Wait until all files are on the disk.

        Raises:
            OSError: One could not be flushed.
        """
        while self._pending:
            self._pending.pop(0).result()

    @staticmethod
    def _flush(path: Path) -> None:
        try:
            flush(path)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        _flush_directory(path.parent)


def flush(path: Path) -> None:
    """Wait until a file is on the disk.

    Raises:
        OSError: It cannot be put there (disk full, for one).
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())


def replace(whole: Path, path: Path) -> None:
    """Rename a file or directory, which is on the disk, durably; a file may replace another."""
    whole.replace(path)
    _flush_directory(path.parent)


def _flush_directory(folder: Path) -> None:
    """Make renames in a directory survive a power cut, where the platform and the file system support that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def allocate(path: Path) -> None:
    """Allocate the disk space of a file that is about to be written through a memory map.

    Raises:
        OSError: The disk has less space than the file's length.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, max(1, path.stat().st_size))
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # the file system cannot allocate
                    raise


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hex, computed once per process as long as the file is not replaced or changed."""
    state = path.stat()
    return _sha256_of_state(path, state.st_ino, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _sha256_of_state(path: Path, *state: int) -> str:
    return sha256_of(path)


def sha1_of(path: Path) -> str:
    """The SHA-1 of a file, hex, which older projects publish; it identifies files and proves nothing."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest()


@contextmanager
def tensorflow_errors_as_os_errors(path: Path) -> Iterator[None]:
    """Raise TensorFlow's errors of a full disk and the like as the OSError that Python raises."""
    import tensorflow as tf

    codes = {
        tf.errors.ResourceExhaustedError: errno.ENOSPC,
        tf.errors.PermissionDeniedError: errno.EACCES,
        tf.errors.NotFoundError: errno.ENOENT,
    }
    try:
        yield
    except tuple(codes) as error:
        code = codes[type(error)]
        raise OSError(code, os.strerror(code), str(path)) from error
