"""How colourful kernels are: the statistic by its definition, and what it says of towers."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.stats import beta
from tiers import rest_slow

from alexnet_keras.network.kernels import RANDOM_SHARE, color_shares, compare_towers, random_shares
from alexnet_keras.visualization.kernels import draw_towers


def kernels_of(*colors, side=11, seed=0):
    """A kernel for each colour: the same random pattern in it."""
    pattern = np.random.default_rng(seed).normal(size=(side, side, 1, 1))
    return (pattern * np.array(colors, np.float64).T[None, None]).astype(np.float32)


@pytest.mark.parametrize(
    ("color", "share"),
    [
        ((1, 1, 1), 0.0),  # grey
        ((-2, -2, -2), 0.0),
        ((1, -1, 0), 1.0),  # red against green
        ((1, 1, -2), 1.0),  # yellow against blue
        ((1, 0, 0), 2 / 3),  # red alone is also brightness
        ((1, 1, 0), 1 / 3),
    ],
)
def test_the_colour_share_of_a_pattern_is_that_of_its_colour(color, share):
    np.testing.assert_allclose(color_shares(kernels_of(color)), [share], atol=1e-6)
    np.testing.assert_allclose(color_shares(1e-25 * kernels_of(color)), [share], atol=1e-6)


def test_the_colour_share_follows_its_definition():
    kernels = np.random.default_rng(1).normal(size=(5, 7, 3, 4))
    for index, found in enumerate(color_shares(kernels)):
        grey = sum(kernels[y, x, :, index].sum() ** 2 / 3 for y in range(5) for x in range(7))
        assert np.isclose(found, 1 - grey / (kernels[..., index] ** 2).sum())


def test_random_kernels_have_two_thirds_within_the_interval_that_is_drawn():
    shares = color_shares(np.random.default_rng(2).normal(0, 0.01, (11, 11, 3, 20_000)))
    assert abs(shares.mean() - RANDOM_SHARE) < 0.001
    low, high = random_shares(121)
    assert abs(np.mean((shares > low) & (shares < high)) - 0.95) < 0.006


def test_dead_kernels_have_no_share_and_count_nowhere():
    kernels = kernels_of((1, 1, 1), (0, 0, 0), (1, -1, 0))
    report = compare_towers([kernels, np.zeros_like(kernels)])
    one, dead = report.towers
    assert np.isnan(one.shares[1]) and one.dead == 1 and one.median == pytest.approx(0.5)
    assert dead.dead == 3 and np.isnan(dead.median) and np.isnan(dead.weighted_mean)
    assert report.differences == (), "there is nothing to compare with"
    told = report.to_dict()["towers"]
    assert told[0]["shares"][1] is None and told[1]["median"] is None and told[1]["weighted_mean"] is None


def test_the_weighted_mean_is_the_share_of_the_tower_as_a_whole():
    kernels = kernels_of((3, 3, 3), (1, -1, 0), (0, 0, 0))
    (tower,) = compare_towers([kernels]).towers
    assert tower.weighted_mean == pytest.approx(2 / (27 + 2))
    assert tower.median == pytest.approx(0.5, abs=1e-6)


def test_towers_that_do_not_overlap_are_told_apart_whatever_their_number():
    random = np.random.default_rng(3)
    grey = np.repeat(random.normal(size=(11, 11, 1, 48)), 3, axis=2) + random.normal(0, 0.1, (11, 11, 3, 48))
    colorful = random.normal(size=(11, 11, 1, 48)) * np.array([1, -1, 0.2]).reshape(1, 1, 3, 1)
    for towers, more in (([grey, colorful], "b"), ([colorful, grey], "a")):
        (found,) = compare_towers(towers).differences
        assert found.more == more and found.less != more
        assert found.probability == 1.0 and found.p_value < 1e-15


def test_the_probability_counts_pairs():
    towers = [kernels_of((1, 1, 0), (1, -1, 0)), kernels_of((1, 1, 1), (1, 0, 0))]
    (found,) = compare_towers(towers).differences  # 1/3 and 1 against 0 and 2/3: three of four pairs
    assert (found.more, found.probability) == ("a", 0.75)


def test_towers_of_random_weights_do_not_differ():
    random = np.random.default_rng(4)
    p_values = [compare_towers(random.normal(size=(2, 11, 11, 3, 48))).differences[0].p_value for _ in range(200)]
    assert 0.01 <= np.mean(np.array(p_values) < 0.05) <= 0.1


@pytest.mark.parametrize("dead", ["none", "some", "a tower", "all"])
@pytest.mark.parametrize("towers", rest_slow((2, 1, 3)))
def test_the_figure_is_written_whatever_is_dead(tmp_path, dead, towers):
    kernels = np.random.default_rng(5).normal(size=(towers, 11, 11, 3, 48)).astype(np.float32)
    match dead:
        case "some":
            kernels[..., :5] = 0
        case "a tower":
            kernels[0] = 0
        case "all":
            kernels[:] = 0
    draw_towers(list(kernels), compare_towers(kernels), tmp_path / "towers.png")
    assert Image.open(tmp_path / "towers.png").width > 1500


def test_the_interval_is_that_of_the_beta_distribution():
    assert random_shares(121) == random_shares(121, 0.95)
    assert random_shares(2, 0.5) == pytest.approx(beta.ppf([0.25, 0.75], 2, 1))  # Beta(2, 1): x^2 on 0..1
    assert random_shares(2, 0.5) == pytest.approx((0.5, 0.75**0.5))


def test_a_report_as_json_has_it():
    towers = [kernels_of((1, -1, 0), (1, 1, 0), (0, 0, 0)), kernels_of((1, 1, 1), (1, 0, 0), (3, 0, 0))]
    report = compare_towers(towers)
    told = report.to_dict()
    assert told["random_share"] == 2 / 3 and "no independent replicates" in told["caveat"]
    first, second = told["towers"]
    energy = float(np.square(np.float64(towers[1][..., 0])).sum()) / 3  # of the pattern
    np.testing.assert_allclose(report.towers[1].energies, [3 * energy, energy, 9 * energy], rtol=1e-6)
    assert (first["tower"], first["kernels"], first["dead"]) == ("a", 3, 1)
    assert (second["tower"], second["kernels"], second["dead"]) == ("b", 3, 0)
    assert first["shares"] == [pytest.approx(1, abs=1e-6), pytest.approx(1 / 3, abs=1e-6), None]
    assert first["median"] == pytest.approx(2 / 3, abs=1e-6) and second["median"] == pytest.approx(2 / 3, abs=1e-6)
    assert first["weighted_mean"] == pytest.approx((2 + 2 / 3) / 4, abs=1e-6)
    assert second["weighted_mean"] == pytest.approx(10 * 2 / 3 / 13, abs=1e-6)
    (difference,) = told["differences"]
    assert {*difference} == {"more", "less", "probability", "p_value"}
    json.dumps(told, allow_nan=False)


def test_of_three_towers_every_two_are_compared_but_with_a_dead_one():
    red, grey = kernels_of((1, -1, 0), (1, 0, 0)), kernels_of((1, 1, 1), (1, 1, 0))
    found = [(each.more, each.less) for each in compare_towers([grey, red, grey]).differences]
    assert found == [("b", "a"), ("a", "c"), ("b", "c")]
    assert [(each.more, each.less) for each in compare_towers([grey, 0 * red, red]).differences] == [("c", "a")]


def test_towers_that_are_alike_are_a_toss_up():
    (same,) = compare_towers([kernels_of((1, 0, 0))] * 2).differences
    assert (same.more, same.less, same.probability) == ("a", "b", 0.5)


def test_a_share_is_never_below_0():
    kernels = np.full((11, 11, 3, 200), 0.1) * np.random.default_rng(6).uniform(0.1, 1, (11, 11, 1, 200))
    shares = color_shares(kernels.astype(np.float32))
    assert shares.min() >= 0 and shares.max() < 1e-6
