"""The development kit of an ILSVRC challenge: its synsets and the labels of its images, from the archive or unpacked.

`data/meta.mat` gives every synset its ILSVRC id (1 to 1000 for the classes, more for the nodes above them), its
WordNet id and its name; the ground truth files hold an ILSVRC id a line."""

import functools
import json
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from alexnet_keras.data.class_names import some
from alexnet_keras.errors import DAMAGED, DataError

LIMIT = 64 * 2**20  # bytes of one of its files; the real ones have less than one megabyte

META = "meta.mat"
READER = "alexnet_keras.data.sources.meta_mat"  # a process of its own
GROUND_TRUTH = re.compile(r"ILSVRC20\d\d_(validation|test)_ground_truth\.txt$")
SPLITS = {"validation": "val", "test": "test"}


@dataclass(frozen=True)
class Synset:
    """A class of the challenge.

    Attributes:
        ilsvrc_id: 1 to 1000.
        wnid: Its WordNet id, "n01440764".
        words: Its name, "tench, Tinca tinca".
        train_images: How many training images the devkit says it has.
    """

    ilsvrc_id: int
    wnid: str
    words: str
    train_images: int


@dataclass(frozen=True, eq=False)
class Devkit:
    """What a devkit says.

    Attributes:
        path: The archive or folder.
        synsets: The classes, by ILSVRC id.
        ground_truth: For "val" and "test", as far as it is there: the WordNet id of image 1, 2, ...
    """

    path: Path
    synsets: tuple[Synset, ...]
    ground_truth: dict[str, tuple[str, ...]]


def read_devkit(path: Path) -> Devkit:
    """Read a devkit, a .tar.gz archive or a folder.

    Raises:
        DataError: It cannot be read, or lacks what it should have.
    """
    files = _files_in_folder(path) if path.is_dir() else _files_in_archive(path)
    if META not in files:
        raise DataError(f"The devkit {path} has no data/{META}. Copy or download it again.")
    synsets = _synsets(files.pop(META), path)
    ground_truth = {}
    for name, contents in files.items():
        if match := GROUND_TRUTH.match(name):
            ground_truth[SPLITS[match[1]]] = parse_ground_truth(contents, synsets, f"{name} of the devkit {path}")
    return Devkit(path, synsets, ground_truth)


def parse_ground_truth(contents: bytes, synsets: tuple[Synset, ...], title: str) -> tuple[str, ...]:
    """The WordNet id of image 1, 2, ... from a file with an ILSVRC id a line.

    Raises:
        DataError: A line is no id of these synsets.
    """
    wnids = {synset.ilsvrc_id: synset.wnid for synset in synsets}
    found = []
    for number, line in enumerate(contents.decode("utf-8-sig", "replace").split(), start=1):
        if not line.isdecimal() or int(line) not in wnids:
            raise DataError(f"Line {number:,} of {title} is {line[:20]!r}, which is no ILSVRC id of its {META}.")
        found.append(wnids[int(line)])
    return tuple(found)


def _wanted(name: str) -> bool:
    return name == META or bool(GROUND_TRUTH.match(name))


def _files_in_folder(path: Path) -> dict[str, bytes]:
    inside = path / "data" if (path / "data").is_dir() else path
    files = {}
    for file in sorted(inside.iterdir()):
        if file.is_file() and _wanted(file.name):
            _check_size(file.name, file.stat().st_size, path)
            files[file.name] = file.read_bytes()
    return files


def _files_in_archive(path: Path) -> dict[str, bytes]:
    files = {}
    try:
        with tarfile.open(path, "r|*") as archive:  # read once from start to end, and nothing is extracted
            for member in archive:
                name = PurePosixPath(member.name).name
                if member.isreg() and _wanted(name) and not name.startswith("."):
                    _check_size(name, member.size, path)
                    if contents := archive.extractfile(member):
                        files[name] = contents.read()
    except (tarfile.TarError, *DAMAGED) as error:
        if isinstance(error, OSError) and error.filename:
            raise
        raise DataError(f"The devkit {path} is cut short or damaged ({error}). Copy or download it again.") from error
    return files


def _check_size(name: str, size: int, path: Path) -> None:
    if size > LIMIT:
        raise DataError(f"{name} in the devkit {path} claims {size:,} bytes; the real one has less than one megabyte.")


@functools.cache
def _rows(contents: bytes) -> dict[str, Any]:
    """What `meta_mat` tells of a file."""
    done = subprocess.run([sys.executable, "-P", "-m", READER], input=contents, capture_output=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"error": f"it is so damaged that its reader ended with status {done.returncode}"}


def _synsets(contents: bytes, path: Path) -> tuple[Synset, ...]:
    """The classes, which are the synsets with nothing below them."""
    rows = _rows(contents)
    if "synsets" not in rows:
        raise DataError(f"{META} of the devkit {path} cannot be read ({rows['error']}).")
    found = [Synset(*row) for *row, children in rows["synsets"] if children == 0]
    for key in ("ilsvrc_id", "wnid"):
        values = [getattr(synset, key) for synset in found]
        if len(set(values)) != len(values):
            twice = sorted(value for value in set(values) if values.count(value) > 1)
            raise DataError(f"{META} of the devkit {path} has an {key} more than once: {some(map(str, twice))}.")
    if len(found) < 2:
        raise DataError(f"{META} of the devkit {path} has {len(found)} classes. At least two are needed.")
    return tuple(sorted(found, key=lambda synset: synset.ilsvrc_id))
