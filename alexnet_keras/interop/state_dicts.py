"""Which arrays of a checkpoint are the network's: in which of its parts, and with what before their names.

Trainers wrap networks, and every wrapper lengthens names: `module.features.0.weight`. They also save networks with
optimisers and averages beside them. What is read is the one reading that gives exactly the arrays that are wanted.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alexnet_keras.errors import DataError
from alexnet_keras.interop.conventions import Shape, WantedArrays

# Modules that only wrap another: of DataParallel, torch.compile, and sharded and checkpointed training.
WRAPPERS = ("module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
MOST_PARTS = 32  # of a name, between its dots


class Reading(NamedTuple):
    """Arrays that may be the network's.

    Attributes:
        place: The part of the file that they lie in, such as "state_dict"; "" for the file itself.
        left_out: What is left out of their names.
        arrays: By the names that remain.
        others: Arrays of the same part that are not among them.
    """

    place: str
    left_out: tuple[str, ...]
    arrays: dict[str, Any]
    others: int

    @property
    def told(self) -> str:
        """Where it is, for sentences."""
        names = " without ".join([f"'{name}'"[:60] for name in (self.place, *self.left_out) if name][:2])
        return names or "the file itself"


def the_networks(
    path: Path, parts: Mapping[str, Mapping[str, Any]], shape_of: Callable[[Any], Shape], wanted: WantedArrays
) -> dict[str, Any]:
    """The arrays of the one reading that fits, by the names that are wanted; `wanted.notes` says which it is.

    Args:
        path: the file, for sentences.
        parts: arrays by name, of every part of the file.
        shape_of: the shape of one; raises a ValueError or DataError if it is no array.
        wanted: what the network needs.

    Raises:
        DataError: no reading fits, or more than one; or the error of `shape_of` in the one that fits best.
    """
    readings = [reading for place, part in parts.items() for reading in _readings(place, part, wanted)]
    if not readings:  # another network's: its largest part lacks them all
        largest: list[str] = max([list(part) for part in parts.values()], key=len, default=[])
        wanted.check_names(path, largest)
    fitting: list[tuple[Reading, dict[str, Any]]] = []
    fault: Exception | None = None
    for reading in sorted(readings, key=lambda one: -sum(name in wanted.shapes for name in one.arrays)):
        try:
            found = WantedArrays(wanted.recipe, wanted.shapes)
            names = found.find(path, {name: shape_of(array) for name, array in reading.arrays.items()})
        except (DataError, ValueError) as error:
            fault = fault or error
            continue
        arrays = {name: reading.arrays[theirs] for name, theirs in names.items()}
        if arrays not in [others for _, others in fitting]:  # one network may be named twice
            fitting.append((reading, arrays))
            wanted.notes.extend([*_notes(path, reading), *found.notes])
    if not fitting:
        raise fault or DataError(f"{path} holds no arrays of a network.")
    if len(fitting) > 1:
        told = [reading.told for reading, _ in fitting]
        raise DataError(
            f"{path} holds {len(told)} networks that fit, {told[0]} and {told[1]}{' and others' * (len(told) > 2)}: "
            "save the one that you want in a file of its own."
        )
    return fitting[0][1]


def floats_of(content: bytes, kind: str) -> np.ndarray:
    """Numbers of a NumPy type, or of "bf16", which NumPy lacks: the first half of a float32."""
    if kind != "bf16":
        return np.frombuffer(content, kind)
    return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4")


def _readings(place: str, part: Mapping[str, Any], wanted: WantedArrays) -> list[Reading]:
    """The readings of one part: one for everything that stands before a wanted name."""
    found: dict[str, dict[str, Any]] = {}
    removed: dict[str, set[str]] = {}
    for name in part:
        words = name.split(".")[:MOST_PARTS]
        for start, word in enumerate(words):
            if word not in WRAPPERS and _plain(words[start:]) in wanted.shapes:
                found[_prefix(words[:start])] = {}
                break
    for name, array in part.items():
        words = name.split(".")[:MOST_PARTS]
        starts = range(len(words) - 1, -1, -1)  # an average of the network may lie in a part of its own
        prefix = next((_prefix(words[:start]) for start in starts if _prefix(words[:start]) in found), None)
        if prefix is None:
            continue
        rest = name.removeprefix(prefix)
        plain = _plain(rest.split("."))
        plain = rest if plain in found[prefix] else plain
        found[prefix][plain] = array
        removed.setdefault(prefix, set()).update(f"{w}." for w in rest.split(".") if w in WRAPPERS and plain != rest)
    return [
        Reading(place, (*((prefix,) if prefix else ()), *sorted(removed[prefix])), arrays, len(part) - len(arrays))
        for prefix, arrays in found.items()
    ]


def _plain(words: list[str]) -> str:
    return ".".join(word for word in words if word not in WRAPPERS)


def _prefix(words: list[str]) -> str:
    return "".join(f"{word}." for word in words)


def _notes(path: Path, reading: Reading) -> list[str]:
    """What whoever gave the file should know of how it was read."""
    if not (reading.place or reading.left_out):
        return []
    place = f"from {reading.place!r} of" if reading.place else "from"
    names = f", with {' and '.join(map(repr, reading.left_out))} left out of their names" if reading.left_out else ""
    many = "other array there is" if reading.others == 1 else "other arrays there are"
    others = f"; {reading.others} {many} not used" if reading.others else ""
    return [f"Took the network's arrays {place} {path.name}{names}{others}."]
