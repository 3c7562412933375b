"""JSON documents, and files that a document seals with their sizes and checksums.

A directory of several files is whole when its document, written last, says so.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet_keras.errors import DAMAGED, DataError
from alexnet_keras.storage.files import sha256_of, write_by_rename


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Writes a value as a JSON document, by rename."""
    with write_by_rename(path) as file:
        file.write_text(json.dumps(value, indent=indent) + "\n", encoding="utf-8")


def read_json(path: Path, remedy: str = "", format: str | None = None) -> dict[str, Any]:
    """The object that a JSON document holds.

    Args:
        path: The document.
        remedy: The sentence that says what to do about a damaged one.
        format: What its `"format"` must be, where it has one.

    Raises:
        DataError: The document cannot be read, holds no object, or is of another format.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except DAMAGED as error:
        raise DataError(f"{path} is damaged and cannot be read. {remedy}".rstrip()) from error
    if not isinstance(value, dict) or (format is not None and value.get("format") != format):
        what = f"is not {format!r}, which is what this version reads" if format else "is damaged: it holds no object"
        raise DataError(f"{path} {what}. {remedy}".rstrip())
    return value


def seal_of(path: Path) -> dict[str, Any]:
    """A file's size in bytes and its SHA-256 (hex)."""
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


def check_size(path: Path, seal: Mapping[str, Any], remedy: str) -> None:
    """Compares a file's size with its seal: a truncated file is found without being read.

    Raises:
        DataError: The file is missing or of another size.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing. {remedy}")
    if path.stat().st_size != seal["bytes"]:
        raise DataError(
            f"{path} is damaged: it has {path.stat().st_size:,} bytes instead of {seal['bytes']:,}. {remedy}"
        )


def check_bytes(path: Path, seal: Mapping[str, Any], remedy: str) -> None:
    """Reads a file and compares it with its seal.

    Raises:
        DataError: The file is missing or not what was written.
    """
    check_size(path, seal, remedy)
    if sha256_of(path) != seal["sha256"]:
        raise DataError(f"{path} is damaged: its checksum is not the one it was written with. {remedy}")
