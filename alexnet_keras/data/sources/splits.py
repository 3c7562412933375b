"""Splits: the names they have (Training, test_set, seg_val, "01 Train Images"), and a part held out for validation."""

import dataclasses
import re
from collections.abc import Iterable, Sequence

import numpy as np

from alexnet_keras.data.sources.source import ImageList, Source, check_classes, drawn, printable
from alexnet_keras.errors import DataError, UsageError

SPLITS = ("train", "val", "test")
DEFAULT_HOLDOUT = 0.2

# A split's name in one word: train, Training, trainset, validation, testimages.
_SPLIT_WORD = re.compile(
    r"(?:(?P<train>train|training|trn|trainval)|(?P<val>val|valid|validation|validate|dev|eval|evaluation|holdout)"
    r"|(?P<test>test|testing|tst))(?:set|data|dataset|images?|imgs?|pics|pictures?|photos?|split|folder|samples?)?s?"
)

# Words next to it that carry no meaning: training_set, "Train Images", 01-train-data.
FILLERS = frozenset((
    "set", "sets", "data", "dataset", "datasets", "image", "images", "img", "imgs", "pic", "pics", "picture",
    "pictures", "photo", "photos", "split", "splits", "folder", "folders", "dir", "sample", "samples", "all",
))  # fmt: skip


def split_names(names: Iterable[str]) -> dict[str, str]:
    """The names that are names of splits, with the split: {"Training": "train", "seg_test": "test"}.

    Other words in a name must be fillers ("training set") or recur in the name of another split ("seg_train" next to
    "seg_test").
    """
    parsed = {name: split for name in names if (split := split_of(name))}
    there = {(others, split) for split, others in parsed.values()}
    return {
        name: split
        for name, (split, others) in parsed.items()
        if not others or any((others, other) in there for other in SPLITS if other != split)
    }


def split_of(name: str) -> tuple[str, frozenset[str]] | None:
    """The split that a name contains the word of, and the name's other words; None for no split, or two."""
    words = words_of_name(name)
    splits = [match.lastgroup for word in words if (match := _SPLIT_WORD.fullmatch(word)) and match.lastgroup]
    others = frozenset(word for word in words if not _SPLIT_WORD.fullmatch(word)) - FILLERS
    if splits == ["train", "val"]:  # train_val2019: both together are trained on
        splits = ["train"]
    return (splits[0], others) if len(splits) == 1 else None


def words_of_name(name: str) -> list[str]:
    """The words of a folder's name, in lower case: ["train", "images"] for "01_trainImages"."""
    return re.findall(r"[^\W\d_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())


def check_holdout(holdout: float) -> None:
    """Raise a UsageError unless `holdout` is a part of a class, between 0 and 1."""
    if not 0 < holdout < 1:
        raise UsageError(f"holdout must be between 0 and 1, such as 0.2 for a fifth. Received: holdout={holdout!r}")


def with_validation(source: Source, holdout: float, seed: int, *, test_may_be_val: bool = True) -> Source:
    """Complete a source with a validation split; the one rule for sources of every kind.

    A "val" split is kept. Without one, "test" becomes "val"; without either, a part of every class is held out of
    "train".

    Args:
        source: Has the split "train", and perhaps "val" and "test". Its class names may be unprintable: holding out
            depends on the names as the file system has them.
        holdout: The part of each class to hold out, between 0 and 1.
        seed: Decides which images are held out.
        test_may_be_val: False keeps a "test" split as it is and holds out instead.

    Returns:
        The source with its splits in the order of `SPLITS` and printable class names; how "val" was made is added to
        its options and notes.

    Raises:
        UsageError: `holdout` is out of range.
        DataError: It has fewer than two classes, or every class has a single image.
    """
    check_classes(source.classes, source.given)
    check_holdout(holdout)
    splits, options, notes = dict(source.splits), dict(source.options), source.notes
    if "val" not in splits:
        if "test" in splits and test_may_be_val:
            splits["val"] = splits.pop("test")
            how = "its test split is used for validation"
        else:
            splits |= hold_out(splits["train"], source.classes, holdout, seed)
            options["holdout"] = holdout
            how = f"{100 * holdout:g}% of every class is held out"
        notes = (*notes, f"{source.given} has no validation split; {how}.")
    if not len(splits["val"]):
        raise DataError(f"Every class of {source.given} has a single image, so none can be held out for validation.")
    return dataclasses.replace(
        source,
        classes=tuple(map(printable, source.classes)),
        splits={split: splits[split] for split in SPLITS if split in splits},
        options=options,
        notes=notes,
    )


def hold_out(images: ImageList, classes: Sequence[str], fraction: float, seed: int) -> dict[str, ImageList]:
    """Split images into "train" and "val", each image by a draw of its own.

    An image's draw depends only on the seed, its class's name and its own name, so that images and classes that are
    added later move none of those already there. About n * fraction of a class's n images go to "val": at least one
    and never all, which alone may place an image otherwise later; a class of one image gives none.
    """
    draws = drawn(images, classes, seed)
    held = draws < fraction
    order = np.lexsort((draws, images.labels))
    _, starts = np.unique(images.labels[order], return_index=True)
    for members in np.split(order, starts[1:]):
        if len(members):
            held[members[0]] = True
            held[members[-1]] = False
    return {"train": images.take(np.flatnonzero(~held)), "val": images.take(np.flatnonzero(held))}
