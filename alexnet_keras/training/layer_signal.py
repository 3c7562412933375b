"""How strong signal and gradient are in every layer, from one batch: what tells a good start from a bad one.

Initial weights that are too small let every image look the same to the last layers. The loss then stays at ln(classes),
whatever the rate, until the first layers have grown.
"""

from dataclasses import dataclass

import keras
import tensorflow as tf

from alexnet_keras.layers import TowerConv2D, TowerDense
from alexnet_keras.recipes import Recipe
from alexnet_keras.training.schedule import plan_epoch, rate_factors


@dataclass(frozen=True)
class LayerSignal:
    """One layer that has weights, all towers together.

    Activations are what the next such layer reads, after ReLU, normalisation and pooling; of the classifier they are
    the logits.

    Attributes:
        name: Of the layer.
        activation_std: Standard deviation over all units and images.
        activation_size: Mean absolute value.
        zeros: Share that is exactly zero, 0..1.
        spread: Standard deviation of a unit over the images, averaged over the units: what tells images apart.
        weight_rms: Root mean square of the kernels.
        gradient_rms: Root mean square of the loss's gradient with respect to them.
        rate: Learning rate of the kernels in the first epoch.
    """

    name: str
    activation_std: float
    activation_size: float
    zeros: float
    spread: float
    weight_rms: float
    gradient_rms: float
    rate: float

    @property
    def update_ratio(self) -> float:
        """The size of a first update by this gradient as a share of the weights', without momentum and decay."""
        return self.rate * self.gradient_rms / self.weight_rms if self.weight_rms else 0.0


def measure_signal(model: keras.Model, recipe: Recipe, images: tf.Tensor, labels: tf.Tensor) -> list[LayerSignal]:
    """Signal and gradient of every layer that has weights, in the order of the network; nothing is changed.

    The loss is training's, the mean cross-entropy in nats, but without colour noise and with dropout as it is outside
    training, a multiplication by the share kept: what differs from image to image is the images' doing alone.

    Args:
        model: with a classifier; new from its recipe, or trained.
        recipe: the model's, for the rates of its first epoch.
        images: uint8 `(batch, height, width, 3)`.
        labels: int `(batch,)`.
    """
    layers = [layer for layer in model.layers if isinstance(layer, TowerConv2D | TowerDense)]
    reads = [layer.input for layer in layers[1:]] + [layers[-1].output]
    every = keras.Model(model.input, [_towers(tensors) for tensors in reads])
    kernels = [[kernel.value for kernel in layer.kernels] for layer in layers]

    with tf.GradientTape() as tape:
        activations = every(tf.convert_to_tensor(images), training=False)
        (logits,) = activations[-1]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, kernels)
    rates = plan_epoch(recipe.training, 0, [], rate_factors(recipe.network)).rates
    found = []
    for layer, towers, weights, slopes in zip(layers, activations, kernels, gradients, strict=True):
        std, size, zeros, spread = map(float, _activity(towers))
        rate = rates.get(layer.name, rates["weights"])
        found.append(LayerSignal(layer.name, std, size, zeros, spread, float(_rms(weights)), float(_rms(slopes)), rate))
    return found


def _activity(towers: list[tf.Tensor]) -> tuple[tf.Tensor, ...]:
    """Standard deviation, mean size, share of zeros and spread of the towers' activations, images first."""
    rows = [tf.reshape(tf.cast(tower, tf.float32), (tf.shape(tower)[0], -1)) for tower in towers]
    units = tf.concat(rows, axis=1)
    return (
        tf.math.reduce_std(units),
        tf.reduce_mean(tf.abs(units)),
        tf.reduce_mean(tf.cast(units == 0, tf.float32)),
        tf.reduce_mean(tf.math.reduce_std(units, axis=0)),
    )


def _rms(tensors: list[tf.Tensor]) -> tf.Tensor:
    flat = tf.concat([tf.reshape(tensor, (-1,)) for tensor in tensors], axis=0)
    return tf.sqrt(tf.reduce_mean(tf.square(tf.cast(flat, tf.float32))))


def _towers(tensors: tf.Tensor) -> list:
    return list(tensors) if isinstance(tensors, list | tuple) else [tensors]
