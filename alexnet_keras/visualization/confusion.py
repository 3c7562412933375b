"""The confusion matrix: the classes that are mistaken for each other."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from alexnet_keras.visualization.style import INK, PALE, QUIET, new_figure, own_style, save_figure, shorten_all

MOST_WHOLE = 30  # classes of a matrix that is shown whole
WORST = 25  # classes shown of a larger one
LABEL = 28  # characters


@own_style()
def draw_confusion(matrix: sparse.sparray | np.ndarray, titles: Sequence[str], path: str | Path, of: str = "") -> None:
    """Draw a confusion matrix: one row per true class, one column per predicted class, in percent of the row.

    Up to 30 classes are shown. Of more, the 25 with the worst confusions among them are shown, and a last column counts
    the images taken for any other class. A class without images has an empty row.

    Args:
        matrix: `(classes, classes)`, numbers of images [true, predicted].
        titles: The title of each class.
        path: .png, .svg or .pdf.
        of: The split and the views, for the title: "val, ten crops".

    Raises:
        UsageError: The file has another suffix.
    """
    counts = sparse.csr_array(matrix, dtype=np.float64)
    classes = counts.shape[0]
    whole = classes <= MOST_WHOLE
    chosen = np.arange(classes) if whole else worst_confused(counts, WORST)
    cells, totals = counts[chosen][:, chosen].toarray(), counts.sum(axis=1)[chosen]
    if not whole:  # the rest from counts: of shares, their rounding would be left over
        cells = np.column_stack([cells, totals - cells.sum(axis=1)])
    shown = row_shares(cells, totals)
    short = shorten_all(titles, LABEL)
    rows = [short[titles[label]] for label in chosen.tolist()]
    columns = rows if whole else [*rows, "any other class"]
    cell = min(0.9, max(0.27, 3.0 / len(rows)))  # inches
    figure, ((axis,),) = new_figure(cell * len(columns) + 2.4, cell * len(rows) + 2.6)
    axis.set_facecolor(PALE)  # rows of classes without images, which are NaN
    axis.imshow(shown, cmap="Blues", vmin=0.0, vmax=1.0, interpolation="nearest")
    for (row, column), share in np.ndenumerate(shown):
        text = f"{100 * share:.0f}"
        if text not in ("0", "nan") or (row == column and share >= 0):  # others stay empty
            color = "white" if share > 0.6 else INK
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": min(9.0, 24 * cell), "color": color}
            axis.text(column, row, text, **style)
    axis.set_xticks(range(len(columns)), columns, rotation=90)
    axis.set_yticks(range(len(rows)), rows)
    axis.tick_params(length=0, labelsize=8 if cell > 0.3 else 7, labelcolor=INK)
    axis.set_xlabel("predicted", fontsize=9, color=QUIET)
    axis.set_ylabel("true", fontsize=9, color=QUIET)
    axis.set_xticks(np.arange(-0.5, len(columns)), minor=True)
    axis.set_yticks(np.arange(-0.5, len(rows)), minor=True)
    axis.grid(which="minor", color="white", linewidth=0.6)
    axis.tick_params(which="minor", length=0)
    axis.spines[:].set_visible(False)
    if not whole:
        axis.axvline(len(rows) - 0.5, color=QUIET, linewidth=1)
    title = _title(classes, len(rows), counts.sum(), counts.diagonal().sum(), of)
    figure.suptitle(title, fontsize=9.5, color=INK, x=0.01, ha="left")
    save_figure(figure, path)


def row_shares(counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Divide counts by the totals of their rows; the row of a class without images is NaN."""
    return np.divide(counts, totals[:, None], out=np.full(counts.shape, np.nan), where=totals[:, None] > 0)


def worst_confused(matrix: sparse.sparray | np.ndarray, count: int) -> np.ndarray:
    """Choose `count` classes with the worst confusions among them.

    Pairs of a true class and a wrongly predicted one are taken in the order of the share of the true class that is
    lost (ties: more images first) while there is room for both classes. If the pairs are too few, the first classes
    fill up.

    Returns:
        The labels, ascending.
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


def _title(classes: int, shown: int, images: float, right: float, of: str) -> str:
    error = f"{images:,.0f} images, top-1 error {1 - right / images:.1%}" if images else "no images"
    first = f"{classes:,} classes" if shown == classes else f"The {shown} most confused of {classes:,} classes"
    second = "Percent of each true class; wrong classes with no more than half a percent are left empty"
    return f"{first}; {f'{of}: ' if of else ''}{error}\n{second}"
