"""Tables that give images their classes: a CSV of file and label, Caffe's `val.txt`, tiny ImageNet's
`val_annotations.txt`, Kaggle's `LOC_val_solution.csv`, and file names that end in a WordNet id.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from alexnet_keras.data.class_names import WORDNET_ID, lines_of, some
from alexnet_keras.data.sources.listing import is_image_name
from alexnet_keras.data.sources.source import split_word
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.storage.places import at_home

MOST_BYTES = 2**30  # ImageNet's training list has 45 MB
WNID = re.compile(r"(?:^|_)(n\d{8})(?=\.\w+$)|^(n\d{8})(?=_)")  # ..._n01440764.JPEG, n01440764_10026.JPEG
# Names of columns, in lower case without signs between words; of labels the likelier first.
FILE_COLUMNS = (
    "file", "filename", "filenames", "filepath", "filepaths", "path", "imagepath", "imgpath", "imagefile", "image",
    "images", "imagename", "imagenames", "imageid", "imageindex", "img", "imgname", "imgid", "picture", "photo",
    "fname", "fnames", "name", "id", "idcode",
)  # fmt: skip
LABEL_COLUMNS = (
    "label", "labels", "labelname", "class", "classname", "classlabel", "category", "categoryname", "target", "breed",
    "species", "speciesname", "wnid", "synset", "diagnosis", "dx", "predictionstring", "findinglabels", "labelid",
    "classid", "categoryid", "groundtruth", "tag", "y", "type",
)  # fmt: skip
SPLIT_COLUMNS = ("split", "set", "subset", "partition", "dataset", "datasettype", "splitname", "phase", "usage")
NO_LABEL = frozenset(("", "nan", "na", "n/a", "none", "null"))
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


@dataclass(frozen=True)
class Table:
    """A table of files and their labels.

    Attributes:
        path: Where it is.
        rows: Its lines.
        columns: What its columns of files and labels are called; () where it has no line of such names.
    """

    path: Path
    rows: list[Row]
    columns: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The table and its columns, for a note."""
        return f"{self.path} ({', '.join(self.columns)})" if self.columns else str(self.path)


def wnid_of(name: str) -> str | None:
    """The WordNet id that a file is named by, as Hugging Face and ImageNet's training images are."""
    match = WNID.search(PurePosixPath(name).name)
    return (match[1] or match[2]) if match else None


def read_table(path: Path) -> Table:
    """A table, with or without a line of column names.

    Columns may be parted by commas, tabs, semicolons or, as in Caffe's lists, spaces.

    Raises:
        UsageError: There is no such file.
        DataError: It is no text, has no column of labels, or a line without.
    """
    lines = lines_of(path, MOST_BYTES)
    if not lines:
        raise DataError(f"{path} is empty. A table has a file and its label in each line.")
    cells = _cells(lines, path)
    if all(len(row) == 1 for row in cells):
        return Table(path, _by_folder(path, cells))
    header = [re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in cells[0]]
    body = cells[1:]
    file, label = _file_column(header, body), _label_column(header, body)
    if file is None and label is not None:
        others = [index for index in range(len(header)) if index != label]
        looking = [index for index in others if all(len(row) > index and _is_file(row[index]) for row in body)]
        file = next(iter(looking or (others if len(others) == 1 else [])), None)
    if label is None and file is not None and len(header) == 2:
        label = 1 - file
    if not body or _is_file(cells[0][0]):  # no line of names: an image is called "name.jpg", a column is not
        file = label = None
    if file is None or label is None:
        return Table(path, _rows(path, *_without_names(path, cells), [], 0, 1, None))
    split = _split_column(path, header, body)
    return Table(
        path, _rows(path, body, 2, header, file, label, split), (cells[0][file].strip(), cells[0][label].strip())
    )


def _without_names(path: Path, cells: list[list[str]]) -> tuple[list[list[str]], int]:
    """The lines of a table that are no column names, and the number of the first."""
    named = not _is_file(cells[0][0]) and len(cells) > 1 and _is_file(cells[1][0])
    body = cells[1:] if named else cells
    wide = len(cells[0]) > 2
    if wide and (not _is_file(body[0][0]) or any(len(row) > 1 and _is_number(row[1]) for row in body)):
        raise DataError(
            f"{path} has the columns {some(cells[0], 3)}. Call two of them file and label in its first line."
        )
    return body, 1 + named


def _rows(
    path: Path,
    body: list[list[str]],
    first: int,
    header: list[str],
    file: int,
    label: int,
    split: int | None,
) -> list[Row]:
    rows = []
    for number, row in enumerate(body, start=first):
        if header and len(row) > len(header):
            raise DataError(
                f"Line {number:,} of {path} has {len(row)} cells and its first {len(header)}: put cells that have "
                "commas in them in quotes."
            )
        text = row[label].strip() if len(row) > label else ""
        if len(row) <= file or not row[file].strip() or text.lower() in NO_LABEL:
            raise DataError(f"Line {number:,} of {path} has no label. Give it one, or take the line out.")
        if header and header[label] == "predictionstring":
            text = text.split()[0]
        name = row[file].strip().replace("\\", "/")
        rows.append(Row(name, text, row[split].strip() if split is not None and split < len(row) else ""))
    if rows and all(re.fullmatch(r"\d{1,15}\.0+", row.label) or _is_number(row.label) for row in rows):
        rows = [replace(row, label=str(int(row.label.partition(".")[0]))) for row in rows]
    return rows


def _cells(lines: list[str], path: Path) -> list[list[str]]:
    """The cells of each line, by what parts them in the first."""
    try:
        for sign in "\t", ",", ";":
            if sign in lines[0]:
                cells = list(csv.reader(lines, delimiter=sign, strict=True))
                named = {re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in cells[0]} & {*FILE_COLUMNS, *LABEL_COLUMNS}
                if sign != "," or named or len({len(row) for row in cells}) == 1:
                    return cells
        if all(len(line.split()) > 1 for line in lines[:100]):
            return [_parted(line) for line in lines]
        return list(csv.reader(lines, strict=True))
    except csv.Error as error:
        raise DataError(
            f"{path} is no table that can be read ({error}). Look for a quote that is not closed."
        ) from error


def _parted(line: str) -> list[str]:
    """A file and its label, parted by a space; either may have spaces in it."""
    first, _, rest = line.partition(" ")
    if not is_image_name(first):
        return line.rsplit(None, 1)
    word = (rest.split() or [""])[0]
    return [first, word if _is_number(word) or WORDNET_ID.fullmatch(word) else rest.strip()]


def _file_column(header: Sequence[str], body: Sequence[Sequence[str]]) -> int | None:
    """The column of files: of several that are called so, one that looks so."""
    called = [index for name in FILE_COLUMNS for index, title in enumerate(header) if title == name]
    looking = [index for index in called if all(len(row) > index and _is_file(row[index]) for row in body[:100])]
    return next(iter(looking or called), None)


def _label_column(header: Sequence[str], body: Sequence[Sequence[str]]) -> int | None:
    """The column of labels: of several that are called so the likeliest, with names rather than their numbers."""
    called = [index for name in LABEL_COLUMNS for index, title in enumerate(header) if title == name]
    if called and all(len(row) > called[0] and _is_number(row[called[0]].strip()) for row in body):
        stem = header[called[0]].removesuffix("id").removesuffix("s")
        named = [index for index in called if header[index] != header[called[0]] and header[index].startswith(stem)]
        named += [index for index in called if header[index] in ("classname", "labelname", "categoryname")]
        return (named or called)[0]
    return next(iter(called), None)


def _split_column(path: Path, header: Sequence[str], body: Sequence[Sequence[str]]) -> int | None:
    """The column of splits; None where a column that is called so names none.

    Raises:
        DataError: Some of its lines name a split and others do not, or a column says it in another way.
    """
    if flags := [name for name in header if re.fullmatch(r"is(train|test|val)\w*", name)]:
        raise DataError(
            f"{path} has the column {flags[0]}, which is not read: call it split, with train and val in it."
        )
    for name in SPLIT_COLUMNS:
        if name in header:
            index = header.index(name)
            values = sorted({row[index].strip() for row in body if len(row) > index})
            strange = [value for value in values if not split_word(value)]
            if not strange:
                return index
            if len(strange) < len(values):
                raise DataError(
                    f"{path} has the split {strange[0]!r}, which is none of train, val and test: rename it."
                )
    return None


def _is_file(cell: str) -> bool:
    path = PurePosixPath(cell.strip().strip("'").replace("\\", "/"))
    return is_image_name(path.name) is True or (bool(path.suffix) and not _is_decimal(cell)) or "/" in str(path)


def _is_decimal(cell: str) -> bool:
    return bool(re.fullmatch(r"-?\d*\.\d*", cell.strip()))


def _is_number(text: str) -> bool:
    return text.strip().isdecimal() and len(text) < 19


def _by_folder(path: Path, cells: Sequence[Sequence[str]]) -> list[Row]:
    """A list of files alone: a class is the folder that a file lies in."""
    files = [row[0].strip().replace("\\", "/") for row in cells if row]
    if not all("/" in file for file in files):
        raise DataError(f"{path} has one column, and a table has two: a file and its label.")
    return [Row(file, PurePosixPath(file).parent.name) for file in files]


def labels_beside(split: str, folders: Iterable[Path]) -> Table | None:
    """The table of a split's images that lies in one of these folders, with the names of the classes in it.

    Raises:
        DataError: There is a table whose numbers a list of classes does not have.
    """
    folders = tuple(dict.fromkeys(folders))
    for title in (split, *(("validation", "valid") if split == "val" else ())):
        for folder in folders:
            for name in BESIDE:
                path = folder / name.format(title)
                if path.is_file() and (table := _read_or_none(path)):
                    classes = named_labels([row.label for row in table.rows], folders, path)
                    rows = [replace(row, label=label) for row, label in zip(table.rows, classes, strict=True)]
                    return replace(table, rows=rows)
    return None


def _read_or_none(path: Path) -> Table | None:
    """A table; None of what is a list of files or something else."""
    try:
        return read_table(path)
    except DataError:
        return None


def named_labels(labels: Sequence[str], folders: Iterable[Path], table: Path) -> list[str]:
    """The names of labels that count the lines of a list, from 0; other labels as they are.

    Args:
        labels: The labels of a table.
        folders: Where such a list may lie.
        table: The table.

    Raises:
        DataError: A number is more than the list has lines.
    """
    if not all(map(_is_number, labels)):
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
    return sorted(found, key=int) if all(map(_is_number, found)) else sorted(found)


def matched(table: Table, names: Sequence[str], folder: Path, partial: bool) -> np.ndarray:
    """(names,) the row of each image, or -1.

    A file may be named by its path from the folder or from one above, by the end of its path, by its bare name, and
    without its suffix.

    Raises:
        DataError: A file is not there, more than one image may be meant, or an image has two labels.
    """
    rows, places = table.rows, _places(names)
    of_image = np.full(len(names), -1, np.int64)
    missing, unclear = [], []
    for number, row in enumerate(rows):
        found = _place(row.file, places, folder)
        if found is None:
            missing.append(row.file)
        elif found == AMBIGUOUS:
            unclear.append(row.file)
        elif (before := of_image[found]) >= 0 and rows[before].label != row.label:
            raise DataError(
                f"{table.path} gives {row.file} two labels, {rows[before].label} and {row.label}: leave one of them."
            )
        else:
            of_image[found] = number
    if missing == [rows[0].file] and len(rows) > 2 and not _is_file(rows[0].file):
        missing = []  # names of columns
    if unclear:
        raise DataError(f"{table.path} names {unclear[0]}, of which {folder} has several: name files by their paths.")
    if len(missing) == len(rows):
        raise DataError(f"No file of {table.path} is in {folder}; its first is {missing[0]}. Give the folder of these.")
    if missing and not partial:
        raise DataError(
            f"{len(missing):,} of {len(rows):,} files of {table.path} are not in {folder}: {some(missing, 1)}. "
            "For a part of the set: --partial."
        )
    return of_image


def _places(names: Sequence[str]) -> dict[str, int]:
    """The image that each end of a path means, with and without its suffix; AMBIGUOUS for several."""
    places: dict[str, int] = {}
    for index, name in enumerate(names):
        parts = PurePosixPath(name).parts
        for first in range(len(parts)):
            end = "/".join(parts[first:])
            suffix = PurePosixPath(end).suffix
            for key in (end, end.removesuffix(suffix)) if suffix and is_image_name(end) else (end,):
                places[key] = AMBIGUOUS if places.get(key, index) != index else index
    places.update((name, index) for index, name in enumerate(names))
    return places


def _place(file: str, places: Mapping[str, int], folder: Path) -> int | None:
    """Where a file is. Of a path, its last part alone counts only below a folder called as the one before it."""
    parts = PurePosixPath(file).parts
    for first in range(len(parts)):
        bare = first and first == len(parts) - 1 and parts[first - 1] != folder.resolve().name
        if not bare and (found := places.get("/".join(parts[first:]))) is not None:
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
            tables.append((split, at_home(file)))
        else:
            tables.append((None, at_home(text)))
    named = [split for split, _ in tables]
    if len(tables) > 1 and (None in named or len(set(named)) < len(named)):
        raise UsageError("Of several tables each needs its split: --labels train=FILE --labels val=FILE.")
    return tables
