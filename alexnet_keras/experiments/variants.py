"""Networks that differ from a recipe in what an experiment names, and in nothing else.

Each function takes a recipe and returns another with the same name and summary; a test compares the fields. They work
on `source` and on `quickstart`, which is as deep and narrower.

The four initialisations are one recipe with the initial weights, biases and bias learning rates of four descriptions of
it. Bias rates are in proportion to the recipe's learning rate of the weights, as the descriptions give them.

Networks with a sixth convolutional layer, the CNNs* of table 2, follow the lab's lineage: net 145 on ILSVRC-2012; net
146, which has conv6, on Fall 2009 with conv1 to conv5 copied from it, their rates a tenth of the others'; on Fall 2011
with all convolutional layers copied; on ILSVRC-2012 with all but fc8 copied, the rate 0.001, conv1's 0.0001, fc8's
0.01."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.experiments.lab import Lab
from alexnet_keras.recipes.edits import edit
from alexnet_keras.recipes.schema import IMAGENET_COLOR_STDS, Classifier, Convolution, Dense, Recipe
from alexnet_keras.runs import Run
from alexnet_keras.training.start import InitialWeights


def no_normalization(recipe: Recipe) -> Recipe:
    """Remove local response and spatial normalisation (net 148)."""
    return _edit_steps(recipe, {"lrn": [], "spatial_norm": []})


def no_overlap(recipe: Recipe) -> Recipe:
    """Pool windows of 2 with stride 2, which leave maps of the same size (net 147; paper, section 3.4)."""
    return edit(recipe, {"network.pool_size": 2})


def one_tower(recipe: Recipe) -> Recipe:
    """Keep one of two towers, but conv5 and the dense layers as wide as both (net 145-half; paper, section 3.2).

    "Most of the net's parameters are in the first fully-connected layer", which reads conv5.
    """
    network = recipe.network
    last = network.convolutions[-1]
    widths = {f"network.{last.name}.filters": network.towers * last.filters}
    widths |= {f"network.{layer.name}.units": network.towers * layer.units for layer in network.dense}
    return edit(recipe, {"network.towers": 1, **widths})


def separate_towers(recipe: Recipe) -> Recipe:
    """Let the towers meet in the classifier alone (net 150)."""
    _, *others = recipe.network.convolutions  # the first reads the image in any case
    return _edit_each(recipe, (*others, *recipe.network.dense), reads="own")


def no_color_noise(recipe: Recipe) -> Recipe:
    """Leave out the second form of augmentation (paper, section 4.1)."""
    return edit(recipe, {"augmentation.color_noise": 0.0})


def no_crops(recipe: Recipe) -> Recipe:
    """Train on the centre of every image, unreflected: no first form of augmentation (paper, section 4.1)."""
    return edit(recipe, {"augmentation.random_crop": False, "augmentation.flip": False})


def no_dropout(recipe: Recipe) -> Recipe:
    """Keep every hidden neuron in every step, as strong as it is when tested (paper, section 4.2).

    In testing, what dropout keeps half of is halved. Here the weights that read it begin half as large instead, and
    their rates are a quarter, their decay four times as large, so that every step changes their outputs as it would
    there; their biases learn at a quarter of the rate, too. At full strength a rate that was chosen for masked inputs
    is too high: with 10 classes the last rectifiers are all dead after an epoch.
    """
    dense, changes = recipe.network.dense, dict[str, float]()
    readers: tuple[Dense | Classifier, ...] = (*dense[1:], recipe.network.classifier)
    for layer, reader in zip(dense, readers, strict=True):
        kept, decay = 1 - layer.dropout, reader.weight_decay
        changes |= {
            f"network.{layer.name}.dropout": 0.0,
            f"network.{reader.name}.initial_std": reader.initial_std * kept,
            f"network.{reader.name}.rate_factor": reader.rate_factor * kept**2,
            f"network.{reader.name}.weight_decay": (recipe.training.weight_decay if decay is None else decay) / kept**2,
        }
    return edit(recipe, changes)


def no_weight_decay(recipe: Recipe) -> Recipe:
    """Train without weight decay (paper, section 5)."""
    return edit(recipe, {"training.weight_decay": 0.0, "training.bias_decay": 0.0})


def tanh(recipe: Recipe) -> Recipe:
    """Replace ReLUs by tanh neurons, which saturate (paper, section 3.1)."""
    return _edit_each(_edit_steps(recipe, {"relu": ["tanh"]}), recipe.network.dense, activation="tanh")


def paper_initial_weights(recipe: Recipe) -> Recipe:
    """Draw all initial weights from N(0, 0.01) (paper, section 5)."""
    network = recipe.network
    changed = _edit_each(recipe, (*network.convolutions, *network.dense), initial_std=STD)
    return edit(changed, {"network.fc8.initial_std": STD})


def without(recipe: Recipe, name: str) -> Recipe:
    """Remove one convolutional layer (paper, section 7).

    The rest stays: the layer's pooling moves to its neighbour, so that the layers after it see maps of the same size;
    what it read, its own tower or both, the next layer reads, so that the towers communicate as before; without the
    first layer the next one reads the image, with the first one's stride.
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
    return replace(recipe, network=replace(recipe.network, convolutions=tuple(convolutions)))


def six_convolutions(recipe: Recipe) -> Recipe:
    """Add a sixth convolution after the last pooling, as wide as conv5 and reading both towers (net 146)."""
    network, last = recipe.network, recipe.network.convolutions[-1]
    sixth = Convolution("conv6", last.filters, 3, 1, (1, 1), "all", last.initial_std, 1.0, ("relu",))
    return replace(recipe, network=replace(network, convolutions=(*network.convolutions, sixth)))


def _edit_steps(recipe: Recipe, replaced: dict[str, list[str]]) -> Recipe:
    """The recipe with some steps after its convolutions replaced by others, or by none."""
    steps = {
        f"network.{conv.name}.followed_by": [new for step in conv.followed_by for new in replaced.get(step, [step])]
        for conv in recipe.network.convolutions
    }
    return edit(recipe, steps)


def _edit_each(recipe: Recipe, layers: Iterable[Convolution | Dense], **values: Any) -> Recipe:
    """The recipe with the same values in each of some layers."""
    return edit(recipe, {f"network.{layer.name}.{field}": values[field] for layer in layers for field in values})


STD = 0.01  # paper, section 5: every layer; bvlc_alexnet: weight_filler of conv1 to conv5 and fc8
CAFFE_HIDDEN_STD = 0.005  # bvlc_alexnet: weight_filler of fc6 and fc7
POSITIVE_BIASES = ("conv2", "conv4", "conv5")  # paper, section 5, "and the fully-connected hidden layers"; the rest 0
PAPER_BIAS = 1.0  # paper, section 5
CAFFE_BIAS = 0.1  # bvlc_alexnet: bias_filler of the same layers; its readme: "initialization to 1 gave flat loss"
PAPER_BIAS_RATE = 1.0  # paper, section 5: "an equal learning rate for all layers"; times the rate of weights
CAFFE_BIAS_RATE = 2.0  # bvlc_alexnet: lr_mult 1 of weights, 2 of biases


def pixel_std_of(color_stds: ArrayLike) -> float:
    """The standard deviation of pixels, all channels together, from those along the colours' components, 0..255."""
    return float(np.sqrt(np.mean(np.square(color_stds))))  # a covariance's trace is the sum of its eigenvalues


def initialisation_variants(base: Recipe, color_stds: ArrayLike = IMAGENET_COLOR_STDS) -> dict[str, Recipe]:
    """The recipe in four initialisations, by their names.

    source: as it is. paper: as the prose of the paper's section 5, weights N(0, 0.01), some biases 1, one rate for all.
    caffe: as Caffe's models/bvlc_alexnet/train_val.prototxt, with biases of 0.1 instead of 1 and smaller weights in fc6
    and fc7. unit-variance: as the prose, on pixels of variance 1, as many reproductions have it; neither the paper nor
    source divides the pixels.

    Args:
        base: The recipe that they share all else of; for `source` the built-in `source`, which is returned as it is.
        color_stds: Standard deviations of the training set's RGB values along their components, 0..255, for
            unit-variance. Default: ImageNet's.
    """
    pixel_std = pixel_std_of(color_stds)
    prose = _initialised(base, STD, PAPER_BIAS, PAPER_BIAS_RATE)
    caffe = _initialised(base, CAFFE_HIDDEN_STD, CAFFE_BIAS, CAFFE_BIAS_RATE)
    scaled = edit(prose, {"augmentation.input_scale": 1 / pixel_std})
    like_paper = "initialised as in the paper's section 5"
    return {
        "source": base,
        "paper": _named(prose, base, "paper", like_paper),
        "caffe": _named(caffe, base, "caffe", "initialised as Caffe's bvlc_alexnet"),
        "unit-variance": _named(scaled, base, "unit-variance", f"{like_paper}, with pixels divided by {pixel_std:.4g}"),
    }


def _initialised(base: Recipe, hidden_std: float, positive_bias: float, bias_rate: float) -> Recipe:
    """The recipe with initial weights of 0.01 except in the hidden dense layers, and the bias rate as a multiple."""
    values: dict[str, float] = {
        "network.fc8.initial_std": STD,
        "network.fc8.initial_bias": 0.0,
        "training.bias_rate": bias_rate * base.training.weight_rate,
    }
    for conv in base.network.convolutions:
        values[f"network.{conv.name}.initial_std"] = STD
        values[f"network.{conv.name}.initial_bias"] = positive_bias if conv.name in POSITIVE_BIASES else 0.0
    return _edit_each(edit(base, values), base.network.dense, initial_std=hidden_std, initial_bias=positive_bias)


def _named(recipe: Recipe, base: Recipe, initialisation: str, about: str) -> Recipe:
    return replace(recipe, name=f"{base.name}-{initialisation}", summary=f"{base.name}, {about}.")


COPIED_RATE = 0.1  # of the copied layers, of the others'; lab lineage: 0.001 against 0.01
FINE_TUNING_RATE = 0.1  # lab lineage: 0.001, where net 145 starts with 0.01
CONV1_RATE = 0.1  # of conv1 in fine-tuning, of the others'; lab lineage: 0.0001
FC8_RATE = 10.0  # of the new classifier, of the others'; lab lineage: 0.01
EPOCHS = {"full": 30, "photos": 10, "mini": 10}  # of each training after the first; the lineage does not give them
LAST_COPIED, LAST_CONVOLUTION, LAST_HIDDEN = "conv5", "conv6", "fc7"


def pretraining_recipe(recipe: Recipe, copied: int) -> Recipe:
    """The six-convolution network of a recipe, its first `copied` convolutions at a tenth of the rates."""
    six = six_convolutions(recipe)
    return _edit_each(six, six.network.convolutions[:copied], rate_factor=COPIED_RATE)


def fine_tuning_recipe(recipe: Recipe) -> Recipe:
    """The six-convolution network of a recipe at a tenth of its rates, conv1 slower, a new classifier faster."""
    six, training = six_convolutions(recipe), recipe.training
    rates = {
        "training.weight_rate": training.weight_rate * FINE_TUNING_RATE,
        "training.bias_rate": training.bias_rate * FINE_TUNING_RATE,
        f"network.{six.network.convolutions[0].name}.rate_factor": CONV1_RATE,
        "network.fc8.rate_factor": FC8_RATE,
    }
    return edit(six, rates)


def pretrained(lab: Lab, first: Run, datasets: list[PreparedDataset], seed: int) -> Run:
    """Train on datasets one after another, each network initialised with the one before; return the last.

    The first is initialised with the convolutions of a network that has five.
    """
    net, last, copied = first, LAST_COPIED, 5
    for data in datasets:
        recipe = pretraining_recipe(_short(lab), copied)
        net = lab.trained("six-conv", recipe, data, seed, InitialWeights(net, "last", last))
        last, copied = LAST_CONVOLUTION, 6
    return net


def fine_tuned(lab: Lab, origin: Run, data: PreparedDataset, seed: int) -> Run:
    """Fine-tune a pre-trained network on the dataset that it is tested on."""
    recipe = fine_tuning_recipe(_short(lab))
    return lab.trained("fine-tuned", recipe, data, seed, InitialWeights(origin, "last", LAST_HIDDEN))


def _short(lab: Lab) -> Recipe:
    return edit(lab.base_recipe, {"training.epochs": lab.options.epochs or EPOCHS[lab.options.scale]})
