"""What a run tells whoever watches it."""

from typing import Protocol

from alexnet_keras.training.checkpoint import Position
from alexnet_keras.training.records import LayerRow
from alexnet_keras.training.start import LayerOrigin
from alexnet_keras.training.step import StepResult


class Observer(Protocol):
    """Whoever watches a run: the command line's progress display, or a test."""

    def on_layers(self, origins: list[LayerOrigin]) -> None:
        """First weights were taken from another run."""

    def on_start(self, position: Position) -> None:
        """The run begins, or goes on, at this position."""

    def on_epoch_begin(self, epoch: int, first_step: int, steps: int, rates: dict[str, float]) -> None:
        """The steps from `first_step` to `steps` of an epoch are about to be made, with these rates by kind."""

    def on_step(self, epoch: int, step: int, result: StepResult) -> None:
        """A step of an epoch, both counted from 0, was made."""

    def on_validation(self, images: int) -> None:
        """So many more images of the validation split were looked at."""

    def on_epoch_end(self, row: dict[str, float], layers: list[LayerRow]) -> None:
        """An epoch was validated and saved; its row of history.csv and its rows of layers.csv."""

    def on_warning(self, text: str) -> None:
        """Something is worth a look; training goes on."""
