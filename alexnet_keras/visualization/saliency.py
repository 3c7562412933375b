"""Saliency: the pixels that a class score depends on, in three ways.

The gradient (Simonyan, Vedaldi and Zisserman, 2013), SmoothGrad, its mean over noisy copies of the image (Smilkov et
al., 2017), and Grad-CAM (Selvaraju et al., 2017; `grad_cam.py`)."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from alexnet_keras.backend import require_tensorflow
from alexnet_keras.errors import UsageError, whole_number
from alexnet_keras.evaluation.crops import centre
from alexnet_keras.evaluation.errors import check_finite
from alexnet_keras.network.model import logits_of
from alexnet_keras.visualization.grad_cam import COLORS, GradCAM, check_label, lay_over
from alexnet_keras.visualization.style import (
    INK,
    RIGHT,
    WRONG,
    heading,
    new_figure,
    own_style,
    save_figure,
    shorten_all,
    show_image,
)

COPIES = 50  # Smilkov et al. 2017, section 3.2: more than 50 change little
NOISE = 0.15  # Smilkov et al. 2017, section 3.2: 10 % to 20 % of the image's range is a good standard deviation
AT_ONCE = 10  # noisy copies in memory
CEILING = 99.5  # percentile of a map's values that is shown brightest: a few pixels are far larger than the rest
HEADINGS = ("Centre crop", "Gradient", "SmoothGrad", "Grad-CAM")
PANEL, CAPTION = 2.4, 0.36  # inches: the side of an image, and the height of its two lines
LABEL = 24  # characters
MOST_NAMED = 12  # classes that an error lists


@dataclass(frozen=True, eq=False)
class Saliency:
    """What the scores of classes depend on in images.

    Attributes:
        crops: The network's input, uint8 `(n, side, side, 3)`.
        gradients: Of the logit of `explained`, per grey level of a pixel, float32 `(n, side, side, 3)`.
        smooth: The mean of these gradients over noisy copies of each crop, float32 `(n, side, side, 3)`.
        heat: Grad-CAM's map of `explained`, float32 `(n, side, side)`, 0..1; zero if nothing speaks for the class.
        layer: Name of the layer whose maps Grad-CAM weighs.
        explained: The class whose score was differentiated, int64 `(n,)`.
        predicted: The likeliest class, int64 `(n,)`.
        probabilities: Of every class, float32 `(n, classes)`.
    """

    crops: np.ndarray
    gradients: np.ndarray
    smooth: np.ndarray
    heat: np.ndarray
    layer: str
    explained: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray

    @property
    def maps(self) -> np.ndarray:
        """The largest absolute gradient among a pixel's channels, float32 `(n, side, side)`."""
        return np.abs(self.gradients).max(axis=-1)

    @property
    def smooth_maps(self) -> np.ndarray:
        """The same of the mean gradient."""
        return np.abs(self.smooth).max(axis=-1)


def find_saliency(
    model: keras.Model,
    images: np.ndarray,
    label: int | None = None,
    *,
    copies: int = COPIES,
    noise: float = NOISE,
    seed: int = 0,
) -> Saliency:
    """Find what a class score, the input of the softmax, depends on in the centre crops of images.

    Args:
        model: The network.
        images: uint8 `(n, 256, 256, 3)`.
        label: The class; None for the likeliest one of each image.
        copies: Number of noisy copies of each crop, of SmoothGrad.
        noise: Standard deviation of their noise, as a share of the range of the crop's values.
        seed: Of the noise.

    Raises:
        UsageError: There is no such class, or no copy.
        NotFiniteError: Scores or gradients are not finite.
    """
    require_tensorflow("Saliency")
    if label is not None:
        check_label(label, model.output_shape[-1])
    (crops,) = centre(images, model.input_shape[1])
    differentiate, explain = _differentiated(model), GradCAM(model)
    scores, gradients = differentiate(crops, np.full(len(crops), -1 if label is None else label))
    predicted = scores.argmax(axis=1)
    explained = predicted if label is None else np.full_like(predicted, label)
    return Saliency(
        crops,
        gradients,
        _smooth(differentiate, crops, explained, copies, noise, seed),
        np.stack([explain(image, one).heat for image, one in zip(images, explained.tolist(), strict=True)]),
        explain.layer,
        explained,
        predicted,
        tf.nn.softmax(scores).numpy(),
    )


def smooth_gradients(
    model: keras.Model,
    crops: np.ndarray,
    labels: np.ndarray,
    copies: int = COPIES,
    noise: float = NOISE,
    seed: int = 0,
) -> np.ndarray:
    """Average the gradients of a class score over noisy copies of each crop (SmoothGrad, Smilkov et al. 2017).

    Args:
        model: The network.
        crops: uint8 `(n, side, side, 3)`.
        labels: The class of each crop, int64 `(n,)`.
        copies: The number of copies of a crop; ten at a time are in memory.
        noise: Standard deviation of the normal noise that each copy gets, as a share of the range of the crop's values,
            its largest less its smallest.
        seed: Of the noise, which is that of each crop alone.

    Returns:
        float32 `(n, side, side, 3)`.

    Raises:
        UsageError: There is no such class, or no copy.
        NotFiniteError: Gradients are not finite.
    """
    for label in labels.tolist():
        check_label(label, model.output_shape[-1])
    return _smooth(_differentiated(model), crops, labels, copies, noise, seed)


def _smooth(
    differentiate: Callable, crops: np.ndarray, labels: np.ndarray, copies: int, noise: float, seed: int
) -> np.ndarray:
    copies = whole_number("copies", copies, refusal=UsageError)
    means = np.zeros(crops.shape, np.float32)
    for crop, label, mean in zip(crops, labels, means, strict=True):
        generator, deviation = np.random.default_rng(seed), noise * np.ptp(crop.astype(np.float32))
        for first in range(0, copies, AT_ONCE):
            count = min(AT_ONCE, copies - first)
            noisy = crop + deviation * generator.standard_normal((count, *crop.shape), np.float32)
            mean += differentiate(noisy, np.full(count, label))[1].sum(axis=0) / copies
    return means


def _differentiated(model: keras.Model) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Compile the scores of crops `(n, side, side, 3)` and the gradient of one score each with respect to its pixels.

    Returns:
        A function of crops and of the classes, `(n,)`, -1 for the likeliest one, that returns the scores, float32
        `(n, classes)`, and the gradients, float32, of the shape of the crops. It raises NotFiniteError.
    """
    logits = logits_of(model)

    def differentiate(pixels: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            scores = tf.cast(logits(pixels, training=False), tf.float32)
            labels = tf.where(labels < 0, tf.argmax(scores, axis=1), labels)
            # Images do not meet inside the network, so the gradient of the sum is that of each score.
            total = tf.reduce_sum(tf.gather(scores, labels, batch_dims=1))
        return scores, tape.gradient(total, pixels)

    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32), tf.TensorSpec((None,), tf.int64)]
    compiled = tf.function(differentiate, input_signature=signature, autograph=False)

    def checked(crops: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores, gradients = (found.numpy() for found in compiled(crops.astype(np.float32), labels))
        check_finite(scores, "The network's scores")
        check_finite(gradients.reshape(len(crops), -1), "The gradients of the network's scores")
        return scores, gradients

    return checked


@own_style()
def draw_saliency(
    found: Saliency, titles: Sequence[str], path: str | Path, labels: Sequence[int | None] | np.ndarray | None = None
) -> None:
    """Draw a row for each image: the crop, its gradient, and over the grey crop SmoothGrad and Grad-CAM.

    Args:
        found: The gradients and maps.
        titles: The title of each class.
        path: .png, .svg or .pdf.
        labels: The true class of each image, where it is known.

    Raises:
        UsageError: The file has another suffix.
    """
    short = shorten_all(titles, LABEL)
    titles = [short[title] for title in titles]
    rows = len(found.crops)
    figure, grid = new_figure((PANEL + 0.1) * len(HEADINGS), (PANEL + CAPTION) * rows + 0.3, rows, len(HEADINGS))
    for index, (first, *others) in enumerate(grid):
        text, color = _prediction(found, index, titles, None if labels is None else labels[index])
        show_image(first, found.crops[index], text, color=color)
        explained = int(found.explained[index])
        score = f"score of {titles[explained]} ({found.probabilities[index, explained]:.1%})"
        for axis, (image, note) in zip(others, _explanations(found, index), strict=True):
            show_image(axis, image, f"{score}\n{note}")
    for axis, text in zip(grid[0], HEADINGS, strict=True):
        heading(axis, text)
    save_figure(figure, path)


def _explanations(found: Saliency, index: int) -> list[tuple[np.ndarray, str]]:
    """The three images that explain the score of one crop, and what is to be said of each."""
    (gradient, most), (smooth, smooth_most) = _brightened(found.maps[index]), _brightened(found.smooth_maps[index])
    crop, heat = found.crops[index], found.heat[index]
    return [
        (COLORS(gradient)[..., :3], f"brightest: {most:.1e} a grey level"),
        (lay_over(crop, smooth), f"brightest: {smooth_most:.1e} a grey level"),
        (lay_over(crop, heat), f"maps of {found.layer}" if heat.any() else "nothing speaks for the class"),
    ]


def _brightened(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Scale a map to 0..1 by the value that is shown brightest, and return that value, too."""
    ceiling = float(np.percentile(values, CEILING)) or float(values.max())
    return np.minimum(values / (ceiling or 1.0), 1.0), ceiling


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
    if len(classes) <= MOST_NAMED:
        rest = f"the classes are {', '.join(classes)}."
    elif near := difflib.get_close_matches(name, [*classes, *titles], n=3):
        rest = f"did you mean {', '.join(dict.fromkeys(near))}?"
    else:
        rest = f"the run has {len(classes)} others."
    raise UsageError(f"There is no class {name!r}: {rest}")


def _prediction(found: Saliency, index: int, titles: Sequence[str], label: int | None) -> tuple[str, str]:
    """The text below an image, and its colour."""
    predicted = int(found.predicted[index])
    text = f"predicted {titles[predicted]} ({found.probabilities[index, predicted]:.1%})"
    if label is None:
        return text, INK
    if label == predicted:
        return f"{text}\nwhich is right", RIGHT
    return f"{text}\ntruly {titles[label]}", WRONG
