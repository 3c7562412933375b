"""Small prepared datasets, and the checksums of a directory."""

import hashlib
from pathlib import Path

from alexnet_keras.data.preparation import prepare
from alexnet_keras.data.sources.folder import folder_source

COUNTS = {"train/cat": 11, "train/dog": 9, "val/cat": 2, "val/dog": 3}


def small(folder, out, **options):
    """Prepare with shards of six images at most, so that there are several."""
    return prepare(folder_source(folder), out, shard_examples=6, **options)


def contents(path: Path) -> dict[str, str]:
    """Checksum of every file below a directory."""
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
