"""Which image each row of a table of labels means, however the table names its file."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from alexnet_keras.data.class_names import some
from alexnet_keras.data.sources.listing import is_image_name
from alexnet_keras.data.sources.splits import split_of
from alexnet_keras.data.sources.tables import Table, is_file
from alexnet_keras.errors import DataError

AMBIGUOUS = -2  # in place of the number of an image


def match_rows(table: Table, names: Sequence[str], folder: Path, partial: bool) -> np.ndarray:
    """The number of each image's row, (names,) int64; -1 for an image without.

    A table may name a file by its path from the folder or from one above, by the end of its path or by its bare name,
    each with or without the suffix. The folders above may be called otherwise, as on another machine, if all rows have
    the same.

    Raises:
        DataError: A file does not exist or is ambiguous, or an image has two labels or splits.
    """
    rows, ends = table.rows, _path_ends(names)
    row_of = np.full(len(names), -1, np.int64)
    missing, ambiguous = [], []
    found = [_image_of(row.file, ends, names, folder) for row in rows]
    places = {place for image, place in found if image is not None}
    if "" not in places and len(places) > 1:
        first, second, *_ = sorted(places)
        raise DataError(f"{table.path} names files of several folders, {first} and {second}: name them from {folder}.")
    for number, (row, (image, place)) in enumerate(zip(rows, found, strict=True)):
        if image is None or (place and len(places) > 1):  # files of several folders are not all those given
            missing.append(row.file)
        elif image == AMBIGUOUS:
            ambiguous.append(row.file)
        elif (before := row_of[image]) >= 0 and rows[before][1:] != row[1:]:
            what = "labels" if rows[before].label != row.label else "splits"
            two = " and ".join(getattr(each, what[:-1]) for each in (rows[before], row))
            raise DataError(f"{table.path} gives {row.file} two {what}, {two}: leave one of them.")
        else:
            row_of[image] = number
    if missing == [rows[0].file] and len(rows) > 2 and not is_file(rows[0].file):
        missing = []  # column names
    if ambiguous:
        raise DataError(f"{table.path} names {ambiguous[0]}, of which {folder} has several: name files by their paths.")
    if len(missing) == len(rows):
        raise DataError(f"No file of {table.path} is in {folder}; its first is {missing[0]}. Give the folder of these.")
    if missing and not partial:
        which = f"{len(missing):,} of {len(rows):,} files of {table.path}"
        raise DataError(f"{which} are not in {folder}: {some(missing, 1)}. For a part of the set: --partial.")
    return row_of


def _path_ends(names: Sequence[str]) -> dict[str, int]:
    """The image that each end of a path stands for, with and without its suffix; AMBIGUOUS for several."""
    ends: dict[str, int] = {}
    for index, name in enumerate(names):
        parts = PurePosixPath(name).parts
        for first in range(len(parts)):
            end = "/".join(parts[first:])
            suffix = PurePosixPath(end).suffix
            for key in (end, end.removesuffix(suffix)) if suffix and is_image_name(end) else (end,):
                ends[key] = AMBIGUOUS if ends.get(key, index) != index else index
    ends.update((name, index) for index, name in enumerate(names))
    return ends


def _image_of(file: str, ends: Mapping[str, int], names: Sequence[str], folder: Path) -> tuple[int | None, str]:
    """The image that a table names, and the folders before its name where they do not end with the one given.

    It is named by the end of its name, or by all of it after further folders. Those are of another machine, or other
    files are meant: surely where a single part follows, or where both folders are called like different splits.
    """
    parts = PurePosixPath(file).parts
    if (image := ends.get("/".join(parts))) is not None:
        return image, ""
    given = folder.resolve().name
    for first in range(1, len(parts)):
        image = ends.get("/".join(parts[first:]), AMBIGUOUS)
        if image == AMBIGUOUS or len(PurePosixPath(names[image]).parts) != len(parts) - first:
            continue
        above = parts[first - 1]
        if above == given:
            return image, ""
        one, other = split_of(above), split_of(given)
        if first < len(parts) - 1 and not (one and other and one[0] != other[0]):
            return image, "/".join(parts[:first])
    return None, ""
