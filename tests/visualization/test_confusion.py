"""The confusion matrix: which classes are shown, and what stands in the cells."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from alexnet_keras.visualization.confusion import draw_confusion, row_shares, worst_confused


@pytest.fixture
def drawn(figures, tmp_path):
    """Draws a matrix and returns the figure."""

    def draw(matrix, titles, of="") -> Figure:
        draw_confusion(matrix, titles, tmp_path / "confusion.png", of)
        assert max(Image.open(tmp_path / "confusion.png").size) < 4000
        return figures[-1]

    return draw


def cells(figure):
    """The numbers in the cells by (row, column)."""
    return {
        (int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in figure.axes[0].texts
    }


def labels(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def test_rows_are_true_classes_in_percent(drawn):
    figure = drawn(np.array([[3, 1, 0], [0, 0, 0], [2, 0, 198]]), ["cat", "dog", "eel"], "val, ten crops")
    assert cells(figure) == {(0, 0): "75", (0, 1): "25", (2, 0): "1", (2, 2): "99"}
    axis = figure.axes[0]
    assert labels(axis.yaxis) == labels(axis.xaxis) == ["cat", "dog", "eel"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted", "true")
    assert "3 classes; val, ten crops: 204 images, top-1 error 1.5%" in figure.get_suptitle()


def test_a_wrong_class_with_half_a_percent_is_no_0(drawn):
    figure = drawn(np.array([[199, 1, 0], [49, 150, 1], [0, 0, 9]]), ["cat", "dog", "eel"])
    assert cells(figure) == {(0, 0): "100", (1, 0): "24", (1, 1): "75", (2, 2): "100"}


@pytest.mark.slow
def test_up_to_thirty_classes_are_shown_whole_and_more_are_not(drawn):
    assert len(labels(drawn(np.eye(30), [f"class {i}" for i in range(30)]).axes[0].yaxis)) == 30
    figure = drawn(np.eye(31), [f"class {i}" for i in range(31)])
    assert len(labels(figure.axes[0].yaxis)) == 25
    assert "25 most confused of 31 classes" in figure.get_suptitle()


def test_of_a_thousand_classes_the_worst_confusions_are_among_those_shown(drawn):
    matrix = 45 * np.eye(1000, dtype=int)
    for true, predicted in ((10, 900), (900, 10), (333, 4), (77, 78)):
        matrix[true, predicted] += 30
    random = np.random.default_rng(0)
    for true in range(1000):
        matrix[true, random.integers(1000)] += 2
    figure = drawn(matrix, [f"class {i}" for i in range(1000)])
    axis = figure.axes[0]
    assert {f"class {i}" for i in (4, 10, 77, 78, 333, 900)} <= set(labels(axis.yaxis))
    assert labels(axis.xaxis) == [*labels(axis.yaxis), "any other class"]
    shown = np.array(axis.images[0].get_array())
    np.testing.assert_allclose(shown.sum(axis=1), 1.0)
    row, column = labels(axis.yaxis).index("class 10"), labels(axis.xaxis).index("class 900")
    assert shown[row, column] == pytest.approx(30 / matrix[10].sum())


def test_the_worst_are_found_by_share_and_of_equal_shares_by_images():
    matrix = np.diag([10, 100, 10, 10, 10]).astype(float)
    matrix[0, 1], matrix[1, 2], matrix[3, 4] = 5, 20, 5  # a third, a sixth, a third
    assert worst_confused(matrix, 4).tolist() == [0, 1, 3, 4]
    matrix[1, 2] = 50  # a third, of more images
    assert worst_confused(matrix, 2).tolist() == [1, 2]
    assert worst_confused(matrix, 3).tolist() == [0, 1, 2]


def test_nothing_is_left_over_where_all_images_are_in_the_classes_shown(drawn):
    matrix, random = np.zeros((40, 40)), np.random.default_rng(2)
    matrix[:25, :25] = random.multinomial(60, np.full(25, 1 / 25), 25)
    shares = row_shares(matrix[:25, :25], np.full(25, 60.0))
    assert (1 - shares.sum(axis=1)).min() < 0, "the sum of shares is rounded"
    found = cells(drawn(matrix, [str(i) for i in range(40)]))
    assert not {place: text for place, text in found.items() if place[1] == 25 or text == "-0"}


def test_classes_without_images_do_not_divide_by_zero(drawn):
    with np.errstate(all="raise"):
        shares = row_shares(np.array([[0.0, 0.0], [1.0, 3.0]]), np.array([0.0, 4.0]))
        drawn(np.zeros((40, 40)), [str(i) for i in range(40)])
    np.testing.assert_array_equal(shares, [[np.nan, np.nan], [0.25, 0.75]])
    assert "no images" in drawn(np.zeros((2, 2)), ["a", "b"]).get_suptitle()
