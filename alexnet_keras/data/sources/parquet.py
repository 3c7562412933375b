"""Parquet files with the bytes of an image and its label in each row, as Hugging Face's datasets come.

A file is read by row groups (Hugging Face writes a hundred images to one), and the last ones are kept in memory, so
that images can be read in any order. pyarrow is needed: the extra `parquet`.
"""

import errno
import functools
import json
import os
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alexnet_keras.data.class_names import some
from alexnet_keras.data.sources.listing import identity_of, refuse_dangling, with_all_above
from alexnet_keras.data.sources.source import ImageList, Names, Source, no_progress
from alexnet_keras.data.sources.splits import DEFAULT_HOLDOUT, SPLITS, split_names, split_of, with_validation
from alexnet_keras.data.sources.tables import LABEL_COLUMNS, SPLIT_COLUMNS, plain_name, sorted_classes
from alexnet_keras.errors import DAMAGED, DataError, UsageError
from alexnet_keras.reporter import Advance
from alexnet_keras.storage.extras import optional
from alexnet_keras.storage.file_kinds import EMPTY, LFS, file_kind

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

KEPT_BYTES = 2**29  # of row groups in memory
SHARD = re.compile(r"-(\d+)-of-(\d+)(-[0-9a-f]{16})?$")  # train-00000-of-00005, and a hash in 2022 and 2023
LARGEST_GROUP = 2**32  # bytes of one
LARGEST_OF_FIELDS = 2**31  # where the images are a field of a column, which Arrow joins with offsets of 32 bits
OPEN_FILES = 64
LABELS_FIRST = ("label", "labels", "fine_label")  # before other columns that may hold a label


def parquet_source(
    folder: Path, *, holdout: float = DEFAULT_HOLDOUT, seed: int = 0, advance: Advance = no_progress
) -> Source:
    """List the images of parquet files.

    The name of a file ("validation-00000-of-00014.parquet") or of its folder gives its split; if no name is that of a
    split, all files are "train". The arguments are those of `folder_source`; `folder` may also be one such file.

    Raises:
        UsageError: It does not exist, or pyarrow is not installed.
        DataError: A file is damaged, or has no column of images or of labels.
    """
    if not folder.exists():
        raise UsageError(f"There is no directory or file {folder}.")
    optional("pyarrow.parquet", "parquet")
    paths = [folder] if folder.is_file() else list(_files_below(folder, with_all_above(folder)))
    if not paths:
        raise DataError(f"{folder} has no parquet files.")
    notes: list[str] = []
    splits: dict[str, ImageList] = {}
    classes: Sequence[str] = ()
    named = False  # the files carry the names of their classes
    files, others, unnamed = _by_split(paths, folder)
    if others:
        notes.append(f"Left out of {folder}, in no split by name: {some([path.name for path in others], 3)}.")
    for split in SPLITS:
        if split not in files:
            continue
        rows = _Rows(files[split])
        if unnamed:
            rows.refuse_splits()
        labels, names = rows.labels()
        missing = np.count_nonzero(labels == -1)
        if missing == len(labels):
            notes.append(f"The {split} split of {folder} has no labels and is left out.")
            continue
        if missing:
            notes.append(f"Left out of the {split} split of {folder}, without labels: {missing:,} of {len(labels):,}.")
        if not splits and (title := rows.label_title):
            notes.append(title)
        classes = classes or names
        named |= bool(rows.names)
        if not named and (unknown := sorted(set(names) - set(classes))):
            raise DataError(f"The {split} split of {folder} has classes that train does not have: {some(unknown)}.")
        if not named:  # the classes are the values that there are, of which a split may lack some
            number = {name: label for label, name in enumerate(classes)}
            labels = np.array([*(number[name] for name in names), -1], np.int32)[labels]
        elif list(names) != list(classes):
            raise DataError(f"The classes of the {split} split of {folder} differ from those of train.")
        splits[split] = rows.images(labels)
        advance(len(splits[split]))
    if "train" not in splits:
        raise DataError(f"{folder} has no training images: no file is called train-... .")
    return with_validation(Source(f"parquet:{folder}", tuple(classes), splits, notes=tuple(notes)), holdout, seed)


def _files_below(folder: Path, ancestors: frozenset[tuple[int, int]]) -> Iterator[Path]:
    """The parquet files below a folder, sorted, hidden ones left out; links to a folder of `ancestors` end there.

    Raises:
        DataError: A link leads to what is gone.
    """
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if (identity := identity_of(path)) not in ancestors:
                yield from _files_below(path, ancestors | {identity})
            continue
        refuse_dangling(path)
        if path.suffix == ".parquet":
            yield path


def _by_split(paths: Sequence[Path], folder: Path) -> tuple[dict[str, list[Path]], list[Path], bool]:
    """The files of each split, those in no split by name where others are, and whether no name says a split.

    Raises:
        DataError: Files of a set are missing, there are two sets, or names speak of splits that cannot be told apart.
    """
    files: dict[str, list[Path]] = {}
    titles = {path: SHARD.sub("", path.stem) for path in paths}
    present = Counter((path.parent, titles[path]) for path in paths)
    named = split_names(titles.values())
    others = []
    for path in paths:
        above = split_names(parent.name for parent in path.parents if folder in parent.parents)
        split = named.get(titles[path]) or next(iter(above.values()), None)
        if split:
            files.setdefault(split, []).append(path)
        else:
            others.append(path)
        there = present[path.parent, titles[path]]
        if (shard := SHARD.search(path.stem)) and there != int(shard[2]):
            remedy = "Download the others." if there < int(shard[2]) else "Keep those of one download."
            raise DataError(f"{path} is one of {int(shard[2])} files and {there} are there. {remedy}")
    if unnamed := not files:
        words = [*titles.values(), *(part for path in paths for part in path.relative_to(folder).parent.parts)]
        if len({found[0] for word in words if (found := split_of(word))}) > 1:
            shown = some(sorted({path.name for path in paths}), 2)
            raise DataError(f"{folder} names splits in {shown}, with other words. Call the files train, val, test.")
        files, others = {"train": list(paths)}, []
    for split, its_files in files.items():
        folder_of: dict[str, Path] = {}
        for file in its_files:
            if (first := folder_of.setdefault(titles[file], file.parent)) != file.parent:
                above = os.path.commonpath((first, file.parent))
                one = next((path for path in (first, *first.parents) if path.parent == Path(above)), first)
                raise DataError(f"{folder} has the {split} split in several folders. Give one: parquet:{one}.")
    return files, others, unnamed


class _Rows:
    """The rows of the files of a split as one sequence of images."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self._open = functools.lru_cache(maxsize=OPEN_FILES)(_opened)
        schema = self._open(self.paths[0]).schema_arrow
        self.image, self.has_field = _image_column(schema, self.paths[0])
        self.label = _label_column(schema, self.image, self.paths[0])
        self.names = _class_names(schema, self.label)
        self.groups: list[tuple[int, int]] = []  # (file, row group) of each row group
        edges, sizes = [0], []
        for number, path in enumerate(self.paths):
            file = self._open(path)
            if number and _class_names(file.schema_arrow, self.label) != self.names:
                raise DataError(f"{path} names other classes than {self.paths[0].name}. Give files of one set.")
            for group in range(file.metadata.num_row_groups):
                metadata = file.metadata.row_group(group)
                rows, size = metadata.num_rows, metadata.total_byte_size
                if rows > path.stat().st_size:
                    raise DataError(f"{path} is damaged: it claims {rows:,} rows. Copy or download it again.")
                if size > (LARGEST_OF_FIELDS if self.has_field else LARGEST_GROUP):
                    remedy = "Write it again with a hundred rows per group."
                    raise DataError(f"{path} has row groups of {size / 2**30:,.0f} GiB, which are read whole. {remedy}")
                self.groups.append((number, group))
                edges.append(edges[-1] + rows)
                sizes.append(np.full(rows, size // max(rows, 1), np.int64))
        self.edges, self.sizes = np.array(edges, np.int64), np.concatenate([np.zeros(0, np.int64), *sizes])
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()  # one thread reads at a time; the others decode what was read

    def refuse_splits(self) -> None:
        """Refuse files with a column of splits, by its values: all their rows would be of one split.

        Raises:
            DataError: There is one.
        """
        from pyarrow import types

        kinds = (types.is_string, types.is_large_string, types.is_dictionary)
        for field in self._open(self.paths[0]).schema_arrow:
            is_named = plain_name(field.name) in SPLIT_COLUMNS
            if field.name == self.label or not is_named or not any(kind(field.type) for kind in kinds):
                continue
            values: set[str] = set()
            for path in self.paths:
                with _damage_of(path):
                    column = self._open(path).read(columns=[field.name])[field.name]
                    values |= {str(value) for value in column.unique().to_pylist()}
            if len(set(split_names(values).values())) > 1:
                where = f"{self.paths[0]} has the column {field.name}"
                raise DataError(f"{where}, which is not read: write a file for each split.")

    @property
    def label_title(self) -> str:
        """A note of the column that the classes are in, where its name did not decide alone; else ""."""
        return "" if self.label in LABELS_FIRST else f"The classes are those of the column {self.label}."

    def labels(self) -> tuple[np.ndarray, Sequence[str]]:
        """The labels, (rows,) int32, -1 for a row without, and the class names."""
        values: list[Any] = []
        for path in self.paths:
            with _damage_of(path):
                values += self._open(path).read(columns=[self.label])[self.label].to_pylist()
        if self.names and all(isinstance(value, int | None) for value in values):
            if wrong := [value for value in values if value is not None and not -1 <= value < len(self.names)]:
                raise DataError(f"{self.paths[0]} has the label {wrong[0]} and names {len(self.names)} classes.")
            return np.array([-1 if value is None else value for value in values], np.int32), self.names
        texts = ["" if value in (None, -1) else str(value) for value in values]
        names = sorted_classes(text for text in texts if text)
        label_of = {name: label for label, name in enumerate(names)}
        return np.array([label_of.get(text, -1) for text in texts], np.int32), names

    def images(self, labels: np.ndarray) -> ImageList:
        """The images with a label; a size is the mean of its row group, because the images are unread."""
        names: list[str] = []  # by file and row
        for number, (file, _) in enumerate(self.groups):
            names += [f"{self.paths[file].stem}/{row:08d}" for row in range(self.edges[number], self.edges[number + 1])]
        return ImageList(Names.pack(names), labels, self.sizes, self.read).relabelled(labels)

    def read(self, i: int) -> bytes:
        """The bytes of image i.

        Raises:
            OSError: A file is gone or damaged.
        """
        number = int(np.searchsorted(self.edges, i, "right")) - 1
        try:
            contents = self._column(number)[i - int(self.edges[number])].as_py()
        except DataError as error:
            raise OSError(errno.EBADMSG, str(error)) from error
        if contents is None:
            raise OSError(errno.EBADMSG, "the row has no image bytes")
        return contents

    def _column(self, number: int) -> "pyarrow.ChunkedArray":
        """The images of a row group."""
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
            file, group = self.groups[number]
            with _damage_of(self.paths[file]):
                column = self._open(self.paths[file]).read_row_group(group, columns=[self.image])[self.image]
                if self.has_field:
                    column = column.combine_chunks().field("bytes")
            self._kept[number] = column
            while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
            return column


@contextmanager
def _damage_of(path: Path) -> Iterator[None]:
    """Turn exceptions of pyarrow into a DataError about the file."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, *DAMAGED) as error:
        if (kind := file_kind(path)) in (LFS, EMPTY):
            raise DataError(f"{path} is {kind.description}.") from error
        raise DataError(f"{path} is damaged or no parquet file. Copy or download it again.") from error


def _opened(path: Path) -> "pyarrow.parquet.ParquetFile":
    import pyarrow.parquet

    with _damage_of(path):
        return pyarrow.parquet.ParquetFile(path, memory_map=False)


def _image_column(schema: "pyarrow.Schema", path: Path) -> tuple[str, bool]:
    """The column of images, and whether their bytes are a field of it.

    Raises:
        DataError: There is none, or more than one.
    """
    import pyarrow

    columns = []
    for field in schema:
        if pyarrow.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            columns.append((field.name, True))
        elif pyarrow.types.is_binary(field.type) or pyarrow.types.is_large_binary(field.type):
            columns.append((field.name, False))
    if len(columns) != 1:
        number = f"{len(columns)} columns" if columns else "no column"
        raise DataError(f"{path} has {number} with the bytes of images, among {some(schema.names, 4)}.")
    return columns[0]


def _label_column(schema: "pyarrow.Schema", image: str, path: Path) -> str:
    """The column of labels: the one with such a name, or the only other column of whole numbers or text.

    Raises:
        DataError: There is none, or more than one candidate.
    """
    from pyarrow import types

    kinds = (types.is_integer, types.is_string, types.is_large_string, types.is_dictionary)
    columns = [field.name for field in schema if field.name != image and any(kind(field.type) for kind in kinds)]
    for name in LABELS_FIRST:
        if name in columns:
            return name
    named = [name for name in columns if name.lower().replace("_", "") in LABEL_COLUMNS]
    if len(named or columns) != 1:
        raise DataError(f"{path} has no column called label, among {some(schema.names, 4)}.")
    return (named or columns)[0]


def _class_names(schema: "pyarrow.Schema", label: str) -> tuple[str, ...]:
    """The class names that Hugging Face's datasets keep in a file; () if there are none."""
    try:
        metadata = json.loads((schema.metadata or {})[b"huggingface"])
        names = metadata["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) and len(names) > 1 else ()
