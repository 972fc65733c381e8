"""Runs a study's calls, or takes what they gave from the store, and makes results of it.

One call of `engine.study` is a cell. With a store, each is kept as soon as it is done, and nothing
that is kept is computed again; results are made from what is kept, whoever computed it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ecjax import blas, engine
from ecjax.align import AlignedTask
from ecjax.cell_file import Damaged
from ecjax.cell_keys import Hashes, keys_of, part_of, unit_key
from ecjax.cell_store import CellStore
from ecjax.cells import Key, Rectangle
from ecjax.outcome import TaskResult
from ecjax.pieces import Piece
from ecjax.plan import Plan, make_plan
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
      found: without one, what the calls gave.
    """

    plan: Plan
    keys: dict[tuple[int, int], Key]
    found: list[tuple[Piece, SampleSums]]


class Call(NamedTuple):
    """One call of `engine.study` that is still to be made."""

    work: Work
    pieces: tuple[Piece, ...]


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
    """Runs calls on a device, with or without a store.

    Args:
      device: to run on.
      progress: where progress goes.
      store: of cells; None: results are kept in memory.
    """

    def __init__(self, device: jax.Device, progress: Silent, store: CellStore | None = None):
        self.device, self._progress, self._store = device, progress, store
        self._hashes = Hashes()

    def prepare(
        self, tasks: Sequence[AlignedTask], settings: Settings, route: str = "cheaper"
    ) -> Work:
        """Plans tasks under one setting; raises as `plan.make_plan`."""
        seconds = None if self._store is None else CELL_SECONDS
        plan = make_plan(tasks, settings, self.device, route, seconds)
        return Work(plan, {} if self._store is None else keys_of(plan, self._hashes), [])

    def complete(self, works: Sequence[Work]) -> None:
        """Makes all calls that nobody has made yet."""
        calls = [call for work in works for call in self._missing(work)]
        for number, call in enumerate(calls, start=1):
            label = f"evaluate {number}/{len(calls)}" if len(calls) > 1 else "evaluate"
            self._keep(call, self._run(call, label))

    def results(self, work: Work) -> list[TaskResult]:
        """What the calls of a setting gave, task by task."""
        for _ in range(ATTEMPTS):
            self.complete([work])  # nothing to do, unless a cell was lost since
            try:
                return list(self._results(work))
            except Damaged as damage:
                last = damage
        raise OSError(f"cells are damaged again and again: {last}")

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
        found = unit.work()
        self._store.save_unit(key, found, {})
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

    def _run(self, call: Call, label: str) -> tuple[SampleSums, ...]:
        plan = call.work.plan
        programs, data = plan.arguments(call.pieces)
        fixed = plan.settings.ridge_lambda, plan.settings.logistic_c
        penalties = engine.Penalties(
            *(np.float64(np.nan if plan.settings.strict else values[0]) for values in fixed),
            np.float64(plan.settings.logistic_tolerance),
        )

        seconds = plan.work(call.pieces).seconds
        return self.call(engine.study, label, seconds, programs, data, penalties)

    def _keep(self, call: Call, found: Sequence[SampleSums]) -> None:
        if self._store is None:
            call.work.found.extend(zip(call.pieces, found, strict=True))
            return
        entries = []
        for piece, sums in zip(call.pieces, found, strict=True):
            for group, own in zip(piece.groups, _of_groups(sums), strict=True):
                key = part_of(call.work.keys[piece.sample, group], call.work.plan, piece)
                arrays = {k: v for k, v in own._asdict().items() if v is not None}
                entries.append((key, call.work.plan.settings.predictions, arrays))
        self._store.save(entries, {})

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
    work = runner.prepare(tasks, settings, route)
    runner.complete([work])
    return runner.results(work)
