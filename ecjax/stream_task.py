"""One task whose rows are streamed, under all settings of a run.

The first pass adds up the moments of every fold's rows; all fits come from these. In the second the
rows pass the fits that have not seen them: what each row loses is what intervals are made of, and
predictions. Without it squared errors come from the moments.

Axes: n rows of the task's table, m rows of a batch, p columns, t targets, r seeds, k folds, s
subsets.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from ecjax import fingerprints, inner, subsets
from ecjax.align import AlignedTask, check_rows
from ecjax.errors import InputError, quote
from ecjax.folds import NOWHERE, as_folds
from ecjax.memory import FLOAT, size_text
from ecjax.notes import TASK_TABLE, Note
from ecjax.pieces import Sample, lattice_of
from ecjax.plan import check_training
from ecjax.settings import Settings
from ecjax.splits import check_none_empty, dealing_of, fold_notes
from ecjax.stream_cost import BATCH_SHARE, COPIES, MOST_ROWS
from ecjax.stream_dealt import Dealt
from ecjax.stream_fits import HeldOutRows, MomentFits, Table, fit, table_of
from ecjax.stream_moments import Gathered, Peers, of_all
from ecjax.stream_outcome import SecondPass, StreamedRegression, Sums, sums_of
from ecjax.stream_read import Batch, Joined
from ecjax.stream_result import StreamedFolds, StreamedResult, predictions_of
from ecjax.units import unit_notes, units_of

MOMENT_SHARE = 1 / 2  # of the budget, for moments and weights
# Squared errors from moments are right to so much, divided by 1 − R², of themselves.
EXACTNESS = 5e-16
TEN_DIGITS = 1e-10
NOT_MADE = (
    "streamed: no maps, strata, point-wise indices or correlation of residuals are made, and near "
    "or identical rows, columns constant in a fold and what merely may be a leak are not looked for"
)
PASSED_ONCE = "whose errors have fewer than ten digits, because the rows passed only once"
ROLES = {"block": ("lat", "lon"), "group": ("group",), "row": ()}  # of units

# Takes rows of the table of predictions, batch by batch.
Predictions = Callable[[pd.DataFrame], None]


class How(NamedTuple):
    """How rows are streamed.

    Attributes:
      budget: bytes of memory.
      device: that moments and losses are computed on; None: the host's BLAS.
      peers: processes that share the rows.
      predictions: takes them; None: nobody asked.
      second_pass: whether the rows pass again.
      seen: told a task's name and the fingerprints of its rows before anything is fitted to them.
      progress: told, batch by batch, what is done, how many rows of the process have passed, and
        how many there are.
    """

    budget: float
    device: jax.Device | None
    peers: Peers
    predictions: Predictions | None
    second_pass: bool
    seen: Callable[[str, dict[str, str]], None]
    progress: Callable[[str, int, int], None]


class _First(NamedTuple):
    """What the first pass found under one dealing of the rows.

    Attributes:
      task: the rows used, with their ids, without targets and vectors.
      folds: of them.
      fold_of_row: (r, n) of all rows of the task's table, NOWHERE for those that none scores.
      table: moments of the folds.
    """

    task: AlignedTask
    folds: StreamedFolds
    fold_of_row: np.ndarray
    table: Table


class StreamedTask:
    """One task's tables, and what is known of them.

    Attributes:
      digests: fingerprints of the rows used, as of tables in memory; known after the first pass.
      seconds: spent so far on the first passes, the fits and the second passes.
    """

    def __init__(self, joined: Joined, settings: Settings, how: How, directory: Path):
        """Prepares the passes.

        Args:
          settings: the first of the run's.
          directory: empty, for rows that must be put in order.

        Raises:
          InputError: the task lacks what splits or units are made from.
        """
        self.joined, self.how, self.split = joined, how, settings.split
        self.digests: dict[str, str] = {}
        widths = joined.widths
        self.wanted = subsets.requested(list(widths), settings.subsets, settings.max_subset_size)
        split = ("split",) if settings.split == "column" else ()
        self.known = joined.labels((*ROLES[settings.unit], *split))
        self.unit = units_of(self.known, settings)
        self.unit_of_row = None
        if self.unit.of_row is not None:
            self.unit_of_row = np.full(len(joined.ids), -1, np.int32)
            self.unit_of_row[joined.known] = self.unit.of_row
        sample = Sample(tuple(widths), (self.known,), ())
        self.order, self.lattice = sample.order, lattice_of(sample, self.wanted)
        self.p, self.t = self.lattice.starts[-1], len(joined.source.target)
        most = self._rows_at_once(settings)
        part = how.peers.index, how.peers.count
        joined.arrange(directory, most, BATCH_SHARE * how.budget, part)
        self._kept: tuple[tuple, _First] | None = None
        self.seconds = {"first_pass": 0.0, "fits": 0.0, "second_pass": 0.0}

    def result(self, setting: Mapping[str, Any], settings: Settings) -> StreamedRegression:
        """Of one setting.

        Args:
          setting: values of the swept keys.
        """
        key = settings.folds, settings.seed_list()
        if self._kept is None or self._kept[0] != key:
            self._kept = None  # it makes room for the next
            with self._timed("first_pass"):
                self._kept = key, self._first_pass(settings)
        first = self._kept[1]
        grid = _grid(settings, first.folds)
        bands = self.order if settings.penalty == "banded" else ()
        groups, k = None, first.folds.count
        if settings.strict and first.table.dealt is None:
            groups = inner.groups_of_folds(k, self._groups(settings, k))
        with self._timed("fits"):
            found = fit(first.table, grid, groups, ((0, self.t),), self.lattice, bands)
        left = Sums(found.squared_error, found.empty_error)
        sums, empty = sums_of(first.table, found, left, bands)
        result = self._shell(first.task, first.folds, setting, settings)
        result = dataclasses.replace(result, sums=sums, of_empty=empty)
        if self.how.second_pass:
            with self._timed("second_pass"):
                result = self._with_rows(result, first, found, bands)
        return result

    def read(self) -> None:
        """Has the rows pass once, if they have not yet, to know which they are."""
        if self.joined.notes is None:
            with self._timed("first_pass"):
                for _ in self._batches("reads"):
                    pass
                self._agree()

    def restored(
        self, sizes: np.ndarray, setting: Mapping[str, Any], settings: Settings
    ) -> StreamedResult:
        """As `result`, without what fits gave; after `read`.

        Args:
          sizes: (r, k) rows that each fold scores.
        """
        task, folds = self._folds(self._dealt(settings), sizes, settings)
        return self._shell(task, folds, setting, settings)

    def _shell(
        self, task: AlignedTask, folds: StreamedFolds, setting: Mapping[str, Any], settings
    ) -> StreamedRegression:
        """A result without sums."""
        return StreamedRegression(
            task=task,
            subsets=self.wanted,
            seeds=settings.seed_list(),
            folds=folds,
            targets=tuple(range(self.t)),
            sums=None,
            tolerance=None,
            confidence=settings.confidence,
            unit=self.unit._replace(of_row=None),
            bootstraps=0,
            setting=setting,
            grid=_grid(settings, folds) if settings.strict else None,
            banded=settings.penalty == "banded",
        )

    @contextlib.contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[what] += time.perf_counter() - started

    def _with_rows(
        self, result: StreamedRegression, first: _First, found: MomentFits, bands
    ) -> StreamedRegression:
        """The result when the rows have passed again.

        Which single is the best for a fold is told by all errors, and so before the pass. Should
        two be so alike that the errors of the rows say otherwise, there is one pass more.
        """
        rows = HeldOutRows(first.table, found, self.how.device)
        predictions = self.how.predictions
        while True:
            groups = result.groups()
            units = None if self.unit_of_row is None else self.unit.count
            second = SecondPass(first.table, found, groups, units)
            for batch, left, fold in self._passing(first, rows, predictions is not None):
                unit = None if self.unit_of_row is None else self.unit_of_row[batch.rows]
                second.add(left, batch.y, fold, unit)
                if predictions is not None:
                    values = rows.predictions(left, batch.y)
                    predictions(predictions_of(result, batch, fold, predictions=values))
            predictions = None
            second.add_up(self.how.peers)
            sums, empty = sums_of(first.table, found, second.sums, bands)
            result = dataclasses.replace(
                result, sums=sums, of_empty=empty, of_rows=second.moments()
            )
            after = result.groups()
            if all(np.array_equal(groups[targets], after[targets]) for targets in groups):
                return result

    def _passing(self, first: _First, rows: HeldOutRows, residuals: bool):
        """Batches of rows that are scored, what fits leave on them, and their folds (r, m)."""
        k = first.folds.count
        for batch in self._batches("second pass"):
            fold = first.fold_of_row[:, batch.rows].astype(int)
            scored = fold[0] != NOWHERE  # the same for every seed
            if not scored.any():
                continue
            if not scored.all():
                batch, fold = batch.at(scored), fold[:, scored]
            cells = fold + k * np.arange(len(fold))[:, None]
            yield batch, rows.left(self._blocks(batch), batch.y, cells, residuals), fold

    def _first_pass(self, settings: Settings) -> _First:
        """Moments of each fold, and of inner groups where rows are dealt to them."""
        dealt = self._dealt(settings)
        gathered = self._gathered(dealt.cells * len(dealt.fold_of_row))
        for batch in self._batches("first pass"):
            gathered.add(self._blocks(batch), batch.y, dealt.cells_of(batch.rows))
        if self.joined.notes is None:
            self._agree()
        moments = of_all(gathered.moments(), self.how.peers)
        task, folds = self._folds(dealt, dealt.scored(moments.count), settings)
        shape = len(dealt.fold_of_row), folds.count, dealt.groups
        return _First(task, folds, dealt.fold_of_row, table_of(moments, *shape))

    def _dealt(self, settings: Settings) -> Dealt:
        """To which folds, and groups in them, the rows are dealt.

        Which groups these are rests on all rows that are used: then there is a pass more to know
        them.
        """
        joined = self.joined
        dealing = dealing_of(self.known, settings)
        seeds, k = settings.seed_list(), dealing.folds
        fold_of_row = np.full((len(seeds), len(joined.ids)), NOWHERE, np.int32)
        fold_of_row[:, joined.known] = [dealing.deal(seed) for seed in seeds]
        parts = k + bool((fold_of_row[:, joined.known] == NOWHERE).any())
        groups, group_of_row = 1, None
        if settings.strict and (k < inner.LEAST_FOLDS or parts > k):
            self.read()
            groups = self._groups(settings, k)
            group_of_row = self._group_of_row(fold_of_row, k, groups, seeds)
        return Dealt(fold_of_row, group_of_row, k, parts, groups, dealing.names)

    def _folds(
        self, dealt: Dealt, counts: np.ndarray, settings: Settings
    ) -> tuple[AlignedTask, StreamedFolds]:
        """The rows used, without targets and vectors, and their folds of so many rows (r, k)."""
        joined, k = self.joined, dealt.folds
        nothing = dict.fromkeys(("lat", "lon", "group", "split"))
        task = dataclasses.replace(self.known, ids=joined.ids[joined.keep], **nothing)
        if settings.split == "hash":
            check_rows(task, k)
        check_none_empty(task, counts, settings)
        fingerprint = fingerprints.of_folds(task.ids, dealt.fold_of_row[0, joined.keep])
        folds = StreamedFolds(counts, len(task.ids), dealt.names, fingerprint)
        if settings.strict:
            check_training(task.name, folds.training, settings)
        return task, folds

    def _batches(self, what: str) -> Iterator[Batch]:
        share, name = self.joined.share, f"{self.known.name}: {what}"
        rows = share.stop - share.start
        self.how.progress(name, 0, rows)
        for batch in self.joined.batches():
            yield batch
            self.how.progress(name, int(batch.rows[-1]) + 1 - share.start, rows)

    def _agree(self) -> None:
        self.joined.agree(self.how.peers)
        joined = self.joined
        used = joined.keep[joined.known]
        labels = {name: getattr(self.known, name) for name in ("group", "split", "lat", "lon")}
        labels = {name: None if own is None else own[used] for name, own in labels.items()}
        labels |= {"ids": joined.ids[joined.keep], "classes": joined.classes}
        task = dataclasses.replace(self.known, **labels)
        split = fingerprints.of_split(task, self.split)
        self.digests = fingerprints.of_rows(task, joined.digest) | {"split": split}
        self.how.seen(task.name, self.digests)

    def _group_of_row(self, fold_of_row: np.ndarray, k: int, groups: int, seeds) -> np.ndarray:
        """(r, n) the inner group of each row that is trained on, as rows in memory are dealt."""
        used = np.flatnonzero(self.joined.keep)
        used = used[np.argsort(self.joined.ids[used], kind="stable")]
        folds = as_folds(fold_of_row[:, used].astype(int), k)
        dealt = inner.groups_of_rows(folds, groups, seeds)  # (r, k, m, g)
        found = np.zeros_like(fold_of_row)
        for seed, of_seed in enumerate(dealt):
            for of_fold in of_seed:
                for group, rows in enumerate(of_fold):
                    found[seed, used[rows[rows < len(used)]]] = group
        return found

    def _gathered(self, cells: int) -> Gathered:
        """For the moments of so many cells; refuses what does not fit into the budget."""
        q, s = self.p + self.t, len(self.wanted)
        size = cells * (q * q + 2 * self.p * s * self.t) * FLOAT
        if size > MOMENT_SHARE * self.how.budget:
            raise InputError(
                f"task {quote(self.known.name)}: the moments of {cells} folds of {self.p:,} "
                f"columns take about {size_text(size)}, more than half of the budget of "
                f"{size_text(self.how.budget)}; use fewer --folds or --seeds, or raise "
                "--max_memory_gib"
            )
        return Gathered(cells, self.p, self.t, self.how.device)

    def _groups(self, settings: Settings, folds: int) -> int:
        return inner.group_count(folds, settings.inner_folds, self.joined.source.kind)

    def _rows_at_once(self, settings: Settings) -> int:
        of_fits = len(self.wanted) * self.t * (8 + settings.seeds * 8 * settings.predictions)
        size = (COPIES * (self.p + self.t) + of_fits) * FLOAT
        rows = int(np.clip(BATCH_SHARE * self.how.budget / size, 1, MOST_ROWS))
        return 1 << rows.bit_length() - 1  # a power of two often divides a row group

    def _blocks(self, batch: Batch) -> list[np.ndarray]:
        matrices = list(batch.matrices.values())
        return [matrices[i] for i in self.order]

    def all_notes(self, results: list[StreamedResult]) -> list[Note]:
        """What was noticed about the rows, their folds and units, and what is not made of them."""
        most = max((result.folds for result in results), key=lambda folds: folds.count)
        task, units = results[0].task, results[0].units
        notes = [*self.joined.notes, *fold_notes(task, most)]
        notes += [] if units.unknown else unit_notes(task, units)
        notes.append(Note(task.name, TASK_TABLE, NOT_MADE, len(task.ids), ""))
        return [*notes, *self._notes_of_one_pass(results)]

    def _notes_of_one_pass(self, results: list[StreamedRegression]) -> list[Note]:
        few = 0 if self.how.second_pass else max(_inexact(result) for result in results)
        return [Note(results[0].task.name, TASK_TABLE, PASSED_ONCE, few, "")] if few else []


def _grid(settings: Settings, folds: StreamedFolds) -> np.ndarray:
    """(r, k, l) penalties."""
    if settings.strict:
        return np.ascontiguousarray(inner.ridge_grid(settings.ridge_lambda, folds.training), float)
    return np.full((*folds.sizes.shape, 1), settings.ridge_lambda[0])


def _inexact(result: StreamedRegression) -> int:
    """How many sets have errors that moments know to fewer than ten digits only."""
    error = result.own.squared_error.sum((0, 2))  # (s, t)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = error / (len(result.seeds) * result.own.pooled_spread)
    return int((share < EXACTNESS / TEN_DIGITS).any(1).sum())
