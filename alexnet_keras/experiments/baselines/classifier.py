"""Linear support vector machines, one class against the rest, on features that are read from disk block by block."""

from collections.abc import Iterator

import numpy as np

from alexnet_keras.benchmarking.machine import usable_processors
from alexnet_keras.evaluation.errors import top_k_misses
from alexnet_keras.experiments.baselines.encoding import EncodedSplit
from alexnet_keras.experiments.baselines.libraries import library
from alexnet_keras.experiments.baselines.observer import Progress
from alexnet_keras.experiments.baselines.settings import Svm

BLOCK_BYTES = 256 * 2**20  # of float32 features in memory


def train_svm(
    features: EncodedSplit,
    rows: np.ndarray,
    classes: int,
    svm: Svm,
    alpha: float,
    seed: int,
    progress: Progress,
    block_bytes: int = BLOCK_BYTES,
) -> dict[str, np.ndarray]:
    """Trains with stochastic gradient descent on the hinge loss and averages the weights from the second pass on.

    W. Xu, "Towards Optimal One Pass Large Scale Learning with Averaged Stochastic Gradient Descent", arXiv 2011. Each
    pass has a seeded order of its own, which does not depend on the size of the blocks.

    Args:
        rows: `(n,)`, which rows of the features to train on.
        classes: how many there are, two at least; one without a picture is never chosen.

    Returns:
        "weights" float32 `(classes, size)` and "biases" float32 `(classes,)`.
    """
    # The bias is the weight of a constant feature: with several classes and averaged weights, scikit-learn (1.9) goes
    # on from the wrong biases at the second call, because the running ones and their average share an array.
    learner = library("sklearn.linear_model").SGDClassifier(
        loss="hinge",
        alpha=alpha,
        fit_intercept=False,
        shuffle=False,
        average=len(rows),
        class_weight=dict.fromkeys(range(classes), svm.positive_weight),
        n_jobs=usable_processors(),
    )
    done, total = 0, svm.epochs * len(rows)
    with library("threadpoolctl").threadpool_limits(1):
        for epoch in range(svm.epochs):
            order = np.random.default_rng([seed, epoch]).permutation(rows)
            for block in _blocks(order, features.size, block_bytes):
                rows_and_one = features.rows_at(block, ones=1)
                learner.partial_fit(rows_and_one, features.labels[block], classes=np.arange(classes))
                done += len(block)
                progress(done, total)
    # For two classes scikit-learn has one machine.
    weights = (np.concatenate([-learner.coef_, learner.coef_]) if classes == 2 else learner.coef_).astype(np.float32)
    return {"weights": weights[:, :-1], "biases": weights[:, -1]}


def decision_values(
    features: EncodedSplit, rows: np.ndarray, weights: np.ndarray, biases: np.ndarray, block_bytes: int = BLOCK_BYTES
) -> np.ndarray:
    """What every class's machine says of some rows: float32 `(n, classes)`, the higher the likelier."""
    blocks = _blocks(rows, features.size, block_bytes)
    return np.concatenate([features.rows_at(block) @ weights.T + biases for block in blocks])


def tune_svm(features: EncodedSplit, classes: int, svm: Svm, seed: int, progress: Progress) -> dict[str, np.ndarray]:
    """Trains with each alpha on nine tenths of the training pictures and counts mistakes on the tenth held out.

    Returns:
        "alphas" `(n,)`, strongest first, "misses" `(n,)` of them, and "held_out", how many pictures that is of.
    """
    rows = np.random.default_rng(seed).permutation(len(features.labels))[: svm.tuning_images]
    held_out, rest = np.split(rows, [max(1, len(rows) // 10)])
    alphas, misses = sorted(svm.alphas, reverse=True), []
    for number, alpha in enumerate(alphas):

        def told(done: int, total: int, number: int = number) -> None:
            progress(number * total + done, len(alphas) * total)

        trained = train_svm(features, rest, classes, svm, alpha, seed, told)
        values = decision_values(features, held_out, trained["weights"], trained["biases"])
        misses.append(top_k_misses(values, features.labels[held_out], 1))
    return {"alphas": np.array(alphas), "misses": np.array(misses), "held_out": np.array(len(held_out))}


def _blocks(rows: np.ndarray, size: int, block_bytes: int) -> Iterator[np.ndarray]:
    """Consecutive pieces of rows whose features of `size` float32 numbers fit a block."""
    length = max(1, block_bytes // (4 * size))
    return (rows[start : start + length] for start in range(0, len(rows), length))
