"""Where the records of TFRecord files lie, so that any of them can be read alone and in any order."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.errors import DAMAGED, DataError

RECORD_HEADER = 12  # eight bytes of length and four of checksum, then the record
RECORD_FOOTER = 4  # and four more
INDEX = "index.npz"  # beside the shards of a prepared dataset: for each split the length of every record, in order


def save_lengths(path: Path, lengths: dict[str, np.ndarray]) -> None:
    """Writes the lengths of the records of each split, bytes."""
    saved: dict[str, Any] = {split: found.astype(np.uint32) for split, found in lengths.items()}
    with path.open("wb") as file:
        np.savez_compressed(file, **saved)


def load_lengths(path: Path, split: str) -> np.ndarray:
    """What `save_lengths` wrote of a split, int64.

    Raises:
        DataError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = file[split]
    except DAMAGED as error:
        raise DataError(f"{path} is damaged: prepare the dataset again with --overwrite.") from error
    if found.ndim != 1 or found.dtype != np.uint32:
        raise DataError(f"{path} is damaged: prepare the dataset again with --overwrite.")
    return found.astype(np.int64)


def found_lengths(files: Sequence[Path]) -> list[np.ndarray]:
    """The lengths of the records of files, as their headers tell, int64: of datasets that have no index.

    Raises:
        DataError: a file is damaged.
    """
    return [_lengths(file) for file in files]


def _lengths(path: Path) -> np.ndarray:
    size, offset, found = path.stat().st_size, 0, []
    with path.open("rb") as file:
        while offset < size:
            file.seek(offset)
            length = int.from_bytes(file.read(8), "little")
            offset += RECORD_HEADER + length + RECORD_FOOTER
            found.append(length)
    if offset != size:
        raise DataError(f"A record of {path} is damaged: prepare the dataset again with --overwrite.")
    return np.array(found, np.int64)


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Where each record of one file begins, bytes, int64."""
    ends = np.cumsum(lengths + RECORD_HEADER + RECORD_FOOTER)
    return ends - lengths - RECORD_HEADER - RECORD_FOOTER
