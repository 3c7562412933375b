"""Find the network's arrays in a checkpoint: the part that holds them, and the prefix of their names.

Trainers wrap networks, and every wrapper lengthens names: `module.features.0.weight`. They also save optimisers and
running averages with the network. The one reading that gives exactly the expected arrays is taken.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from alexnet_keras.errors import DataError
from alexnet_keras.weights.conventions import ExpectedArrays, Shape

# Modules that only wrap another: of DataParallel, torch.compile, and sharded and checkpointed training.
WRAPPERS = ("module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
MOST_PARTS = 32  # of a name, between its dots


class Candidate(NamedTuple):
    """Arrays that may be the network's.

    Attributes:
        place: The part of the file that holds them, such as "state_dict"; "" for the file itself.
        removed: What is removed from their names.
        arrays: The arrays by the names that remain.
        others: The number of other arrays in the same part.
    """

    place: str
    removed: tuple[str, ...]
    arrays: dict[str, Any]
    others: int

    def __str__(self) -> str:
        names = [f"'{name}'"[:60] for name in (self.place, *self.removed) if name]
        return " without ".join(names[:2]) or "the file itself"

    def note(self, path: Path) -> list[str]:
        """The sentence that says where the arrays were, if not in the file itself under their own names."""
        if not (self.place or self.removed):
            return []
        place = f"from {self.place!r} of" if self.place else "from"
        names = f", with {' and '.join(map(repr, self.removed))} left out of their names" if self.removed else ""
        many = "other array there is" if self.others == 1 else "other arrays there are"
        others = f"; {self.others} {many} not used" if self.others else ""
        return [f"Took the network's arrays {place} {path.name}{names}{others}."]


def select_network(
    path: Path, parts: Mapping[str, Mapping[str, Any]], shape_of: Callable[[Any], Shape], expected: ExpectedArrays
) -> dict[str, Any]:
    """Select the arrays of the one network that fits; `expected.notes` gets a sentence that says where they were.

    Args:
        path: The file, for sentences.
        parts: Arrays by name, of every part of the file.
        shape_of: Returns the shape of one; raises a ValueError or DataError if it is no array.
        expected: The arrays that the network needs, by whose names they are returned.

    Raises:
        DataError: No candidate fits, or more than one does.
        ValueError: That of `shape_of`, if the best candidate holds something that is no array.
    """
    candidates = [candidate for place, part in parts.items() for candidate in _candidates(place, part, expected)]
    if not candidates:  # another network's: its largest part lacks them all
        largest: list[str] = max(map(list, parts.values()), key=len, default=[])
        expected.check_names(path, largest)
    fitting: list[tuple[Candidate, dict[str, Any]]] = []
    first_error: Exception | None = None
    for candidate in sorted(candidates, key=lambda one: -sum(name in expected.shapes for name in one.arrays)):
        matching = ExpectedArrays(expected.recipe, expected.shapes)
        try:
            names = matching.match(path, {name: shape_of(array) for name, array in candidate.arrays.items()})
        except (DataError, ValueError) as error:
            first_error = first_error or error
            continue
        arrays = {name: candidate.arrays[theirs] for name, theirs in names.items()}
        if arrays not in [others for _, others in fitting]:  # one network may be named twice
            fitting.append((candidate, arrays))
            expected.notes.extend([*candidate.note(path), *matching.notes])
    if not fitting:
        raise first_error or DataError(f"{path} holds no arrays of a network.")
    if len(fitting) > 1:
        first, second = (candidate for candidate, _ in fitting[:2])
        raise DataError(
            f"{path} holds {len(fitting)} networks that fit, {first} and {second}{' and others' * (len(fitting) > 2)}: "
            "save the one that you want in a file of its own."
        )
    return fitting[0][1]


def _candidates(place: str, part: Mapping[str, Any], expected: ExpectedArrays) -> list[Candidate]:
    """The candidates in one part: one for every prefix of an expected name."""
    arrays: dict[str, dict[str, Any]] = {}
    removed: dict[str, set[str]] = {}
    for name in part:
        words = name.split(".")[:MOST_PARTS]
        for start, word in enumerate(words):
            if word not in WRAPPERS and _unwrapped(words[start:]) in expected.shapes:
                prefix = _prefix(words[:start])
                arrays[prefix], removed[prefix] = {}, set()
                break
    # what needs no wrapper removed is the first to have its name
    for name, array in sorted(part.items(), key=lambda each: _unwrapped(each[0].split(".")) != each[0]):
        words = name.split(".")[:MOST_PARTS]
        # the longest prefix first: a running average of the network may be in a part of its own
        prefixes = (_prefix(words[:start]) for start in reversed(range(len(words))))
        prefix = next((prefix for prefix in prefixes if prefix in arrays), None)
        if prefix is None:
            continue
        rest = name.removeprefix(prefix)
        unwrapped = _unwrapped(rest.split("."))
        if unwrapped in arrays[prefix]:
            unwrapped = rest
        elif unwrapped != rest:
            removed[prefix].update(f"{word}." for word in rest.split(".") if word in WRAPPERS)
        arrays[prefix][unwrapped] = array
    return [
        Candidate(place, tuple(filter(None, (prefix, *sorted(removed[prefix])))), found, len(part) - len(found))
        for prefix, found in arrays.items()
    ]


def _unwrapped(words: list[str]) -> str:
    return ".".join(word for word in words if word not in WRAPPERS)


def _prefix(words: list[str]) -> str:
    return "".join(f"{word}." for word in words)
