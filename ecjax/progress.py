"""Progress on long work: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

import numpy as np

TICK_S = 0.2
LINE_EVERY_S = 60.0
EFFICIENCY = 0.5  # of a matrix product's rate, reached by a whole study


class Silent:
    """Says nothing and runs work where it is called."""

    def say(self, text: str) -> None:
        """A line for the user."""

    def run(self, work: Callable[[], Any], label: str, operations: float) -> Any:
        """Runs one long call."""
        return work()


class Progress(Silent):
    """Runs work in a thread, so that ^C is heard, and shows the plan's estimate against the clock.

    A compiled call cannot be asked how far it is; the bar holds at 99 % once the estimate has
    passed.
    """

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stderr
        self._rate: float | None = None

    def say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def run(self, work: Callable[[], Any], label: str, operations: float) -> Any:
        estimate = operations / self._operations_per_second()
        outcome: dict[str, Any] = {}

        def keep_outcome():
            try:
                outcome["value"] = work()
            except BaseException as error:  # handed to the caller's thread below
                outcome["error"] = error

        thread = threading.Thread(target=keep_outcome, daemon=True)
        started = time.monotonic()
        thread.start()
        if self.stream.isatty():
            self._bar(thread, label, started, estimate)
        else:
            self._lines(thread, label, started, estimate)
        if "error" in outcome:
            raise outcome["error"]
        return outcome["value"]

    def _bar(self, thread, label: str, started: float, estimate: float) -> None:
        from tqdm import tqdm

        layout = "{desc}: {percentage:3.0f}% |{bar}| {elapsed} of about " + _clock(estimate)
        with tqdm(total=100, desc=label, file=self.stream, bar_format=layout, leave=False) as bar:
            while thread.is_alive():
                thread.join(TICK_S)
                share = (time.monotonic() - started) / max(estimate, TICK_S)
                bar.n = min(99, int(100 * share))
                bar.refresh()

    def _lines(self, thread, label: str, started: float, estimate: float) -> None:
        due = started + LINE_EVERY_S
        while thread.is_alive():
            thread.join(TICK_S)
            if time.monotonic() >= due:
                elapsed = _clock(time.monotonic() - started)
                self.say(f"{label}: {elapsed} of about {_clock(estimate)}")
                due += LINE_EVERY_S

    def _operations_per_second(self) -> float:
        if self._rate is None:
            a = np.ones((512, 512))
            a @ a
            started = time.perf_counter()
            a @ a
            self._rate = EFFICIENCY * 2 * 512**3 / (time.perf_counter() - started)
        return self._rate


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(max(1, round(seconds)), 60)
    return f"{minutes}:{seconds:02d}"
