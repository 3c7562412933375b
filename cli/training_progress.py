"""The display of a training on stderr: a bar within an epoch, and two lines for every finished one."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

from alexnet_keras.reporter import Reporter

if TYPE_CHECKING:
    from alexnet_keras.recipes.schema import Recipe
    from alexnet_keras.training.checkpoint import Position
    from alexnet_keras.training.records import LayerRow
    from alexnet_keras.training.start import LayerOrigin
    from alexnet_keras.training.step import StepResult

ERRORS_AVERAGED = 50  # steps whose mean training error stands next to the bar


class TrainingDisplay(Reporter):
    """Shows the events of a training through the `note` and `progress` of its subclass."""

    def on_train_begin(self, recipe: "Recipe", validation_images: int, position: "Position") -> None:
        self._training, self._validation_images = recipe.training, validation_images
        self._bar = ExitStack()
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
        self._validating = False
        images = self._training.batch_size
        self._show(f"epoch {epoch + 1}/{self._training.epochs}", steps * images, first_step * images)

    def on_step(self, epoch: int, step: int, result: "StepResult") -> None:
        self._errors = [*self._errors[1 - ERRORS_AVERAGED :], result.top1_error]
        error = sum(self._errors) / len(self._errors)
        self._advance(
            self._training.batch_size,
            text=f"step {step + 1}  loss {result.loss:.4f}  error {error:.1%}  rates {self._rates}",
        )

    def on_validation(self, images: int) -> None:
        if not self._validating:
            self._validating = True
            self._show("validation", self._validation_images)
        self._advance(images)

    def on_epoch_end(self, row: dict[str, float], layers: "list[LayerRow]") -> None:
        from alexnet_keras.training.records import ratios_of_layers

        self._bar.close()
        self._validating = False
        kinds = {name.removeprefix("rate_"): rate for name, rate in row.items() if name.startswith("rate_")}
        usual = (kinds["weights"], kinds["biases"])
        rates = "  ".join(
            f"{kind} {rate:g}" for kind, rate in kinds.items() if kind in ("weights", "biases") or rate not in usual
        )
        self.note(
            f"epoch {int(row['epoch']) + 1:>3}/{self._training.epochs}  loss {row['loss']:.4f}  "
            f"val loss {row['val_loss']:.4f}  val top-1 error {row['val_top1_error']:.2%}  "
            f"top-5 {row['val_top5_error']:.2%}  {row['images_per_second']:.0f} images/s  rates: {rates}"
        )
        ratios = "  ".join(f"{layer} {ratio:.1e}" for layer, ratio in ratios_of_layers(layers).items())
        self.note(f"    update/weight: {ratios}")

    def on_train_end(self) -> None:
        self._bar.close()

    def _show(self, what: str, total: int, done: int = 0) -> None:
        self._bar.close()
        self._advance = self._bar.enter_context(self.progress(what, total, done=done))
