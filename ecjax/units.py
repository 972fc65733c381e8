"""What counts as independent where an interval is made: rows, blocks of the map, or groups.

Rows of one unit may be alike in what they lose; units are taken to be independent. So losses are
added up over each unit's rows, and an interval rests on how these sums differ.

Axes: n rows, g units.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ecjax import sphere
from ecjax.align import AlignedTask
from ecjax.errors import InputError, quote
from ecjax.notes import TASK_TABLE, Note
from ecjax.settings import Settings
from ecjax.splits import texts_of

FEW = 10  # units; below, a standard error is a guess and the t quantile large
_FEW = "intervals rest on few units"


class Units(NamedTuple):
    """The units of some rows.

    Attributes:
      kind: "row", "block" or "group".
      count: g.
      of_row: (n,) codes 0 … g − 1; None where each row is its own.
      unknown: why nothing is known of what they lost; "" where something is.
    """

    kind: str
    count: int
    of_row: np.ndarray | None = None
    unknown: str = ""

    def at(self, rows: np.ndarray) -> Units:
        """The units of some of the rows, given by their numbers."""
        if self.of_row is None:
            return self._replace(count=len(rows))
        return _coded(self.kind, self.of_row[rows])

    @property
    def lacking(self) -> str:
        """Why there are no intervals; "" where there are."""
        if self.unknown:
            return f"no interval: {self.unknown}"
        return "" if self.count > 1 else f"no interval: all rows are of one {self.kind}"


def units_of(task: AlignedTask, settings: Settings) -> Units:
    """The units of a task's rows by `settings.unit`.

    Raises:
      InputError: the task lacks coordinates, or groups in every row.
    """
    kind = settings.unit
    given = settings.bootstrap_unit != "auto"
    flag = f"--bootstrap_unit={kind}" if given else f"--split={settings.split}"
    if kind == "block":
        if task.lat is None or task.lon is None:
            raise InputError(
                f"task {quote(task.name)}: {flag} needs coordinates; name their columns with lat "
                "and lon (arrays: lat=… and lon=… of ecjax.Task)"
            )
        return _coded(kind, sphere.equal_area_cells(task.lat, task.lon, settings.block_km))
    if kind == "group":
        return _coded(kind, texts_of(task, task.group, flag, "group"))
    return Units(kind, len(task.ids))


def unit_notes(task: AlignedTask, units: Units) -> list[Note]:
    """A note where there are few units."""
    if units.kind == "row" or units.count >= FEW:
        return []
    return [Note(task.name, TASK_TABLE, _FEW, units.count, "")]


def _coded(kind: str, labels: np.ndarray) -> Units:
    known, codes = np.unique(labels, return_inverse=True)
    return Units(kind, len(known), codes.reshape(-1))
