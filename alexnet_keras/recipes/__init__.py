"""Recipes: every constant of a network and its training, with its source.

Nothing here imports Keras or TensorFlow."""

from alexnet_keras.recipes.built_in import BUILT_IN
from alexnet_keras.recipes.edits import edit, rate_factors
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.recipes.toml import load_recipe, parse_overrides, to_toml

__all__ = ["BUILT_IN", "Recipe", "edit", "load_recipe", "parse_overrides", "rate_factors", "to_toml"]
