"""The recipes that come with the package: net 145, the paper's prose, narrow and published networks, and a modern one.

`modern` keeps the layers of `source`, their sizes and the number of parameters, and changes how it is trained: one
function per choice, from a recipe to a recipe. `alexnet reproduce modern` measures each choice by leaving it out;
docs/modern.md has the figures."""

import math
from collections.abc import Callable
from typing import Any

from alexnet_keras.recipes.edits import edit
from alexnet_keras.recipes.geometry import fan_ins
from alexnet_keras.recipes.schema import (
    CLASSIFIER,
    IMAGENET_COLOR_STDS,
    Augmentation,
    Classifier,
    Convolution,
    Dense,
    LocalResponse,
    Network,
    Recipe,
    Schedule,
    Training,
)

PIXEL_STD = math.hypot(*IMAGENET_COLOR_STDS) / math.sqrt(3)  # 74.4 of 255, of a pixel's channel less its mean
WARMUP = 1 / 20  # of the epochs
DROPOUT = 0.25  # half of the paper's, which "roughly doubles the number of iterations" (section 4.2)
LABEL_SMOOTHING = 0.1  # Szegedy and others, 2015
AVERAGED = 1 / 30  # of the epochs
NOT_BY_HAND = {"conv1_lowered_epoch": None, "conv1_frozen_epoch": None, "color_noise_off_epoch": None}


def _in(table: str, **values: Any) -> dict[str, Any]:
    """Return changes, as `edit` takes them, of fields of one table of a recipe."""
    return {f"{table}.{field}": value for field, value in values.items()}


def initialisation(recipe: Recipe) -> Recipe:
    """Weights that keep the signal's size through ReLUs (He and others, 2015), biases of 0, input of unit variance."""
    fans = fan_ins(recipe.network)
    changes: dict[str, float] = {"augmentation.input_scale": 1 / PIXEL_STD}
    for name, fan_in in fans.items():
        changes[f"network.{name}.initial_std"] = math.sqrt((1 if name == CLASSIFIER else 2) / fan_in)
        if name != CLASSIFIER:
            changes[f"network.{name}.initial_bias"] = 0.0
    return edit(recipe, changes)


def schedule(recipe: Recipe) -> Recipe:
    """Rates that rise over the first epochs and fall along half a cosine, the same for weights and biases."""
    epochs, warmup = recipe.training.epochs, max(1, round(WARMUP * recipe.training.epochs))
    slow = {"kind": "cosine", "length": epochs, "warmup_epochs": warmup, "drop_epochs": (), **NOT_BY_HAND}
    return edit(recipe, {**_in("training.schedule", **slow), "training.bias_rate": recipe.training.weight_rate})


def label_smoothing(recipe: Recipe) -> Recipe:
    """A tenth of the target spread over all classes."""
    return edit(recipe, {"training.label_smoothing": LABEL_SMOOTHING})


def averaging(recipe: Recipe) -> Recipe:
    """A running average of the weights is what is tested."""
    return edit(recipe, {"training.averaging_epochs": AVERAGED * recipe.training.epochs})


def augmentation(recipe: Recipe) -> Recipe:
    """A crop and flip for every image, and colour noise that leaves the contrast alone, as the paper has them."""
    return edit(recipe, _in("augmentation", crop_group=1, color_noise_rescale=False))


def less_dropout(recipe: Recipe) -> Recipe:
    """Every hidden neuron left out in a quarter of the steps, not in half of them."""
    return edit(recipe, {f"network.{layer.name}.dropout": DROPOUT for layer in recipe.network.dense})


def smaller_batches(recipe: Recipe) -> Recipe:
    """Batches of half as many images at the same rates, so twice the steps."""
    return edit(recipe, {"training.batch_size": recipe.training.batch_size // 2})


CHOICES: dict[str, Callable[[Recipe], Recipe]] = {
    "initialisation": initialisation,
    "schedule": schedule,
    "label-smoothing": label_smoothing,
    "averaging": averaging,
    "augmentation": augmentation,
    "less-dropout": less_dropout,
    "smaller-batches": smaller_batches,
}


def modernised(recipe: Recipe, without: str = "") -> Recipe:
    """Return a recipe with every choice of `modern`, but for one that is left out."""
    for name, choice in CHOICES.items():
        if name != without:
            recipe = choice(recipe)
    return recipe


MODERN_EPOCHS = 45  # half of source's


def _source() -> Recipe:
    return Recipe(
        name="source",
        summary="Net 145 of the released 2012 code: the network behind the paper's tables "
        "(ImageNet 2012 validation, ten crops: 40.7 % top-1, 18.2 % top-5 error after 91 epochs).",
        network=Network(
            convolutions=(
                # net 145: the order is conv, LRN, pool, ReLU. The last window reads three zeros:
                # (224 + 3 - 11) / 4 + 1 = 55.
                Convolution("conv1", 48, 11, 4, (0, 3), "all", 0.01, 0.0, ("lrn", "pool", "relu")),
                Convolution("conv2", 128, 5, 1, (2, 2), "own", 0.01, 1.0, ("relu", "lrn", "spatial_norm", "pool")),
                Convolution("conv3", 192, 3, 1, (1, 1), "all", 0.03, 0.0, ("relu",)),
                Convolution("conv4", 192, 3, 1, (1, 1), "own", 0.03, 1.0, ("relu",)),
                Convolution("conv5", 128, 3, 1, (1, 1), "own", 0.03, 1.0, ("relu", "pool")),
            ),
            dense=(Dense("fc6", 2048), Dense("fc7", 2048)),
        ),
        training=Training(
            schedule=Schedule(
                conv1_lowered_epoch=67,
                conv1_frozen_epoch=72,
                color_noise_off_epoch=67,  # net 145
            )
        ),
    )


def _paper() -> Recipe:
    return edit(
        _source(),
        {
            "name": "paper",
            "summary": "The prose of the 2012 paper, where it differs from the code. On a small dataset its initial "
            "weights leave the loss at ln(classes) for hundreds of steps; `source` starts sooner.",
            # section 3.5
            "network.conv1.followed_by": ("relu", "lrn", "pool"),
            "network.conv2.followed_by": ("relu", "lrn", "pool"),
            # section 5
            **{f"network.{name}.initial_std": 0.01 for name in ("conv3", "conv4", "conv5")},
            "network.lrn.alpha_convention": "sum",
            **_in("augmentation", crop_group=1, color_noise_scale="eigenvalue", color_noise_rescale=False),
            **_in("training", epochs=90, bias_decay=0.0005, bias_rate=0.01),
            **_in("training.schedule", kind="plateau", length=90, biases_drop=True, **NOT_BY_HAND),
        },
    )


def _quickstart() -> Recipe:
    # A narrower layer adds up fewer inputs. From conv3 on its initial weights are larger by the square root of the
    # ratio, so that the signal starts as strong as in `source`; with 0.01 and 0.03 the loss stays at ln(classes)
    # longer. conv1 starts smaller and conv2 makes up for it: in minutes of training conv1's kernels then outgrow
    # their initial noise, and figure 3 shows what they have learnt.
    return edit(
        _source(),
        {
            "name": "quickstart",
            "summary": "The topology of `source`, narrower, for a processor without a GPU and for the demo data: "
            "minutes.",
            **_in("network.conv1", filters=24, initial_std=0.003),
            **_in("network.conv2", filters=32, initial_std=0.045),
            **_in("network.conv3", filters=48, initial_std=0.06),
            **_in("network.conv4", filters=48, initial_std=0.06),
            **_in("network.conv5", filters=32, initial_std=0.06),
            **_in("network.fc6", units=256, initial_std=0.02),
            **_in("network.fc7", units=256, initial_std=0.028),
            "network.fc8.initial_std": 0.028,
            "augmentation.crop_group": 1,
            **_in("training", epochs=24, batch_size=32),
            **_in("training.schedule", length=24, drop_epochs=(18, 22), **NOT_BY_HAND),
            "training.schedule.color_noise_off_epoch": 18,
        },
    )


def _caffe() -> Recipe:
    """models/bvlc_alexnet of github.com/BVLC/caffe: train_val.prototxt, solver.prototxt and readme.md."""
    return Recipe(
        name="caffe",
        summary="AlexNet as Caffe has it, bvlc_alexnet (ImageNet 2012 validation, centre crop: 57.1 % top-1, 80.2 % "
        "top-5 accuracy). Its normalisation has k = 1 and looks across the towers, its crops are 227 pixels wide.",
        network=Network(
            input_size=227,  # (227 - 11) / 4 + 1 = 55: Caffe reads real pixels where net 145 reads zeros
            convolutions=(
                Convolution("conv1", 48, 11, 4, (0, 0), "all", 0.01, 0.0, ("relu", "lrn", "pool")),
                Convolution("conv2", 128, 5, 1, (2, 2), "own", 0.01, 0.1, ("relu", "lrn", "pool")),
                Convolution("conv3", 192, 3, 1, (1, 1), "all", 0.01, 0.0, ("relu",)),
                Convolution("conv4", 192, 3, 1, (1, 1), "own", 0.01, 0.1, ("relu",)),
                Convolution("conv5", 128, 3, 1, (1, 1), "own", 0.01, 0.1, ("relu", "pool")),
            ),
            # Caffe's dropout is the inverted form: what follows one reads numbers twice as large in training there.
            dense=(
                Dense("fc6", 2048, initial_std=0.005, initial_bias=0.1),
                Dense("fc7", 2048, initial_std=0.005, initial_bias=0.1),
            ),
            lrn=LocalResponse(k=1.0, windows="layer"),
        ),
        augmentation=Augmentation(crop_group=1, color_noise=0.0, color_noise_rescale=False),  # readme: no relighting
        training=Training(
            epochs=90,  # max_iter 450,000 of 256 images
            batch_size=256,
            schedule=Schedule(length=90, drop_epochs=(20, 40, 60, 80), biases_drop=True),  # stepsize 100,000
        ),
    )


def _caffenet() -> Recipe:
    """models/bvlc_reference_caffenet of the same repository."""
    return edit(
        _caffe(),
        {
            "name": "caffenet",
            "summary": "CaffeNet, bvlc_reference_caffenet: `caffe` with pooling before normalisation and biases of 1 "
            "(ImageNet 2012 validation, centre crop: 57.4 % top-1, 80.4 % top-5 accuracy).",
            "network.conv1.followed_by": ("relu", "pool", "lrn"),
            "network.conv2.followed_by": ("relu", "pool", "lrn"),
            **{f"network.{name}.initial_bias": 1.0 for name in ("conv2", "conv4", "conv5", "fc6", "fc7")},
        },
    )


def _torchvision() -> Recipe:
    """torchvision/models/alexnet.py and references/classification of github.com/pytorch/vision."""

    def std(inputs: int) -> float:  # of PyTorch's initial weights, uniform in +-1 / sqrt(inputs)
        return (3 * inputs) ** -0.5

    return Recipe(
        name="torchvision",
        summary="torchvision's alexnet, of Krizhevsky's \"One weird trick\" (2014): one tower, no normalisation "
        "(ImageNet 2012 validation, centre crop: 56.522 % top-1, 79.066 % top-5 accuracy). The dropout that it has "
        "before fc6, too, and its crops of random size are left out in training.",
        network=Network(
            towers=1,
            convolutions=(
                Convolution("conv1", 64, 11, 4, (2, 2), "all", std(363), 0.0, ("relu", "pool")),
                Convolution("conv2", 192, 5, 1, (2, 2), "all", std(1600), 0.0, ("relu", "pool")),
                Convolution("conv3", 384, 3, 1, (1, 1), "all", std(1728), 0.0, ("relu",)),
                Convolution("conv4", 256, 3, 1, (1, 1), "all", std(3456), 0.0, ("relu",)),
                Convolution("conv5", 256, 3, 1, (1, 1), "all", std(2304), 0.0, ("relu", "pool")),
            ),
            dense=(
                Dense("fc6", 4096, initial_std=std(9216), initial_bias=0.0),
                Dense("fc7", 4096, initial_std=std(4096), initial_bias=0.0, dropout=0.0),
            ),
            classifier=Classifier(initial_std=std(4096)),
        ),
        augmentation=Augmentation(
            mean="channel",
            input_scale=1 / (255 * 0.226),  # pixels / 255, divided by the mean of torchvision's .229, .224 and .225
            crop_group=1,
            color_noise=0.0,
            color_noise_rescale=False,
        ),
        training=Training(
            epochs=90,
            batch_size=256,  # 32 on each of 8 GPUs
            weight_decay=1e-4,
            bias_decay=1e-4,
            bias_rate=0.01,
            schedule=Schedule(length=90, drop_epochs=(30, 60), biases_drop=True),
        ),
    )


def _modern() -> Recipe:
    changes = {
        "name": "modern",
        "summary": "The layers of `source`, trained with what has been learnt since, in half the epochs. "
        "`alexnet reproduce modern` compares their errors.",
        "training.epochs": MODERN_EPOCHS,
    }
    return modernised(edit(_source(), changes))


BUILT_IN = {
    recipe.name: recipe
    for recipe in (_source(), _paper(), _quickstart(), _modern(), _caffe(), _caffenet(), _torchvision())
}
