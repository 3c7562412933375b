"""What the `modern` recipe changes in `source`: one function a choice, each from a recipe to a recipe.

The layers, their sizes and so the number of parameters stay as they are. What each choice is worth is measured by
`alexnet reproduce modern`, which leaves them out one by one; docs/modern.md has the figures.

This module imports neither Keras nor TensorFlow.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from alexnet_keras.recipes import IMAGENET_COLOR_STDS, Network, Recipe

PIXEL_STD = math.hypot(*IMAGENET_COLOR_STDS) / math.sqrt(3)  # 74.4 of 255, of a pixel's channel less its mean
WARMUP = 1 / 20  # of the epochs
DROPOUT = 0.25  # half of the paper's, which "roughly doubles the number of iterations" (section 4.2)
LABEL_SMOOTHING = 0.1  # Szegedy and others, 2015
AVERAGED = 1 / 30  # of the epochs


def initialisation(recipe: Recipe) -> Recipe:
    """Weights that keep the signal's size through ReLUs (He and others, 2015), biases of 0, input of unit variance."""
    net, fans = recipe.network, fan_ins(recipe.network)
    convolutions = tuple(
        replace(conv, initial_std=math.sqrt(2 / fans[conv.name]), initial_bias=0.0) for conv in net.convolutions
    )
    dense = tuple(replace(layer, initial_std=math.sqrt(2 / fans[layer.name]), initial_bias=0.0) for layer in net.dense)
    return replace(
        recipe,
        network=replace(net, convolutions=convolutions, dense=dense, classifier_std=math.sqrt(1 / fans["fc8"])),
        augmentation=replace(recipe.augmentation, input_scale=1 / PIXEL_STD),
    )


def schedule(recipe: Recipe) -> Recipe:
    """Rates that rise over the first epochs and fall along half a cosine, the same for weights and biases."""
    training = recipe.training
    slow = replace(
        training.schedule,
        kind="cosine",
        length=training.epochs,
        warmup_epochs=max(1, round(WARMUP * training.epochs)),
        drop_epochs=(),
        conv1_lowered_epoch=None,
        conv1_frozen_epoch=None,
        color_noise_off_epoch=None,
    )
    return replace(recipe, training=replace(training, schedule=slow, bias_rate=training.weight_rate))


def label_smoothing(recipe: Recipe) -> Recipe:
    """A tenth of the target spread over all classes."""
    return replace(recipe, training=replace(recipe.training, label_smoothing=LABEL_SMOOTHING))


def averaging(recipe: Recipe) -> Recipe:
    """A running average of the weights is what is tested."""
    return replace(recipe, training=replace(recipe.training, averaging_epochs=AVERAGED * recipe.training.epochs))


def augmentation(recipe: Recipe) -> Recipe:
    """A crop and flip for every picture, and colour noise that leaves the contrast alone, as the paper has them."""
    changed = replace(recipe.augmentation, crop_group=1, color_noise_rescale=False)
    return replace(recipe, augmentation=changed)


def less_dropout(recipe: Recipe) -> Recipe:
    """Every hidden neuron left out in a quarter of the steps, not in half of them."""
    dense = tuple(replace(layer, dropout=DROPOUT) for layer in recipe.network.dense)
    return replace(recipe, network=replace(recipe.network, dense=dense))


CHOICES: dict[str, Callable[[Recipe], Recipe]] = {
    "initialisation": initialisation,
    "schedule": schedule,
    "label-smoothing": label_smoothing,
    "averaging": averaging,
    "augmentation": augmentation,
    "less-dropout": less_dropout,
}


def modernised(recipe: Recipe, without: str = "") -> Recipe:
    """The recipe with every choice but one."""
    for name, choice in CHOICES.items():
        if name != without:
            recipe = choice(recipe)
    return recipe


def fan_ins(net: Network) -> dict[str, int]:
    """How many numbers each layer's neurons read: of its own tower, or of all."""
    fans, side, maps = {}, net.input_size, 3
    for index, conv in enumerate(net.convolutions):
        read = maps * (net.towers if conv.reads == "all" and index else 1)
        fans[conv.name] = conv.kernel**2 * read
        side = (side + sum(conv.padding) - conv.kernel) // conv.stride + 1
        side = (side - net.pool_size) // net.pool_stride + 1 if "pool" in conv.then else side
        maps = conv.filters
    units = side**2 * maps
    for dense in net.dense:
        fans[dense.name] = units * (net.towers if dense.reads == "all" else 1)
        units = dense.units
    fans["fc8"] = units * net.towers
    return fans
