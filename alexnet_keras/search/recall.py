"""How much of exact search the codes find, and what they save."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from alexnet_keras.search.index import Found, SearchIndex

DEPTHS = (1, 10, 100)  # the k of recall@k
SHORTLIST = 200  # pictures nearest by code that are looked at again, exactly
TIMED = 50  # queries asked one at a time for the clock


@dataclass(frozen=True)
class Method:
    """One way to search."""

    name: str
    bytes_per_picture: int  # that it reads of every picture; not of a short list
    search: Callable[[np.ndarray, int], Found]  # features `(n, size)` and how many neighbours


def methods_of(index: SearchIndex) -> list[Method]:
    """Exact search first."""
    shortlist = min(SHORTLIST, index.rows)
    vector, code = 4 * index.facts["size"], index.options.bits // 8
    return [
        Method("exact", vector, index.exact),
        Method("codes", code, index.by_code),
        Method(
            f"codes, {shortlist} re-ranked", code, lambda features, count: index.reranked(features, count, shortlist)
        ),
    ]


def measure(index: SearchIndex, features: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """Searches for pictures that are not in the index, in every way.

    Args:
        features: float32 `(queries, size)`.
        labels: int64 `(queries,)`, their classes.

    Returns:
        For each method its name, bytes a picture, milliseconds a query (one at a time, without the network that gives
        the features), `recall` and `same_class`, both by k: the share of the k nearest by exact search that are among
        the k it finds, and the share of those it finds that are of the query's class.
    """
    depths = [k for k in DEPTHS if k <= index.rows]
    results, truth = [], None
    for method in methods_of(index):
        found = method.search(features, depths[-1]).rows
        truth = found if truth is None else truth
        same = index.labels[found] == labels[:, None]
        results.append(
            {
                "method": method.name,
                "bytes_per_picture": method.bytes_per_picture,
                "ms_per_query": _milliseconds(method, features, depths[-1]),
                "recall": {str(k): recall(found, truth, k) for k in depths},
                "same_class": {str(k): float(same[:, :k].mean()) for k in depths},
            }
        )
    return results


def recall(found: np.ndarray, truth: np.ndarray, k: int) -> float:
    """The mean share of the first k of `truth` that are among the first k of `found`, both `(queries, >= k)` rows."""
    shared = [len(np.intersect1d(a[:k], b[:k])) for a, b in zip(found, truth, strict=True)]
    return float(np.mean(shared)) / k


def _milliseconds(method: Method, features: np.ndarray, count: int) -> float:
    method.search(features[:1], count)  # files are read and memory is taken by now
    asked = features[:TIMED]
    start = time.perf_counter()
    for query in asked:
        method.search(query[None], count)
    return (time.perf_counter() - start) / len(asked) * 1000
