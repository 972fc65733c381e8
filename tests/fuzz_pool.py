"""Worker processes that are fed one case after the other, watched, and replaced when they die.

A worker is a fork of this process, so that nothing is imported again. One that ends of itself was
brought down by its case; one that takes too long or too much memory is ended, and the case blamed.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

import psutil

_LOOK_EVERY = 0.05  # seconds
_RETIRED_AFTER = 1 << 28  # bytes that a worker has grown by, which would hide what the next takes


class Verdict(NamedTuple):
    """What became of a case.

    Attributes:
      outcome: as the work calls it; "crash", "hang" or "memory" where the worker did not live.
      detail: of it, in words.
      seconds: of CPU.
      nbytes: by which the worker's largest resident memory grew.
    """

    outcome: str
    detail: str = ""
    seconds: float = 0.0
    nbytes: int = 0


class Limits(NamedTuple):
    """What a case may take: seconds of CPU, of the clock, and bytes more than before it."""

    seconds: float = 10.0
    clock: float = 60.0
    nbytes: int = 1 << 30


LIMITS = Limits()
Work = Callable[[str, Path], tuple[str, str]]


class Pool:
    """Workers that say outcome and detail of cases, each of which is named by a text.

    Args:
      work: given a case and a folder of the worker's own.
      folder: for the workers' folders.
      count: of workers.
    """

    def __init__(self, work: Work, folder: Path, count: int, limits: Limits = LIMITS):
        self._work, self._folder, self._limits = work, folder, limits
        self._workers: list[_Worker] = []
        self._count = count

    def run(self, cases: Iterable[str]) -> Iterator[tuple[str, Verdict]]:
        """Each case with its verdict, as they come."""
        waiting = iter(cases)
        try:
            self._workers = [self._new(j) for j in range(self._count)]
            busy = sum(worker.take(next(waiting, None)) for worker in self._workers)
            while busy:
                for j, worker in enumerate(self._workers):
                    verdict = worker.verdict(self._limits)
                    if verdict is None:
                        continue
                    busy -= 1
                    yield worker.case, verdict
                    if worker.spent:
                        worker.end()
                        worker = self._workers[j] = self._new(j)
                    busy += worker.take(next(waiting, None))
                wait([w.pipe for w in self._workers if w.case is not None], _LOOK_EVERY)
        finally:
            for worker in self._workers:
                worker.end()

    def _new(self, number: int) -> _Worker:
        folder = self._folder / str(number)
        folder.mkdir(exist_ok=True)
        return _Worker(self._work, folder, self._limits, self._workers)


class _Worker:
    """One process. `case` is what it has been given, `spent` whether it takes no more."""

    def __init__(self, work: Work, folder: Path, limits: Limits, others: list[_Worker]):
        context = multiprocessing.get_context("fork")
        self.case: str | None = None
        self.spent = False
        self.pipe, inner = context.Pipe()
        self._said = folder / "stderr"
        pipes = [self.pipe, *(other.pipe for other in others)]
        arguments = work, folder, inner, pipes, limits, self._said
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        inner.close()
        self._watched = psutil.Process(self._process.pid)
        self._looked = 0.0

    def take(self, case: str | None) -> bool:
        """Begins a case, if there is one; says whether there was."""
        self.case = case
        if case is None:
            return False
        used = self._watched.cpu_times()
        self._cpu, self._clock = used.user + used.system, time.monotonic()
        self._resident = self._watched.memory_info().rss
        self.pipe.send_bytes(case.encode())
        return True

    def verdict(self, limits: Limits) -> Verdict | None:
        """That of the case, once there is one."""
        if self.case is None:
            return None
        try:
            if self.pipe.poll():
                outcome, detail, seconds, nbytes, grown = json.loads(self.pipe.recv_bytes())
                self.spent = grown > _RETIRED_AFTER
                if seconds > limits.seconds:
                    outcome, detail = "hang", f"{seconds:.1f} s, then: {outcome} {detail}"
                if nbytes > limits.nbytes:
                    outcome, detail = "memory", f"{nbytes:,} bytes, then: {outcome} {detail}"
                return Verdict(outcome, detail, seconds, nbytes)
        except (EOFError, OSError):
            self.spent = True
            self._process.join()
            return Verdict("crash", self._how_it_ended())
        if time.monotonic() - self._looked > _LOOK_EVERY:
            return self._look(limits)
        return None

    def _look(self, limits: Limits) -> Verdict | None:
        """Ends a worker that takes too much."""
        self._looked = time.monotonic()
        try:
            used, resident = self._watched.cpu_times(), self._watched.memory_info().rss
        except psutil.Error:  # it has just ended, which its pipe will tell
            return None
        seconds, clock = used.user + used.system - self._cpu, self._looked - self._clock
        nbytes = resident - self._resident
        if nbytes <= limits.nbytes and seconds <= limits.seconds and clock <= limits.clock:
            return None
        self.spent = True
        self.end()
        if nbytes > limits.nbytes:
            return Verdict("memory", f"{nbytes:,} bytes", seconds, nbytes)
        return Verdict("hang", f"{seconds:.1f} s of CPU in {clock:.1f} s", seconds, nbytes)

    def _how_it_ended(self) -> str:
        code = self._process.exitcode
        how = signal.Signals(-code).name if code < 0 else f"exit {code}"
        said = self._said.read_text("utf-8", "replace").strip().splitlines()
        return " ".join([how, *said[:2]])

    def end(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _serve(work: Work, folder: Path, pipe, others, limits: Limits, said: Path) -> None:
    """What a worker does: answers cases until nobody asks any more."""
    for other in others:
        other.close()
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with said.open("wb") as stream:
        os.dup2(stream.fileno(), 2)
    room = psutil.Process().memory_info().vms + 4 * limits.nbytes
    resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    first = before = _largest()
    while True:
        try:
            case = pipe.recv_bytes().decode()
        except EOFError:
            return
        start = time.process_time()
        outcome, detail = work(case, folder)
        seconds, after = time.process_time() - start, _largest()
        pipe.send_bytes(
            json.dumps([outcome, detail, seconds, after - before, after - first]).encode()
        )
        before = after


def _largest() -> int:
    """The largest resident memory so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
