"""How a network starts: one recipe with the initial weights, biases and rates of biases of four descriptions of it.

Only these fields differ, so that runs of the four tell what the start is worth. Rates of biases are in proportion to
the recipe's rate of weights, as the descriptions give them.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from alexnet_keras.recipes import IMAGENET_COLOR_STDS, Recipe

STD = 0.01  # paper, section 5: every layer; bvlc_alexnet: weight_filler of conv1 to conv5 and fc8
CAFFE_HIDDEN_STD = 0.005  # bvlc_alexnet: weight_filler of fc6 and fc7
POSITIVE_BIASES = ("conv2", "conv4", "conv5")  # paper, section 5, "and the fully-connected hidden layers"; the rest 0
PAPER_BIAS = 1.0  # paper, section 5
CAFFE_BIAS = 0.1  # bvlc_alexnet: bias_filler of the same layers; its readme: "initialization to 1 gave flat loss"
PAPER_BIAS_RATE = 1.0  # paper, section 5: "an equal learning rate for all layers"; times the rate of weights
CAFFE_BIAS_RATE = 2.0  # bvlc_alexnet: lr_mult 1 of weights, 2 of biases


def pixel_std_of(color_stds: ArrayLike) -> float:
    """The standard deviation of pixels, all three channels together, from the three along their components, 0..255."""
    return float(np.sqrt(np.mean(np.square(color_stds))))  # a covariance's trace is the sum of its eigenvalues


def variants(base: Recipe, color_stds: ArrayLike = IMAGENET_COLOR_STDS) -> dict[str, Recipe]:
    """The recipe in four starts, by their names: source, paper, caffe and unit-variance.

    Args:
        base: the recipe that they share all else of; for `source` the built-in `source`, which is returned as it is.
        color_stds: standard deviations of the training set's RGB values along their components, 0..255, for
            unit-variance. Default: ImageNet's.
    """
    return {
        "source": base,
        "paper": paper(base),
        "caffe": caffe(base),
        "unit-variance": unit_variance(base, pixel_std_of(color_stds)),
    }


def paper(base: Recipe) -> Recipe:
    """The prose of the paper's section 5: weights N(0, 0.01), some biases 1, one rate for all."""
    started = _started(base, STD, PAPER_BIAS, PAPER_BIAS_RATE)
    return _named(started, base, "paper", "its start as the paper's section 5 has it")


def caffe(base: Recipe) -> Recipe:
    """Caffe's models/bvlc_alexnet/train_val.prototxt: biases of 0.1 instead of 1, smaller weights in fc6 and fc7."""
    started = _started(base, CAFFE_HIDDEN_STD, CAFFE_BIAS, CAFFE_BIAS_RATE)
    return _named(started, base, "caffe", "its start as Caffe's bvlc_alexnet has it")


def unit_variance(base: Recipe, pixel_std: float) -> Recipe:
    """The paper's prose on pixels of variance 1, as many reproductions have it; neither paper nor source divides them.

    Args:
        pixel_std: standard deviation of the training set's pixels, 0..255.
    """
    prose = paper(base)
    scaled = replace(prose, augmentation=replace(prose.augmentation, input_scale=1 / pixel_std))
    about = f"its start as the paper's section 5 has it, but pixels divided by {pixel_std:.4g}"
    return _named(scaled, base, "unit-variance", about)


def _started(base: Recipe, hidden_std: float, positive: float, bias_rate: float) -> Recipe:
    """The recipe with 0.01 as initial weights but in hidden dense layers, and the rate of biases as a multiple."""
    convolutions = tuple(
        replace(conv, initial_std=STD, initial_bias=positive if conv.name in POSITIVE_BIASES else 0.0)
        for conv in base.network.convolutions
    )
    dense = tuple(replace(layer, initial_std=hidden_std, initial_bias=positive) for layer in base.network.dense)
    network = replace(base.network, convolutions=convolutions, dense=dense, classifier_std=STD, classifier_bias=0.0)
    training = replace(base.training, bias_rate=bias_rate * base.training.weight_rate)
    return replace(base, network=network, training=training)


def _named(recipe: Recipe, base: Recipe, start: str, about: str) -> Recipe:
    return replace(recipe, name=f"{base.name}-{start}", summary=f"{base.name}, {about}.")
