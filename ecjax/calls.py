"""Calls of `engine.study`: what they are of, what they are given, and what they give."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ecjax import devices
from ecjax.cell_keys import part_of
from ecjax.cells import Key
from ecjax.errors import counted, neutral
from ecjax.outcome import TaskResult
from ecjax.pieces import Piece
from ecjax.plan import Plan
from ecjax.program import Penalties
from ecjax.sums import ClassSums, Part, RegressionSums, SampleSums, join
from ecjax.units import units_of


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

    def has(self, chunk: tuple[Piece, ...]) -> bool:
        """Whether the call of a chunk is among those found."""
        return any(piece == chunk[0] for piece, _ in self.found)


Chunk = tuple[Work, tuple[Piece, ...]]


class Call(NamedTuple):
    """One call of `engine.study` that is still to be made."""

    work: Work
    pieces: tuple[Piece, ...]

    @property
    def seconds(self) -> float | None:
        """Estimated; None where no rate is known."""
        return self.work.plan.work(self.pieces).seconds


class Elsewhere(Exception):
    """A shard has done its part, and other shards have not done theirs."""


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


def job(call: Call) -> devices.Job:
    """The arguments of `engine.study`."""
    plan = call.work.plan
    fixed = plan.settings.ridge_lambda, plan.settings.logistic_c
    penalties = Penalties(
        *(np.float64(np.nan if plan.settings.strict else values[0]) for values in fixed),
        np.float64(plan.settings.logistic_tolerance),
    )
    return devices.Job(*plan.arguments(call.pieces), penalties)


def what(call: Call) -> str:
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


def of_groups(sums: SampleSums) -> list[RegressionSums | ClassSums]:
    """By the groups of the tasks that they are of."""
    return [*([] if sums.regression is None else [sums.regression]), *sums.classification]


def planned(work: Work, chunk: tuple[Piece, ...]) -> dict[str, Any]:
    """What `cells/plan.json` says of a call."""
    return {
        "what": what(Call(work, chunk)),
        "seconds": work.plan.weight(chunk),
        "predictions": work.plan.settings.predictions,
        "parts": [
            part_of(work.keys[piece.sample, group], work.plan, piece)
            for piece in chunk
            for group in piece.groups
        ],
    }


def parts_in_memory(work: Work) -> dict[tuple[int, int], list[Part]]:
    """By sample and group, of what the calls gave where there is no store."""
    parts: dict[tuple[int, int], list[Part]] = {}
    for piece, sums in work.found:
        place = {subset: i for i, subset in enumerate(work.plan.subsets[piece.sample])}
        subsets = [place[subset] for subset in piece.subsets]
        for group, own in zip(piece.groups, of_groups(sums), strict=True):
            parts.setdefault((piece.sample, group), []).append(Part(own, piece.seeds, subsets))
    return parts


def task_results(
    work: Work, parts: Mapping[tuple[int, int], Sequence[Part]]
) -> Iterator[TaskResult]:
    """Task by task, from the parts of each sample and group."""
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
