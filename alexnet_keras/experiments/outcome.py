"""What an experiment found: numbers over seeds, next to what the paper and the lab's logs say."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from scipy import stats

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
