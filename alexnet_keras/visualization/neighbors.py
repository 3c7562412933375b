"""Figure 4, right: pictures and the training pictures nearest to them in the last hidden layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet_keras.evaluation.nearest import Nearest
from alexnet_keras.visualization.style import INK, QUIET, RIGHT, WRONG, save_figure, shorten, shorten_all

LABEL = 24  # characters


@dataclass(frozen=True, eq=False)
class Query:
    """A picture that neighbours were sought of.

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
