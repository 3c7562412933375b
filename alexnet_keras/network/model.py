"""AlexNet as a functional Keras model, built from a recipe."""

from __future__ import annotations  # so that help() shows them as they are written

import operator
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import ArrayLike

from alexnet_keras.backend import CHANNELS_LAST
from alexnet_keras.errors import UsageError
from alexnet_keras.layers import (
    AcrossTowers,
    ColorNoise,
    EachTower,
    LocalResponseNormalization,
    MeanSubtraction,
    PlainDropout,
    SpatialResponseNormalization,
    TowerConv2D,
    TowerDense,
)
from alexnet_keras.network.loading import load_weights
from alexnet_keras.recipes import schema, toml

ROUNDING = 1e-3  # of a mean of white pixels
POOLINGS = {"maps": None, "avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}


def AlexNet(
    recipe: str | Path | schema.Recipe = "source",
    weights: str | Path | None = None,
    include_top: bool = True,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    *,
    pooling: str | None = None,
    mean_image: ArrayLike | None = None,
    color_stds: ArrayLike = schema.IMAGENET_COLOR_STDS,
    color_vectors: ArrayLike = schema.IMAGENET_COLOR_VECTORS,
    seed: int | None = None,
    dtype: str | keras.DTypePolicy | None = None,
    name: str = "alexnet",
) -> keras.Model:
    """Build the network of Krizhevsky, Sutskever and Hinton (2012), in two towers.

    Args:
        recipe: `"source"` (net 145, the default), `"paper"`, `"quickstart"`, a TOML file, or a `Recipe`.
        weights: None for initial weights; `"imagenet"` for published ones, which the recipes `"torchvision"`, `"caffe"`
            and `"caffenet"` have and which are downloaded once; the path of a file, `.keras` or `.weights.h5`, mean
            image and all, or another that `alexnet import` takes; or a run that was published, a directory or its
            address on Hugging Face's hub, `"hf://USER/NAME"`. From a network with other classes, or with another end,
            all weights but the classifier's are loaded.
        include_top: True to end with the classifier fc8. Without it the output is that of the last hidden layer, or
            what `pooling` says.
        classes: Number of classes.
        classifier_activation: Activation of the last layer; None gives logits.
        pooling: With `include_top=False`, end before fc6, as the networks of `keras.applications` do: `"maps"` gives
            the last maps themselves, `"avg"` and `"max"` their mean and largest value over all places. Maps of the
            first tower come before those of the second. None, the default, keeps fc6 and fc7.
        mean_image: The training set's mean: `(256, 256, 3)`, `(224, 224, 3)` or `(3,)`, RGB, 0..255. Of a larger
            image the centre is taken (net 145). Default: ImageNet's mean colour, or that of the weights.
        color_stds: Standard deviations of the training set's RGB values along its principal components, 0..255
            scale. Default: ImageNet's.
        color_vectors: The components, 3x3, in columns. Default: ImageNet's.
        seed: An integer for repeatable initial weights, dropout and colour noise.
        dtype: A Keras dtype policy, such as `"mixed_bfloat16"`; None takes Keras's where its variables are float32, and
            else float32. Logits, and the classifier's activation, are float32 in any case.
        name: The model's name.

    Input shape: `(batch, 224, 224, 3)`, RGB, 0..255, uint8 or float; mean subtraction and colour noise are layers
    of the model.

    Output shape, for `source`: `(batch, classes)`; with `include_top=False` `(batch, 4096)`, with `pooling="maps"`
    `(batch, 6, 6, 256)`, with `"avg"` or `"max"` `(batch, 256)`.

    Returns:
        A functional `keras.Model`; 60,965,224 trainable parameters for `source` and `paper` with 1000 classes. The mean
        image is the one weight that is not trained.

    Raises:
        UsageError: There is no such recipe, pooling or file of weights, or no class; the mean image has another
            shape, is smaller than a crop or not 0..255; or the dtype policy quantizes.
        AlexNetError: The weights cannot be downloaded.
        DataError: The file of weights is damaged, or of another network.
    """
    if not isinstance(recipe, schema.Recipe):
        recipe = toml.load_recipe(recipe)
    net, augmentation = recipe.network, recipe.augmentation
    if include_top and not (isinstance(classes, int | np.integer) and classes > 0):
        raise UsageError(f"classes must be a whole number of at least 1. Received: classes={classes!r}")
    if pooling is not None and (include_top or pooling not in POOLINGS):
        needs = "needs include_top=False" if include_top else f"must be None or one of {', '.join(POOLINGS)}"
        raise UsageError(f"pooling {needs}. Received: pooling={pooling!r}")
    dtype = _policy(dtype)

    def options_of(layer: schema.Layer) -> dict[str, Any]:
        normal = keras.initializers.RandomNormal(0.0, layer.initial_std, seed=seed_of_part(seed, layer.name))
        return {
            "reads": layer.reads,
            "kernel_initializer": normal,
            "bias_initializer": keras.initializers.Constant(layer.initial_bias),
            "dtype": dtype,
            "name": layer.name,
        }

    def operation(kind: str, name: str) -> keras.layers.Layer:
        options = {"name": name, "dtype": dtype}
        match kind:
            case "lrn":
                lrn = net.lrn
                return LocalResponseNormalization(lrn.n, lrn.alpha, lrn.beta, lrn.k, lrn.alpha_convention, **options)
            case "spatial_norm":
                spatial = net.spatial_norm
                return SpatialResponseNormalization(spatial.size, spatial.scale, spatial.beta, spatial.k, **options)
            case "pool":
                return layers.MaxPooling2D(net.pool_size, net.pool_stride, data_format=CHANNELS_LAST, **options)
            case _:
                return layers.Activation(kind, **options)

    image = keras.Input((net.input_size, net.input_size, 3), name="image", dtype="float32")
    mean = _mean(mean_image, augmentation.mean, net.input_size)
    x = MeanSubtraction(image.shape[1:], mean, augmentation.input_scale, name="mean")(image)
    if augmentation.color_noise:
        stds = np.asarray(color_stds, np.float64)
        # The paper's eigenvalues are variances of pixels scaled to 0..1: std^2 / 255^2, times 255 to be in pixels.
        magnitudes = stds if augmentation.color_noise_scale == "standard_deviation" else stds**2 / 255.0
        x = ColorNoise(
            magnitudes * augmentation.input_scale,
            color_vectors,
            augmentation.color_noise,
            augmentation.color_noise_rescale,
            seed=seed_of_part(seed, "color_noise"),
            name="color_noise",
        )(x)

    for conv in net.convolutions:
        towers = TowerConv2D(
            conv.filters, conv.kernel, conv.stride, conv.padding, towers=net.towers, **options_of(conv)
        )
        x = towers(x)
        for kind, title in conv.operations:
            wrapper = AcrossTowers if kind == "lrn" and net.lrn.windows == "layer" else EachTower
            x = wrapper(operation(kind, title))(x)

    if pooling is None:
        x = EachTower(layers.Flatten(CHANNELS_LAST, name="flatten", dtype=dtype))(x)
    for dense in net.dense if pooling is None else ():
        x = TowerDense(dense.units, towers=net.towers, **options_of(dense))(x)
        x = EachTower(operation(dense.activation, dense.activation_name))(x)
        if dense.dropout:
            drop = dense.dropout_name
            x = EachTower(PlainDropout(dense.dropout, seed=seed_of_part(seed, drop), name=drop, dtype=dtype))(x)

    if include_top:
        # in bfloat16 some of 1000 logits would be equal, and ties count against the network
        options = options_of(net.classifier) | {"dtype": "float32"}
        (x,) = TowerDense(classes, towers=1, **options)(x)  # net 145: on the first device alone
        output = layers.Activation(classifier_activation or "linear", dtype="float32", name="predictions")(x)
    else:
        output = _joined(x, "features" if pooling is None else "maps", dtype)
        if pool := POOLINGS.get(pooling or "maps"):
            output = pool(CHANNELS_LAST, name=f"{pooling}_pool", dtype=dtype)(output)

    model = keras.Model(image, output, name=name)
    if weights is not None:
        load_weights(model, weights, recipe, mean=mean_image is None)
    return model


def seed_of_part(seed: int | None, part: str) -> int | None:
    """Return a seed for one part of a network, such as conv1, unrelated to other parts' seeds; None without a seed."""
    return None if seed is None else (operator.index(seed) * 1_000_003 + zlib.crc32(part.encode())) % 2**31


def _policy(dtype: str | keras.DTypePolicy | None) -> str | keras.DTypePolicy:
    """Return the dtype policy of a network's layers: keras.json's `floatx` does not reach it, a mixed policy does."""
    policy = keras.dtype_policies.get(dtype) if dtype is not None else keras.config.dtype_policy()
    if policy.quantization_mode:
        raise UsageError(
            f"The dtype policy {policy.name} quantizes, and towers have no such form: take float32 or mixed_bfloat16."
        )
    if dtype is not None:
        return dtype
    return policy if policy.variable_dtype == "float32" else "float32"


def logits_of(model: keras.Model) -> keras.Model:
    """Return the same model, sharing its layers, with the classifier's logits as the output, for training."""
    return keras.Model(model.input, node_of(model, "predictions").input_tensors[0], name=f"{model.name}_logits")


def features_of(model: keras.Model) -> keras.Model:
    """Return the same model, sharing its layers, with the last hidden layer as the output: `(batch, 4096)` for
    `source`."""
    towers = node_of(model, schema.CLASSIFIER).input_tensors
    return keras.Model(model.input, _joined(towers, "features", "float32"), name=f"{model.name}_features")


def layer_output(model: keras.Model, layer: str) -> keras.KerasTensor:
    """Return a layer's symbolic output as one tensor, the maps of the first tower before those of the second.

        maps = keras.Model(model.input, layer_output(model, "conv5"))

    The model itself stays as it is. Where its output must follow from the tensor, as for Grad-CAM, take `join_towers`.

    Args:
        model: A network of AlexNet's, or one with its layers.
        layer: A layer's name, such as `"conv5"`, before its ReLU, `"relu5"`, after it, or `"fc7"`.

    Returns:
        `(batch, height, width, maps)` of a convolution and of what follows it, `(batch, units)` of a dense layer.

    Raises:
        UsageError: There is no such layer; the message lists the layers.
    """
    towers = node_of(model, layer).output_tensors
    return _joined(towers, f"{layer}_output", towers[0].dtype)


def _joined(towers: Sequence[Any], name: str, dtype: Any) -> Any:
    """Return towers as one tensor: their last axes in a row."""
    return layers.Concatenate(axis=-1, name=name, dtype=dtype)(towers) if len(towers) > 1 else towers[0]


def node_of(model: keras.Model, layer: str) -> Any:
    """Return a layer's node in a model's graph, with `input_tensors` and `output_tensors`, one per tower.

    A layer that models share has a node in each of them; its `input` and `output` are those of the first.

    Raises:
        UsageError: There is no such layer; the message lists the layers.
    """
    waiting, seen = keras.tree.flatten(model.outputs), set()
    while waiting:
        operation, index, _ = waiting.pop()._keras_history
        node = operation._inbound_nodes[index]
        if operation.name == layer:
            return node
        if id(node) not in seen:
            seen.add(id(node))
            waiting += node.input_tensors
    names = ", ".join(each.name for each in model.layers)
    raise UsageError(f"There is no layer {layer!r}; the layers are {names}.")


def _mean(mean_image: ArrayLike | None, kind: str, size: int) -> np.ndarray:
    """Return the mean for MeanSubtraction: `(size, size, 3)`, or a colour `(3,)`."""
    mean = np.asarray(schema.IMAGENET_RGB_MEAN if mean_image is None else mean_image, np.float32)
    if mean.ndim not in (1, 3) or mean.shape[-1] != 3 or (mean.ndim == 1 and len(mean) != 3):
        raise UsageError(f"mean_image must be (height, width, 3) or (3,). Received: mean_image of shape {mean.shape}")
    if not (mean.min() >= -ROUNDING and mean.max() <= 255 + ROUNDING):  # nor NaN
        raise UsageError(f"mean_image must be 0..255. Received: mean_image of {mean.min():.4g} to {mean.max():.4g}")
    if 0 < mean.max() <= 1:
        warnings.warn(f"mean_image is at most {mean.max():.4g}, and pixels are 0..255: was it divided?", stacklevel=3)
    if mean.ndim == 1 or kind == "channel":
        return mean.reshape(-1, 3).mean(axis=0, dtype=np.float64)
    if min(mean.shape[:2]) < size:
        raise UsageError(f"mean_image must be at least {size}x{size}. Received: mean_image of shape {mean.shape}")
    top, left = (mean.shape[0] - size) // 2, (mean.shape[1] - size) // 2
    return mean[top : top + size, left : left + size]


def join_towers(model: keras.Model, layer: str) -> keras.Model:
    """Return the same model, sharing its layers, in which the towers of a layer pass through one tensor.

    That tensor is the output of a new layer, called `conv5_joined` after `conv5`: `(batch, ..., maps)`, the maps of the
    first tower before those of the second, as the paper counts its kernels. The layers that follow read its parts: the
    model's output is the same, but for rounding, and has gradients with respect to it. In a network of one tower it is
    the layer's output itself.

        network = join_towers(logits_of(model), "relu5")
        maps = network.get_layer("relu5_joined").output
        grad_model = keras.Model(network.input, [maps, network.output])

    Args:
        model: A network of AlexNet's, or one with its layers.
        layer: A layer's name, such as `"conv5"`, before its ReLU, or `"relu5"`, after it.

    Raises:
        UsageError: There is no such layer; the message lists the layers.
    """
    towers, name = node_of(model, layer).output_tensors, f"{layer}_joined"
    if len(towers) == 1:
        parts = [layers.Identity(name=name, dtype=towers[0].dtype)(towers[0])]
    else:
        joined = _joined(towers, name, towers[0].dtype)
        edges = [sum(tower.shape[-1] for tower in towers[:count]) for count in range(1, len(towers))]
        parts = ops.split(joined, edges, axis=-1)
    if towers[0] is model.outputs[0]:  # nothing follows
        return keras.Model(model.input, parts[0], name=model.name)
    behind = keras.Model(towers, model.output)
    return keras.Model(model.input, behind.call(parts), name=model.name)
