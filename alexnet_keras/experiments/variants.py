"""Networks that differ from a recipe in what an experiment names, and in nothing else.

Each function takes a recipe and returns another with the same name and summary; a test compares the fields. They work
on `source` and on `quickstart`, which is as deep and narrower.

The four initialisations are one recipe with the initial weights, biases and bias learning rates of four descriptions of
it. Bias rates are in proportion to the recipe's rate of weights, as the descriptions give them.

Networks with a sixth convolutional layer, the CNNs* of table 2, follow the lab's lineage: net 145 on ILSVRC-2012; net
146, which has conv6, on Fall 2009 with conv1 to conv5 copied from it, their rates a tenth of the others'; on Fall 2011
with all convolutional layers copied; on ILSVRC-2012 with all but fc8 copied, the rate 0.001, conv1's 0.0001, fc8's
0.01."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.experiments.lab import Lab, Start, base_recipe, with_epochs
from alexnet_keras.recipes.schema import IMAGENET_COLOR_STDS, Convolution, Network, Recipe
from alexnet_keras.runs import Run


def no_normalization(recipe: Recipe) -> Recipe:
    """Neither local response nor spatial normalisation (net 148)."""
    return _each_convolution(
        recipe,
        lambda conv: replace(conv, followed_by=tuple(s for s in conv.followed_by if s not in ("lrn", "spatial_norm"))),
    )


def no_overlap(recipe: Recipe) -> Recipe:
    """Pooling windows of 2 with stride 2, which leave maps of the same size (net 147; paper, section 3.4)."""
    return _network(recipe, pool_size=2)


def one_tower(recipe: Recipe) -> Recipe:
    """One of two towers, but conv5 and the dense layers as wide as both (net 145-half; paper, section 3.2).

    "Most of the net's parameters are in the first fully-connected layer", which reads conv5.
    """
    network = recipe.network
    last = replace(network.convolutions[-1], filters=network.towers * network.convolutions[-1].filters)
    dense = tuple(replace(layer, units=network.towers * layer.units) for layer in network.dense)
    return _network(recipe, towers=1, convolutions=(*network.convolutions[:-1], last), dense=dense)


def separate_towers(recipe: Recipe) -> Recipe:
    """Towers that meet in the classifier alone (net 150)."""
    first, *others = recipe.network.convolutions  # the first reads the image in any case
    convolutions = (first, *(replace(conv, reads="own") for conv in others))
    return _network(
        recipe, convolutions=convolutions, dense=tuple(replace(d, reads="own") for d in recipe.network.dense)
    )


def no_color_noise(recipe: Recipe) -> Recipe:
    """Without the second form of augmentation (paper, section 4.1)."""
    return replace(recipe, augmentation=replace(recipe.augmentation, color_noise=0.0))


def no_crops(recipe: Recipe) -> Recipe:
    """The centre of every image and no reflections: without the first form of augmentation (paper, section 4.1)."""
    return replace(recipe, augmentation=replace(recipe.augmentation, random_crop=False, flip=False))


def no_dropout(recipe: Recipe) -> Recipe:
    """Every hidden neuron in every step (paper, section 4.2)."""
    return _network(recipe, dense=tuple(replace(layer, dropout=0.0) for layer in recipe.network.dense))


def no_weight_decay(recipe: Recipe) -> Recipe:
    """Weights that nothing pulls towards zero (paper, section 5)."""
    return replace(recipe, training=replace(recipe.training, weight_decay=0.0, bias_decay=0.0))


def tanh(recipe: Recipe) -> Recipe:
    """Saturating neurons instead of ReLUs (paper, section 3.1)."""
    changed = _each_convolution(
        recipe, lambda conv: replace(conv, followed_by=tuple("tanh" if s == "relu" else s for s in conv.followed_by))
    )
    return _network(changed, dense=tuple(replace(layer, activation="tanh") for layer in recipe.network.dense))


def paper_initial_weights(recipe: Recipe) -> Recipe:
    """N(0, 0.01) everywhere (paper, section 5)."""
    changed = _each_convolution(recipe, lambda conv: replace(conv, initial_std=0.01))
    dense = tuple(replace(layer, initial_std=0.01) for layer in recipe.network.dense)
    return _network(changed, dense=dense, classifier=replace(recipe.network.classifier, initial_std=0.01))


def without(recipe: Recipe, name: str) -> Recipe:
    """One convolutional layer removed (paper, section 7).

    The rest stays: its pooling goes to its neighbour, so that the layers after it see maps of the same size; what it
    read, own tower or all, is read by the next, so that the towers communicate as before; in place of the first the
    next one looks at the image, with the first one's stride.
    """
    convolutions = list(recipe.network.convolutions)
    index = next(i for i, conv in enumerate(convolutions) if conv.name == name)
    removed = convolutions.pop(index)
    pools = tuple(step for step in removed.followed_by if step == "pool")
    if index < len(convolutions):
        follower = convolutions[index]
        if removed.reads == "all":
            follower = replace(follower, reads="all")
        if index == 0:
            follower = replace(
                follower, stride=removed.stride, padding=(0, 0), followed_by=follower.followed_by + pools
            )
        convolutions[index] = follower
    if index:
        convolutions[index - 1] = replace(
            convolutions[index - 1], followed_by=convolutions[index - 1].followed_by + pools
        )
    return _network(recipe, convolutions=tuple(convolutions))


def six_convolutions(recipe: Recipe) -> Recipe:
    """A sixth convolutional layer over the last pooling, as wide as conv5 and reading both towers (net 146)."""
    last = recipe.network.convolutions[-1]
    sixth = Convolution("conv6", last.filters, 3, 1, (1, 1), "all", last.initial_std, 1.0, ("relu",))
    return _network(recipe, convolutions=(*recipe.network.convolutions, sixth))


def _network(recipe: Recipe, **changes: Any) -> Recipe:
    network: Network = replace(recipe.network, **changes)
    return replace(recipe, network=network)


def _each_convolution(recipe: Recipe, change: Callable[[Convolution], Convolution]) -> Recipe:
    return _network(recipe, convolutions=tuple(change(conv) for conv in recipe.network.convolutions))


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
    classifier = replace(base.network.classifier, initial_std=STD, initial_bias=0.0)
    network = replace(base.network, convolutions=convolutions, dense=dense, classifier=classifier)
    training = replace(base.training, bias_rate=bias_rate * base.training.weight_rate)
    return replace(base, network=network, training=training)


def _named(recipe: Recipe, base: Recipe, start: str, about: str) -> Recipe:
    return replace(recipe, name=f"{base.name}-{start}", summary=f"{base.name}, {about}.")


COPIED_RATE = 0.1  # of the copied layers, of the others'; lab lineage: 0.001 against 0.01
FINE_TUNING_RATE = 0.1  # lab lineage: 0.001, where net 145 starts with 0.01
CONV1_RATE = 0.1  # of conv1 in fine-tuning, of the others'; lab lineage: 0.0001
FC8_RATE = 10.0  # of the new classifier, of the others'; lab lineage: 0.01
EPOCHS = {"full": 30, "mini": 10}  # of each training after the first; the lineage does not give them
LAST_COPIED, LAST_CONVOLUTION, LAST_HIDDEN = "conv5", "conv6", "fc7"


def pretraining_recipe(recipe: Recipe, copied: int) -> Recipe:
    """The six-convolution network of a recipe, its first `copied` convolutions at a tenth of the rates."""
    six = six_convolutions(recipe)
    convolutions = tuple(
        replace(conv, rate_factor=COPIED_RATE) if index < copied else conv
        for index, conv in enumerate(six.network.convolutions)
    )
    return replace(six, network=replace(six.network, convolutions=convolutions))


def fine_tuning_recipe(recipe: Recipe) -> Recipe:
    """The six-convolution network of a recipe at a tenth of its rates, conv1 slower, a new classifier faster."""
    six = six_convolutions(recipe)
    first, *others = six.network.convolutions
    network = replace(
        six.network,
        convolutions=(replace(first, rate_factor=CONV1_RATE), *others),
        classifier=replace(six.network.classifier, rate_factor=FC8_RATE),
    )
    training = six.training
    slower = replace(
        training,
        weight_rate=training.weight_rate * FINE_TUNING_RATE,
        bias_rate=training.bias_rate * FINE_TUNING_RATE,
    )
    return replace(six, network=network, training=slower)


def pretrained(lab: Lab, first: Run, datasets: list[PreparedDataset], seed: int) -> list[Run]:
    """A network after each of some datasets, each begun with the one before; the first with a net 145."""
    base = _short(lab)
    runs: list[Run] = []
    start = Start(first, LAST_COPIED)
    for data in datasets:
        recipe = pretraining_recipe(base, copied=5 if not runs else 6)
        runs.append(lab.trained("six-conv", recipe, data, seed, start))
        start = Start(runs[-1], LAST_CONVOLUTION)
    return runs


def fine_tuned(lab: Lab, origin: Run, data: PreparedDataset, seed: int) -> Run:
    """A pre-trained network fine-tuned on the classes that count."""
    return lab.trained("fine-tuned", fine_tuning_recipe(_short(lab)), data, seed, Start(origin, LAST_HIDDEN))


def _short(lab: Lab) -> Recipe:
    return with_epochs(base_recipe(lab.request), lab.request.epochs or EPOCHS[lab.request.scale])
