"""Figure 4, right: images and the training images nearest to them in the last hidden layer."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from alexnet_keras.data.pipeline import evaluation_batches
from alexnet_keras.data.prepared import PreparedDataset
from alexnet_keras.errors import DataError
from alexnet_keras.evaluation.views import centre
from alexnet_keras.model import features_of
from alexnet_keras.visualization.style import INK, QUIET, RIGHT, WRONG, save_figure, shorten

BATCH_SIZE = 128


@dataclass(frozen=True)
class Pictures:
    """Pictures with what is known of them; the first axis of every array counts pictures."""

    images: np.ndarray  # (n, 256, 256, 3) uint8
    labels: np.ndarray  # (n,) int64
    filenames: np.ndarray  # (n,) str
    features: np.ndarray  # (n, 4096) float32, of the centre crop

    def take(self, index: np.ndarray) -> "Pictures":
        return Pictures(self.images[index], self.labels[index], self.filenames[index], self.features[index])

    def join(self, other: "Pictures") -> "Pictures":
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Pictures(*(np.concatenate(pair) for pair in pairs))


@dataclass(frozen=True)
class Neighbors:
    """Each query with its nearest training pictures, nearest first."""

    queries: Pictures
    nearest: list[Pictures]  # one a query
    distances: list[np.ndarray]  # (count,) float32 a query, Euclidean
    titles: tuple[str, ...]  # of the classes


def find_neighbors(
    model: keras.Model,
    data: PreparedDataset,
    *,
    queries: int = 5,
    count: int = 6,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> Neighbors:
    """The `count` training pictures nearest to each of `queries` validation pictures, exactly.

    Nearness is the Euclidean distance of the last hidden layer's activities (paper, section 6.1). The training
    split is read once; only the nearest pictures so far are held.

    Raises:
        DataError: there are fewer validation or training pictures than asked for.
    """
    if data.examples("val") < queries or data.examples("train") < count:
        raise DataError(
            f"{data.path} has {data.examples('val')} validation and {data.examples('train')} training images: too few "
            f"for {queries} queries and {count} neighbours."
        )
    extract = _extractor(model)
    asked = _choose_queries(extract, data, queries, seed)
    nearest: list[Pictures | None] = [None] * queries
    distances = [np.zeros(0, np.float32)] * queries
    for pictures in _pictures(extract, data, "train"):
        for query in range(queries):
            found = np.linalg.norm(pictures.features - asked.features[query], axis=1)
            joined = pictures if nearest[query] is None else nearest[query].join(pictures)
            all_distances = np.concatenate([distances[query], found])
            best = np.argsort(all_distances, kind="stable")[:count]
            nearest[query], distances[query] = joined.take(best), all_distances[best]
        if on_progress:
            on_progress(len(pictures.labels))
    return Neighbors(asked, nearest, distances, data.titles)


def draw_neighbors(found: Neighbors, path: Path) -> None:
    """Writes the queries in the first column and their neighbours, nearest first, beside them."""
    rows, columns = len(found.nearest), len(found.distances[0])
    figure = Figure(figsize=(1.45 * (columns + 1.25), 1.75 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns + 2, squeeze=False, width_ratios=[1, 0.12] + [1] * columns)
    for row in range(rows):
        query_label = found.queries.labels[row]
        _show(grid[row][0], found.queries.images[row], found.titles[query_label], INK, bold=True)
        grid[row][1].axis("off")
        neighbors = found.nearest[row]
        for column in range(columns):
            label = neighbors.labels[column]
            color = RIGHT if label == query_label else WRONG
            _show(grid[row][column + 2], neighbors.images[column], found.titles[label], color)
    grid[0][0].set_title("Query", fontsize=9, color=QUIET, loc="left")
    grid[0][2].set_title("Nearest training images, nearest first", fontsize=9, color=QUIET, loc="left")
    save_figure(figure, path)


def _show(axis, image: np.ndarray, label: str, color: str, bold: bool = False) -> None:
    axis.imshow(image)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.set_xlabel(shorten(label, 24), fontsize=6.5, color=color, fontweight="bold" if bold else "normal", labelpad=2)


def _extractor(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """From 256x256 images to the features of their centre crops."""
    features, crop = features_of(model), model.input_shape[1]
    return tf.function(lambda images: features(centre(images, crop)[0], training=False), reduce_retracing=True)


def _pictures(extract: Callable, data: PreparedDataset, split: str):
    for images, labels, filenames in evaluation_batches(data, split, BATCH_SIZE):
        names = np.array([name.decode("utf-8", "replace") for name in filenames.numpy()])
        yield Pictures(images.numpy(), labels.numpy(), names, extract(images).numpy())


def _choose_queries(extract: Callable, data: PreparedDataset, count: int, seed: int) -> Pictures:
    """Seeded choice of validation pictures, of different classes as far as there are enough classes."""
    random = np.random.default_rng(seed)
    labels = np.concatenate([labels.numpy() for _, labels, _ in evaluation_batches(data, "val", BATCH_SIZE)])
    shuffled = random.permutation(len(labels))
    first_of_class = {labels[position]: position for position in shuffled[::-1]}
    distinct = random.permutation(sorted(first_of_class.values()))[:count]
    others = [position for position in shuffled if position not in set(distinct)][: count - len(distinct)]
    wanted = sorted({*distinct.tolist(), *others})
    chosen: Pictures | None = None
    start = 0
    for images, batch_labels, filenames in evaluation_batches(data, "val", BATCH_SIZE):
        inside = [position - start for position in wanted if start <= position < start + len(batch_labels)]
        if inside:
            picked = tf.gather(images, inside)
            names = np.array([filenames.numpy()[i].decode("utf-8", "replace") for i in inside])
            part = Pictures(picked.numpy(), batch_labels.numpy()[inside], names, extract(picked).numpy())
            chosen = part if chosen is None else chosen.join(part)
        start += len(batch_labels)
    return chosen
