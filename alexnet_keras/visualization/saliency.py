"""Saliency: which pixels the score of a class hangs on (Simonyan, Vedaldi and Zisserman, 2013)."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from alexnet_keras.backend import require_tensorflow
from alexnet_keras.errors import UsageError
from alexnet_keras.evaluation.errors import check_finite
from alexnet_keras.evaluation.predictor import centre
from alexnet_keras.network.model import logits_of
from alexnet_keras.visualization.style import INK, QUIET, RIGHT, WRONG, save_figure, shorten_all

CEILING = 99.5  # percentile of a map's values that is shown brightest: a few pixels tower above the rest
TALL = 5  # images that are shown one below the other; of more, two beside each other
LABEL = 24  # characters
MOST_NAMED = 12  # classes that an error lists


@dataclass(frozen=True)
class Saliency:
    """The gradients of class scores with respect to images; the first axis of every array counts images.

    Attributes:
        crops: What the network saw, uint8 `(n, side, side, 3)`.
        gradients: Of the logit of `explained`, per grey level of a pixel, float32 `(n, side, side, 3)`.
        explained: The class whose score was differentiated, int64 `(n,)`.
        predicted: The likeliest class, int64 `(n,)`.
        probabilities: Of every class, float32 `(n, classes)`.
    """

    crops: np.ndarray
    gradients: np.ndarray
    explained: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray

    @property
    def maps(self) -> np.ndarray:
        """The largest size of the gradient among a pixel's channels, float32 `(n, side, side)`."""
        return np.abs(self.gradients).max(axis=-1)


def find_saliency(model: keras.Model, images: np.ndarray, label: int | None = None) -> Saliency:
    """Differentiates the score of a class, the input of the softmax, with respect to the centre crops of images.

    Args:
        images: uint8 `(n, 256, 256, 3)`.
        label: the class; None for the likeliest one of each image.

    Raises:
        NotFiniteError: scores or gradients are not finite.
    """
    require_tensorflow("Saliency")
    (crops,) = centre(images, model.input_shape[1])
    logits = logits_of(model)
    pixels = tf.constant(crops, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        scores = tf.cast(logits(pixels, training=False), tf.float32)
        predicted = tf.argmax(scores, axis=1)
        explained = predicted if label is None else tf.fill(tf.shape(predicted), tf.constant(label, tf.int64))
        # Images do not meet inside the network, so the gradient of the sum is that of each score.
        total = tf.reduce_sum(tf.gather(scores, explained, batch_dims=1))
    gradients = tape.gradient(total, pixels).numpy()
    check_finite(scores.numpy(), "The network's scores")
    check_finite(gradients.reshape(len(crops), -1), "The gradients of the network's scores")
    return Saliency(np.asarray(crops), gradients, explained.numpy(), predicted.numpy(), tf.nn.softmax(scores).numpy())


def draw_saliency(
    found: Saliency, titles: Sequence[str], path: Path, labels: Sequence[int] | np.ndarray | None = None
) -> None:
    """Writes each image with its map beside it, black where the gradient is zero.

    Args:
        titles: what the classes are called.
        path: .png, .svg or .pdf.
        labels: the true classes, where they are known.

    Raises:
        UsageError: the file has another suffix.
    """
    short = shorten_all(titles, LABEL)
    titles = [short[title] for title in titles]
    count = len(found.crops)
    across = 1 if count <= TALL else 2  # pairs of image and map in a row
    rows = -(-count // across)
    figure = Figure(figsize=(5.2 * across, 2.75 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, 2 * across, squeeze=False)
    for axis in grid.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    pairs = grid.reshape(-1, 2)
    for (left, right), index in zip(pairs, range(count), strict=False):
        left.imshow(found.crops[index])
        own = found.maps[index]
        ceiling = float(np.percentile(own, CEILING)) or float(own.max()) or 1.0
        right.imshow(own, cmap="inferno", vmin=0.0, vmax=ceiling)
        said, color = _prediction(found, index, titles, None if labels is None else labels[index])
        left.set_xlabel(said, fontsize=7.5, color=color)
        explained = int(found.explained[index])
        share = found.probabilities[index, explained]
        right.set_xlabel(
            f"score of {titles[explained]} ({share:.1%})\nbrightest: {ceiling:.1e} a grey level",
            fontsize=7.5,
            color=INK,
        )
    for left, right in pairs[:across]:
        left.set_title("Centre crop", loc="left", fontsize=9, color=QUIET)
        right.set_title("Size of the score's gradient", loc="left", fontsize=9, color=QUIET)
    save_figure(figure, path)


def class_named(name: str, classes: Sequence[str], titles: Sequence[str]) -> int:
    """The label of a class by its name in the dataset or, where that is unambiguous, by its title.

    Raises:
        UsageError: there is no such class, or several have the title.
    """
    if name in classes:
        return list(classes).index(name)
    folded = name.casefold()
    found = [label for label, title in enumerate(titles) if title.casefold() == folded]
    found = found or [label for label, title in enumerate(titles) if title.casefold().startswith(f"{folded} (")]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"Several classes are called {name!r}: say {' or '.join(classes[label] for label in found)}.")
    near = difflib.get_close_matches(name, [*classes, *titles], n=3)
    if len(classes) <= MOST_NAMED:
        rest = f"the classes are {', '.join(classes)}"
    else:
        rest = f"did you mean {', '.join(dict.fromkeys(near))}?" if near else f"the run has {len(classes)} others"
    raise UsageError(f"There is no class {name!r}: {rest.removesuffix('.')}{'' if rest.endswith('?') else '.'}")


def _prediction(found: Saliency, index: int, titles: Sequence[str], label: int | None) -> tuple[str, str]:
    """What the network says of an image, and the colour to say it in."""
    predicted = int(found.predicted[index])
    said = f"predicted {titles[predicted]} ({found.probabilities[index, predicted]:.1%})"
    if label is None:
        return said, INK
    if label == predicted:
        return f"{said}\nwhich is right", RIGHT
    return f"{said}\ntruly {titles[label]}", WRONG
