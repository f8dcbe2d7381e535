"""The first signal is noted, the second has its usual effect, and handlers are put back."""

import signal

import pytest

from hemix.training.interrupts import interrupts_noted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_is_noted(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with interrupts_noted() as interrupted:
        assert not interrupted()
        signal.raise_signal(number)
        assert interrupted()
        assert signal.getsignal(number) is before
    assert signal.getsignal(number) is before


def test_a_second_one_stops_at_once() -> None:
    with interrupts_noted():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
