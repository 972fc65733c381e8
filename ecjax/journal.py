"""How far a run is, for people and for programs: `progress.json`, and a line for each cell.

The file is replaced, never half-written, after each cell and at most once in WRITE_EVERY_S.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import time

from ecjax.atomic import WriteError
from ecjax.places import Place, RemotePlace
from ecjax.progress import Silent, clock_text

FILE = "progress.json"
WRITE_EVERY_S = 1.0
# "waiting": a shard has made its cells, and makes no tables.
STATES = ("running", "waiting", "assembling", "done", "interrupted")


class Journal:
    """Of the cells of one run.

    Args:
      place: the directory of its results; None: another process writes the file.
      progress: where lines go.
      workers: processes that share the cells.
    """

    def __init__(self, place: Place | None, progress: Silent, workers: int = 1):
        self._place, self._progress, self._workers = place, progress, workers
        self._cells = self._done = self._computed = 0
        self._weight = self._weight_left = 0.0  # estimated seconds, of those of this run
        self._spent = 0.0  # measured seconds
        self._written = -WRITE_EVERY_S

    def expect(self, weights: list[float], done: int) -> None:
        """Further cells are to be computed, of these estimated seconds; some are done already."""
        self._cells += len(weights) + done
        self._done += done
        self._weight_left += sum(weights)
        if done and self._cells > 1:
            self._progress.say(f"{self.in_words()} already")
        self._write("running")

    @property
    def is_empty(self) -> bool:
        """Whether no cells are expected yet."""
        return not self._cells

    def lost(self, weights: list[float]) -> None:
        """Cells of these estimated seconds, which were done, are to be computed again."""
        self._done -= len(weights)
        self._weight_left += sum(weights)

    def finished(self, cell: str, what: str, weight: float, seconds: float) -> None:
        """A cell is done.

        Args:
          cell: its name.
          what: it is of.
          weight: seconds that were estimated for it, and then measured.
        """
        self._done += 1
        self._computed += 1
        self._weight += weight
        self._weight_left -= weight
        self._spent += seconds
        if self._cells > 1:
            count = f"{self._done:,}/{self._cells:,}"
            left = f"; {clock_text(self.seconds_left, None)} left" if self._weight_left > 0 else ""
            self._progress.say(f"cell {count} {cell}: {what}: {seconds:.1f} s{left}")
        if time.monotonic() - self._written >= WRITE_EVERY_S:
            self._write("running")

    def finished_elsewhere(self, weights: list[float]) -> None:
        """Cells of these estimated seconds are done by other processes."""
        self._done += len(weights)
        self._weight_left -= sum(weights)
        if weights and time.monotonic() - self._written >= WRITE_EVERY_S:
            self._write("running")

    def state(self, state: str) -> None:
        """The run has come to another of STATES."""
        self._write(state)

    def ended(self, error: BaseException) -> None:
        """The run ends early, because of an error.

        A store that has failed is not asked again: a silent one would take another minute.
        """
        if isinstance(error, WriteError) and isinstance(self._place, RemotePlace):
            return
        with contextlib.suppress(WriteError):
            self.state("interrupted")

    @property
    def seconds_left(self) -> float | None:
        """By the cells that this run has computed; None where there are none yet."""
        pace = self._pace
        return None if pace is None else pace * max(0.0, self._weight_left) / self._workers

    @property
    def _pace(self) -> float | None:
        """Measured seconds for each that was estimated."""
        return self._spent / self._weight if self._weight else None

    def in_words(self) -> str:
        """Such as "12 of 200 cells are done"."""
        return f"{self._done:,} of {self._cells:,} cells are done"

    def kept(self) -> str:
        """The same of a run that has ended, which need not have counted what was there before."""
        return f"{self.in_words()} and kept" if self._cells else "what was done is kept"

    def _write(self, state: str) -> None:
        if self._place is None:
            return
        left = self.seconds_left
        rate = 60 * self._computed / self._spent if self._spent else None
        content = {
            "state": state,
            "cells": self._cells,
            "done": self._done,
            "cells_per_minute": None if rate is None else round(rate, 2),
            "pace": self._pace,
            "seconds_left": None if left is None else round(left, 1),
            "updated": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        self._place.write(FILE, (json.dumps(content, indent=2) + "\n").encode())
        self._written = time.monotonic()
