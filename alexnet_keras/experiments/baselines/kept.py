"""Files of finished stages, each with what it was made from inside: what differs or is damaged is made anew."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_keras.errors import DAMAGED
from alexnet_keras.files import write_by_rename

_MADE_FROM = "made_from"


def kept_arrays(
    path: Path, made_from: dict[str, Any], make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The arrays in an .npz file if it was made from the same; else `make` makes them, and they are written there.

    Args:
        made_from: all that the arrays depend on, as JSON can say it.
    """
    origin = json.dumps(made_from, sort_keys=True)
    arrays = _read(path, origin)
    if arrays is None:
        arrays = make()
        with write_by_rename(path) as partial, partial.open("wb") as file:
            saved: dict[str, Any] = {_MADE_FROM: np.array(origin), **arrays}
            np.savez(file, **saved)
    return arrays


def _read(path: Path, origin: str) -> dict[str, np.ndarray] | None:
    """The arrays, whose checksums the archive holds, or None."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if str(archive[_MADE_FROM]) != origin:
                return None
            return {name: archive[name] for name in archive.files if name != _MADE_FROM}
    except DAMAGED:
        return None
