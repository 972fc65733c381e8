"""Which part of the map each row of a task lies in: cells of equal area, groups, or regions.

By default the regions of the study's layer where it has one, else cells of `settings.map_km`, or of
the smallest of SIDES_KM in which half of the rows share theirs with enough others for an interval
that tells something. That looks at places alone, never at losses.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from ecjax import sphere
from ecjax.align import AlignedTask
from ecjax.errors import InputError, quote
from ecjax.settings import Settings
from ecjax.splits import texts_of

SIDES_KM = (100.0, 200.0, 500.0, 1_000.0, 2_000.0, 3_000.0, 5_000.0)
ENOUGH = 30  # rows of a cell
EDGES = ("lat_min", "lat_max", "lon_min", "lon_max")


class Parts(NamedTuple):
    """The parts of a map that rows lie in.

    Attributes:
      names: (c,) texts.
      of_row: (n,) 0 … c − 1, −1 of a row in none.
      lat, lon: (c,) the middle of a part's rows, in degrees; NaN where the task has no places.
      edges: (4, c) degrees, in the order of EDGES; NaN where parts are no cells.
    """

    names: np.ndarray
    of_row: np.ndarray
    lat: np.ndarray
    lon: np.ndarray
    edges: np.ndarray


def check(task: AlignedTask, settings: Settings) -> None:
    """Raises an InputError if a task lacks what its map is asked to be made of."""
    parts_of(task, settings, np.arange(0))


def parts_of(task: AlignedTask, settings: Settings, rows: np.ndarray) -> Parts | None:
    """The parts that some rows of a task lie in; None where it has no map.

    Raises:
      InputError: the task lacks the groups, regions or coordinates that `settings` name.
    """
    kind = _kind(task, settings)
    if kind is None:
        return None
    if kind == "cell":
        side = side_of(task, settings)
        numbers = sphere.equal_area_cells(task.lat, task.lon, side)[rows]
        cells, of_row = np.unique(numbers, return_inverse=True)
        names, edges = cells.astype(str), sphere.cell_edges(cells, side)
    else:
        labels = task.region
        if kind == "group":
            labels = texts_of(task, task.group, "--map_by=group", "group")
        known = ~pd.isna(labels[rows])
        of_row = np.full(len(rows), -1)
        names, of_row[known] = np.unique(labels[rows][known].astype(str), return_inverse=True)
        edges = np.full((4, len(names)), np.nan)
    of_row, places = of_row.reshape(-1), np.full((2, len(names)), np.nan)
    if task.lat is not None:
        places = sphere.mean_places(task.lat[rows], task.lon[rows], of_row, len(names))
    return Parts(names.astype(object), of_row, *places, edges)


def side_of(task: AlignedTask, settings: Settings) -> float | None:
    """The side of the cells of a task's map, in km; None where its map has no cells."""
    if _kind(task, settings) != "cell":
        return None
    if settings.map_km is not None:
        return settings.map_km
    for side in SIDES_KM:
        cells = sphere.equal_area_cells(task.lat, task.lon, side)
        _, cell, rows = np.unique(cells, return_inverse=True, return_counts=True)
        if (rows[cell.reshape(-1)] >= ENOUGH).mean() >= 0.5:
            return side
    return SIDES_KM[-1]


def _kind(task: AlignedTask, settings: Settings) -> str | None:
    """ "cell", "group" or "region"; None: no map."""
    by = settings.map_by
    placed = task.lat is not None and task.lon is not None
    if by == "auto":
        if task.region is not None:
            return "region"
        return "cell" if placed and settings.map_km != 0 else None
    if by == "cell" and not placed:
        raise InputError(
            f"task {quote(task.name)}: --map_by=cell needs coordinates; name their columns with "
            "lat and lon (arrays: lat=… and lon=… of ecjax.Task)"
        )
    if by == "region" and task.region is None:
        raise InputError(
            f"task {quote(task.name)}: --map_by=region needs a layer of polygons and coordinates; "
            "add a table [regions] with path and name to the study, and lat and lon to the task "
            "(arrays: region=… of ecjax.Task)"
        )
    return by
