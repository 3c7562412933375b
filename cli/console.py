"""The output of every command: results on stdout, progress and notes on stderr.

Progress is a Rich bar with rate and time left where stderr is a terminal, else a plain line at intervals. Rich honours
NO_COLOR.

Characters that a stream cannot encode are printed in ASCII, those of names as Python's escapes: "\\u732b". JSON is
always ASCII.
"""

import codecs
import csv
import io
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from alexnet_keras.backend import require_tensorflow
from alexnet_keras.cli.training_progress import TrainingDisplay
from alexnet_keras.errors import AlexNetError
from alexnet_keras.reporter import Advance

PLAIN_INTERVAL = 30.0  # seconds between progress lines where stderr is no terminal
IN_ASCII = "alexnet-keras-in-ascii"  # the registered name of in_ascii as a handler of encoding errors
ASCII = {"×": "x", "≈": "~", "…": "...", "–": "-", "−": "-", "→": "->", "±": "+/-", "“": '"', "”": '"', "’": "'"}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # in a file's name they would move the terminal's cursor


def in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that a stream cannot encode: by similar ones in ASCII, or by Python's escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(ASCII.get(character) or ascii(character)[1:-1] for character in characters), error.end


codecs.register_error(IN_ASCII, in_ascii)


def print_in_any_encoding() -> None:
    """Let no later print fail because of the encoding of stdout or stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=IN_ASCII)


def visible(text: str) -> str:
    """Return the text with its control characters, except tabs and newlines, as Python's escapes."""
    return CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


# Click gets the stream: by default it writes UTF-8 even to a stream whose encoding is ASCII.
def result(text: str) -> None:
    """Print a line of the command's result on stdout."""
    click.echo(visible(text), file=sys.stdout)


def note(text: str) -> None:
    """Print a note on stderr."""
    click.echo(visible(text), file=sys.stderr)


def warn(text: str) -> None:
    """Print a warning on stderr."""
    click.secho(f"Warning: {visible(text)}", fg="yellow", file=sys.stderr)


def start_tensorflow(*, keras: bool = True) -> None:
    """Import TensorFlow, which takes seconds, without the messages that its libraries print at import.

    Args:
        keras: The command also computes with Keras, which then has to be on TensorFlow.

    Raises:
        UsageError: Keras is on another backend.
    """
    if keras:
        require_tensorflow(f"`{click.get_current_context().command_path}`")
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with libraries_silenced():
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        tf.config.list_physical_devices()


@contextmanager
def libraries_silenced() -> Iterator[None]:
    """Hold back what libraries print on stderr past Python; print it if an unexpected error ends the block."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 2)
        try:
            yield
        except AlexNetError:
            raise
        except BaseException:
            printed.seek(0)
            os.write(stderr, printed.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def emit_json(data: Any) -> None:
    """Print the command's result as one JSON document, ASCII, on stdout."""
    result(json.dumps(data, indent=2))


def table(
    title: str, columns: list[str], rows: Sequence[Sequence[Any]], left: int = 1, form: str | None = None
) -> None:
    """Print a table on stdout.

    Args:
        title: The title, which CSV and Markdown leave out.
        columns: The names of the columns.
        rows: The cells of each row, as many as columns.
        left: The number of left-aligned columns; the others are right-aligned.
        form: None for a terminal, `"csv"` or `"markdown"`.
    """
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([columns, *rows])
        return
    if form == "markdown":
        marks = ["---" if index < left else "---:" for index in range(len(columns))]
        for row in (columns, marks, *rows):
            cells = (" ".join(str(value).split()).replace("|", "\\|") for value in row)
            result(f"| {' | '.join(cells)} |")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    literal: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}  # a class may be called "[b]:cat:"
    console = Console(**literal)
    if not console.is_terminal:
        console = Console(width=160, **literal)
    made = Table(title=_encodable(visible(title)), title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for index, name in enumerate(columns):
        made.add_column(name, justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*[_encodable(visible(str(value))) for value in row])
    console.print(made)


def _encodable(text: str) -> str:
    """The text as stdout prints it, so that columns have the width of their cells."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, IN_ASCII).decode(encoding)


@contextmanager
def progress(what: str, total: int | None, unit: str = "images", done: int = 0) -> Iterator[Advance]:
    """Show the progress of a long piece of work: `with progress("preparing", 3000) as advance: advance(1)`.

    Args:
        what: The name of the work.
        total: Its length in units; None if it is unknown.
        unit: The unit.
        done: Units that were done before.
    """
    from rich.console import Console

    console = Console(stderr=True)
    show = _bar if console.is_terminal else _plain
    with show(console, what, total, unit, done) as advance:
        yield advance


@contextmanager
def _bar(console: Any, what: str, total: int | None, unit: str, done: int) -> Iterator[Advance]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done, rate="", text="")

        def advance(n: int = 1, text: str = "") -> None:
            speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
            rate = f"{speed:.0f} {unit}/s" if speed and speed >= 1 else ""
            bar.update(task, advance=n, text=visible(text), rate=rate)

        yield advance


@contextmanager
def _plain(console: Any, what: str, total: int | None, unit: str, done: int) -> Iterator[Advance]:
    start = last = time.monotonic()
    before = done

    def advance(n: int = 1, text: str = "") -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last >= PLAIN_INTERVAL:
            last = now
            of = f" of {total}" if total else ""
            speed = (done - before) / (now - start)
            rate = f", {speed:.0f}/s" if speed >= 1 else ""
            note(f"{what}: {done}{of} {unit}{rate} {text}".rstrip())

    yield advance


class ConsoleReporter(TrainingDisplay):
    """Prints what the library reports."""

    note = staticmethod(note)
    warn = staticmethod(warn)
    progress = staticmethod(progress)


REPORTER = ConsoleReporter()


class TensorFlowReporter(ConsoleReporter):
    """Starts TensorFlow before the first progress, for work that may be on disk already and then needs none."""

    @staticmethod
    @contextmanager
    def progress(what: str, total: int | None, unit: str = "images", done: int = 0) -> Iterator[Advance]:
        start_tensorflow()
        with progress(what, total, unit, done) as advance:
            yield advance


TENSORFLOW_REPORTER = TensorFlowReporter()
