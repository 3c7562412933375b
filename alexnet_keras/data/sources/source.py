"""What every source of images provides: class names, and for each split a list that can be read at random.

A list is kept in columns (names, labels, sizes) and not as one object an image, so that fourteen million images fit in
memory, and an image's bytes are only read when they are needed. Sources are narrowed (fewer classes, fewer images of
each) and a part of every class is held out for validation in the same way, whatever they are, and the names
that people give to splits (train, Training, test_set, seg_val, "01 Train Images") are known."""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np

from alexnet_keras.data.class_names import read_class_list
from alexnet_keras.errors import DataError

SPLITS = ("train", "val", "test")


# A split's name in one word: train, Training, trainset, validation, testimages.
_SPLIT_WORD = re.compile(
    r"(?:(?P<train>train|training|trn|trainval)|(?P<val>val|valid|validation|validate|dev|eval|evaluation|holdout)"
    r"|(?P<test>test|testing|tst))(?:set|data|dataset|images?|imgs?|pics|pictures?|photos?|split|folder|samples?)?s?"
)


# Words beside it that say nothing: training_set, "Train Images", 01-train-data.
FILLERS = frozenset((
    "set", "sets", "data", "dataset", "datasets", "image", "images", "img", "imgs", "pic", "pics", "picture",
    "pictures", "photo", "photos", "split", "splits", "folder", "folders", "dir", "sample", "samples", "all",
))  # fmt: skip


def split_names(names: Iterable[str]) -> dict[str, str]:
    """Which of these folders are called as splits are: {"Training": "train", "seg_test": "test"}.

    Other words in a name have to say nothing ("training set") or be the same in the name of another split
    ("seg_train" beside "seg_test").
    """
    found = {name: split for name in names if (split := split_of(name))}
    return {
        name: split
        for name, (split, others) in found.items()
        if not others or any(others == rest and split != kind for kind, rest in found.values())
    }


def split_of(name: str) -> tuple[str, frozenset[str]] | None:
    """The split that a name has the word of, and its other words; None where it has none, or two."""
    words = words_of_name(name)
    splits = [match.lastgroup for word in words if (match := _SPLIT_WORD.fullmatch(word)) and match.lastgroup]
    others = frozenset(word for word in words if not _SPLIT_WORD.fullmatch(word)) - FILLERS
    if splits == ["train", "val"]:  # train_val2019: what is trained on in the end
        splits = ["train"]
    return (splits[0], others) if len(splits) == 1 else None


def words_of_name(name: str) -> list[str]:
    """The words of a folder's name, in lower case: ["train", "images"] of "01_trainImages"."""
    return re.findall(r"[^\W\d_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())


def split_word(text: str) -> str | None:
    """The split that a word of a table names: "val" of "Validation"."""
    return (split_of(text) or (None,))[0]


ESCAPE = "surrogateescape"  # what Python does with file names that are not UTF-8


class Names(Sequence):
    """An immutable list of strings, kept as one run of UTF-8 bytes.

    A list of `str` takes 80 bytes a name; this takes the name and eight bytes, which is what lets fourteen million
    of them be planned on a laptop.
    """

    def __init__(self, text: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> None:
        """Names `text[starts[i]:stops[i]]`; `text` is uint8, the others integers of any kind."""
        self._text, self._starts, self._stops = text, starts, stops

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
        """Names that stand one after the other."""
        kind = np.uint32 if len(text) < 2**32 else np.int64
        edges = np.zeros(len(lengths) + 1, kind)
        np.cumsum(lengths, out=edges[1:], dtype=kind)
        return cls(text, edges[:-1], edges[1:])

    @property
    def text(self) -> np.ndarray:
        """Where the names stand, uint8."""
        return self._text

    @property
    def lengths(self) -> np.ndarray:
        """(n,) bytes of each name."""
        return self._stops - self._starts

    def take(self, indices: np.ndarray) -> "Names":
        """The names at these indices, in this order; the text is shared."""
        return Names(self._text, self._starts[indices], self._stops[indices])

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> "Names": ...

    def __getitem__(self, index: int | slice) -> "str | Names":
        if isinstance(index, slice):
            return Names(self._text, self._starts[index], self._stops[index])
        return self._text[int(self._starts[index]) : int(self._stops[index])].tobytes().decode("utf-8", ESCAPE)

    def __iter__(self) -> Iterator[str]:
        text = self._text.data
        step = 1 << 16
        for first in range(0, len(self), step):
            starts, stops = self._starts[first : first + step].tolist(), self._stops[first : first + step].tolist()
            for start, stop in zip(starts, stops, strict=True):
                yield str(text[start:stop], "utf-8", ESCAPE)


class NamePacker:
    """Packs names as they are found."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._lengths: list[np.ndarray] = []

    def extend(self, names: Iterable[str]) -> None:
        """Append names."""
        encoded = [name.encode("utf-8", ESCAPE) for name in names]
        self._text += b"".join(encoded)
        self._lengths.append(np.fromiter(map(len, encoded), np.uint32, len(encoded)))

    def names(self) -> Names:
        """What was appended so far."""
        lengths = np.concatenate([np.zeros(0, np.uint32), *self._lengths])
        return Names.from_lengths(np.frombuffer(self._text, np.uint8), lengths)


def printable(name: str) -> str:
    """The name as TFDS can store it: valid UTF-8, on one line."""
    return name.encode("utf-8", "backslashreplace").decode().replace("\n", "\\n").replace("\r", "\\r")


@dataclass(frozen=True)
class ImageList:
    """The images of one split, in a fixed order.

    Attributes:
        filenames: A name for each image, unique in the split, such as "cat/0001.jpg".
        labels: (n,) int32, the index of each image's class.
        sizes: (n,) integers, the encoded size in bytes.
        read: The encoded bytes of image i; raises OSError where they cannot be had.
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


class Index(Protocol):
    """What is known of files before they have labels: the files of a group (a synset) stand together."""

    @property
    def groups(self) -> tuple[str, ...]: ...
    @property
    def counts(self) -> np.ndarray: ...  # (groups,) int64
    @property
    def names(self) -> Names: ...
    @property
    def sizes(self) -> np.ndarray: ...  # (n,) integers, bytes

    def read(self, i: int) -> bytes: ...


def images_of(index: Index, labels: Iterable[int]) -> ImageList:
    """The images of an index, with a label for each group; groups with the label -1 are left out."""
    repeated = np.repeat(np.fromiter(labels, np.int32, len(index.groups)), index.counts)
    images = ImageList(index.names, repeated, index.sizes, index.read)
    return images if (repeated >= 0).all() else images.take(np.flatnonzero(repeated >= 0))


@dataclass(frozen=True)
class Source:
    """A set of labelled images.

    Attributes:
        given: The source as the user named it: "demo", "folder:photos", "tfds:cifar10".
        classes: Class names; the index is the label.
        splits: "train", "val" and perhaps "test".
        words: What each class is called in words ("tench, Tinca tinca"), where its name is a WordNet id; else ().
        ids: The ILSVRC id, 1 to 1000, of each class, where the source has the devkit that says so; else ().
        options: The choices that decided the splits, to be named where two preparations differ.
        notes: What the user should know about how the splits were found.
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

        Sizes stand in for contents, because reading ImageNet only to see that nothing changed takes as long
        as preparing it.
        """
        digest = hashlib.sha256("\n".join(self.classes).encode("utf-8", "surrogateescape"))
        for split, images in self.splits.items():
            digest.update(f"\n{split}\n".encode())
            for name, label, size in zip(images.filenames, images.labels, images.sizes, strict=True):
                digest.update(f"{name}\0{label}\0{size}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def select_classes(source: Source, classes: Path) -> Source:
    """The classes that a file names, in the source's order; words of the file become the classes' words.

    Raises:
        UsageError: There is no such file.
        DataError: It names a class that the source does not have, or fewer than two.
    """
    chosen = read_class_list(classes, frozenset(source.classes))
    if len(chosen) < 2:
        raise DataError(f"{classes} names one class. At least two are needed to tell apart.")
    kept = [label for label, name in enumerate(source.classes) if name in chosen]
    new_label = np.full(len(source.classes), -1, np.int32)
    new_label[kept] = np.arange(len(kept), dtype=np.int32)
    splits = {}
    for split, images in source.splits.items():
        taken = images.take(np.flatnonzero(new_label[images.labels] >= 0))
        splits[split] = dataclasses.replace(taken, labels=new_label[taken.labels])
        if not len(taken):
            raise DataError(f"The {split} split of {source.given} has no image of the classes in {classes}.")
    names = tuple(source.classes[label] for label in kept)
    before = dict(zip(source.classes, source.words, strict=True)) if source.words else {}
    words = tuple(chosen[name] or before.get(name, name) for name in names)
    return dataclasses.replace(source, classes=names, splits=splits, words=words if words != names else ())


def limit_per_class(source: Source, limit: int, seed: int) -> Source:
    """At most `limit` images of each class in each split.

    They are the first in an order that depends on the seed, the class's name and the image's alone, so that one more
    image replaces one of those chosen before at most.
    """
    splits = {}
    for split, images in source.splits.items():
        order = np.lexsort((drawn(images, source.classes, seed), images.labels))
        labels = images.labels[order]
        place_in_class = np.arange(len(order)) - np.searchsorted(labels, labels)
        splits[split] = images.take(np.sort(order[place_in_class < limit]))
    return dataclasses.replace(source, splits=splits, options={**source.options, "limit_per_class": limit})


DEFAULT_HOLDOUT = 0.2


def hold_out(images: ImageList, classes: Sequence[str], fraction: float, seed: int) -> dict[str, ImageList]:
    """Split images into "train" and "val", each by its own draw.

    Whether an image is held out depends on the seed, its class's name and its own name alone, so that images and
    classes that are added later move none of those that were there. A class gives about n * fraction of its n images
    to "val". One of which none, or all, would be held out gives its first, or all but its last; a class of one image
    gives none.

    Args:
        images: All images.
        classes: The class names that the labels count.
        fraction: The part to hold out, 0..1.
        seed: Any non-negative number.
    """
    draws = drawn(images, classes, seed)
    held = draws < fraction
    order = np.lexsort((draws, images.labels))
    _, starts = np.unique(images.labels[order], return_index=True)
    for members in np.split(order, starts[1:]):
        if len(members):
            held[members[0]] = True
            held[members[-1]] = False
    return {"train": images.take(np.flatnonzero(~held)), "val": images.take(np.flatnonzero(held))}


def with_validation(
    splits: dict[str, ImageList], classes: Sequence[str], fraction: float, seed: int, place: object, what: str
) -> tuple[dict[str, Any], str]:
    """Gives a source without "val" one: its "test", or else a part of "train".

    Args:
        splits: "train", and perhaps "test"; "val" is added.
        classes: The class names that the labels count.
        fraction: The part to hold out, 0..1.
        seed: Any non-negative number.
        place: What to call the source in a sentence.
        what: What to call a split in it: "folder".

    Returns:
        The options that decided it, and a note; both empty where there was "val" already.

    Raises:
        DataError: No class has an image to spare.
    """
    options, note = {}, ""
    if "val" not in splits and "test" in splits:
        splits["val"] = splits.pop("test")
        note = f"{place} has no validation {what}; its test {what} is used for validation."
    elif "val" not in splits:
        options = {"holdout": fraction}
        splits |= hold_out(splits["train"], classes, fraction, seed)
        note = f"{place} has no validation {what}; {fraction:.0%} of every class is held out."
    if not len(splits["val"]):
        raise DataError(f"Every class in {place} has a single image, so none can be held out for validation.")
    return options, note


def drawn(images: ImageList, classes: Sequence[str], seed: int) -> np.ndarray:
    """A number 0..1 for each image, float64, that depends on the seed, its class's name and its own name alone."""
    of_class = [
        hashlib.blake2b(f"{seed}\0{name}\0".encode("utf-8", "surrogateescape"), digest_size=8) for name in classes
    ]
    found = np.empty(len(images), np.uint64)
    for index, (name, label) in enumerate(zip(images.filenames, images.labels.tolist(), strict=True)):
        digest = of_class[label].copy()
        digest.update(name.encode("utf-8", "surrogateescape"))
        found[index] = int.from_bytes(digest.digest(), "big")
    return found / 2.0**64
