"""Tables that give images their classes: a CSV of file and label, Caffe's `val.txt`, tiny ImageNet's
`val_annotations.txt`, Kaggle's `LOC_val_solution.csv`, and file names that end in a WordNet id.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from alexnet_keras.data.class_names import WORDNET_ID, some, whole_lines_of
from alexnet_keras.data.sources.listing import is_image_name
from alexnet_keras.data.sources.splits import SPLITS, split_names, split_of
from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.storage.places import at_home

MOST_BYTES = 2**30  # ImageNet's training list has 45 MB
WNID = re.compile(r"(?:^|_)(n\d{8})(?=\.\w+$)|^(n\d{8})(?=_)")  # ..._n01440764.JPEG, n01440764_10026.JPEG
# Names of columns as `plain_name` writes them; labels in order of preference.
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
CERTAIN_SPLIT_COLUMNS = ("split", "subset", "partition", "splitname", "phase")  # whatever their values are
MOST_SPLITS = 5  # values of such a column
FLAGS = frozenset(("0", "1", "0.0", "1.0", "false", "true", "no", "yes", "n", "y", "f", "t"))
NO_LABEL = frozenset(("", "nan", "na", "n/a", "none", "null"))
# Lists of classes, which a label that is a number indexes: by the numbers of their lines, or by line, from 0.
CLASS_LISTS = (
    "synset_words.txt", "synsets.txt", "LOC_synset_mapping.txt", "wnids.txt", "classes.txt", "class_names.txt",
)  # fmt: skip
TABLES = ("{}_annotations.txt", "{}.txt", "{}.csv", "{}_labels.csv", "{}_labels.txt", "LOC_{}_solution.csv")


class Row(NamedTuple):
    """A row of a table: a file, its label, and its split ("" if the table has no column of splits)."""

    file: str
    label: str
    split: str = ""


@dataclass(frozen=True)
class Table:
    """A table of files and their labels.

    Attributes:
        path: The file.
        rows: Its rows.
        columns: The names of its columns of files, labels and, if it has one, splits; () if it has no line of column
            names.
    """

    path: Path
    rows: list[Row]
    columns: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The table and its columns, for a note."""
        return f"{self.path} ({some(self.columns)})" if self.columns else str(self.path)

    @property
    def labels(self) -> list[str]:
        """The label of each row."""
        return [row.label for row in self.rows]


def wnid_of(name: str) -> str | None:
    """The WordNet id in a file's name, as Hugging Face's and ImageNet's training images have it."""
    match = WNID.search(PurePosixPath(name).name)
    return (match[1] or match[2]) if match else None


def read_table(path: Path) -> Table:
    """Read a table, with or without a line of column names.

    Columns are separated by commas, tabs, semicolons or, as in Caffe's lists, spaces.

    Raises:
        UsageError: There is no such file.
        DataError: It is not text, or lacks a column of labels or a label in one row.
    """
    lines = [line.rstrip() for line in whole_lines_of(path, MOST_BYTES) if line.strip()]
    if lines and "\t" not in lines[0].strip():  # else a tab at the start ends an empty cell, as pandas' index has it
        lines = [line.strip() for line in lines]
    if not lines:
        raise DataError(f"{path} is empty. A table has a file and its label in each line.")
    cells = _cells(lines, path)
    if all(len(row) == 1 for row in cells):
        return Table(path, _rows_of_files(path, cells))
    width = max(2, len(cells[0]))
    cells = [[*map(str.strip, row), *[""] * (width - len(row))] for row in cells]
    header, body = [plain_name(cell) for cell in cells[0]], cells[1:]
    named = _columns(FILE_COLUMNS, header)
    file, label = _first_of_files(named, body[:100], named), _label_column(header, body)
    if file is None and label is not None:
        others = [index for index in range(width) if index != label]
        file = _first_of_files(others, body, others if len(others) == 1 else [])
    if label is None and file is not None and width == 2:
        label = 1 - file
    if not body or is_file(cells[0][0]):  # no line of names: an image is called "name.jpg", a column is not
        file = label = None
    if file is None or label is None:
        return Table(path, _rows(path, *_without_names(path, cells), [], 0, 1, None))
    split = _split_column(path, header, body, (file, label))
    taken = [cells[0][index] for index in (file, label, split) if index is not None]
    return Table(path, _rows(path, body, 2, header, file, label, split), tuple(taken))


def _cells(lines: list[str], path: Path) -> list[list[str]]:
    """The cells of each line, by the separator in the first."""
    try:
        for sign in "\t", ",", ";":
            if sign in lines[0]:
                cells = list(csv.reader(lines, delimiter=sign, strict=True, skipinitialspace=True))
                named = {plain_name(cell) for cell in cells[0]} & {*FILE_COLUMNS, *LABEL_COLUMNS}
                if sign != "," or named or len({len(row) for row in cells}) == 1:
                    return cells
        if all(len(line.split()) > 1 for line in lines[:100]):
            return [_at_a_space(line) for line in lines]
        return list(csv.reader(lines, strict=True, skipinitialspace=True))
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a table ({error}). Look for a quote that is not closed.") from error


def _at_a_space(line: str) -> list[str]:
    """A file and its label, separated by a space; either may contain spaces."""
    first, _, rest = line.partition(" ")
    if not is_image_name(first):
        return line.rsplit(None, 1)
    word = (rest.split() or [""])[0]
    return [first, word if _is_number(word) or WORDNET_ID.fullmatch(word) else rest]


def _rows_of_files(path: Path, cells: Sequence[Sequence[str]]) -> list[Row]:
    """The rows of a list of files alone: a file's class is the folder it lies in."""
    files = [PurePosixPath(row[0].strip().replace("\\", "/")) for row in cells]
    if not all(file.parent.name for file in files):
        raise DataError(f"{path} has one column, and a table has two: a file and its label.")
    return [Row(str(file), file.parent.name) for file in files]


def _without_names(path: Path, cells: list[list[str]]) -> tuple[list[list[str]], int]:
    """The lines of a table that are not column names, and the number of the first."""
    named = not is_file(cells[0][0]) and len(cells) > 1 and is_file(cells[1][0])
    body = cells[1:] if named else cells
    cells = [row[: max((place for place, cell in enumerate(row, 1) if cell), default=0)] for row in cells]
    widest = max(cells, key=len)  # without empty cells at the end, as of a comma after each line
    if len(widest) > 2 and not all(is_file(row[0]) and WORDNET_ID.fullmatch(row[1]) for row in body):
        columns = some(cells[0] if len(cells[0]) > 2 else widest, 3)
        raise DataError(f"{path} has the columns {columns}. Call two of them file and label in line 1.")
    return body, 1 + named


def _rows(
    path: Path, body: list[list[str]], first: int, header: list[str], file: int, label: int, split: int | None
) -> list[Row]:
    """The rows of a table; `first` is the number of its first line, the last three are the numbers of columns."""
    rows = []
    for number, row in enumerate(body, start=first):
        if header and len(row) > len(header):
            numbers = f"{len(row)} cells and its first {len(header)}"
            raise DataError(f"Line {number:,} of {path} has {numbers}: put cells with commas in quotes.")
        text = row[label]
        if not row[file] or text.lower() in NO_LABEL:
            raise DataError(f"Line {number:,} of {path} has no label. Give it one, or take the line out.")
        if header and header[label] == "predictionstring":
            text = text.split()[0]
        rows.append(Row(row[file].replace("\\", "/"), text, "" if split is None else row[split]))
    if all(re.fullmatch(r"\d{1,15}\.0+", row.label) or _is_number(row.label) for row in rows):
        rows = [row._replace(label=row.label.partition(".")[0]) for row in rows]
    return rows


def plain_name(name: str) -> str:
    """Return a column's name in lower case, without spaces and punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _columns(names: Sequence[str], header: Sequence[str]) -> list[int]:
    """The columns with one of these names, in the order of the names."""
    return [index for name in names for index, title in enumerate(header) if title == name]


def _first_of_files(columns: Sequence[int], body: Sequence[Sequence[str]], otherwise: Sequence[int]) -> int | None:
    """The first of the columns that contains files in every row, or else the first of `otherwise`."""
    with_files = [column for column in columns if all(is_file(row[column]) for row in body)]
    return next(iter(with_files or otherwise), None)


def _label_column(header: Sequence[str], body: Sequence[Sequence[str]]) -> int | None:
    """The column of labels: the likeliest name, and a column of class names rather than of their numbers."""
    candidates = _columns(LABEL_COLUMNS, header)
    if candidates and all(_is_number(row[candidates[0]]) for row in body):
        likeliest = header[candidates[0]]
        stem = likeliest.removesuffix("id").removesuffix("s")
        names = [i for i in candidates if header[i] != likeliest and header[i].startswith(stem)]
        names += [i for i in candidates if header[i] in ("classname", "labelname", "categoryname")]
        candidates = names or candidates
    return next(iter(candidates), None)


def _split_column(
    path: Path, header: Sequence[str], body: Sequence[Sequence[str]], others: Sequence[int]
) -> int | None:
    """The column of splits, by its name or by its values; None if there is none besides `others`.

    Raises:
        DataError: Only some of its rows name a split, or splits are given by a column of flags.
    """
    if flags := [name for name in header if re.fullmatch(r"is(train|test|val)\w*", name)]:
        raise DataError(f"{path} has the column {flags[0]}, which is not read: give splits in one called split.")
    codes: list[tuple[str, set[str]]] = []
    for index in _columns(SPLIT_COLUMNS, header):
        values = {row[index] for row in body}
        named = split_names(values)
        if named.keys() == values:
            return index
        if named:
            unknown = sorted(values - named.keys())[0]
            raise DataError(f"{path} has the split {unknown!r}: rename it to train, val or test.")
        if header[index] in CERTAIN_SPLIT_COLUMNS and 1 < len(values) <= MOST_SPLITS:
            codes.append((header[index], values))
    for name, values in codes:
        raise DataError(
            f"{path} has the column {name} with {', '.join(map(repr, sorted(values)))}: write train, val and test "
            "there, or call the column something else if it gives no splits."
        )
    for index, name in enumerate(header):  # train_test, train
        if index in others or not re.search("train|test|valid|split", name):
            continue
        values = {row[index] for row in body}
        named = split_names(values) if len(values) <= MOST_SPLITS else {}
        if named.keys() == values and len(set(named.values())) > 1:
            return index
        if split_of(name) and len(given := {value.lower() for value in values if value}) > 1 and given <= FLAGS:
            raise DataError(
                f"{path} has the column {name} of yes and no, which is not read: give splits in one called split, or "
                "call it something else."
            )
    return None


def is_file(cell: str) -> bool:
    """True if a cell names a file, by an image's or another suffix or by its folders, and is no decimal number."""
    path = PurePosixPath(cell.strip("'").replace("\\", "/"))
    is_decimal = re.fullmatch(r"-?\d*\.\d*", cell)
    return is_image_name(path.name) is True or (bool(path.suffix) and not is_decimal) or "/" in str(path)


def _is_number(text: str) -> bool:
    return text.strip().isdecimal() and len(text) < 19


def split_table(split: str, folders: Iterable[Path]) -> Table | None:
    """The table of a split's images in one of these folders; labels that are numbers are replaced by class names.

    Raises:
        DataError: A number in the table is not in the list of classes, or a row is of another split.
    """
    folders = tuple(dict.fromkeys(folders))
    for title in (split, *(("validation", "valid") if split == "val" else ())):
        for folder in folders:
            for name in TABLES:
                path = folder / name.format(title)
                if not path.is_file():
                    continue
                try:
                    table = read_table(path)
                except DataError:  # a list of files, or something else
                    continue
                check_split(table, split)
                labels = label_names(table, folders)
                rows = [row._replace(label=label) for row, label in zip(table.rows, labels, strict=True)]
                return replace(table, rows=rows)
    return None


def check_split(table: Table, split: str) -> None:
    """Raise a DataError if a row of a split's table names another split."""
    named = split_names(sorted({row.split for row in table.rows}))
    if others := [name for name, other in named.items() if other != split]:
        whole = f"give it for all splits, as --labels {table.path}"
        raise DataError(f"{table.path} is the table of {split} and has rows of the split {others[0]!r}: {whole}.")


def label_names(table: Table, folders: Iterable[Path]) -> list[str]:
    """The label of each row; if all are numbers, and a folder has a list of classes, the class of that number.

    Raises:
        DataError: The list has no class of that number, or a blank line.
    """
    labels = table.labels
    lists = [folder / name for folder in folders for name in CLASS_LISTS if (folder / name).is_file()]
    if not lists or not all(map(_is_number, labels)):
        return labels
    name_of = _numbered_classes(lists[0])
    if unknown := set(map(int, labels)) - name_of.keys():
        number = f"the label {max(unknown)}, and none of the {len(name_of):,} classes in {lists[0]} has that number"
        raise DataError(f"{table.path} has {number}.")
    return [name_of[int(label)] for label in labels]


def _numbered_classes(path: Path) -> dict[int, str]:
    """The class of each number in a list: of that which each line begins with, or of each line, from 0.

    Raises:
        DataError: A line is blank, so that numbers of lines are in doubt.
    """
    lines = [line.strip() for line in whole_lines_of(path)]
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines:
        raise DataError(f"Line {lines.index('') + 1:,} of {path} is blank, and labels count its lines: take it out.")
    parts = [re.fullmatch(r"(\d{1,18})[ \t]+(.+)", line) for line in lines]
    numbered = {int(part[1]): part[2] for part in parts if part}
    names = numbered if len(numbered) == len(lines) else dict(enumerate(lines))
    return {number: name.split()[0] if re.match(r"n\d{8}\b", name) else name for number, name in names.items()}


def sorted_classes(labels: Iterable[str]) -> list[str]:
    """The classes in their order: numbers by value, others as text."""
    classes = set(labels)
    return sorted(classes, key=lambda name: (int(name), name)) if all(map(_is_number, classes)) else sorted(classes)


def parse_tables(given: Iterable[str]) -> list[tuple[str | None, Path]]:
    """Parse the `[SPLIT=]FILE` of the command line into pairs of split, or None, and file.

    Raises:
        UsageError: One of several tables has no split, or two have the same.
    """
    tables: list[tuple[str | None, Path]] = []
    for text in given:
        split, sign, file = text.partition("=")
        tables.append((split, at_home(file)) if sign and split in SPLITS else (None, at_home(text)))
    splits = [split for split, _ in tables]
    if len(tables) > 1 and (None in splits or len(set(splits)) < len(splits)):
        raise UsageError("Of several tables each needs its split: --labels train=FILE --labels val=FILE.")
    return tables
