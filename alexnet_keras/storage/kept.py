"""Results that are made once from named inputs, kept, and made again when the inputs differ or the file is damaged."""

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from alexnet_keras.errors import DAMAGED
from alexnet_keras.storage.documents import write_json
from alexnet_keras.storage.files import write_by_rename
from alexnet_keras.storage.locks import locked

T = TypeVar("T")
MADE_FROM = "made_from"  # the name of the inputs in an .npz file


def kept(
    find: Callable[[], T | None],
    make: Callable[[], T],
    *,
    lock: Path | None = None,
    on_wait: Callable[[], None] = lambda: None,
) -> T:
    """Return the result of `find`, or else of `make`, which computes and writes it.

    Args:
        find: Returns what is kept if it is whole and of the same inputs, else None. What it raises is raised.
        make: Computes it, and writes it so that `find` finds it the next time.
        lock: A file that is held while it is made: of two processes that need the same, the second waits for the first
            and takes what it has made.
        on_wait: Called before waiting for another process.
    """
    if (found := find()) is not None:
        return found
    with nullcontext() if lock is None else locked(lock, None, on_wait=on_wait):
        if lock is not None and (found := find()) is not None:  # made by the process that had the lock
            return found
        return make()


def made_from(path: Path) -> Any:
    """Return the inputs that a file of `kept_json` or `kept_arrays` was made from; None if there is no whole file."""
    try:
        if path.suffix == ".npz":
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return json.loads(str(archive[MADE_FROM]))
        document = json.loads(path.read_text(encoding="utf-8"))
        return document["about"] if "found" in document else None
    except DAMAGED:
        return None


def kept_json(path: Path, inputs: Mapping[str, Any], make: Callable[[], Any]) -> Any:
    """A value in a JSON file, made by `make` unless the file holds it with the same inputs.

    Args:
        path: The file; it holds an object with the inputs, "about", and the value, "found".
        inputs: All that the value depends on, as JSON can say it.
        make: Computes the value, which JSON can hold.
    """
    same = json.loads(json.dumps(inputs))  # JSON has lists where inputs may have tuples

    def find() -> dict[str, Any] | None:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return document if document["about"] == same and "found" in document else None
        except DAMAGED:
            return None  # it was never made, or not to its end

    def write() -> dict[str, Any]:
        document = {"about": dict(inputs), "found": make()}
        write_json(path, document, indent=1)
        return document

    return kept(find, write)["found"]


def kept_arrays(
    path: Path, inputs: Mapping[str, Any], make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, made by `make` unless the file was made from the same inputs.

    Args:
        path: The file, which holds the inputs as well; the archive's own checksums tell of damage.
        inputs: All that the arrays depend on, as JSON can say it.
        make: Computes the arrays by name.
    """
    origin = json.dumps(inputs, sort_keys=True)

    def find() -> dict[str, np.ndarray] | None:
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                same = str(archive[MADE_FROM]) == origin
                return {name: archive[name] for name in archive.files if name != MADE_FROM} if same else None
        except DAMAGED:
            return None

    def write() -> dict[str, np.ndarray]:
        arrays = make()
        with write_by_rename(path) as partial, partial.open("wb") as file:
            saved: dict[str, Any] = {MADE_FROM: np.array(origin), **arrays}
            np.savez(file, **saved)
        return arrays

    return kept(find, write)
