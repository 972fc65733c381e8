"""The sets of a task compared with each other by one loss, and its scores beside that.

Axes: s subsets, i fused sets.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ecjax import intervals, simultaneous
from ecjax.complementarity import Index
from ecjax.intervals import Comparisons, IndexIntervals
from ecjax.loss_moments import RowMoments
from ecjax.scores import Scores


@dataclasses.dataclass
class Compared:
    """The sets of a task compared by one loss.

    Attributes:
      subsets: positions of the models of each.
      kept: (s,) how many columns of each count in the last factor of `intervals`.
      confidence: level of the intervals.
      moments: of the rows' losses; None where nothing is scored.
      pooled: (i,) indices on pooled losses.
    """

    subsets: Sequence[tuple[int, ...]]
    kept: np.ndarray
    confidence: float
    moments: RowMoments | None
    pooled: np.ndarray

    @property
    def z(self) -> float:
        """Standard errors from a value to either end of its interval."""
        return intervals.as_t(intervals.z_of(self.confidence), self.moments.degrees)

    @functools.cached_property
    def columns(self) -> np.ndarray:
        """Of each subset; the empty set, and what else `moments` are of, has none."""
        return np.pad(self.kept, (0, len(self.moments.mean) - len(self.kept)))

    @functools.cached_property
    def pairs(self) -> Comparisons:
        """Those of `gained_over`."""
        return intervals.compare(self.moments, *self.gained_over, self.columns)

    @functools.cached_property
    def with_members(self) -> Comparisons:
        """Every fused set with each of its singles."""
        single = np.array([len(subset) == 1 for subset in self.subsets])
        return self.pairs.take(single[self.pairs.over])

    @functools.cached_property
    def with_singles(self) -> Comparisons | None:
        """Under `strict`, every fused set with the single of each fold."""
        if self.moments.single is None:
            return None
        fused = [i for i, subset in enumerate(self.subsets) if len(subset) > 1]
        return intervals.against_singles(self.moments, fused, self.pooled, self.columns)

    @functools.cached_property
    def interval(self) -> IndexIntervals:
        """Of every fused set's index; NaN where nothing is scored."""
        if self.moments is None or not len(self.pooled):
            return IndexIntervals(*[np.full(len(self.pooled), np.nan)] * 3)
        return self.index(intervals.z_of(self.confidence))

    def index(self, z: float) -> IndexIntervals:
        """Of every fused set, at the level at which a normal one would be ± z standard errors."""
        pairs = self.with_members, self.with_singles, self.pooled
        t = intervals.as_t(z, self.moments.degrees)
        return intervals.index_intervals(self.moments, *pairs, self.columns, t, self.z)

    @functools.cached_property
    def largest_errors(self) -> np.ndarray:
        pairs, singles = self.with_members, self.with_singles
        pairs = pairs if singles is None else pairs.and_those(singles)
        return simultaneous.largest_errors(self.moments, pairs, self.columns)

    def settle(self) -> None:
        """Makes the intervals, and lets go of what takes room."""
        if self.moments is not None:
            _ = self.interval, self.gains, self.largest_errors
            self.moments = self.moments._replace(losses=None, replicates=None)

    @functools.cached_property
    def gained_over(self) -> tuple[np.ndarray, np.ndarray]:
        """Fused sets, and what each is compared with: its singles, and itself less one model."""
        where = {subset: i for i, subset in enumerate(self.subsets)}
        fused, over = [], []
        for i, subset in enumerate(self.subsets):
            if len(subset) < 2:
                continue
            less = [tuple(m for m in subset if m != left) for left in subset]
            compared = dict.fromkeys([*((m,) for m in subset), *less])
            known = [where[other] for other in compared if other in where]
            fused += [i] * len(known)
            over += known
        return np.array(fused, int), np.array(over, int)

    @functools.cached_property
    def gains(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gains of `gained_over` and the ends of their intervals."""
        if self.moments is None:
            return (np.full(len(self.gained_over[0]), np.nan),) * 3
        return self.pairs.gain(), self.pairs.gain(self.z), self.pairs.gain(-self.z)


class Measure(NamedTuple):
    """One metric of a task, or of one of its targets."""

    target: str | None
    scores: Scores
    index: Index
    compared: Compared

    def ends(self, interval: IndexIntervals) -> tuple[np.ndarray, np.ndarray]:
        """Those of an interval of `compared` where this metric's index is defined."""
        undefined = np.isnan(self.index.eci_pooled)
        return tuple(np.where(undefined, np.nan, end) for end in (interval.low, interval.high))
