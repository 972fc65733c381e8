"""What came out for one task whose rows were streamed: sums over them in place of the rows.

Axes: r seeds, s subsets, k folds, n rows, t targets, i fused sets, b bands.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ecjax.host_folds import Scatter
from ecjax.loss_moments import (
    GrowingMoments,
    RowMoments,
    composite_kinds,
    row_losses,
    with_training,
)
from ecjax.scores import varying_targets
from ecjax.stream_fits import Left, MomentFits, Table
from ecjax.stream_moments import Peers
from ecjax.stream_result import StreamedResult
from ecjax.sums import RegressionSums, contiguous
from ecjax.units import Units

ONE_PASS = "the rows passed only once"


@dataclasses.dataclass(frozen=True)
class StreamedRegression(StreamedResult):
    """As `StreamedResult`, of a regression.

    Attributes:
      of_rows: the rows' losses, by the targets that vary among those scored together; None where
        the rows passed only once.
    """

    of_rows: dict[tuple[int, ...], RowMoments] | None = None

    @functools.cached_property
    def units(self) -> Units:
        if self.of_rows is None:
            return self.unit._replace(unknown=ONE_PASS)
        counts = {moments.units for moments in self.of_rows.values()}
        return self.unit._replace(count=counts.pop()) if counts else self.unit

    def _moments(self, targets: Sequence[int], by_fold: np.ndarray | None) -> RowMoments | None:
        varying = tuple(varying_targets(self.own, targets))
        return self.of_rows[varying] if varying and self.of_rows else None

    def groups(self) -> dict[tuple[int, ...], np.ndarray | None]:
        """Targets that are scored together, those that vary, with the singles of each fold.

        The latter as `complementarity.Index.by_fold`.
        """
        found = {}
        for measures in (self.measures, *self.target_measures):
            target, index = measures[-1].target, measures[-1].index
            names = self.task.targets
            wanted = range(len(names)) if target is None else [names.index(target)]
            varying = tuple(varying_targets(self.own, wanted))
            if varying:
                found[varying] = index.by_fold
        return found


def sums_of(
    table: Table, found: MomentFits, left: Sums, bands: Sequence[int]
) -> tuple[RegressionSums, RegressionSums]:
    """Sums of all sets, and of the empty one.

    Args:
      left: what the fits left, by moments or by rows.
      bands: as `program.Program`.
    """
    r, k, s, t = left.squared_error.shape
    low, high = table.low, table.high
    spread = [[_of_targets(part, t) for part in parts] for parts in table.parts]
    pooled = _of_targets(table.scored, t)
    chosen = found.chosen
    if bands:
        chosen = np.full((r, k, s, t, len(bands)), np.nan)
        chosen[..., np.array(bands)] = found.chosen
    fixed = chosen is None
    sums = RegressionSums(
        squared_error=np.moveaxis(left.squared_error, 1, 2),
        spread=np.where(low == high, 0, spread),
        pooled_spread=np.where(low.min((0, 1)) == high.max((0, 1)), 0, pooled),
        count=table.counts,
        scale=table.deviation[-t:],
        row_error=np.zeros((t, 0, s)),
        predictions=None,
        chosen=None if fixed else np.moveaxis(chosen, 1, 2),
        inner_loss=None if fixed else np.moveaxis(found.inner_loss, 1, 2),
        row_slope=None if fixed else np.zeros((t, 0, s)),
    )
    empty = sums._replace(
        squared_error=left.empty_error[:, None],
        row_error=np.zeros((t, 0, 1)),
        chosen=None,
        inner_loss=None,
        row_slope=None,
    )
    return contiguous(sums), contiguous(empty)


def _of_targets(rows: Scatter, t: int) -> np.ndarray:
    """(t,) squared deviations of the targets from their mean."""
    return np.diagonal(rows.products)[-t:]


class Sums(NamedTuple):
    """Squared errors in standard deviations, summed over each fold's rows.

    Attributes:
      squared_error: (r, k, s, t).
      empty_error: (r, k, t) by the mean of the training rows.
    """

    squared_error: np.ndarray
    empty_error: np.ndarray


class SecondPass:
    """Adds up what fits leave on the rows as they pass again.

    Attributes:
      sums: so far.
    """

    def __init__(
        self,
        table: Table,
        found: MomentFits,
        groups: Mapping[tuple[int, ...], np.ndarray | None],
        units: int | None,
    ):
        """Prepares it.

        Args:
          groups: as `StreamedRegression.groups`.
          units: how many there may be; None: each row is its own.
        """
        r, k, s, t = found.squared_error.shape
        self.sums = Sums(np.zeros((r, k, s, t)), np.zeros((r, k, t)))
        self.by_fold = groups
        self.growing = {}
        for targets, by_fold in groups.items():
            kinds, single = (), None
            if by_fold is not None:
                kinds, single = composite_kinds(by_fold, s)
            self.growing[targets] = GrowingMoments(s + len(kinds) + 3, single, units)
        scored = table.scored
        self.slope = found.slope.sum((0, 1)) / scored.count  # (s, t)
        self.middle = table.mean[-t:] + scored.mean[-t:] * table.deviation[-t:]
        self.inverse = table.inverse[-t:]

    def add(
        self, left: Left, y: np.ndarray, fold_of_row: np.ndarray, unit_of_row: np.ndarray | None
    ) -> None:
        """Adds m rows that are scored.

        Args:
          y: (m, t) in their own units.
          fold_of_row: (r, m).
          unit_of_row: (m,) codes where there are units.
        """
        self.sums = Sums(*(own + more for own, more in zip(self.sums, left[-2:], strict=True)))
        spread = ((y - self.middle) * self.inverse) ** 2
        for targets, by_fold in self.by_fold.items():
            own = list(targets)
            losses, empty = left.row_error[..., own].sum(2), left.row_empty[:, own].sum(1)
            if left.row_slope is not None:
                slope = left.row_slope[..., own].sum(2)
                losses = with_training(losses, slope, self.slope[:, own].sum(1))
            of_rows = losses, empty[:, None], spread[:, own].sum(1), len(own)
            batch = row_losses(*of_rows, fold_of_row, by_fold)
            self.growing[targets].add(batch, unit_of_row)

    def add_up(self, peers: Peers) -> None:
        """Adds what the other processes have found."""
        self.sums = Sums(*peers.summed(tuple(self.sums)))
        for own in self.growing.values():
            own.add_up(peers.summed)

    def moments(self) -> dict[tuple[int, ...], RowMoments]:
        """Of the rows' losses, by targets."""
        return {targets: own.moments() for targets, own in self.growing.items()}
