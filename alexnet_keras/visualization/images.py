"""Figures of images with captions: contact sheets, and figure 4: predictions, and nearest training images."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import keras
import numpy as np
from matplotlib.axes import Axes

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.errors import DataError
from alexnet_keras.evaluation.classifier import ClassProbability, likeliest_classes
from alexnet_keras.evaluation.features import FeatureExtractor, Nearest, feature_batches, find_nearest
from alexnet_keras.evaluation.image_inputs import (
    preparation_of,
    read_image,
    some_images,
    spread_over_classes,
    stacked_images,
)
from alexnet_keras.evaluation.predictions import Predictions
from alexnet_keras.reporter import SILENT, Reporter
from alexnet_keras.runs import Run
from alexnet_keras.visualization.style import (
    INK,
    QUIET,
    RIGHT,
    WRONG,
    heading,
    new_figure,
    own_style,
    save_figure,
    shorten,
    shorten_all,
    show_image,
)

SHEET_IMAGES, SHEET_COLUMNS = 48, 8
SHEET_READ = 512  # images that are searched for classes
COLUMNS = 4  # of predictions
LABEL, CAPTION, BAR_LABEL = 24, 30, 26  # characters: of small images, above bars, in a bar
SMALL = 7.0  # points, below small images
BAR = "#9db8d2"


@dataclass(frozen=True, eq=False)
class CaptionedImage:
    """An image, its caption, and the network's predictions of it.

    Attributes:
        image: uint8 `(256, 256, 3)`, RGB.
        caption: The title of its class, or the name of its file.
        label: Its class; None where that is not known.
        predictions: The likeliest classes, the likeliest first.
    """

    image: np.ndarray
    caption: str
    label: int | None = None
    predictions: Sequence[ClassProbability] = ()


def images_from_files(run: Run, files: Sequence[Path]) -> list[CaptionedImage]:
    """Read image files, prepared as the run's training images were.

    Raises:
        UsageError: There is no such file.
        DataError: A file cannot be read, or is no image.
    """
    preparation = preparation_of(run)
    return [CaptionedImage(read_image(file, preparation), file.name) for file in files]


def images_from_split(data: PreparedDataset, count: int, seed: int = 0) -> list[CaptionedImage]:
    """Choose validation images by a seed, of different classes as far as possible.

    Raises:
        UsageError: There is no such split.
        DataError: It has fewer images, or a record is damaged.
    """
    images, labels, _ = some_images(data, "val", count, seed)
    return [
        CaptionedImage(image, data.titles[label], label) for image, label in zip(images, labels.tolist(), strict=True)
    ]


def predicted_images(
    found: Predictions, data: PreparedDataset, count: int, seed: int = 0, *, only_errors: bool = False
) -> list[CaptionedImage]:
    """Choose images of a split by a seed, of different classes as far as possible, with their predictions.

    Args:
        found: The predictions of the split.
        data: Its dataset.
        count: The largest number of images.
        seed: Chooses the images.
        only_errors: Choose among the images whose likeliest class is wrong.

    Raises:
        DataError: There is no error to show, or a record is damaged.
    """
    order, split = np.random.default_rng(seed).permutation(len(found.labels)), found.facts["split"]
    if only_errors:
        order = order[found.summary.top[order, 0] != found.labels[order]]
        if not len(order):
            raise DataError(f"The run {found.facts['run']} makes no error on the {split} split of {data.path}.")
    chosen = order[spread_over_classes(found.labels[order], count)]
    images, labels, _ = stacked_images(data, split, chosen)
    return [
        CaptionedImage(image, data.titles[label], label, likeliest_classes(found, position, data.titles, data.classes))
        for image, label, position in zip(images, labels.tolist(), chosen, strict=True)
    ]


def nearest_training_images(
    model: keras.Model, images: np.ndarray, data: PreparedDataset, count: int, reporter: Reporter = SILENT
) -> list[Nearest]:
    """Find the training images nearest to each image by the last hidden layer (paper, section 6.1).

    The images are uint8 `(n, 256, 256, 3)`. All of the training split is read once.

    Raises:
        DataError: The training split has fewer images, or is damaged.
    """
    available = data.examples("train")
    if available < count:
        raise DataError(f"{data.path} has {available} training images, too few for {count}.")
    extract = FeatureExtractor(model)
    with reporter.progress("searching", available) as advance:
        return find_nearest(extract(images), feature_batches(extract, data, "train"), count, advance)


@own_style()
def draw_predictions(images: Sequence[CaptionedImage], path: str | Path) -> None:
    """Draw each image above its caption and the bars of its likeliest classes (paper, figure 4, left).

    The bar of the right class is green. Where the right class is known, it is the caption, green if that class is the
    likeliest, and red otherwise; a heading says so.
    """
    columns = min(COLUMNS, len(images))
    rows = ceil(len(images) / columns)
    bars = max(len(image.predictions) for image in images)
    height = 0.2 * bars + 0.1  # inches
    side = 2.2  # inches, of an image, which is as wide as its bars
    texts = [text for image in images for text in (image.caption, *(each.title for each in image.predictions))]
    captions, names = shorten_all(texts, CAPTION), shorten_all(texts, BAR_LABEL)
    figure, grid = new_figure(
        side * columns, (side + 0.25 + height) * rows, 2 * rows, columns, height_ratios=[side, height] * rows
    )
    for axis in grid.flat:
        axis.axis("off")
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        grid[2 * row][column].imshow(image.image)
        _draw_bars(grid[2 * row + 1][column], image, captions[image.caption], names)
        grid[2 * row + 1][column].set_ylim(bars - 0.4, -0.6)
    if labelled := [image for image in images if image.label is not None]:
        wrong = any(image.predictions[0].label != image.label for image in labelled)
        red = "; red: the right class, where another is likelier" if wrong else ""
        heading(grid[0][0], f"Green: the right class{red}", size=8)
    save_figure(figure, path)


def _draw_bars(axis: Axes, image: CaptionedImage, caption: str, names: dict[str, str]) -> None:
    color = INK
    if image.label is not None:
        color = RIGHT if image.predictions[0].label == image.label else WRONG
    axis.set_title(caption, fontsize=8, color=color, fontweight="bold", pad=3)
    axis.set_xlim(0, 1)
    for position, each in enumerate(image.predictions):
        bar = RIGHT if each.label == image.label else BAR
        axis.barh(position, each.probability, height=0.84, color=bar, alpha=0.55)
        axis.text(0.015, position, names[each.title], fontsize=7, color=INK, va="center")
        axis.text(0.99, position, f"{each.probability:.1%}", fontsize=6, color=INK, va="center", ha="right")


@own_style()
def draw_neighbors(
    queries: Sequence[CaptionedImage], found: Sequence[Nearest], titles: Sequence[str], path: str | Path
) -> None:
    """Draw the queries in the first column and right of each its neighbours, nearest first (paper, figure 4, right).

    Where a query's class is known, neighbours of the same class are named in green and others in red. All queries have
    equally many.
    """
    short = shorten_all(titles, LABEL)
    rows, columns = len(queries), len(found[0].distances)
    figure, grid = new_figure(
        1.45 * (columns + 1.25), 1.64 * rows + 0.3, rows, columns + 2, width_ratios=[1, 0.12] + [1] * columns
    )
    for (first, gap, *others), query, neighbors in zip(grid, queries, found, strict=True):
        show_image(first, query.image)
        caption = shorten(query.caption, LABEL) if query.label is None else short[titles[query.label]]
        first.set_xlabel(caption, fontsize=SMALL, color=INK, fontweight="bold", labelpad=2)
        gap.axis("off")
        for axis, image, label in zip(others, neighbors.images, neighbors.labels, strict=True):
            color = QUIET if query.label is None else RIGHT if label == query.label else WRONG
            show_image(axis, image)
            axis.set_xlabel(short[titles[label]], fontsize=SMALL, color=color, labelpad=2)
    heading(grid[0][0], "Query")
    heading(grid[0][2], "Nearest training images, nearest first")
    if any(query.label is not None for query in queries):
        explained = "Green: of the query's class; red: of another"
        figure.supxlabel(explained, fontsize=8, color=QUIET, x=0.01, ha="left")
    save_figure(figure, path)


@own_style()
def draw_contact_sheet(data: PreparedDataset, path: str | Path, split: str = "train") -> None:
    """Draw 48 of the first 512 images of a split, of as many classes as possible, in the order of classes.

    A split is stored shuffled, so its first images are a fair sample.

    Raises:
        UsageError: There is no such split, or the file has another suffix.
    """
    read, labels, _ = stacked_images(data, split, range(min(SHEET_READ, data.examples(split))))
    chosen = spread_over_classes(labels, SHEET_IMAGES)
    chosen = chosen[np.argsort(labels[chosen], kind="stable")]
    rows = ceil(len(chosen) / SHEET_COLUMNS)
    figure, grid = new_figure(1.45 * SHEET_COLUMNS, 1.62 * rows + 0.35, rows, SHEET_COLUMNS)
    title = f"{data.name}: {len(chosen)} of {data.examples(split):,} {split} images, {len(data.classes):,} classes"
    figure.suptitle(title, fontsize=9, color=QUIET, x=0.01, ha="left")
    for axis in grid.flat:
        axis.axis("off")
    short = shorten_all(data.titles, LABEL)
    for axis, index in zip(grid.flat, chosen, strict=False):
        axis.imshow(read[index])
        axis.set_title(short[data.titles[labels[index]]], fontsize=SMALL, color=INK, y=-0.01, va="top", pad=0)
    save_figure(figure, path)
