"""The errors a user can cause. Each is one sentence: what is wrong, where, and what to do.

The command line prints the sentence and ends with the class's exit code: 1 failed, 2 wrong usage, 3 bad data,
4 training diverged, and 130 where it was interrupted. Nothing else in the package needs exit codes.
"""

import csv
import operator
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from typing import Any

INTERRUPTED = 130  # the exit code after Ctrl-C or SIGTERM

# What Python and NumPy raise at damaged files: of text, numbers and archives, and of headers that are read as Python.
DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    csv.Error,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


class AlexNetError(Exception):
    """Something failed that the user can understand and act on (exit code 1)."""

    exit_code = 1

    def __init__(self, sentence: str) -> None:
        super().__init__(" ".join(str(sentence).split()))  # what it quotes of a library may have several lines


class UsageError(AlexNetError):
    """A name or option that does not exist: a path, run, recipe, field or layer (exit code 2)."""

    exit_code = 2


class DataError(AlexNetError):
    """Data that exists and cannot be used: damaged, empty, inconsistent (exit code 3)."""

    exit_code = 3


class NotFiniteError(DataError):
    """A network's weights or outputs are not finite: no error, class or neighbour can be computed (exit code 3)."""


class DivergedError(AlexNetError):
    """Training left the finite numbers (exit code 4)."""

    exit_code = 4


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Refuse an argument that is none of its choices.

    Raises:
        UsageError: It is none.
    """
    choices = list(choices)
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(map(repr, choices))}. Received: {name}={value!r}")


def plain_number(value: Any) -> Any:
    """Return NumPy's numbers, also in a tuple or list, as Python's, which JSON and TOML have; others as they are."""
    if isinstance(value, tuple | list):
        return type(value)(map(plain_number, value))
    return value.item() if type(value).__module__ == "numpy" and value.shape == () else value


def whole_number(name: str, value: Any, least: int = 1, refusal: type[Exception] = ValueError) -> int:
    """Return an argument as an int. The default refusal is that of Keras's layers.

    Raises:
        refusal: It is no whole number, or below `least`.
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise refusal(f"{name} must be a whole number. Received: {name}={value!r}") from error
    if number < least:
        raise refusal(f"{name} must be at least {least}. Received: {name}={value!r}")
    return number
