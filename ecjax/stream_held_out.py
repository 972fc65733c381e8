"""What logistic fits lose on rows that took no part in them, batch by batch.

Axes: m rows of a batch, r seeds, k folds, s subsets, c classes, d cells of a seed, l penalties.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ecjax.nested_logistic import STEP
from ecjax.stream_dealt import Dealt
from ecjax.stream_logistic import Fitted
from ecjax.stream_moments import side_by_side_on_cores
from ecjax.stream_softmax import Rows, log_probabilities, rows_of_blocks
from ecjax.stream_training import Cells


class Left(NamedTuple):
    """What fits lose on a batch's rows that took no part in them, summed over seeds.

    Attributes:
      miss, log_loss: (m, s).
      slope: (m, s) derivatives of `log_loss` with respect to −log C, or None.
      probabilities: (r, s, m, c), or None.
      hits: (r, s, k, c) and sums: (r, s, k), of the log-losses, over each fold's rows.
    """

    miss: np.ndarray
    log_loss: np.ndarray
    slope: np.ndarray | None
    probabilities: np.ndarray | None
    hits: np.ndarray
    sums: np.ndarray


class HeldOut:
    """The fits of all folds, ready for rows that took no part in them."""

    def __init__(self, dealt: Dealt, cells: Cells, fitted: Sequence[Fitted], probabilities: bool):
        """fitted: with a place for the chosen penalty and, under `strict`, for a further one."""
        self.cells, self.probabilities, self.folds = cells, probabilities, dealt.folds
        part = np.arange(dealt.cells) // dealt.groups
        self.by_subset: dict[int, list[tuple[Fitted, np.ndarray]]] = {}
        for own in fitted:
            tested = part == (own.bundle.numbers % self.folds)[:, None]
            self.by_subset.setdefault(own.bundle.subset, []).append((own, tested))
        self.slopes = any(own.place for own in fitted)

    def left(self, blocks: Sequence[np.ndarray], labels: np.ndarray, cells: np.ndarray) -> Left:
        """Of a batch; labels (m,), cells (r, m)."""
        (r, m), s, k = cells.shape, len(self.by_subset), self.folds
        c = self.cells.classes.shape[2]
        found = Left(
            np.zeros((m, s)),
            np.zeros((m, s)),
            np.zeros((m, s)) if self.slopes else None,
            np.zeros((r, s, m, c)) if self.probabilities else None,
            np.zeros((r, s, k, c)),
            np.zeros((r, s, k)),
        )
        scale = self.cells.table_mean, self.cells.inverse
        for seed in range(r):
            rows = rows_of_blocks(blocks, labels, cells[seed], *scale)

            def one(subset: int, seed: int = seed, rows: Rows = rows) -> None:
                for own, tested in self.by_subset[subset]:
                    if own.bundle.seed == seed:
                        self._add(found, own, tested, rows)

            side_by_side_on_cores(one, list(self.by_subset))
        return found

    def _add(self, found: Left, own: Fitted, tested: np.ndarray, rows: Rows) -> None:
        subset, seed = own.bundle.subset, own.bundle.seed
        for members, inside, log_probability in log_probabilities(
            own.bundle, own.weights, rows, tested
        ):
            fold = int(own.bundle.numbers[members][0]) % self.folds  # the only one that tests it
            of_classes = log_probability[:, 0]
            labels, place = rows.labels[inside], rows.order[inside]
            loss = -of_classes[labels, np.arange(len(labels))]
            if self.slopes:
                sign = 1 if own.place else -1
                found.slope[place, subset] += sign / STEP * np.where(np.isfinite(loss), loss, 0)
            if own.place:
                continue
            hit = of_classes.argmax(0) == labels
            found.miss[place, subset] += ~hit
            found.log_loss[place, subset] += loss
            found.hits[seed, subset, fold] += np.bincount(
                labels[hit], minlength=found.hits.shape[3]
            )
            found.sums[seed, subset, fold] += loss.sum()
            if found.probabilities is not None:
                found.probabilities[seed, subset, place] = np.exp(of_classes.T)


def add_losses(
    losses: np.ndarray,
    group: Sequence[Fitted],
    rows_of: Callable[[int], Rows],
    tested: np.ndarray,
    groups: int,
) -> None:
    """Adds the log-losses of tested rows whose class the inner fits know to (s, rk, l).

    Args:
      tested: (rkm, d) cells.
      groups: m.
    """
    for seed in sorted({own.bundle.seed for own in group}):
        rows = rows_of(seed)

        def one(own: Fitted, rows: Rows = rows) -> np.ndarray:
            numbers = own.bundle.numbers
            of_fits = np.zeros(len(numbers))
            parts = log_probabilities(own.bundle, own.weights, rows, tested[numbers])
            for members, inside, log_probability in parts:
                labels = rows.labels[inside]
                loss = -log_probability[labels, :, np.arange(len(labels))]
                of_fits[members] += np.where(np.isfinite(loss), loss, 0).sum(0)
            np.add.at(losses[own.bundle.subset, :, own.place], numbers // groups, of_fits)

        side_by_side_on_cores(one, [own for own in group if own.bundle.seed == seed])
