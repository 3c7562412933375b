"""The factor of float16's loss, step by step."""

from alexnet_keras.training.optimizer import LossScale


def test_it_starts_at_2_to_the_15th_and_doubles_after_2000_good_steps_in_a_row():
    scale = LossScale()
    assert scale == LossScale(32768.0, 0)
    for good in range(1, 2000):
        scale = scale.after(True)
        assert scale == LossScale(32768.0, good)
    assert scale.after(True) == LossScale(65536.0, 0)


def test_an_overflow_halves_it_and_starts_the_count_anew():
    assert LossScale(32768.0, 1999).after(False) == LossScale(16384.0, 0)
    assert LossScale(16384.0, 0).after(True) == LossScale(16384.0, 1)


def test_it_is_exhausted_below_1():
    assert not LossScale(1.0).exhausted
    assert LossScale(1.0).after(False).exhausted
