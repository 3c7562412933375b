"""Figure 4, left: images with the five classes that the network finds likeliest."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.evaluation.classifier import ClassProbability, likeliest_classes
from alexnet_keras.evaluation.inputs import stacked_images
from alexnet_keras.evaluation.predictions import Predictions
from alexnet_keras.visualization.style import INK, QUIET, RIGHT, WRONG, save_figure, shorten_all

COLUMNS = 4
CAPTION, BAR_LABEL = 30, 26  # characters
BAR = "#9db8d2"


@dataclass(frozen=True, eq=False)
class PredictedImage:
    """An image and what the network says of it.

    Attributes:
        image: (256, 256, 3) uint8.
        caption: What it is: the right class in words, or the name of its file.
        guesses: The likeliest classes, the likeliest first.
        right: The right class's label, where it is known.
    """

    image: np.ndarray
    caption: str
    guesses: Sequence[ClassProbability]
    right: int | None = None


def predicted_images(found: Predictions, data: PreparedDataset, positions: Sequence[int]) -> list[PredictedImage]:
    """The images at some positions of a split, with what was predicted of them.

    Args:
        found: predictions of that split.
        data: the dataset that they are of.

    Raises:
        DataError: a record is damaged.
    """
    images, labels, _ = stacked_images(data, found.facts["split"], positions)
    titles = data.titles
    return [
        PredictedImage(image, titles[label], likeliest_classes(found, position, titles, data.classes), label)
        for image, label, position in zip(images, labels.tolist(), positions, strict=True)
    ]


def draw_predictions(images: Sequence[PredictedImage], path: Path) -> None:
    """Writes each image above its caption and its bars, the right class's bar in green (paper, figure 4).

    Where the right class is known, the caption is green if it is the likeliest, and red if not.

    Raises:
        UsageError: the suffix of the path is unknown.
    """
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    bars = max(len(image.guesses) for image in images)
    bars_high = 0.2 * bars + 0.1
    shown = [[image.caption, *(guess.title for guess in image.guesses)] for image in images]
    captions, short = (shorten_all(chain.from_iterable(shown), length) for length in (CAPTION, BAR_LABEL))
    figure = Figure(figsize=(2.35 * columns, (2.5 + bars_high) * rows), layout="constrained")
    grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[2.3, bars_high] * rows)
    for axis in grid.ravel():
        axis.axis("off")
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        axes = grid[2 * row][column], grid[2 * row + 1][column]
        _draw(*axes, image, bars, captions[image.caption], [short[guess.title] for guess in image.guesses])
    if any(image.right is not None for image in images):
        figure.supxlabel("green: the right class", fontsize=7, color=QUIET, x=0.01, ha="left")
    save_figure(figure, path)


def _draw(
    image_axis: Axes, bar_axis: Axes, image: PredictedImage, bars: int, caption: str, names: Sequence[str]
) -> None:
    color = INK
    if image.right is not None:
        color = RIGHT if image.guesses[0].label == image.right else WRONG
    image_axis.imshow(image.image)
    bar_axis.set_title(caption, fontsize=8, color=color, fontweight="bold", pad=3)
    positions = np.arange(len(image.guesses))
    widths = [guess.probability for guess in image.guesses]
    colors = [RIGHT if guess.label == image.right else BAR for guess in image.guesses]
    bar_axis.barh(positions, widths, height=0.84, color=colors, alpha=0.55)
    bar_axis.set_xlim(0, 1)
    bar_axis.set_ylim(bars - 0.4, -0.6)
    for position, (guess, name) in enumerate(zip(image.guesses, names, strict=True)):
        bar_axis.text(0.015, position, name, fontsize=7, color=INK, va="center")
        bar_axis.text(0.99, position, f"{guess.probability:.1%}", fontsize=6, color=INK, va="center", ha="right")
