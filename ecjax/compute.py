"""Runs a study's calls, or takes what they gave from the store, and makes results of it.

One call of `engine.study` is a cell. With a store, each is kept as soon as it is done, and nothing
that is kept is computed again; results are made from what is kept, whoever computed it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from ecjax import blas, devices
from ecjax.align import AlignedTask
from ecjax.atomic import WriteError
from ecjax.cell_file import Damaged
from ecjax.cell_keys import Hashes, keys_of, part_of, unit_key
from ecjax.cell_store import CellStore
from ecjax.cells import Key, Rectangle
from ecjax.errors import counted, neutral
from ecjax.journal import Journal
from ecjax.outcome import TaskResult
from ecjax.pieces import Piece
from ecjax.plan import Plan, make_plan
from ecjax.program import Penalties
from ecjax.progress import Silent
from ecjax.settings import Settings
from ecjax.sums import ClassSums, Part, RegressionSums, SampleSums, join
from ecjax.units import units_of

CELL_SECONDS = 60.0  # estimated, of a call, where cells are kept
OF_PREDICTIONS = ("predictions", "probabilities")  # of the sums' fields
ATTEMPTS = 3  # to compute a cell that is damaged each time it is read


@dataclasses.dataclass(frozen=True)
class Work:
    """What one setting takes of some tasks.

    Attributes:
      plan: of its calls.
      keys: with a store, of each sample and group of tasks; else empty.
      setting: values of the swept keys.
      found: without a store, what the calls gave.
    """

    plan: Plan
    keys: dict[tuple[int, int], Key]
    setting: Mapping[str, Any]
    found: list[tuple[Piece, SampleSums]] = dataclasses.field(default_factory=list)


class Call(NamedTuple):
    """One call of `engine.study` that is still to be made."""

    work: Work
    pieces: tuple[Piece, ...]

    @property
    def seconds(self) -> float | None:
        """Estimated; None where no rate is known."""
        return self.work.plan.work(self.pieces).seconds


class Interrupted(KeyboardInterrupt):
    """The user has ended the run; the message says what is done."""


class Unit(NamedTuple):
    """A computation beside them, whose arrays are kept likewise.

    Attributes:
      name: of what is computed.
      static: what it goes by beside arrays, as values whose `repr` tells all of them.
      arrays: that it is given.
      work: computes, by `Runner.call`.
    """

    name: str
    static: tuple
    arrays: tuple[np.ndarray, ...]
    work: Callable[[], tuple[np.ndarray, ...]]


class Runner:
    """Runs calls on the devices of a kind, with or without a store.

    Args:
      device: the first of them.
      progress: where progress goes.
      store: of cells; None: results are kept in memory.
    """

    def __init__(self, device: jax.Device, progress: Silent, store: CellStore | None = None):
        self.device, self._progress, self._store = device, progress, store
        self._devices = devices.like(device)
        self._journal = None if store is None else Journal(store.place, progress)
        self._hashes, self._planned = Hashes(), False

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
        """Makes all calls that nobody has made yet.

        Raises:
          Interrupted: the user has asked to end; what was done is kept.
          WriteError: a cell could not be kept.
        """
        if self._store is not None and not self._planned:
            self._write_plan(works)
        calls = [call for work in works for call in self._missing(work)]
        weights = [call.work.plan.weight(call.pieces) for call in calls]
        if self._journal is not None and calls:
            chunks = sum(len(work.plan.chunks) for work in works)
            self._journal.expect(weights, chunks - len(calls))
        results = devices.study(self._jobs(calls), self._devices[: self._most(calls)])
        started = time.perf_counter()
        for number in range(1, len(calls) + 1):
            label = f"evaluate {number}/{len(calls)}" if len(calls) > 1 else "evaluate"
            seconds = calls[number - 1].seconds  # with several devices, of one like it
            with self._told():
                found = self._progress.run(lambda: next(results, None), label, seconds)
                if found is None:  # no more were begun
                    raise KeyboardInterrupt
                now, (position, sums) = time.perf_counter(), found
                self._keep(calls[position], sums, weights[position], now - started)
                started = now

    def _jobs(self, calls: Sequence[Call]) -> Iterator[devices.Job]:
        """The calls' arguments, one after the other, until the user asks to end."""
        for call in calls:
            if self._progress.asked:
                return
            yield _job(call)

    def _most(self, calls: Sequence[Call]) -> int:
        """How many devices can be at work at the same time."""
        if len(self._devices) == 1 or len(calls) < 2:
            return 1
        size = max(call.work.plan.work(call.pieces).bytes for call in calls)
        most = devices.at_once(self._devices, size, calls[0].work.plan.budget)
        return min(most, len(calls))

    def _write_plan(self, works: Sequence[Work]) -> None:
        """Writes which cells a run consists of, for `ecjax status`."""
        planned = [
            {
                "what": _what(Call(work, chunk)),
                "seconds": work.plan.weight(chunk),
                "predictions": work.plan.settings.predictions,
                "parts": [
                    part_of(work.keys[piece.sample, group], work.plan, piece)
                    for piece in chunk
                    for group in piece.groups
                ],
            }
            for work in works
            for chunk in work.plan.chunks
        ]
        self._store.write_plan(planned)
        self._planned = True

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Says how far the run was when it is interrupted, or its store fails, meanwhile."""
        try:
            yield
        except (KeyboardInterrupt, WriteError) as error:
            if self._journal is None:
                raise
            left = f"{self._journal.in_words()} and kept; the same command goes on"
            with contextlib.suppress(WriteError):
                self._journal.state("interrupted")
            if isinstance(error, WriteError):
                raise WriteError(f"{error}; {left}") from error
            raise Interrupted(left) from None

    def tell(self, state: str) -> None:
        """Says in the journal, if there is one, how far the run is."""
        if self._journal is not None:
            self._journal.state(state)

    def results(self, work: Work) -> list[TaskResult]:
        """What the calls of a setting gave, task by task."""
        for _ in range(ATTEMPTS):
            self.complete([work])  # nothing to do, unless a cell was lost since
            try:
                return list(self._results(work))
            except Damaged as damage:
                last = damage
        raise WriteError(f"{self._store.place}: cells are damaged again and again ({last})")

    def finish(self, units: Iterable[Unit]) -> Iterator[tuple[np.ndarray, ...]]:
        """What each of them computes, or has computed."""
        for unit in units:
            if self._store is None:
                yield unit.work()
                continue
            key = unit_key(unit.name, unit.static, unit.arrays, self._hashes)
            yield self._stored(key, unit)

    def _stored(self, key: str, unit: Unit) -> tuple[np.ndarray, ...]:
        if self._store.has_unit(key):
            with contextlib.suppress(Damaged):  # then it is no longer there
                return self._store.load_unit(key)
        with self._told():
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

    def _missing(self, work: Work) -> Iterator[Call]:
        if self._store is None:
            yield from (Call(work, chunk) for chunk in work.plan.chunks if not work.found)
            return
        for chunk in work.plan.chunks:
            pieces = tuple(rest for piece in chunk for rest in self._rest(work, piece))
            if pieces:
                yield Call(work, pieces)

    def _rest(self, work: Work, piece: Piece) -> Iterator[Piece]:
        """What the store lacks of a piece."""
        groups: dict[Rectangle, list[int]] = {}
        for group in piece.groups:
            key = part_of(work.keys[piece.sample, group], work.plan, piece)
            _, _, missing = self._store.cover(key, work.plan.settings.predictions)
            for rectangle in missing:
                groups.setdefault(rectangle, []).append(group)
        for (seeds, subsets), lacking in groups.items():
            yield Piece(
                piece.sample,
                tuple(piece.seeds[i] for i in seeds),
                tuple(piece.subsets[i] for i in subsets),
                tuple(lacking),
            )

    def _keep(self, call: Call, found: Sequence[SampleSums], weight: float, seconds: float) -> None:
        if self._store is None:
            call.work.found.extend(zip(call.pieces, found, strict=True))
            return
        entries = []
        for piece, sums in zip(call.pieces, found, strict=True):
            for group, own in zip(piece.groups, _of_groups(sums), strict=True):
                key = part_of(call.work.keys[piece.sample, group], call.work.plan, piece)
                arrays = {k: v for k, v in own._asdict().items() if v is not None}
                entries.append((key, call.work.plan.settings.predictions, arrays))
        what = _what(call)
        file = self._store.save(entries, {"what": what})
        self._journal.finished(file, what, weight, seconds)

    def _results(self, work: Work) -> Iterator[TaskResult]:
        parts = self._parts_in_memory(work) if self._store is None else self._parts_stored(work)
        plan, settings = work.plan, work.plan.settings
        for i, sample in enumerate(plan.samples):
            grids = {kind: choice.grid for kind, choice in plan.choices[i].items()}
            for group, tasks in enumerate(sample.groups):
                sums = join(parts[i, group], settings.seeds, len(plan.subsets[i]))
                for task in tasks:
                    yield TaskResult(
                        task=task,
                        subsets=plan.subsets[i],
                        seeds=settings.seed_list(),
                        folds=plan.folds[i],
                        targets=sample.columns(task),
                        sums=sums,
                        tolerance=None if settings.probe else settings.logistic_tolerance,
                        confidence=settings.confidence,
                        unit=units_of(task, settings),
                        bootstraps=0 if settings.repeats_fits else settings.bootstraps,
                        setting={},
                        grid=grids.get(task.kind),
                        banded=settings.penalty == "banded",
                    )

    def _parts_in_memory(self, work: Work) -> dict[tuple[int, int], list[Part]]:
        parts: dict[tuple[int, int], list[Part]] = {}
        for piece, sums in work.found:
            place = {subset: i for i, subset in enumerate(work.plan.subsets[piece.sample])}
            subsets = [place[subset] for subset in piece.subsets]
            for group, own in zip(piece.groups, _of_groups(sums), strict=True):
                parts.setdefault((piece.sample, group), []).append(Part(own, piece.seeds, subsets))
        return parts

    def _parts_stored(self, work: Work) -> dict[tuple[int, int], list[Part]]:
        """Raises Damaged where a cell is, or one is missing."""
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


def _job(call: Call) -> devices.Job:
    """The arguments of `engine.study`."""
    plan = call.work.plan
    fixed = plan.settings.ridge_lambda, plan.settings.logistic_c
    penalties = Penalties(
        *(np.float64(np.nan if plan.settings.strict else values[0]) for values in fixed),
        np.float64(plan.settings.logistic_tolerance),
    )
    return devices.Job(*plan.arguments(call.pieces), penalties)


def _what(call: Call) -> str:
    """What a call is of, in words."""
    settings = call.work.plan.settings
    sets = len({subset for piece in call.pieces for subset in piece.subsets})
    samples = map(call.work.plan.sample_of, call.pieces)
    tasks = dict.fromkeys(task.name for sample in samples for task in sample.tasks)
    seeds = [settings.seed + seed for piece in call.pieces for seed in piece.seeds]
    swept = ", ".join(f"{key}={value}" for key, value in call.work.setting.items())
    of = f"{neutral('+'.join(tasks))}, {counted(sets, 'set')}, {_span(seeds)}"
    return f"{of}, {swept}" if swept else of


def _span(seeds: Sequence[int]) -> str:
    first, last = min(seeds), max(seeds)
    return f"seed {first}" if first == last else f"seeds {first} to {last}"


def _of_groups(sums: SampleSums) -> list[RegressionSums | ClassSums]:
    """By the groups of the tasks that they are of."""
    return [*([] if sums.regression is None else [sums.regression]), *sums.classification]


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
