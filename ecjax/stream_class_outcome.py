"""What came out for one classification whose rows were streamed: sums in place of the rows.

Axes: r seeds, s subsets, k folds, c classes, m rows of a batch, M columns of losses.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ecjax.loss_moments import (
    GrowingMoments,
    RowLosses,
    RowMoments,
    composite_kinds,
    row_losses,
    with_training,
)
from ecjax.stream_held_out import Left
from ecjax.stream_moments import Peers
from ecjax.stream_result import StreamedResult
from ecjax.sums import ClassSums
from ecjax.units import Units

METRICS = 3  # of classes, whose losses have moments of their own


@dataclasses.dataclass(frozen=True)
class StreamedClasses(StreamedResult):
    """As `StreamedResult`, of a classification.

    Attributes:
      task: with the classes of its rows too.
      of_rows: of each metric, the rows' losses; () before the rows have passed.
    """

    of_rows: tuple[RowMoments, ...] = ()

    @functools.cached_property
    def units(self) -> Units:
        return self.unit._replace(count=self.of_rows[0].units) if self.of_rows else self.unit

    def _moments_of_classes(self, by_fold) -> Sequence[RowMoments | None]:
        return self.of_rows or [None] * METRICS

    def by_fold(self) -> list[np.ndarray | None]:
        """Of each metric, as `complementarity.Index`."""
        return [measure.index.by_fold for measure in self.measures]


class Shares(NamedTuple):
    """What the empty set says: the training rows' most frequent class, and all their shares.

    Attributes:
      most: (r, k) that class.
      loss: (r, k, c) −log of the shares.
    """

    most: np.ndarray
    loss: np.ndarray


def shares_of(count: np.ndarray, total: np.ndarray) -> Shares:
    """Of all rows but those (r, k, c) of each fold, of total (c,)."""
    training = total - count
    with np.errstate(divide="ignore"):  # of a class that is absent from the training rows
        loss = -np.log(training / training.sum(-1, keepdims=True))
    return Shares(training.argmax(-1), loss)


def empty_sums(sums: ClassSums, shares: Shares) -> ClassSums:
    """As `baseline.classification`, beside the sums of the sets with some embeddings."""
    count = sums.count
    (r, k, c), rows = count.shape, np.zeros((0, 1))
    own = shares.most[..., None] == np.arange(c)
    loss = np.multiply(count, shares.loss, out=np.zeros(count.shape), where=count > 0).sum(-1)
    return sums._replace(
        hits=np.where(own, count, 0)[:, None],
        log_loss=loss[:, None],
        gradient_norm=np.zeros((r, 1, k)),
        iterations=np.zeros((r, 1, k)),
        row_miss=rows,
        row_log_loss=rows,
        chosen=None,
        inner_loss=None,
        row_slope=None,
    )


class HeldOutSums:
    """Adds up what fits lose on the rows as they pass.

    Attributes:
      hits, log_loss: so far, as `Left`.
      slope: (s,) sum over rows.
    """

    def __init__(self, shape: tuple[int, int, int, int]):
        """shape: (r, s, k, c)."""
        self.hits, self.log_loss = np.zeros(shape), np.zeros(shape[:3])
        self.slope = np.zeros(shape[1])

    def add(self, left: Left) -> None:
        self.hits += left.hits
        self.log_loss += left.sums
        if left.slope is not None:
            self.slope += left.slope.sum(0)

    def add_up(self, peers: Peers) -> None:
        """Adds what the other processes have found."""
        self.hits, self.log_loss, self.slope = peers.summed((self.hits, self.log_loss, self.slope))


class ClassMoments:
    """Adds up the moments of the rows' losses by the three metrics."""

    def __init__(
        self,
        subsets: int,
        by_fold: Sequence[np.ndarray | None],
        shares: Shares,
        members: np.ndarray,
        slope: np.ndarray | None,
        units: int | None,
    ):
        """Prepares it.

        Args:
          by_fold: as `StreamedClasses.by_fold`.
          members: (c,) scored rows of each class.
          slope: (s,) mean over the scored rows of the slopes, or None.
          units: how many there may be; None: each row is its own.
        """
        self.by_fold, self.shares, self.slope = by_fold, shares, slope
        growing = []
        for singles in by_fold:
            kinds, single = (), None
            if singles is not None:
                kinds, single = composite_kinds(singles, subsets)
            growing.append(GrowingMoments(subsets + len(kinds) + 3, single, units))
        self.accuracy, balanced, self.log_loss = growing
        self.balanced = _Balanced(balanced, members, units)

    def add(
        self,
        left: Left,
        labels: np.ndarray,
        fold_of_row: np.ndarray,
        unit_of_row: np.ndarray | None,
    ) -> None:
        """Adds m rows that are scored; labels (m,), fold_of_row (r, m)."""
        seed = np.arange(len(fold_of_row))[:, None]
        miss = (self.shares.most[seed, fold_of_row] != labels).sum(0)[:, None].astype(float)
        loss = self.shares.loss[seed, fold_of_row, labels].sum(0)[:, None]
        log_loss = left.log_loss
        if left.slope is not None:
            log_loss = with_training(log_loss, left.slope, self.slope)

        def of(losses: np.ndarray, empty: np.ndarray, singles: np.ndarray | None) -> RowLosses:
            return row_losses(losses, empty, np.zeros(len(labels)), 1.0, fold_of_row, singles)

        hit, alike, sure = self.by_fold
        self.accuracy.add(of(left.miss, miss, hit), unit_of_row)
        self.balanced.add(of(left.miss, miss, alike), labels, unit_of_row)
        self.log_loss.add(of(log_loss, loss, sure), unit_of_row)

    def add_up(self, peers: Peers) -> None:
        """Adds what the other processes have found."""
        for own in (self.accuracy, self.balanced.growing, self.log_loss):
            own.add_up(peers.summed)
        self.balanced.of_classes, self.balanced.of_units = peers.summed(
            (self.balanced.of_classes, self.balanced.of_units)
        )

    def moments(self) -> tuple[RowMoments, ...]:
        return self.accuracy.moments(), self.balanced.moments(), self.log_loss.moments()


class _Balanced:
    """Moments of errors that count each class alike, as `outcome._class_moments` has them.

    What a class differs from the others is taken out of each row's part only at the end, because
    the means of classes are known only then.
    """

    def __init__(self, growing: GrowingMoments, members: np.ndarray, units: int | None):
        c, columns = len(members), len(growing.sums) - 2
        self.growing, self.members = growing, members
        self.alike = members.sum() / (np.count_nonzero(members) * np.maximum(members, 1))
        self.of_classes = np.zeros((c, columns))
        self.of_units = np.zeros((units or 0, c))  # rows of each class

    def add(self, batch: RowLosses, labels: np.ndarray, unit_of_row: np.ndarray | None) -> None:
        columns = batch.columns * self.alike[labels][:, None]
        self.growing.add(batch._replace(columns=columns), unit_of_row)
        onehot = labels[:, None] == np.arange(len(self.members))
        self.of_classes += onehot.T.astype(float) @ columns
        if unit_of_row is not None:
            np.add.at(self.of_units, (unit_of_row, labels), 1)

    def moments(self) -> RowMoments:
        own, columns = self.growing, self.of_classes.shape[1]
        mean = self.of_classes / np.maximum(self.members, 1)[:, None]
        common = self.of_classes.sum(0) / own.rows
        inside = slice(0, columns)
        if own.units is None:
            between = (mean * self.members[:, None]).T @ mean
            own.cross[inside, inside] += own.rows * np.outer(common, common) - between
        else:
            own.of_units[:, inside] -= self.of_units @ (mean - common)
        return own.moments()
