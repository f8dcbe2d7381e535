"""Ctrl-C and SIGTERM as a polite request: finish the step, save, stop. A second one stops at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_noted() -> Iterator[Callable[[], bool]]:
    """Within it, the first SIGINT or SIGTERM only makes the returned function say True.

    Outside the main thread, where Python allows no handlers, signals keep their usual effect.
    """
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted.is_set
        return
    # None stands for a handler that is not Python's; it cannot be put back
    before = {name: signal.getsignal(name) or signal.SIG_DFL for name in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        noted.set()
        signal.signal(number, before[signal.Signals(number)])

    for name in before:
        signal.signal(name, note)
    try:
        yield noted.is_set
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
