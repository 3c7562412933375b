"""The built-in recipes made narrow."""

from alexnet_keras.recipes.toml import load_recipe, with_overrides

FILTERS, UNITS = 8, 16  # of every layer, all towers


def narrow(name, *changes):
    """A built-in recipe with few filters and neurons in every layer, and further changes."""
    recipe = load_recipe(name)
    network, towers = recipe.network, recipe.network.towers
    widths = [f"network.{layer.name}.filters={FILTERS // towers}" for layer in network.convolutions]
    widths += [f"network.{layer.name}.units={UNITS // towers}" for layer in network.dense]
    return with_overrides(recipe, [*widths, *changes])
