"""Ensembles: the plain mean, and the search over weights."""

import itertools

import numpy as np
import pytest
from synthetic import made_up

from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.evaluation import predictions as predictions_module
from alexnet_keras.evaluation.ensemble import EVEN, ODD, Ensemble, Rows, mean, one_hot, search
from alexnet_keras.evaluation.errors import Tally


def score(ensemble, rows=Rows()):
    tally = ensemble.tally(rows)
    return tally.misses5, tally.misses1, tally.loss


@pytest.fixture
def members():
    return [made_up(f"run-{seed}", skill, seed=seed) for seed, skill in enumerate((1.0, 1.5, 0.2, 2.0))]


def test_the_mean_is_the_mean_of_the_probabilities(members):
    averaged = np.mean([member.probabilities.astype(np.float64) for member in members], axis=0)
    found = np.concatenate([probabilities for probabilities, _ in mean(members).chunks()])
    np.testing.assert_allclose(found, averaged, rtol=1e-12)
    tally = Tally.of(averaged, members[0].labels)
    assert mean(members).evaluation().top1.error == tally.misses1 / 400
    assert mean(members).evaluation().top1.error < min(member.evaluation().top1.error for member in members)


def test_a_member_alone_is_itself(members):
    for index, member in enumerate(members):
        assert Ensemble(members, one_hot(4, index)).evaluation() == member.evaluation()


@pytest.mark.parametrize("seed", range(8))
def test_the_search_is_never_worse_than_the_mean_or_the_best_member_where_it_searched(seed):
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 6))
    classes = 4 if seed == 7 else 12  # with five classes or fewer, the top-1 error is what is searched on
    members = [made_up(str(i), random.uniform(0, 2), seed=10 * seed + i, classes=classes) for i in range(count)]
    for rows in (Rows(), EVEN):
        found = score(search(members, rows), rows)
        others = [mean(members), *(Ensemble(members, one_hot(count, index)) for index in range(count))]
        assert found <= min(score(other, rows) for other in others)


def test_the_search_finds_what_trying_every_pair_of_weights_finds():
    members = [made_up("a", 0.8, seed=1), made_up("b", 1.2, seed=2)]
    grid = np.arange(21) * 0.05
    tried = [Ensemble(members, np.array(pair)) for pair in itertools.product(grid, grid) if any(pair)]
    best = min(score(ensemble)[0] for ensemble in tried)
    found = score(search(members))[0]
    assert found < score(mean(members))[0]
    assert found <= best + 1  # a descent along coordinates may end beside the best corner of the grid


def test_a_useless_member_gets_little_weight(members):
    weights = search(members).weights
    assert weights[2] / weights.sum() < 0.15


def test_halves_share_no_picture_and_pieces_do_not_matter(members, monkeypatch):
    whole = [np.concatenate(parts) for parts in zip(*mean(members).chunks(EVEN), strict=True)]
    np.testing.assert_array_equal(whole[1], members[0].labels[::2])
    monkeypatch.setattr(predictions_module, "ROWS", 37)
    for rows, start in ((EVEN, 0), (ODD, 1)):
        averaged, labels = (np.concatenate(parts) for parts in zip(*mean(members).chunks(rows), strict=True))
        np.testing.assert_array_equal(labels, members[0].labels[start::2])
        expected = np.mean([member.probabilities[start::2].astype(np.float64) for member in members], axis=0)
        np.testing.assert_allclose(averaged, expected, rtol=1e-12)
    assert search(members, EVEN).tally(ODD).images == 200


def test_of_a_thousand_classes_only_a_few_a_picture_are_compared():
    """That is what makes a search over seven members and 50,000 pictures take seconds."""
    from alexnet_keras.evaluation.ensemble import _Contest

    members = [made_up(str(seed), 6.0, images=5000, classes=1000, seed=seed) for seed in range(7)]
    contest = _Contest.of(members, Rows())
    assert len(contest.pictures) < 0.02 * 5000 * 1000


def test_what_cannot_be_averaged_is_told(members):
    with pytest.raises(UsageError, match="at least two members"):
        mean(members[:1])
    with pytest.raises(DataError, match="different pictures"):
        mean([members[0], made_up("other", 1.0, data="others")])
    with pytest.raises(DataError, match="different pictures"):
        mean([members[0], made_up("other", 1.0, classes=10)])
