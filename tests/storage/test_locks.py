"""Locks that end with their process, and file systems without any."""

import errno
import logging
import os
import subprocess
import sys
import threading

import portalocker
import pytest

from alexnet_keras.errors import AlexNetError
from alexnet_keras.storage import locks
from alexnet_keras.storage.files import process_name
from alexnet_keras.storage.locks import is_locked, locked

HOLD = """
import sys
from pathlib import Path
from alexnet_keras.storage.locks import locked
with locked(Path(sys.argv[1]), None, shared=len(sys.argv) > 2):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path):
    """Has another process hold a lock until the test ends."""
    processes = []

    def hold(*more):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / "lock"), *more], stdin=-1, stdout=-1, text=True
        )
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in processes:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def test_a_lock_is_refused_with_its_holder_or_waited_for(tmp_path, held):
    lock, other = tmp_path / "lock", held()
    assert is_locked(lock)
    with pytest.raises(AlexNetError, match=f"busy \\(.*-{other.pid}\\)"), locked(lock, "busy{holder}"):
        pass
    waited = []

    def end():
        waited.append(is_locked(lock))
        threading.Timer(0.3, other.stdin.close).start()

    with locked(lock, None, on_wait=end):
        assert waited == [True] and is_locked(lock)
        assert lock.read_text() == process_name()
    assert not is_locked(lock) and not lock.read_bytes()


def test_a_lock_that_is_only_looked_at_elsewhere_is_no_refusal(tmp_path, monkeypatch):
    """As `alexnet runs` does while a training begins."""
    real, answers = locks._taken, [False]
    monkeypatch.setattr(locks, "_taken", lambda file, shared: answers.pop() if answers else real(file, shared))
    with locked(tmp_path / "lock", "busy"):
        assert is_locked(tmp_path / "lock")


def test_a_shared_lock_is_held_by_many_and_by_none_beside_another(tmp_path, held):
    lock = tmp_path / "lock"
    held("shared")
    with locked(lock, "busy", shared=True):
        assert not is_locked(lock)
    with pytest.raises(AlexNetError, match="busy"), locked(lock, "busy"):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_that_is_said_and_work_goes_on(tmp_path, monkeypatch, caplog, number):
    """As on Lustre, and on NFS that is mounted without them."""

    def lock(file, flags):
        raise portalocker.LockException(OSError(number, os.strerror(number)))

    monkeypatch.setattr(portalocker, "lock", lock)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with locked(tmp_path / "lock", "busy"):
                assert is_locked(tmp_path / "lock"), "that nobody works there cannot be said"
    (told,) = caplog.messages
    assert told.startswith(f"Warning: there are no locks in {tmp_path} ([Errno {number}]")
    assert "let no other command work there meanwhile" in told


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_what_cannot_be_written_is_read_without_a_lock(tmp_path, monkeypatch, number):
    real = type(tmp_path).open

    def opened(self, mode="r", *more):
        if "a" in mode:
            raise OSError(number, os.strerror(number), str(self))
        return real(self, mode, *more)

    monkeypatch.setattr(type(tmp_path), "open", opened)
    with locked(tmp_path / "lock", "busy", shared=True):
        pass
    with pytest.raises(OSError, match=os.strerror(number)), locked(tmp_path / "lock", "busy"):
        pass
