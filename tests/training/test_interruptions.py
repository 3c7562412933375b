"""What asks a training to stop, and what does not."""

import signal

import pytest

from alexnet_keras.training.guards import STOPPING, StopSignals


@pytest.fixture(autouse=True)
def handlers():
    """The tests' own process may have been started with some signals ignored, as by nohup."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in STOPPING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("sent", STOPPING)
def test_the_first_signal_asks_the_second_interrupts_and_afterwards_all_is_as_it_was(sent):
    before = signal.getsignal(sent)
    with StopSignals() as signals:
        assert not signals.requested
        signal.raise_signal(sent)
        assert signals.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(sent)
    assert signal.getsignal(sent) is before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP here")
def test_under_nohup_the_end_of_the_terminal_stops_nothing():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGHUP)
        assert not signals.requested
