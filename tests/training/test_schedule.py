"""Rates over the epochs as the paper tells it, and over other lengths.

tests/facts/test_learning_rates.py has every epoch of net 145 and net 170.
"""

import math

import pytest

from alexnet_keras.recipes.edits import edit
from alexnet_keras.recipes.toml import load_recipe, with_overrides
from alexnet_keras.training.schedule import (
    epochs_since_best,
    has_stalled,
    layer_decays,
    layer_rate_factors,
    plan_epoch,
    plateau_drops,
    rate_periods,
)


def test_the_steps_are_scaled_to_the_length_of_the_run():
    training = with_overrides(load_recipe("source"), ["training.epochs=182"]).training
    assert plan_epoch(training, 49, []).rates["weights"] == pytest.approx(1e-2)
    assert plan_epoch(training, 50, []).rates["weights"] == pytest.approx(1e-3)


@pytest.mark.parametrize("epochs", [1, 2, 3, 10])
def test_even_a_short_run_starts_at_the_full_rate(epochs):
    training = with_overrides(load_recipe("source"), [f"training.epochs={epochs}"]).training
    assert plan_epoch(training, 0, []).rates == pytest.approx({"weights": 0.01, "biases": 0.02, "conv1": 0.01})


def test_the_paper_divides_all_rates_when_the_error_stalls_three_times_and_then_stops():
    training = load_recipe("paper").training
    falling = [0.9 - 0.01 * epoch for epoch in range(10)]
    assert plan_epoch(training, 10, falling).rates == pytest.approx({"weights": 0.01, "biases": 0.01, "conv1": 0.01})
    patience = training.schedule.plateau_patience
    for drops in range(1, 4):
        plan = plan_epoch(training, 10, falling + [0.9] * (patience * drops))
        assert plan.rates == pytest.approx(dict.fromkeys(("weights", "biases", "conv1"), 0.01 / 10**drops))
        assert not has_stalled(training, falling + [0.9] * (patience * drops))
    assert has_stalled(training, falling + [0.9] * (patience * 4))
    assert not has_stalled(training, falling + [0.9] * 80), "all 90 epochs are trained"


def test_an_improvement_starts_the_wait_anew():
    assert plateau_drops([0.5, 0.6, 0.6, 0.4, 0.6, 0.6], patience=3, most=3) == (0, False)
    assert plateau_drops([0.5, 0.6, 0.6, 0.6], patience=3, most=3) == (1, False)


def test_a_cosine_falls_along_half_a_wave_after_its_warm_up():
    changes = ["kind=cosine", "length=10", "warmup_epochs=1", "drop_epochs=[]"]
    changes += ["conv1_lowered_epoch=none", "conv1_frozen_epoch=none", "color_noise_off_epoch=none"]
    recipe = with_overrides(load_recipe("source"), [f"training.schedule.{change}" for change in changes])
    training = with_overrides(recipe, ["training.epochs=10", "training.bias_rate=0.03"]).training
    plans = [plan_epoch(training, epoch, []) for epoch in range(10)]
    weights = [plan.rates["weights"] for plan in plans]
    assert weights[0] == pytest.approx(0.01 / 2)
    assert weights[5] == pytest.approx(0.01 / 2), "half of the wave is behind it"
    assert weights[1:] == sorted(weights[1:], reverse=True)
    assert weights[9] == pytest.approx(0.01 * (1 + math.cos(0.9 * math.pi)) / 2)
    assert [plan.rates["biases"] for plan in plans] == pytest.approx([3 * weight for weight in weights])


@pytest.mark.parametrize(("epochs", "shares"), [(20, [1 / 3, 2 / 3, 1, 1]), (40, [0.2, 0.4, 0.6, 0.8, 1])])
def test_the_warm_up_is_scaled_to_the_length_of_the_run(epochs, shares):
    changes = ["training.schedule.warmup_epochs=2", "training.schedule.length=20", f"training.epochs={epochs}"]
    changes += ["training.schedule.drop_epochs=[]", "training.schedule.conv1_lowered_epoch=none"]
    changes += ["training.schedule.conv1_frozen_epoch=none"]
    training = with_overrides(load_recipe("source"), changes).training
    found = [plan_epoch(training, epoch, []).rates for epoch in range(len(shares))]
    assert [rates["weights"] for rates in found] == pytest.approx([0.01 * share for share in shares])
    assert [rates["biases"] for rates in found] == pytest.approx([0.02 * share for share in shares])


def test_an_error_that_only_equals_the_best_is_no_improvement():
    assert plateau_drops([0.5, 0.5, 0.5], patience=3, most=3) == (0, False)
    assert plateau_drops([0.5, 0.5, 0.5, 0.5], patience=3, most=3) == (1, False)


def test_after_a_division_the_wait_starts_anew_and_the_last_stall_ends_the_run():
    assert plateau_drops([], patience=1, most=0) == (0, False)
    assert plateau_drops([0.5, 0.6], patience=1, most=0) == (0, True)
    assert plateau_drops([0.5, *[0.6] * 5], patience=2, most=2) == (2, False)
    assert plateau_drops([0.5, *[0.6] * 6], patience=2, most=2) == (2, True)
    assert plateau_drops([0.5, *[0.6] * 6, 0.1, 0.1], patience=2, most=2) == (2, True), "it stays ended"


def test_layers_with_factors_have_rates_of_their_own():
    plan = plan_epoch(load_recipe("source").training, 25, [0.5] * 25, {"conv2": 0.5, "fc8": 10})
    expected = {"weights": 1e-3, "biases": 0.02, "conv1": 1e-3}
    expected |= {"conv2": 5e-4, "conv2_biases": 0.01, "fc8": 1e-2, "fc8_biases": 0.2}
    assert plan.rates == pytest.approx(expected)


def test_only_what_differs_from_the_others_has_a_factor_or_a_decay():
    network = load_recipe("source").network
    assert layer_rate_factors(network) == {} and layer_decays(network) == {}
    changes = ["conv2.rate_factor=0.5", "fc7.rate_factor=0", "fc8.rate_factor=2", "conv3.weight_decay=0.0"]
    changes += ["fc6.weight_decay=1", "fc8.weight_decay=0.25"]
    network = with_overrides(load_recipe("source"), [f"network.{change}" for change in changes]).network
    assert layer_rate_factors(network) == {"conv2": 0.5, "fc7": 0, "fc8": 2}
    assert layer_decays(network) == {"conv3": 0, "fc6": 1, "fc8": 0.25}


def test_a_warm_up_of_a_run_of_another_length_has_a_share_of_its_epochs():
    changes = ["training.epochs=45", "training.schedule.warmup_epochs=6", "training.schedule.length=90"]
    training = with_overrides(load_recipe("source"), changes).training
    found = [plan_epoch(training, epoch, []).rates["weights"] for epoch in range(5)]
    assert found == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01])


def test_out_of_patience_the_training_ends():
    training = edit(load_recipe("source"), {"training.patience": 3}).training
    errors = [0.9, 0.5, 0.6, 0.5, 0.7]
    assert [has_stalled(training, errors[:n]) for n in range(6)] == [False] * 5 + [True]
    assert epochs_since_best([]) == 0 and epochs_since_best([0.5, 0.5]) == 1
    assert not has_stalled(load_recipe("source").training, [0.1] + [0.5] * 59)


def test_the_rates_that_are_left_are_told_in_periods():
    training = load_recipe("source").training
    assert rate_periods(training, 24, [], 3) == rate_periods(training, 24, [], 9)[:3]
    assert rate_periods(training, 24, [], 9) == [
        (25, 25, 0.01),
        (26, 51, 0.001),
        (52, 79, pytest.approx(0.0001)),
        (80, 91, pytest.approx(0.00001)),
    ]
    longer = edit(load_recipe("source"), {"training.epochs": 182}).training
    assert rate_periods(longer, 91, [], 1) == [(92, 102, 0.001)]
