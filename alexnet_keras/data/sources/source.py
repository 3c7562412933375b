"""The interface of all sources of images: class names, and for each split a list of images that is read at random.

A list is kept in columns (names, labels, sizes) instead of one object per image, so that fourteen million images fit in
memory; an image's bytes are read when they are needed. The reduction to fewer classes or
images is here as well."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np

from alexnet_keras.data.class_names import read_class_list
from alexnet_keras.errors import DataError


def no_progress(n: int = 1, text: str = "") -> None:
    """The `Advance` of a listing whose progress nobody shows."""


ESCAPE = "surrogateescape"  # Python's handling of file names that are not UTF-8


class Names(Sequence):
    """An immutable list of strings, kept as one array of UTF-8 bytes.

    A list of `str` takes 80 bytes per name; this takes the name and eight bytes, so that fourteen million of them fit
    on a laptop.
    """

    def __init__(self, text: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> None:
        """Keep the names `text[starts[i]:stops[i]]`; `text` is uint8, the others integers of any kind."""
        self.text, self._starts, self._stops = text, starts, stops

    @classmethod
    def pack(cls, names: Iterable[str]) -> "Names":
        """Pack strings."""
        if isinstance(names, Names):
            return names
        packer = NamePacker()
        packer.extend(names)
        return packer.names()

    @classmethod
    def from_lengths(cls, text: np.ndarray, lengths: np.ndarray) -> "Names":
        """Names that follow each other in `text`, (bytes,) uint8, with their lengths in bytes."""
        kind = np.uint32 if len(text) < 2**32 else np.int64
        edges = np.zeros(len(lengths) + 1, kind)
        np.cumsum(lengths, out=edges[1:], dtype=kind)
        return cls(text, edges[:-1], edges[1:])

    @property
    def lengths(self) -> np.ndarray:
        """The length of each name, (n,), in bytes."""
        return self._stops - self._starts

    def take(self, indices: np.ndarray) -> "Names":
        """The names at these indices, in this order; the text is shared."""
        return Names(self.text, self._starts[indices], self._stops[indices])

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> "Names": ...

    def __getitem__(self, index: int | slice) -> "str | Names":
        if isinstance(index, slice):
            return Names(self.text, self._starts[index], self._stops[index])
        return self.text[int(self._starts[index]) : int(self._stops[index])].tobytes().decode("utf-8", ESCAPE)

    def __iter__(self) -> Iterator[str]:
        text = self.text.data
        step = 1 << 16
        for first in range(0, len(self), step):
            starts, stops = self._starts[first : first + step].tolist(), self._stops[first : first + step].tolist()
            for start, stop in zip(starts, stops, strict=True):
                yield str(text[start:stop], "utf-8", ESCAPE)


class NamePacker:
    """Packs names while they are being collected."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._lengths: list[np.ndarray] = []

    def extend(self, names: Iterable[str]) -> None:
        """Append names."""
        encoded = [name.encode("utf-8", ESCAPE) for name in names]
        self._text += b"".join(encoded)
        self._lengths.append(np.fromiter(map(len, encoded), np.uint32, len(encoded)))

    def names(self) -> Names:
        """The names that were appended so far."""
        lengths = np.concatenate([np.zeros(0, np.uint32), *self._lengths])
        return Names.from_lengths(np.frombuffer(self._text, np.uint8), lengths)


def printable(name: str) -> str:
    """The name in a form that TFDS can store: valid UTF-8, on one line."""
    return name.encode("utf-8", "backslashreplace").decode().replace("\n", "\\n").replace("\r", "\\r")


@dataclass(frozen=True)
class ImageList:
    """The images of one split, in a fixed order.

    Attributes:
        filenames: A name for each image, unique in the split, such as "cat/0001.jpg".
        labels: (n,) int32, the index of each image's class.
        sizes: (n,) integers, the encoded size in bytes.
        read: Returns the encoded bytes of image i; raises OSError if they cannot be read.
    """

    filenames: Sequence[str]
    labels: np.ndarray
    sizes: np.ndarray
    read: Callable[[int], bytes]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "ImageList":
        """The images at these indices, in this order."""
        return ImageList(
            filenames=Names.pack(self.filenames).take(indices),
            labels=self.labels[indices],
            sizes=self.sizes[indices],
            read=lambda i: self.read(int(indices[i])),
        )

    def relabelled(self, labels: np.ndarray) -> "ImageList":
        """The images with other labels, (n,) int32; those with the label -1 are left out."""
        images = dataclasses.replace(self, labels=labels)
        return images if (labels >= 0).all() else images.take(np.flatnonzero(labels >= 0))


@dataclass(frozen=True)
class Source:
    """A set of labelled images.

    Attributes:
        given: The source as the user named it: "demo", "folder:photos", "tfds:cifar10".
        classes: Class names; the index is the label.
        splits: "train", "val" and perhaps "test".
        words: Each class's name in words ("tench, Tinca tinca") if the names are WordNet ids; else ().
        ids: Each class's ILSVRC id, 1 to 1000, if the source has a devkit; else ().
        options: The choices that decided the splits, to be listed where two preparations differ.
        notes: Sentences for the user about how the source was read.
    """

    given: str
    classes: tuple[str, ...]
    splits: dict[str, ImageList]
    words: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def digest(self) -> str:
        """SHA-256 over class names and every image's split, name, label and size.

        Sizes stand for contents, because reading ImageNet only to see that nothing changed takes as long as preparing
        it.
        """
        digest = hashlib.sha256("\n".join(self.classes).encode("utf-8", ESCAPE))
        for split, images in self.splits.items():
            digest.update(f"\n{split}\n".encode())
            for name, label, size in zip(images.filenames, images.labels, images.sizes, strict=True):
                digest.update(f"{name}\0{label}\0{size}\n".encode("utf-8", ESCAPE))
        return digest.hexdigest()


def check_classes(classes: Sequence[str], place: object) -> None:
    """Raise a DataError that names `place` unless there are two classes at least."""
    if len(classes) < 2:
        named = f"one class, {classes[0]!r}" if classes else "no classes"
        raise DataError(f"{place} has {named}. At least two are needed.")


def select_classes(source: Source, classes: Path) -> Source:
    """Keep the classes that a file names, in the source's order; words in the file become the classes' words.

    Raises:
        UsageError: There is no such file.
        DataError: It names a class that the source does not have, or fewer than two.
    """
    chosen = read_class_list(classes, frozenset(source.classes))
    check_classes(list(chosen), classes)
    kept = [label for label, name in enumerate(source.classes) if name in chosen]
    new_label = np.full(len(source.classes), -1, np.int32)
    new_label[kept] = np.arange(len(kept), dtype=np.int32)
    splits = {split: images.relabelled(new_label[images.labels]) for split, images in source.splits.items()}
    if empty := [split for split, images in splits.items() if not len(images)]:
        raise DataError(f"The {empty[0]} split of {source.given} has no image of the classes in {classes}.")
    names = tuple(source.classes[label] for label in kept)
    before = dict(zip(source.classes, source.words, strict=True)) if source.words else {}
    words = tuple(chosen[name] or before.get(name, name) for name in names)
    return dataclasses.replace(source, classes=names, splits=splits, words=words if words != names else ())


def limit_per_class(source: Source, limit: int, seed: int) -> Source:
    """Keep at most `limit` images of each class in each split.

    The images kept are the first in an order that depends only on the seed, the class's name and the image's name, so
    that adding an image replaces at most one of those chosen before.
    """
    splits = {}
    for split, images in source.splits.items():
        order = np.lexsort((drawn(images, source.classes, seed), images.labels))
        labels = images.labels[order]
        place_in_class = np.arange(len(order)) - np.searchsorted(labels, labels)
        splits[split] = images.take(np.sort(order[place_in_class < limit]))
    return dataclasses.replace(source, splits=splits, options={**source.options, "limit_per_class": limit})


def drawn(images: ImageList, classes: Sequence[str], seed: int) -> np.ndarray:
    """A number 0..1 per image, (n,) float64, that depends only on the seed, its class's name and its own name."""
    of_class = [hashlib.blake2b(f"{seed}\0{name}\0".encode("utf-8", ESCAPE), digest_size=8) for name in classes]
    numbers = np.empty(len(images), np.uint64)
    for index, (name, label) in enumerate(zip(images.filenames, images.labels.tolist(), strict=True)):
        digest = of_class[label].copy()
        digest.update(name.encode("utf-8", ESCAPE))
        numbers[index] = int.from_bytes(digest.digest(), "big")
    return numbers / 2.0**64
