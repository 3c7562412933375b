"""The built-in recipes made narrow."""

import pytest


@pytest.fixture(scope="session")
def narrow():
    """From the name of a built-in recipe and further changes to that recipe with four kernels or neurons a layer."""
    from alexnet_keras.recipes.toml import load_recipe, with_overrides

    widths = [f"network.conv{number}.filters=4" for number in range(1, 6)]
    widths += [f"network.fc{number}.units=4" for number in (6, 7)]
    return lambda name, *changes: with_overrides(load_recipe(name), [*widths, *changes])
