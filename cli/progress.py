"""Progress on stderr: of any long work, and of a training, whose epochs are the rows of a table.

On a terminal it is a bar, elsewhere a line at intervals. A bar keeps the count and the time left on a narrow terminal,
and leaves out its picture, the rate and the text beside it.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from alexnet_keras.cli.terminal import is_quiet, note, unread_allowed, visible, warn
from alexnet_keras.reporter import Advance, Reporter

if TYPE_CHECKING:
    from alexnet_keras.recipes.schema import Recipe
    from alexnet_keras.training.checkpoint import Position
    from alexnet_keras.training.records import LayerRow
    from alexnet_keras.training.start import LayerOrigin
    from alexnet_keras.training.step import StepResult

PLAIN_INTERVAL = 30.0  # seconds between progress lines where stderr is no terminal
ERRORS_AVERAGED = 50  # steps whose mean training error stands next to the bar
BAR_WIDTH = 20  # characters
BETWEEN_TEXTS = "  "  # between the parts of the text next to a bar
HEADER = (
    "                   validation",
    "  epoch    loss    loss  top-1 error  top-5 error  images/s     rate      left",
)


def clock(seconds: float | None) -> str:
    """Return a time as hours, minutes and seconds: 1:02:03; -:--:-- if it is unknown."""
    if seconds is None:
        return "-:--:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


@contextmanager
def progress(what: str, total: int | None, unit: str = "images", done: int = 0) -> Iterator[Advance]:
    """Show the progress of a long piece of work: `with progress("preparing", 3000) as advance: advance(1)`.

    Args:
        what: The name of the work.
        total: Its length in units; None if it is unknown.
        unit: The unit.
        done: Units that were done before.
    """
    if is_quiet():
        yield lambda n=1, text="": None
        return
    from rich.console import Console

    class Unread(Console):
        """Leaves a broken pipe to `unread_allowed`; Rich would end the process."""

        def on_broken_pipe(self) -> None:
            raise  # the error that is handled

    console = Unread(stderr=True)
    show = _bar if console.is_terminal else _plain
    with show(console, what, total, unit, done) as advance:
        yield advance


@contextmanager
def _bar(console: Any, what: str, total: int | None, unit: str, done: int) -> Iterator[Advance]:
    from rich.progress import Progress, ProgressColumn
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    class Line(ProgressColumn):
        """The whole line, less what the terminal has no room for."""

        def render(self, task: Any) -> Table:
            of = f"/{task.total:.0f}" if task.total else f" {unit}"
            speed = task.finished_speed or task.speed
            rate = f"{speed:.0f} {unit}/s" if speed and speed >= 1 else ""
            needed = [what, f"{task.completed:.0f}{of}", clock(task.time_remaining) if task.total else ""]
            texts = [part for part in task.fields["text"].split(BETWEEN_TEXTS) if part]
            room = console.width - sum(len(part) + 1 for part in needed) - 1
            extra: list[str] = []
            for part in (rate, *texts):
                if len(part) + 2 <= room:
                    extra.append(part)
                    room -= len(part) + 2
            line = Table.grid(padding=(0, 1))
            name, count, left = needed
            cells: list[Any] = [Text(name, no_wrap=True)]
            if task.total and room > BAR_WIDTH:
                cells.append(ProgressBar(task.total, task.completed, BAR_WIDTH))
            cells += [Text(count, "progress.download"), Text(left, "progress.remaining")]
            cells += [Text(BETWEEN_TEXTS.join(extra))] if extra else []
            line.add_row(*cells)
            return line

    # Where both are the terminal, lines of the result go above the bar; into a file or a pipe they go past it.
    bar = Progress(Line(), console=console, transient=True, redirect_stdout=sys.stdout.isatty())
    task = bar.add_task("", total=total, completed=done, text="")

    def advance(n: int = 1, text: str = "") -> None:
        bar.update(task, advance=n, text=visible(text))

    with unread_allowed():
        bar.start()
    try:
        yield advance
    finally:
        with unread_allowed():
            bar.stop()


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


class ConsoleReporter(Reporter):
    """Prints what the library reports: notes, warnings, progress, and a training as a table with a row an epoch.

    Attributes:
        verbose: Also print, after each epoch, every learning rate and the size of each layer's updates.
        epochs: The epochs that the training has ended.
    """

    verbose = False
    epochs = 0
    note = staticmethod(note)
    warn = staticmethod(warn)
    progress = staticmethod(progress)

    def on_train_begin(self, recipe: "Recipe", validation_images: int, position: "Position") -> None:
        self._training, self._validation_images = recipe.training, validation_images
        self._bar = ExitStack()
        self.epochs, self._compiled = 0, False
        self._headed = self._validating = False
        self._timed_steps, self._step_seconds = 0, 0.0
        self._pauses: list[float] = []  # from an epoch's last step to its end, in seconds
        if position.total_steps:
            done = f"epoch {position.epoch}"
            if position.step:
                done = f"{position.step} steps of epoch {position.epoch + 1}"
            self.note(f"Resuming after {done} (step {position.total_steps}).")

    def on_initial_weights(self, origins: "list[LayerOrigin]") -> None:
        for origin in origins:
            self.note(f"  {origin.layer:<8} {origin.outcome}" + (f": {origin.why}" if origin.why else ""))

    def on_epoch_begin(self, epoch: int, first_step: int, steps: int, rates: dict[str, float]) -> None:
        self._rates = ", ".join(f"{rate:g}" for rate in dict.fromkeys(rates.values()))
        self._errors: list[float] = []
        self._steps, self._since = steps, time.monotonic()
        self._show_epoch(epoch, first_step)
        if not self._compiled:
            self._advance(0, text="compiling")

    def on_step(self, epoch: int, step: int, result: "StepResult") -> None:
        seconds = self._lap()
        if self._compiled:
            self._timed_steps, self._step_seconds = self._timed_steps + 1, self._step_seconds + seconds
            images = self._training.batch_size
        else:  # the first step's time is the compiler's
            self._compiled, images = True, 0
            self._show_epoch(epoch, step + 1)
        self._errors = [*self._errors[1 - ERRORS_AVERAGED :], result.top1_error]
        error = sum(self._errors) / len(self._errors)
        texts = [f"loss {result.loss:.4f}", f"error {error:.1%}", f"rates {self._rates}"]
        if left := self._seconds_left(epoch, step + 1):
            texts.insert(0, f"run {clock(left)}")
        self._advance(images, text=BETWEEN_TEXTS.join(texts))
        if step + 1 == self._steps:
            self._show_validation()  # its first batch takes a while

    def on_validation(self, images: int) -> None:
        if not self._validating:  # only the validation was left of the epoch
            self._show_validation()
        self._advance(images)

    def on_epoch_end(self, row: dict[str, float], layers: "list[LayerRow]") -> None:
        from alexnet_keras.training.records import ratios_of_layers

        self._bar.close()
        self.epochs += 1
        self._validating = False
        if not self._headed:
            self._headed = True
            for line in HEADER:
                self.note(line)
        if self._compiled:  # else only the validation was left of the epoch
            self._pauses.append(self._lap())
        epoch, epochs = int(row["epoch"]) + 1, self._training.epochs
        self.note(
            f"{f'{epoch}/{epochs}':>7}  {row['loss']:6.4f}  {row['val_loss']:6.4f}  {row['val_top1_error']:11.2%}  "
            f"{row['val_top5_error']:11.2%}  {row['images_per_second']:8.0f}  {row['rate_weights']:7.3g}  "
            f"{clock(self._seconds_left(epoch, 0)):>8}"
        )
        if self.verbose:
            rates = "  ".join(f"{key.removeprefix('rate_')} {row[key]:g}" for key in row if key.startswith("rate_"))
            ratios = "  ".join(f"{layer} {ratio:.1e}" for layer, ratio in ratios_of_layers(layers).items())
            self.note(f"    rates: {rates}")
            self.note(f"    update/weight: {ratios}")

    def on_train_end(self) -> None:
        self._bar.close()

    def _show_validation(self) -> None:
        self._validating = True
        self._show("validation", self._validation_images)

    def _show(self, what: str, total: int, done: int = 0) -> None:
        self._bar.close()
        self._advance = self._bar.enter_context(self.progress(what, total, done=done))

    def _show_epoch(self, epoch: int, step: int) -> None:
        images = self._training.batch_size
        self._show(f"epoch {epoch + 1}/{self._training.epochs}", self._steps * images, step * images)

    def _lap(self) -> float:
        """The seconds since the last call, or since the epoch began."""
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        return seconds

    def _seconds_left(self, epoch: int, steps: int) -> float | None:
        """The seconds left of the whole run after epochs and steps of the next; None until they can be known."""
        if not self._timed_steps:
            return None
        epochs = self._training.epochs - epoch
        pause = sum(self._pauses) / max(len(self._pauses), 1)
        return (epochs * self._steps - steps) * self._step_seconds / self._timed_steps + epochs * pause
