"""Contact sheets of a prepared dataset, and figure 4, right: images with the training images nearest to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.data.pipeline import evaluation_batches
from alexnet_keras.evaluation.features import Nearest
from alexnet_keras.visualization.style import INK, QUIET, RIGHT, WRONG, save_figure, shorten, shorten_all

ROWS, COLUMNS = 6, 8
LABEL = 24  # characters
READ_AT_MOST = 4096  # images looked at for others of classes not seen yet
BATCH_SIZE = 64


def draw_contact_sheet(data: PreparedDataset, path: Path, split: str = "train", images: int = ROWS * COLUMNS) -> None:
    """Write a sheet of the first images of a split that are of as many classes as can be, in the order of classes.

    The split is stored shuffled, so its first images are a fair sample. Of a set with more classes than
    `images` the sheet shows one image each of some; of one with fewer, several each of all.

    Args:
        data: The dataset.
        path: .png, .svg or .pdf.
        split: "train", "val" or "test".
        images: How many at most.

    Raises:
        UsageError: There is no such split, or the file has another suffix.
    """
    chosen = _choose(data, split, min(images, data.examples(split)))
    rows = -(-len(chosen) // COLUMNS)
    figure = Figure(figsize=(1.45 * COLUMNS, 1.72 * rows + 0.35), layout="constrained")
    figure.suptitle(
        f"{data.name}: {len(chosen)} of {data.examples(split):,} {split} images, {len(data.classes):,} classes",
        fontsize=9,
        color=QUIET,
        x=0.01,
        ha="left",
    )
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    for axis in grid.ravel():
        axis.axis("off")
    short = shorten_all(data.titles, LABEL)
    for axis, (label, image) in zip(grid.ravel(), chosen, strict=False):
        axis.imshow(image)
        axis.set_title(short[data.titles[label]], fontsize=6.5, color=INK, y=-0.01, va="top", pad=0)
    save_figure(figure, path)


def _choose(data: PreparedDataset, split: str, count: int) -> list[tuple[int, np.ndarray]]:
    """(label, image) of images spread over the classes, in the order of classes."""
    present = sum(number > 0 for number in data.class_counts(split))
    each = max(1, -(-count // present))
    taken: dict[int, list[np.ndarray]] = {}
    spare: list[tuple[int, np.ndarray]] = []
    found = seen = 0
    for images, labels, _ in evaluation_batches(data, split, BATCH_SIZE):
        for image, label in zip(images.numpy(), labels.numpy().tolist(), strict=True):
            if len(taken.setdefault(label, [])) < each and found < count:
                taken[label].append(image)
                found += 1
            elif len(spare) < count:
                spare.append((label, image))
        seen += len(labels)
        if found == count or seen >= READ_AT_MOST:
            break
    chosen = [(label, image) for label, images in taken.items() for image in images]
    chosen += spare[: count - len(chosen)]
    return sorted(chosen, key=lambda pair: pair[0])


LABEL = 24  # characters


@dataclass(frozen=True, eq=False)
class Query:
    """An image that neighbours were sought of.

    Attributes:
        image: (256, 256, 3) uint8.
        caption: Its class in words, or the name of its file.
        label: Its class, where it is known.
    """

    image: np.ndarray
    caption: str
    label: int | None = None


def draw_neighbors(queries: Sequence[Query], found: Sequence[Nearest], titles: Sequence[str], path: Path) -> None:
    """Writes the queries in the first column and their neighbours, nearest first, beside them.

    Where the query's class is known, neighbours of the same class are named in green and others in red.

    Raises:
        UsageError: the suffix of the path is unknown.
    """
    short = shorten_all(titles, LABEL)
    rows, columns = len(queries), len(found[0].distances)
    figure = Figure(figsize=(1.45 * (columns + 1.25), 1.75 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns + 2, squeeze=False, width_ratios=[1, 0.12] + [1] * columns)
    for row, (query, neighbors) in enumerate(zip(queries, found, strict=True)):
        caption = shorten(query.caption, LABEL) if query.label is None else short[titles[query.label]]
        _show(grid[row][0], query.image, caption, INK, bold=True)
        grid[row][1].axis("off")
        for column in range(columns):
            label = neighbors.labels[column]
            color = QUIET if query.label is None else RIGHT if label == query.label else WRONG
            _show(grid[row][column + 2], neighbors.images[column], short[titles[label]], color)
    grid[0][0].set_title("Query", fontsize=9, color=QUIET, loc="left")
    grid[0][2].set_title("Nearest training images, nearest first", fontsize=9, color=QUIET, loc="left")
    save_figure(figure, path)


def _show(axis: Axes, image: np.ndarray, label: str, color: str, bold: bool = False) -> None:
    axis.imshow(image)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.set_xlabel(label, fontsize=6.5, color=color, fontweight="bold" if bold else "normal", labelpad=2)
