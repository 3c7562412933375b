"""What "full" and "mini" mean for the networks on photographs."""

from dataclasses import replace

from alexnet_keras.experiments.lab import Request
from alexnet_keras.recipe_files import load_recipe
from alexnet_keras.recipes import Recipe

MINI_EPOCHS = 20  # of a few thousand pictures


def base_recipe(request: Request) -> Recipe:
    """What the variants of an experiment are derived from: `source`, or in miniature the narrow `quickstart`."""
    if request.scale == "full":
        recipe, epochs = load_recipe("source"), request.epochs
    else:
        recipe, epochs = load_recipe("quickstart"), request.epochs or MINI_EPOCHS
    return with_epochs(recipe, epochs) if epochs else recipe


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe for so many epochs, to which its schedule is scaled."""
    return replace(recipe, training=replace(recipe.training, epochs=epochs))
