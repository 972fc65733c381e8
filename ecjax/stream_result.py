"""What came out for one task whose rows were streamed: folds and sums without rows.

Axes: r seeds, k folds, s subsets, m rows of a batch, t targets, c classes.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
import pandas as pd

from ecjax.compared import Measure
from ecjax.folds import as_folds
from ecjax.loss_moments import RowLosses
from ecjax.outcome import TaskResult
from ecjax.results import frame_of, prediction_rows
from ecjax.stream_read import Batch
from ecjax.sums import ClassSums, RegressionSums


class StreamedFolds(NamedTuple):
    """As `folds.Folds`, without the rows.

    Attributes:
      sizes: (r, k) rows that each fold scores.
      rows: n.
      names: as `folds.Folds`.
      fingerprint: of the first seed's, as `outcome.TaskResult.folds_fingerprint`.
    """

    sizes: np.ndarray
    rows: int
    names: tuple[str, ...]
    fingerprint: str

    @property
    def count(self) -> int:
        return self.sizes.shape[1]

    @property
    def divided(self) -> bool:
        return int(self.sizes[0].sum()) == self.rows

    @property
    def training(self) -> np.ndarray:
        return self.rows - self.sizes

    @property
    def dropped(self) -> np.ndarray:
        return np.zeros_like(self.sizes)


@dataclasses.dataclass(frozen=True)
class StreamedResult(TaskResult):
    """As `TaskResult`, whose sums have no rows.

    Attributes:
      task: with the ids of its rows, without vectors.
      of_empty: sums of the empty set.
    """

    of_empty: RegressionSums | ClassSums | None = None

    @functools.cached_property
    def empty(self) -> RegressionSums | ClassSums:
        return self.of_empty

    @property
    def folds_fingerprint(self) -> str:
        return self.folds.fingerprint

    @functools.cached_property
    def scored(self) -> np.ndarray:
        return np.zeros(0, int)

    def row_losses(self, measure: Measure) -> RowLosses | None:
        return None


def predictions_of(
    result: StreamedResult, batch: Batch, fold_of_row: np.ndarray, **values: np.ndarray
) -> pd.DataFrame:
    """Rows of the table `predictions`.

    Args:
      fold_of_row: (r, m).
      values: of the sums' field `predictions` (r, s, m, t), or `probabilities` (r, s, m, c).
    """
    own = batch.task
    task = dataclasses.replace(result.task, ids=own.ids, y=batch.y, lat=own.lat, lon=own.lon)
    of_batch = dataclasses.replace(
        result,
        task=task,
        folds=as_folds(fold_of_row, result.folds.count),
        sums=result.sums._replace(**values),
    )
    return frame_of([prediction_rows(of_batch)])
