"""Networks that differ from a recipe in what an experiment names, and in nothing else.

Each function takes a recipe and returns another with the same name and summary; a test compares the fields. They work
on `source` and on `quickstart`, which is as deep and narrower.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from alexnet_keras.recipes import Convolution, Network, Recipe


def no_normalization(recipe: Recipe) -> Recipe:
    """Neither local response nor spatial normalisation (net 148)."""
    return _each_convolution(
        recipe, lambda conv: replace(conv, then=tuple(s for s in conv.then if s not in ("lrn", "spatial_norm")))
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
        recipe, lambda conv: replace(conv, then=tuple("tanh" if s == "relu" else s for s in conv.then))
    )
    return _network(changed, dense=tuple(replace(layer, activation="tanh") for layer in recipe.network.dense))


def paper_initial_weights(recipe: Recipe) -> Recipe:
    """N(0, 0.01) everywhere (paper, section 5)."""
    changed = _each_convolution(recipe, lambda conv: replace(conv, initial_std=0.01))
    dense = tuple(replace(layer, initial_std=0.01) for layer in recipe.network.dense)
    return _network(changed, dense=dense, classifier_std=0.01)


def without(recipe: Recipe, name: str) -> Recipe:
    """One convolutional layer removed (paper, section 7).

    The rest stays: its pooling goes to its neighbour, so that the layers after it see maps of the same size; what it
    read, own tower or all, is read by the next, so that the towers communicate as before; in place of the first the
    next one looks at the image, with the first one's stride.
    """
    convolutions = list(recipe.network.convolutions)
    index = next(i for i, conv in enumerate(convolutions) if conv.name == name)
    removed = convolutions.pop(index)
    pools = tuple(step for step in removed.then if step == "pool")
    if index < len(convolutions):
        follower = convolutions[index]
        if removed.reads == "all":
            follower = replace(follower, reads="all")
        if index == 0:
            follower = replace(follower, stride=removed.stride, padding=(0, 0), then=follower.then + pools)
        convolutions[index] = follower
    if index:
        convolutions[index - 1] = replace(convolutions[index - 1], then=convolutions[index - 1].then + pools)
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
