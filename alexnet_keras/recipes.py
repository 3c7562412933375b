"""Every constant of AlexNet, in one place, each with where it comes from.

Two primary sources describe the network and they disagree:

* **paper**: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
  Networks", NIPS 2012;
* **net 145**: `layers/layers-145.cfg` and `layers/layer-params-145.cfg` of the code released by the Computer
  History Museum in 2025, the network behind the paper's tables.

A recipe is a frozen dataclass: the network, the augmentation and the training. `source` is net 145, `paper` is
the prose, `quickstart` is the same topology made narrow for a processor without a GPU. `caffe`, `caffenet` and
`torchvision` are the networks whose published weights `alexnet import` reads. `recipe_files` reads, overrides and
writes them.

This module imports neither Keras nor TensorFlow.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

Positive = Field(gt=0)
NotNegative = Field(ge=0)
STRICT = pydantic.ConfigDict(extra="forbid", strict=True)

Step = Literal["relu", "tanh", "lrn", "spatial_norm", "pool"]

# Colour statistics of ImageNet 2012 as the released code used them (color_pca and data_mean of its batches.meta,
# RGB, 0..255). They stand in where no prepared dataset gives its own.
IMAGENET_RGB_MEAN = (127.3049, 119.7154, 104.9126)
IMAGENET_COLOR_STDS = (19.7208, 37.0939, 121.7801)
IMAGENET_COLOR_VECTORS = (  # in columns
    (0.41795513, -0.71257945, -0.56351045),
    (-0.81698062, -0.02354167, -0.5761844),
    (0.39731118, 0.70119634, -0.59200296),
)


RATE_FACTOR = "ours: times the rates of this layer, for fine-tuning; 0 freezes it; 1 in both sources"
LAYER_DECAY = "decay of this layer's weights; training.weight_decay if not given, as in both sources"


def _cited(default: Any, source: str) -> Any:
    """A field with a default, saying what it is and where it comes from."""
    return field(default=default, metadata={"source": source})


@dataclass(frozen=True)
class Convolution:
    """One convolutional layer, in every tower. Initial weights are N(0, initial_std), biases constant."""

    __pydantic_config__ = STRICT

    name: str
    filters: Annotated[int, Positive] = field(metadata={"source": "kernels per tower"})
    kernel: Annotated[int, Positive] = field(metadata={"source": "side of a kernel, pixels"})
    stride: Annotated[int, Positive] = _cited(1, "pixels")
    padding: tuple[Annotated[int, NotNegative], Annotated[int, NotNegative]] = _cited(
        (0, 0), "zeros (above and left, below and right), pixels"
    )
    reads: Literal["own", "all"] = _cited("own", "kernel maps of its own tower, or of all towers")
    initial_std: Annotated[float, NotNegative] = _cited(
        0.01, "paper, section 5: 0.01 everywhere; net 145: initW 0.01, but 0.03 for conv3, conv4 and conv5"
    )
    initial_bias: float = _cited(0.0, "paper, section 5 and net 145 initB: 1 in conv2, conv4 and conv5")
    then: tuple[Step, ...] = _cited(("relu",), "what follows, in order")
    rate_factor: Annotated[float, NotNegative] = _cited(1.0, RATE_FACTOR)
    weight_decay: Annotated[float, NotNegative] | None = _cited(None, LAYER_DECAY)


@dataclass(frozen=True)
class Dense:
    """One fully-connected layer, in every tower."""

    __pydantic_config__ = STRICT

    name: str
    units: Annotated[int, Positive] = field(metadata={"source": "neurons per tower"})
    reads: Literal["own", "all"] = _cited("all", "paper, figure 2 and net 145")
    initial_std: Annotated[float, NotNegative] = _cited(0.01, "paper, section 5; net 145: fc initW")
    initial_bias: float = _cited(1.0, "paper, section 5; net 145: fc initB")
    dropout: Annotated[float, Field(ge=0, lt=1)] = _cited(
        0.5, "paper, section 4.2; net 145: a plain mask, outputs times 0.5 at test time"
    )
    activation: Literal["relu", "tanh"] = _cited("relu", "paper, section 3.1")
    rate_factor: Annotated[float, NotNegative] = _cited(1.0, RATE_FACTOR)
    weight_decay: Annotated[float, NotNegative] | None = _cited(None, LAYER_DECAY)


@dataclass(frozen=True)
class LocalResponse:
    """Local response normalisation (paper, section 3.3): b = a / (k + alpha * S)^beta over n adjacent kernel maps.

    The windows stay inside a tower, as in net 145. The paper speaks of "the total number of kernels in the
    layer", but its figure 2 leaves the towers no way to communicate there. Caffe has no towers there.
    """

    __pydantic_config__ = STRICT

    k: float = _cited(2.0, "paper, section 3.3; net 145")
    n: Annotated[int, Positive] = _cited(5, "paper, section 3.3; net 145: size")
    alpha: float = _cited(1e-4, "paper, section 3.3; net 145: scale")
    beta: float = _cited(0.75, "paper, section 3.3; net 145: pow")
    alpha_convention: Literal["sum", "mean"] = _cited(
        "mean",
        "paper: S is the sum of squares; net 145: the sum divided by n, an alpha of 2e-5 in the paper's terms",
    )
    windows: Literal["tower", "layer"] = _cited(
        "tower", "net 145: over the maps of one tower; Caffe: over those of the layer, both towers' side by side"
    )


@dataclass(frozen=True)
class SpatialResponse:
    """Normalisation over a map's own neighbourhood (net 145 after conv2's LRN; not in the paper)."""

    __pydantic_config__ = STRICT

    size: Annotated[int, Positive] = _cited(5, "net 145: rnorm size")
    scale: float = _cited(0.001, "net 145: rnorm scale, divided by size^2")
    beta: float = _cited(0.75, "net 145: rnorm pow")
    k: float = _cited(1.0, "cuda-convnet: the constant of rnorm")


@dataclass(frozen=True)
class Network:
    """The layers. Sizes are per tower, as in the released configuration."""

    __pydantic_config__ = STRICT

    convolutions: tuple[Convolution, ...]
    dense: tuple[Dense, ...]
    towers: Annotated[int, Positive] = _cited(2, "paper, section 3.2: one per GPU")
    input_size: Annotated[int, Positive] = _cited(224, "paper, section 3.5; net 145: side of the crop, pixels")
    pool_size: Annotated[int, Positive] = _cited(3, "paper, section 3.4: z = 3; net 145: sizeX")
    pool_stride: Annotated[int, Positive] = _cited(2, "paper, section 3.4: s = 2; net 145: stride")
    lrn: LocalResponse = LocalResponse()
    spatial_norm: SpatialResponse = SpatialResponse()
    classifier_std: Annotated[float, NotNegative] = _cited(0.01, "paper, section 5; net 145: fc8 initW")
    classifier_bias: float = _cited(0.0, "paper, section 5; net 145: fc8 initB")
    classifier_rate_factor: Annotated[float, NotNegative] = _cited(1.0, RATE_FACTOR)
    classifier_weight_decay: Annotated[float, NotNegative] | None = _cited(None, LAYER_DECAY)


@dataclass(frozen=True)
class Augmentation:
    """What is done to the 256x256 image before the network sees a crop of it."""

    __pydantic_config__ = STRICT

    mean: Literal["image", "channel"] = _cited(
        "image", "net 145: a 256x256x3 mean image, its centre crop subtracted whatever the crop position"
    )
    input_scale: Annotated[float, Positive] = _cited(
        1.0,
        "times pixels less their mean: 1 in paper and net 145, which divide by nothing; 1 / the pixels' standard "
        "deviation in many reproductions",
    )
    random_crop: bool = _cited(True, "paper, section 4.1; the source: offsets 0..32 in each axis")
    flip: bool = _cited(True, "paper, section 4.1: horizontal reflections")
    crop_group: Annotated[int, Positive] = _cited(
        32, "the source: one crop and flip shared by 32 consecutive images; paper: one per image"
    )
    color_noise: Annotated[float, NotNegative] = _cited(0.1, "paper, section 4.1: standard deviation of alpha")
    color_noise_scale: Literal["standard_deviation", "eigenvalue"] = _cited(
        "standard_deviation",
        "paper: alpha * eigenvalue (of pixels scaled to 0..1, else unusable); the source: alpha * standard deviation",
    )
    color_noise_rescale: bool = _cited(
        True, "the source: image and noise are divided by 1 + color_noise; not in the paper"
    )


@dataclass(frozen=True)
class Schedule:
    """Learning rates over time. Epochs are counted from 0 and scaled by (training.epochs / length)."""

    __pydantic_config__ = STRICT

    kind: Literal["steps", "plateau", "dexp"] = _cited(
        "steps",
        "net 145: divided by hand at fixed epochs; plateau: when the validation error stalls (paper, section 5); "
        "dexp: equal stretches at falling rates (net 170)",
    )
    length: Annotated[int, Positive] = _cited(91, "net 145: stopped at epoch 91; the epochs below are of this many")
    factor: Annotated[float, Field(gt=1)] = _cited(10.0, "paper, section 5; net 145")
    drop_epochs: tuple[Annotated[int, NotNegative], ...] = _cited((25, 51, 79), "net 145: epsW 0.01 to 1e-5")
    biases_drop: bool = _cited(False, "paper: one rate for all; net 145: epsB stays at 0.02")
    conv1_lowered_epoch: Annotated[int, NotNegative] | None = _cited(None, "net 145: conv1 epsW lowered at 67")
    conv1_lowered_rate: Annotated[float, NotNegative] = _cited(1e-5, "net 145: conv1 epsW from then on")
    conv1_frozen_epoch: Annotated[int, NotNegative] | None = _cited(None, "net 145: conv1 epsW 0 from 72")
    color_noise_off_epoch: Annotated[int, NotNegative] | None = _cited(
        None, "net 145: colour noise off for about the last quarter, from 67"
    )
    plateau_drops: Annotated[int, NotNegative] = _cited(3, "paper, section 5: reduced three times before termination")
    plateau_patience: Annotated[int, Positive] = _cited(
        5, "ours: epochs without a new best validation error that count as a stall; the authors judged by eye"
    )
    dexp_weights: tuple[Annotated[float, Field(ge=1)], Annotated[int, Field(ge=2)]] = _cited(
        (250.0, 4), "net 170: dexp[factor, stretches]; stretch i has the rate times factor^(-i / (stretches - 1))"
    )
    dexp_biases: tuple[Annotated[float, Field(ge=1)], Annotated[int, Field(ge=2)]] = _cited(
        (10.0, 2), "net 170: the same for the biases"
    )


@dataclass(frozen=True)
class Training:
    """The optimisation: v = momentum v - decay rate w - rate gradient; w = w + v (paper, section 5)."""

    __pydantic_config__ = STRICT

    epochs: Annotated[int, Positive] = _cited(91, "paper, section 5: roughly 90; net 145: 91")
    batch_size: Annotated[int, Positive] = _cited(128, "paper, section 5; net 145")
    momentum: Annotated[float, Field(ge=0, lt=1)] = _cited(0.9, "paper, section 5; net 145: momW")
    weight_decay: Annotated[float, NotNegative] = _cited(0.0005, "paper, section 5; net 145: wc")
    bias_decay: Annotated[float, NotNegative] = _cited(0.0, "paper: as for all weights; net 145: none on biases")
    weight_rate: Annotated[float, Positive] = _cited(0.01, "paper, section 5; net 145: epsW")
    bias_rate: Annotated[float, Positive] = _cited(0.02, "paper: equal for all layers; net 145: epsB")
    schedule: Schedule = Schedule()


@dataclass(frozen=True)
class Recipe:
    """A network, its augmentation and its training: all that two runs must share to be the same experiment."""

    __pydantic_config__ = STRICT

    name: str
    summary: str
    network: Network
    augmentation: Augmentation = Augmentation()
    training: Training = Training()


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
    source = _source()
    order = {"conv1": ("relu", "lrn", "pool"), "conv2": ("relu", "lrn", "pool")}  # paper, section 3.5
    return replace(
        source,
        name="paper",
        summary="The prose of the 2012 paper, where it differs from the code. On a small dataset its initial weights "
        "leave the loss at ln(classes) for hundreds of steps; `source` starts sooner.",
        network=replace(
            source.network,
            convolutions=tuple(
                replace(conv, initial_std=0.01, then=order.get(conv.name, conv.then))  # paper, section 5
                for conv in source.network.convolutions
            ),
            lrn=replace(source.network.lrn, alpha_convention="sum"),
        ),
        augmentation=Augmentation(crop_group=1, color_noise_scale="eigenvalue", color_noise_rescale=False),
        training=Training(
            epochs=90,
            bias_decay=0.0005,
            bias_rate=0.01,
            schedule=Schedule(
                kind="plateau",
                length=90,
                biases_drop=True,
            ),
        ),
    )


def _quickstart() -> Recipe:
    source = _source()
    filters = {"conv1": 24, "conv2": 32, "conv3": 48, "conv4": 48, "conv5": 32}
    # A narrower layer adds up fewer inputs. From conv3 on its initial weights are larger by the square root of the
    # ratio, so that the signal starts as strong as in `source`; with 0.01 and 0.03 the loss stays at ln(classes)
    # longer. conv1 starts smaller and conv2 makes up for it: in minutes of training conv1's kernels then outgrow
    # their initial noise, and figure 3 shows what they have learnt.
    stds = {"conv1": 0.003, "conv2": 0.045, "conv3": 0.06, "conv4": 0.06, "conv5": 0.06}
    return replace(
        source,
        name="quickstart",
        summary="The topology of `source`, narrower, for a processor without a GPU and for the demo data: minutes.",
        network=replace(
            source.network,
            convolutions=tuple(
                replace(conv, filters=filters[conv.name], initial_std=stds[conv.name])
                for conv in source.network.convolutions
            ),
            dense=(Dense("fc6", 256, initial_std=0.02), Dense("fc7", 256, initial_std=0.028)),
            classifier_std=0.028,
        ),
        augmentation=replace(source.augmentation, crop_group=1),
        training=replace(
            source.training,
            epochs=24,
            batch_size=32,
            schedule=Schedule(length=24, drop_epochs=(18, 22), color_noise_off_epoch=18),
        ),
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
    caffe = _caffe()
    order = {"conv1": ("relu", "pool", "lrn"), "conv2": ("relu", "pool", "lrn")}
    net = caffe.network
    return replace(
        caffe,
        name="caffenet",
        summary="CaffeNet, bvlc_reference_caffenet: `caffe` with pooling before normalisation and biases of 1 "
        "(ImageNet 2012 validation, centre crop: 57.4 % top-1, 80.4 % top-5 accuracy).",
        network=replace(
            net,
            convolutions=tuple(
                replace(conv, initial_bias=1.0 if conv.initial_bias else 0.0, then=order.get(conv.name, conv.then))
                for conv in net.convolutions
            ),
            dense=tuple(replace(dense, initial_bias=1.0) for dense in net.dense),
        ),
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
            classifier_std=std(4096),
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


BUILT_IN = {
    recipe.name: recipe for recipe in (_source(), _paper(), _quickstart(), _caffe(), _caffenet(), _torchvision())
}
