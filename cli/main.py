"""The `alexnet` command: its group, and how every error and interruption ends."""

import errno
import os
import re
import signal
import sys
from pathlib import Path
from typing import IO, Any

import click

from alexnet_keras.cli import console, terminal
from alexnet_keras.cli.benchmark import benchmark
from alexnet_keras.cli.completion import completion
from alexnet_keras.cli.demo import demo
from alexnet_keras.cli.evaluate import evaluate
from alexnet_keras.cli.export import export
from alexnet_keras.cli.features import features
from alexnet_keras.cli.import_weights import import_weights
from alexnet_keras.cli.info import info
from alexnet_keras.cli.predict import predict
from alexnet_keras.cli.prepare import prepare
from alexnet_keras.cli.publish import publish
from alexnet_keras.cli.recipes import recipes
from alexnet_keras.cli.report import report
from alexnet_keras.cli.reproduce import reproduce
from alexnet_keras.cli.runs import runs
from alexnet_keras.cli.search import search
from alexnet_keras.cli.serve import serve
from alexnet_keras.cli.train import train
from alexnet_keras.cli.visualize import visualize
from alexnet_keras.errors import INTERRUPTED, AlexNetError

KEPT = "What was finished is kept; run the same command to continue."
MENDED = "What was finished is kept: mend that and run the command again (a training continues with --resume)."
KEEP_NOTHING = frozenset((  # when they end early, or begin anew when they are run again
    "demo", "predict", "info", "visualize", "import", "export", "publish", "report", "benchmark", "recipes", "runs",
))  # fmt: skip
OF_DISKS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE))  # that end a work half done
LONGEST_NAME = 100  # characters of a path that a sentence shows


class Sentence(click.ClickException):
    """An error the user can act on: one sentence on stderr and the documented exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(console.visible(message))
        self.exit_code = exit_code  # type: ignore[misc]  # Click reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        console.complain(f"Error: {self.format_message()}")


class AlexNetGroup(click.Group):
    """The top-level group: commands in the order of use, errors as sentences, Ctrl-C as exit code 130."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # a shell leaves the ~ of --out=~/data as it is, and a directory of that name would be made
        split = [argument.partition("=") for argument in args]
        whole = [
            f"{name}={os.path.expanduser(value)}"  # noqa: PTH111, since Path's raises where there is no home
            if name.startswith("--") and value.startswith("~/")
            else name + sign + value
            for name, sign, value in split
        ]
        return super().parse_args(ctx, whole)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        console.print_in_any_encoding()
        return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except OSError as error:  # of a disk on which the help has no room
            if sentence := _sentence_of(error):
                raise sentence from error
            raise

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AlexNetError as error:
            raise Sentence(str(error), error.exit_code) from error
        except OSError as error:
            if sentence := _sentence_of(error, _kept(ctx, MENDED)):
                raise sentence from error
            raise
        except UnicodeEncodeError as error:
            if error.reason != "surrogates not allowed":
                raise
            raise Sentence(f"TensorFlow opens only paths in UTF-8: rename {error.object[:LONGEST_NAME]}.", 2) from error
        except Exception as error:
            if not _is_of_memory(error):
                raise
            raise Sentence(f"The memory that this process may take is not enough.{_kept(ctx, MENDED)}", 1) from error
        except KeyboardInterrupt as interruption:
            said = str(interruption) or f"Interrupted.{_kept(ctx, KEPT)}"
            console.complain(f"\n{said}")  # also to those who want it quiet
            ctx.exit(INTERRUPTED)


def _is_of_memory(error: Exception) -> bool:
    """True of Python's and NumPy's errors, and of TensorFlow's, known by its name: some commands do without it."""
    ours = type(error).__name__ == "ResourceExhaustedError" and "No space left on device" not in str(error)
    return ours or isinstance(error, MemoryError)


def _kept(ctx: click.Context, words: str) -> str:
    """The words, after a space, unless the command keeps nothing."""
    return "" if ctx.invoked_subcommand in KEEP_NOTHING else f" {words}"


def _sentence_of(error: OSError, again: str = "") -> Sentence | None:
    """The sentence for an error of the operating system, with `again` where a disk has ended a work half done.

    None for a pipe that was closed, as by `| head`, which Click ends without a word, and for what a library raises for
    reasons of its own.
    """
    if isinstance(error, BrokenPipeError) or error.errno is None:
        return None
    if error.errno == errno.ENAMETOOLONG:
        return Sentence(f"Nothing can be called {str(error.filename)[:40]!r}…: that is too long.", 2)
    if error.errno == errno.ENOENT and not error.filename:
        try:
            Path.cwd()
        except FileNotFoundError:
            return Sentence("The current directory is no longer there: change to another.", 2)
    where = f" ({error.filename})" if error.filename else ""
    return Sentence(f"{error.strerror}{where}.{again if error.errno in OF_DISKS else ''}", 1)


@click.group(
    cls=AlexNetGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True},
    epilog="Where no dataset or run is named, the latest is taken: `alexnet prepare && alexnet train && alexnet eval`. "
    "Datasets are in data/ and runs in saved_models/, both in the current directory or in the one that the environment "
    "variable ALEXNET_HOME names. "
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad data, 4 training diverged, 130 interrupted.",
)
@click.version_option(package_name="alexnet-keras", prog_name="alexnet")
def cli() -> None:
    """AlexNet (Krizhevsky, Sutskever and Hinton, 2012): prepare images, train, evaluate, look."""


COMMANDS = (
    *(demo, prepare, train, import_weights, evaluate, predict, export, publish, visualize, report, features, search),
    *(serve, runs, info, recipes, benchmark, reproduce, completion),
)
for command in COMMANDS:
    cli.add_command(command)


def _be_quiet(ctx: click.Context, param: click.Parameter, quiet: bool) -> None:
    if quiet:
        terminal.be_quiet()
        ctx.find_root().call_on_close(lambda: terminal.be_quiet(False))


def _complete(command: click.Command) -> None:
    """Give a command, and every command of a group, the option --quiet, and a whole sentence in its group's list."""
    if command.help and not command.short_help:  # which Click would cut at the terminal's width
        command.short_help = re.split(r"(?<=\.)\s", " ".join(command.help.split()), maxsplit=1)[0]
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _complete(inner)
    else:
        explained = "No notes and no progress: results, warnings and errors alone."
        quiet = click.Option(["--quiet"], is_flag=True, expose_value=False, callback=_be_quiet, help=explained)
        command.params.append(quiet)


_complete(cli)


def _end_in_order() -> None:
    """End on SIGTERM and SIGHUP as on Ctrl-C, so that nothing half written stays; what is ignored stays so (nohup)."""
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", None)):  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)  # which raises KeyboardInterrupt


def main() -> None:
    """Entry point of the installed command."""
    _end_in_order()
    try:
        sys.exit(cli(standalone_mode=True))
    except KeyboardInterrupt:  # between Click's own handling and the end of the process
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
