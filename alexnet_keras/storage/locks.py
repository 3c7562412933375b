"""Lock files: what only one process, or only readers, may do in a directory at a time."""

import errno
import functools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from alexnet_keras.errors import AlexNetError
from alexnet_keras.storage.files import process_name

POLL_S = 0.1  # seconds between two attempts to take a lock
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def locked(
    lock: Path, otherwise: str | None, *, shared: bool = False, on_wait: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold a lock file.

    Any number of processes hold a shared lock together, and none while another holds it alone. The lock ends with the
    process, however that ends. On a file system without locks, as some network file systems are, a warning is logged
    and nothing is locked.

    Args:
        lock: The file.
        otherwise: The message where another process holds it, in which `{holder}` becomes that process; None: wait.
        shared: Take a shared lock.
        on_wait: Called before waiting.

    Raises:
        AlexNetError: Another process holds the lock, and `otherwise` is given.
    """
    with _opened(lock, shared) as file:
        if file is None or _taken(file, shared) is not False:
            pass
        elif otherwise is None:
            on_wait()
            while _taken(file, shared) is False:
                time.sleep(POLL_S)
        else:
            time.sleep(POLL_S)  # `is_locked` of another process holds it for a moment
            if _taken(file, shared) is False:
                with suppress(OSError):  # on Windows a locked file cannot be read
                    file.seek(0)
                    holder = file.read(200).strip()
                    otherwise = otherwise.replace("{holder}", f" ({holder})" if holder else "")
                raise AlexNetError(otherwise.replace("{holder}", ""))
        if file is None or shared:
            yield
            return
        file.truncate(0)
        file.write(process_name())
        file.flush()
        try:
            yield
        finally:
            with suppress(OSError):
                file.truncate(0)  # the file left behind is always the same


def is_locked(lock: Path) -> bool:
    """True if a process holds a lock file alone, or may do so because the file system has no locks."""
    try:
        with lock.open() as file:
            return _taken(file, shared=True) is not True
    except OSError:
        return False


@contextmanager
def _opened(lock: Path, shared: bool) -> Iterator[TextIO | None]:
    """Open a lock file; None for a shared lock that does not exist where nothing can be written."""
    try:
        file = lock.open("a+")
    except OSError as error:
        if not shared or error.errno not in NOT_WRITABLE:
            raise
        file = lock.open() if lock.exists() else None
    try:
        yield file
    finally:
        if file:
            file.close()


def _taken(file: TextIO, shared: bool) -> bool | None:
    """Try to take the lock: True if this process has it now; None where the file system has no locks."""
    import portalocker

    kind = portalocker.LockFlags.SHARED if shared else portalocker.LockFlags.EXCLUSIVE
    try:
        portalocker.lock(file, kind | portalocker.LockFlags.NON_BLOCKING)
    except portalocker.AlreadyLocked:
        return False
    except (portalocker.LockException, ImportError) as error:
        _warn_of_no_locks(Path(file.name).parent, str(error))
        return None
    return True


@functools.cache
def _warn_of_no_locks(folder: Path, reason: str) -> None:
    logging.getLogger(__name__).warning(
        "Warning: there are no locks in %s (%s): let no other command work there meanwhile.", folder, reason
    )
