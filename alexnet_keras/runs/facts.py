"""The entries of run.json: their types, and what is said where they are damaged."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from alexnet_keras.errors import DataError
from alexnet_keras.storage.documents import read_json


class _Options(TypedDict, total=False):
    max_pixels: int
    exif: bool
    encoding: Literal["jpeg", "png", "raw"]
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] | None


class _Data(TypedDict, total=False):
    path: str | None
    name: str
    source: str | None
    fingerprint: str | None
    examples: dict[str, int]
    options: _Options
    titles: list[str]


class _Best(TypedDict):
    epoch: float
    val_top1_error: float


class _Machine(TypedDict):
    tensorflow: str
    keras: str
    cpus: int


class _Resumption(TypedDict):
    step: int
    strategy: str
    devices: list[str]
    environment: _Machine


class _Seal(TypedDict):
    bytes: int
    sha256: str


def _moment(written: str) -> str:
    datetime.fromisoformat(written)
    return written


_Moment = Annotated[str, AfterValidator(_moment)]


class _Facts(TypedDict, total=False):
    """The part of run.json that is read, if it is there; it may hold more."""

    recipe: str
    classes: list[str]
    seed: int
    status: str
    ended: str
    started: _Moment
    updated: _Moment
    strategy: str
    devices: list[str]
    resumed: list[_Resumption]
    precision: str
    parameters: int
    last_epochs: int
    data: _Data
    best: _Best
    imported: dict[str, Any]
    environment: dict[str, Any]
    files: dict[str, _Seal]


_FACTS = TypeAdapter(_Facts)


class Entries(dict[str, Any]):
    """The entries of a file; a missing one raises a DataError, because the file is damaged."""

    def __init__(self, entries: dict[str, Any], path: Path, what: str) -> None:
        super().__init__(entries)
        self._path, self._what = path, what

    def __missing__(self, name: str) -> Any:
        raise DataError(f"{self._path} is damaged: it has no {self._what} {name}.")


def read_facts(path: Path) -> dict[str, Any]:
    """Read run.json; asking what it returns for an entry that is missing raises a DataError, too.

    Raises:
        DataError: The file is damaged.
    """
    entries = read_json(path)
    try:
        _FACTS.validate_python(entries, strict=True)
    except ValidationError as error:
        entry = ".".join(map(str, error.errors()[0]["loc"]))
        raise DataError(f"{path} is damaged: its entry {entry!r} is not one that a run writes.") from error
    return Entries(entries, path, "entry")
