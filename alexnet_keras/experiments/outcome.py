"""What an experiment found: numbers over seeds, next to what the paper and the lab's logs say.

Networks that differ in one thing are trained from the same seeds, and the difference of their errors is given."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from scipy import stats

from alexnet_keras.data.dataset import PreparedDataset
from alexnet_keras.errors import DivergedError
from alexnet_keras.experiments.lab import Lab
from alexnet_keras.recipes.schema import Recipe

Verdict = Literal["agrees", "disagrees", "undecided", "not compared"]
Unit = Literal["percent", "points", "times", "number", "count"]  # points: a difference of two percentages
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A quantity measured once a seed. Errors and differences of errors are shares, 0.01 for 1 %."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return math.fsum(self.values) / len(self.values)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean by Student's t; None with one seed, which says nothing of others."""
        count = len(self.values)
        if count < 2:
            return None
        spread = math.sqrt(math.fsum((value - self.mean) ** 2 for value in self.values) / (count - 1) / count)
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * spread
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Finding:
    """One line of a result's table.

    Attributes:
        what: Is measured: "top-1 error, no normalisation minus source".
        claim: The paper's, in its words or numbers; "" where it says nothing.
        log: What the lab's logs recorded; "" where there is none.
        ours: None where it could not be measured, which `note` explains.
        unit: How `ours` is read.
        verdict: Of `ours` on the claim.
    """

    what: str
    claim: str
    log: str
    ours: Estimate | None
    unit: Unit = "percent"
    verdict: Verdict = "not compared"
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        if self.ours:
            values["ours"] = {"values": list(self.ours.values), "mean": self.ours.mean, "interval": self.ours.interval}
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Finding":
        """The reverse of `to_dict`."""
        ours = values["ours"] and Estimate(tuple(values["ours"]["values"]))
        return cls(**{**values, "ours": ours})

    @property
    def measured(self) -> str:
        """Ours in words: the mean, and the interval over seeds."""
        if self.ours is None:
            return self.note or "-"
        text = shown(self.ours.mean, self.unit)
        if interval := self.ours.interval:
            low, high = (shown(end, self.unit).partition(" ")[0] for end in interval)
            text += f" ({low} to {high})"
        if self.unit == "count":
            return f"{text}; {self.note}" if self.note else text
        text += f", {seeds_text(len(self.ours.values))}"
        return f"{text}; {self.note}" if self.note else text


@dataclass(frozen=True)
class Outcome:
    """Everything that an experiment hands over.

    Attributes:
        summary: A paragraph: what was trained on what, for how long, and what came of it.
        findings: The lines of the table.
        configuration: What was run, a line each.
        facts: Anything else worth keeping, as JSON has it.
    """

    summary: str
    findings: tuple[Finding, ...]
    configuration: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def seeds_text(count: int) -> str:
    """1 seed, 3 seeds."""
    return f"{count} seed" if count == 1 else f"{count} seeds"


def direction(ours: Estimate, sign: int) -> Verdict:
    """Whether a quantity is on the claimed side of zero: its whole interval has to be on one side.

    Args:
        sign: 1 if the paper says that it is positive, -1 for negative.
    """
    if ours.interval is None:
        return "undecided"
    low, high = sorted(sign * end for end in ours.interval)
    if low > 0:
        return "agrees"
    return "disagrees" if high < 0 else "undecided"


def value(ours: Estimate, claimed: float) -> Verdict:
    """Whether a number that the paper gives lies in our interval."""
    if ours.interval is None:
        return "undecided"
    return "agrees" if ours.interval[0] <= claimed <= ours.interval[1] else "disagrees"


def shown(number: float, unit: Unit) -> str:
    """A number with its unit: 0.407 as "40.7 %", a difference as "+1.4 points", a ratio as "6.1 times"."""
    match unit:
        case "percent":
            return f"{100 * number:.1f} %"
        case "points":
            return f"{100 * number:+.1f} points"
        case "times":
            return f"{number:.1f} times"
        case "count":
            return f"{number:,.0f}"
        case _:
            return f"{number:.3g}"


STALLED = 0.05  # nats below ln(classes): a network whose training loss ends above that has learnt nothing

Kind = Literal["top1", "top5"]
Measured = dict[int, dict[str, Any]]  # what `measure` found, by seed


def measure(lab: Lab, name: str, recipe: Recipe, data: PreparedDataset) -> Measured:
    """Errors of one network a seed, on ten crops of the validation images, or that it diverged."""
    return {seed: _measure(lab, name, recipe, data, seed) for seed in lab.seeds}


def kinds(data: PreparedDataset) -> dict[Kind, str]:
    """The errors that mean something on a dataset, and their names in a table."""
    return {"top1": "top-1", "top5": "top-5"} if len(data.classes) > 5 else {"top1": "top-1"}


def error(what: str, found: Measured, kind: Kind) -> Finding:
    """The error of a network, over the seeds."""
    if _diverged(found):
        return Finding(what, "", "", None, note="diverged")
    return Finding(what, "", "", Estimate(tuple(each[kind] for each in found.values())))


def difference(
    what: str, found: Measured, base: Measured, kind: Kind, *, claim: str = "", log: str = "", sign: int = 0
) -> Finding:
    """The error of a network less that of the one it is compared with, seed by seed.

    Args:
        sign: of the difference that is claimed; 0 where nothing is.
    """
    if _diverged(found) or _diverged(base):
        return Finding(what, claim, log, None, "points", note="diverged")
    ours = Estimate(tuple(each[kind] - base[seed][kind] for seed, each in found.items()))
    if stalled := sum(each["stalled"] for each in (*found.values(), *base.values())):
        note = f"{stalled} of the {len(found) + len(base)} networks compared never left ln(classes)"
        return Finding(what, claim, log, ours, "points", "undecided", note)
    return Finding(what, claim, log, ours, "points", direction(ours, sign) if sign else "not compared")


def _measure(lab: Lab, name: str, recipe: Recipe, data: PreparedDataset, seed: int) -> dict[str, Any]:
    try:
        trained = lab.trained(name, recipe, data, seed)
    except DivergedError as error:
        return {"diverged": str(error)}
    errors = lab.errors(trained, data, "val")
    history = trained.history
    return {
        "run": trained.name,
        "top1": errors.top1.error,
        "top5": errors.top5.error,
        "training_loss": history[-1]["loss"],
        "training_top1": history[-1]["top1_error"],
        "validation_top1": [row["val_top1_error"] for row in history],
        "stalled": history[-1]["loss"] > math.log(len(data.classes)) - STALLED,
    }


def _diverged(found: Measured) -> bool:
    return any("diverged" in each for each in found.values())
