"""Errors by class, confusions and calibration, against counts by hand."""

from pathlib import Path

import numpy as np
import pytest
from synthetic import made_up

from alexnet_keras.evaluation import predictions as predictions_module
from alexnet_keras.evaluation.analysis import Confusion, Outcomes
from alexnet_keras.evaluation.errors import Tally
from alexnet_keras.evaluation.predictions import Predictions


def predictions(probabilities, labels):
    return Predictions(Path("x"), {}, np.array(probabilities, np.float32), np.array(labels))


def test_confusions_and_errors_by_class_by_hand():
    probabilities = [[0.8, 0.2, 0.0], [0.1, 0.9, 0.0], [0.2, 0.7, 0.1], [0.3, 0.6, 0.1], [0.2, 0.3, 0.5]]
    outcomes = Outcomes.of(predictions(probabilities, [0, 0, 0, 2, 2]))
    np.testing.assert_array_equal(outcomes.matrix.toarray(), [[1, 2, 0], [0, 0, 0], [0, 1, 1]])
    assert outcomes.confusions(5) == [Confusion(0, 1, 2, 2 / 3), Confusion(2, 1, 1, 0.5)]
    first, third = outcomes.by_class()  # class 1 has no images
    assert (first.label, first.images, first.top1.error) == (0, 3, 2 / 3)
    assert (third.label, third.images, third.top1.error, third.top5.error) == (2, 2, 0.5, 0.0)


def test_calibration_by_hand():
    probabilities = [[0.9, 0.1]] * 4 + [[0.45, 0.55]] * 2
    calibration = Outcomes.of(predictions(probabilities, [0, 0, 0, 1, 1, 1])).calibration(bins=10)
    assert calibration.images == [2, 4]
    assert calibration.confidence == pytest.approx([0.55, 0.9])
    assert calibration.accuracy == pytest.approx([1.0, 0.75])
    assert calibration.expected_error == pytest.approx((2 * 0.45 + 4 * 0.15) / 6)


def test_a_tie_is_wrong_in_the_calibration_as_in_the_error():
    tied = predictions([[0.5, 0.5]] * 2, [0, 1])
    calibration = Outcomes.of(tied).calibration()
    assert calibration.accuracy == [1 - tied.summary.ranks.astype(bool).mean()] == [0.0]
    assert calibration.expected_error == 0.5


def test_a_tie_is_wrong_in_the_confusion_matrix_and_among_the_likeliest_classes():
    uniform = predictions([[1 / 3] * 3, [1 / 3] * 3, [0.4, 0.2, 0.4], [0.5, 0.3, 0.2]], [0, 1, 0, 0])
    np.testing.assert_array_equal(uniform.summary.top, [[1, 2, 0], [0, 2, 1], [2, 0, 1], [0, 1, 2]])
    outcomes = Outcomes.of(uniform)
    np.testing.assert_array_equal(outcomes.matrix.toarray(), [[1, 1, 1], [1, 0, 0], [0, 0, 0]])
    assert sum(pair.images for pair in outcomes.confusions(9)) == 3 == round(4 * error_of(uniform))


def error_of(found):
    return Tally.of_ranks(found.summary.ranks, found.summary.at_label).misses1 / len(found.labels)


def test_a_certain_network_that_is_right_is_calibrated():
    outcomes = Outcomes.of(predictions(np.eye(6), range(6)))
    assert outcomes.calibration().expected_error == 0
    assert outcomes.confusions(3) == []


def test_the_parts_agree_with_the_whole_whatever_the_pieces(monkeypatch):
    monkeypatch.setattr(predictions_module, "ROWS", 33)
    made = made_up("run", 1.0)
    outcomes, evaluation = Outcomes.of(made), made.evaluation()
    by_class = outcomes.by_class()
    for kind in ("top1", "top5"):
        misses = sum(getattr(found, kind).error * found.images for found in by_class)
        assert misses == pytest.approx(getattr(evaluation, kind).error * 400)
    assert sum(pair.images for pair in outcomes.confusions(1000)) == round(evaluation.top1.error * 400)
