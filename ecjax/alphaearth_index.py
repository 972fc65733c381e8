"""Which of AlphaEarth's files holds a place: the published index, by year and UTM zone.

A file lies in one UTM zone and is a square of 81,920 m; within a zone they do not overlap. A place
is looked for in its own zone of 6°, in the files of its own side of the equator. Only where no file
of that zone holds it are those of the neighbouring zones asked, the western first: files reach over
their zone's borders, and some countries are mapped in a neighbour's zone.

Axes: n places, f files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ecjax.atomic import WriteError, replace_files
from ecjax.errors import listing, neutral
from ecjax.models import Places, Unavailable
from ecjax.ranges import Ranges
from ecjax.utm import NORTHERNMOST, SOUTHERNMOST, project, zones
from ecjax.web import shown
from ecjax.web_file import Missing, WebFile

NAME = "aef_index.parquet"  # as published
KEPT = "alphaearth_index.parquet"  # ours of it, without the outlines that make it large
SIDES = ("utm_west", "utm_south", "utm_east", "utm_north")
COLUMNS = ("path", "year", "utm_zone", *SIDES)
MOST_FILES = 5_000_000
BEYOND = "beyond UTM, which ends at 80° S and 84° N"
_KEY = r"(?:^|/)(?P<key>(?P<year>\d{4})/(?P<zone>\d{1,2})(?P<side>[NS])/[\w.-]{1,200}\.tiff?)$"
_AT_ONCE = 10_000  # places that are compared with a zone's files together


class Index(NamedTuple):
    """The files, sorted by year, zone and key.

    Attributes:
      keys: (f,) object, "YEAR/ZONE/NAME.tiff", below the source's address.
      order: (f,) int64, of year and zone, as `_order` makes it.
      sides: (f, 4) float64 metres: west, south, east, north; east and north are the next file's.
      version: the ETag of the published index, "" where the server gives none.
    """

    keys: np.ndarray
    order: np.ndarray
    sides: np.ndarray
    version: str

    def epsg(self, file: int) -> int:
        """Of the coordinates of a file, WGS84 / UTM."""
        zone, south = divmod(int(self.order[file]) % 200, 2)
        return 32600 + 100 * south + zone


class Found(NamedTuple):
    """Where places are.

    Attributes:
      file: (n,) int64, row of the index, -1 where there is none.
      x, y: (n,) float64 metres in that file's zone.
      reason: (n,) object, why there is none; "" where there is one.
    """

    file: np.ndarray
    x: np.ndarray
    y: np.ndarray
    reason: np.ndarray


def read_index(base: str, cache: Path | None) -> Index:
    """The index of a source; what `cache` holds of the same source is not asked for again.

    Args:
        base: the address that its keys are below.
        cache: a folder, which need not be there yet; None: nowhere kept.

    Raises:
        Unavailable: it cannot be had, or is none.
        WriteError: it cannot be kept.
    """
    table = _kept(cache, base)
    if table is None:
        table = _published(f"{base}/{NAME}")
        table = table.replace_schema_metadata(
            {"ecjax": json.dumps({"source": shown(base), "version": _version(table)})}
        )
        if cache is not None:
            _keep(cache, table)
    return _index(table, f"{shown(base)}/{NAME}")


def find(index: Index, places: Places) -> Found:
    """The file that holds each place, and where in its zone."""
    n = len(places.lat)
    found = Found(np.full(n, -1), np.zeros(n), np.zeros(n), np.full(n, "", object))
    inside = (places.lat >= SOUTHERNMOST) & (places.lat <= NORTHERNMOST)
    own = zones(places.lon)
    for step in (0, -1, 1):
        left = np.flatnonzero(inside & (found.file < 0))
        zone = (own[left] - 1 + step) % 60 + 1
        south = places.lat[left] < 0
        x, y = project(places.lat[left], places.lon[left], zone, south)
        file = _holding(index, places.year[left], zone, south, x, y)
        held = file >= 0
        for into, values in ((found.file, file), (found.x, x), (found.y, y)):
            into[left[held]] = values[held]
    absent = found.file < 0
    for year in np.unique(places.year[absent]).tolist():
        first, last = np.searchsorted(index.order, [_order(year, 0, 0), _order(year + 1, 0, 0)])
        missing = "holds this place" if last > first else "is in the index"
        found.reason[absent & (places.year == year)] = f"no file of {year} {missing}"
    found.reason[~inside] = BEYOND
    return found


def _holding(index: Index, year, zone, south, x, y) -> np.ndarray:
    """(n,) rows of the index, -1 where no file holds the place."""
    file = np.full(len(x), -1)
    wanted = _order(year, zone, south)
    for key in np.unique(wanted):
        first, last = np.searchsorted(index.order, [key, key + 1])
        west, low, east, high = index.sides[first:last].T
        rows = np.flatnonzero(wanted == key)
        for start in range(0, len(rows) if last > first else 0, _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            a, b = x[some, None], y[some, None]
            holds = (a >= west) & (a < east) & (b >= low) & (b < high)
            file[some] = np.where(holds.any(1), first + holds.argmax(1), -1)
    return file


def _order(year, zone, south):
    """A number for each year and zone, 1 to 60 north or south of the equator."""
    return (year * 100 + zone) * 2 + south


def _published(url: str) -> pa.Table:
    """The columns of the published index that are needed, read by their ranges."""
    file = WebFile(url)
    try:
        with pq.ParquetFile(Ranges(file.size, file.read), pre_buffer=False) as parquet:
            lacking = [name for name in COLUMNS if name not in parquet.schema_arrow.names]
            if lacking:
                raise Unavailable(f"{shown(url)}: has no column {listing(lacking)}")
            groups = range(parquet.metadata.num_row_groups)
            rows = [parquet.metadata.row_group(i).num_rows for i in groups]
            if min(rows, default=0) < 0 or sum(rows) > MOST_FILES:
                raise Unavailable(f"{shown(url)}: has more than {MOST_FILES:,} rows")
            table = parquet.read(list(COLUMNS), use_threads=False)
    except Missing:
        raise Unavailable(f"{shown(url)}: there is no such file") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Unavailable(f"{shown(url)}: is no index as AlphaEarth's ({_told(error)})") from None
    return table.replace_schema_metadata({"version": file.etag})


def _told(error: Exception) -> str:
    """What went wrong, on one line."""
    return neutral(" ".join(str(error).split()))


def _version(table: pa.Table) -> str:
    return (table.schema.metadata or {}).get(b"version", b"").decode()


def _kept(cache: Path | None, base: str) -> pa.Table | None:
    """Our copy of the index, if it is there, whole, and of this source."""
    if cache is None:
        return None
    try:
        table = pq.read_table(cache / KEPT)
        told = json.loads((table.schema.metadata or {})[b"ecjax"])
    except (pa.ArrowException, OSError, ValueError, KeyError):
        return None
    return table if told["source"] == shown(base) else None


def _keep(cache: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{cache}: cannot be made ({error.strerror or error})") from None
    replace_files(cache, {KEPT: sink.getvalue().to_pybytes()})


def _index(table: pa.Table, where: str) -> Index:
    """The files whose paths are as published; others are none of ours."""
    try:
        sides = np.stack([table[name].cast(pa.float64()).to_numpy() for name in SIDES], axis=1)
        named = pc.extract_regex(table["path"].cast(pa.string()), _KEY).combine_chunks()
    except pa.ArrowException as error:
        raise Unavailable(f"{where}: is no index as AlphaEarth's ({_told(error)})") from None
    good = pc.is_valid(named).to_numpy(zero_copy_only=False) & np.isfinite(sides).all(axis=1)
    if not good.any():
        raise Unavailable(f"{where}: names no file as YEAR/ZONE/NAME.tiff")
    named, sides = named.filter(pa.array(good)), sides[good]
    year, zone = (named.field(part).cast(pa.int64()).to_numpy() for part in ("year", "zone"))
    south = pc.equal(named.field("side"), "S").to_numpy(zero_copy_only=False)
    found = pa.table({"key": named.field("key"), "order": _order(year, zone, south)})
    sorting = pc.sort_indices(found, [("order", "ascending"), ("key", "ascending")]).to_numpy()
    found = found.take(sorting)
    version = json.loads(table.schema.metadata[b"ecjax"])["version"]
    return Index(
        found["key"].to_numpy(zero_copy_only=False),
        found["order"].to_numpy(),
        sides[sorting],
        version,
    )
