"""What came out for one task: its scores and indices, and the comparisons of its sets.

Axes: r seeds, s subsets, k folds, n rows, t targets, c classes, l penalties, i fused sets.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ecjax import baseline, bootstrap, fingerprints, further, intervals, loss_moments
from ecjax.align import AlignedTask
from ecjax.chosen import Choices
from ecjax.compared import Compared, Measure
from ecjax.complementarity import Index, index_of
from ecjax.folds import NOWHERE, Folds
from ecjax.further import NestedSums, RefitSums
from ecjax.loss_moments import RowLosses, RowMoments
from ecjax.scores import Scores, class_scores, regression_scores, varying_targets
from ecjax.strict_index import strict_index
from ecjax.subsets import name as subset_name
from ecjax.sums import ClassSums, RegressionSums, of_targets
from ecjax.units import Units

ROW_LOSSES = {"accuracy": "row_miss", "log_loss": "row_log_loss"}  # of classes
NO_PROBABILITY = "the probe gives a row's own class no probability in"


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """One task under one setting.

    Attributes:
      task: its rows.
      subsets: positions in the study's order of embeddings.
      seeds: the r seeds.
      folds: of its rows.
      targets: columns of `sums` that are this task's (regression).
      sums: of this task's sample (regression) or of the task (classification); None when all
        tables are made of them.
      tolerance: a logistic fit has converged if its gradient norm is no larger; None for a probe
        of the user's own, of whose fits nothing is known.
      confidence: level of the intervals.
      unit: what counts as independent in them, of all rows.
      bootstraps: replicates of their losses that they are made from; 0: of none.
      further: what fits with other weights of rows gave for them, of this task's targets, or None.
      setting: values of the swept keys.
      grid: (r, k, l) what penalties were chosen from under `strict`; None under `paper`.
      banded: whether each embedding of a set has a penalty of its own.
      permuted: of each of `all_measures`, indices (i,) under the control of that name; () without.
    """

    task: AlignedTask
    subsets: tuple[tuple[int, ...], ...]
    seeds: tuple[int, ...]
    folds: Folds
    targets: tuple[int, ...]
    sums: RegressionSums | ClassSums | None
    tolerance: float | None
    confidence: float
    unit: Units
    bootstraps: int
    setting: Mapping[str, Any]
    grid: np.ndarray | None = None
    banded: bool = False
    permuted: tuple[np.ndarray, ...] = ()
    further: RefitSums | NestedSums | None = None

    def without_sums(self) -> TaskResult:
        """What is left to tell of it when its tables are made."""
        return dataclasses.replace(self, sums=None, permuted=(), further=None)

    @functools.cached_property
    def fold_of_row(self) -> np.ndarray:
        """(r, n), `folds.NOWHERE` for a row that no fold scores."""
        return self.folds.fold_of_row()

    @functools.cached_property
    def folds_fingerprint(self) -> str:
        """Of the first seed's folds."""
        return fingerprints.of_folds(self.task.ids, self.fold_of_row[0])

    @functools.cached_property
    def names(self) -> np.ndarray:
        embeddings = list(self.task.embeddings)
        return np.array([subset_name(s, embeddings) for s in self.subsets], object)

    @functools.cached_property
    def dims(self) -> np.ndarray:
        widths = [x.shape[1] for x in self.task.embeddings.values()]
        return np.array([sum(widths[i] for i in s) for s in self.subsets])

    @functools.cached_property
    def columns(self) -> np.ndarray:
        """(s,) how many columns of each subset count in the last factor of `intervals`."""
        if self.task.kind == "classification" or self.own.row_slope is None:
            return self.dims
        chosen = self.own.chosen[..., 0, :]
        widths = np.array([x.shape[1] for x in self.task.embeddings.values()])
        inside = np.array([[m in s for m in range(len(widths))] for s in self.subsets])
        relative = chosen / self.folds.training[:, None, :, None]  # (r, s, k, b)
        kept = intervals.columns_kept(np.where(np.isnan(relative), 0, relative)).mean((0, 2))
        return (inside * widths * kept).sum(1)

    @functools.cached_property
    def fused(self) -> np.ndarray:
        """(i,) positions of the sets of two or more models."""
        return np.array([i for i, subset in enumerate(self.subsets) if len(subset) > 1], int)

    def members(self, sets: Sequence[int]) -> list[list[int]]:
        """Positions of the singles of the subsets at these positions."""
        where = {subset: i for i, subset in enumerate(self.subsets)}
        return [[where[(m,)] for m in self.subsets[i]] for i in sets]

    @functools.cached_property
    def own(self) -> RegressionSums | ClassSums:
        """The sums of this task's targets."""
        classes = self.task.kind == "classification"
        return self.sums if classes else of_targets(self.sums, self.targets)

    @functools.cached_property
    def empty(self) -> RegressionSums | ClassSums:
        """The sums of the empty set, the only one in them."""
        classes = self.task.kind == "classification"
        of = baseline.classification if classes else baseline.regression
        return of(self.task.y, self.own, self.folds)

    @functools.cached_property
    def spread(self) -> np.ndarray:
        """(t, m) of the scored rows, as `baseline.spread_of_rows`."""
        return baseline.spread_of_rows(self.task.y, self.own, self.scored)

    @functools.cached_property
    def scored(self) -> np.ndarray:
        """Rows that some fold scores; the same for every seed."""
        return np.flatnonzero(self.fold_of_row[0] != NOWHERE)

    @functools.cached_property
    def units(self) -> Units:
        """What counts as independent, of the scored rows."""
        return self.unit.at(self.scored)

    def choices(self, bands: Sequence[str]) -> Choices:
        """The penalties chosen under `strict`; all targets of a task share them."""
        chosen = self.own.chosen
        if chosen is not None:
            chosen = chosen[..., 0, :] if self.targets else chosen[..., None]
        return Choices(self.task.kind, chosen, self.grid, list(self.task.embeddings), bands)

    @functools.cached_property
    def measures(self) -> tuple[Measure, ...]:
        """By every metric, all targets together."""
        if self.task.kind == "regression":
            return self._regression(None, range(len(self.targets)))
        why = () if self.tolerance is not None else (NO_PROBABILITY,)
        scores = class_scores(self.own, *why)
        indices = [self._index(one, self.own.inner_loss) for one in scores]
        moments = [None] * len(scores)
        if self.own.count.shape[-1] > 1:
            moments = self._moments_of_classes([index.by_fold for index in indices])
        return tuple(
            Measure(None, one, index, self._compared(of_rows, index))
            for one, index, of_rows in zip(scores, indices, moments, strict=True)
        )

    @functools.cached_property
    def target_measures(self) -> tuple[tuple[Measure, ...], ...]:
        """Of each target of a task with several."""
        if len(self.targets) < 2:
            return ()
        return tuple(self._regression(name, [t]) for t, name in enumerate(self.task.targets))

    @property
    def all_measures(self) -> tuple[Measure, ...]:
        """Of all targets together, then of each target."""
        return (*self.measures, *itertools.chain.from_iterable(self.target_measures))

    def _regression(self, target: str | None, targets: Sequence[int]) -> tuple[Measure, ...]:
        scores = regression_scores(self.own, targets)
        loss = None if self.grid is None else self.own.inner_loss[..., list(targets)].sum(-1)
        indices = [self._index(one, loss) for one in scores]
        # R² and squared error are of the same losses.
        moments = self._moments(targets, indices[-1].by_fold)
        compared = self._compared(moments, indices[-1])
        pairs = zip(scores, indices, strict=True)
        return tuple(Measure(target, one, index, compared) for one, index in pairs)

    def _moments(self, targets: Sequence[int], by_fold: np.ndarray | None) -> RowMoments | None:
        """Of some targets' squared errors; by_fold as `complementarity.Index`."""
        return _regression_moments(self, targets, by_fold)

    def _moments_of_classes(
        self, by_fold: Sequence[np.ndarray | None]
    ) -> Sequence[RowMoments | None]:
        """Of the losses of the three metrics of classes."""
        return _class_moments(self, by_fold)

    def row_losses(self, measure: Measure) -> RowLosses | None:
        """Of the scored rows by one of `all_measures`, without what rows do to others.

        None where the metric is no mean over rows, or nothing is scored.
        """
        by_fold = measure.index.by_fold
        if self.task.kind == "classification":
            of_rows = ROW_LOSSES.get(measure.scores.metric)
            scored = self.own.count.shape[-1] > 1
            return _class_losses(self, of_rows, None, by_fold) if of_rows and scored else None
        names = self.task.targets
        wanted = range(len(names)) if measure.target is None else [names.index(measure.target)]
        varying = varying_targets(self.own, wanted)
        return _regression_losses(self, varying, by_fold, training=False) if varying else None

    def _compared(self, moments: RowMoments | None, index: Index) -> Compared:
        return Compared(self.subsets, self.columns, self.confidence, moments, index.eci_pooled)

    def _index(self, scores: Scores, inner_loss: np.ndarray | None) -> Index:
        """Of all fused sets, by the protocol's best single."""
        if self.grid is None:
            return index_of(scores, self.subsets)
        return strict_index(scores, self.subsets, inner_loss)

    def empty_scores(self, target: str | None) -> dict[str, float]:
        """Metric → score of the empty set, all targets together or one."""
        if self.task.kind == "classification":
            found = class_scores(self.empty)
        else:
            names = self.task.targets
            targets = range(len(names)) if target is None else [names.index(target)]
            found = regression_scores(self.empty, targets)
        return {one.metric: float(one.fold.mean()) for one in found}


def _regression_losses(
    result: TaskResult, varying: Sequence[int], by_fold: np.ndarray | None, training: bool
) -> RowLosses:
    """Squared errors in standard deviations, summed over the targets that vary.

    Args:
      by_fold: as `complementarity.Index`.
      training: with what rows do to others by being trained on, where that is known.
    """
    rows = result.scored

    def summed(of_targets: np.ndarray) -> np.ndarray:
        """(t, n, …) → sums of these targets at the scored rows."""
        chosen = of_targets if len(varying) == len(of_targets) else of_targets[varying]
        total = chosen[0] if len(chosen) == 1 else chosen.sum(0)
        return total if len(total) == len(rows) else total[rows]

    losses, empty = summed(result.own.row_error), summed(result.empty.row_error)
    if training and result.own.row_slope is not None:
        losses = loss_moments.with_training(losses, summed(result.own.row_slope))
    spread = result.spread[varying].sum(0)
    return _row_losses(result, losses, empty, spread, len(varying), by_fold)


def _regression_moments(
    result: TaskResult, targets: Sequence[int], by_fold: np.ndarray | None
) -> RowMoments | None:
    """Of squared errors; None where no target varies."""
    varying = varying_targets(result.own, targets)
    if not varying:
        return None
    unit, keep = result.units.of_row, result.bootstraps > 0
    moments = _regression_losses(result, varying, by_fold, training=True).moments(unit, keep)
    if result.further is None:
        return moments
    kinds = np.zeros((0, *result.folds.sizes.shape), int)
    if by_fold is not None:
        kinds, _ = loss_moments.composite_kinds(by_fold, len(result.subsets))
    sums = result.further.of_targets(varying)
    if isinstance(sums, RefitSums):
        return moments._replace(errors=further.refit_errors(sums, kinds, moments))
    plain = _regression_losses(result, varying, by_fold, training=False)
    rows = plain.spread, result.fold_of_row, result.unit.of_row
    naive = plain.moments(unit, keep)
    return moments._replace(errors=further.nested_errors(sums, kinds, naive, *rows))


def _class_moments(
    result: TaskResult, by_fold: Sequence[np.ndarray | None]
) -> tuple[RowMoments, ...]:
    """Of errors, of errors weighted to count each class alike, and of log-losses.

    by_fold: of each of these, as `complementarity.Index`.
    """
    labels = result.task.y[result.scored]
    onehot = labels[:, None] == np.arange(result.own.count.shape[-1])
    members = onehot.sum(0)
    alike = (len(labels) / (np.count_nonzero(members) * members[labels]))[:, None]

    def balanced(misses: np.ndarray) -> np.ndarray:
        """Each row's part in 1 − mean recall, less what its class differs from the others: the
        classes are strata, and how many rows each has is no chance."""
        losses = misses * alike
        of_class = onehot.T.astype(float) @ losses / np.maximum(members, 1)[:, None]
        return losses - of_class[labels] + losses.mean(0)

    def moments(of_rows: str, slope, singles: np.ndarray | None, change: Callable) -> RowMoments:
        found = _class_losses(result, of_rows, slope, singles)
        found = found._replace(columns=change(found.columns))
        return found.moments(result.units.of_row, result.bootstraps > 0)

    losses = ("row_miss", "row_miss", "row_log_loss")
    slopes = (None, None, result.own.row_slope)  # errors of classes have none
    changes = (np.asarray, balanced, np.asarray)
    return tuple(map(moments, losses, slopes, by_fold, changes))


def _class_losses(
    result: TaskResult, of_rows: str, slope: np.ndarray | None, by_fold: np.ndarray | None
) -> RowLosses:
    """Of classes: the sums of this name, with what rows do to others where a slope is given."""
    losses, empty = (getattr(one, of_rows)[result.scored] for one in (result.own, result.empty))
    if slope is not None:
        losses = loss_moments.with_training(losses, slope[result.scored])
    return _row_losses(result, losses, empty, np.zeros(len(losses)), 1.0, by_fold)


def _row_losses(
    result: TaskResult,
    losses: np.ndarray,
    empty: np.ndarray,
    spread: np.ndarray,
    constant: float,
    by_fold: np.ndarray | None,
) -> RowLosses:
    """Of losses (m, s) of the m scored rows, and (m, 1) of the empty set, summed over seeds."""
    folds = result.fold_of_row[:, result.scored]
    return loss_moments.row_losses(losses, empty, spread, constant, folds, by_fold)


def resample(results: Sequence[TaskResult]) -> list[Compared]:
    """Draws the units of all tasks of one setting again; tasks with as many share what is drawn.

    Returns:
      What has replicates now, until it is settled.
    """
    first = results[0]
    groups = [group for r in results for group in (r.measures, *r.target_measures)]
    compared = {id(m.compared): m.compared for group in groups for m in group}
    known = [one for one in compared.values() if one.moments is not None]
    losses = [one.moments.losses for one in known]
    means = bootstrap.mean_losses(losses, first.bootstraps, first.seeds[0])
    z = intervals.z_of(first.confidence)
    for one, mean in zip(known, means, strict=True):
        one.moments = one.moments._replace(replicates=bootstrap.Replicates(mean, z))
    return known
