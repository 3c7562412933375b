"""Parquet files with the bytes of an image and its label in each row, as Hugging Face's datasets come.

A file is read a row group at a time (Hugging Face writes a hundred images to one), and the last of them are kept, so
that images can be read in any order. It needs pyarrow: the extra `parquet`.
"""

import errno
import functools
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alexnet_keras.data.class_names import some
from alexnet_keras.data.sources.source import (
    DEFAULT_HOLDOUT,
    SPLITS,
    ImageList,
    Names,
    Source,
    printable,
    split_names,
    with_validation,
)
from alexnet_keras.data.sources.tables import LABEL_COLUMNS, in_order
from alexnet_keras.errors import DAMAGED, DataError, UsageError
from alexnet_keras.storage.extras import optional
from alexnet_keras.storage.file_kinds import EMPTY, LFS, file_kind

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

KEPT_BYTES = 2**29  # of row groups in memory
SHARD = re.compile(r"-(\d+)-of-(\d+)$")  # train-00000-of-00005
LARGEST_GROUP = 2**32  # bytes of one
OPEN_FILES = 64
LABELS_FIRST = ("label", "labels", "fine_label")  # before other columns that a label may stand in


def parquet_source(
    folder: Path,
    *,
    holdout: float = DEFAULT_HOLDOUT,
    seed: int = 0,
    on_progress: Callable[[int], None] = lambda images: None,
) -> Source:
    """List the images of parquet files.

    A file's split is told by its name ("validation-00000-of-00014.parquet") or by its folder's; files that name none
    are "train".

    Args:
        folder: A directory of parquet files, or one such file.
        holdout: The part of each class to hold out where there is no validation split, 0..1.
        seed: Decides which.
        on_progress: Called with the number of images found since the last call.

    Raises:
        UsageError: It does not exist, or pyarrow is not installed.
        DataError: A file is damaged, or has no column of images or of labels.
    """
    if not folder.exists():
        raise UsageError(f"There is no directory or file {folder}.")
    optional("pyarrow.parquet", "parquet")
    paths = (
        [folder]
        if folder.is_file()
        else sorted(path for path in folder.rglob("*.parquet") if path.is_file() and _is_visible(path, folder))
    )
    if not paths:
        raise DataError(f"{folder} has no parquet files.")
    notes: list[str] = []
    splits: dict[str, ImageList] = {}
    classes: Sequence[str] = ()
    files, without = _by_split(paths, folder)
    if without:
        notes.append(f"Left out of {folder}, naming no split: {some([path.name for path in without], 3)}.")
    for split in SPLITS:
        if split not in files:
            continue
        table = _Table(files[split])
        labels, known = table.labels()
        if (labels == -1).all():
            notes.append(f"The {split} split of {folder} has no labels and is left out.")
            continue
        if not classes:
            classes = known
        elif list(known) != list(classes):
            raise DataError(f"The classes of the {split} split of {folder} differ from those of train.")
        splits[split] = table.images(labels)
        on_progress(len(splits[split]))
    if "train" not in splits:
        raise DataError(f"{folder} has no training images: no file is called train-... .")
    if len(classes) < 2:
        raise DataError(f"{folder} has one class, {classes[0]!r}. At least two are needed to tell apart.")
    options, note = with_validation(splits, classes, holdout, seed, folder, "split")
    notes += [note] * bool(note)
    return Source(
        given=f"parquet:{folder}",
        classes=tuple(printable(name) for name in classes),
        splits={split: splits[split] for split in SPLITS if split in splits},
        options=options,
        notes=tuple(notes),
    )


def _is_visible(path: Path, folder: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)


def _by_split(paths: Sequence[Path], folder: Path) -> tuple[dict[str, list[Path]], list[Path]]:
    """The files of each split, and those of none where others name theirs.

    Raises:
        DataError: Files of a set are missing, or there are two sets.
    """
    found: dict[str, list[Path]] = {}
    titles = {path: SHARD.sub("", path.stem) for path in paths}
    named = split_names(set(titles.values()))
    without = []
    for path in paths:
        above = split_names(parent.name for parent in path.parents if folder in parent.parents)
        split = named.get(titles[path]) or next(iter(above.values()), None)
        if split:
            found.setdefault(split, []).append(path)
        else:
            without.append(path)
        if (count := SHARD.search(path.stem)) and (
            there := len([p for p in paths if _set_of(p) == _set_of(path)])
        ) != int(count[2]):
            raise DataError(f"{path} is one of {int(count[2])} files and {there} are there. Download the others.")
    for split, files in found.items():
        if len({file.parent for file in files}) > 1 and len({titles[file] for file in files}) == 1:
            raise DataError(f"{folder} has the {split} split in several folders. Give one: parquet:{files[0].parent}.")
    return (found, without) if found else ({"train": list(paths)}, [])


def _set_of(path: Path) -> tuple[Path, str]:
    return path.parent, SHARD.sub("", path.stem)


class _Table:
    """The rows of some files as one sequence of images."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self._opened = functools.lru_cache(maxsize=OPEN_FILES)(_opened)
        schema = self._opened(self.paths[0]).schema_arrow
        self.image, self.inside = _image_column(schema, self.paths[0])
        self.label = _label_column(schema, self.image, self.paths[0])
        self.names = _class_names(schema, self.label)
        self.groups: list[tuple[int, int]] = []  # (file, row group) of each
        edges, sizes = [0], []
        for number, path in enumerate(self.paths):
            metadata = self._opened(path).metadata
            if number and _class_names(self._opened(path).schema_arrow, self.label) != self.names:
                raise DataError(f"{path} names other classes than {self.paths[0].name}. Give files of one set.")
            for group in range(metadata.num_row_groups):
                rows, size = metadata.row_group(group).num_rows, metadata.row_group(group).total_byte_size
                if rows > path.stat().st_size:
                    raise DataError(f"{path} is damaged: it claims {rows:,} rows. Copy or download it again.")
                if size > LARGEST_GROUP:
                    raise DataError(
                        f"{path} has row groups of {size / 2**30:,.0f} GiB, which are read whole: write it again with "
                        "a hundred rows to a group."
                    )
                self.groups.append((number, group))
                edges.append(edges[-1] + rows)
                sizes.append(np.full(rows, size // max(rows, 1), np.int64))
        self.edges, self.sizes = np.array(edges, np.int64), np.concatenate([np.zeros(0, np.int64), *sizes])
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()  # one thread reads at a time; the others decode what was read

    def labels(self) -> tuple[np.ndarray, Sequence[str]]:
        """(rows,) int32, -1 where a row has none, and the class names."""
        found: list[Any] = []
        for path in self.paths:
            with _damage_of(path):
                found += self._opened(path).read(columns=[self.label])[self.label].to_pylist()
        if self.names and all(isinstance(label, int | None) for label in found):
            if wrong := [label for label in found if label is not None and not -1 <= label < len(self.names)]:
                raise DataError(f"{self.paths[0]} has the label {wrong[0]} and names {len(self.names)} classes.")
            return np.array([-1 if label is None else label for label in found], np.int32), self.names
        texts = ["" if label in (None, -1) else str(label) for label in found]
        names = in_order(text for text in texts if text)
        number = {name: label for label, name in enumerate(names)}
        return np.array([number.get(text, -1) for text in texts], np.int32), names

    def images(self, labels: np.ndarray) -> ImageList:
        """The images that have a label."""
        names: list[str] = []  # by file and row; an image's size is the mean of its row group's, which are unread
        for number, (file, _) in enumerate(self.groups):
            names += [f"{self.paths[file].stem}/{row:08d}" for row in range(self.edges[number], self.edges[number + 1])]
        images = ImageList(Names.pack(names), labels, self.sizes, self.read)
        return images if (labels >= 0).all() else images.take(np.flatnonzero(labels >= 0))

    def read(self, i: int) -> bytes:
        """The bytes of image i.

        Raises:
            OSError: A file is gone or damaged.
        """
        number = int(np.searchsorted(self.edges, i, "right")) - 1
        try:
            found = self._column(number)[i - int(self.edges[number])].as_py()
        except DataError as error:
            raise OSError(errno.EIO, str(error)) from error
        if found is None:
            raise OSError(errno.EIO, "the row holds no bytes of a picture")
        return found

    def _column(self, number: int) -> "pyarrow.ChunkedArray":
        """The images of a row group."""
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
            file, group = self.groups[number]
            with _damage_of(self.paths[file]):
                column = self._opened(self.paths[file]).read_row_group(group, columns=[self.image])[self.image]
                if self.inside:
                    column = column.combine_chunks().field("bytes")
            self._kept[number] = column
            while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
            return column


@contextmanager
def _damage_of(path: Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, *DAMAGED) as error:
        if (kind := file_kind(path)) in (LFS, EMPTY):
            raise DataError(f"{path} is {kind.description}.") from error
        raise DataError(f"{path} is damaged or no parquet file. Copy or download it again.") from error


def _opened(path: Path) -> "pyarrow.parquet.ParquetFile":
    """A file with its metadata.

    Raises:
        DataError: It is damaged or no parquet file.
    """
    import pyarrow.parquet

    with _damage_of(path):
        return pyarrow.parquet.ParquetFile(path, memory_map=False)


def _image_column(schema: "pyarrow.Schema", path: Path) -> tuple[str, bool]:
    """The column of images, and whether their bytes are a field of it.

    Raises:
        DataError: There is none, or more than one.
    """
    import pyarrow

    found = []
    for field in schema:
        if pyarrow.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            found.append((field.name, True))
        elif pyarrow.types.is_binary(field.type) or pyarrow.types.is_large_binary(field.type):
            found.append((field.name, False))
    if len(found) != 1:
        says = f"{len(found)} columns" if found else "no column"
        raise DataError(f"{path} has {says} with the bytes of images, among {some(schema.names, 4)}.")
    return found[0]


def _label_column(schema: "pyarrow.Schema", image: str, path: Path) -> str:
    """The column of labels: one called so, or the only other one of whole numbers or text.

    Raises:
        DataError: There is none, or none that is clear.
    """
    import pyarrow

    fitting = [
        field.name
        for field in schema
        if field.name != image
        and (pyarrow.types.is_integer(field.type) or pyarrow.types.is_string(field.type)
             or pyarrow.types.is_large_string(field.type) or pyarrow.types.is_dictionary(field.type))
    ]  # fmt: skip
    for name in LABELS_FIRST:
        if name in fitting:
            return name
    called = [name for name in fitting if name.lower().replace("_", "") in LABEL_COLUMNS]
    if len(called or fitting) != 1:
        raise DataError(f"{path} has no column called label, among {some(schema.names, 4)}.")
    return (called or fitting)[0]


def _class_names(schema: "pyarrow.Schema", label: str) -> tuple[str, ...]:
    """The class names that Hugging Face's datasets keep in a file; () where there are none."""
    try:
        facts = json.loads((schema.metadata or {})[b"huggingface"])
        names = facts["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) and len(names) > 1 else ()
