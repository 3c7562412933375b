"""Row 2.15: ensembles are weighted averages; the weights that are searched are multiples of 0.05 between 0 and 1.

tests/evaluation/test_ensemble.py has the plain mean, that a search is never worse than the mean or the best member,
and that it finds what trying every pair of weights finds.
"""

from pathlib import Path

import numpy as np
import pytest

from alexnet_keras.evaluation.ensemble import Ensemble, search
from alexnet_keras.evaluation.predictions import Predictions

CLASSES = 12


def member(name, probabilities, labels):
    facts = {"run": name, "data_fingerprint": "", "split": "val", "views": "centre"}
    return Predictions(Path(name), facts, np.asarray(probabilities, np.float32), labels)


def random_members(count, images=200, skill=1.0, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, images)
    members = []
    for index in range(count):
        logits = random.normal(size=(images, CLASSES))
        logits[np.arange(images), labels] += skill
        members.append(member(str(index), np.exp(logits) / np.exp(logits).sum(1, keepdims=True), labels))
    return members


@pytest.mark.parametrize("weights", [(1, 1, 1), (0.3, 0.7, 0.0), (0.05, 0.95, 0.5), (0.2, 0.2, 1.0)])
def test_an_ensemble_is_the_weighted_average_of_its_members_probabilities(weights):
    members = random_members(3)
    arrays = [np.float64(each.probabilities) for each in members]
    expected = np.average(arrays, axis=0, weights=weights)
    ensemble = Ensemble(members, np.array(weights, float))
    found = np.concatenate([probabilities for probabilities, _ in ensemble.chunks()])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    labels = members[0].labels
    ranks = (expected > expected[np.arange(len(labels)), labels][:, None]).sum(axis=1)
    evaluation = ensemble.evaluation()
    assert evaluation.top1.error == np.mean(ranks >= 1)
    assert evaluation.top5.error == np.mean(ranks >= 5)


@pytest.mark.parametrize("seed", range(4))
def test_searched_weights_are_multiples_of_a_twentieth_from_0_to_1(seed):
    weights = search(random_members(4, skill=0.7, seed=seed)).weights
    np.testing.assert_allclose(weights / 0.05, np.round(weights / 0.05), atol=1e-9)
    assert weights.min() >= 0 and weights.max() <= 1 and weights.any()


def duel(ratios):
    """Two members, and images that are right in the top 5 only above or below ratios of their weights.

    Args:
        ratios: (ratio of the second weight to the first, whether the ratio has to be above it) of each image.
    """
    first, second, at = np.full((len(ratios), CLASSES), 0.01), np.full((len(ratios), CLASSES), 0.01), 0.05
    for row, (ratio, above) in enumerate(ratios):
        # Five rivals lead by 0.1 * ratio in one member and trail by 0.1 in the other: even at that ratio of weights.
        lead = 0.05 * ratio if above else -0.05 * ratio
        trail = -0.05 if above else 0.05
        first[row, 0] = second[row, 0] = at
        first[row, 1:6], second[row, 1:6] = at + lead, at + trail
    return [member(name, values, np.zeros(len(ratios), int)) for name, values in (("a", first), ("b", second))]


@pytest.mark.parametrize("step", range(1, 20))
def test_every_twentieth_is_tried(step):
    """The images are all right only within 0.01 of this ratio of the weights, which no other twentieth is."""
    found = search(duel([(0.05 * step - 0.01, True), (0.05 * step + 0.01, False)]))
    assert found.evaluation().top5.error == 0
    assert found.weights[1] / found.weights[0] == pytest.approx(0.05 * step, abs=0.01)


def test_the_search_counts_top_5_errors():
    """One member is better among the first five, the other at the first place."""
    labels = np.zeros(20, int)
    top5, top1 = np.full((20, CLASSES), 0.01), np.full((20, CLASSES), 0.01)
    top5[:, 0], top5[:, 1] = 0.30, 0.40  # always second
    top1[:12, 0], top1[12:, 1:7] = 0.5, 0.1  # first, or behind six
    found = search([member("a", top5, labels), member("b", top1, labels)])
    assert found.evaluation().top5.error == 0
    alone = Ensemble(found.members, np.array([0.0, 1.0])).evaluation()
    assert (alone.top1.error, alone.top5.error) == (0.4, 0.4)


def test_a_member_that_only_harms_has_the_weight_0():
    labels = np.arange(60) % CLASSES
    good = np.full((60, CLASSES), 0.05)
    good[np.arange(60), labels] = 0.06
    harmful = np.full((60, CLASSES), 0.09)
    harmful[np.arange(60), labels] = 0.01
    found = search([member("good", good, labels), member("harmful", harmful, labels)])
    assert found.weights[1] / found.weights.sum() <= 0.1 and found.evaluation().top5.error == 0
