"""The places that vectors are wanted for: a table of ids, coordinates and, if any, labels."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from ecjax import columns, files, parts, points, remote
from ecjax.errors import InputError, counted, listing, quote
from ecjax.forms import is_csv
from ecjax.id_column import ids_of
from ecjax.keys import check_known
from ecjax.models import Places
from ecjax.study import TaskSource
from ecjax.tables import TaskReader, TaskTable
from ecjax.values import check_not_swapped, hint_of_degrees

YEAR = "year"
YEARS = 1900, 2100  # beyond these a number is no year
USUAL = {"id": columns.ID_NAMES, "lat": columns.LATITUDES, "lon": columns.LONGITUDES}
_WKT = re.compile(r"\s*(SRID=\d+;)?\s*POINT\s*(Z|M|ZM)?\s*\(", re.IGNORECASE)
# The numbers of such a text, for pandas' str.extract.
_WKT_NUMBERS = r"\(\s*(\S+)\s+([^\s)]+)"


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
    found, where = parts.files_of(text, Path(), "places"), f"places ({path})"
    chooser = _Chooser(given)
    # Ids must be read as text, before it is known which column they are in.
    text_ids = columns.ID_NAMES if given.id is None else (given.id,)
    whole = files.read_parts(found, "places", _spellings(text_ids), chooser.choose)
    if not all(chooser.taken.values()):
        raise InputError(*_what_lacks(whole, chooser, where))
    id_column, lat, lon = chooser.taken.values()
    ids = ids_of(whole[id_column], id_column, is_csv(found[0]), where)
    spelled = f"places[{quote(lat)}]", f"places[{quote(lon)}]"  # as pandas has them
    if lat == lon and points.is_points(whole[lat].type):  # which become two columns
        x, y = points.coordinates(whole[lat], lat, ids, where)
        whole = whole.drop_columns([lat]).append_column("lat", [y]).append_column("lon", [x])
        lat, lon, spelled = "lat", "lon", (f"{spelled[0]}.y", f"{spelled[1]}.x")
    check_not_swapped(lat, lon, where)
    _check_degrees(whole, (lat, lon), spelled, ids, where)
    source = TaskSource(
        path.stem, path, found, id_column, (), "regression", lat, lon, group=None, embeddings={}
    )
    reader = TaskReader(source)
    reader.where = where
    task = reader.table(whole, ids)
    years = _years(whole, year, task)
    at = whole.column_names.index(id_column)
    return Wanted(task, years, whole.set_column(at, id_column, pa.array(ids)))


class _Chooser:
    """Finds the columns by their names.

    Attributes:
      taken: flag → column, of ids, latitudes and longitudes; "" where there is none. Known once
        `choose` has seen the first file.
      names: of all columns.
    """

    def __init__(self, given: Given):
        self._given = given
        self.taken: dict[str, str] = {}
        self.names: list[str] = []

    def choose(self, schema: pa.Schema, here: str) -> list[str]:
        """As `files.Choose`: all columns but those of lists and the like."""
        self.names, given = schema.names, self._given
        found = {flag: _column(schema, getattr(given, flag), flag, here) for flag in USUAL}
        if (of_points := _points(schema, given, here)) is not None:
            found |= {"lat": of_points, "lon": of_points}
        self.taken = found
        plain = [field.name for field in schema if not _is_nested(field.type)]
        return list(dict.fromkeys([*plain, *filter(None, found.values())]))


def _points(schema: pa.Schema, given: Given, here: str) -> str | None:
    """The only column of points, where no other is named as coordinates are."""
    found = [field.name for field in schema if points.is_points(field.type)]
    named = given.lat or given.lon or any(map(columns.is_coordinate, schema.names))
    if named or len(found) != 1:
        return None
    points.check_crs(schema, found[0], here)
    return found[0]


def _column(schema: pa.Schema, given: str | None, flag: str, here: str) -> str:
    """The column that a flag names, or the one with the first of the usual names; "" for none."""
    if given is not None:
        check_known(given, schema.names, f"column for --{flag}", here)
        return given
    for name in USUAL[flag]:
        like = [column for column in schema.names if column.lower() == name]
        if len(like) > 1:
            raise InputError(
                f"{here}: {counted(len(like), 'column')} could be the {flag}: {listing(like)}; "
                f"say which with --{flag}=COLUMN"
            )
        if like:
            return like[0]
    return ""


def _what_lacks(whole: pa.Table, chooser: _Chooser, where: str) -> list[str]:
    """Which columns are not there, what there is, and what to do."""
    lacking = [flag for flag, name in chooser.taken.items() if not name]
    texts = {name: first for name in whole.column_names if (first := _wkt(whole[name]))}
    others = [n for n in whole.column_names if n not in (*texts, *chooser.taken.values())]
    told = []
    for flags in (["id"], ["lat", "lon"]):
        if absent := [flag for flag in flags if flag in lacking]:
            usual = " and ".join(f"the {flag} (such as {listing(USUAL[flag])})" for flag in absent)
            way_out = _ids_instead(whole, others) if flags == ["id"] else _degrees_of(texts, absent)
            names = listing(chooser.names, 8)
            told.append(f"{where}: no column for {usual} among {names}; {way_out}")
    return told


def _ids_instead(whole: pa.Table, others: list[str]) -> str:
    able = [name for name in others if _could_be_ids(whole[name])]
    if able:
        return f"{listing(able, 4)} could be, say which with --id=COLUMN"
    return (
        "no column of texts or whole numbers is distinct in every row; number the rows, as with "
        'pandas: places.insert(0, "id", range(len(places)))'
    )


def _degrees_of(texts: dict[str, str], absent: list[str]) -> str:
    if not texts:
        return f"say which with {' and '.join(f'--{flag}=COLUMN' for flag in absent)}"
    name, first = next(iter(texts.items()))
    return (
        f"{quote(name)} holds points as text (first {quote(first)}); make two columns of them, as "
        f'with pandas: places[["lon", "lat"]] = places[{quote(name)}].str.extract('
        f'r"{_WKT_NUMBERS}").astype(float)'
    )


def _wkt(column: pa.ChunkedArray) -> str:
    """The first value of a column of points as text (WKT); "" of another."""
    if not columns.is_text(column.type):
        return ""
    first = next((value for value in column.to_pylist() if value), "")
    return first if _WKT.match(first) else ""


def _could_be_ids(column: pa.ChunkedArray) -> bool:
    if column.null_count or not (pa.types.is_integer(column.type) or columns.is_text(column.type)):
        return False
    return columns.series(column).is_unique


def _check_degrees(
    whole: pa.Table, names: tuple[str, str], spelled: tuple[str, str], ids: np.ndarray, where: str
) -> None:
    """Raises an InputError that counts the rows without a place, and tells how to leave them out.

    Args:
      names: of the columns of latitudes and longitudes.
      spelled: how pandas has these in a table `places`.
    """
    bad, degrees, terms = np.zeros(len(ids), bool), [], []
    for name, code, limit in zip(names, spelled, (90, 180), strict=True):
        values = columns.series(whole[name])
        if not pd.api.types.is_numeric_dtype(values.dtype):
            values = pd.to_numeric(values.astype(object), errors="coerce")
            code = f'pd.to_numeric({code}, errors="coerce")'
        degrees.append(values.to_numpy(np.float64, na_value=np.nan))
        bad |= ~(np.abs(degrees[-1]) <= limit)
        terms.append(f"{code}.between(-{limit}, {limit})")
    if not bad.any():
        return
    lat, lon = degrees
    hint = hint_of_degrees(lat, 90) if np.nanmax(np.abs(lon), initial=0) <= 90 else ""
    hint = hint or hint_of_degrees(lon, 180)
    first, count = int(np.flatnonzero(bad)[0]), int(bad.sum())
    found = [(name, whole[name][first].as_py()) for name in names]
    shown = [f"{quote(n)} is {'missing' if v is None else quote(v)}" for n, v in found]
    way_out = f", or leave them out, as with pandas: places = places[{' & '.join(terms)}]"
    raise InputError(
        f"{where}: {count:,} of {counted(len(ids), 'row')} {'is' if count == 1 else 'are'} no "
        "place, for want of a latitude within ±90 and a longitude within ±180 degrees; first row "
        f"{first + 1:,}, id {quote(ids[first])}: {', '.join(shown)}{hint}; correct them"
        + way_out
        * (not bad.all())
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
