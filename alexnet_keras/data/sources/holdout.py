"""Hold out a part of every class for validation, where a source has no validation split."""

import numpy as np

from alexnet_keras.data.sources.source import Pictures

DEFAULT_HOLDOUT = 0.2


def hold_out(pictures: Pictures, fraction: float, seed: int) -> dict[str, Pictures]:
    """Split pictures into "train" and "val", class by class.

    A class of n pictures gives round(n * fraction) to "val", at least one and never all of them; a class of
    one picture gives none. Which ones depends on the seed and the class alone.

    Args:
        pictures: All pictures.
        fraction: The part to hold out, 0..1.
        seed: Any non-negative number.
    """
    held = np.zeros(len(pictures), bool)
    order = np.argsort(pictures.labels, kind="stable")
    labels, starts = np.unique(pictures.labels[order], return_index=True)
    for label, members in zip(labels, np.split(order, starts[1:]), strict=True):
        n = len(members)
        count = min(max(round(n * fraction), 1), n - 1)
        held[np.random.default_rng([seed, int(label)]).permutation(members)[:count]] = True
    return {"train": pictures.take(np.flatnonzero(~held)), "val": pictures.take(np.flatnonzero(held))}
