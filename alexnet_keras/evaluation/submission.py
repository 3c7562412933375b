"""Predictions as the ILSVRC evaluation servers read them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alexnet_keras.errors import UsageError
from alexnet_keras.files import write_by_rename

GUESSES = 5


def write_submission(path: Path, top: np.ndarray, filenames: Sequence[str], ids: Sequence[int]) -> None:
    """Writes a line a picture, in the order of file names, with the devkit's ids of its five likeliest classes.

    Args:
        top: `(images, 5)`, the likeliest classes, the likeliest first, in the order of `filenames`.
        filenames: `ILSVRC2012_val_00000001.JPEG` and so on.
        ids: the ILSVRC id, 1 to 1000, of each class; five at least.
    """
    id_of = np.asarray(ids)
    lines = [" ".join(map(str, id_of[row])) for row in top]
    in_order = sorted(range(len(filenames)), key=lambda index: Path(filenames[index]).name)
    with write_by_rename(path) as partial:
        partial.write_text("".join(f"{lines[index]}\n" for index in in_order), encoding="utf-8")


def check_can_submit(ids: Sequence[int]) -> None:
    """Refuses classes that no submission can name.

    Raises:
        UsageError: they have no ILSVRC ids, or there are fewer than five.
    """
    if not ids:
        raise UsageError(
            "--submission writes the ILSVRC ids of the devkit, and this dataset was prepared from a source without "
            "one: prepare it from ilsvrc:DIR with the devkit's archive in DIR."
        )
    if len(ids) < GUESSES:
        raise UsageError(f"A submission has five ids a line, and there are only {len(ids)} classes.")
