"""The parts of a run's report that show results: figures with their descriptions, images and the numbers of tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.evaluation.analysis import BINS, Outcomes
from alexnet_keras.evaluation.classifier import ClassProbability, likeliest_classes
from alexnet_keras.evaluation.image_inputs import some_images, spread_over_classes, stacked_images
from alexnet_keras.evaluation.predictions import Predictions
from alexnet_keras.layers.towers import tower_letter
from alexnet_keras.network.kernels import CAVEAT, compare_towers, first_kernels
from alexnet_keras.network.summary import summarize
from alexnet_keras.reporter import Reporter
from alexnet_keras.reports.page import EmbeddedImage, drawing, percent, photograph
from alexnet_keras.runs import Run
from alexnet_keras.visualization.architecture import draw_architecture
from alexnet_keras.visualization.confusion import MOST_WHOLE, draw_confusion
from alexnet_keras.visualization.curves import draw_curves, draw_reliability
from alexnet_keras.visualization.images import nearest_training_images
from alexnet_keras.visualization.kernels import draw_kernels, draw_towers

IMAGES = 8  # shown with their predictions, and as many that are wrong
QUERIES, NEIGHBORS = 5, 6  # the paper's figure 4
WORST = 10  # classes, and pairs of classes
LARGE, SMALL = 256, 176  # pixels of a photograph's side: with its predictions, among neighbours


class PartUnavailable(Exception):
    """A part of the report cannot be made; the message is a sentence for the page."""


@dataclass(frozen=True)
class ShownImage:
    """An image with its class and the classes the network finds likeliest."""

    image: EmbeddedImage
    title: str
    label: int
    guesses: Sequence[ClassProbability] = ()


@dataclass(frozen=True, eq=False)
class EvaluatedRun:
    """A run, its best model, and its predictions on one split.

    Attributes:
        run: The run.
        model: Its best model.
        split: Name of the split.
        data: The prepared dataset; None where it cannot be read.
        centre: Predictions from the centre crop; None where there are none.
        ten_crop: Predictions averaged over ten crops; None where there are none.
        neighborhoods: Images and their neighbours, from `find_neighborhoods`.
        problem: One sentence that says why there is no dataset.
    """

    run: Run
    model: keras.Model
    split: str
    data: PreparedDataset | None
    centre: Predictions | None
    ten_crop: Predictions | None
    neighborhoods: Sequence[dict[str, Any]]
    problem: str

    @property
    def titles(self) -> Sequence[str]:
        """The title of each class."""
        return self.data.titles if self.data else self.run.titles

    @property
    def outcomes(self) -> Outcomes:
        """Labels and guesses from the centre crop."""
        if self.centre is None:
            raise PartUnavailable(f"There are no predictions to show. {self.problem}".rstrip())
        return Outcomes.of(self.centre)


def find_neighborhoods(
    model: keras.Model, data: PreparedDataset, split: str, reporter: Reporter
) -> list[dict[str, Any]]:
    """Choose images of a split and find their neighbours in the whole training split (paper, figure 4).

    An image of the training split is not its own neighbour.

    Returns:
        "query", a `ShownImage`, and "nearest", pairs of a `ShownImage` and its Euclidean distance, of each.
    """
    images, labels, filenames = some_images(data, split, min(QUERIES, data.examples(split)))
    others = data.examples("train") - (split == "train")
    count = min(NEIGHBORS, others) + (split == "train")
    found = nearest_training_images(model, images, data, count, reporter)

    def show(image: np.ndarray, label: int, filename: str, of: str) -> ShownImage:
        title = data.titles[label]
        return ShownImage(photograph(image, SMALL, _alt(title, filename, of)), title, int(label))

    neighborhoods = []
    for image, label, filename, nearest in zip(images, labels, filenames, found, strict=True):
        neighbors = zip(nearest.images, nearest.labels, nearest.filenames, nearest.distances, strict=True)
        shown = [
            (show(near, kind, name, "train"), float(distance))
            for near, kind, name, distance in neighbors
            if split != "train" or name != filename
        ][:NEIGHBORS]
        neighborhoods.append({"query": show(image, label, filename, split), "nearest": shown})
    return neighborhoods


def architecture(evaluated: EvaluatedRun) -> dict[str, Any]:
    """The network, layer by layer and tower by tower (paper, figure 2)."""
    layers = summarize(evaluated.model)
    towers = max(layer.towers for layer in layers)
    parameters = sum(layer.parameters for layer in layers)
    alt = (
        f"The layers {', '.join(layer.name for layer in layers)} as blocks from left to right, in {towers} "
        f"{'towers, one above the other' if towers > 1 else 'tower'}, with arrows where they read each other's maps; "
        f"below, each layer's kernels, strides, neurons and parameters, {parameters:,} in all."
    )
    return {"figure": drawing(partial(draw_architecture, evaluated.model, title=evaluated.run.recipe.name), alt)}


def curves(evaluated: EvaluatedRun) -> dict[str, Any]:
    """Loss, errors and learning rate over the epochs, and the numbers of every epoch."""
    rows = evaluated.run.history
    if not rows:
        raise PartUnavailable("The run has not finished an epoch.")
    first, last, best = rows[0], rows[-1], evaluated.run.best_row or rows[0]
    start, end, lowest = (percent(row["val_top1_error"]) for row in (first, last, best))
    alt = (
        f"Line charts over {len(rows)} epochs. The training loss goes from {first['loss']:.2f} to {last['loss']:.2f}, "
        f"the validation loss from {first['val_loss']:.2f} to {last['val_loss']:.2f}. The top-1 error on the "
        f"validation split goes from {start} to {end}; it is lowest, {lowest}, after epoch {int(best['epoch']) + 1}."
    )
    return {"figure": drawing(partial(draw_curves, [evaluated.run]), alt), "rows": rows}


def kernels(evaluated: EvaluatedRun) -> dict[str, Any]:
    """The first layer's kernels (paper, figure 3)."""
    towers = first_kernels(evaluated.model)
    side, counts = towers[0].shape[0], [own.shape[-1] for own in towers]
    each = ", ".join(f"{count} in tower {tower_letter(tower)}" for tower, count in enumerate(counts))
    alt = (
        f"The {sum(counts)} kernels of the first layer as small colour images of {side} by {side} pixels, in rows: "
        f"{each}, the towers one above the other. Mid-grey is a weight of zero."
    )
    return {"figure": drawing(partial(draw_kernels, evaluated.model), alt)}


def towers(evaluated: EvaluatedRun) -> dict[str, Any]:
    """The colour shares of each tower's kernels (paper, section 6.1)."""
    kernels = first_kernels(evaluated.model)
    report = compare_towers(kernels)
    medians = ", ".join(f"{color.median:.2f} in tower {color.tower}" for color in report.towers)
    alt = (
        "Each tower's kernels in the order of their colour shares, grey ones first, and below them the shares as dots "
        f"on a line from 0, grey, to 1, purely chromatic. The median is {medians}."
    )
    return {"figure": drawing(partial(draw_towers, kernels, report), alt), "colors": report, "caveat": CAVEAT}


def predictions(evaluated: EvaluatedRun) -> dict[str, Any]:
    """Images with the classes the network finds likeliest (paper, figure 4): some at random, and some errors."""
    outcomes = evaluated.outcomes
    order = np.random.default_rng(0).permutation(len(outcomes.labels))
    some = order[spread_over_classes(outcomes.labels[order], IMAGES)]
    wrong = order[outcomes.predicted[order] != outcomes.labels[order]]
    others = wrong[~np.isin(wrong, some)]
    wrong = others if len(others) >= IMAGES else wrong
    wrong = wrong[spread_over_classes(outcomes.labels[wrong], IMAGES)]
    return {"some": _shown_images(evaluated, some), "wrong": _shown_images(evaluated, wrong)}


def neighbors(evaluated: EvaluatedRun) -> dict[str, Any]:
    """Images and the training images nearest to them (paper, figure 4)."""
    _check_images(evaluated)
    return {"neighborhoods": evaluated.neighborhoods}


def classes(evaluated: EvaluatedRun) -> dict[str, Any]:
    """The worst classes, the most confused pairs of classes, and the confusion matrix."""
    outcomes = evaluated.outcomes
    worst = sorted(outcomes.by_class(), key=lambda errors: (-errors.top1.error, -errors.images, errors.label))
    worst = [errors for errors in worst[:WORST] if errors.top1.error]
    pairs = outcomes.confusions(WORST)
    extract = ", the part with the worst confusions" if outcomes.classes > MOST_WHOLE else ""
    alt = (
        f"The confusion matrix of {outcomes.classes} classes{extract}: one row per true class, one column per "
        "predicted class, in percent of the row; the darker, the more. "
    ) + ("The most frequent confusions are in the table before." if pairs else "All of it is on the diagonal.")
    figure = drawing(partial(draw_confusion, outcomes.matrix, evaluated.titles), alt)
    return {"worst": worst, "pairs": pairs, "figure": figure}


def calibration(evaluated: EvaluatedRun) -> dict[str, Any]:
    """The difference between the network's confidence and its accuracy."""
    found = evaluated.outcomes.calibration()
    bins = list(zip(found.confidence, found.accuracy, found.images, strict=True))
    confidence = float(np.average(found.confidence, weights=found.images))
    accuracy = float(np.average(found.accuracy, weights=found.images))
    alt = (
        f"Reliability diagram: the share of right answers over confidence in {len(bins)} bins, and how many images "
        f"are in each. Mean confidence is {percent(confidence)} and {percent(accuracy)} of the answers are right; the "
        "numbers of each bin are in the table below."
    )
    return {
        "figure": drawing(partial(draw_reliability, found), alt),
        "expected_error": found.expected_error,
        "bins": bins,
        "most_bins": BINS,
        "mean_confidence": confidence,
        "accuracy": accuracy,
    }


# In the order of the page.
PARTS: dict[str, Callable[[EvaluatedRun], dict[str, Any]]] = {
    part.__name__: part
    for part in (kernels, predictions, neighbors, curves, classes, calibration, towers, architecture)
}


def _check_images(evaluated: EvaluatedRun) -> PreparedDataset:
    if evaluated.data is None:
        raise PartUnavailable(f"The images themselves are not there. {evaluated.problem}")
    return evaluated.data


def _shown_images(evaluated: EvaluatedRun, positions: np.ndarray) -> list[ShownImage]:
    """Images at these positions of the split, each with its likeliest classes."""
    data = _check_images(evaluated)
    if evaluated.centre is None or not len(positions):
        return []
    images, labels, filenames = stacked_images(data, evaluated.split, positions)
    shown = []
    for image, label, filename, position in zip(images, labels.tolist(), filenames, positions, strict=True):
        title = data.titles[label]
        guesses = likeliest_classes(evaluated.centre, position, data.titles, data.classes)
        shown.append(
            ShownImage(photograph(image, LARGE, _alt(title, filename, evaluated.split)), title, label, guesses)
        )
    return shown


def _alt(title: str, filename: str, split: str) -> str:
    return f"{title}: the image {filename} of the {split} split"
