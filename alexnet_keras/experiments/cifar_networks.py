"""The paper's networks for CIFAR-10, which it names and does not give.

Section 3.1 speaks of "a four-layer convolutional network", section 3.3 of "a four-layer CNN" with 13 % test error
without normalisation and 11 % with. The second two are in what the authors released as cuda-convnet: its
`layers-conv-local-13pct.cfg` and `layers-conv-local-11pct.cfg`, two convolutional and two locally-connected layers
under the classifier. For the first we take the network with four layers of weights there, `layers-19pct.cfg`.
"""

from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
from keras import layers

from alexnet_keras.backend import CHANNELS_LAST, Tensor
from alexnet_keras.layers import LocallyConnected2D, LocalResponseNormalization, MeanSubtraction
from alexnet_keras.model import seed_of_part
from alexnet_keras.training.optimizer import AlexNetSGD

CLASSES = 10


@dataclass(frozen=True)
class CifarNetwork:
    """What one of these networks is, and how it is trained.

    Attributes:
        kind: `"convolutional"` (section 3.1) or `"local"` (section 3.3).
        activation: of every hidden layer.
        normalize: local response normalisation after both convolutions of `"local"`.
        side: of the crop that it sees, pixels; 32 is the whole picture.
        decay: of the weights from the locally-connected layers on.
        weight_rate, bias_rate: at the start. cuda-convnet: epsW 0.001 and epsB 0.002.
    """

    kind: Literal["convolutional", "local"]
    activation: Literal["relu", "tanh"] = "relu"
    normalize: bool = False
    side: int = 32
    decay: float = 0.0
    weight_rate: float = 0.001
    bias_rate: float = 0.002


def build(network: CifarNetwork, mean_image: np.ndarray, seed: int, dtype: str = "float32") -> keras.Model:
    """The model: uint8 crops `(batch, side, side, 3)` to logits `(batch, 10)`, float32.

    Args:
        mean_image: `(32, 32, 3)`, 0..255; the centre is subtracted from every crop.
        seed: of the initial weights.
        dtype: a Keras dtype policy.
    """
    options = {"dtype": dtype}
    margin = (mean_image.shape[0] - network.side) // 2
    mean = mean_image[margin : margin + network.side, margin : margin + network.side]

    def weights(name: str, std: float) -> dict:
        start = keras.initializers.RandomNormal(0.0, std, seed=seed_of_part(seed, name))
        return {"kernel_initializer": start, "name": name, **options}

    def convolution(name: str, filters: int, std: float) -> layers.Layer:
        return layers.Conv2D(filters, 5, padding="same", data_format=CHANNELS_LAST, **weights(name, std))

    def nonlinear(x: Tensor) -> Tensor:
        return layers.Activation(network.activation, **options)(x)

    def pooled(x: Tensor, kind: type[layers.Layer] = layers.MaxPooling2D) -> Tensor:
        # windows that end outside, as cuda-convnet's
        return kind(3, 2, padding="same", data_format=CHANNELS_LAST, **options)(x)

    image = keras.Input((network.side, network.side, 3), name="image", dtype="uint8")
    x = MeanSubtraction(mean.shape, mean, name="mean")(image)
    if network.kind == "convolutional":  # layers-19pct.cfg
        x = nonlinear(pooled(convolution("conv1", 32, 0.0001)(x)))
        x = pooled(nonlinear(convolution("conv2", 32, 0.01)(x)), layers.AveragePooling2D)
        x = pooled(nonlinear(convolution("conv3", 64, 0.01)(x)), layers.AveragePooling2D)
    else:  # layers-conv-local-13pct.cfg, and with normalisation layers-conv-local-11pct.cfg
        for index, std in ((1, 0.0001), (2, 0.01)):
            x = nonlinear(convolution(f"conv{index}", 64, std)(x))
            if network.normalize:  # rnorm: scale 0.001, divided by its size, power 0.75, constant 1
                x = LocalResponseNormalization(5, 0.001, 0.75, 1.0, "mean", name=f"norm{index}", **options)(x)
            x = pooled(x)
        for index in (3, 4):
            x = nonlinear(LocallyConnected2D(32, 3, **weights(f"local{index}", 0.04))(x))
    x = layers.Flatten(data_format=CHANNELS_LAST, **options)(x)
    logits = layers.Dense(CLASSES, **weights("fc10", 0.01))(x)
    return keras.Model(image, layers.Activation("linear", dtype="float32", name="logits")(logits))


def optimizer_of(network: CifarNetwork, model: keras.Model) -> AlexNetSGD:
    """The paper's update rule with the network's rates; in the released networks convolutions have no decay."""
    decays = dict.fromkeys(("conv1", "conv2", "conv3"), 0.0)
    optimizer = AlexNetSGD(
        network.weight_rate, network.bias_rate, decay=network.decay, layer_decays=decays, name="cifar_sgd"
    )
    optimizer.build(model.trainable_variables)
    return optimizer
