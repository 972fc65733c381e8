"""Runs a study's calls, or takes what they gave from the store, and makes results of it.

One call of `engine.study` is a cell. With a store, each is kept as soon as it is done, and nothing
that is kept is computed again; results are made from what is kept, whoever computed it.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from ecjax import blas, devices
from ecjax.align import AlignedTask
from ecjax.atomic import WriteError
from ecjax.calls import (
    Call,
    Chunk,
    Elsewhere,
    Interrupted,
    Unit,
    Work,
    job,
    of_groups,
    parts_in_memory,
    planned,
    task_results,
    what,
)
from ecjax.cell_file import Damaged
from ecjax.cell_keys import Hashes, fingerprint, keys_of, part_of, unit_key
from ecjax.cell_store import CellStore
from ecjax.cells import Rectangle
from ecjax.journal import Journal
from ecjax.outcome import TaskResult
from ecjax.peers import Alone, PeerLost
from ecjax.pieces import Piece
from ecjax.plan import make_plan
from ecjax.processes import Shard, share
from ecjax.progress import Silent
from ecjax.settings import Settings
from ecjax.sums import ClassSums, Part, RegressionSums, SampleSums

CELL_SECONDS = 60.0  # estimated, of a call, where cells are kept
OF_PREDICTIONS = ("predictions", "probabilities")  # of the sums' fields
LOOK_EVERY_S = 2.0  # at what other processes have kept
ALONE = Alone()
ATTEMPTS = 3  # to compute a cell that is damaged each time it is read


class _DamagingStore(WriteError):
    """What a store is given does not come back as it was."""


def _chunks(works: Iterable[Work]) -> list[Chunk]:
    return [(work, chunk) for work in works for chunk in work.plan.chunks]


class Runner:
    """Runs calls on the devices of a kind, with or without a store.

    Args:
      device: the first of them.
      progress: where progress goes.
      store: of cells; None: results are kept in memory.
      peers: the processes that share the calls, which takes a store.
    """

    def __init__(
        self,
        device: jax.Device,
        progress: Silent,
        store: CellStore | None = None,
        peers: Alone = ALONE,
    ):
        self.device, self._progress, self._store = device, progress, store
        self._devices = devices.like(device)
        self._peers, self._journal = peers, None
        if store is not None:
            told = store.place if peers.index == 0 or isinstance(peers, Shard) else None
            self._journal = Journal(told, progress, peers.count)
        self._hashes, self._planned, self._looked = Hashes(), False, -LOOK_EVERY_S

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """What interrupts the whole run, or fails its store, meanwhile is told with what is kept.

        Raises:
          Interrupted: the user has asked to end.
          PeerLost: another process is gone.
          WriteError: the system refused to write.
        """
        try:
            yield
        except (KeyboardInterrupt, WriteError, PeerLost) as error:
            if self._journal is None:
                raise
            self._journal.ended(error)
            if isinstance(error, (PeerLost, _DamagingStore)):
                raise
            left = f"{self._journal.kept()}; the same command goes on"
            if isinstance(error, WriteError):
                raise WriteError(f"{error}; {left}") from error
            raise Interrupted(left) from None

    def prepare(
        self,
        tasks: Sequence[AlignedTask],
        settings: Settings,
        setting: Mapping[str, Any] = MappingProxyType({}),
        route: str = "cheaper",
    ) -> Work:
        """Plans tasks under one setting; raises as `plan.make_plan`."""
        seconds = None if self._store is None else CELL_SECONDS
        plan = make_plan(tasks, settings, self.device, route, seconds)
        keys = {} if self._store is None else keys_of(plan, self._hashes)
        return Work(plan, keys, setting)

    def complete(self, works: Sequence[Work]) -> None:
        """Makes all calls that nobody has made yet, shared with the other processes of the run.

        Raises:
          Elsewhere: this shard's calls are made, those of others are not.
          KeyboardInterrupt: the user has asked to end; what was done is kept.
          PeerLost: another process is gone.
          WriteError: a cell could not be kept.
        """
        chunks = _chunks(works)
        self._agree(chunks)
        if self._store is not None and not self._planned:
            self._write_plan(works)
        own = share(chunks, self._peers)
        self._make(own, [one for i, one in enumerate(chunks) if not self._is_own(i)])
        self._meet("cells")
        self._check_all(chunks)

    def _agree(self, chunks: Sequence[Chunk]) -> None:
        """Ends processes that are to make other calls, before they wait for each other's."""
        if self._peers.count > 1:
            calls = [planned(*chunk) for chunk in chunks]
            parts = [[call["parts"], call["predictions"]] for call in calls]
            self._meet(f"cells {fingerprint(parts)}")

    def _make(
        self, own: Sequence[Chunk], others: Sequence[Chunk] = (), again: bool = False
    ) -> None:
        """Makes the calls of chunks that nobody has made yet, and looks how far those of other
        processes are.

        again: whether they had been made, so that those that are missing were lost since.
        """
        calls, elsewhere = self._missing(own), self._missing(others)
        weights = [call.work.plan.weight(call.pieces) for call in calls]
        if self._journal is not None and again:
            self._journal.lost(weights)
        elif self._journal is not None and (calls or elsewhere or self._journal.is_empty):
            further = [call.work.plan.weight(call.pieces) for call in elsewhere]
            done = len(own) + len(others) - len(calls) - len(elsewhere)
            self._journal.expect([*weights, *further], done)
        results = devices.study(self._jobs(calls), self._devices[: self._most(calls)])
        started = time.perf_counter()
        for number in range(1, len(calls) + 1):
            label = f"evaluate {number}/{len(calls)}" if len(calls) > 1 else "evaluate"
            seconds = calls[number - 1].seconds  # with several devices, of one like it
            found = self._progress.run(lambda: next(results, None), label, seconds)
            if found is None:  # no more were begun
                raise KeyboardInterrupt
            now, (position, sums) = time.perf_counter(), found
            self._keep(calls[position], sums, weights[position], now - started)
            started = now
            self._peers.check()
            elsewhere = self._look(elsewhere)
        if isinstance(self._peers, Shard):
            self._looked = -LOOK_EVERY_S
            self._look(elsewhere)
            return
        while elsewhere:
            time.sleep(LOOK_EVERY_S)
            self._peers.check()
            elsewhere = self._look(elsewhere)

    def _look(self, elsewhere: list[Call]) -> list[Call]:
        """Which calls of other processes are still to be made, now and then."""
        if not elsewhere or time.monotonic() - self._looked < LOOK_EVERY_S:
            return elsewhere
        self._store.refresh()
        self._looked = time.monotonic()
        made, left = [], []
        for call in elsewhere:
            missing = any(self._rest(call.work, piece) for piece in call.pieces)
            (left if missing else made).append(call)
        self._journal.finished_elsewhere([call.work.plan.weight(call.pieces) for call in made])
        return left

    def _is_own(self, position: int) -> bool:
        return position % self._peers.count == self._peers.index

    def _meet(self, name: str) -> None:
        """Waits for the other processes, and sees what they have kept."""
        if self._peers.count > 1:
            meet = functools.partial(self._peers.meet, name)
            self._progress.run(meet, "waiting for the other processes", None)
            self._store.refresh()

    def _check_all(self, chunks: Sequence[Chunk]) -> None:
        """Raises Elsewhere if a shard cannot go on for what others have not computed."""
        if isinstance(self._peers, Shard) and self._missing(chunks):
            raise Elsewhere

    def _jobs(self, calls: Sequence[Call]) -> Iterator[devices.Job]:
        """The calls' arguments, one after the other, until the user asks to end."""
        for call in calls:
            if self._progress.asked:
                return
            yield job(call)

    def _most(self, calls: Sequence[Call]) -> int:
        """How many devices can be at work at the same time."""
        if len(self._devices) == 1 or len(calls) < 2:
            return 1
        size = max(call.work.plan.work(call.pieces).bytes for call in calls)
        most = devices.at_once(self._devices, size, calls[0].work.plan.budget)
        return min(most, len(calls))

    def _write_plan(self, works: Sequence[Work]) -> None:
        """Writes which cells a run consists of, for `ecjax status`."""
        self._store.write_plan([planned(*chunk) for chunk in _chunks(works)])
        self._planned = True

    def tell(self, state: str) -> None:
        """Says in the journal, if there is one, how far the run is."""
        if self._journal is not None:
            self._journal.state(state)

    def results(self, work: Work, again: bool = True) -> list[TaskResult]:
        """What the calls of a setting gave, task by task.

        again: whether they are those that `complete` has made.
        """
        chunks = _chunks([work])
        for attempt in range(ATTEMPTS):
            self._check_all(chunks)
            self._make(chunks, again=again or attempt > 0)
            try:
                return list(task_results(work, self._parts(work)))
            except Damaged as damage:
                last = damage
        raise _DamagingStore(f"{self._store.place}: cells are damaged again and again ({last})")

    def each(
        self, requests: Sequence[Callable[[], tuple[Sequence[AlignedTask], Settings]]]
    ) -> Iterator[list[TaskResult]]:
        """Evaluates tasks under settings, made one after the other, as `complete` and `results`."""
        if self._peers.count > 1:
            for request in share(requests, self._peers):
                self._make(_chunks([self.prepare(*request())]))
            self._meet("further cells")
        for request in requests:
            yield self.results(self.prepare(*request()), again=False)

    def finish(self, units: Iterable[Unit]) -> Iterator[tuple[np.ndarray, ...]]:
        """What each of them computes, or has computed. Raises as `complete`."""
        if self._store is None:
            yield from (unit.work() for unit in units)
            return
        keyed = ((unit_key(u.name, u.static, u.arrays, self._hashes), u) for u in units)
        if self._peers.count > 1:
            keyed = list(keyed)
            for key, unit in share(keyed, self._peers):
                self._stored(key, unit)
            self._meet("further fits")
        for key, unit in keyed:
            if isinstance(self._peers, Shard) and not self._store.has_unit(key):
                raise Elsewhere
            yield self._stored(key, unit)

    def _stored(self, key: str, unit: Unit) -> tuple[np.ndarray, ...]:
        if self._store.has_unit(key):
            with contextlib.suppress(Damaged):  # then it is no longer there
                return self._store.load_unit(key)
        self._progress.check()
        found = unit.work()
        self._store.save_unit(key, found, {"what": unit.name})
        return found

    def call(self, function: Callable, label: str, seconds: float | None, *arguments) -> Any:
        """What a compiled function gives, as NumPy arrays; one that takes long."""

        def compute():
            with blas.one_thread(), jax.enable_x64(True), jax.default_device(self.device):
                return jax.device_get(function(*arguments))

        return self._progress.run(compute, label, seconds)

    def _missing(self, chunks: Iterable[Chunk]) -> list[Call]:
        """The calls of chunks that are still to be made."""
        if self._store is None:
            return [Call(*chunk) for chunk in chunks if not chunk[0].has(chunk[1])]
        calls = []
        for work, chunk in chunks:
            pieces = tuple(rest for piece in chunk for rest in self._rest(work, piece))
            calls += [Call(work, pieces)] if pieces else []
        return calls

    def _rest(self, work: Work, piece: Piece) -> list[Piece]:
        """What the store lacks of a piece."""
        groups: dict[Rectangle, list[int]] = {}
        for group in piece.groups:
            key = part_of(work.keys[piece.sample, group], work.plan, piece)
            _, _, missing = self._store.cover(key, work.plan.settings.predictions)
            for rectangle in missing:
                groups.setdefault(rectangle, []).append(group)
        return [
            Piece(
                piece.sample,
                tuple(piece.seeds[i] for i in seeds),
                tuple(piece.subsets[i] for i in subsets),
                tuple(lacking),
            )
            for (seeds, subsets), lacking in groups.items()
        ]

    def _keep(self, call: Call, found: Sequence[SampleSums], weight: float, seconds: float) -> None:
        if self._store is None:
            call.work.found.extend(zip(call.pieces, found, strict=True))
            return
        entries = []
        for piece, sums in zip(call.pieces, found, strict=True):
            for group, own in zip(piece.groups, of_groups(sums), strict=True):
                key = part_of(call.work.keys[piece.sample, group], call.work.plan, piece)
                arrays = {k: v for k, v in own._asdict().items() if v is not None}
                entries.append((key, call.work.plan.settings.predictions, arrays))
        about = what(call)
        file = self._store.save(entries, {"what": about})
        self._journal.finished(file, about, weight, seconds)

    def _parts(self, work: Work) -> dict[tuple[int, int], list[Part]]:
        """By sample and group, what the calls gave. Damaged where a cell is, or is missing."""
        if self._store is None:
            return parts_in_memory(work)
        predictions = work.plan.settings.predictions
        loaded: dict[str, list[dict[str, np.ndarray]]] = {}
        parts = {}
        for (i, group), key in work.keys.items():
            uses, entries, missing = self._store.cover(key, predictions)
            if missing:
                raise Damaged("some are missing")
            regression = work.plan.samples[i].groups[group][0].kind == "regression"
            kind = RegressionSums if regression else ClassSums
            parts[i, group] = []
            for use in uses:
                entry = entries[use.number]
                if entry.file not in loaded:
                    loaded[entry.file] = self._store.load(entry.file)
                arrays = dict.fromkeys(kind._fields) | loaded[entry.file][entry.place]
                if not predictions:
                    arrays |= {name: None for name in OF_PREDICTIONS if name in arrays}
                parts[i, group].append(Part(kind(**arrays), use.seeds, use.subsets))
        return parts


def compute(
    tasks: Sequence[AlignedTask],
    settings: Settings,
    device: jax.Device,
    progress: Silent,
    route: str = "cheaper",
) -> list[TaskResult]:
    """Evaluates tasks under one setting, in memory; one compiled call per memory chunk.

    Args:
      route: of ridge regression, as `plan.make_plan` takes it.
    """
    runner = Runner(device, progress)
    work = runner.prepare(tasks, settings, route=route)
    runner.complete([work])
    return runner.results(work)
