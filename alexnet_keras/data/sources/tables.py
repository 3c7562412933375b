"""Tables that give pictures their classes: a CSV of file and label, Caffe's `val.txt`, tiny ImageNet's
`val_annotations.txt`, Kaggle's `LOC_val_solution.csv`, and file names that end in a WordNet id.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from alexnet_keras.data.sources.class_list import lines_of
from alexnet_keras.data.sources.listing import is_picture_name
from alexnet_keras.data.sources.names import some
from alexnet_keras.errors import DataError, UsageError

MOST_BYTES = 2**30  # ImageNet's training list has 45 MB
WNID = re.compile(r"(?:^|_)(n\d{8})(?=\.\w+$)|^(n\d{8})(?=_)")  # ..._n01440764.JPEG, n01440764_10026.JPEG
# Names of columns, in lower case without signs between words.
FILE_COLUMNS = frozenset((
    "file", "filename", "filepath", "path", "image", "imagename", "imagepath", "imageid", "imagefile", "img",
    "imgname", "imgpath", "imgid", "id", "name", "picture", "photo", "fname", "fnames", "filenames", "images",
))  # fmt: skip
LABEL_COLUMNS = frozenset((
    "label", "labels", "labelname", "class", "classname", "classlabel", "category", "categoryname", "target", "tag",
    "breed", "species", "speciesname", "y", "wnid", "synset", "diagnosis", "dx", "predictionstring", "classid",
    "labelid", "categoryid", "type", "groundtruth",
))  # fmt: skip
SPLIT_COLUMNS = frozenset(("split", "set", "subset", "partition", "dataset", "usage"))
# Lists that say which class a number is, by their line from 0.
NUMBERED = ("synset_words.txt", "synsets.txt", "LOC_synset_mapping.txt", "wnids.txt", "classes.txt", "class_names.txt")
BESIDE = ("{}_annotations.txt", "{}.txt", "{}.csv", "{}_labels.csv", "{}_labels.txt", "LOC_{}_solution.csv")
AMBIGUOUS = -2


@dataclass(frozen=True)
class Row:
    """A line of a table: a file, its label, and its split where the table has a column of it ("" where not)."""

    file: str
    label: str
    split: str = ""


def wnid_of(name: str) -> str | None:
    """The WordNet id that a file is named by, as Hugging Face and ImageNet's training pictures are."""
    match = WNID.search(PurePosixPath(name).name)
    return (match[1] or match[2]) if match else None


def read_table(path: Path) -> list[Row]:
    """The lines of a table, with or without a line of column names.

    Columns may be parted by commas, tabs, semicolons or, as in Caffe's lists, the last space.

    Raises:
        UsageError: There is no such file.
        DataError: It is no text, or has no column of labels.
    """
    lines = lines_of(path, MOST_BYTES)
    if not lines:
        raise DataError(f"{path} is empty. A table has a file and its label in each line.")
    cells = _cells(lines)
    header = [re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in cells[0]]
    file, label, split = (_column(header, names) for names in (FILE_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS))
    if file is None or label is None or file == label:
        if len(cells[0]) == 1:
            return _by_folder(path, cells)
        if len(cells[0]) > 2 and not _is_file(cells[0][0]):
            raise DataError(
                f"{path} has the columns {some(cells[0], 4)}. Call two of them file and label in its first line."
            )
        file, label, split = 0, 1, None
        # of two columns with other names
        body = cells[1:] if not _is_file(cells[0][0]) and len(cells) > 1 and _is_file(cells[1][0]) else cells
    else:
        body = cells[1:]
        label = _named_label(header, label, body)
    rows = []
    for number, row in enumerate(body, start=len(cells) - len(body) + 1):
        if len(row) <= max(file, label) or not row[file].strip() or not row[label].strip():
            raise DataError(f"Line {number:,} of {path} has no label.")
        text = row[label].strip()
        rows.append(
            Row(
                row[file].strip().replace("\\", "/"),
                text.split()[0] if header[label : label + 1] == ["predictionstring"] else text,
                row[split].strip() if split is not None and split < len(row) else "",
            )
        )
    if not rows:
        raise DataError(f"{path} has column names and no line below them.")
    return rows


def _cells(lines: list[str]) -> list[list[str]]:
    """The cells of each line, by what parts them in the first."""
    for sign in "\t", ",", ";":
        if sign in lines[0]:
            cells = list(csv.reader(lines, delimiter=sign))
            if len({len(row) for row in cells}) == 1 or sign != ",":
                return cells
    if all(len(line.split()) > 1 for line in lines[:100]):  # a file's name may have spaces in it
        return [line.split() if is_picture_name(line.split()[0]) else line.rsplit(None, 1) for line in lines]
    return list(csv.reader(lines))


def _column(header: Sequence[str], names: frozenset[str]) -> int | None:
    return next((index for index, name in enumerate(header) if name in names), None)


def _named_label(header: Sequence[str], label: int, body: Sequence[Sequence[str]]) -> int:
    """Of several columns of labels the first that holds names and not numbers."""
    for index, name in enumerate(header):
        if name in LABEL_COLUMNS and not all(len(row) > index and row[index].strip().isdecimal() for row in body):
            return index
    return label


def _is_file(cell: str) -> bool:
    return bool(PurePosixPath(cell.strip().replace("\\", "/")).suffix) or "/" in cell


def _by_folder(path: Path, cells: Sequence[Sequence[str]]) -> list[Row]:
    """A list of files alone: a class is the folder that a file lies in."""
    files = [row[0].strip().replace("\\", "/") for row in cells if row]
    if not all("/" in file for file in files):
        raise DataError(f"{path} has one column, and a table has two: a file and its label.")
    return [Row(file, PurePosixPath(file).parent.name) for file in files]


def labels_beside(split: str, folders: Iterable[Path]) -> dict[str, str] | None:
    """The class of each picture of a split by its file's bare name, from a table in one of these folders.

    Raises:
        DataError: There is a table and it cannot be used.
    """
    folders = tuple(dict.fromkeys(folders))
    for title in (split, *(("validation", "valid") if split == "val" else ())):
        for folder in folders:
            for name in BESIDE:
                path = folder / name.format(title)
                if path.is_file() and (rows := _labelled(path)):
                    classes = named_labels([row.label for row in rows], folders, path)
                    return {PurePosixPath(row.file).stem: label for row, label in zip(rows, classes, strict=True)}
    return None


def _labelled(path: Path) -> list[Row]:
    """The rows of a table; none of what is a list of files or something else."""
    try:
        return read_table(path)
    except DataError:
        return []


def named_labels(labels: Sequence[str], folders: Iterable[Path], table: Path) -> list[str]:
    """The names of labels that count the lines of a list, from 0; other labels as they are.

    Args:
        labels: The labels of a table.
        folders: Where such a list may lie.
        table: The table.

    Raises:
        DataError: A number is more than the list has lines.
    """
    if not all(label.isdecimal() for label in labels):
        return list(labels)
    lists = [folder / name for folder in folders for name in NUMBERED if (folder / name).is_file()]
    if not lists:
        return list(labels)
    names = [line.split()[0] if re.match(r"n\d{8}\b", line) else line for line in lines_of(lists[0])]
    most = max(map(int, labels))
    if most >= len(names):
        raise DataError(f"{table} has the label {most} and {lists[0]} ends with {len(names) - 1}, counted from 0.")
    return [names[int(label)] for label in labels]


def in_order(labels: Iterable[str]) -> list[str]:
    """Class names in their order: numbers by size, others as text."""
    found = set(labels)
    return sorted(found, key=int) if all(label.isdecimal() for label in found) else sorted(found)


def matched(rows: Sequence[Row], names: Sequence[str], table: Path, folder: Path, partial: bool) -> np.ndarray:
    """(names,) the row of each picture, or -1.

    A file may be named by its path from the folder or from a folder above, by its bare name where there is one such,
    and without its suffix.

    Raises:
        DataError: A file is not there, more than one picture may be meant, or a picture has two labels.
    """
    places: dict[str, int] = {}
    for index, name in enumerate(names):
        bare, stem = PurePosixPath(name).name, str(PurePosixPath(name).with_suffix(""))
        for key in {name, stem, bare, PurePosixPath(bare).stem}:
            places[key] = AMBIGUOUS if key in places else index
    places.update((name, index) for index, name in enumerate(names))
    of_picture = np.full(len(names), -1, np.int64)
    missing, unclear = [], []
    for number, row in enumerate(rows):
        found = _place(row.file, places)
        if found is None:
            missing.append(row.file)
        elif found == AMBIGUOUS:
            unclear.append(row.file)
        elif (before := of_picture[found]) >= 0 and rows[before].label != row.label:
            raise DataError(f"{table} gives {row.file} two labels: {rows[before].label} and {row.label}.")
        else:
            of_picture[found] = number
    if unclear:
        raise DataError(f"{table} names {unclear[0]}, of which {folder} has several: name files by their paths.")
    if missing and (not partial or len(missing) == len(rows)):
        raise DataError(
            f"{len(missing):,} of {len(rows):,} files of {table} are not in {folder}: {some(missing, 1)}. "
            "For a part of the set: --partial."
        )
    return of_picture


def _place(file: str, places: Mapping[str, int]) -> int | None:
    """Where a file is, named from the folder or from a folder above it."""
    parts = PurePosixPath(file).parts
    for first in range(len(parts)):
        found = places.get("/".join(parts[first:]))
        if found is not None:
            return found
    return None


def parse_tables(given: Iterable[str]) -> list[tuple[str | None, Path]]:
    """`[SPLIT=]FILE` of the command line, each as (split or None, file).

    Raises:
        UsageError: A split is none of train, val and test, or is named twice.
    """
    tables: list[tuple[str | None, Path]] = []
    for text in given:
        split, sign, file = text.partition("=")
        if sign and split in ("train", "val", "test"):
            tables.append((split, Path(file).expanduser()))
        else:
            tables.append((None, Path(text).expanduser()))
    named = [split for split, _ in tables]
    if len(tables) > 1 and (None in named or len(set(named)) < len(named)):
        raise UsageError("Of several tables each needs its split: --labels train=FILE --labels val=FILE.")
    return tables
