"""Hold out a part of every class for validation, where a source has no validation split."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from alexnet_keras.data.sources.source import Pictures
from alexnet_keras.errors import DataError

DEFAULT_HOLDOUT = 0.2


def hold_out(pictures: Pictures, classes: Sequence[str], fraction: float, seed: int) -> dict[str, Pictures]:
    """Split pictures into "train" and "val", each by its own draw.

    Whether a picture is held out depends on the seed, its class's name and its own name alone, so that pictures and
    classes that are added later move none of those that were there. A class gives about n * fraction of its n pictures
    to "val". One of which none, or all, would be held out gives its first, or all but its last; a class of one picture
    gives none.

    Args:
        pictures: All pictures.
        classes: The class names that the labels count.
        fraction: The part to hold out, 0..1.
        seed: Any non-negative number.
    """
    draws = drawn(pictures, classes, seed)
    held = draws < fraction
    order = np.lexsort((draws, pictures.labels))
    _, starts = np.unique(pictures.labels[order], return_index=True)
    for members in np.split(order, starts[1:]):
        if len(members):
            held[members[0]] = True
            held[members[-1]] = False
    return {"train": pictures.take(np.flatnonzero(~held)), "val": pictures.take(np.flatnonzero(held))}


def with_validation(
    splits: dict[str, Pictures], classes: Sequence[str], fraction: float, seed: int, place: object, what: str
) -> tuple[dict[str, Any], str]:
    """Gives a source without "val" one: its "test", or else a part of "train".

    Args:
        splits: "train", and perhaps "test"; "val" is added.
        classes: The class names that the labels count.
        fraction: The part to hold out, 0..1.
        seed: Any non-negative number.
        place: What to call the source in a sentence.
        what: What to call a split in it: "folder".

    Returns:
        The options that decided it, and a note; both empty where there was "val" already.

    Raises:
        DataError: No class has a picture to spare.
    """
    options, note = {}, ""
    if "val" not in splits and "test" in splits:
        splits["val"] = splits.pop("test")
        note = f"{place} has no validation {what}; its test {what} is used for validation."
    elif "val" not in splits:
        options = {"holdout": fraction}
        splits |= hold_out(splits["train"], classes, fraction, seed)
        note = f"{place} has no validation {what}; {fraction:.0%} of every class is held out."
    if not len(splits["val"]):
        raise DataError(f"Every class in {place} has a single picture, so none can be held out for validation.")
    return options, note


def drawn(pictures: Pictures, classes: Sequence[str], seed: int) -> np.ndarray:
    """A number 0..1 for each picture, float64, that depends on the seed, its class's name and its own name alone."""
    of_class = [
        hashlib.blake2b(f"{seed}\0{name}\0".encode("utf-8", "surrogateescape"), digest_size=8) for name in classes
    ]
    found = np.empty(len(pictures), np.uint64)
    for index, (name, label) in enumerate(zip(pictures.filenames, pictures.labels.tolist(), strict=True)):
        digest = of_class[label].copy()
        digest.update(name.encode("utf-8", "surrogateescape"))
        found[index] = int.from_bytes(digest.digest(), "big")
    return found / 2.0**64
