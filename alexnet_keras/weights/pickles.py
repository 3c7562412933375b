"""Pickles of others, read without running anything that they ask for.

A pickle is a program: its names are looked up in a table of stand-ins, which only put data together. Any other name
ends the reading or, where something else than weights may stand, becomes a `Placeholder`, which does nothing. Before
that the pickle's instructions are listed without being followed, because Python's reader takes memory for as many bytes
or memo entries as a pickle claims to have.
"""

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

MEMO_INSTRUCTIONS = ("PUT", "BINPUT", "LONG_BINPUT")
MOST_PLACEHOLDERS = 1000  # names, each of which takes a class of Python's


class Refused(ValueError):
    """A file that is damaged, or whose pickle asks for what its reader does not allow; the message says which."""


class StandIn(NamedTuple):
    """Takes the place of a name in a pickle: a function with the same arguments, which a pickle cannot change."""

    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


class Placeholder:
    """Takes the place of a name that is not allowed, and of all that a pickle makes with it; does nothing.

    Attributes:
        asked: The name.
        state: The state that the pickle gave the object, as data.
    """

    asked = ""
    state: Any = None

    def __new__(cls, *_: Any, **__: Any) -> "Placeholder":
        """Make an object, whatever the arguments."""
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> "Placeholder":
        return type(self)()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Ignore what a pickle puts into a list, like the next two."""

    extend = add = append


def load(
    stream: io.BytesIO,
    allowed: Mapping[str, Any],
    persistent: Callable[[Any], Any] | None = None,
    encoding: str = "ASCII",
    placeholders: bool = False,
) -> Any:
    """Load the object that the pickle at a stream's position describes; the stream is left after it.

    Args:
        allowed: The stand-in of each allowed name, such as "collections.OrderedDict".
        persistent: Returns the stand-in of a reference to something outside the pickle.
        encoding: The encoding of strings of Python 2.
        placeholders: Let any other name become a `Placeholder`, rather than end the reading.

    Raises:
        Refused: The pickle is damaged, or names something else.
    """
    start = stream.tell()
    try:
        for instruction, argument, _ in pickletools.genops(stream):
            if instruction.name in MEMO_INSTRUCTIONS and (argument or 0) > len(stream.getbuffer()):
                raise Refused("it is damaged")
        end = stream.tell()
        stream.seek(start)
        unpickler = _Unpickler(stream, encoding=encoding)
        unpickler.allowed, unpickler.persistent = allowed, persistent
        unpickler.placeholders = {} if placeholders else None
        value = unpickler.load()
    except Refused:
        raise
    except Exception as error:  # a damaged pickle may fail in any way at all
        raise Refused(f"it is damaged ({str(error).strip() or type(error).__name__})") from error
    stream.seek(end)
    return value


class _Unpickler(pickle.Unpickler):
    allowed: Mapping[str, Any]
    persistent: Callable[[Any], Any] | None
    placeholders: dict[str, type[Placeholder]] | None

    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}"
        if asked in self.allowed:
            return self.allowed[asked]
        printed = "".join(letter for letter in asked if letter.isprintable())[:80]
        if self.placeholders is None:
            raise asks_for(printed)
        if asked not in self.placeholders:
            if len(self.placeholders) == MOST_PLACEHOLDERS:
                raise Refused(f"it asks for more than {MOST_PLACEHOLDERS:,} names that weights have no need of")
            self.placeholders[asked] = type("Placeholder", (Placeholder,), {"asked": printed})
        return self.placeholders[asked]

    def persistent_load(self, reference: Any) -> Any:
        if self.persistent is None:
            raise Refused("it refers to something outside itself")
        return self.persistent(reference)


def asks_for(name: str) -> Refused:
    """The refusal of a pickle that names something else than weights."""
    return Refused(f"it asks for {name}, which weights have no need of; nothing was run")
