"""Millions of file names in little memory."""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np

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


def some(names: Iterable[str], shown: int = 5) -> str:
    """A few of the names and how many more there are, for a sentence."""
    names = list(names)
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more:,} more" if more > 0 else "")
