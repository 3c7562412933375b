"""The recipe of a new run: what the arguments of `train` make of a recipe, and what it needs of a dataset."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.errors import UsageError, plain_number
from alexnet_keras.recipes.edits import edit
from alexnet_keras.recipes.edits import rate_factors as factors_by_field
from alexnet_keras.recipes.schema import Recipe, Training
from alexnet_keras.recipes.toml import load_recipe
from alexnet_keras.reporter import Reporter
from alexnet_keras.storage.places import command as command_line

FEW_IMAGES = 3000  # of training, for a network of the paper's size
BY_EPOCH = ("conv1_lowered_epoch", "conv1_frozen_epoch", "color_noise_off_epoch")  # of a schedule, of any kind
SCALED = {f"training.schedule.{name}" for name in (*BY_EPOCH, "drop_epochs", "warmup_epochs")}  # to the run's length
AVERAGING, WEIGHT_RATE = "training.averaging_epochs", "training.weight_rate"
LARGE_LAYER = 2048  # units of a hidden layer from which a network is that large
SMALL_DATASET = 100_000  # images; below it the paper's initial weights may keep the loss at that of guessing


def chosen_recipe(
    recipe: Recipe | str | Path | None,
    data: PreparedDataset,
    changes: Mapping[str, Any] | None,
    options: Mapping[str, Any],
    learning_rate: float | None,
    scale_lr: bool,
    freeze: str | None,
    rate_factors: Mapping[str, float] | None,
    reporter: Reporter,
) -> tuple[Recipe, dict[str, Any]]:
    """Make the changes that the arguments of `train` ask for.

    Args:
        recipe, changes, learning_rate, scale_lr, freeze, rate_factors: As in `train`.
        data: The dataset to train on.
        options: Further changes by field, of which those to None are left out.
        reporter: Receives warnings.

    Returns:
        The recipe, and the changes by field.

    Raises:
        UsageError: There is no such recipe, field or layer, or a value is out of range.
    """
    if not isinstance(recipe, Recipe):
        default = "quickstart" if data.source == "demo" else "source"
        recipe = load_recipe(default if recipe is None else recipe)
    given = {field: plain_number(value) for field, value in options.items() if value is not None}
    changes = {field: plain_number(value) for field, value in (changes or {}).items()}
    learning_rate = plain_number(learning_rate)
    if learning_rate is not None:
        given[WEIGHT_RATE] = learning_rate
    made = _without(given, changes)  # what is said twice alike is scaled as what is said once
    changed = edit(recipe, made)
    training, network, images = changed.training, changed.network, data.examples("train")
    batch_size, scale = given.get("training.batch_size"), 1.0
    if scale_lr:
        if batch_size is None:
            raise UsageError("--scale-lr scales the learning rates in proportion to --batch-size, which was not given.")
        scale = min(batch_size, images) / training.batch_size
    by_rate = 1.0 if learning_rate is None else learning_rate / training.weight_rate
    for field, rate in _rates(training).items():
        factor = scale if field in made else scale * by_rate  # a rate that was set stays when that of the weights moves
        if factor != 1:
            made[field] = rate * factor
    if learning_rate is not None and not scale_lr:
        made[WEIGHT_RATE] = learning_rate  # without the rounding of the factor
    made |= {field: value for field, value in given.items() if field != WEIGHT_RATE}
    factors: dict[str, float] = {}
    for layers, rate_factor in (rate_factors or {}).items():
        factors |= factors_by_field(network, layers, plain_number(rate_factor))
    if freeze is not None:  # a layer that has a rate factor, too, is frozen
        factors |= factors_by_field(network, freeze, 0.0)
    made = {**_without(factors, made), **factors}
    if images < (batch_size or training.batch_size):
        reporter.warn(f"the dataset has {images} training images, fewer than a batch: the batch is {images}.")
        made["training.batch_size"] = images
    if recipe.name == "paper" and images < SMALL_DATASET:
        reporter.warn(
            "the initial weights of the paper's prose can leave the loss at ln(classes) for hundreds of steps on a "
            f"dataset this small ({images} images); the recipe `source` starts sooner."
        )
    chosen = edit(recipe, made)
    length = chosen.training.epochs / recipe.training.epochs
    if length != 1 and training.averaging_epochs and AVERAGING not in made:  # scaled as the schedule is
        made[AVERAGING] = training.averaging_epochs * length
        chosen = edit(recipe, made)
    schedule, before = chosen.training.schedule, recipe.training.schedule
    fixed = [name for name in BY_EPOCH if getattr(schedule, name) is not None]
    if schedule.kind != "steps" and before.kind == "steps" and fixed:
        words = " ".join(f"--set training.schedule.{name}=none" for name in fixed)
        reporter.note(
            f"The schedule {schedule.kind} keeps what {recipe.name} does to conv1 and to the colour noise at fixed "
            f"epochs; without it: {words}"
        )
    if any(made.get(name) is not None for name in SCALED) and schedule.length != (epochs := chosen.training.epochs):
        reporter.note(
            f"The epochs of the schedule are those of training.schedule.length, {schedule.length}, and are scaled to "
            f"the run's {epochs}; as they stand they hold with --set training.schedule.length={epochs}."
        )
    return chosen, made


def _without(given: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes but for the fields that are given as well, with the same values.

    Raises:
        UsageError: A field is given with another value.
    """
    for field, value in given.items():
        if field in changes and changes[field] != value:
            raise UsageError(f"{field} is given twice, as {changes[field]} and as {value}: leave one out.")
    return {field: value for field, value in changes.items() if field not in given}


def _rates(training: Training) -> dict[str, float]:
    """The learning rates of a recipe by field."""
    return {
        WEIGHT_RATE: training.weight_rate,
        "training.bias_rate": training.bias_rate,
        "training.schedule.conv1_lowered_rate": training.schedule.conv1_lowered_rate,
    }


def warn_of_few_images(recipe: Recipe, data: PreparedDataset, reporter: Reporter) -> None:
    """Warn of a dataset that a large network would learn by heart, with the commands that fine-tune one instead."""
    network, images = recipe.network, data.examples("train")
    if images >= FEW_IMAGES or max((dense.units for dense in network.dense), default=0) * network.towers < LARGE_LAYER:
        return
    tune = command_line(
        *("train", "--data", data.path, "--recipe", "torchvision", "--init-from", "torchvision"),
        *("--freeze", "conv1..conv5", "--lr", "0.001", "--epochs", "10"),
    )
    reporter.warn(
        f"{images} training images are few for a network of this size, which can learn them by heart. Weights that "
        f"were trained on ImageNet need fewer: `{command_line('import', 'torchvision')}`, then `{tune}`."
    )
