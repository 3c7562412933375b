"""Small prepared datasets, a reporter that keeps what is reported, and the checksums of a directory."""

import hashlib
from contextlib import contextmanager
from pathlib import Path

from alexnet_keras.data.preparation import prepare
from alexnet_keras.data.sources.folder import folder_source
from alexnet_keras.reporter import Reporter

COUNTS = {"train/cat": 11, "train/dog": 9, "val/cat": 2, "val/dog": 3}


def small(folder, out, **options):
    """Prepare with shards of six images at most, so that there are several."""
    return prepare(folder_source(folder), out, shard_examples=6, **options)


class Recorded(Reporter):
    """Keeps notes, warnings and progress."""

    def __init__(self):
        self.notes, self.warnings, self.totals, self.done = [], [], [], 0

    def note(self, text):
        self.notes.append(text)

    def warn(self, text):
        self.warnings.append(text)

    @contextmanager
    def progress(self, what, total, unit="images", done=0):
        self.what = what
        self.totals.append(total)
        yield self.advance

    def advance(self, n=1, text=""):
        self.done += n


def contents(path: Path) -> dict[str, str]:
    """Checksum of every file below a directory."""
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
