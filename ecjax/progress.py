"""Progress on long work: a bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from ecjax.stop import FINISHING, Stop

TICK_S = 0.2
LINE_EVERY_S = 60.0


Label = str | Callable[[], str]  # what is done, or what says so when it is asked
Share = Callable[[], float]  # how much of the work is done, of 1


class Silent:
    """Says nothing and runs work where it is called."""

    def say(self, text: str) -> None:
        """A line for the user."""

    def run(
        self,
        work: Callable[[], Any],
        label: Label,
        seconds: float | None,
        share: Share | None = None,
    ) -> Any:
        """Runs one long call that is estimated to take so many seconds; None: not known.

        Work that gives its share is asked for it in place of an estimate. It ends by itself where
        the user has asked to end.
        """
        return work()

    @property
    def asked(self) -> bool:
        """Whether the user has asked to end."""
        return False

    def check(self) -> None:
        """Raises KeyboardInterrupt if the user has asked to end."""
        if self.asked:
            raise KeyboardInterrupt


class Progress(Silent):
    """Runs work in a thread, so that ^C is heard, and shows the plan's estimate against the clock.

    A compiled call cannot be asked how far it is. Once the estimate has passed, the bar gives way
    to words that say so.

    Attributes:
      stop: what signals have asked for, where somebody listens to them.
    """

    def __init__(self, stream: TextIO | None = None):
        self.stream, self.stop = stream or sys.stderr, Stop()
        self._answered = False  # whether the user knows that the wish to end was heard

    @property
    def asked(self) -> bool:
        return self.stop.asked is not None

    def say(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody listens; the work goes on
            print(text, file=self.stream, flush=True)

    def run(
        self,
        work: Callable[[], Any],
        label: Label,
        seconds: float | None,
        share: Share | None = None,
    ) -> Any:
        outcome: dict[str, Any] = {}

        def keep_outcome():
            try:
                outcome["value"] = work()
            except BaseException as error:  # handed to the caller's thread below
                outcome["error"] = error

        thread = threading.Thread(target=keep_outcome, daemon=True)
        show = self._bar if self.stream.isatty() else self._lines
        with self.stop.computing():
            started = time.monotonic()
            thread.start()
            show(thread, label, started, seconds, share)
        if "error" in outcome:
            raise outcome["error"]
        return outcome["value"]

    def _wait(self, thread: threading.Thread, started: float, seconds: float | None) -> float:
        """Waits a little; returns what has elapsed. KeyboardInterrupt if there is no more time."""
        thread.join(TICK_S)
        elapsed = time.monotonic() - started
        left = None if seconds is None or elapsed > seconds else seconds - elapsed
        if thread.is_alive() and self.stop.over(left):
            raise KeyboardInterrupt
        if self.asked and not self._answered and thread.is_alive():
            self._answered = True
            self.say(f"ecjax: {FINISHING}")
        return elapsed

    def _bar(self, thread, label: Label, started: float, seconds, share: Share | None) -> None:
        from tqdm import tqdm

        how = {"file": self.stream, "bar_format": "{desc}", "leave": False, **_size(self.stream)}
        with tqdm(total=100, desc=_now(label), **how) as bar:
            while thread.is_alive():
                elapsed = self._wait(thread, started, seconds)
                done, about = _so_far(elapsed, seconds, share)
                bar.n = min(99, int(100 * (done or 0)))
                layout = "{desc}: " + ("" if done is None else "{percentage:3.0f}% |{bar}| ")
                bar.set_description_str(_now(label), refresh=False)
                bar.bar_format = layout + clock_text(elapsed, about)
                bar.refresh()

    def _lines(self, thread, label: Label, started: float, seconds, share: Share | None) -> None:
        due = started + LINE_EVERY_S
        while thread.is_alive():
            elapsed = self._wait(thread, started, seconds)
            if started + elapsed >= due:
                _, about = _so_far(elapsed, seconds, share)
                self.say(f"{_now(label)}: {clock_text(elapsed, about)}")
                due += LINE_EVERY_S


def _size(stream: TextIO) -> dict[str, int]:
    """Columns and rows for a bar, where the terminal does not tell how large it is.

    Terminals of `script`, containers and the like may have 0 of both, and tqdm then shows nothing.
    """
    with contextlib.suppress(OSError):
        if not all(os.get_terminal_size(stream.fileno())):
            return {"ncols": 79, "nrows": 24}
    return {}


def _so_far(
    elapsed: float, seconds: float | None, share: Share | None
) -> tuple[float | None, float | None]:
    """How much is done, of 1, and the seconds in all; None for what is not known.

    Of work that takes longer than estimated nobody knows it: a bar that stands still would tell
    nothing.
    """
    if share is not None:
        done = share()
        return done, elapsed / done if done else None
    if seconds is None or _is_longer(elapsed, seconds):
        return None, seconds
    return elapsed / max(seconds, TICK_S), seconds


def _now(label: Label) -> str:
    return label if isinstance(label, str) else label()


def clock_text(elapsed: float, seconds: float | None) -> str:
    """Elapsed seconds against those estimated, as "0:40 of about 1:23"."""
    if seconds is None:
        return _clock(elapsed)
    about = _clock(seconds)
    if _is_longer(elapsed, seconds):
        return f"{_clock(elapsed)}, longer than the estimated {about}"
    return f"{_clock(elapsed)} of about {about}"


def _is_longer(elapsed: float, seconds: float | None) -> bool:
    """In whole seconds, as they are shown."""
    return seconds is not None and _whole(elapsed) > _whole(seconds)


def _whole(seconds: float) -> int:
    return max(1, round(seconds))


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(_whole(seconds), 60)
    return f"{minutes}:{seconds:02d}"
