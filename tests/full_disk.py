"""A disk that is full, as far as a test may have one: the end of the largest file that a process may write."""

from contextlib import contextmanager

import pytest


@contextmanager
def full_after(size):
    """Expect an OSError with its number at the byte `size` of a file."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(OSError, match=r"Errno \d+\] File too large"):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
