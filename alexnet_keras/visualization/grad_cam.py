"""Grad-CAM: the places of an image that a class score depends on (Selvaraju et al., 2017).

The maps of a late layer, each weighted by the mean gradient of the class score with respect to it, are added; what is
left above zero says where the image speaks for the class, as finely as the maps are: 13x13 in AlexNet."""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from matplotlib import colormaps

from alexnet_keras.backend import require_tensorflow
from alexnet_keras.data.images import SHAPE
from alexnet_keras.errors import UsageError
from alexnet_keras.evaluation.crops import centre
from alexnet_keras.evaluation.errors import check_finite
from alexnet_keras.evaluation.features import outputs_of
from alexnet_keras.layers import TowerConv2D
from alexnet_keras.network.model import join_towers, logits_of
from alexnet_keras.network.summary import tower_layers
from alexnet_keras.visualization.activations import check_has_maps, layers_with_maps

COLORS = colormaps["inferno"]
STRENGTH = 0.65  # opacity of the colours of the hotter half over the image; below, it falls to 0 at no heat


@dataclass(frozen=True, eq=False)
class HeatMap:
    """Where an image speaks for a class.

    Attributes:
        crop: The network's input, uint8 `(side, side, 3)`.
        heat: Float32 `(side, side)`, 0..1, 1 at its hottest; zero everywhere if nothing speaks for the class.
        label: The class.
    """

    crop: np.ndarray
    heat: np.ndarray
    label: int

    @property
    def overlay(self) -> np.ndarray:
        """The crop under the colours of the heat, as `lay_over` makes it."""
        return lay_over(self.crop, self.heat)


def lay_over(crop: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Show a crop uint8 `(side, side, 3)`, grey, under the colours of a map `(side, side)`, 0..1; 0 stays grey.

    Returns:
        uint8 `(side, side, 3)`.
    """
    grey = crop.mean(axis=-1, keepdims=True)
    opacity = STRENGTH * np.minimum(2 * heat, 1)[..., None]
    return (grey * (1 - opacity) + 255 * COLORS(heat)[..., :3] * opacity).round().astype(np.uint8)


class GradCAM:
    """From a 256x256 image to a heat map of its centre crop, compiled once.

    Args:
        model: A network of AlexNet's.
        layer: The layer whose maps are weighted; None for the last one before the last pooling, `relu5` in AlexNet.

    Raises:
        UsageError: There is no such layer, it has no maps, or Keras's backend is not TensorFlow.
    """

    def __init__(self, model: keras.Model, layer: str | None = None) -> None:
        require_tensorflow("Grad-CAM")
        self.layer = layer or last_fine_layer(model)
        check_has_maps(model, self.layer)
        self._classes = model.output_shape[-1]
        network = join_towers(logits_of(model), self.layer)
        joined = network.get_layer(f"{self.layer}_joined").output
        before, behind = keras.Model(network.input, joined), keras.Model(joined, network.output)
        side = model.input_shape[1]

        def explain(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, ...]:
            (crop,) = centre(image[None], side)
            maps = before(crop, training=False)
            with tf.GradientTape() as tape:
                tape.watch(maps)
                scores = behind(maps, training=False)
                label = tf.where(label < 0, tf.argmax(scores[0]), label)
                score = scores[0, label]
            weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
            sums = tf.reduce_sum(tf.cast(weights, tf.float32) * tf.cast(maps, tf.float32), axis=-1)
            return crop[0], sums[0], label, score

        signature = [tf.TensorSpec(SHAPE, tf.uint8), tf.TensorSpec((), tf.int64)]
        self._explain = tf.function(explain, input_signature=signature, autograph=False)

    def __call__(self, image: np.ndarray, label: int | None = None) -> HeatMap:
        """Find where an image uint8 `(256, 256, 3)` speaks for a class; None for the likeliest one.

        Raises:
            UsageError: There is no such class.
            NotFiniteError: The network's scores or their gradients are not finite.
        """
        if label is not None:
            check_label(label, self._classes)
        crop, sums, explained, score = (found.numpy() for found in self._explain(image, -1 if label is None else label))
        check_finite(np.append(sums, score)[None], "The network's scores or their gradients")
        heat = tf.image.resize(np.maximum(sums, 0)[..., None], crop.shape[:2]).numpy()[..., 0]
        return HeatMap(crop, heat / (heat.max() or 1.0), int(explained))


def check_label(label: int, classes: int) -> None:
    """Refuse a label that is none of a network's: a negative one would stand for the likeliest class.

    Raises:
        UsageError: There is no such class.
    """
    if label not in range(classes):
        raise UsageError(f"label must be a class of the network, 0 to {classes - 1}. Received: label={label!r}")


def last_fine_layer(model: keras.Model) -> str:
    """Return the name of the last layer with maps whose maps are as large as those of the last convolution.

    Raises:
        UsageError: The model has no layers of AlexNet's, or only inside another model.
    """
    tower_layers(model)
    sides = {name: outputs_of(model, name)[0].shape[1] for name in layers_with_maps(model)}
    last = sides[[layer for layer in sides if isinstance(model.get_layer(layer), TowerConv2D)][-1]]
    return [name for name, side in sides.items() if side == last][-1]
