"""Keras's own `compile` and `fit` by a recipe, on any backend.

    recipe = load_recipe("source")
    model = AlexNet(recipe, classes=12)
    model.compile(**compile_options(recipe, model))
    model.fit(
        batches, epochs=recipe.training.epochs, validation_data=others, callbacks=[FollowRecipe(recipe)], shuffle=False
    )

Nothing here imports TensorFlow under another backend.
"""

from __future__ import annotations  # so that help() shows them as they are written

from collections.abc import Sequence
from typing import Any

import keras

from alexnet_keras.backend import on_tensorflow
from alexnet_keras.data.image_batches import ImageBatches
from alexnet_keras.errors import UsageError
from alexnet_keras.layers import ColorNoise
from alexnet_keras.recipes.edits import check_something_learns
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.training.losses import CrossEntropy, TopKError
from alexnet_keras.training.optimizer import AlexNetSGD, new_optimizer
from alexnet_keras.training.schedule import EpochPlan, has_stalled, layer_rate_factors, plan_epoch


def compile_options(recipe: Recipe, model: keras.Model) -> dict[str, Any]:
    """Return the arguments with which `model.compile` takes a recipe's optimizer, its loss and the errors.

    The optimizer has the rates of the first epoch; `FollowRecipe` sets those of the others. Layers that the recipe
    freezes have rates of 0; `trainable = False` on them, before this call, also saves their gradients.

    Args:
        recipe: The recipe.
        model: A model that ends with a softmax, or with logits.

    Returns:
        `optimizer` (`AlexNetSGD`), `loss` (`CrossEntropy`), `metrics` (`top1_error`, and with more than five classes
        `top5_error`), and `jit_compile`, which is False under TensorFlow alone, whose convolutions XLA slows down on a
        processor.

    Raises:
        UsageError: Every layer is frozen; the model computes in float16, or has another end; or the recipe weighs
            classes or keeps a running average of the weights, which `fit` does not.
    """
    check_something_learns(recipe.network)
    if any(layer.compute_dtype == "float16" for layer in model._flatten_layers()):  # the model itself is one of them
        raise UsageError(
            "The model computes in float16, for which Keras's fit does not scale the loss of this optimizer: make it "
            "in mixed_bfloat16, or train with alexnet_keras.train."
        )
    if recipe.training.averaging_epochs:
        raise UsageError(
            f"The recipe {recipe.name} keeps a running average of the weights, which Keras's fit does not: change "
            "training.averaging_epochs to 0, or train with alexnet_keras.train."
        )
    if recipe.training.class_weights != "none":
        raise UsageError(
            f"The recipe {recipe.name} weighs classes by the numbers of their images, which compile does not know: "
            "give fit class_weight=, change training.class_weights to none, or train with alexnet_keras.train."
        )
    last = model.outputs[0]._keras_history.operation
    activation = getattr(last, "activation", None)
    if activation not in (keras.activations.softmax, keras.activations.linear):
        raise UsageError(f"The model has to end with a softmax or with logits, and its last layer is {last.name}.")
    from_logits = activation is keras.activations.linear
    return {
        "optimizer": new_optimizer(recipe, model),
        "loss": CrossEntropy(from_logits, recipe.training.label_smoothing),
        "metrics": [TopKError(1), *([TopKError(5)] if model.output_shape[-1] > 5 else [])],
        "jit_compile": False if on_tensorflow() else "auto",
    }


class FollowRecipe(keras.callbacks.Callback):
    """Callback that has `fit` follow a recipe's schedule, as `alexnet train` does.

    Every epoch begins with its learning rates, and with colour noise on or off. `fit` stops at the end of the recipe's
    epochs, and where the schedule `plateau` or the patience ends. The logs, and with them the history, get
    `learning_rate` and a `rate_...` for each kind of variable, as in history.csv.

    Args:
        recipe: The recipe of the model and of its `compile_options`.
        errors: The validation top-1 error of each epoch before `initial_epoch`, 0..1; `plateau` and the patience
            need them.
        batches: The `ImageBatches` that `fit` trains on, whose order and crops are then those of the epoch, also after
            `initial_epoch`; without it they count the epochs of their own.

    Raises:
        UsageError: From `fit`: the model was compiled with another optimizer, or for a recipe that gives rates of their
            own to other layers; the schedule has ended; or `plateau` or the patience has no validation errors.
    """

    def __init__(self, recipe: Recipe, errors: Sequence[float] = (), batches: ImageBatches | None = None) -> None:
        super().__init__()
        self.recipe, self.errors, self.batches = recipe, list(errors), batches

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not isinstance(self.model.optimizer, AlexNetSGD):
            raise UsageError("FollowRecipe needs a model compiled with **compile_options(recipe, model).")
        if differing := self._plan(0).rates.keys() ^ self.model.optimizer.rates.keys():
            raise UsageError(
                f"The model was compiled for another recipe: one of them gives {', '.join(sorted(differing))} a rate "
                "of its own. Compile it with **compile_options(recipe, model) of this one."
            )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._has_ended(epoch):
            raise UsageError(f"The schedule of the recipe {self.recipe.name} has ended before epoch {epoch + 1}.")
        if self.batches is not None:
            self.batches.epoch = epoch
        plan = self._plan(epoch)
        self.model.optimizer.set_rates(plan.rates)
        noises = [layer for layer in self.model._flatten_layers() if isinstance(layer, ColorNoise)]
        if any(noise.active != plan.color_noise for noise in noises):
            for noise in noises:
                noise.active = plan.color_noise
            self.model.make_train_function(force=True)  # the compiled one has the noise as it was

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = {} if logs is None else logs
        if "val_top1_error" in logs:
            self.errors[epoch:] = [float(logs["val_top1_error"])]
        rates = self.model.optimizer.rates
        logs |= {"learning_rate": rates["weights"], **{f"rate_{kind}": rate for kind, rate in rates.items()}}
        if self._has_ended(epoch + 1):
            self.model.stop_training = True

    def _plan(self, epoch: int) -> EpochPlan:
        factors = layer_rate_factors(self.recipe.network)
        return plan_epoch(self.recipe.training, epoch, self.errors[:epoch], factors)

    def _has_ended(self, epochs: int) -> bool:
        """True if nothing is trained after so many epochs."""
        training, errors = self.recipe.training, self.errors[:epochs]
        if epochs >= training.epochs:
            return True
        if (training.schedule.kind == "plateau" or training.patience) and len(errors) < epochs:
            needing = "The patience" if training.patience else "The schedule plateau"
            raise UsageError(
                f"{needing} needs the validation error of every epoch: give fit validation_data, and FollowRecipe the "
                "errors of the epochs before initial_epoch."
            )
        return has_stalled(training, errors)
