"""Learning rates over the epochs: what net 145's authors did by hand, and the paper's heuristic.

A schedule is a function of the epoch and of the validation errors so far, and keeps nothing of its own: a
resumed run that knows its history has the same rates.
"""

from dataclasses import dataclass

from alexnet_keras.recipes import Training


@dataclass(frozen=True)
class EpochPlan:
    """What holds during one epoch."""

    rates: dict[str, float]  # by kind: weights, biases, conv1 (conv1's weights)
    color_noise: bool
    stop: bool = False  # the schedule has ended: do not train this epoch


def plan_epoch(training: Training, epoch: int, errors: list[float]) -> EpochPlan:
    """The plan for an epoch, counted from 0.

    Args:
        training: the recipe's training; its schedule's epochs are scaled by training.epochs / schedule.length.
        epoch: the epoch about to begin.
        errors: validation top-1 error after each epoch before it.
    """
    schedule = training.schedule

    def reached(scheduled: int | None) -> bool:
        return scheduled is not None and epoch * schedule.length >= scheduled * training.epochs

    if schedule.kind == "plateau":
        drops, stalled = plateau_drops(errors, schedule.plateau_patience, schedule.plateau_drops)
    else:
        drops, stalled = sum(reached(when) for when in schedule.drop_epochs), False
    weights = training.weight_rate / schedule.factor**drops
    biases = training.bias_rate / schedule.factor ** (drops if schedule.biases_drop else 0)
    conv1 = weights
    if reached(schedule.conv1_lowered_epoch):
        conv1 = min(weights, schedule.conv1_lowered_rate)
    if reached(schedule.conv1_frozen_epoch):
        conv1 = 0.0
    return EpochPlan(
        rates={"weights": weights, "biases": biases, "conv1": conv1},
        color_noise=not reached(schedule.color_noise_off_epoch),
        stop=stalled,
    )


def plateau_drops(errors: list[float], patience: int, most: int) -> tuple[int, bool]:
    """(how often the rate has been divided, whether the run has ended), from the errors so far.

    The rate is divided when the error has had no new minimum for `patience` epochs, counted anew after every
    division; one more stall after the last division ends the run (paper, section 5).
    """
    drops, best, waited = 0, float("inf"), 0
    for error in errors:
        if error < best:
            best, waited = error, 0
            continue
        waited += 1
        if waited >= patience:
            if drops == most:
                return drops, True
            drops, waited = drops + 1, 0
    return drops, False
