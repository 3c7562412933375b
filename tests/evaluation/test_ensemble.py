"""Ensembles: the plain mean, and the search over weights."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from synthetic import made_up

from alexnet_keras.errors import DataError, NotFiniteError, UsageError
from alexnet_keras.evaluation import ensemble
from alexnet_keras.evaluation import predictions as predictions_module
from alexnet_keras.evaluation.ensemble import EVEN, ODD, Ensemble, Subset, check_same_images, mean, search
from alexnet_keras.evaluation.errors import Tally
from alexnet_keras.evaluation.predictions import Predictions


def score(ensemble, subset=Subset()):
    tally = ensemble.tally(subset)
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


@pytest.mark.parametrize("seed", range(8))
def test_the_search_is_never_worse_than_the_mean_or_the_best_member_where_it_searched(seed):
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 6))
    classes = 4 if seed == 7 else 12  # with five classes or fewer, the top-1 error is what is searched on
    members = [made_up(str(i), random.uniform(0, 2), seed=10 * seed + i, classes=classes) for i in range(count)]
    for rows in (Subset(), EVEN):
        found = score(search(members, rows), rows)
        others = [mean(members), *(Ensemble(members, alone) for alone in np.eye(count))]
        assert found <= min(score(other, rows) for other in others)


def test_the_search_finds_what_trying_every_pair_of_weights_finds():
    members = [made_up("a", 0.8, seed=1), made_up("b", 1.2, seed=2)]
    grid = np.arange(21) * 0.05
    tried = [Ensemble(members, np.array(pair)) for pair in itertools.product(grid, grid) if any(pair)]
    best = min(score(ensemble)[0] for ensemble in tried)
    found = score(search(members))[0]
    assert found < score(mean(members))[0]
    assert found <= best + 1  # a descent along coordinates may end beside the best corner of the grid


def test_halves_share_no_image_and_pieces_do_not_matter(members, monkeypatch):
    whole = [np.concatenate(parts) for parts in zip(*mean(members).chunks(EVEN), strict=True)]
    np.testing.assert_array_equal(whole[1], members[0].labels[::2])
    monkeypatch.setattr(predictions_module, "ROWS", 37)
    for rows, start in ((EVEN, 0), (ODD, 1)):
        averaged, labels = (np.concatenate(parts) for parts in zip(*mean(members).chunks(rows), strict=True))
        np.testing.assert_array_equal(labels, members[0].labels[start::2])
        expected = np.mean([member.probabilities[start::2].astype(np.float64) for member in members], axis=0)
        np.testing.assert_allclose(averaged, expected, rtol=1e-12)
    assert search(members, EVEN).tally(ODD).images == 200


def test_of_a_thousand_classes_only_a_few_an_image_are_compared():
    """That is what makes a search over seven members and 50,000 images take seconds."""
    from alexnet_keras.evaluation.ensemble import _Margins

    members = [made_up(str(seed), 6.0, images=5000, classes=1000, seed=seed) for seed in range(7)]
    margins = _Margins.of(members, Subset())
    assert len(margins.images) < 0.02 * 5000 * 1000


def test_what_cannot_be_averaged_is_told(members):
    with pytest.raises(UsageError, match="at least two members"):
        mean(members[:1])
    with pytest.raises(DataError, match="different images"):
        mean([members[0], made_up("other", 1.0, data="others")])
    with pytest.raises(DataError, match="different images"):
        mean([members[0], made_up("other", 1.0, classes=10)])


def member(name, probabilities, labels, **facts):
    facts = {"run": name, "data_fingerprint": "", "split": "val", "views": "centre", **facts}
    return Predictions(Path(name), facts, np.asarray(probabilities, np.float32), np.asarray(labels))


def random_eighths(random, images, classes):
    """Probabilities that are exact in binary, and so are their means: ties are ties however they are added up."""
    return random.multinomial(8, np.full(classes, 1 / classes), images) / 8


@pytest.mark.parametrize("classes", [3, 5, 6, 9])
def test_what_weights_are_judged_by_is_the_tally_of_their_ensemble_ties_included(classes):
    random = np.random.default_rng(classes)
    labels = random.integers(0, classes, 60)
    members = [member(str(index), random_eighths(random, 60, classes), labels) for index in range(3)]
    for rows in (Subset(), ODD):
        margins = ensemble._Margins.of(members, rows)
        for weights in ([1, 1, 2], [1, 0, 0], [0, 0.5, 0.5], [0.25, 0.25, 0.5]):
            tally = Ensemble(members, np.array(weights, float)).tally(rows)
            misses = (tally.misses1, tally.misses5) if classes <= 5 else (tally.misses5, tally.misses1)
            *found, loss = margins.score(np.array(weights, float))
            assert tuple(found) == misses
            assert loss == pytest.approx(tally.loss)


def test_rows_of_pieces_are_those_of_the_whole():
    array = np.arange(23)
    assert Subset() == Subset(0, 1)
    np.testing.assert_array_equal(Subset().of(array), array)
    for rows in (EVEN, ODD, Subset(2, 5), Subset(4, 3)):
        pieces = [rows.of(array[start : start + 7], start) for start in range(0, 23, 7)]
        np.testing.assert_array_equal(np.concatenate(pieces), array[rows.start % rows.step :: rows.step])
    assert EVEN.of(array)[0] == 0 and ODD.of(array)[0] == 1


def test_a_member_that_is_not_finite_is_refused_whatever_its_weight():
    members = [made_up("a", 0.8, seed=1), made_up("b", 1.2, seed=2)]
    spoilt = member("c", np.full((400, 12), np.nan), members[0].labels, data_fingerprint="pictures")
    for refused in (
        lambda: search([*members, spoilt]),
        Ensemble([members[0], spoilt], np.array([2.0, 0.0])).evaluation,
    ):
        with pytest.raises(NotFiniteError, match="400 of 400 images"):
            refused()
    ((averaged, _),) = Ensemble(members, np.array([2.0, 0.0])).chunks()
    np.testing.assert_allclose(averaged, members[0].probabilities, rtol=1e-12)


def test_it_is_the_loss_that_tells_equal_errors_apart():
    """Both members are right everywhere; the surer one gets all the weight."""
    labels = np.zeros(10, int)
    sure, unsure = np.tile([0.98, *[0.004] * 5], (10, 1)), np.tile([0.5, *[0.1] * 5], (10, 1))
    found = search([member("unsure", unsure, labels), member("sure", sure, labels)])
    assert found.weights[0] == 0 and found.weights[1] > 0
    assert found.tally().loss == pytest.approx(-10 * np.log(0.98), rel=1e-5)


def test_there_must_be_images_to_search_on():
    with pytest.raises(DataError, match="no images"):
        search([member("a", np.zeros((0, 6)), []), member("b", np.zeros((0, 6)), [])])
    one = [member(name, [[0.5, 0.3, 0.2]], [0]) for name in "ab"]
    assert search(one).tally().images == 1
    with pytest.raises(DataError, match="no images"):
        search(one, ODD)


def test_the_images_are_the_same_only_if_fingerprint_and_shape_are():
    labels = [0, 1]
    base = member("base", np.full((2, 3), 1 / 3), labels)
    for other in (
        member("other", np.full((2, 3), 1 / 3), labels, data_fingerprint="x"),
        member("other", np.full((2, 4), 1 / 4), labels),
        member("other", np.full((2, 3), 1 / 3), labels, split="train"),
        member("other", np.full((2, 3), 1 / 3), labels[::-1]),
    ):
        for members in ([base, other], [base, base, other]):
            with pytest.raises(DataError, match="other and base"):
                check_same_images(members)
    check_same_images([base, base])


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0], [1.0], [1.0, 1.0, 1.0], [1.0, np.nan], [1.0, np.inf]])
def test_weights_that_average_nothing_are_refused(weights):
    members = [made_up("a", 0.8, seed=1), made_up("b", 1.2, seed=2)]
    with pytest.raises(UsageError, match="weight"):
        Ensemble(members, np.array(weights))
