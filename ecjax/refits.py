"""Fits that intervals of kinds `refit` and `nested` repeat, for tasks that are evaluated already.

Penalties stay as they were chosen on the original rows, or are chosen anew by what each replicate
drew (`--bootstrap_choices`). All is in float64, whatever the precision of the evaluation.

Axes: n rows, r seeds, k folds, b replicates, s subsets, t targets, l penalties of a grid.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ecjax import bootstrap, inner, kept, nested_cost, rechosen, splits
from ecjax.align import AlignedTask
from ecjax.compute import Runner, Unit
from ecjax.errors import InputError, quote
from ecjax.further import NestedSums, RefitSums
from ecjax.host_kept import KeptFits
from ecjax.nested_cost import Search
from ecjax.outcome import TaskResult
from ecjax.pieces import Piece, Sample, held_by, lattice_of
from ecjax.plan import Plan
from ecjax.settings import Settings
from ecjax.units import units_of

AT_ONCE = 16  # replicates of a call
LEAST_FOLDS = 3  # of `nested`: two are set aside, and others must be left to train on


def check(task: AlignedTask, settings: Settings) -> None:
    """Refuses, before anything is fitted, a task that the kind of interval is not for.

    Raises:
      InputError: a task of classes; for `nested` fewer than three folds, a fold of one unit, or a
        unit in several folds.
    """
    if not settings.repeats_fits:
        return
    where = f"task {quote(task.name)}: --interval={settings.interval}"
    if task.kind == "classification":
        raise InputError(
            f"{where} repeats ridge fits, and this task has classes; use --interval=ratio or "
            "bootstrap, or evaluate it in a study of its own"
        )
    if settings.interval == "nested":
        _check_folds(task, settings, where)


def _check_folds(task: AlignedTask, settings: Settings, where: str) -> None:
    folds = splits.folds_of(task, settings)
    other = "use --interval=ratio, bootstrap or refit"
    if folds.count < LEAST_FOLDS:
        raise InputError(f"{where} needs {LEAST_FOLDS} folds, and there are {folds.count}; {other}")
    units = units_of(task, settings)
    of_row = np.arange(folds.rows) if units.of_row is None else units.of_row
    for fold in folds.fold_of_row():
        pairs = np.unique(np.stack([fold, of_row]), axis=1)
        if len(np.unique(pairs[1])) < pairs.shape[1]:
            raise InputError(
                f"{where}: a {units.kind} has rows in several folds of --split={settings.split}, "
                f"so that folds are not independent; use a split by {units.kind}, or {other}"
            )
        sizes = np.bincount(pairs[0])
        if sizes.min() < 2:
            raise InputError(
                f"{where}: fold {sizes.argmin()} has one {units.kind}, and two are needed to see "
                f"how they differ; use fewer folds, or {other}"
            )


class Planned(NamedTuple):
    """What they will take for one sample.

    Attributes:
      operations, seconds: as `cost.Cost`.
      programs: of each call of `kept.fit` or `rechosen.choose`, what it is compiled for.
    """

    operations: float
    seconds: float
    programs: tuple[tuple, ...]


def planned(plan: Plan, number: int) -> Planned:
    """For the sample of this number of a plan."""
    sample, settings, folds = plan.samples[number], plan.settings, plan.folds[number]
    if not settings.repeats_fits:
        return Planned(0.0, 0.0, ())
    if settings.interval == "refit":
        sizes, seeds = _sizes(settings.bootstraps), settings.seeds
        fits = settings.bootstraps * seeds
    else:
        sizes, seeds = [folds.count, 1] * settings.seeds, 1
        fits = sum(sizes)
    lattice = lattice_of(sample, plan.subsets[number])
    shape = sample.rows, sample.regression_targets, folds.count
    on_host, held = plan.platform == "cpu", held_by(folds)
    costs = [nested_cost.kept_cost(on_host, lattice, *shape, fits, settings.strict, held)]
    same = lattice, *shape, folds.held_out.shape[2], folds.divided, seeds
    programs = [(*same, size) for size in sizes]
    if settings.redoes_choices:
        search = plan.search(Piece(number, (), ()), "regression")
        costs.append(nested_cost.rechosen_cost(on_host, lattice, *shape, fits, search, held))
        tasks = tuple(len(task.targets) for task in sample.regression)
        programs += [(*same, size, search, tasks, sample.order) for size in sizes]
    return Planned(*map(sum, zip(*costs, strict=True)), tuple(programs))


def _sizes(bootstraps: int) -> list[int]:
    """Replicates of each call."""
    chunks = [min(bootstrap.CHUNK, bootstraps - i) for i in range(0, bootstraps, bootstrap.CHUNK)]
    return [min(AT_ONCE, chunk - i) for chunk in chunks for i in range(0, chunk, AT_ONCE)]


def with_refits(
    results: Sequence[TaskResult], settings: Settings, runner: Runner
) -> list[TaskResult]:
    """The results of one setting with what further fits give for their intervals."""
    sums_of = _refit if settings.interval == "refit" else _nested
    found: dict[int, TaskResult] = {}
    for group in _groups(results):
        sums = sums_of(_Fits(group, settings, runner))
        start = 0
        for result in group:
            stop = start + len(result.targets)
            own = sums.of_targets(range(start, stop))
            found[id(result)] = dataclasses.replace(result, further=own)
            start = stop
    return [found[id(result)] for result in results]


def _groups(results: Sequence[TaskResult]) -> list[list[TaskResult]]:
    """Those that were evaluated together and have the same units."""
    groups: dict[tuple, list[TaskResult]] = {}
    for result in results:
        of_row = result.unit.of_row
        key = id(result.sums), None if of_row is None else of_row.tobytes()
        groups.setdefault(key, []).append(result)
    return list(groups.values())


class _Fits:
    """The fits of some tasks on the same rows, as they were and with other weights of rows."""

    def __init__(self, group: Sequence[TaskResult], settings: Settings, runner: Runner):
        first = group[0]
        tasks = tuple(result.task for result in group)
        sample = Sample(tuple(first.task.embeddings), tasks, ())
        self.first, self.settings, self.runner = first, settings, runner
        self.folds, self.lattice = first.folds, lattice_of(sample, first.subsets)
        self.blocks = tuple(sample.blocks[i] for i in sample.order)
        self.y = np.concatenate([task.y for task in tasks], axis=1)
        self.columns = [column for result in group for column in result.targets]
        self.grid, self.places = self._penalties(sample.order)
        stops = np.cumsum([0, *(len(task.targets) for task in tasks)]).tolist()
        self.tasks = tuple(itertools.pairwise(stops))
        self.bands = sample.order if first.banded else ()

    def _penalties(self, order: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """(r, k, l) grid, and (r, k, s, t, b) where on it the penalties stand."""
        first, (r, k) = self.first, self.folds.sizes.shape
        if first.grid is None:
            grid = np.full((r, k, 1), float(self.settings.ridge_lambda[0]))
            shape = r, k, len(first.subsets), len(self.columns), 1
            return grid, np.zeros(shape, np.int32)
        chosen = np.moveaxis(first.sums.chosen[..., self.columns, :], 1, 2)
        if first.banded:
            chosen = chosen[..., list(order)]
        same = chosen[..., None] == first.grid[:, :, None, None, None]
        places = np.where(same.any(-1), same.argmax(-1), -1)
        return first.grid, places.astype(np.int32)

    @property
    def _at_once(self) -> int:
        """Folds side by side; as `plan.make_plan` says, for there may be hundreds."""
        if self.runner.device.platform == "cpu":
            return 1
        return min(self.folds.count, self.settings.folds or Settings.folds)

    @functools.cached_property
    def _inner(self) -> tuple[np.ndarray, tuple[tuple[int, ...], ...], Search]:
        """Rows and groups as `rechosen.choose` takes them, and what it costs by."""
        folds, settings, banded = self.folds, self.settings, len(self.tasks) if self.bands else 0
        count = inner.group_count(folds.count, settings.inner_folds, "regression")
        given = settings.ridge_lambda, settings.inner_folds, settings.seed_list()
        rows = inner.choices("regression", folds, *given).rows
        if rows is not None:
            return rows, (), Search(count, self.grid.shape[2], rows.shape[3], banded)
        groups = map(tuple, inner.groups_of_folds(folds.count, count).tolist())
        return folds.held_out, tuple(groups), Search(count, self.grid.shape[2], 0, banded)

    def choose(self, weights: np.ndarray, label: str) -> np.ndarray:
        """(c, r, k, s, t, b) where the penalties stand that rows with weights (c, n) choose."""
        on_host, folds = self.runner.device.platform == "cpu", self.folds
        rows, groups, search = self._inner
        how = rechosen.How(self.lattice, groups, self.tasks, self.bands, on_host, self._at_once)
        arrays = self.blocks, self.y, weights, rows, self.grid, self.places[None]
        shape = *self.y.shape, folds.count, len(weights) * len(rows), search, held_by(folds)
        cost = nested_cost.rechosen_cost(on_host, self.lattice, *shape)
        return self._call(rechosen.choose, how, arrays, label, cost.seconds)

    def fit(
        self,
        weights: np.ndarray,
        label: str,
        seeds: slice,
        grid: np.ndarray,
        places: np.ndarray,
        row_error: bool = False,
    ) -> KeptFits:
        """Fits with weights (c, n) of rows; other arguments as for `kept.fit`."""
        on_host = self.runner.device.platform == "cpu"
        strict = self.first.grid is not None
        static = self.folds.divided, strict, row_error, on_host, self._at_once
        how = kept.How(self.lattice, *static)
        folds = self.folds.tested[seeds], self.folds.held_out[seeds]
        given = self.blocks, self.y, weights, *folds, grid, places
        shape = *self.y.shape, self.folds.count, len(weights) * len(folds[0])
        cost = nested_cost.kept_cost(on_host, self.lattice, *shape, strict, held_by(self.folds))
        return self._call(kept.fit, how, given, label, cost.seconds)

    def _call(self, function: Callable, how, arrays: tuple, label: str, seconds: float):
        """What a compiled function gives; its seconds are known on a CPU alone."""
        known = seconds if self.runner.device.platform == "cpu" else None
        return self.runner.call(function, label, known, how, *arrays)

    def unit(self, name: str, work: Callable[[], tuple[np.ndarray, ...]], *arrays) -> Unit:
        """Some of them as a unit that is kept.

        Args:
          arrays: that it is given beside those of all.
        """
        rows, groups, _ = self._inner if self.settings.redoes_choices else (self.grid, (), None)
        static = (
            self.lattice, self.folds.divided, self.first.grid is not None, self.tasks, self.bands,
            self.settings.bootstrap_choices, groups,
        )  # fmt: skip
        own = self.y, self.folds.tested, self.folds.held_out, self.grid, self.places, rows
        return Unit(name, static, (*self.blocks, *own, *arrays), work)


def _refit(fits: _Fits) -> RefitSums:
    """Draws the units again and again, and fits to what was drawn."""
    first, settings = fits.first, fits.settings
    targets = fits.y[first.scored]
    scale = np.where(targets.std(0) > 0, fits.y.std(0), 1)
    scaled = (targets - fits.y.mean(0)) / scale
    drawn, redo = list(_drawn(first, settings)), settings.redoes_choices

    def squared_error(number: int, weights: np.ndarray) -> tuple[np.ndarray]:
        label = f"refit {number}/{len(drawn)}"
        places = fits.choose(weights, f"{label}, choices") if redo else fits.places[None]
        return (fits.fit(weights, label, slice(None), fits.grid[None], places).squared_error,)

    units = (
        fits.unit("refit", functools.partial(squared_error, number, weights), weights)
        for number, weights in enumerate(drawn, start=1)
    )
    errors = [error for (error,) in fits.runner.finish(units)]
    spreads, rows = [], []
    for weights in drawn:
        scored = weights[:, first.scored]
        count = scored.sum(1)
        rows.append(count)
        with np.errstate(divide="ignore", invalid="ignore"):
            about = (scored @ scaled) ** 2 / count[:, None]
        spreads.append(scored @ scaled**2 - about)
    return RefitSums(*map(np.concatenate, (errors, spreads, rows)))


def _drawn(result: TaskResult, settings: Settings) -> Iterator[np.ndarray]:
    """(c, n) how often each row was drawn, of some replicates after the others."""
    units, left = result.unit, settings.bootstraps
    for chunk in range(-(-left // bootstrap.CHUNK)):
        counts = bootstrap.counts(units.count, chunk, result.seeds[0])[:left].astype(float)
        counts = counts if units.of_row is None else counts[:, units.of_row]
        left -= len(counts)
        for start in range(0, len(counts), AT_ONCE):
            yield counts[start : start + AT_ONCE]


def _nested(fits: _Fits) -> NestedSums:
    """Sets every fold aside, and cross-validates the others among themselves."""
    folds = fits.folds
    (r, k), n = folds.sizes.shape, folds.rows
    inside = np.ones((r, k, n + 1), bool)
    seed, fold = np.arange(r)[:, None, None], np.arange(k)[:, None]
    inside[seed, fold, folds.held_out] = False
    inside = inside[..., :n]

    def losses(i: int) -> tuple[np.ndarray, np.ndarray]:
        own, label = slice(i, i + 1), f"nested {i + 1}/{r}"
        # Whichever fold is tested, the penalty is that of the fold that was set aside first.
        kept_ones = (np.repeat(a[i][:, None, None], k, axis=2) for a in (fits.grid, fits.places))
        inner = fits.fit(inside[i].astype(float), label, own, *kept_ones).squared_error[:, 0]
        usual = np.ones((1, n)), label, own, fits.grid[None, own], fits.places[None, own]
        return inner, fits.fit(*usual, row_error=True).row_error[0, 0]

    units = (fits.unit(f"nested {i}", functools.partial(losses, i)) for i in range(r))
    inner, outer = zip(*fits.runner.finish(units), strict=True)
    return NestedSums(np.array(inner), inside, np.array(outer))
