"""The decoded training images of a dataset, in memory or in a file, so that no epoch decodes them again.

They are decoded once, in stored order, before the first epoch. A file appears by rename, belongs to one fingerprint,
and serves every later run; where it is removed it is made again. Crops are cut from either without a copy of the image.
"""

import dataclasses
import math
import re
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alexnet_keras.data import CACHES
from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.images import IMAGE_SIZE
from alexnet_keras.errors import DAMAGED, UsageError
from alexnet_keras.reporter import SILENT, Reporter
from alexnet_keras.storage.files import allocate, write_by_rename
from alexnet_keras.storage.kept import kept

if TYPE_CHECKING:
    import tensorflow as tf

PREFIX = "decoded-"  # of the file's name, before the start of the dataset's fingerprint
ROW = 3 * IMAGE_SIZE  # bytes of a row of pixels
IMAGE_BYTES = ROW * IMAGE_SIZE  # 196,608
ALIGNMENT = 4096  # bytes: TensorFlow would copy memory that begins elsewhere
BATCH = 128  # images that are decoded at once
_AVAILABLE = Path("/proc/meminfo")
_GROUP, _GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


@dataclass(frozen=True, eq=False)
class DecodedImages:
    """The images and labels of a training split, in stored order.

    Attributes:
        rows: (256 examples + the rows of the labels, 768) uint8: the rows of every image, then the labels, int64.
        examples: Number of images.
    """

    rows: np.ndarray
    examples: int

    @cached_property
    def labels(self) -> np.ndarray:
        """(examples,) int64."""
        return self.rows[self.examples * IMAGE_SIZE :].reshape(-1).view(np.int64)[: self.examples]

    @cached_property
    def _tensors(self) -> tuple["tf.Tensor", "tf.Tensor"]:
        """`rows`, of the same memory, and `labels`."""
        import tensorflow as tf

        with tf.init_scope():  # not constants of the graph that reads them
            rows = tf.experimental.dlpack.from_dlpack(np.asarray(_Lent(self.rows)).__dlpack__())
            return rows, tf.constant(self.labels)

    def crop(
        self, example: "tf.Tensor", top: "tf.Tensor", left: "tf.Tensor", height: "tf.Tensor", width: "tf.Tensor"
    ) -> tuple["tf.Tensor", "tf.Tensor"]:
        """The (height, width, 3) uint8 crop of an example whose upper left corner is at (top, left), and its label."""
        import tensorflow as tf

        rows, labels = self._tensors
        first = example * IMAGE_SIZE + tf.cast(top, tf.int64)
        lines = tf.slice(rows, [first, 0], tf.cast([height, ROW], tf.int64))  # of the same memory
        image = tf.slice(tf.reshape(lines, [height, IMAGE_SIZE, 3]), [0, left, 0], [height, width, 3])
        return image, labels[example]


class _Lent:
    """Read-only memory as NumPy hands it on: DLPack knows none such, and TensorFlow writes to no input."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array  # stays as long as the memory is in use
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def cached(
    data: PreparedDataset, cache: str | None, folder: str | Path | None = None, reporter: Reporter = SILENT
) -> PreparedDataset:
    """The dataset with its training images decoded, which gives the same batches sooner.

    Args:
        data: The dataset.
        cache: "memory", "disk", or None for the dataset as it is.
        folder: The directory of the file for "disk"; None for the dataset's.
        reporter: Receives the size beforehand, and the progress.

    Raises:
        UsageError: The memory or the disk has no room, or an argument is wrong.
        DataError: A record is damaged.
        OSError: The file cannot be written.
    """
    if cache not in (None, *CACHES):
        raise UsageError(f"There is no cache {cache!r}: choose {' or '.join(CACHES)}.")
    if folder is not None and cache != "disk":
        raise UsageError("--cache-dir goes with --cache disk.")
    if cache is None:
        return data
    examples = data.examples("train")
    if cache == "memory":
        _announce(data, "memory", free_memory(), "use --cache disk, or none", reporter)
        rows = _aligned(_shape(examples))
        _fill(rows, data, reporter)
    else:
        path = cache_path(data, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = kept(
            lambda: _read(path, data, reporter),
            lambda: _write(path, data, reporter),
            lock=path.with_suffix(".lock"),
            on_wait=lambda: reporter.note(f"Waiting for another process that writes {path}."),
        )
    return dataclasses.replace(data, decoded=DecodedImages(rows, examples))


def cache_path(data: PreparedDataset, folder: str | Path | None = None) -> Path:
    """The file of a dataset's decoded images in a directory, by default the dataset's."""
    return Path(folder or data.path) / f"{PREFIX}{data.fingerprint[:16]}.npy"


def free_memory() -> int | None:
    """Bytes of memory that this process can still take; None where the system does not say it."""
    if not _AVAILABLE.exists():
        return None
    found = re.search(r"^MemAvailable:\s*(\d+) kB$", _AVAILABLE.read_text(encoding="utf-8"), re.MULTILINE)
    free = [int(found[1]) * 1024] if found else []
    group = re.search(r"^0::(.*)$", _GROUP.read_text(encoding="utf-8"), re.MULTILINE) if _GROUP.exists() else None
    if group:  # of a container, whose limit may be below what the machine has
        folder = _GROUPS / group[1].lstrip("/")
        limit = folder / "memory.max"
        if limit.exists() and (most := limit.read_text(encoding="utf-8").strip()) != "max":
            used, kinds = ((folder / f"memory.{name}").read_text(encoding="utf-8") for name in ("current", "stat"))
            files = re.findall(r"^(?:in)?active_file (\d+)$", kinds, re.MULTILINE)  # which the system can drop
            free.append(int(most) - int(used) + sum(map(int, files)))
    return min(free, default=None)


def _shape(examples: int) -> tuple[int, int]:
    return (examples * IMAGE_SIZE + -(-8 * examples // ROW), ROW)


def _announce(data: PreparedDataset, where: str, free: int | None, remedy: str, reporter: Reporter) -> None:
    """Report the size of what is about to be kept.

    Raises:
        UsageError: There is no room for it.
    """
    examples = data.examples("train")
    size = f"{examples:,} decoded images take {examples * IMAGE_BYTES / 1e9:,.2f} GB ({IMAGE_BYTES:,} bytes each)"
    if free is not None and math.prod(_shape(examples)) > free:
        raise UsageError(f"{size}, and {where} has {free / 1e9:,.2f} GB free: {remedy}.")
    reporter.note(f"{size}: keeping them in {where}.")


def _aligned(shape: tuple[int, int]) -> np.ndarray:
    size = shape[0] * shape[1]
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].reshape(shape)


def _read(path: Path, data: PreparedDataset, reporter: Reporter) -> np.ndarray | None:
    """The rows of a file; None where there is none, or no whole one of this dataset."""
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGED:
        return None
    examples, counts = data.examples("train"), data.class_counts("train")
    if rows.dtype != np.uint8 or rows.shape != _shape(examples):
        return None
    labels = DecodedImages(rows, examples).labels
    if labels.min() < 0 or np.bincount(labels, minlength=len(counts)).tolist() != counts:
        return None
    reporter.note(f"Using the decoded images in {path}.")
    return rows


def _write(path: Path, data: PreparedDataset, reporter: Reporter) -> np.ndarray:
    free = shutil.disk_usage(path.parent).free
    _announce(data, str(path.parent), free, "choose another --cache-dir", reporter)
    with write_by_rename(path) as partial:
        rows = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=_shape(data.examples("train")))
        allocate(partial)
        _fill(rows, data, reporter)
        rows.flush()
    return rows  # not opened again: it may be removed at any time


def _fill(rows: np.ndarray, data: PreparedDataset, reporter: Reporter) -> None:
    """Decode the training images into the rows."""
    from alexnet_keras.data.pipeline import evaluation_batches

    examples, done = data.examples("train"), 0
    labels = DecodedImages(rows, examples).labels
    pixels = rows[: examples * IMAGE_SIZE].reshape(examples, IMAGE_SIZE, IMAGE_SIZE, 3)
    with reporter.progress("decoding", examples) as advance:
        for images, classes, _ in evaluation_batches(data, "train", BATCH):
            number = len(classes)
            pixels[done : done + number] = images
            labels[done : done + number] = classes
            done += number
            advance(number)
