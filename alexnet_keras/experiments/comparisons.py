"""Networks that differ in one thing, trained from the same seeds, and the difference of their errors."""

import math
from typing import Any, Literal

from alexnet_keras.data.prepared import PreparedDataset
from alexnet_keras.errors import DivergedError
from alexnet_keras.experiments.lab import Lab
from alexnet_keras.experiments.outcome import Estimate, Finding, direction
from alexnet_keras.recipes import Recipe

STALLED = 0.05  # nats below ln(classes): a network whose training loss ends above that has learnt nothing

Kind = Literal["top1", "top5"]
Measured = dict[int, dict[str, Any]]  # what `measure` found, by seed


def measure(lab: Lab, name: str, recipe: Recipe, data: PreparedDataset) -> Measured:
    """Errors of one network a seed, on ten crops of the validation pictures, or that it diverged."""
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
