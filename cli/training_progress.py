"""What `alexnet train` shows while it trains."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from alexnet_keras.cli import console

if TYPE_CHECKING:
    from alexnet_keras.recipes.schema import Training
    from alexnet_keras.training.checkpoint import Position
    from alexnet_keras.training.records import LayerRow
    from alexnet_keras.training.start import LayerOrigin
    from alexnet_keras.training.step import StepResult


class ProgressLines:
    """The trainer's observer: a bar within an epoch, and lines for every finished one.

    Args:
        training: The recipe's.
        validation_images: In the split that the error is measured on.
        quiet: Shows warnings only, as in a worker that is not the chief.
    """

    def __init__(self, training: "Training", validation_images: int, quiet: bool = False) -> None:
        self.training, self.validation_images, self.quiet = training, validation_images, quiet
        self._bar: AbstractContextManager[Callable[..., None]] | None = None
        self._advance: Callable[..., None] = lambda number, text="": None
        self._validating = False

    def on_start(self, position: "Position") -> None:
        if position.total_steps:
            done = f"epoch {position.epoch}"
            if position.step:
                done = f"{position.step} steps of epoch {position.epoch + 1}"
            self._note(f"Going on after {done} (step {position.total_steps}).")

    def on_layers(self, origins: "list[LayerOrigin]") -> None:
        for origin in origins:
            self._note(f"  {origin.layer:<8} {origin.outcome}" + (f": {origin.why}" if origin.why else ""))

    def on_epoch_begin(self, epoch: int, first_step: int, steps: int, rates: dict[str, float]) -> None:
        self._rates = ", ".join(f"{rate:g}" for rate in dict.fromkeys(rates.values()))
        self._errors: list[float] = []
        self._validating = False
        images = self.training.batch_size
        self._show(f"epoch {epoch + 1}/{self.training.epochs}", steps * images, first_step * images)

    def on_step(self, epoch: int, step: int, result: "StepResult") -> None:
        self._errors = [*self._errors[-49:], result.top1_error]
        error = sum(self._errors) / len(self._errors)
        self._advance(
            self.training.batch_size,
            text=f"step {step + 1}  loss {result.loss:.4f}  error {error:.1%}  rates {self._rates}",
        )

    def on_validation(self, images: int) -> None:
        if not self._validating:
            self._validating = True
            self._show("validation", self.validation_images)
        self._advance(images)

    def on_epoch_end(self, row: dict[str, float], layers: "list[LayerRow]") -> None:
        from alexnet_keras.training.records import ratios_of_layers

        self.close()
        self._validating = False
        kinds = {name.removeprefix("rate_"): rate for name, rate in row.items() if name.startswith("rate_")}
        usual = (kinds["weights"], kinds["biases"])
        rates = "  ".join(
            f"{kind} {rate:g}" for kind, rate in kinds.items() if kind in ("weights", "biases") or rate not in usual
        )
        self._note(
            f"epoch {int(row['epoch']) + 1:>3}/{self.training.epochs}  loss {row['loss']:.4f}  "
            f"val loss {row['val_loss']:.4f}  val top-1 error {row['val_top1_error']:.2%}  "
            f"top-5 {row['val_top5_error']:.2%}  {row['images_per_second']:.0f} images/s  rates: {rates}"
        )
        ratios = "  ".join(f"{layer} {ratio:.1e}" for layer, ratio in ratios_of_layers(layers).items())
        self._note(f"    update/weight: {ratios}")

    def on_warning(self, text: str) -> None:
        console.warn(text)

    def _note(self, text: str) -> None:
        if not self.quiet:
            console.note(text)

    def _show(self, what: str, total: int, done: int = 0) -> None:
        self.close()
        if not self.quiet:
            self._bar = console.progress(what, total, done=done)
            self._advance = self._bar.__enter__()

    def close(self) -> None:
        """Takes the bar away, if there is one."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        self._bar = None
        self._advance = lambda number, text="": None
