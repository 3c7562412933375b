"""The training pictures whose features are nearest to those of some queries, exactly, in one pass over any number."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from alexnet_keras.evaluation.features import FeatureBatch


@dataclass(frozen=True, eq=False)
class Nearest:
    """The pictures nearest to one query, nearest first; the first axis of every array counts them."""

    images: np.ndarray  # (n, 256, 256, 3) uint8
    labels: np.ndarray  # (n,) int64
    filenames: np.ndarray  # (n,) str
    distances: np.ndarray  # (n,) float64, Euclidean


def find_nearest(
    queries: np.ndarray,
    batches: Iterable[FeatureBatch],
    count: int,
    on_progress: Callable[[int], None] = lambda pictures: None,
) -> list[Nearest]:
    """The `count` pictures nearest to each query (paper, section 6.1).

    The pictures are read once; only those nearest so far are held, so that memory does not grow with their number.
    Of equally near ones the first comes first.

    Args:
        queries: `(queries, size)`, the queries' features.
        batches: every picture's features; at least `count` pictures.
        on_progress: called with the number of pictures seen since the last call.
    """
    queries = queries.astype(np.float64)
    squares = (queries**2).sum(axis=1)[:, None]
    nearest = np.full((len(queries), count), np.inf)  # squared distances
    positions = np.full((len(queries), count), -1)
    held: dict[int, tuple[np.ndarray, int, str]] = {}
    seen = 0
    for batch in batches:
        features = batch.features.astype(np.float64)
        # |q - x|^2 = |q|^2 + |x|^2 - 2 q.x, where rounding may leave less than 0
        found = np.maximum(squares + (features**2).sum(axis=1) - 2 * queries @ features.T, 0)
        numbers = np.broadcast_to(np.arange(seen, seen + len(features)), found.shape)
        candidates = np.concatenate([nearest, found], axis=1)
        order = np.argsort(candidates, axis=1, kind="stable")[:, :count]
        nearest = np.take_along_axis(candidates, order, axis=1)
        positions = np.take_along_axis(np.concatenate([positions, numbers], axis=1), order, axis=1)
        wanted = set(positions.ravel().tolist())
        held = {position: kept for position, kept in held.items() if position in wanted}
        for position in wanted.intersection(range(seen, seen + len(features))):
            row = position - seen
            held[position] = (batch.images[row].copy(), int(batch.labels[row]), str(batch.filenames[row]))
        seen += len(features)
        on_progress(len(features))
    result = []
    for row, distances in zip(positions.tolist(), np.sqrt(nearest), strict=True):
        images, labels, filenames = zip(*(held[position] for position in row), strict=True)
        result.append(Nearest(np.stack(images), np.array(labels), np.array(filenames), distances))
    return result
