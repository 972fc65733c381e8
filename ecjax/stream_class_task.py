"""One classification whose rows are streamed, under all settings of a run.

The first pass finds how columns are scaled and which classes there are, and keeps a sample of the
rows; the fits take some passes (`stream_logistic`), inner ones under `strict` one more for their
losses. In the last the rows pass the fits that have not seen them. Under `strict` what rows do to
others by being trained on is part of an interval, and its mean takes a pass of its own before.

Axes: n rows of the task's table, m rows of a batch, p columns, r seeds, k folds, s subsets, c
classes, l penalties, d cells of a seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ecjax import host, inner
from ecjax.align import AlignedTask, class_notes
from ecjax.errors import InputError, quote
from ecjax.folds import NOWHERE
from ecjax.logistic import MARGIN
from ecjax.memory import FLOAT, size_text
from ecjax.nested_logistic import STEP
from ecjax.notes import TASK_TABLE, Note
from ecjax.settings import Settings
from ecjax.stream_class_outcome import (
    ClassMoments,
    HeldOutSums,
    StreamedClasses,
    empty_sums,
    shares_of,
)
from ecjax.stream_cost import (
    BATCH_SHARE,
    COPIES,
    FITS_SHARE,
    MOST_ROWS,
    SHAPES_SHARE,
    WEIGHTS_SHARE,
    bytes_of_shapes,
    rows_held,
)
from ecjax.stream_dealt import Dealt
from ecjax.stream_held_out import HeldOut, Left, add_losses
from ecjax.stream_logistic import (
    STATE,
    Fitted,
    Sample,
    chains_of,
    fit,
    numbers_of,
)
from ecjax.stream_read import Batch, Joined
from ecjax.stream_result import StreamedFolds, predictions_of
from ecjax.stream_softmax import Rows, rows_of_blocks
from ecjax.stream_task import How, StreamedTask
from ecjax.stream_training import (
    Cells,
    Sampled,
    Spread,
    cells_of,
    inner_members,
    outer_members,
    training_of,
)
from ecjax.sums import ClassSums, contiguous

COLUMNS = 256  # of a product: the classes of so many fits side by side
PASSES = "streamed: passes over the rows that logistic fits took"


class _First(NamedTuple):
    """What the first pass found under one dealing of the rows; as `stream_task`."""

    task: AlignedTask
    folds: StreamedFolds
    dealt: Dealt
    cells: Cells
    sample: Sample


class StreamedClassTask(StreamedTask):
    """One classification's tables, and what is known of them.

    Attributes:
      passes: that logistic fits took so far.
    """

    passes = 0
    _rows_in_memory: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def __init__(self, joined: Joined, settings: Settings, how: How, directory: Path):
        """As `StreamedTask`; refuses at once a budget that holds too few rows."""
        super().__init__(joined, settings, how, directory)
        self._rows_held()

    def result(self, setting: Mapping[str, Any], settings: Settings) -> StreamedClasses:
        """Of one setting, as `StreamedTask.result`; the rows always pass again."""
        key = settings.folds, settings.seed_list()
        if self._kept is None or self._kept[0] != key:
            self._kept = None  # it makes room for the next
            with self._timed("first_pass"):
                self._kept = key, self._first_pass(settings)
        first = self._kept[1]
        self._check_weights(first, settings)
        with self._timed("fits"):
            grid = _grid(settings, first.folds)
            chosen = inner_loss = None
            logistic_c = [grid[..., :1]] * len(self.wanted)
            if settings.strict:
                chosen, inner_loss = self._choose(first, grid, settings)
                both = np.stack([chosen, chosen * np.exp(-STEP)], axis=-1)
                logistic_c = list(both.swapaxes(0, 1))
            fitted = self._outer(first, logistic_c, settings)
        sums = self._sums(first, fitted, chosen, inner_loss)
        result = self._shell(first.task, first.folds, setting, settings)
        with self._timed("second_pass"):
            return self._with_rows(dataclasses.replace(result, sums=sums), first, fitted)

    def _shell(
        self, task: AlignedTask, folds: StreamedFolds, setting: Mapping[str, Any], settings
    ) -> StreamedClasses:
        return StreamedClasses(
            task=task,
            subsets=self.wanted,
            seeds=settings.seed_list(),
            folds=folds,
            targets=(),
            sums=None,
            tolerance=settings.logistic_tolerance,
            confidence=settings.confidence,
            unit=self.unit._replace(of_row=None),
            bootstraps=0,
            setting=setting,
            grid=_grid(settings, folds) if settings.strict else None,
        )

    def _first_pass(self, settings: Settings) -> _First:
        dealt, joined, peers = self._dealt(settings), self.joined, self.how.peers
        r, labels = len(dealt.fold_of_row), joined.classes
        spread = Spread(r * dealt.cells, self.p)
        classes = np.zeros((r * dealt.cells, len(labels)))
        sampled = None if self._rows_in_memory else self._sampled()
        for batch in self._batches("first pass"):
            cells, blocks = dealt.cells_of(batch.rows), self._blocks(batch)
            spread.add(blocks, cells)
            for own in cells:
                np.add.at(classes, (own, batch.y), 1)
            if sampled is not None:
                sampled.add(batch.rows, blocks)
        if joined.notes is None:
            self._agree()
        spread.add_up(peers)
        (classes,) = peers.summed((classes,))
        used = np.isin(labels, joined.classes)
        classes = classes[:, used].reshape(r, dealt.cells, -1)
        task, folds = self._folds(dealt, dealt.scored(spread.count), settings)
        cells = cells_of(spread, classes)
        if sampled is not None:
            (x,) = peers.summed((sampled.x,))
            keep = joined.keep[sampled.rows]
            z = (x[keep] - cells.table_mean) * cells.inverse
            rows = sampled.rows[keep]
            self._rows_in_memory = rows, z, joined.codes[rows].astype(int)
        rows, z, labels = self._rows_in_memory
        sample = Sample(z, labels, dealt.of_seeds(rows), len(rows) == len(task.ids))
        return _First(task, folds, dealt, cells, sample)

    def _folds(
        self, dealt: Dealt, counts: np.ndarray, settings: Settings
    ) -> tuple[AlignedTask, StreamedFolds]:
        task, folds = super()._folds(dealt, counts, settings)
        own = self.joined
        return dataclasses.replace(task, y=own.codes[own.keep], classes=own.classes), folds

    def _rows_held(self) -> int:
        n, c, cores = len(self.joined.ids), len(self.joined.classes), host.available_cores()
        return rows_held(self.joined.source.name, n, self.p, c, self.how.budget, cores)

    def _sampled(self) -> Sampled:
        """The rows to be held in memory: those whose ids have the smallest hashes."""
        n, rows = len(self.joined.ids), self._rows_held()
        hashed = pd.util.hash_array(self.joined.ids)
        chosen = np.argpartition(hashed, rows - 1)[:rows] if rows < n else np.arange(n)
        return Sampled(np.sort(chosen), self.p)

    def _most_fits(self, first: _First) -> int:
        """Of a bundle."""
        c, rows = len(first.task.classes), len(first.sample.labels)
        room = SHAPES_SHARE * self.how.budget / host.available_cores() / rows
        return int(np.clip(room / bytes_of_shapes(c), 1, max(1, COLUMNS // c)))

    def _fit(self, first: _First, training, logistic_c, settings: Settings):
        """Groups of fits, as `stream_logistic.fit`."""
        budget = FITS_SHARE * self.how.budget
        chains = chains_of(self.lattice, training, logistic_c, self._most_fits(first))
        most = max(map(numbers_of, chains)) * STATE * FLOAT
        if most > budget:
            raise self._too_large("logistic fits that advance side by side", most, budget)

        def passes() -> Iterator[Callable[[int], Rows]]:
            self.passes += 1
            yield from self._passing_fits(first, f"pass {self.passes} of logistic fits")

        how = MARGIN * settings.logistic_tolerance, budget / FLOAT, self.how.peers
        return fit(chains, training.classes, first.sample, passes, *how)

    def _check_weights(self, first: _First, settings: Settings) -> None:
        """Refuses folds whose weights the budget does not hold."""
        numbers = sum(len(self.lattice.columns(s)) + 1 for s in self.lattice.subsets)
        fits = first.folds.sizes.size * (2 if settings.strict else 1)
        size = fits * len(first.task.classes) * numbers * FLOAT
        if size > WEIGHTS_SHARE * self.how.budget:
            share = WEIGHTS_SHARE * self.how.budget
            raise self._too_large("the weights of all folds", size, share)

    def _too_large(self, what: str, size: float, budget: float) -> InputError:
        return InputError(
            f"task {quote(self.known.name)}: {what} take about {size_text(size)}, more than the "
            f"{size_text(budget)} that the budget has for them; use fewer --folds or --seeds, or "
            "raise --max_memory_gib"
        )

    def _passing_fits(self, first: _First, what: str) -> Iterator[Callable[[int], Rows]]:
        """Of each batch, the rows of a seed."""
        if first.sample.whole:
            yield first.sample.rows
            return
        scale = first.cells.table_mean, first.cells.inverse
        for batch in self._batches(what):
            blocks, cells = self._blocks(batch), first.dealt.of_seeds(batch.rows)
            yield lambda seed, y=batch.y, b=blocks, own=cells: rows_of_blocks(
                b, y, own[seed], *scale
            )

    def _choose(self, first: _First, grid: np.ndarray, settings: Settings):
        """(r, s, k) the C, and its inner loss, as `nested_logistic`."""
        dealt, (r, k, length) = first.dealt, grid.shape
        m = self._groups(settings, k)
        of_folds = inner.groups_of_folds(k, m) if dealt.group_of_row is None else None
        member, tested = inner_members(k, dealt.parts, dealt.groups, of_folds, m)
        d = member.shape[2]
        member, tested = (np.tile(a.reshape(k * m, d), (r, 1)) for a in (member, tested))
        training = training_of(first.cells, np.repeat(np.arange(r), k * m), member, own=True)
        logistic_c = np.repeat(grid.reshape(r * k, length), m, axis=0)
        losses = np.zeros((len(self.wanted), r * k, length))
        for group in self._fit(first, training, [logistic_c] * len(self.wanted), settings):
            found = np.zeros_like(losses)
            for rows_of in self._passing_fits(first, "losses of inner fits"):
                add_losses(found, group, rows_of, tested, m)
            if not first.sample.whole:
                (found,) = self.how.peers.summed((found,))
            losses += found
        position = losses.argmin(2)  # of equals the first, the strongest
        loss = np.take_along_axis(losses, position[..., None], 2)[..., 0]
        chosen = grid.reshape(r * k, length)[np.arange(r * k), position]
        return tuple(a.reshape(-1, r, k).swapaxes(0, 1) for a in (chosen, loss))

    def _outer(
        self, first: _First, logistic_c: Sequence[np.ndarray], settings: Settings
    ) -> list[Fitted]:
        """The fits to all but the rows of each fold; logistic_c: (r, k, f) of each subset."""
        dealt, (r, k), f = first.dealt, first.folds.sizes.shape, logistic_c[0].shape[2]
        member = np.tile(outer_members(k, dealt.parts, dealt.groups), (r, 1))
        seed = np.repeat(np.arange(r), k)
        training = training_of(first.cells, seed, member, own=settings.strict)
        logistic_c = [own.reshape(r * k, f) for own in logistic_c]
        found = self._fit(first, training, logistic_c, settings)
        return [fitted for group in found for fitted in group]

    def _sums(self, first: _First, fitted: Sequence[Fitted], chosen, inner_loss) -> ClassSums:
        """Without what held-out rows tell."""
        (r, k), s, c = first.folds.sizes.shape, len(self.wanted), len(first.task.classes)
        norm, evaluations = np.zeros((r * k, s)), np.zeros((r * k, s))
        for own in fitted:
            if not own.place:
                norm[own.bundle.numbers, own.bundle.subset] = own.norm
                evaluations[own.bundle.numbers, own.bundle.subset] = own.evaluations
        norm, evaluations = (a.reshape(r, k, s).swapaxes(1, 2) for a in (norm, evaluations))
        dealt, nothing = first.dealt, np.zeros((0, s))
        count = first.cells.classes.reshape(r, dealt.parts, dealt.groups, c).sum(2)[:, :k]
        none = np.zeros((r, s, k))
        sums = ClassSums(
            np.zeros((r, s, k, c)), none, count, norm, evaluations, nothing, nothing, None, chosen,
            inner_loss, None if chosen is None else nothing,
        )  # fmt: skip
        return contiguous(sums)

    def _with_rows(
        self, result: StreamedClasses, first: _First, fitted: Sequence[Fitted]
    ) -> StreamedClasses:
        """The result when the rows have passed the fits that have not seen them."""
        shares = shares_of(result.sums.count, first.cells.classes[0].sum(0))
        result = dataclasses.replace(result, of_empty=empty_sums(result.sums, shares))
        strict, scored, slope = result.grid is not None, result.sums.count[0].sum(0), None
        rows = HeldOut(first.dealt, first.cells, fitted, self.how.predictions is not None)
        if strict:
            held_out = HeldOutSums(result.sums.hits.shape)
            for _, left, _ in self._passing(first, rows, "pass of held-out rows"):
                held_out.add(left)
            held_out.add_up(self.how.peers)
            slope = held_out.slope / scored.sum()
            sums = result.sums._replace(hits=held_out.hits, log_loss=held_out.log_loss)
            result = dataclasses.replace(result, sums=sums)
        units = None if self.unit_of_row is None else self.unit.count
        by_fold = result.by_fold() if strict else [None] * 3
        moments = ClassMoments(len(self.wanted), by_fold, shares, scored, slope, units)
        held_out, predictions = HeldOutSums(result.sums.hits.shape), self.how.predictions
        for batch, left, fold in self._passing(first, rows, "second pass"):
            unit = None if self.unit_of_row is None else self.unit_of_row[batch.rows]
            held_out.add(left)
            moments.add(left, batch.y, fold, unit)
            if predictions is not None:
                values = left.probabilities
                predictions(predictions_of(result, batch, fold, probabilities=values))
        held_out.add_up(self.how.peers)
        moments.add_up(self.how.peers)
        sums = result.sums._replace(hits=held_out.hits, log_loss=held_out.log_loss)
        return dataclasses.replace(result, sums=sums, of_rows=moments.moments())

    def _passing(
        self, first: _First, rows: HeldOut, what: str
    ) -> Iterator[tuple[Batch, Left, np.ndarray]]:
        """Batches of rows that are scored, what fits lose on them, and their folds (r, m)."""
        for batch in self._batches(what):
            fold = first.dealt.fold_of_row[:, batch.rows].astype(int)
            scored = fold[0] != NOWHERE  # the same for every seed
            if scored.any():
                batch, fold = batch.at(scored), fold[:, scored]
                cells = first.dealt.of_seeds(batch.rows)
                yield batch, rows.left(self._blocks(batch), batch.y, cells), fold

    def _rows_at_once(self, settings: Settings) -> int:
        c = len(self.joined.classes)
        of_fits = len(self.wanted) * (4 + c * settings.seeds * 8 * settings.predictions)
        size = ((COPIES + 1) * self.p + of_fits) * FLOAT
        rows = int(np.clip(BATCH_SHARE * self.how.budget / size, 1, MOST_ROWS))
        return 1 << rows.bit_length() - 1

    def _notes_of_one_pass(self, results: list[StreamedClasses]) -> list[Note]:
        return []  # their fits take passes anyway

    def all_notes(self, results: list[StreamedClasses]) -> list[Note]:
        """As of `StreamedTask`, with its classes and how often the rows passed."""
        most = max((result.folds for result in results), key=lambda folds: folds.count)
        notes, own = super().all_notes(results), class_notes(results[0].task, most.count)
        read = len(self.joined.notes)
        passes = [Note(self.known.name, TASK_TABLE, PASSES, self.passes, "")]
        return [*notes[:read], *own, *notes[read:], *(passes if self.passes else [])]


def _grid(settings: Settings, folds: StreamedFolds) -> np.ndarray:
    """(r, k, l) C, the smallest first."""
    if settings.strict:
        grid = inner.logistic_grid(settings.logistic_c, folds.training)
        return np.ascontiguousarray(grid, float)
    return np.full((*folds.sizes.shape, 1), settings.logistic_c[0])
