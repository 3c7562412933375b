"""Networks with a sixth convolutional layer, pre-trained on other classes and fine-tuned: the CNNs* of table 2.

The lab's lineage: net 145 on ILSVRC-2012; net 146, which has conv6, on Fall 2009 with conv1 to conv5 copied from it,
their rates a tenth of the others'; on Fall 2011 with all convolutional layers copied; on ILSVRC-2012 with all but fc8
copied, the rate 0.001, conv1's 0.0001, fc8's 0.01.
"""

from dataclasses import replace

from alexnet_keras.data.prepared import PreparedDataset
from alexnet_keras.experiments.lab import Lab, Start
from alexnet_keras.experiments.scales import base_recipe, with_epochs
from alexnet_keras.experiments.variants import six_convolutions
from alexnet_keras.recipes import Recipe
from alexnet_keras.runs import Run

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
        classifier_rate_factor=FC8_RATE,
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
