"""The parts of a run's report that can be left out: pictures, with what they show in words, and tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from alexnet_keras.data.prepared import PreparedDataset
from alexnet_keras.evaluation.analysis import BINS, Outcomes
from alexnet_keras.evaluation.classifier import Guess, guesses_of
from alexnet_keras.evaluation.features import FeatureExtractor, feature_batches
from alexnet_keras.evaluation.nearest import find_nearest
from alexnet_keras.evaluation.pictures import pictures_at, some_pictures, spread_over_classes
from alexnet_keras.evaluation.predictions import Predictions
from alexnet_keras.kernel_color import CAVEAT, compare_towers
from alexnet_keras.kernel_grid import first_kernels
from alexnet_keras.layers.each_tower import tower_letter
from alexnet_keras.runs import Run
from alexnet_keras.visualization.confusion import MOST_WHOLE, draw_confusion
from alexnet_keras.visualization.curves import draw_curves
from alexnet_keras.visualization.kernels import draw_kernels
from alexnet_keras.visualization.page import Picture, drawing, percent, photograph
from alexnet_keras.visualization.reliability import draw_reliability
from alexnet_keras.visualization.towers import draw_towers

PICTURES = 8  # with their predictions, and as many that are wrong
QUERIES, NEIGHBORS = 5, 6  # the paper's figure 4
WORST = 10  # classes, and pairs of classes
LARGE, SMALL = 256, 176  # pixels of a photograph's side: with its predictions, among neighbours
NO_EPOCH = "The run has not finished an epoch yet."


class LeftOut(Exception):
    """A part cannot be made; the message is a sentence for the page."""


@dataclass(frozen=True, eq=False)
class Material:
    """What the parts are made of.

    Attributes:
        run: The run.
        model: Its best model.
        titles: What its classes are called.
        split: The split it is evaluated on.
        data: The dataset of that split; None where it is not there.
        predictions: Of the centre crop; None where there are none.
        neighborhoods: What `find_neighborhoods` found.
        problem: Why there is no dataset, in a sentence.
    """

    run: Run
    model: keras.Model
    titles: Sequence[str]
    split: str
    data: PreparedDataset | None
    predictions: Predictions | None
    neighborhoods: Sequence["Neighborhood"] = ()
    problem: str = ""

    @property
    def outcomes(self) -> Outcomes:
        """What became of each picture."""
        if self.predictions is None:
            raise LeftOut(f"There are no predictions to show. {self.problem}".rstrip())
        return Outcomes.of(self.predictions)


@dataclass(frozen=True)
class ShownPicture:
    """A picture with what it is and what the network says of it."""

    picture: Picture
    title: str
    label: int
    guesses: Sequence[Guess] = ()


@dataclass(frozen=True)
class Neighborhood:
    """A picture and the training pictures nearest to it, each with its distance."""

    query: ShownPicture
    nearest: Sequence[tuple[ShownPicture, float]]


def find_neighborhoods(
    model: keras.Model, data: PreparedDataset, split: str, on_progress: Callable[[int], None] = lambda pictures: None
) -> list[Neighborhood]:
    """Some pictures of a split and their neighbours in the training split, all of which is read (paper, figure 4)."""
    extract = FeatureExtractor(model)
    images, labels, filenames = some_pictures(data, split, min(QUERIES, data.examples(split)))
    count = min(NEIGHBORS, data.examples("train"))
    found = find_nearest(extract(images), feature_batches(extract, data, "train"), count, on_progress)

    def show(image: np.ndarray, label: int, filename: str, of: str) -> ShownPicture:
        title = data.titles[label]
        return ShownPicture(photograph(image, SMALL, _alt(title, filename, of)), title, int(label))

    return [
        Neighborhood(
            show(image, label, filename, split),
            [
                (show(near, kind, name, "train"), float(distance))
                for near, kind, name, distance in zip(
                    nearest.images, nearest.labels, nearest.filenames, nearest.distances, strict=True
                )
            ],
        )
        for image, label, filename, nearest in zip(images, labels, filenames, found, strict=True)
    ]


def curves(material: Material) -> dict[str, Any]:
    """Loss, errors and rate over the epochs, and the numbers of every epoch."""
    rows = material.run.history
    if not rows:
        raise LeftOut(NO_EPOCH)
    first, last, best = rows[0], rows[-1], material.run.best_row or rows[0]
    start, end, lowest = (percent(row["val_top1_error"]) for row in (first, last, best))
    alt = (
        f"Line charts over {len(rows)} epochs. The training loss goes from {first['loss']:.2f} to {last['loss']:.2f}, "
        f"the validation loss from {first['val_loss']:.2f} to {last['val_loss']:.2f}. The top-1 error on the "
        f"validation split goes from {start} to {end}; it is lowest, {lowest}, after epoch {int(best['epoch']) + 1}."
    )
    return {"picture": drawing(partial(draw_curves, [material.run]), alt), "rows": rows}


def kernels(material: Material) -> dict[str, Any]:
    """The first layer's kernels (paper, figure 3)."""
    towers = first_kernels(material.model)
    side, counts = towers[0].shape[0], [own.shape[-1] for own in towers]
    each = ", ".join(f"{count} in tower {tower_letter(tower)}" for tower, count in enumerate(counts))
    alt = (
        f"The {sum(counts)} kernels of the first layer as small colour pictures of {side} by {side} pixels, in rows: "
        f"{each}, the towers one above the other. Mid-grey is a weight of zero."
    )
    return {"picture": drawing(partial(draw_kernels, material.model), alt)}


def towers(material: Material) -> dict[str, Any]:
    """How colour-specific each tower is (paper, section 6.1)."""
    found = first_kernels(material.model)
    report = compare_towers(found)
    medians = ", ".join(f"{color.median:.2f} in tower {color.tower}" for color in report.towers)
    alt = (
        "Each tower's kernels in the order of their colour shares, grey ones first, and below them the shares as dots "
        f"on a line from 0, grey, to 1, purely chromatic. The median is {medians}."
    )
    return {"picture": drawing(partial(draw_towers, found, report), alt), "colors": report, "caveat": CAVEAT}


def predictions(material: Material) -> dict[str, Any]:
    """Pictures with the classes the network finds likeliest (paper, figure 4): some, and some that are wrong."""
    outcomes = material.outcomes
    if material.data is None or material.predictions is None:
        raise LeftOut(f"The pictures themselves are not there. {material.problem}")
    shown = partial(_shown, material.predictions, material.data, material.titles, material.split)
    labels = outcomes.labels
    order = np.random.default_rng(0).permutation(len(labels))
    some = order[spread_over_classes(labels[order], PICTURES)]
    wrong = order[outcomes.guesses[order] != labels[order]]
    unseen = wrong[~np.isin(wrong, some)]
    wrong = unseen if len(unseen) >= PICTURES else wrong
    wrong = wrong[spread_over_classes(labels[wrong], PICTURES)]
    return {"some": shown(some), "wrong": shown(wrong) if len(wrong) else []}


def neighbors(material: Material) -> dict[str, Any]:
    """Pictures and the training pictures nearest to them (paper, figure 4)."""
    if material.data is None:
        raise LeftOut(f"The pictures themselves are not there. {material.problem}")
    return {"neighborhoods": material.neighborhoods}


def classes(material: Material) -> dict[str, Any]:
    """The worst classes, the most confused pairs of them, and the confusion matrix."""
    outcomes = material.outcomes
    worst = sorted(outcomes.by_class(), key=lambda errors: (-errors.top1.error, -errors.images, errors.label))
    worst = [errors for errors in worst[:WORST] if errors.top1.error]
    pairs = outcomes.confusions(WORST)
    alt = (
        f"The confusion matrix of {outcomes.classes} classes"
        f"{', the part with the worst confusions' if outcomes.classes > MOST_WHOLE else ''}: a row a true class, a "
        "column a predicted one, in percent of the row; the darker, the more. "
    )
    alt += "The most frequent confusions are in the table before." if pairs else "All of it is on the diagonal."
    picture = drawing(partial(draw_confusion, outcomes.matrix, material.titles), alt)
    return {"worst": worst, "pairs": pairs, "picture": picture}


def calibration(material: Material) -> dict[str, Any]:
    """How far the network's confidence can be trusted."""
    found = material.outcomes.calibration()
    bins = list(zip(found.confidence, found.accuracy, found.images, strict=True))
    confidence, accuracy = (
        float(np.average(means, weights=found.images)) for means in (found.confidence, found.accuracy)
    )
    alt = (
        f"Reliability diagram: the share of right answers over confidence in {len(bins)} bins, and how many pictures "
        f"are in each. Mean confidence is {percent(confidence)} and {percent(accuracy)} of the answers are right; the "
        "numbers of each bin are in the table below."
    )
    return {
        "picture": drawing(partial(draw_reliability, found), alt),
        "found": found,
        "bins": bins,
        "most_bins": BINS,
        "mean_confidence": confidence,
        "accuracy": accuracy,
    }


# In the order of the page.
PARTS: dict[str, Callable[[Material], dict[str, Any]]] = {
    part.__name__: part for part in (curves, kernels, towers, predictions, neighbors, classes, calibration)
}


def _shown(
    found: Predictions, data: PreparedDataset, titles: Sequence[str], split: str, chosen: np.ndarray
) -> list[ShownPicture]:
    """The pictures at these positions of the split, with what the network says of them."""
    images, labels, filenames = pictures_at(data, split, chosen)
    return [
        ShownPicture(
            photograph(image, LARGE, _alt(titles[label], filename, split)),
            titles[label],
            label,
            guesses_of(found, position, titles, data.classes),
        )
        for image, label, filename, position in zip(images, labels.tolist(), filenames, chosen, strict=True)
    ]


def _alt(title: str, filename: str, split: str) -> str:
    return f"{title}: the picture {filename} of the {split} split"
