"""Learning rates over the epochs: net 145's schedule by hand, net 170's schedule, the paper's heuristic.

A schedule is a function of the epoch and of the validation errors so far, without a state of its own: a resumed run
computes the same rates from its history.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alexnet_keras.recipes.schema import Network, Training

CONV1 = "conv1"  # the layer that net 145 lowered and froze
BIASES = "_biases"  # after a layer's name: the kind of its biases, where they have a rate of their own


@dataclass(frozen=True)
class EpochPlan:
    """The learning rates of one epoch.

    Attributes:
        rates: Learning rates by kind: weights, biases, conv1 (conv1's weights), and for each layer with a rate factor
            its weights (fc8) and its biases (fc8_biases).
        color_noise: The colour noise is on.
    """

    rates: dict[str, float]
    color_noise: bool


def plan_epoch(
    training: Training, epoch: int, errors: list[float], factors: Mapping[str, float] | None = None
) -> EpochPlan:
    """Plan an epoch.

    Args:
        training: The recipe's training; its schedule's epochs are scaled by training.epochs / schedule.length.
        epoch: The epoch about to begin, from 0.
        errors: The validation top-1 error after each epoch before it, 0..1.
        factors: `rate_factors` of the network.
    """
    schedule = training.schedule

    def reached(scheduled: int | None) -> bool:
        return scheduled is not None and epoch * schedule.length >= scheduled * training.epochs

    if schedule.kind == "cosine":
        by_weights = by_biases = _cosine(epoch, training.epochs)
    elif schedule.kind == "dexp":
        by_weights = _dexp(epoch, training.epochs, *schedule.dexp_weights)
        by_biases = _dexp(epoch, training.epochs, *schedule.dexp_biases)
    else:
        if schedule.kind == "plateau":
            drops, _ = plateau_drops(errors, schedule.plateau_patience, schedule.plateau_drops)
        else:
            drops = sum(reached(when) for when in schedule.drop_epochs)
        by_weights = schedule.factor**drops
        by_biases = by_weights if schedule.biases_drop else 1.0
    warmth = _warmth(epoch, schedule.warmup_epochs * training.epochs / schedule.length)
    weights, biases = training.weight_rate * warmth / by_weights, training.bias_rate * warmth / by_biases
    rates = {"weights": weights, "biases": biases, CONV1: weights}
    for layer, factor in (factors or {}).items():
        rates |= {layer: weights * factor, layer + BIASES: biases * factor}
    if reached(schedule.conv1_lowered_epoch):
        rates[CONV1] = min(rates[CONV1], schedule.conv1_lowered_rate)
    if reached(schedule.conv1_frozen_epoch):
        rates[CONV1] = 0.0
    return EpochPlan(rates, not reached(schedule.color_noise_off_epoch))


def has_stalled(training: Training, errors: list[float]) -> bool:
    """True if the schedule `plateau`, or the patience, ends the training here, before its last epoch.

    Args:
        training: The recipe's training.
        errors: The validation top-1 error after each epoch so far, 0..1.
    """
    return len(errors) < training.epochs and would_end(training, errors)


def would_end(training: Training, errors: list[float]) -> bool:
    """True if the schedule `plateau`, or the patience, ends a training of any length after these epochs."""
    schedule = training.schedule
    if training.patience is not None and epochs_since_best(errors) >= training.patience:
        return True
    if schedule.kind != "plateau":
        return False
    _, ended = plateau_drops(errors, schedule.plateau_patience, schedule.plateau_drops)
    return ended


def layer_rate_factors(network: Network) -> dict[str, float]:
    """Return the rate factors that are not 1, by layer."""
    return {layer.name: layer.rate_factor for layer in network.layers if layer.rate_factor != 1}


def layer_decays(network: Network) -> dict[str, float]:
    """Return the weight decays of the layers that have their own."""
    return {layer.name: layer.weight_decay for layer in network.layers if layer.weight_decay is not None}


def epochs_since_best(errors: Sequence[float]) -> int:
    """Count the epochs after the one with the lowest error, the first of several; 0 of no epochs."""
    return len(errors) - 1 - errors.index(min(errors)) if errors else 0


def rate_periods(training: Training, first: int, errors: list[float], most: int) -> list[tuple[int, int, float]]:
    """Return the learning rates of the weights from an epoch on, as far as they are known beforehand.

    Args:
        training: The recipe's training.
        first: The first epoch, from 0.
        errors: The validation top-1 errors so far; `plateau` is continued without new ones.
        most: The number of periods to return at most.

    Returns:
        The first periods of epochs with one rate: the first and the last epoch, from 1, and the rate.
    """
    periods: list[tuple[int, int, float]] = []
    for epoch in range(first, training.epochs):
        rate = plan_epoch(training, epoch, errors).rates["weights"]
        if periods and periods[-1][2] == rate:
            periods[-1] = (periods[-1][0], epoch + 1, rate)
        elif len(periods) == most:
            break
        else:
            periods.append((epoch + 1, epoch + 1, rate))
    return periods


def plateau_drops(errors: list[float], patience: int, most: int) -> tuple[int, bool]:
    """Count the divisions of the learning rate that the errors so far call for.

    The rate is divided when the error has had no new minimum for `patience` epochs, counted from zero after every
    division; one more stall after the last division ends the run (paper, section 5).

    Args:
        errors: The validation error after each epoch.
        patience: Epochs without a new minimum.
        most: The largest number of divisions.

    Returns:
        The number of divisions, and True if the run has ended.
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


def _cosine(epoch: int, epochs: int) -> float:
    """The divisor of a rate that falls from 1 along half a cosine wave and reaches 0 after the last epoch."""
    return 2 / (1 + math.cos(math.pi * epoch / epochs))


def _warmth(epoch: int, warmup: float) -> float:
    """The share of the full rate in an epoch, 0..1: it rises in equal steps over the first epochs."""
    return min(1.0, (epoch + 1) / (warmup + 1))


def _dexp(epoch: int, epochs: int, factor: float, stretches: int) -> float:
    """The divisor of a rate: 1 in the first of equal stretches of the run, `factor` in the last."""
    return factor ** (min(epoch * stretches // epochs, stretches - 1) / (stretches - 1))
