"""Signals: the first waits for a short call, the second ends the process, each in time."""

import contextlib
import gc
import signal
import subprocess
import sys
import time

import pytest

from ecjax.stop import EXIT_CODE, GRACE_S, Stop

RUN = """
import sys, time
from ecjax.progress import Progress
progress = Progress()
took, estimated = float(sys.argv[1]), float(sys.argv[2]) or None
def work():
    print("begun", flush=True)
    time.sleep(took)
    print("done", flush=True)
try:
    with progress.stop.listening():
        progress.run(work, "work", estimated)
        print("kept", flush=True)
        progress.check()
        progress.run(work, "work", estimated)
except KeyboardInterrupt:
    print("ended", flush=True)
    import os
    os._exit(75)
"""


def ended(took, estimated, *signals):
    """What the process prints and how long it lives, when it gets signals as it has begun."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(took), str(estimated)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    heard = ""
    for number in signals:
        if number != signals[0]:
            heard = process.stderr.readline()  # until the one before is heard
        process.send_signal(number)
    started = time.monotonic()
    said, errors = process.communicate(timeout=60)
    assert process.returncode == EXIT_CODE
    return said.split(), heard + errors, time.monotonic() - started


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_for_a_short_call(number):
    said, _, _ = ended(1.5, 2, number)
    assert said == ["done", "kept", "ended"]


def test_a_call_that_takes_longer_is_not_waited_for():
    said, errors, took = ended(50, 60, signal.SIGTERM)
    assert said == ["ended"] and "finishing" not in errors and took < 2


def test_the_second_signal_ends_at_once():
    said, errors, took = ended(50, 0, signal.SIGINT, signal.SIGTERM)
    assert said == [] and "finishing" in errors and "twice" in errors and took < 2


def test_how_long_a_call_is_waited_for():
    stop = Stop()
    assert not stop.over(None) and not stop.over(1e9)
    stop.asked = time.monotonic()
    assert not stop.over(None) and not stop.over(GRACE_S - 1) and stop.over(GRACE_S + 1)
    stop.asked -= GRACE_S + 0.1
    assert stop.over(None) and stop.over(0.0)


def test_an_interrupt_that_was_swallowed_ends_the_next_call():
    stop = Stop()
    with stop.listening():
        with contextlib.suppress(KeyboardInterrupt):  # as a callback's caller may
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), stop.computing():
            pass


def test_an_interrupt_in_a_callback_of_the_collector_prints_no_error(monkeypatch):
    stop, printed = Stop(), []
    monkeypatch.setattr(sys, "unraisablehook", printed.append)

    def callback(phase, info):
        if phase == "start":
            signal.raise_signal(signal.SIGINT)

    with stop.listening():
        gc.callbacks.append(callback)
        try:
            gc.collect(0)
        finally:
            gc.callbacks.remove(callback)
        with pytest.raises(KeyboardInterrupt), stop.computing():
            pass
    assert stop.asked and not printed


def test_handlers_are_as_before_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt), Stop().listening():
        signal.raise_signal(signal.SIGTERM)
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
