"""Files that appear whole: written beside their place, then renamed into it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alexnet_keras.errors import AlexNetError


def partial_path(path: Path) -> Path:
    """Where `path` is written before it is whole."""
    return path.with_name(f".partial-{path.name}")


@contextmanager
def write_by_rename(path: Path) -> Iterator[Path]:
    """A path to write to; on success it is flushed to the disk and takes its place as `path`.

    On an error nothing is left behind and an older `path` stays as it was. Missing directories are made. The
    path to write to has the suffix of `path`, which Keras and Matplotlib look at.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


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
def sole_writer(lock: Path, otherwise: str) -> Iterator[None]:
    """Hold a lock file while working; a second process that asks for it gets the sentence `otherwise`.

    The lock ends with the process, however it ends. Where the system has no such locks there is none.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlexNetError(otherwise) from error
        yield
