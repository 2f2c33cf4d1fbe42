"""Ctrl-C and the scheduler's "please end" between two steps of work, so that work can be saved."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopping(save: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Between steps, follow the wish to stop: save, then let the signal do what it usually does.

    A second wish does not wait for the end of the step.
    """
    asked: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    def stop_if_asked() -> None:
        if asked:
            save()
            give_back()

    def give_back() -> None:
        while before:
            number, handler = before.popitem()
            signal.signal(number, handler or signal.SIG_DFL)
        if asked:
            signal.raise_signal(asked.pop())

    before = {number: signal.signal(number, note) for number in _signals()}
    try:
        yield stop_if_asked
    finally:
        give_back()


def _signals() -> list[int]:
    # Only the main thread may listen; a signal that is ignored (nohup) stays ignored.
    if threading.current_thread() is not threading.main_thread():
        return []
    both = (signal.SIGINT, signal.SIGTERM)
    return [number for number in both if signal.getsignal(number) != signal.SIG_IGN]
