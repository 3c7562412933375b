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


def of_leads(*leads):
    """Members by how far the rivals of the right class 0 lead in each of them, image by image.

    Args:
        leads: (lead in each member ..., number of rivals) of an image; it is right where the weighted leads add up to
            less than 0.
    """
    names, labels = "abc"[: len(leads[0]) - 1], np.zeros(len(leads), int)
    members = []
    for index, name in enumerate(names):
        probabilities = np.zeros((len(leads), CLASSES))
        for row, (*of_members, rivals) in enumerate(leads):
            probabilities[row, 0] = max(0.0, -of_members[index])
            probabilities[row, 1 : 1 + rivals] = max(0.0, of_members[index])
        members.append(member(name, probabilities, labels))
    return members


def above(ratio, rivals=5):
    """Leads of an image that is right where the second weight is more than this many times the first."""
    return (0.1 * ratio, -0.1, rivals)


def below(ratio, rivals=5):
    return (-0.1 * ratio, 0.1, rivals)


@pytest.mark.parametrize("step", range(1, 20))
def test_every_twentieth_is_tried(step):
    """The images are all right only within 0.01 of this ratio of the weights, which no other twentieth is."""
    found = search(of_leads(above(0.05 * step - 0.01), below(0.05 * step + 0.01)))
    assert found.evaluation().top5.error == 0
    assert found.weights[1] / found.weights[0] == pytest.approx(0.05 * step, abs=0.01)


def test_the_search_counts_top_5_errors():
    """One image is among the first five only at weights at which three others are not the first."""
    found = search(of_leads(below(0.52), *[above(0.83, rivals=1)] * 3))
    assert found.weights[1] < 0.52 * found.weights[0]
    evaluation = found.evaluation()
    assert (evaluation.top1.error, evaluation.top5.error) == (0.75, 0)


def test_0_is_tried_as_well():
    """Two members are right together; the third, the best alone, spoils two images at any weight but 0."""
    images = [(-0.05, 0.02, -0.05, 5)] * 5 + [(0.02, -0.05, -0.05, 5)] * 5 + [(-0.01, -0.01, 0.9, 5)] * 2
    members = of_leads(*images)
    alone = [Ensemble(members, weights).evaluation().top5.error * 12 for weights in np.eye(3)]
    assert alone == pytest.approx([5, 5, 2])
    found = search(members)
    assert found.weights[2] == 0 and found.evaluation().top5.error == 0
