"""Figure 4: the likeliest classes of eight images, and the training images nearest to five others."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import image as files
from matplotlib.figure import Figure

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.evaluation.features import FeatureExtractor, feature_batches
from alexnet_keras.evaluation.image_inputs import some_images
from alexnet_keras.experiments.lab import Lab
from alexnet_keras.experiments.outcome import Comparison, Outcome, OverSeeds, claimed_positive, error_kinds
from alexnet_keras.runs import Run
from alexnet_keras.storage.files import known_sha256
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
SEARCHED = 20_000  # training images that they are searched in, the first of the split's random order
PIXELS = 16  # side of the image that pixel distances are of


def run(lab: Lab) -> Outcome:
    """Train the unchanged network, once per seed, and compare neighbours by features with neighbours by pixels."""
    data, base = lab.open(), lab.base_recipe
    nets, left_out = lab.converged(lab.seeds, lambda seed: lab.trained("source", base, data, seed))
    results = {seed: _kept(lab, net, data, seed) for seed, net in nets.items()}
    same, by_pixels, rank = (
        OverSeeds(tuple(each[name] for each in results.values()))
        for name in ("same_class", "pixel_same_class", "pixel_rank")
    )
    top5 = [
        Comparison(
            f"{title}, ten crops",
            OverSeeds(tuple(getattr(lab.errors(net, data), kind).error for net in nets.values())),
            claim="18.2 %",
            log="18.2 % (145)",
        )
        for kind, title in error_kinds(data).items()
        if kind == "top5"
    ]
    # Parts of earlier versions have no chance: theirs is that of queries in the proportions of the split.
    chance = sum(found.get("chance", chance_of(data)) for found in results.values()) / len(results)
    searched = "all" if data.examples("train") <= SEARCHED else f"{SEARCHED:,}"
    draw_halves(lab, next(iter(nets.values())), data)
    return Outcome(
        summary=(
            f"The recipe {base.name}, trained for {base.training.epochs} epochs on {data.path.name}, was asked for the "
            f"five likeliest classes of {LABELLED} validation images, and for the {NEIGHBORS} training images "
            f"nearest in its last hidden layer to {QUERIES} others. Over {min(MEASURED, data.examples('val'))} "
            f"queries, {100 * same.mean:.0f} % of the neighbours are of the query's class ({100 * chance:.0f} % would "
            f"be by chance, {100 * by_pixels.mean:.0f} % of the nearest by pixels).{left_out}"
        ),
        comparisons=(
            claimed_positive(
                "neighbours of the query's class, minus chance",
                same.minus(chance),
                "neighbours show the same kind of object",
            ),
            Comparison("neighbours of the query's class", same),
            Comparison("the same for the nearest by pixels", by_pixels),
            Comparison(
                f"rank of the neighbours among {searched} training images by distance of pixels "
                "(0 nearest, 50 % random)",
                rank,
                claim="generally not close in pixels",
            ),
            *top5,
        ),
        configuration=(f"{base.name}, {base.training.epochs} epochs, {lab.options.precision}",),
        facts={"measured": results},
    )


def _kept(lab: Lab, net: Run, data: PreparedDataset, seed: int) -> dict[str, Any]:
    inputs = {"model": known_sha256(net.last_model_path), "data": data.fingerprint, "queries": MEASURED}
    if data.examples("train") > SEARCHED:
        inputs["searched"] = SEARCHED  # without it, parts of earlier versions, which searched in whole batches
    return lab.kept(f"neighbors-seed-{seed}", inputs, partial(compare_neighbors, lab, net, data))


def chance_of(data: PreparedDataset) -> float:
    """The expected share, 0..1, of neighbours of the query's class if they and the queries were drawn at random."""
    train, val = (np.array(data.class_counts(split), np.float64) for split in ("train", "val"))
    return float((train / train.sum() * val / val.sum()).sum())


def compare_neighbors(lab: Lab, net: Run, data: PreparedDataset) -> dict[str, Any]:
    """Compare the nearest training images of many queries by features and by pixels.

    Returns:
        Shares, 0..1: "same_class" and "pixel_same_class", of neighbours by features and by pixels that are of the
        query's class; "chance", of training images that are of the query's class, on average over the queries;
        "pixel_rank", the mean rank by pixels of the neighbours by features, 0 for the nearest.
    """
    extract = FeatureExtractor(net.load_model("last"))
    images, labels, _ = some_images(data, "val", min(MEASURED, data.examples("val")), seed=0)
    features, train_labels, pixels = [], [], []
    with lab.reporter.progress(f"features of {net.name}", data.examples("train")) as advance:
        for batch in feature_batches(extract, data, "train"):
            features.append(batch.features)
            train_labels.append(batch.labels)
            pixels.append(thumbnails(batch.images))
            advance(len(batch.labels))
            if sum(map(len, train_labels)) >= SEARCHED:
                break
    features, train_labels, pixels = (np.concatenate(each)[:SEARCHED] for each in (features, train_labels, pixels))
    nearest = nearest_first(extract(images), features)[:, :NEIGHBORS]
    by_pixels = nearest_first(thumbnails(images), pixels)
    ranks = np.argsort(by_pixels, axis=1)  # the rank of each training image by its pixels
    return {
        "same_class": float((train_labels[nearest] == labels[:, None]).mean()),
        "pixel_same_class": float((train_labels[by_pixels[:, :NEIGHBORS]] == labels[:, None]).mean()),
        "chance": float((train_labels == labels[:, None]).mean()),
        "pixel_rank": float(np.take_along_axis(ranks, nearest, axis=1).mean() / (len(train_labels) - 1)),
    }


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Shrink images `(n, 256, 256, 3)` to the means of their 16x16 squares, as vectors: float32 `(n, 768)`."""
    side = images.shape[1] // PIXELS
    blocks = images.reshape(len(images), PIXELS, side, PIXELS, side, 3)
    return blocks.mean(axis=(2, 4), dtype=np.float32).reshape(len(images), -1)


def nearest_first(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The positions of all vectors `(m, size)` from the nearest to the farthest, for each query: `(n, m)`."""
    queries, vectors = queries.astype(np.float64), vectors.astype(np.float64)
    return np.argsort((vectors**2).sum(axis=1) - 2 * queries @ vectors.T, axis=1, kind="stable")


def draw_halves(lab: Lab, net: Run, data: PreparedDataset) -> None:
    """Draw both halves of the figure, each in its own file."""
    predictions = lab.predictions(net, data, "val", "centre")
    draw_predictions(predicted_images(predictions, data, LABELLED), lab.folder / "predictions.png")
    queries = images_from_split(data, min(QUERIES, data.examples("val")))
    images = np.stack([query.image for query in queries])
    found = nearest_training_images(net.load_model("last"), images, data, NEIGHBORS)
    draw_neighbors(queries, found, data.titles, lab.folder / "neighbors.png")


def draw(outcome: Outcome, path: Path) -> None:
    """Draw both halves, which are beside `path`, one above the other."""
    halves = [files.imread(path.parent / name) for name in ("predictions.png", "neighbors.png")]
    heights = [half.shape[0] / half.shape[1] for half in halves]
    figure = Figure(figsize=(10, 10 * sum(heights)), layout="constrained")
    for axis, half in zip(figure.subplots(2, 1, height_ratios=heights), halves, strict=True):
        axis.imshow(half, interpolation="antialiased")
        axis.axis("off")
    save_figure(figure, path)
