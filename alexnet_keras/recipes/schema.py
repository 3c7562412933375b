"""Every constant of AlexNet, in one place, each with where it comes from.

Two primary sources describe the network and they disagree:

* **paper**: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
  Networks", NIPS 2012;
* **net 145**: `layers/layers-145.cfg` and `layers/layer-params-145.cfg` of the code released by the Computer
  History Museum in 2025, the network behind the paper's tables.

A recipe is a frozen dataclass: the network, the augmentation and the training. `source` is net 145, `paper` is
the prose, `quickstart` is the same topology made narrow for a processor without a GPU. `caffe`, `caffenet` and
`torchvision` are the networks whose published weights `alexnet import` reads. They are in `built_in`; `edits`
changes recipes, `toml` reads and writes them.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
)


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("a window has a middle: take an odd number")
    return value


ClassWeights = Annotated[Literal["none", "balanced"], BeforeValidator(lambda value: "none" if value is None else value)]
Side = Annotated[int, Field(gt=0, le=256)]  # of a crop of an image of 256x256
Odd = Annotated[PositiveInt, AfterValidator(_odd)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Operation = Literal["relu", "tanh", "lrn", "spatial_norm", "pool"]
OPERATION_NAMES: dict[Operation, str] = {
    "lrn": "norm", "spatial_norm": "spatial", "pool": "pool", "relu": "relu", "tanh": "tanh",
}  # fmt: skip
ENDS = ("image", "mean", "color_noise", "flatten", "predictions", "features", "maps")  # layers of every model
Stretches = tuple[Annotated[float, Field(ge=1)], Annotated[int, Field(ge=2)]]

# Colour statistics of ImageNet 2012 as the released code used them (color_pca and data_mean of its batches.meta,
# RGB, 0..255). They stand in where no prepared dataset gives its own.
IMAGENET_RGB_MEAN = (127.3049, 119.7154, 104.9126)
IMAGENET_COLOR_STDS = (19.7208, 37.0939, 121.7801)
IMAGENET_COLOR_VECTORS = (  # in columns
    (0.41795513, -0.71257945, -0.56351045),
    (-0.81698062, -0.02354167, -0.5761844),
    (0.39731118, 0.70119634, -0.59200296),
)


CLASSIFIER = "fc8"  # the classifier's name in both sources, and in every file of weights
RATE_FACTOR = "ours: multiplies the rates of this layer, for fine-tuning; 0 freezes it; 1 in both sources"
LAYER_DECAY = "decay of this layer's weights; training.weight_decay if not given, as in both sources"


def _cited(default: Any, source: str) -> Any:
    """Return a field with a default and a sentence on its meaning and origin."""
    return field(default=default, metadata={"source": source})


@dataclass(frozen=True)
class Convolution:
    """One convolutional layer, in every tower. Initial weights are N(0, initial_std), biases constant."""

    name: str
    filters: PositiveInt = field(metadata={"source": "kernels per tower"})
    kernel: PositiveInt = field(metadata={"source": "side of a kernel, pixels"})
    stride: PositiveInt = _cited(1, "pixels")
    padding: tuple[NonNegativeInt, NonNegativeInt] = _cited((0, 0), "zeros (above and left, below and right), pixels")
    reads: Literal["own", "all"] = _cited("own", "kernel maps of its own tower, or of all towers")
    initial_std: NonNegativeFloat = _cited(
        0.01, "paper, section 5: 0.01 everywhere; net 145: initW 0.01, but 0.03 for conv3, conv4 and conv5"
    )
    initial_bias: float = _cited(0.0, "paper, section 5 and net 145 initB: 1 in conv2, conv4 and conv5")
    followed_by: tuple[Operation, ...] = _cited(("relu",), "the operations after it, in order")
    rate_factor: NonNegativeFloat = _cited(1.0, RATE_FACTOR)
    weight_decay: NonNegativeFloat | None = _cited(None, LAYER_DECAY)

    @property
    def operations(self) -> list[tuple[Operation, str]]:
        """The operations after it, and their names in a model: `[("relu", "relu1"), ("pool", "pool1")]` of conv1."""
        found = []
        for place, kind in enumerate(self.followed_by):
            earlier = self.followed_by[:place].count(kind)  # a network less a layer pools twice after another
            index = self.name.removeprefix("conv") + (f"_{earlier + 1}" if earlier else "")
            found.append((kind, OPERATION_NAMES[kind] + index))
        return found


@dataclass(frozen=True)
class Dense:
    """One fully-connected layer, in every tower."""

    name: str
    units: PositiveInt = field(metadata={"source": "neurons per tower"})
    reads: Literal["own", "all"] = _cited("all", "paper, figure 2 and net 145")
    initial_std: NonNegativeFloat = _cited(0.01, "paper, section 5; net 145: fc initW")
    initial_bias: float = _cited(1.0, "paper, section 5; net 145: fc initB")
    dropout: BelowOne = _cited(0.5, "paper, section 4.2; net 145: a plain mask, outputs times 0.5 at test time")
    activation: Literal["relu", "tanh"] = _cited("relu", "paper, section 3.1")
    rate_factor: NonNegativeFloat = _cited(1.0, RATE_FACTOR)
    weight_decay: NonNegativeFloat | None = _cited(None, LAYER_DECAY)

    @property
    def activation_name(self) -> str:
        """The activation's name in a model: `relu_fc6` of fc6."""
        return f"{OPERATION_NAMES[self.activation]}_{self.name}"

    @property
    def dropout_name(self) -> str:
        """The dropout's name in a model: `drop6` of fc6."""
        return f"drop{self.name.removeprefix('fc')}"


@dataclass(frozen=True)
class Classifier:
    """The last layer, one unit per class. Net 145 has it on the first device alone; it reads all towers."""

    name: ClassVar[str] = CLASSIFIER
    reads: ClassVar[Literal["all"]] = "all"
    initial_std: NonNegativeFloat = _cited(0.01, "paper, section 5; net 145: fc8 initW")
    initial_bias: float = _cited(0.0, "paper, section 5; net 145: fc8 initB")
    rate_factor: NonNegativeFloat = _cited(1.0, RATE_FACTOR)
    weight_decay: NonNegativeFloat | None = _cited(None, LAYER_DECAY)


Layer: TypeAlias = Convolution | Dense | Classifier


@dataclass(frozen=True)
class LocalResponse:
    """Local response normalisation (paper, section 3.3): b = a / (k + alpha * S)^beta over n adjacent kernel maps.

    The windows stay inside a tower, as in net 145. The paper speaks of "the total number of kernels in the
    layer", but its figure 2 leaves the towers no way to communicate there. Caffe has no towers there.
    """

    k: float = _cited(2.0, "paper, section 3.3; net 145")
    n: Odd = _cited(5, "paper, section 3.3; net 145: size")
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

    size: Odd = _cited(5, "net 145: rnorm size")
    scale: float = _cited(0.001, "net 145: rnorm scale, divided by size^2")
    beta: float = _cited(0.75, "net 145: rnorm pow")
    k: float = _cited(1.0, "cuda-convnet: the constant of rnorm")


@dataclass(frozen=True)
class Network:
    """The layers. Sizes are per tower, as in the released configuration."""

    convolutions: tuple[Convolution, ...]
    dense: tuple[Dense, ...]
    classifier: Classifier = Classifier()
    towers: PositiveInt = _cited(2, "paper, section 3.2: one per GPU")
    input_size: Side = _cited(224, "paper, section 3.5; net 145: side of the crop, pixels")
    pool_size: PositiveInt = _cited(3, "paper, section 3.4: z = 3; net 145: sizeX")
    pool_stride: PositiveInt = _cited(2, "paper, section 3.4: s = 2; net 145: stride")
    lrn: LocalResponse = LocalResponse()
    spatial_norm: SpatialResponse = SpatialResponse()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that have weights, from the image to the classifier."""
        return (*self.convolutions, *self.dense, self.classifier)

    @property
    def names(self) -> list[str]:
        """The names of all layers of a model of it, those without weights included, which have to differ."""
        operations = [name for conv in self.convolutions for _, name in conv.operations]
        hidden = [name for dense in self.dense for name in (dense.activation_name, dense.dropout_name)]
        return [*ENDS, *(layer.name for layer in self.layers), *operations, *hidden]


@dataclass(frozen=True)
class Augmentation:
    """The changes to a 256x256 image before the network sees a crop of it."""

    mean: Literal["image", "channel"] = _cited(
        "image", "net 145: a 256x256x3 mean image, its centre crop subtracted whatever the crop position"
    )
    input_scale: PositiveFloat = _cited(
        1.0,
        "multiplies pixels less their mean: 1 in paper and net 145, which divide by nothing; 1 / the pixels' standard "
        "deviation in many reproductions",
    )
    random_crop: bool = _cited(True, "paper, section 4.1; the source: offsets 0..32 in each axis")
    crop_area: tuple[Share, Share] | None = _cited(
        None,
        "ours: a crop covers between these shares of the image's area, has an aspect ratio of 3:4 to 4:3 and is "
        "resized (Szegedy and others, 2014); in neither source",
    )
    flip: bool = _cited(True, "paper, section 4.1: horizontal reflections")
    crop_group: PositiveInt = _cited(
        32, "the source: one crop and flip shared by 32 consecutive images; paper: one per image"
    )
    color_noise: NonNegativeFloat = _cited(0.1, "paper, section 4.1: standard deviation of alpha")
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

    kind: Literal["steps", "plateau", "dexp", "cosine"] = _cited(
        "steps",
        "net 145: divided by hand at fixed epochs; plateau: when the validation error stalls (paper, section 5); "
        "dexp: equal stretches at falling rates (net 170); cosine: half a wave down to nothing (Loshchilov and "
        "Hutter, 2016)",
    )
    length: PositiveInt = _cited(91, "net 145: stopped at epoch 91; the epochs below are of this many")
    factor: Annotated[float, Field(gt=1)] = _cited(10.0, "paper, section 5; net 145")
    drop_epochs: tuple[NonNegativeInt, ...] = _cited((25, 51, 79), "net 145: epsW 0.01 to 1e-5")
    warmup_epochs: NonNegativeInt = _cited(
        0, "ours: epochs at the start in which the rates rise in equal steps (Goyal and others, 2017); none in 2012"
    )
    biases_drop: bool = _cited(False, "paper: one rate for all; net 145: epsB stays at 0.02")
    conv1_lowered_epoch: NonNegativeInt | None = _cited(None, "net 145: conv1 epsW lowered at 67")
    conv1_lowered_rate: NonNegativeFloat = _cited(1e-5, "net 145: conv1 epsW from then on")
    conv1_frozen_epoch: NonNegativeInt | None = _cited(None, "net 145: conv1 epsW 0 from 72")
    color_noise_off_epoch: NonNegativeInt | None = _cited(
        None, "net 145: colour noise off for about the last quarter, from 67"
    )
    plateau_drops: NonNegativeInt = _cited(3, "paper, section 5: reduced three times before termination")
    plateau_patience: PositiveInt = _cited(
        5, "ours: epochs without a new best validation error that count as a stall; the authors judged by eye"
    )
    dexp_weights: Stretches = _cited(
        (250.0, 4), "net 170: dexp[factor, stretches]; stretch i has the rate times factor^(-i / (stretches - 1))"
    )
    dexp_biases: Stretches = _cited((10.0, 2), "net 170: the same for the biases")


@dataclass(frozen=True)
class Training:
    """The optimisation: v = momentum v - decay rate w - rate gradient; w = w + v (paper, section 5)."""

    epochs: PositiveInt = _cited(91, "paper, section 5: roughly 90; net 145: 91")
    batch_size: PositiveInt = _cited(128, "paper, section 5; net 145")
    momentum: BelowOne = _cited(0.9, "paper, section 5; net 145: momW")
    weight_decay: NonNegativeFloat = _cited(0.0005, "paper, section 5; net 145: wc")
    bias_decay: NonNegativeFloat = _cited(0.0, "paper: as for all weights; net 145: none on biases")
    weight_rate: PositiveFloat = _cited(0.01, "paper, section 5; net 145: epsW")
    bias_rate: PositiveFloat = _cited(0.02, "paper: equal for all layers; net 145: epsB")
    label_smoothing: BelowOne = _cited(
        0.0, "ours: the share of the target that is spread over all classes (Szegedy and others, 2015); 0 in 2012"
    )
    class_weights: ClassWeights = _cited(
        "none", "ours: balanced: an image of a rare class counts more, so that every class counts alike; none in 2012"
    )
    patience: PositiveInt | None = _cited(
        None, "ours: the training ends after this many epochs without a new lowest validation error; never in 2012"
    )
    averaging_epochs: NonNegativeFloat = _cited(
        0.0,
        "ours: time constant, in epochs, of a running average of the weights, which is what is validated and kept "
        "(Polyak and Juditsky, 1992); 0: no average, as in 2012",
    )
    schedule: Schedule = Schedule()


@dataclass(frozen=True)
class Recipe:
    """A network, its augmentation and its training: all that two runs must share to be the same experiment."""

    # Holds for the classes of its fields, too.
    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    name: str
    summary: str
    network: Network
    augmentation: Augmentation = Augmentation()
    training: Training = Training()


ADAPTER = TypeAdapter(Recipe)
