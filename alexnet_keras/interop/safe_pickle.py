"""Pickles read without running anything: no name in one reaches anything but what its reader allows.

A pickle is a program. Its names are looked up in a table of stand-ins, which only put data together; any other name
ends the reading, or becomes an `Unlisted`, which does nothing, where something else than weights may stand beside
them. Before that its instructions are walked through without being followed, because Python's reader takes memory for
as many bytes or places as a pickle claims to have.
"""

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

MAKES_PLACES = ("PUT", "BINPUT", "LONG_BINPUT")
MOST_UNLISTED = 1000  # names, each of which takes a class of Python's


class Refused(ValueError):
    """A pickle that is damaged, or asks for what its reader does not allow; the message says which."""


class StandIn(NamedTuple):
    """What a name in a pickle becomes: a function of ours with the same arguments, which a pickle cannot change."""

    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


class Unlisted:
    """What stands for a name that is not allowed and all that a pickle makes with it: it does nothing.

    Attributes:
        asked: The name.
        state: What the pickle gave the object, as data.
    """

    asked = ""
    state: Any = None

    def __new__(cls, *_: Any, **__: Any) -> "Unlisted":
        """An object, whatever its arguments."""
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> "Unlisted":
        return type(self)()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Takes what a pickle puts into a list, like the next two."""

    extend = add = append


def asks_for(unlisted: Unlisted | type[Unlisted]) -> Refused:
    """Where weights should be: that a pickle asks for something else."""
    return Refused(f"it asks for {unlisted.asked}, which weights have no need of; nothing was run")


def load(
    stream: io.BytesIO,
    allowed: Mapping[str, Any],
    persistent: Callable[[Any], Any] | None = None,
    encoding: str = "ASCII",
    unlisted: bool = False,
) -> Any:
    """The object that the pickle at a stream's position describes; the stream is left behind it.

    Args:
        allowed: what each allowed name, such as "collections.OrderedDict", becomes.
        persistent: what the pickle's references to things outside it become.
        encoding: of the strings of Python 2.
        unlisted: whether any other name becomes an `Unlisted`, rather than the end of the reading.

    Raises:
        Refused: the pickle is damaged, or names something else.
    """
    start = stream.tell()
    try:
        for instruction, argument, _ in pickletools.genops(stream):
            if instruction.name in MAKES_PLACES and (argument or 0) > len(stream.getbuffer()):
                raise Refused("it is damaged")
        end = stream.tell()
        stream.seek(start)
        found = _Unpickler(stream, allowed, persistent, encoding, unlisted).load()
    except Refused:
        raise
    except Exception as error:  # a damaged pickle may fail in any way at all
        raise Refused(f"it is damaged ({str(error).strip() or type(error).__name__})") from error
    stream.seek(end)
    return found


class _Unpickler(pickle.Unpickler):
    def __init__(
        self, stream: io.BytesIO, allowed: Mapping[str, Any], persistent: Any, encoding: str, unlisted: bool
    ) -> None:
        super().__init__(stream, encoding=encoding)
        self._allowed, self._persistent = allowed, persistent
        self._unlisted: dict[str, type[Unlisted]] | None = {} if unlisted else None

    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}"
        if asked in self._allowed:
            return self._allowed[asked]
        printed = "".join(letter for letter in asked if letter.isprintable())[:80]
        if self._unlisted is None:
            raise asks_for(type("Unlisted", (Unlisted,), {"asked": printed}))
        if asked not in self._unlisted:
            if len(self._unlisted) == MOST_UNLISTED:
                raise Refused(f"it asks for more than {MOST_UNLISTED:,} names that weights have no need of")
            self._unlisted[asked] = type("Unlisted", (Unlisted,), {"asked": printed})
        return self._unlisted[asked]

    def persistent_load(self, reference: Any) -> Any:
        if self._persistent is None:
            raise Refused("it refers to something outside itself")
        return self._persistent(reference)
