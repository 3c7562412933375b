"""AlexNet as a functional Keras model, built from a recipe."""

import zlib
from pathlib import Path

import keras
import numpy as np
from keras import layers
from numpy.typing import ArrayLike

from alexnet_keras import recipe_files, recipes
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

STEP_PREFIX = {"lrn": "norm", "spatial_norm": "spatial", "pool": "pool", "relu": "relu", "tanh": "tanh"}


def AlexNet(
    recipe: str | Path | recipes.Recipe = "source",
    weights: str | Path | None = None,
    include_top: bool = True,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    *,
    mean_image: ArrayLike | None = None,
    color_stds: ArrayLike = recipes.IMAGENET_COLOR_STDS,
    color_vectors: ArrayLike = recipes.IMAGENET_COLOR_VECTORS,
    seed: int | None = None,
    dtype: str | keras.DTypePolicy | None = None,
    name: str = "alexnet",
) -> keras.Model:
    """The network of Krizhevsky, Sutskever and Hinton (2012), in two towers.

    Args:
        recipe: `"source"` (net 145, the default), `"paper"`, `"quickstart"`, a TOML file, or a `Recipe`.
        weights: None for initial weights, or the path of a weights or model file to load.
        include_top: end with the classifier fc8. Without it the output is the last hidden layer, 4096 numbers.
        classes: number of classes.
        classifier_activation: activation of the last layer; None gives logits.
        mean_image: the training set's mean: `(256, 256, 3)`, `(224, 224, 3)` or `(3,)`, RGB, 0..255. Of a larger
            image the centre is taken (net 145). Default: ImageNet's mean colour.
        color_stds: standard deviations of the training set's RGB values along its principal components, 0..255
            scale. Default: ImageNet's.
        color_vectors: the components, 3x3, in columns. Default: ImageNet's.
        seed: an integer for repeatable initial weights, dropout and colour noise.
        dtype: a Keras dtype policy, such as `"mixed_bfloat16"`. The classifier's activation stays in float32.
        name: the model's name.

    Input shape: `(batch, 224, 224, 3)`, RGB, 0..255, uint8 or float; mean subtraction and colour noise are layers
    of the model. Output shape: `(batch, classes)`.

    Returns:
        A functional `keras.Model`; 60,965,224 parameters for `source` and `paper` with 1000 classes.

    Raises:
        UsageError: no such recipe, or no classes.
    """
    if not isinstance(recipe, recipes.Recipe):
        recipe = recipe_files.load_recipe(recipe)
    net, augmentation = recipe.network, recipe.augmentation
    if include_top and not classes > 0:
        raise UsageError(f"classes must be at least 1. Received: classes={classes}")

    def weights_of(part: str, std: float, bias: float) -> dict:
        return {
            "kernel_initializer": keras.initializers.RandomNormal(0.0, std, seed=seed_of_part(seed, part)),
            "bias_initializer": keras.initializers.Constant(bias),
            "dtype": dtype,
            "name": part,
        }

    def step(kind: str, index: str) -> keras.layers.Layer:
        options = {"name": STEP_PREFIX[kind] + index, "dtype": dtype}
        match kind:
            case "lrn":
                lrn = net.lrn
                return LocalResponseNormalization(lrn.n, lrn.alpha, lrn.beta, lrn.k, lrn.alpha_convention, **options)
            case "spatial_norm":
                spatial = net.spatial_norm
                return SpatialResponseNormalization(spatial.size, spatial.scale, spatial.beta, spatial.k, **options)
            case "pool":
                return layers.MaxPooling2D(net.pool_size, net.pool_stride, **options)
            case _:
                return layers.Activation(kind, **options)

    image = keras.Input((net.input_size, net.input_size, 3), name="image")
    mean = _mean(mean_image, augmentation.mean, net.input_size)
    x = MeanSubtraction(*mean, scale=augmentation.input_scale, name="mean")(image)
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
            conv.filters,
            conv.kernel,
            conv.stride,
            conv.padding,
            towers=net.towers,
            reads=conv.reads,
            **weights_of(conv.name, conv.initial_std, conv.initial_bias),
        )
        x = towers(x)
        for place, kind in enumerate(conv.then):
            again = conv.then[:place].count(kind)  # a network without one of the layers pools twice after another
            wrapped = AcrossTowers if kind == "lrn" and net.lrn.windows == "layer" else EachTower
            x = wrapped(step(kind, conv.name.removeprefix("conv") + f"_{again + 1}" * (again > 0)))(x)

    x = EachTower(layers.Flatten(name="flatten", dtype=dtype))(x)
    for dense in net.dense:
        towers = TowerDense(
            dense.units,
            towers=net.towers,
            reads=dense.reads,
            **weights_of(dense.name, dense.initial_std, dense.initial_bias),
        )
        index = dense.name.removeprefix("fc")
        x = EachTower(step(dense.activation, f"_{dense.name}"))(towers(x))
        if dense.dropout:
            drop = PlainDropout(
                dense.dropout, seed=seed_of_part(seed, f"drop{index}"), name=f"drop{index}", dtype=dtype
            )
            x = EachTower(drop)(x)

    if include_top:
        # net 145: fc8 is on the first device and reads both towers
        fc8 = TowerDense(classes, towers=1, reads="all", **weights_of("fc8", net.classifier_std, net.classifier_bias))
        (x,) = fc8(x)
        output = layers.Activation(classifier_activation or "linear", dtype="float32", name="predictions")(x)
    else:
        output = layers.Concatenate(name="features", dtype=dtype)(x) if net.towers > 1 else x[0]

    model = keras.Model(image, output, name=name)
    if weights is not None:
        load_weights(model, weights)
    return model


def seed_of_part(seed: int | None, part: str) -> int | None:
    """A seed for one part of a network, such as conv1, unrelated to those of its other parts; None without a seed."""
    return None if seed is None else (seed * 1_000_003 + zlib.crc32(part.encode())) % 2**31


def load_weights(model: keras.Model, file: str | Path) -> None:
    """Loads a `.weights.h5` file, or the weights of a whole `.keras` model, into a model of the same shapes."""
    if Path(file).suffix == ".keras":
        model.set_weights(keras.saving.load_model(file, compile=False).get_weights())
    else:
        model.load_weights(file)


def logits_of(model: keras.Model) -> keras.Model:
    """The same model, sharing its layers, with the classifier's logits as the output: what training needs."""
    return keras.Model(model.input, model.get_layer("predictions").input, name=f"{model.name}_logits")


def features_of(model: keras.Model) -> keras.Model:
    """The same model, sharing its layers, with the last hidden layer as the output: `(batch, 4096)`."""
    towers = keras.tree.flatten(model.get_layer("fc8").input)  # of a list of one tensor Keras gives the tensor
    joined = layers.Concatenate(name="features", dtype="float32")(towers) if len(towers) > 1 else towers[0]
    return keras.Model(model.input, joined, name=f"{model.name}_features")


def _mean(mean_image: ArrayLike | None, kind: str, size: int) -> tuple[tuple[int, int, int], np.ndarray]:
    """The shape and value of what MeanSubtraction subtracts."""
    mean = np.asarray(recipes.IMAGENET_RGB_MEAN if mean_image is None else mean_image, np.float32)
    if mean.ndim == 1 or kind == "channel":
        return (1, 1, 3), mean.reshape(-1, 3).mean(axis=0)
    top, left = (mean.shape[0] - size) // 2, (mean.shape[1] - size) // 2
    return (size, size, 3), mean[top : top + size, left : left + size]
