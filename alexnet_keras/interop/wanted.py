"""The arrays that a network needs of a file: looked at by name and shape before any of them is read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

from alexnet_keras.errors import DataError

Shape = tuple[int, ...]
CLASSES = -1  # in a shape: as many as the network tells apart, which only the file knows
MOST_CLASSES = 1_000_000
NAMED = 3  # arrays that a sentence names


@dataclass(frozen=True)
class WantedArrays:
    """The names that a file has to hold, with their shapes, in which `CLASSES` stands for the number of classes.

    Attributes:
        recipe: The recipe's name, for sentences.
        shapes: By name, in the file's own layout.
        notes: What readers have to say to whoever gave the file: sentences.
    """

    recipe: str
    shapes: Mapping[str, Shape]
    notes: list[str] = field(default_factory=list)

    @property
    def most_bytes(self) -> int:
        """More than a file of such a network can need, as float64 and with every gradient beside its weight."""
        return 16 * sum(prod(5000 if size == CLASSES else size for size in shape) for shape in self.shapes.values())

    def find(self, file: object, found: Mapping[str, Shape]) -> dict[str, str]:
        """Which of a file's arrays are the wanted ones: its names by ours, which differ for a renamed classifier.

        Raises:
            DataError: some are missing, strange, or of another shape; the sentence names the first of them.
        """
        renamed = self._renamed_classifier(found)
        names = {name: renamed.get(name, name) for name in self.shapes}
        ours = {theirs: name for name, theirs in renamed.items()}
        self.check(file, {ours.get(name, name): shape for name, shape in found.items()})
        if renamed:
            told = " and ".join(map(repr, renamed.values()))
            self.notes.append(f"Read {told} as the last layer, in place of {' and '.join(map(repr, renamed))}.")
        return names

    def _renamed_classifier(self, found: Mapping[str, Shape]) -> dict[str, str]:
        """The names of a classifier for other classes by ours, if it is all that is missing and all that is strange."""
        last = {name: shape for name, shape in self.shapes.items() if CLASSES in shape}
        strange = sorted((name for name in found if name not in self.shapes), key=lambda name: -len(found[name]))
        if [name for name in self.shapes if name not in found] != list(last) or len(strange) != len(last):
            return {}
        pairs = zip(last.values(), (found[name] for name in strange), strict=True)
        fits = all(
            len(want) == len(shape) and all(w in (CLASSES, s) for w, s in zip(want, shape, strict=True))
            for want, shape in pairs
        )
        return dict(zip(last, strange, strict=True)) if fits else {}

    def check(self, file: object, found: Mapping[str, Shape]) -> int:
        """The number of classes, where a file has exactly these arrays.

        Raises:
            DataError: some are missing, strange, or of another shape; the sentence names the first of them.
        """
        self.check_names(file, found)
        classes = 0
        for name, wanted in self.shapes.items():
            shape = tuple(found[name])
            open_axes = [size for size, want in zip(shape, wanted, strict=False) if want == CLASSES]
            classes = classes or next(iter(open_axes), 0)
            expected = tuple(classes if want == CLASSES else want for want in wanted)
            if shape != expected or not 0 <= classes <= MOST_CLASSES or (open_axes and classes < 1):
                told = told_shape(wanted if not classes else expected)
                raise DataError(
                    f"{file}: the array {name} is {told_shape(shape)} and the recipe {self.recipe} has {told} there."
                )
        return classes

    def check_names(self, file: object, found: Iterable[str]) -> None:
        """Refuses a file that lacks arrays or has others.

        Raises:
            DataError: the sentence names the first of them.
        """
        there = list(found)
        if missing := [name for name in self.shapes if name not in there]:
            raise DataError(f"{file} lacks {_listed(missing)}, which the recipe {self.recipe} needs.")
        if strange := [name for name in there if name not in self.shapes]:
            raise DataError(f"{file} has {_listed(strange)}, which the recipe {self.recipe} has no place for.")


def told_shape(shape: Iterable[int]) -> str:
    """A shape in words: 64×3×11×11."""
    return "×".join("classes" if size == CLASSES else str(size) for size in shape) or "a single number"


def _listed(names: list[str]) -> str:
    kind = "the array" if len(names) == 1 else "the arrays"
    return f"{kind} {', '.join(map(repr, names[:NAMED]))}{' and others' if len(names) > NAMED else ''}"
