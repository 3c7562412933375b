"""What every command prints, and where: results on stdout, progress and notes on stderr.

Progress is a Rich bar with rate and time left where stderr is a terminal, and a plain line now and then where it
is not. Rich honours NO_COLOR.
"""

import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from alexnet_keras.backend import require_tensorflow
from alexnet_keras.errors import AlexNetError

PLAIN_INTERVAL = 30.0  # seconds between progress lines where stderr is no terminal


def result(text: str) -> None:
    """A line of the command's result, on stdout."""
    click.echo(text)


def note(text: str) -> None:
    """A line about what is going on, on stderr."""
    click.echo(text, err=True)


def warn(text: str) -> None:
    """A plain warning, on stderr."""
    click.secho(f"Warning: {text}", fg="yellow", err=True)


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
    """The command's result as one JSON document, on stdout."""
    click.echo(json.dumps(data, indent=2))


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
            cells = (str(value).replace("|", "\\|") for value in row)
            click.echo(f"| {' | '.join(cells)} |")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for index, name in enumerate(columns):
        made.add_column(name, justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*[str(value) for value in row])
    console.print(made)


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
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done, rate="", text="")

        def advance(n: int = 1, text: str = "") -> None:
            speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
            bar.update(task, advance=n, text=text, rate=f"{speed:.0f} {unit}/s" if speed and speed >= 1 else "")

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
            click.echo(f"{what}: {done}{of} {unit}{rate} {text}".rstrip(), err=True)

    yield advance
