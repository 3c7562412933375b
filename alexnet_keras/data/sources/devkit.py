"""The development kit of an ILSVRC challenge, packed or unpacked: its synsets and the labels of its images.

`data/meta.mat` gives every synset its ILSVRC id (1 to 1000 for the classes, more for the nodes above them), its
WordNet id and its name; the ground truth files have one ILSVRC id per line.

SciPy's reader of `meta.mat` trusts what such a file says of itself, and a damaged one can end the process. It is read
by a process of its own, `python -m alexnet_keras.data.sources.devkit`: the file goes to its stdin, and one line of JSON
comes back, {"synsets": [[id, WordNet id, words, images, children], ...]} or {"error": ...}."""

import functools
import io
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from alexnet_keras.data.class_names import some
from alexnet_keras.data.sources.source import check_classes
from alexnet_keras.errors import DAMAGED, DataError

LIMIT = 64 * 2**20  # bytes of one of its files; the real ones have less than one megabyte
META = "meta.mat"
READER = "alexnet_keras.data.sources.devkit"
GROUND_TRUTH = re.compile(r"ILSVRC20\d\d_(validation|test)_ground_truth\.txt$")
SPLITS = {"validation": "val", "test": "test"}


class Synset(NamedTuple):
    """A class of the challenge.

    Attributes:
        ilsvrc_id: 1 to 1000.
        wnid: Its WordNet id, "n01440764".
        words: Its name, "tench, Tinca tinca".
        train_images: The number of its training images by the devkit's account.
    """

    ilsvrc_id: int
    wnid: str
    words: str
    train_images: int


class Devkit(NamedTuple):
    """The contents of a devkit.

    Attributes:
        path: The archive or folder.
        synsets: The classes, by ILSVRC id.
        ground_truth: For "val" and "test", if it is there: the WordNet id of image 1, 2, ...
    """

    path: Path
    synsets: tuple[Synset, ...]
    ground_truth: dict[str, tuple[str, ...]]


def read_devkit(path: Path) -> Devkit:
    """Read a devkit, a .tar.gz archive or a folder.

    Raises:
        DataError: It cannot be read, or lacks one of its parts.
    """
    files = dict(_files_in_folder(path) if path.is_dir() else _files_in_archive(path))
    if META not in files:
        raise DataError(f"The devkit {path} has no data/{META}. Copy or download it again.")
    synsets = _synsets(files.pop(META), path)
    ground_truth = {}
    for name, contents in files.items():
        if match := GROUND_TRUTH.match(name):
            ground_truth[SPLITS[match[1]]] = parse_ground_truth(contents, synsets, f"{name} of the devkit {path}")
    return Devkit(path, synsets, ground_truth)


def parse_ground_truth(contents: bytes, synsets: tuple[Synset, ...], title: str) -> tuple[str, ...]:
    """The WordNet id of image 1, 2, ... from a file with one ILSVRC id per line.

    Raises:
        DataError: A line is not an id of these synsets.
    """
    wnid_of = {synset.ilsvrc_id: synset.wnid for synset in synsets}
    lines = contents.decode("utf-8-sig", "replace").split()
    for number, line in enumerate(lines, start=1):
        if not line.isdecimal() or int(line) not in wnid_of:
            raise DataError(f"Line {number:,} of {title} is {line[:20]!r}, which is no ILSVRC id of its {META}.")
    return tuple(wnid_of[int(line)] for line in lines)


def _files_in_folder(path: Path) -> Iterator[tuple[str, bytes]]:
    inside = path / "data" if (path / "data").is_dir() else path
    for file in sorted(inside.iterdir()):
        if file.is_file() and _is_needed(file.name, file.stat().st_size, path):
            yield file.name, file.read_bytes()


def _files_in_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path, "r|*") as archive:  # read once from start to end, and nothing is extracted
            for member in archive:
                name = PurePosixPath(member.name).name
                if member.isreg() and _is_needed(name, member.size, path) and (contents := archive.extractfile(member)):
                    yield name, contents.read()
    except (tarfile.TarError, *DAMAGED) as error:
        if isinstance(error, OSError) and error.filename:
            raise
        raise DataError(f"The devkit {path} is cut short or damaged ({error}). Copy or download it again.") from error


def _is_needed(name: str, size: int, path: Path) -> bool:
    if name != META and not GROUND_TRUTH.match(name):
        return False
    if size > LIMIT:
        raise DataError(f"{name} in the devkit {path} claims {size:,} bytes; the real one has less than one megabyte.")
    return True


def _synsets(contents: bytes, path: Path) -> tuple[Synset, ...]:
    """The classes, which are the synsets with nothing below them."""
    answer = _read_meta(contents)
    if "synsets" not in answer:
        raise DataError(f"{META} of the devkit {path} cannot be read ({answer['error']}).")
    synsets = sorted(Synset(*row) for *row, children in answer["synsets"] if children == 0)
    for key in ("ilsvrc_id", "wnid"):
        values = [getattr(synset, key) for synset in synsets]
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise DataError(f"{META} of the devkit {path} has an {key} more than once: {some(map(str, twice))}.")
    check_classes([synset.wnid for synset in synsets], f"{META} of the devkit {path}")
    return tuple(synsets)


@functools.cache
def _read_meta(contents: bytes) -> dict[str, Any]:
    """The answer of the process that reads `meta.mat`."""
    done = subprocess.run([sys.executable, "-P", "-m", READER], input=contents, capture_output=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"error": f"it is so damaged that its reader ended with status {done.returncode}"}


def main() -> None:
    """The process that reads `meta.mat`."""
    import numpy as np
    from scipy.io import loadmat

    try:
        contents = io.BytesIO(sys.stdin.buffer.read())
        rows = np.atleast_1d(loadmat(contents, squeeze_me=True, variable_names=["synsets"])["synsets"])
        ids = next(field for field in rows.dtype.names or () if field.endswith("_ID"))
        synsets = [
            [int(row[ids]), str(row["WNID"]), str(row["words"]), int(row["num_train_images"]), int(row["num_children"])]
            for row in rows
        ]
        answer: dict[str, object] = {"synsets": synsets}
    except Exception as error:  # SciPy raises whatever the damage leads it to
        answer = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
