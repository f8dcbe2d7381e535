"""The first signal is noted, the second has its usual effect, and handlers are put back."""

import signal
from collections.abc import Iterator

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


@pytest.fixture
def usual_interrupt() -> Iterator[None]:
    """A background process of a shell starts with SIGINT ignored: give it the effect it has at a terminal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_interrupt")
def test_a_second_one_stops_at_once() -> None:
    with interrupts_noted():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
