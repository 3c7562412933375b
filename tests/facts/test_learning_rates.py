"""Row 2.8 and net 170: the rates of every epoch, written out.

tests/training/test_schedule.py has the plateau rule of the paper (divided by 10 three times, then the end), schedules
stretched over other numbers of epochs, and the cosine, which neither source has.
"""

import pytest

from alexnet_keras.recipes.toml import load_recipe, with_overrides
from alexnet_keras.training.schedule import has_stalled, plan_epoch

# First and last epoch, rates of weights, biases and conv1's weights, and whether there is colour noise.
NET_145 = [
    (0, 24, 1e-2, 0.02, 1e-2, True),
    (25, 50, 1e-3, 0.02, 1e-3, True),
    (51, 66, 1e-4, 0.02, 1e-4, True),
    (67, 71, 1e-4, 0.02, 1e-5, False),
    (72, 78, 1e-4, 0.02, 0.0, False),
    (79, 90, 1e-5, 0.02, 0.0, False),
]
NET_170 = [  # weights dexp[250, 4]: 0.01 * 250^-(i/3); biases dexp[10, 2]: 0.02, then a tenth
    (0, 23, 0.01, 0.02, 0.01, True),
    (24, 47, 0.00158740, 0.02, 0.00158740, True),
    (48, 67, 0.000251984, 0.002, 0.000251984, True),
    (68, 71, 0.000251984, 0.002, 0.000251984, False),
    (72, 73, 0.00004, 0.002, 0.00004, False),
    (74, 94, 0.00004, 0.002, 0.0, False),
]


def changed(*changes):
    return with_overrides(load_recipe("source"), changes).training


def assert_follows(training, table):
    epoch = 0
    for first, last, weights, biases, conv1, noise in table:
        assert first == epoch
        for epoch in range(first, last + 1):
            plan = plan_epoch(training, epoch, [0.5] * epoch)
            assert plan.rates == pytest.approx({"weights": weights, "biases": biases, "conv1": conv1}, rel=1e-5), epoch
            assert plan.color_noise == noise and not has_stalled(training, [0.5] * epoch), epoch
        epoch += 1
    assert epoch == training.epochs


def test_source_is_net_145_in_each_of_91_epochs():
    assert_follows(load_recipe("source").training, NET_145)


def test_the_dexp_schedule_of_net_170_over_95_epochs():
    schedule = [
        "kind=dexp",
        "length=95",
        "conv1_lowered_epoch=none",
        "conv1_frozen_epoch=74",
        "color_noise_off_epoch=68",
    ]
    assert_follows(changed("training.epochs=95", *(f"training.schedule.{each}" for each in schedule)), NET_170)


@pytest.mark.parametrize(
    ("dexp_weights", "dexp_biases", "epochs", "weights", "biases"),
    [
        ("[8, 4]", "[9, 3]", 12, [0.08] * 3 + [0.04] * 3 + [0.02] * 3 + [0.01] * 3, [0.9] * 4 + [0.3] * 4 + [0.1] * 4),
        ("[16, 3]", "[81, 5]", 5, [0.08, 0.08, 0.02, 0.02, 0.005], [0.9, 0.3, 0.1, 0.1 / 3, 0.1 / 9]),
        ("[5, 2]", "[1, 2]", 4, [0.08, 0.08, 0.016, 0.016], [0.9] * 4),
    ],
)
def test_dexp_has_plateaus_of_equal_length_down_to_the_factor(dexp_weights, dexp_biases, epochs, weights, biases):
    training = changed(
        f"training.epochs={epochs}",
        "training.weight_rate=0.08",
        "training.bias_rate=0.9",
        "training.schedule.kind=dexp",
        f"training.schedule.dexp_weights={dexp_weights}",
        f"training.schedule.dexp_biases={dexp_biases}",
    )
    rates = [plan_epoch(training, epoch, []).rates for epoch in range(epochs)]
    assert [each["weights"] for each in rates] == pytest.approx(weights)
    assert [each["biases"] for each in rates] == pytest.approx(biases)


@pytest.mark.parametrize("biases_drop", [True, False])
def test_steps_divide_by_the_factor_of_the_recipe_and_biases_only_where_it_says_so(biases_drop):
    training = changed(
        "training.epochs=6",
        "training.schedule.length=6",
        "training.schedule.factor=4",
        "training.schedule.drop_epochs=[1, 4]",
        f"training.schedule.biases_drop={str(biases_drop).lower()}",
        "training.schedule.conv1_lowered_epoch=3",
        "training.schedule.conv1_lowered_rate=0.001",
        "training.schedule.conv1_frozen_epoch=5",
    )
    rates = [plan_epoch(training, epoch, []).rates for epoch in range(6)]
    assert [each["weights"] for each in rates] == pytest.approx([0.01, 0.0025, 0.0025, 0.0025, 0.000625, 0.000625])
    assert [each["conv1"] for each in rates] == pytest.approx([0.01, 0.0025, 0.0025, 0.001, 0.000625, 0])
    dropped = [0.02, 0.005, 0.005, 0.005, 0.00125, 0.00125]
    assert [each["biases"] for each in rates] == pytest.approx(dropped if biases_drop else [0.02] * 6)


@pytest.mark.parametrize(
    ("recipe", "epoch", "rate"),
    [
        *(("caffe", epoch, rate) for epoch, rate in ((0, 1e-2), (19, 1e-2), (20, 1e-3), (40, 1e-4), (60, 1e-5))),
        *(("torchvision", epoch, rate) for epoch, rate in ((29, 1e-2), (30, 1e-3), (59, 1e-3), (60, 1e-4))),
    ],
)
def test_the_published_networks_divide_by_ten_in_steps(recipe, epoch, rate):
    rates = plan_epoch(load_recipe(recipe).training, epoch, []).rates
    ratio = 2 if recipe == "caffe" else 1  # lr_mult 1 of weights and 2 of biases in Caffe
    assert (rates["weights"], rates["conv1"], rates["biases"]) == pytest.approx((rate, rate, ratio * rate))


def test_the_paper_has_one_rate_and_colour_noise_to_the_end():
    training = load_recipe("paper").training
    assert training.epochs == 90
    plan = plan_epoch(training, 89, [0.9 - 0.001 * epoch for epoch in range(89)])
    assert plan.rates == pytest.approx({"weights": 0.01, "biases": 0.01, "conv1": 0.01}) and plan.color_noise
