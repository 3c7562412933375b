"""The first layer's kernels as they were before training and after every epoch, each time in a small file of its own.

`epoch-00003-step-000000114.npy` holds float32 `(towers, height, width, 3, filters)`, 139 kB for the paper's 96
kernels of 11x11x3.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_keras.errors import DAMAGED, DataError
from alexnet_keras.files import write_by_rename

NAME = re.compile(r"epoch-(\d{5,})-step-(\d{9,})\.npy")


@dataclass(frozen=True)
class Moment:
    """A file of kernels: after how many epochs and steps of training they were kept."""

    epochs: int
    steps: int
    path: Path

    def kernels(self) -> np.ndarray:
        """Float32 `(towers, height, width, 3, filters)`.

        Raises:
            DataError: the file is damaged.
        """
        try:
            # Mapped, so that a header that claims more than the file holds takes no memory.
            found = np.load(self.path, mmap_mode="r", allow_pickle=False)
            if found.ndim != 5 or found.shape[3] != 3 or found.dtype != np.float32 or not found.size:
                raise ValueError(f"it has shape {found.shape} and type {found.dtype}")
        except DAMAGED as error:
            raise DataError(f"{self.path} is damaged or holds no kernels: {error}.") from error
        return np.array(found)


def keep_kernels(folder: Path, towers: Sequence[np.ndarray], epochs: int, steps: int) -> None:
    """Writes the kernels of this moment, one array `(height, width, 3, filters)` a tower, whole."""
    with write_by_rename(folder / f"epoch-{epochs:05d}-step-{steps:09d}.npy") as unfinished:
        np.save(unfinished, np.stack(towers), allow_pickle=False)


def kept_kernels(folder: Path) -> list[Moment]:
    """The moments of which kernels were kept, the first one first."""
    named = ((NAME.fullmatch(path.name), path) for path in folder.glob("epoch-*.npy"))
    return sorted(
        (Moment(int(match[1]), int(match[2]), path) for match, path in named if match), key=lambda moment: moment.epochs
    )


def forget_kernels_after(folder: Path, epochs: int) -> None:
    """Removes what was kept after more than so many epochs: a run that goes on will keep it again."""
    for moment in kept_kernels(folder):
        if moment.epochs > epochs:
            moment.path.unlink(missing_ok=True)
