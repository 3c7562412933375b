"""Reports of long work: notes, warnings, progress, and the events of a training.

Functions that take long accept a `reporter`. What a program calls reports warnings by default, as Python's, and
`ProgressBar()` also shows progress. The command line has a reporter that prints, and a program can have its own:

    class Lines(Reporter):
        def on_epoch_end(self, row, layers):
            print(row["epoch"], row["val_top1_error"])
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import keras

    from alexnet_keras.recipes.schema import Recipe
    from alexnet_keras.training.checkpoint import Position
    from alexnet_keras.training.records import LayerRow
    from alexnet_keras.training.start import LayerOrigin
    from alexnet_keras.training.step import StepResult


class Advance(Protocol):
    """Advances a piece of work by `n` units, with a text next to its bar."""

    def __call__(self, n: int = 1, text: str = "") -> None: ...


class Reporter:
    """Reports nothing; subclasses report what they override."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def note(self, text: str) -> None:
        """A sentence about the work."""

    def warn(self, text: str) -> None:
        """A warning; the work continues."""

    def progress(
        self, what: str, total: int | None, unit: str = "images", done: int = 0
    ) -> "AbstractContextManager[Advance]":
        """A long piece of work: `with reporter.progress("evaluating", 3000) as advance:`.

        Args:
            what: The name of the work, such as "evaluating".
            total: Its length in units; None if it is unknown.
            unit: The unit, in the plural.
            done: Units that were done before.
        """
        return nullcontext(lambda n=1, text="": None)

    def on_train_begin(self, recipe: "Recipe", validation_images: int, position: "Position") -> None:
        """A training begins, or resumes, at a position."""

    def on_initial_weights(self, origins: "list[LayerOrigin]") -> None:
        """A new run took its initial weights from another run, layer by layer; the list is empty without one."""

    def on_epoch_begin(self, epoch: int, first_step: int, steps: int, rates: dict[str, float]) -> None:
        """The steps `first_step` to `steps` of an epoch are about to be taken, with these learning rates by kind.

        Not reported for the first epoch of a resumed run if only its validation is left.
        """

    def on_step(self, epoch: int, step: int, result: "StepResult") -> None:
        """A step of an epoch was taken; both are counted from 0."""

    def on_validation(self, images: int) -> None:
        """This many more images of the validation split were evaluated."""

    def on_epoch_end(self, row: dict[str, float], layers: "list[LayerRow]") -> None:
        """An epoch was validated and saved: its row of history.csv and its rows of layers.csv."""

    def on_train_end(self) -> None:
        """A training ended, finished or not."""


SILENT = Reporter()


OWN = (__name__.partition(".")[0], "contextlib")  # this package, and what it enters its own contexts by


class Warnings(Reporter):
    """Reports warnings as Python's `warnings`, at the line outside this package that led to them, and nothing else."""

    def warn(self, text: str) -> None:
        level, frame = 2, sys._getframe(1)
        while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in OWN:
            level, frame = level + 1, frame.f_back
        warnings.warn(text, stacklevel=level)


WARNINGS = Warnings()


class ProgressBar(Warnings):
    """Shows progress and epochs as Keras's `fit` does, and warnings; `keras.config` can turn such bars off."""

    _epochs: int
    _bar: "keras.utils.Progbar | None" = None

    @contextmanager
    def progress(self, what: str, total: int | None, unit: str = "images", done: int = 0) -> Iterator[Advance]:
        import keras

        bar = keras.utils.Progbar(total, unit_name=unit)

        def advance(n: int = 1, text: str = "") -> None:
            if n:
                bar.add(n)

        bar.add(done)
        yield advance

    def on_train_begin(self, recipe: "Recipe", validation_images: int, position: "Position") -> None:
        self._epochs, self._bar = recipe.training.epochs, None

    def on_epoch_begin(self, epoch: int, first_step: int, steps: int, rates: dict[str, float]) -> None:
        import keras

        if keras.config.is_interactive_logging_enabled():
            sys.stdout.write(f"Epoch {epoch + 1}/{self._epochs}\n")
        self._bar = keras.utils.Progbar(steps, unit_name="step")
        if first_step:
            self._bar.update(first_step)

    def on_step(self, epoch: int, step: int, result: "StepResult") -> None:
        if self._bar:
            self._bar.update(step + 1, [("loss", result.loss), ("top1_error", result.top1_error)], finalize=False)

    def on_epoch_end(self, row: dict[str, float], layers: "list[LayerRow]") -> None:
        if self._bar:  # of a resumed run the validation alone may have been left
            values = [(name, row[name]) for name in ("val_loss", "val_top1_error")]
            self._bar.update(self._bar.target, values, finalize=True)
            self._bar = None

    def on_train_end(self) -> None:
        if self._bar:  # of an epoch that was not finished
            sys.stdout.write("\n")
