"""Time that operations share, and time that they spend inside one another."""

import pytest

from alexnet_keras.benchmarking.trace import Stretch, innermost, shares
from alexnet_keras.errors import AlexNetError


def test_what_is_called_counts_and_its_caller_only_for_the_rest():
    call, inside, next_one = Stretch(0, 10, "a"), Stretch(2, 5, "b"), Stretch(10, 12, "c")
    assert innermost([inside, call, next_one]) == [
        Stretch(0, 2, "a"),
        Stretch(2, 5, "b"),
        Stretch(5, 10, "a"),
        Stretch(10, 12, "c"),
    ]


def test_what_nothing_is_known_of_belongs_to_what_is_around_it():
    assert {each.kind for each in innermost([Stretch(0, 10, "a"), Stretch(2, 5, None), Stretch(3, 4, None)])} == {"a"}
    assert innermost([Stretch(0, 3, None)]) == [Stretch(0, 3, None)]


def test_a_moment_is_shared_by_the_threads_that_are_busy_and_idle_ones_are_other():
    found = shares([[Stretch(0, 4, "a"), Stretch(8, 10, "b")], [Stretch(2, 4, "b"), Stretch(9, 10, None)]])
    # a: 2 alone and half of 2; b: half of 2, 1 alone and half of 1; other: half of 1, and 4 in which nothing ran
    assert found == pytest.approx({"a": 0.3, "b": 0.25, "other": 0.45})


def test_one_kind_on_two_threads_is_not_counted_twice():
    assert shares([[Stretch(0, 4, "a")], [Stretch(0, 4, "a")]]) == {"a": 1.0}


def test_a_trace_without_operations_is_an_error():
    with pytest.raises(AlexNetError, match="no operation"):
        shares([[], []])
