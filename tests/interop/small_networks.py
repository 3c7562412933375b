"""Small recipes of the published networks' topologies, and answers to compare."""

import numpy as np

from alexnet_keras.network.model import logits_of
from alexnet_keras.recipes.toml import load_recipe, with_overrides

CLASSES = 7
FILTERS = {"caffe": (12, 16, 12, 8, 8), "torchvision": (8, 12, 10, 8, 6)}  # of all towers
DENSE = (20, 14, CLASSES)


def small(name):
    """A built-in recipe with few filters and neurons, the numbers above."""
    recipe = load_recipe(name)
    towers = recipe.network.towers
    filters = FILTERS["torchvision" if name == "torchvision" else "caffe"]
    changes = [f"network.conv{index}.filters={count // towers}" for index, count in enumerate(filters, start=1)]
    changes += [f"network.fc{index}.units={DENSE[index - 6] // towers}" for index in (6, 7)]
    return with_overrides(recipe, changes)


def crops(side, count=2):
    """RGB crops, 0..255, whose colours differ."""
    random = np.random.default_rng(5)
    pixels = random.integers(0, 256, (count, side // 8 + 1, side // 8 + 1, 3)).repeat(8, axis=1).repeat(8, axis=2)
    return np.clip(pixels[:, :side, :side] * [1.0, 0.7, 0.4], 0, 255).astype(np.uint8)


def our_logits(model, images):
    return logits_of(model)(images, training=False).numpy()


def assert_same(found, expected, relative=1e-5):
    """Equal to a relative error of the largest logit."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=relative * np.abs(expected).max())
