"""Files that appear whole: written beside their place, then renamed into it."""

import errno
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alexnet_keras.errors import AlexNetError

PARTIAL = ".partial-"  # the start of the name of a file that is being written


def partial_path(path: Path) -> Path:
    """Where `path` is written before it is whole."""
    return path.with_name(f"{PARTIAL}{path.name}")


def process_name() -> str:
    """This process, among all that see the same file system."""
    return f"{socket.gethostname()}-{os.getpid()}"


@contextmanager
def write_by_rename(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """A path to write to; on success it is flushed to the disk and takes its place as `path`.

    On an error nothing is left behind and an older `path` stays as it was. Missing directories are made. The
    path to write to has the suffix of `path`, which Keras and Matplotlib look at. Where other processes, perhaps on
    other machines, may be writing the same path, `shared` gives each a path of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{PARTIAL}{process_name()}-{path.name}") if shared else partial_path(path)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        _flush_directory(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _flush_directory(folder: Path) -> None:
    """Makes a rename in it survive a power cut, where the platform and the file system have that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256_of(path: Path) -> str:
    """The checksum of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha1_of(path: Path) -> str:
    """The checksum that older projects publish, hex; it tells files apart and proves nothing."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest()


@contextmanager
def tensorflow_errors_as_os_errors(path: Path) -> Iterator[None]:
    """TensorFlow reports a full disk in a class of its own; make it the OSError that Python raises."""
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


@contextmanager
def locked(lock: Path, otherwise: str | None, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock file while working.

    A process that asks for it in vain gets the sentence `otherwise`, in which `{holder}` becomes the process that has
    it, or waits if that is None. Any number of processes hold a shared lock together, and none while another has it
    alone. The lock ends with the process, however it ends. Where the system has no such locks there is none.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with lock.open("a+") as file:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(file, kind if otherwise is None else kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if otherwise is None:
                raise
            file.seek(0)
            holder = file.read(200).strip()
            raise AlexNetError(otherwise.replace("{holder}", f" ({holder})" if holder else "")) from error
        if not shared:
            file.truncate(0)
            file.write(process_name())
            file.flush()
        yield


def is_locked(lock: Path) -> bool:
    """Whether a live process holds a lock file alone."""
    try:
        import fcntl

        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False
    return False
