"""Places as points: well-known binary (WKB), as in a geometry column of GeoParquet.

A point of WKB is its byte order, its kind, in EWKB also the number of its CRS, then x and y (and
more): https://www.ogc.org/standards/sfa. In GeoParquet x is the longitude, whatever the CRS says
about its axes: https://geoparquet.org/releases/v1.1.0/.
"""

from __future__ import annotations

import json
import re
import struct
from typing import Any

import numpy as np
import pyarrow as pa

from ecjax.errors import InputError, counted, quote

DEGREES = ("EPSG:4326", "OGC:CRS84", "srid:4326")
_POINT, _WITH_SRID, _EWKB = 1, 0x20000000, 0xE0000000
_PLAIN = struct.pack("<BI", 1, _POINT)  # how almost all begin
_WKT_ID = re.compile(r'(?:ID\["EPSG",|AUTHORITY\["EPSG",")(\d+)"?\]\]$')


def is_points(kind: pa.DataType) -> bool:
    """Whether a column of this type may hold WKB."""
    types = pa.types
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def check_crs(schema: pa.Schema, name: str, where: str) -> None:
    """Raises an InputError unless a column of points is in degrees, as far as the file says.

    GeoParquet, and Parquet's own geometries, are in OGC:CRS84 where they say nothing.
    """
    column = _about(schema, name, where)
    encoding = column.get("encoding", "WKB")
    if encoding != "WKB":
        raise InputError(
            f"{where}: column {quote(name)} is encoded as {quote(encoding)}; write it as WKB, or "
            "give the places as two columns of degrees, with lat and lon"
        )
    crs = _name_of(column.get("crs", "OGC:CRS84"))
    if crs not in DEGREES:
        raise InputError(
            f"{where}: column {quote(name)} is in the CRS {quote(crs)}, but places are longitudes "
            "and latitudes (EPSG:4326 or OGC:CRS84); transform them, as with GeoPandas' "
            "to_crs(4326)"
        )


def _about(schema: pa.Schema, name: str, where: str) -> dict[str, Any]:
    """What a file says of a geometry column."""
    of_file = (schema.metadata or {}).get(b"geo")
    of_field = (schema.field(name).metadata or {}).get(b"ARROW:extension:metadata")
    try:
        if of_file is not None:
            return dict(json.loads(of_file)["columns"].get(name, {}))
        return dict(json.loads(of_field)) if of_field else {}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError(
            f"{where}: what the file says of column {quote(name)} is damaged (no JSON as "
            "GeoParquet has it); write the file again, or give lat and lon"
        ) from None


def _name_of(crs: Any) -> str:
    """ "EPSG:4326": of PROJJSON, of WKT, or as it is written."""
    if isinstance(crs, str) and crs.lstrip().startswith("{"):
        try:
            crs = json.loads(crs)
        except (ValueError, RecursionError):
            return crs[:100]
    if isinstance(crs, dict):
        known = crs.get("id")
        if isinstance(known, dict):
            return f"{known.get('authority')}:{known.get('code')}"
        return str(crs.get("name"))[:100]
    if crs is None:
        return "unknown"
    found = _WKT_ID.search(str(crs).strip())
    return f"EPSG:{found.group(1)}" if found else str(crs)[:100]


def coordinates(
    column: pa.ChunkedArray, name: str, ids: np.ndarray, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """x and y, (n,) float64 each, of points; NaN where there is none.

    Raises:
        InputError: A value is no point, or one in another CRS than EPSG:4326.
    """
    values, (x, y) = column.to_pylist(), np.full((2, len(column)), np.nan)
    plain = [i for i, v in enumerate(values) if v is not None and v[:5] == _PLAIN and len(v) == 21]
    numbers = np.frombuffer(b"".join(values[i][5:] for i in plain), "<f8").reshape(-1, 2)
    x[plain], y[plain] = numbers.T
    bad: list[int] = []
    for i in np.flatnonzero(np.isnan(x)):
        try:
            if values[i] is not None:
                x[i], y[i] = _point(values[i])
        except (ValueError, struct.error):
            bad.append(i)
    if bad:
        raise InputError(
            f"{where}: column {quote(name)} has {counted(len(bad), 'value')} that "
            f"{'is' if len(bad) == 1 else 'are'} no point in EPSG:4326 (WKB), first at id "
            f"{quote(ids[bad[0]])}; give points, such as GeoPandas' representative_point() of a "
            "polygon"
        )
    return x, y


def _point(value: bytes) -> tuple[float, float]:
    order = {0: ">", 1: "<"}.get(value[0] if value else -1)
    if order is None:
        raise ValueError("no byte order")
    (kind,) = struct.unpack_from(order + "I", value, 1)
    start = 5
    if kind & _WITH_SRID:
        (srid,) = struct.unpack_from(order + "I", value, start)
        start += 4
        if srid != 4326:
            raise ValueError(f"SRID {srid}")
    if (kind & ~_EWKB) % 1000 != _POINT:  # 1001, 2001 and 3001 have z and m
        raise ValueError("no point")
    return struct.unpack_from(order + "dd", value, start)
