"""The output of every command: results on stdout, progress and notes on stderr.

`terminal.py` prints text, `tables.py` tables, `progress.py` the progress of long work. JSON is always ASCII.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from alexnet_keras.backend import require_tensorflow, use_gpus
from alexnet_keras.cli.progress import ConsoleReporter, progress
from alexnet_keras.cli.tables import table
from alexnet_keras.cli.terminal import complain, note, print_in_any_encoding, result, visible, warn
from alexnet_keras.errors import AlexNetError
from alexnet_keras.reporter import Advance

__all__ = ["complain", "note", "print_in_any_encoding", "progress", "result", "table", "visible", "warn"]

REPORTER = ConsoleReporter()


def start_tensorflow(*, keras: bool = True, gpus: int | None = 1) -> None:
    """Import TensorFlow, which takes seconds, without the messages that its libraries print at import.

    Args:
        keras: The command also computes with Keras, which then has to be on TensorFlow.
        gpus: The number of GPUs that the command uses at most; the others stay free. None leaves the choice to what it
            calls.

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
        use_gpus(gpus if keras else 0)


@contextmanager
def libraries_silenced() -> Iterator[None]:
    """Hold back what libraries print on stderr past Python; print it only if an unexpected error ends the block."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 2)
        try:
            yield
        except (AlexNetError, KeyboardInterrupt):
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
    result(json.dumps(data, indent=2), fit=False)


class TensorFlowReporter(ConsoleReporter):
    """Starts TensorFlow before the first progress, for work that may be on disk already and then needs none."""

    @staticmethod
    @contextmanager
    def progress(what: str, total: int | None, unit: str = "images", done: int = 0) -> Iterator[Advance]:
        start_tensorflow()
        with progress(what, total, unit, done) as advance:
            yield advance


TENSORFLOW_REPORTER = TensorFlowReporter()
