"""A directory that is whole when its JSON file, written last, says so, with every other file's checksum."""

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from alexnet_keras.errors import DAMAGED, DataError
from alexnet_keras.files import locked, sha256_of, write_by_rename

LOCK = "lock"


def seal_of(path: Path) -> dict[str, Any]:
    """A file's size in bytes and its SHA-256 (hex)."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Writes a JSON file by rename."""
    with write_by_rename(path) as file:
        file.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def read_facts(path: Path, kind: str, remedy: str) -> dict[str, Any]:
    """What such a JSON file holds.

    Args:
        kind: what its "format" has to be.
        remedy: the sentence that says what to do if it is not.

    Raises:
        DataError: it cannot be read, or is of another format.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except DAMAGED as error:
        raise DataError(f"{path} is damaged and cannot be read. {remedy}") from error
    if not isinstance(facts, dict) or facts.get("format") != kind:
        raise DataError(f"{path} is not {kind!r}, which is what this version reads. {remedy}")
    return facts


def check_size(path: Path, seal: dict[str, Any], remedy: str) -> None:
    """Compares a file's size with its seal; a file that was cut off is found without reading it.

    Raises:
        DataError: it is missing, or of another size.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing. {remedy}")
    if path.stat().st_size != seal["bytes"]:
        raise DataError(
            f"{path} is damaged: it has {path.stat().st_size:,} bytes instead of {seal['bytes']:,}. {remedy}"
        )


def check_bytes(path: Path, seal: dict[str, Any], remedy: str) -> None:
    """Reads a file and compares it with its seal.

    Raises:
        DataError: it is missing, or not what was written.
    """
    check_size(path, seal, remedy)
    if sha256_of(path) != seal["sha256"]:
        raise DataError(f"{path} is damaged: its checksum is not the one it was written with. {remedy}")


def writing_lock(path: Path) -> AbstractContextManager[None]:
    """Held while a directory is written.

    Raises:
        AlexNetError: another process holds it.
    """
    path.mkdir(parents=True, exist_ok=True)
    busy = f"Another process{{holder}} is writing {path}: wait for it, or choose another directory with --out."
    return locked(path / LOCK, busy)
