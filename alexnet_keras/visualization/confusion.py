"""Confusion: which classes are taken for which."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy import sparse

from alexnet_keras.visualization.style import INK, QUIET, save_figure, shorten_all

MOST_WHOLE = 30  # classes of a matrix that is shown whole
WORST = 25  # classes shown of a larger one
LABEL = 28  # characters


def draw_confusion(matrix: sparse.sparray | np.ndarray, titles: Sequence[str], path: Path) -> None:
    """Writes a confusion matrix: a row a true class, a column a predicted one, in percent of the row.

    Of more than 30 classes it shows those among which the worst confusions are; a last column then holds what was
    taken for a class that is not shown. A class without images has an empty row.

    Args:
        matrix: `(classes, classes)`, numbers of images [true, predicted].
        titles: what the classes are called.
        path: .png, .svg or .pdf.

    Raises:
        UsageError: the file has another suffix.
    """
    counts = sparse.csr_array(matrix, dtype=np.float64)
    classes = counts.shape[0]
    images, right = counts.sum(), counts.diagonal().sum()
    chosen = np.arange(classes) if classes <= MOST_WHOLE else worst_confused(counts, WORST)
    whole = len(chosen) == classes
    shown = row_shares(counts[chosen][:, chosen].toarray(), counts.sum(axis=1)[chosen])
    short = shorten_all(titles, LABEL)
    names = [short[titles[label]] for label in chosen.tolist()]
    columns = list(names)
    if not whole:
        shown = np.column_stack([shown, 1 - shown.sum(axis=1)])
        columns.append("any other class")
    cell = min(0.9, max(0.27, 3.0 / len(chosen)))  # inches
    figure = Figure(figsize=(cell * shown.shape[1] + 2.4, cell * len(chosen) + 2.6), layout="constrained")
    axis = figure.subplots()
    axis.set_facecolor("#e5e5e5")  # rows of classes without images, which are NaN
    axis.imshow(shown, cmap="Blues", vmin=0.0, vmax=1.0, interpolation="nearest")
    size = min(9.0, 24 * cell)
    for (row, column), share in np.ndenumerate(shown):
        percent = 100 * share
        if percent >= 0.5:  # NaN and what rounds to zero stay empty
            color = "white" if share > 0.6 else INK
            axis.text(column, row, f"{percent:.0f}", ha="center", va="center", fontsize=size, color=color)
    axis.set_xticks(range(len(columns)), columns, rotation=90)
    axis.set_yticks(range(len(names)), names)
    axis.tick_params(length=0, labelsize=8 if cell > 0.3 else 7, labelcolor=INK)
    axis.set_xlabel("predicted", fontsize=9, color=QUIET)
    axis.set_ylabel("true", fontsize=9, color=QUIET)
    axis.set_xticks(np.arange(-0.5, shown.shape[1]), minor=True)
    axis.set_yticks(np.arange(-0.5, len(chosen)), minor=True)
    axis.grid(which="minor", color="white", linewidth=0.6)
    axis.tick_params(which="minor", length=0)
    axis.spines[:].set_visible(False)
    if not whole:
        axis.axvline(len(chosen) - 0.5, color=QUIET, linewidth=1)
    figure.suptitle(_about(classes, len(chosen), images, right), fontsize=9.5, color=INK, x=0.01, ha="left")
    save_figure(figure, path)


def row_shares(counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Counts to shares of their rows' totals; NaN in the row of a class without images."""
    return np.divide(counts, totals[:, None], out=np.full(counts.shape, np.nan), where=totals[:, None] > 0)


def worst_confused(matrix: sparse.sparray | np.ndarray, count: int) -> np.ndarray:
    """The labels, ascending, of `count` classes among which are the confusions that take the most of a class.

    Pairs of a true and a wrongly predicted class are gone through, the one with the largest share of its true class
    first (of equal shares the one with more images), and both classes are taken while there is room. Where there are
    no more confusions, the first classes fill up.
    """
    counts = sparse.csr_array(matrix, dtype=np.float64)
    pairs = counts.tocoo()
    wrong = (pairs.row != pairs.col) & (pairs.data > 0)
    true, predicted, images = pairs.row[wrong], pairs.col[wrong], pairs.data[wrong]
    shares = images / counts.sum(axis=1)[true]
    chosen: dict[int, None] = {}
    for index in np.lexsort((predicted, true, -images, -shares)).tolist():
        pair = int(true[index]), int(predicted[index])
        if len(chosen.keys() | set(pair)) <= count:
            chosen.update(dict.fromkeys(pair))
        if len(chosen) == count:
            break
    others = (label for label in range(counts.shape[0]) if label not in chosen)
    chosen.update(dict.fromkeys(islice(others, count - len(chosen))))
    return np.array(sorted(chosen))


def _about(classes: int, shown: int, images: float, right: float) -> str:
    error = f"{images:,.0f} images, top-1 error {1 - right / images:.1%}" if images else "no images"
    first = f"{classes:,} classes" if shown == classes else f"The {shown} most confused of {classes:,} classes"
    return f"{first}; {error}\nPercent of each true class; less than half a percent is left empty"
