import signal
import subprocess
import sys

import pytest

from brainuad.interrupt import stopping


def test_work_is_saved_before_the_signal_does_its_usual_work():
    saved = []

    def work() -> None:
        with stopping(lambda: saved.append(1)) as stop_if_asked:
            stop_if_asked()
            signal.raise_signal(signal.SIGINT)
            assert not saved
            stop_if_asked()

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        work()
    assert saved == [1]


def test_without_a_signal_nothing_is_saved_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    saved = []
    with stopping(lambda: saved.append(1)) as stop_if_asked:
        assert signal.getsignal(signal.SIGTERM) is not before
        stop_if_asked()
    assert saved == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_nobody_asked_about_is_not_lost():
    saved = []
    with pytest.raises(KeyboardInterrupt, match=r"^$"), stopping(lambda: saved.append(1)):
        signal.raise_signal(signal.SIGINT)
    assert saved == []


def test_ignored_signals_stay_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping(lambda: None) as stop_if_asked:
            signal.raise_signal(signal.SIGINT)
            stop_if_asked()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_scheduler_s_please_end_saves_and_ends():
    code = (
        "import signal\n"
        "from brainuad.interrupt import stopping\n"
        "with stopping(lambda: print('saved', flush=True)) as stop_if_asked:\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    stop_if_asked()\n"
        "print('went on')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert run.stdout == "saved\n"
    assert run.returncode == -signal.SIGTERM
