"""A contact sheet: some pictures of a prepared dataset, with the names of their classes, to look at before training."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from alexnet_keras.data.pipeline import evaluation_batches
from alexnet_keras.data.prepared import PreparedDataset
from alexnet_keras.visualization.style import INK, QUIET, save_figure, shorten_all

ROWS, COLUMNS = 6, 8
LABEL = 24  # characters
READ_AT_MOST = 4096  # pictures looked at for others of classes not seen yet
BATCH_SIZE = 64


def draw_contact_sheet(data: PreparedDataset, path: Path, split: str = "train", pictures: int = ROWS * COLUMNS) -> None:
    """Write a sheet of the first pictures of a split that are of as many classes as can be, in the order of classes.

    The split is stored shuffled, so its first pictures are a fair sample. Of a set with more classes than
    `pictures` the sheet shows one picture each of some; of one with fewer, several each of all.

    Args:
        data: The dataset.
        path: .png, .svg or .pdf.
        split: "train", "val" or "test".
        pictures: How many at most.

    Raises:
        UsageError: There is no such split, or the file has another suffix.
    """
    chosen = _choose(data, split, min(pictures, data.examples(split)))
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
    """(label, image) of pictures spread over the classes, in the order of classes."""
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
