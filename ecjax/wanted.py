"""The places that vectors are wanted for: a table of ids, coordinates and, if any, labels."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ecjax import columns, files, parts, points, remote
from ecjax.errors import InputError, counted, listing, quote
from ecjax.keys import check_known
from ecjax.models import Places
from ecjax.study import TaskSource
from ecjax.tables import TaskReader, TaskTable

YEAR = "year"
YEARS = 1900, 2100  # beyond these a number is no year


class Given(NamedTuple):
    """Which columns are what, as the flags say; None: found by their names."""

    id: str | None = None
    lat: str | None = None
    lon: str | None = None


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Places, with everything that their table says of them.

    Attributes:
      task: ids, coordinates and which columns they are, as a task without targets has them.
      year: (n,) int64; None where neither table nor flag says it.
      labels: (n rows) all columns of numbers, text, dates and the like, ids as they were read.
    """

    task: TaskTable
    year: np.ndarray | None
    labels: pa.Table

    @property
    def ids(self) -> np.ndarray:
        """(n,) int64 or object (text), unique."""
        return self.task.ids

    @property
    def places(self) -> Places:
        """In the table's order; the year is 0 where there is none."""
        year = np.zeros(len(self.ids), np.int64) if self.year is None else self.year
        return Places(self.task.lat + 0.0, self.task.lon + 0.0, year)  # -0 and 0 are one place


def read_wanted(text: str, given: Given, year: int | None) -> Wanted:
    """Reads the table of places.

    Args:
      text: its path, folder, pattern or URL.
      given: which columns are ids and coordinates.
      year: of all places; None: the column `year`, where there is one.

    Raises:
      InputError: the table cannot be read, a column is missing, or a place is none: it has no
        coordinates, or such beyond ±90 and ±180 degrees, or no year, or its id is another's too.
    """
    path = remote.path_of(text)
    found = parts.files_of(text, Path(), "places")
    chooser = _Chooser(given)
    # Ids must be read as text, before it is known which column they are in.
    ids = columns.ID_NAMES if given.id is None else (given.id,)
    whole = files.read_parts(found, "places", _spellings(ids), chooser.choose)
    id_column, lat, lon = chooser.taken
    source = TaskSource(
        path.stem, path, found, id_column, (), "regression", lat, lon, group=None, embeddings={}
    )
    reader = TaskReader(source)
    reader.where = f"places ({path})"
    task = reader.table(whole, reader.ids(whole))
    years = _years(whole, year, task)
    at = whole.column_names.index(id_column)
    labels = whole.set_column(at, id_column, pa.array(task.ids))
    if lat == lon:  # points, which become two columns
        labels = labels.drop_columns([lat])
        labels = labels.append_column("lat", [task.lat]).append_column("lon", [task.lon])
        task = dataclasses.replace(task, roles={"id": id_column, "lat": "lat", "lon": "lon"})
    return Wanted(task, years, labels)


class _Chooser:
    """Finds the columns by their names.

    Attributes:
      taken: those of ids, latitude and longitude, known once `choose` has seen the first file.
    """

    def __init__(self, given: Given):
        self._given = given
        self.taken: tuple[str, str, str] = ("", "", "")

    def choose(self, schema: pa.Schema, here: str) -> list[str]:
        """As `files.Choose`: all columns but those of lists and the like."""
        given = self._given
        ids = _column(schema, given.id, "id", columns.ID_NAMES, here)
        places = _points(schema, given, here) or (
            _column(schema, given.lat, "lat", columns.LATITUDES, here),
            _column(schema, given.lon, "lon", columns.LONGITUDES, here),
        )
        self.taken = (ids, *places)
        plain = [field.name for field in schema if not _is_nested(field.type)]
        return list(dict.fromkeys([*plain, *places]))


def _points(schema: pa.Schema, given: Given, here: str) -> tuple[str, str] | None:
    """The only column of points, twice, where no other is named as coordinates are."""
    found = [field.name for field in schema if points.is_points(field.type)]
    named = given.lat or given.lon or any(map(columns.is_coordinate, schema.names))
    if named or len(found) != 1:
        return None
    points.check_crs(schema, found[0], here)
    return found[0], found[0]


def _column(
    schema: pa.Schema, given: str | None, flag: str, usual: tuple[str, ...], here: str
) -> str:
    """The column that a flag names, or the one with the first of the usual names."""
    if given is not None:
        check_known(given, schema.names, f"column for --{flag}", here)
        return given
    for name in usual:
        like = [column for column in schema.names if column.lower() == name]
        if len(like) > 1:
            raise InputError(
                f"{here}: {counted(len(like), 'column')} could be the {flag}: {listing(like)}; "
                f"say which with --{flag}=COLUMN"
            )
        if like:
            return like[0]
    raise InputError(
        f"{here}: no column for the {flag} (such as {listing(usual, 4)}) among "
        f"{listing(schema.names, 8)}; say which it is with --{flag}=COLUMN"
    )


def _years(table: pa.Table, year: int | None, task: TaskTable) -> np.ndarray | None:
    """(n,) of each place, from the flag or the column."""
    if year is not None:
        return np.full(len(task.ids), year, np.int64)
    like = [name for name in table.column_names if name.lower() == YEAR]
    if not like:
        return None
    column = table[like[0]]
    values = np.full(len(task.ids), np.nan)
    if columns.is_number(column.type):
        values = column.cast(pa.float64(), safe=False).to_pandas().to_numpy(np.float64)
    bad = ~((values >= YEARS[0]) & (values <= YEARS[1]) & (values == np.floor(values)))
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{task.where}: column {quote(like[0])} has {counted(int(bad.sum()), 'value')} that "
            f"are no year, first {quote(column[first].as_py())} at id {quote(task.ids[first])}; "
            "correct them, or give one year for all places with --year"
        )
    return values.astype(np.int64)


def _is_nested(kind: pa.DataType) -> bool:
    return pa.types.is_nested(kind) or points.is_points(kind)


def _spellings(names: tuple[str, ...]) -> list[str]:
    """Names in small letters, in capitals, and with a capital first."""
    return list(dict.fromkeys(s for n in names for s in (n, n.lower(), n.upper(), n.capitalize())))
