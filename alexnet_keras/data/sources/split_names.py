"""The names that people give to splits: train, Training, test_set, seg_val, "01 Train Images"."""

import re
from collections.abc import Iterable

SPLITS = ("train", "val", "test")
# A split's name in one word: train, Training, trainset, validation, testimages.
_SPLIT_WORD = re.compile(
    r"(?:(?P<train>train|training|trn|trainval)|(?P<val>val|valid|validation|validate|dev|eval|evaluation|holdout)"
    r"|(?P<test>test|testing|tst))(?:set|data|dataset|images?|imgs?|pics|pictures?|photos?|split|folder|samples?)?s?"
)
# Words beside it that say nothing: training_set, "Train Images", 01-train-data.
FILLERS = frozenset((
    "set", "sets", "data", "dataset", "datasets", "image", "images", "img", "imgs", "pic", "pics", "picture",
    "pictures", "photo", "photos", "split", "splits", "folder", "folders", "dir", "sample", "samples", "all",
))  # fmt: skip


def split_names(names: Iterable[str]) -> dict[str, str]:
    """Which of these folders are called as splits are: {"Training": "train", "seg_test": "test"}.

    Other words in a name have to say nothing ("training set") or be the same in the name of another split
    ("seg_train" beside "seg_test").
    """
    found = {name: split for name in names if (split := split_of(name))}
    return {
        name: split
        for name, (split, others) in found.items()
        if not others or any(others == rest and split != kind for kind, rest in found.values())
    }


def split_of(name: str) -> tuple[str, frozenset[str]] | None:
    """The split that a name has the word of, and its other words; None where it has none, or two."""
    words = words_of_name(name)
    splits = [match.lastgroup for word in words if (match := _SPLIT_WORD.fullmatch(word)) and match.lastgroup]
    others = frozenset(word for word in words if not _SPLIT_WORD.fullmatch(word)) - FILLERS
    if splits == ["train", "val"]:  # train_val2019: what is trained on in the end
        splits = ["train"]
    return (splits[0], others) if len(splits) == 1 else None


def words_of_name(name: str) -> list[str]:
    """The words of a folder's name, in lower case: ["train", "images"] of "01_trainImages"."""
    return re.findall(r"[^\W\d_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())


def split_word(text: str) -> str | None:
    """The split that a word of a table names: "val" of "Validation"."""
    return (split_of(text) or (None,))[0]
