"""Pickles read without running anything: no name in one reaches anything but what its reader allows.

A pickle is a program. Its names are looked up in a table of stand-ins, which only put data together; any other name
ends the reading. Before that its instructions are walked through without being followed, because Python's reader
takes memory for as many bytes or places as a pickle claims to have.
"""

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

MAKES_PLACES = ("PUT", "BINPUT", "LONG_BINPUT")


class Refused(ValueError):
    """A pickle that is damaged, or asks for what its reader does not allow; the message says which."""


class StandIn(NamedTuple):
    """What a name in a pickle becomes: a function of ours with the same arguments, which a pickle cannot change."""

    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def load(
    stream: io.BytesIO,
    allowed: Mapping[str, Any],
    persistent: Callable[[Any], Any] | None = None,
    encoding: str = "ASCII",
) -> Any:
    """The object that the pickle at a stream's position describes; the stream is left behind it.

    Args:
        allowed: what each allowed name, such as "collections.OrderedDict", becomes.
        persistent: what the pickle's references to things outside it become.
        encoding: of the strings of Python 2.

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
        found = _Unpickler(stream, allowed, persistent, encoding).load()
    except Refused:
        raise
    except Exception as error:  # a damaged pickle may fail in any way at all
        raise Refused(f"it is damaged ({str(error).strip() or type(error).__name__})") from error
    stream.seek(end)
    return found


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, allowed: Mapping[str, Any], persistent: Any, encoding: str) -> None:
        super().__init__(stream, encoding=encoding)
        self._allowed, self._persistent = allowed, persistent

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[f"{module}.{name}"]
        except KeyError:
            raise Refused(f"it asks for {module}.{name}, which weights have no need of; nothing was run") from None

    def persistent_load(self, reference: Any) -> Any:
        if self._persistent is None:
            raise Refused("it refers to something outside itself")
        return self._persistent(reference)
