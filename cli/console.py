"""What every command prints, and where: results on stdout, progress and notes on stderr.

Progress is a Rich bar with rate and time left where stderr is a terminal, and a plain line now and then where it
is not. Rich honours NO_COLOR.

What the encoding of a stream lacks is printed in ASCII, a name's characters as Python's escapes: "\\u732b". JSON is
ASCII everywhere.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from alexnet_keras.backend import require_tensorflow
from alexnet_keras.errors import AlexNetError
from alexnet_keras.reporter import Reporter

PLAIN_INTERVAL = 30.0  # seconds between progress lines where stderr is no terminal
IN_ASCII = "alexnet-keras-in-ascii"  # the name of in_ascii among Python's handlers of encoding errors
ASCII = {"×": "x", "≈": "~", "…": "...", "–": "-", "−": "-", "→": "->", "±": "+/-", "“": '"', "”": '"', "’": "'"}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # in a file's name they would move the terminal's cursor


def in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Stands in for what a stream cannot encode: signs of ours by what resembles them, others by Python's escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(ASCII.get(sign) or ascii(sign)[1:-1] for sign in signs), error.end


codecs.register_error(IN_ASCII, in_ascii)


def print_in_any_encoding() -> None:
    """From now on nothing that is printed fails for the encoding of stdout or stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=IN_ASCII)


def visible(text: str) -> str:
    """The text with its control characters, but for tabs and ends of lines, as Python's escapes."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


# Click is told the stream: left to itself it writes UTF-8 where a stream says that it is ASCII.
def result(text: str) -> None:
    """A line of the command's result, on stdout."""
    click.echo(visible(text), file=sys.stdout)


def note(text: str) -> None:
    """A line about what is going on, on stderr."""
    click.echo(visible(text), file=sys.stderr)


def warn(text: str) -> None:
    """A plain warning, on stderr."""
    click.secho(f"Warning: {visible(text)}", fg="yellow", file=sys.stderr)


def start_tensorflow(*, keras: bool = True) -> None:
    """Imports TensorFlow, which takes seconds, without what its libraries print before they can be told not to.

    Args:
        keras: whether the command computes with Keras, too, which then has to be on TensorFlow.

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
    """Keeps from stderr what libraries print past Python, and prints it after all if an error that nobody foresaw ends
    this.
    """
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
    """The command's result as one JSON document, ASCII, on stdout."""
    result(json.dumps(data, indent=2))


def table(
    title: str, columns: list[str], rows: Sequence[Sequence[Any]], left: int = 1, form: str | None = None
) -> None:
    """A table on stdout; the first `left` columns are left-aligned, the others right-aligned.

    `form` is None for people's eyes, `"csv"` or `"markdown"`; both leave the title out.
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

    as_it_is: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}  # a class may be called "[b]:cat:"
    console = Console(**as_it_is)
    if not console.is_terminal:
        console = Console(width=160, **as_it_is)
    made = Table(title=_encodable(visible(title)), title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for index, name in enumerate(columns):
        made.add_column(name, justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*[_encodable(visible(str(value))) for value in row])
    console.print(made)


def _encodable(text: str) -> str:
    """The text as stdout prints it, so that columns are as wide as what stands in them."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, IN_ASCII).decode(encoding)


@contextmanager
def progress(what: str, total: int | None, unit: str = "images", done: int = 0) -> Iterator[Callable[..., None]]:
    """Progress of a long piece of work: `with progress("preparing", 3000) as advance: advance(1)`.

    `advance(n, text="...")` moves on by n and shows a text beside the bar; `done` were done before.
    """
    from rich.console import Console

    console = Console(stderr=True)
    show = _bar if console.is_terminal else _plain
    with show(console, what, total, unit, done) as advance:
        yield advance


@contextmanager
def _bar(console: Any, what: str, total: int | None, unit: str, done: int) -> Iterator[Callable[..., None]]:
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
def _plain(console: Any, what: str, total: int | None, unit: str, done: int) -> Iterator[Callable[..., None]]:
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


class ConsoleReporter(Reporter):
    """Prints notes, warnings and progress on stderr."""

    note = staticmethod(note)
    warn = staticmethod(warn)
    progress = staticmethod(progress)


REPORTER = ConsoleReporter()


class TensorFlowReporter(ConsoleReporter):
    """Starts TensorFlow before the first progress, for work that may be on disk already and then needs none."""

    @staticmethod
    @contextmanager
    def progress(what: str, total: int | None, unit: str = "images", done: int = 0) -> Iterator[Callable[..., None]]:
        start_tensorflow()
        with progress(what, total, unit, done) as advance:
            yield advance


TENSORFLOW_REPORTER = TensorFlowReporter()
