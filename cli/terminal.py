"""Text on stdout and stderr: results, notes and warnings, readable at the terminal's width and in any encoding.

Sentences on a terminal are broken between words. Characters that a stream cannot encode are printed in ASCII, those of
names as Python's escapes: "\\u732b".
"""

import codecs
import errno
import io
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import click

IN_ASCII = "alexnet-keras-in-ascii"  # the registered name of in_ascii as a handler of encoding errors
ASCII = {"×": "x", "≈": "~", "…": "...", "–": "-", "−": "-", "→": "->", "±": "+/-", "“": '"', "”": '"', "’": "'"}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # in a file's name they would move the terminal's cursor

_quiet = False


def in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that a stream cannot encode: by similar ones in ASCII, or by Python's escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(ASCII.get(character) or ascii(character)[1:-1] for character in characters), error.end


codecs.register_error(IN_ASCII, in_ascii)


def print_in_any_encoding() -> None:
    """Let no later print fail because of the encoding of stdout or stderr, or because one of them is closed."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)  # so that no file that is opened later gets what libraries print
            setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=IN_ASCII)


def be_quiet(quiet: bool = True) -> None:
    """Print no notes and no progress from now on."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Return True if notes and progress are not printed."""
    return _quiet


def visible(text: str) -> str:
    """Return the text with its control characters, except tabs and newlines, as Python's escapes."""
    return CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def encodable(text: str) -> str:
    """Return the text as stdout prints it, so that columns have the width of their cells."""
    encoding = sys.stdout.encoding or "utf-8"
    return visible(text).encode(encoding, IN_ASCII).decode(encoding)


def fitted(text: str, file: IO[str]) -> str:
    """Return the text with its lines broken between words where they are longer than the terminal that shows them.

    Lines go on below the text of the first, and words that are too long stay whole, as do all lines of files and pipes.
    """
    if not file.isatty():
        return text
    width = shutil.get_terminal_size().columns

    def broken(line: str) -> str:
        if len(line) <= width:
            return line
        indent = line[: len(line) - len(line.lstrip())]
        return textwrap.fill(
            line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, expand_tabs=False
        )

    return "\n".join(map(broken, text.split("\n")))


# Click gets the stream: by default it writes UTF-8 even to a stream whose encoding is ASCII.
def result(text: str, *, fit: bool = True) -> None:
    """Print a line of the command's result on stdout; `fit=False` leaves it as it is, for programs and to be copied."""
    shown = visible(text)
    click.echo(fitted(shown, sys.stdout) if fit else shown, file=sys.stdout)


@contextmanager
def unread_allowed() -> Iterator[None]:
    """Let what prints on stderr go on, into nothing, where nobody reads any more: `| tee` or the terminal has ended.

    A training would else end with what it prints, and what it has learnt since the last saved state would be lost.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stderr.fileno())  # what is printed next, also by libraries
        os.close(nowhere)


def note(text: str) -> None:
    """Print a note on stderr, unless the command is quiet."""
    if not _quiet:
        with unread_allowed():
            click.echo(fitted(visible(text), sys.stderr), file=sys.stderr)


def warn(text: str) -> None:
    """Print a warning on stderr."""
    complain(f"Warning: {text}", "yellow")


def complain(text: str, color: str | None = None) -> None:
    """Print on stderr what has gone wrong, even if the command is quiet."""
    shown = fitted(visible(text), sys.stderr)
    with unread_allowed():
        click.secho(shown, fg=color, file=sys.stderr, color=False if os.environ.get("NO_COLOR") else None)
