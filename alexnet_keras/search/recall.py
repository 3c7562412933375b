"""The recall and the speed of an index: codes against exact search."""

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from alexnet_keras.search.index import Neighbors, SearchIndex

DEPTHS = (1, 10, 100)  # the k of recall@k
SHORTLIST = 200  # images nearest by code that are compared again, exactly
METHODS = 3  # ways to search that are measured
TIMED = 50  # queries searched one at a time to measure the time, at most
TIMED_S = 5  # seconds after which no other is: each reads the whole index


def measure(
    index: "SearchIndex",
    features: np.ndarray,
    labels: np.ndarray,
    advance: Callable[[int], object] = lambda methods: None,
) -> list[dict[str, Any]]:
    """Search for images that are not in the index, in every way.

    Args:
        index: The index.
        features: float32 `(queries, size)`.
        labels: int64 `(queries,)`, their classes.
        advance: Called with 1 after each of the METHODS.

    Returns:
        For each method, exact search first, its name, the bytes it reads per image (without a short list),
        milliseconds per query (one at a time, without the network that computes the features), `recall` and
        `same_class`, both by k: the share of the k nearest by exact search that are among its first k, and the share
        of its first k that are of the query's class.
    """
    depths = [k for k in DEPTHS if k <= index.rows]
    shortlist = min(SHORTLIST, index.rows)
    vector, code = 4 * index.facts["size"], index.options.bits // 8
    methods: list[tuple[str, int, Callable[..., Neighbors]]] = [
        ("exact", vector, index.exact),
        ("codes", code, index.by_code),
        (f"codes, {shortlist} re-ranked", code, partial(index.reranked, shortlist=shortlist)),
    ]
    results, truth = [], None
    for name, bytes_per_image, search in methods:
        rows = search(features, depths[-1]).rows
        truth = rows if truth is None else truth
        same = index.labels[rows] == labels[:, None]
        results.append(
            {
                "method": name,
                "bytes_per_picture": bytes_per_image,
                "ms_per_query": _milliseconds(search, features, depths[-1]),
                "recall": {str(k): recall(rows, truth, k) for k in depths},
                "same_class": {str(k): float(same[:, :k].mean()) for k in depths},
            }
        )
        advance(1)
    return results


def recall(rows: np.ndarray, truth: np.ndarray, k: int) -> float:
    """Compute the mean share of the first k of `truth` among the first k of `rows`, both `(queries, >= k)`."""
    shared = [len(np.intersect1d(a[:k], b[:k])) for a, b in zip(rows, truth, strict=True)]
    return float(np.mean(shared)) / k


def _milliseconds(search: "Callable[..., Neighbors]", features: np.ndarray, count: int) -> float:
    """Time queries one at a time, after a search of all that has opened files and taken memory."""
    start, spent = time.perf_counter(), []
    for query in features[:TIMED]:
        search(query[None], count)
        spent.append(time.perf_counter() - start)
        if spent[-1] > TIMED_S:
            break
    return spent[-1] / len(spent) * 1000
