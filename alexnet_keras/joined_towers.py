"""A layer's towers as one tensor, for what expects an ordinary convolutional network, such as Grad-CAM."""

import keras
from keras import layers, ops

from alexnet_keras.model import node_of


def join_towers(model: keras.Model, layer: str) -> keras.Model:
    """The same model, sharing its layers, in which the towers of a layer pass through one tensor.

    That is the output of a further layer, called `conv5_joined` after `conv5`: `(batch, ..., maps)`, the maps of the
    first tower before those of the second, as the paper counts its kernels. What follows reads its parts, so that the
    model's answers are the same, but for rounding, and have gradients with respect to it. Of a network of one tower it
    is the layer's output itself.

        network = join_towers(logits_of(model), "relu5")
        maps = network.get_layer("relu5_joined").output
        grad_model = keras.Model(network.input, [maps, network.output])

    Args:
        model: a network of AlexNet's, or one with its layers.
        layer: a layer's name, such as `"conv5"`, before its ReLU, or `"relu5"`, after it.

    Raises:
        UsageError: there is no such layer; the sentence lists those there are.
    """
    towers, name = node_of(model, layer).output_tensors, f"{layer}_joined"
    if len(towers) == 1:
        parts = [layers.Identity(name=name, dtype=towers[0].dtype)(towers[0])]
    else:
        joined = layers.Concatenate(axis=-1, name=name, dtype=towers[0].dtype)(towers)
        edges = [sum(tower.shape[-1] for tower in towers[:count]) for count in range(1, len(towers))]
        parts = ops.split(joined, edges, axis=-1)
    if towers[0] is model.outputs[0]:  # nothing follows
        return keras.Model(model.input, parts[0], name=model.name)
    behind = keras.Model(towers, model.output)
    return keras.Model(model.input, behind.call(parts), name=model.name)
