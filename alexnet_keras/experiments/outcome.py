"""Results of an experiment: numbers over seeds, compared with the paper's and with the lab's logs.

Networks that differ in one thing are trained from the same seeds and tested on the same images. The difference of their
errors is given with its interval over the seeds, and with a paired test of each two networks over the images."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError
from scipy import stats
from typing_extensions import TypedDict

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.errors import DataError, DivergedError
from alexnet_keras.evaluation.errors import PairedTest, error_rate
from alexnet_keras.experiments.lab import Lab, diverged_text
from alexnet_keras.machine import this_machine
from alexnet_keras.recipes.schema import Recipe
from alexnet_keras.training.guards import loss_of_guessing

Verdict = Literal[
    "agrees", "agrees for these networks", "disagrees", "disagrees for these networks", "undecided", "not compared"
]
Unit = Literal["percent", "points", "times", "number", "count"]  # points: a difference of two percentages
TopK = Literal["top1", "top5"]  # which error
PerSeed = dict[int, dict[str, Any]]  # the results of one network or system, by seed
CONFIDENCE = 0.95
ROUNDING = 1e-12  # a spread below it is that of differences between equal numbers
SIGNIFICANT = 0.05  # a p-value of a paired test below it tells two networks apart
UNITS: dict[Unit, tuple[int, str, str]] = {  # factor, format, suffix
    "percent": (100, ".1f", " %"),
    "points": (100, "+.1f", " points"),
    "times": (1, ".1f", " times"),
    "number": (1, ".3g", ""),
    "count": (1, ",.0f", ""),
}
_Share = Annotated[float, Field(ge=0, le=1)]  # which NaN is not
_Hexadecimal = Annotated[str, Field(pattern="^([0-9a-f]{2})*$")]


class _Measured(TypedDict):
    """What is kept of a network."""

    run: str
    top1: _Share
    top5: _Share
    images: Annotated[int, Field(ge=1)]
    misses: dict[TopK, _Hexadecimal]
    training_loss: FiniteFloat
    training_top1: _Share
    validation_top1: Annotated[list[_Share], Field(min_length=1)]
    stalled: bool
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    date: str
    processor: str


class _Diverged(TypedDict):
    """What is kept of a network whose training diverged."""

    diverged: str


_FOUND: TypeAdapter[Any] = TypeAdapter(_Measured | _Diverged)
STALLED = 0.05  # nats below the loss of guessing by class frequency: a network that ends above has learnt nothing


@dataclass(frozen=True)
class OverSeeds:
    """A quantity measured once per seed. Errors and differences of errors are shares, 0.01 for 1 %.

    Attributes:
        values: The values, in the order of the seeds.
        against: Values of other networks, no pairs of these, whose mean is subtracted; empty for none.
    """

    values: tuple[float, ...]
    against: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        """The mean over the seeds, less that of `against`."""
        return float(np.mean(self.values) - (np.mean(self.against) if self.against else 0.0))

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean by Student's t, or Welch's against others.

        None with one seed on either side, and of seeds that differ by no more than rounding: too few to see a spread.
        """
        groups = [self.values, self.against] if self.against else [self.values]
        if min(map(len, groups)) < 2 or all(np.ptp(group) < ROUNDING for group in groups):
            return None
        squares = [stats.sem(group) ** 2 for group in groups]
        weights = [square**2 / (len(group) - 1) for square, group in zip(squares, groups, strict=True)]
        freedom = sum(squares) ** 2 / sum(weights)  # of one group its seeds less one
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * math.sqrt(sum(squares)))
        return self.mean - half, self.mean + half

    def minus(self, other: "OverSeeds | float") -> "OverSeeds":
        """The differences from another quantity, seed by seed, or from a number."""
        others = other.values if isinstance(other, OverSeeds) else [other] * len(self.values)
        return OverSeeds(tuple(one - base for one, base in zip(self.values, others, strict=True)))


@dataclass(frozen=True)
class Comparison:
    """One row of a result's table: a quantity, next to the claim about it.

    Attributes:
        what: The quantity: "top-1 error, no normalisation minus source".
        ours: Our measurement; None where it could not be measured, which `note` explains.
        unit: The unit that `ours` is read in.
        claim: The paper's claim, in its words or numbers; "" where it has none.
        log: What the lab's logs recorded; "" where there is none.
        verdict: Whether `ours` agrees with the claim.
        note: A remark, which follows the number in the table.
        pairs: For a difference, the paired test over the images of each two networks, in the order of the seeds.
        measured_on: What the values are of where it is not one network per seed: "one ensemble of 5 networks".
    """

    what: str
    ours: OverSeeds | None
    unit: Unit = "percent"
    claim: str = ""
    log: str = ""
    verdict: Verdict = "not compared"
    note: str = ""
    pairs: tuple[PairedTest, ...] = ()
    measured_on: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The row as it is in result.json."""
        values = asdict(self)
        if self.ours:
            own = {"values": list(self.ours.values), "mean": self.ours.mean, "interval": self.ours.interval}
            values["ours"] = own | ({"against": list(self.ours.against)} if self.ours.against else {})
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Comparison":
        """The reverse of `to_dict`."""
        ours = values["ours"] and OverSeeds(*(tuple(values["ours"].get(name, ())) for name in ("values", "against")))
        pairs = tuple(PairedTest(**pair) for pair in values.get("pairs", ()))  # version 0.1 tested none
        return cls(**{**values, "ours": ours, "pairs": pairs})

    @property
    def measured(self) -> str:
        """Our measurement as text: the mean, and the interval over seeds."""
        if self.ours is None:
            return self.note or "-"
        text = with_unit(self.ours.mean, self.unit)
        if interval := self.ours.interval:
            ends = np.clip(interval, 0, 1) if self.unit == "percent" else interval  # no share is beyond these
            low, high = (with_unit(end, self.unit).partition(" ")[0] for end in ends)
            text += f" ({low} to {high})"
        if self.unit != "count":
            of = f"{len(self.ours.values)} and " if self.ours.against else ""
            text += f", {self.measured_on or of + seeds_text(len(self.ours.against or self.ours.values))}"
        tests = f"McNemar's p {', '.join(p_text(pair.p_value) for pair in self.pairs)}" if self.pairs else ""
        return _joined((text, tests, self.note))


@dataclass(frozen=True)
class Outcome:
    """The outcome of an experiment.

    Attributes:
        summary: A paragraph: what was trained on what, for how long, and with which result.
        comparisons: The rows of the table.
        configuration: What was run, in lines.
        facts: Other results, which JSON can hold.
    """

    summary: str
    comparisons: tuple[Comparison, ...]
    configuration: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def seeds_text(count: int) -> str:
    """A number of seeds as text: 1 seed, 3 seeds."""
    return counted(count, "seed")


def images_text(data: PreparedDataset) -> str:
    """A dataset as a summary names it: 3,000 training images of imagenette, 10 classes."""
    return f"{data.examples('train'):,} training images of {data.path.name}, {len(data.classes):,} classes"


def with_unit(number: float, unit: Unit) -> str:
    """A number with its unit: 0.407 as "40.7 %", a difference as "+1.4 points", a ratio as "6.1 times"."""
    scale, form, suffix = UNITS[unit]
    return f"{scale * number:{form}}{suffix}"


def p_text(p_value: float) -> str:
    """A p-value as text, in two digits."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.2g}"


def sign_verdict(ours: OverSeeds, sign: int, pairs: Sequence[PairedTest] = ()) -> Verdict:
    """The verdict on a claimed sign, 1 or -1: the whole interval has to be on one side of zero.

    Where it is not, or where there is one seed, the paired tests behind a difference of errors may still tell apart the
    networks that there are: all of them have to be on one side.
    """
    low, high = sorted(sign * end for end in ours.interval or (-math.inf, math.inf))
    if low > 0:
        return "agrees"
    if high < 0:
        return "disagrees"
    sides = {pair.p_value < SIGNIFICANT and np.sign(sign * (pair.only_first - pair.only_second)) for pair in pairs}
    if sides == {1}:
        return "agrees for these networks"
    return "disagrees for these networks" if sides == {-1} else "undecided"


def claimed_positive(what: str, ours: OverSeeds, claim: str, log: str = "") -> Comparison:
    """A comparison with the claim that a quantity is positive."""
    return Comparison(what, ours, "points", claim, log, sign_verdict(ours, 1))


def value_verdict(ours: OverSeeds, claimed: float) -> Verdict:
    """The verdict on a claimed number: it has to lie in our interval."""
    if ours.interval is None:
        return "undecided"
    return "agrees" if ours.interval[0] <= claimed <= ours.interval[1] else "disagrees"


def error_kinds(data: PreparedDataset) -> dict[TopK, str]:
    """The errors that are meaningful on a dataset, with their names: top-5 error only with more than five classes."""
    return {"top1": "top-1 error", "top5": "top-5 error"} if len(data.classes) > 5 else {"top1": "top-1 error"}


def part_of(text: str, kind: TopK) -> str:
    """The part of "47.1 / 28.2 %" or "+1.4 / +1.2 (148)" on one error; text without a slash is on the top-1 error."""
    first, slash, rest = text.partition(" / ")
    if not slash:
        return text if kind == "top1" else ""
    second, _, unit = rest.partition(" ")
    number = first if kind == "top1" else second
    return "" if number == "-" else f"{number} {unit}".strip()


def train_and_test(
    lab: Lab, name: str, recipe: Recipe, data: PreparedDataset, split: str = "val", views: str = "ten-crop"
) -> PerSeed:
    """Train one network per seed and test it: for each seed errors and training history, or that it diverged.

    What is found of a network is kept as a part of the experiment, for which the network is needed no more. The names
    of runs and parts begin with the variant's.

    Raises:
        DataError: A part was changed by hand, or is damaged.
    """
    results: PerSeed = {}
    usual = (split, views) == ("val", "ten-crop")
    part = name if usual else f"{name}-{split}-{views}"
    for seed in lab.seeds:
        inputs = {"net": lab.network(name, recipe, data, seed).name, "data": data.fingerprint}
        inputs |= {} if usual else {"split": split, "views": views}
        measure = partial(_measure, lab, name, recipe, data, seed, split, views)
        results[seed] = lab.kept(f"{part}-seed-{seed}", inputs, measure)
        if not _is_whole(results[seed]):
            path = lab.part(f"{part}-seed-{seed}.json", inputs)
            raise DataError(f"{path} is damaged: remove it, and the same command makes it again.")
    return results


def _is_whole(found: Any) -> bool:
    """True of what is kept of a network if it is as `_measure` returns it: a part may have been changed by hand."""
    try:
        _FOUND.validate_python(found, strict=True)
    except ValidationError:
        return False
    bytes_of_misses = -(-found.get("images", 0) // 8)
    return all(len(bytes.fromhex(misses)) == bytes_of_misses for misses in found.get("misses", {}).values())


def _measure(
    lab: Lab, name: str, recipe: Recipe, data: PreparedDataset, seed: int, split: str, views: str
) -> dict[str, Any]:
    try:
        trained = lab.trained(name, recipe, data, seed)
    except DivergedError as error:
        return {"diverged": str(error)}
    predictions, history = lab.predictions(trained, data, split, views), trained.history
    errors = predictions.evaluation()
    guessing = loss_of_guessing(data.class_counts("train"), recipe.training.label_smoothing)
    return {
        "run": trained.name,
        "top1": errors.top1.error,
        "top5": errors.top5.error,
        "images": errors.images,
        "misses": packed_misses(predictions.summary.ranks),
        "training_loss": history[-1]["loss"],
        "training_top1": history[-1]["top1_error"],
        "validation_top1": [row["val_top1_error"] for row in history],
        "stalled": bool(
            history[-1]["loss"] > guessing - STALLED and errors.top1.error >= _error_of_one_answer(data, split)
        ),
        "seconds": math.fsum(row["seconds"] for row in history),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": this_machine().processor,
    }


def _error_of_one_answer(data: PreparedDataset, split: str) -> float:
    """The lowest top-1 error that one and the same answer to every image of a split has."""
    counts = data.class_counts(split)
    return 1 - max(counts) / sum(counts)


def counted(number: int, thing: str) -> str:
    """A number of things as text: 1 network, 3 networks."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def batches_text(recipe: Recipe, data: PreparedDataset) -> str:
    """The batches that a recipe is trained with on a dataset, which may have fewer images: "batches of 128"."""
    return f"batches of {min(recipe.training.batch_size, data.examples('train'))}"


def training_text(results: Iterable[PerSeed]) -> str:
    """How long the training of networks took, and when and on which processors they were tested."""
    found = [each for of_one in results for each in of_one.values() if "seconds" in each]
    if not found:
        return "no network was trained to its end"
    minutes = sorted(round(each["seconds"] / 60) for each in found)
    took = " to ".join(f"{each:,}" for each in dict.fromkeys((minutes[0], minutes[-1])))
    dates, processors = ({each[name]: None for each in found} for name in ("date", "processor"))
    return f"{took} minutes of training a network; tested {', '.join(sorted(dates))} on {', '.join(processors)}"


def packed_misses(ranks: np.ndarray) -> dict[str, str]:
    """The images wrong by "top1" and "top5", given `label_ranks`: a bit each in the order of the split, hexadecimal."""
    return {f"top{k}": np.packbits(ranks >= k).tobytes().hex() for k in (1, 5)}


def paired_test(first: dict[str, Any], second: dict[str, Any], kind: TopK) -> PairedTest:
    """Compare two networks' results, by the images that they get wrong."""
    one, other = (
        np.unpackbits(np.frombuffer(bytes.fromhex(each["misses"][kind]), np.uint8)).astype(bool)
        for each in (first, second)
    )
    return PairedTest.of(one, other)  # the bits that fill up the last byte are 0 in both


def error(what: str, results: PerSeed, kind: TopK) -> Comparison:
    """The error of a network over the seeds that did not diverge; of one with its interval over the images."""
    found = {seed: each for seed, each in results.items() if "diverged" not in each}
    if not found:
        return Comparison(what, None, note="diverged")
    notes = [diverged_text(seed for seed in results if seed not in found)]
    if len(found) == 1:
        (only,) = found.values()
        rate = error_rate(round(only[kind] * only["images"]), only["images"])
        notes.insert(0, f"{100 * rate.low:.1f} to {100 * rate.high:.1f} % over images")
    return Comparison(what, OverSeeds(tuple(each[kind] for each in found.values())), note=_joined(notes))


def difference(
    what: str, results: PerSeed, base: PerSeed, kind: TopK, claim: str = "", log: str = "", sign: int = 0
) -> Comparison:
    """The error of a network minus that of the network it is compared with, seed by seed, and each two's paired test.

    Seeds of which one of the two diverged are left out. The claim is undecided then, as it is where a network learnt
    nothing. Claim and log are on both errors, as `part_of` reads them; the sign is 0 where they have none.
    """
    claim, log = part_of(claim, kind), part_of(log, kind)
    two = {seed: (each, base[seed]) for seed, each in results.items() if "diverged" not in each.keys() | base[seed]}
    if not two:
        return Comparison(what, None, "points", claim, log, note="diverged")
    ours = OverSeeds(tuple(one[kind] - other[kind] for one, other in two.values()))
    stalled = sum(each["stalled"] for both in two.values() for each in both)
    guessing = f"{stalled} of the {2 * len(two)} networks compared ended no better than guessing" if stalled else ""
    note = _joined([guessing, diverged_text(seed for seed in results if seed not in two)])
    pairs = () if stalled else tuple(paired_test(*both, kind) for both in two.values())
    verdict: Verdict = "not compared"
    if sign and (claim or log):
        verdict = "undecided" if note else sign_verdict(ours, sign, pairs)
    return Comparison(what, ours, "points", claim, log, verdict, note, pairs)


def _joined(parts: Iterable[str]) -> str:
    return "; ".join(filter(None, parts))
