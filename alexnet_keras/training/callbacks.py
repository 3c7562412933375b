"""Keras callbacks that watch a training of `alexnet_keras.train`, as they watch `fit`."""

from collections.abc import Sequence
from typing import Any

import keras

from alexnet_keras.errors import UsageError
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.training.checkpoint import Position
from alexnet_keras.training.losses import CrossEntropy, TopKError
from alexnet_keras.training.optimizer import AlexNetSGD


class Callbacks:
    """The callbacks of a training, called one after the other.

    Their `model` shares the layers of the one that is trained. It is compiled with the training's optimizer and has
    the `stop_training` of its callbacks, so that the model that the run keeps is the same with callbacks and without.

    Args:
        callbacks: The callbacks.
        model: The model that is trained.
        optimizer: Its optimizer.
        recipe: The recipe.
        steps: Steps in an epoch.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        model: keras.Model,
        optimizer: AlexNetSGD,
        recipe: Recipe,
        steps: int,
    ) -> None:
        self.callbacks, self.model = callbacks, None
        if not callbacks:
            return
        self.model = keras.Model(model.input, model.output, name=model.name)
        loss = CrossEntropy(label_smoothing=recipe.training.label_smoothing)
        self.model.compile(optimizer, loss, metrics=[TopKError(1), TopKError(5)], auto_scale_loss=False)
        self.model.stop_training = False
        for callback in callbacks:
            callback.set_params({"epochs": recipe.training.epochs, "steps": steps, "verbose": 0})
            callback.set_model(self.model)

    def tell(self, event: str, *where: int, logs: dict[str, float] | None = None) -> None:
        """Call a method of every callback, such as `on_epoch_end`, with the epoch or step, from 0, and the logs."""
        for callback in self.callbacks:
            getattr(callback, event)(*where, logs)

    @property
    def stop(self) -> bool:
        """True if a callback has set `model.stop_training`."""
        return self.model is not None and bool(self.model.stop_training)


def checked(callbacks: Sequence[keras.callbacks.Callback]) -> list[keras.callbacks.Callback]:
    """Return a flat list of callbacks, which may be one alone or lists of them.

    Raises:
        UsageError: One of them is none.
    """
    flat = keras.tree.flatten(callbacks)
    for callback in flat:
        if not isinstance(callback, keras.callbacks.Callback):
            raise UsageError(f"callbacks have to be those of keras.callbacks. Received: {callback!r}")
    return flat


def step_logs(position: Position) -> dict[str, float]:
    """Return the logs of a step: the means of the epoch's steps so far, as `fit` has them."""
    return _with_accuracy({"loss": position.loss_sum / position.step, "top1_error": position.error_sum / position.step})


def test_logs(row: dict[str, float]) -> dict[str, float]:
    """Return the logs of a validation, from the epoch's row of history.csv."""
    return _with_accuracy({name: row[f"val_{name}"] for name in ("loss", "top1_error", "top5_error")})


def epoch_logs(row: dict[str, float]) -> dict[str, float]:
    """Return the logs of an epoch: its row of history.csv, the learning rate of weights, and accuracies."""
    logs = {name: value for name, value in row.items() if name != "epoch"}
    return _with_accuracy({**logs, "learning_rate": row["rate_weights"]})


def _with_accuracy(logs: dict[str, Any]) -> dict[str, float]:
    """The logs with `accuracy` and `val_accuracy`, the names by which callbacks usually ask."""
    errors = {name: error for name, error in logs.items() if name.endswith("top1_error")}
    return logs | {name.replace("top1_error", "accuracy"): 1 - error for name, error in errors.items()}
