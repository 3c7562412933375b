"""What every source of pictures answers with: class names, and for each split a list that can be read at
random.

A list is kept in columns (names, labels, sizes) and not as one object a picture, so that fourteen million
pictures fit in memory, and a picture's bytes are only read when asked for.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from alexnet_keras.data.sources.names import Names


@dataclass(frozen=True)
class Pictures:
    """The pictures of one split, in a fixed order.

    Attributes:
        filenames: A name for each picture, unique in the split, such as "cat/0001.jpg".
        labels: (n,) int32, the index of each picture's class.
        sizes: (n,) integers, the encoded size in bytes.
        read: The encoded bytes of picture i; raises OSError where they cannot be had.
    """

    filenames: Sequence[str]
    labels: np.ndarray
    sizes: np.ndarray
    read: Callable[[int], bytes]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "Pictures":
        """The pictures at these indices, in this order."""
        return Pictures(
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


def pictures_of(index: Index, labels: Iterable[int]) -> Pictures:
    """The pictures of an index, with a label for each group; groups with the label -1 are left out."""
    repeated = np.repeat(np.fromiter(labels, np.int32, len(index.groups)), index.counts)
    pictures = Pictures(index.names, repeated, index.sizes, index.read)
    return pictures if (repeated >= 0).all() else pictures.take(np.flatnonzero(repeated >= 0))


@dataclass(frozen=True)
class Source:
    """A set of labelled pictures.

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
    splits: dict[str, Pictures]
    words: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def digest(self) -> str:
        """SHA-256 over class names and every picture's split, name, label and size.

        Sizes stand in for contents, because reading ImageNet only to see that nothing changed takes as long
        as preparing it.
        """
        digest = hashlib.sha256("\n".join(self.classes).encode("utf-8", "surrogateescape"))
        for split, pictures in self.splits.items():
            digest.update(f"\n{split}\n".encode())
            for name, label, size in zip(pictures.filenames, pictures.labels, pictures.sizes, strict=True):
                digest.update(f"{name}\0{label}\0{size}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
