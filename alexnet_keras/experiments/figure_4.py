"""Figure 4: what the network says of eight images, and which training images it finds most like five others."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import image as files
from matplotlib.figure import Figure

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.evaluation.features import FeatureExtractor, feature_batches
from alexnet_keras.evaluation.inputs import some_images
from alexnet_keras.experiments.lab import Lab, base_recipe, chosen_data
from alexnet_keras.experiments.outcome import Estimate, Finding, Outcome, direction
from alexnet_keras.runs import Run
from alexnet_keras.visualization.images import (
    draw_neighbors,
    draw_predictions,
    images_from_split,
    nearest_training_images,
    predicted_images,
)
from alexnet_keras.visualization.style import save_figure

LABELLED, QUERIES, NEIGHBORS = 8, 5, 6  # images of the figure (paper, figure 4)
MEASURED = 200  # queries that the numbers are of
AMONG = 20_000  # training images that they are searched among, the first of the split's random order
PIXELS = 16  # side of the image that pixel distances are of


def run(lab: Lab) -> Outcome:
    """The network as it is, a seed each: neighbours of the query's class, and how near their pixels are."""
    data = chosen_data(lab)
    base = base_recipe(lab.request)
    nets = [lab.trained("source", base, data, seed) for seed in lab.seeds]
    found = {
        seed: lab.part(
            f"neighbors-seed-{seed}",
            {"net": net.name, "data": data.fingerprint, "queries": MEASURED},
            partial(measure, lab, net, data),
        )
        for seed, net in zip(lab.seeds, nets, strict=True)
    }
    same, chance = Estimate(tuple(each["same_class"] for each in found.values())), chance_of(data)
    by_pixels = Estimate(tuple(each["pixel_same_class"] for each in found.values()))
    rank = Estimate(tuple(each["pixel_rank"] for each in found.values()))
    top5 = Estimate(tuple(lab.errors(net, data, "val").top5.error for net in nets))
    gain = Estimate(tuple(value - chance for value in same.values))
    lab.folder.mkdir(parents=True, exist_ok=True)
    draw_images(lab, nets[0], data)
    return Outcome(
        summary=(
            f"The recipe {base.name}, trained for {base.training.epochs} epochs on {data.path.name}, was asked for the "
            f"five likeliest classes of {LABELLED} validation images, and for the {NEIGHBORS} training images "
            f"nearest in its last hidden layer to {QUERIES} others. Over {min(MEASURED, data.examples('val'))} "
            f"queries, {100 * same.mean:.0f} % of the neighbours are of the query's class ({100 * chance:.0f} % would "
            f"be by chance, {100 * by_pixels.mean:.0f} % of the nearest by pixels)."
        ),
        findings=(
            Finding(
                "neighbours of the query's class, minus chance",
                "neighbours show the same kind of object",
                "",
                gain,
                "points",
                direction(gain, 1),
            ),
            Finding("neighbours of the query's class", "", "", same, "percent"),
            Finding("the same for the nearest by pixels", "", "", by_pixels, "percent"),
            Finding(
                "where the neighbours stand among all training images by distance of pixels (0 nearest, 50 % random)",
                "generally not close in pixels",
                "",
                rank,
                "percent",
            ),
            Finding("top-5 error, ten crops", "18.2 %", "18.2 % (145)", top5, "percent"),
        ),
        configuration=(f"{base.name}, {base.training.epochs} epochs, {lab.request.precision}",),
        facts={"measured": {str(seed): each for seed, each in found.items()}, "folder": str(lab.folder)},
    )


def chance_of(data: PreparedDataset) -> float:
    """The share of neighbours of the query's class, if neighbours were drawn at random."""
    train, val = (np.array(data.class_counts(split), np.float64) for split in ("train", "val"))
    return float((train / train.sum() * val / val.sum()).sum())


def measure(lab: Lab, net: Run, data: PreparedDataset) -> dict[str, Any]:
    """Over many queries: the shares of neighbours of the same class, by features and by pixels, and pixel ranks."""
    extract = FeatureExtractor(net.load_model("last"))
    images, labels, _ = some_images(data, "val", min(MEASURED, data.examples("val")), seed=0)
    features, train_labels, pixels = [], [], []
    with lab.watcher.progress(f"features of {net.name}", data.examples("train")) as advance:
        for batch in feature_batches(extract, data, "train"):
            features.append(batch.features)
            train_labels.append(batch.labels)
            pixels.append(thumbnails(batch.images))
            advance(len(batch.labels))
            if sum(map(len, train_labels)) >= AMONG:
                break
    train_labels = np.concatenate(train_labels)
    of_features = order_of(extract(images), np.concatenate(features))
    of_pixels = order_of(thumbnails(images), np.concatenate(pixels))
    ranks = np.argsort(of_pixels, axis=1)  # the place of each training image by its pixels
    nearest = of_features[:, :NEIGHBORS]
    return {
        "same_class": float((train_labels[nearest] == labels[:, None]).mean()),
        "pixel_same_class": float((train_labels[of_pixels[:, :NEIGHBORS]] == labels[:, None]).mean()),
        "pixel_rank": float(np.take_along_axis(ranks, nearest, axis=1).mean() / (len(train_labels) - 1)),
    }


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Images `(n, 256, 256, 3)` as vectors of the means of their 16x16 squares, float32 `(n, 768)`."""
    side = images.shape[1] // PIXELS
    blocks = images.reshape(len(images), PIXELS, side, PIXELS, side, 3)
    return blocks.mean(axis=(2, 4), dtype=np.float32).reshape(len(images), -1)


def order_of(queries: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The positions of the others from the nearest to the farthest, for each query."""
    queries, others = queries.astype(np.float64), others.astype(np.float64)
    return np.argsort((others**2).sum(axis=1) - 2 * queries @ others.T, axis=1, kind="stable")


def draw_images(lab: Lab, net: Run, data: PreparedDataset) -> None:
    """Both halves of the figure, each in a file of its own."""
    predictions = lab.predictions(net, data, "val", "centre")
    draw_predictions(predicted_images(predictions, data, LABELLED), lab.folder / "predictions.png")
    queries = images_from_split(data, QUERIES)
    images = np.stack([query.image for query in queries])
    found = nearest_training_images(net.load_model("last"), images, data, NEIGHBORS)
    draw_neighbors(queries, found, data.titles, lab.folder / "neighbors.png")


def draw(outcome: Outcome, path: Path) -> None:
    """Both halves, one above the other."""
    folder = Path(outcome.facts["folder"])
    halves = [files.imread(folder / name) for name in ("predictions.png", "neighbors.png")]
    heights = [half.shape[0] / half.shape[1] for half in halves]
    figure = Figure(figsize=(10, 10 * sum(heights)), layout="constrained")
    for axis, half in zip(figure.subplots(2, 1, height_ratios=heights), halves, strict=True):
        axis.imshow(half, interpolation="antialiased")
        axis.axis("off")
    save_figure(figure, path)
