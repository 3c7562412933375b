"""Saliency: the pixels that a class score depends on (Simonyan, Vedaldi and Zisserman, 2013)."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from alexnet_keras.backend import require_tensorflow
from alexnet_keras.errors import UsageError
from alexnet_keras.evaluation.crops import centre
from alexnet_keras.evaluation.errors import check_finite
from alexnet_keras.network.model import logits_of
from alexnet_keras.visualization.style import (
    INK,
    RIGHT,
    WRONG,
    heading,
    new_figure,
    save_figure,
    shorten_all,
    show_image,
)

CEILING = 99.5  # percentile of a map's values that is shown brightest: a few pixels are far larger than the rest
TALL = 5  # images in one column; more are shown in two
LABEL = 24  # characters
MOST_NAMED = 12  # classes that an error lists


@dataclass(frozen=True)
class Saliency:
    """Gradients of class scores with respect to images.

    Attributes:
        crops: The network's input, uint8 `(n, side, side, 3)`.
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
        """The largest absolute gradient among a pixel's channels, float32 `(n, side, side)`."""
        return np.abs(self.gradients).max(axis=-1)


def find_saliency(model: keras.Model, images: np.ndarray, label: int | None = None) -> Saliency:
    """Differentiate a class score, the input of the softmax, with respect to the centre crops of images.

    Args:
        model: The network.
        images: uint8 `(n, 256, 256, 3)`.
        label: The class; None for the likeliest one of each image.

    Raises:
        NotFiniteError: Scores or gradients are not finite.
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
    found: Saliency, titles: Sequence[str], path: Path, labels: Sequence[int | None] | np.ndarray | None = None
) -> None:
    """Draw each image and right of it its map, black where the gradient is zero.

    Args:
        found: The gradients.
        titles: The title of each class.
        path: .png, .svg or .pdf.
        labels: The true class of each image, where it is known.

    Raises:
        UsageError: The file has another suffix.
    """
    short = shorten_all(titles, LABEL)
    titles = [short[title] for title in titles]
    count = len(found.crops)
    across = 1 if count <= TALL else 2  # pairs of image and map in a row
    rows = ceil(count / across)
    figure, grid = new_figure(5.2 * across, 2.75 * rows + 0.3, rows, 2 * across)
    pairs = grid.reshape(-1, 2)
    for (left, right), index in zip(pairs, range(count), strict=False):
        text, color = _prediction(found, index, titles, None if labels is None else labels[index])
        show_image(left, found.crops[index], text, color=color)
        own = found.maps[index]
        ceiling = float(np.percentile(own, CEILING)) or float(own.max()) or 1.0
        explained = int(found.explained[index])
        share = found.probabilities[index, explained]
        label = f"score of {titles[explained]} ({share:.1%})\nbrightest: {ceiling:.1e} a grey level"
        show_image(right, own, label, cmap="inferno", vmin=0.0, vmax=ceiling)
    for axis in pairs[count:].flat:
        axis.set_axis_off()
    for left, right in pairs[:across]:
        heading(left, "Centre crop")
        heading(right, "Size of the score's gradient")
    save_figure(figure, path)


def class_named(name: str, classes: Sequence[str], titles: Sequence[str]) -> int:
    """Find a class by its name in the dataset or, where that is unambiguous, by its title.

    Returns:
        Its label.

    Raises:
        UsageError: There is no such class, or several have the title.
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
    """The text below an image, and its colour."""
    predicted = int(found.predicted[index])
    text = f"predicted {titles[predicted]} ({found.probabilities[index, predicted]:.1%})"
    if label is None:
        return text, INK
    if label == predicted:
        return f"{text}\nwhich is right", RIGHT
    return f"{text}\ntruly {titles[label]}", WRONG
