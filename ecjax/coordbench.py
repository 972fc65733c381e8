"""Gets one label set of CoordBench from the model hub, ready for a study.

Axes: n rows.
"""

from __future__ import annotations

import fnmatch
import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ecjax import addresses
from ecjax.atomic import replace_files
from ecjax.columns import is_number
from ecjax.errors import InputError, counted, listing, quote
from ecjax.hub_tables import Hub
from ecjax.label_sets import LabelSet, label_set

LONGITUDES = ("lon", "longitude", "Lon", "x")
LATITUDES = ("lat", "latitude", "Lat", "y")
METADATA = b"ecjax"  # key under which a table that was made here says what it is
_NO_TARGETS = ("timestamp", "timestamp_end", "year", "split", "id", *LONGITUDES, *LATITUDES)
_POOL = re.compile(r"id in (\w+) where (.+)")


class Fetched(NamedTuple):
    """A label set as it was written.

    Attributes:
      path: NAME.parquet, with columns id, lat, lon, the targets and, where the table has them,
        split and year.
      tasks: of a study file: name -> keys of [tasks.NAME], with `path` relative to its folder. More
        than one where classes are told by several targets.
      rows: n.
      notes: what was left out and why, and what to know, in words.
      version: the commit that the table is of.
      checksum: SHA-256 of the table as published.
      licence, source: in words.
    """

    path: Path
    tasks: dict[str, dict[str, Any]]
    rows: int
    notes: list[str]
    version: str
    checksum: str
    licence: str
    source: str


def fetch_task(
    name: str,
    directory: str | os.PathLike,
    endpoint: str | None = None,
    revision: str = "main",
    kind: str | None = None,
) -> Fetched:
    """Writes NAME.parquet into a directory, unless it is there already from the same revision.

    Args:
      name: of a label set, as `ecjax tasks` lists them.
      directory: made where it is missing.
      endpoint: address of the hub; by default HF_ENDPOINT, or the model hub's.
      revision: a branch, tag or commit of the data set.
      kind: in place of the documented kind.

    Raises:
      InputError: no such label set, or its table is not as documented.
      Unavailable: the hub does not answer, or what it gives is damaged.
      WriteError: the table cannot be written.
    """
    wanted = label_set(name)
    wanted = wanted if kind is None else wanted._replace(kind=kind)
    path = Path(directory) / f"{wanted.name}.parquet"
    endpoint = endpoint or os.environ.get("HF_ENDPOINT") or addresses.HUB
    hub = Hub(endpoint, addresses.COORDBENCH, revision)
    asked = {"name": wanted.name, "kind": wanted.kind, "data": hub.shown, "revision": revision}
    known = _known(path, asked)
    if known is not None:
        return known
    table, checksum = hub.table(wanted.table)
    made, columns, notes = _made(wanted, table, hub)
    said = {
        "asked": asked,
        "tasks": _tasks(wanted, made, columns, path.name),
        "notes": notes,
        "version": hub.commit,
        "checksum": checksum,
        "licence": wanted.licence,
        "source": wanted.source,
    }
    made = made.replace_schema_metadata({METADATA: json.dumps(said)})
    content = io.BytesIO()
    pq.write_table(made, content, compression="zstd")
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_files(path.parent, {path.name: content.getvalue()})
    return _fetched(path, said, len(made))


def _known(path: Path, asked: dict[str, str]) -> Fetched | None:
    """What is there already, if it is what was asked for."""
    try:
        schema, rows = pq.read_schema(path), pq.read_metadata(path).num_rows
        said = json.loads((schema.metadata or {})[METADATA])
        return _fetched(path, said, rows) if said["asked"] == asked else None
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return None


def _fetched(path: Path, said: dict[str, Any], rows: int) -> Fetched:
    names = "tasks", "notes", "version", "checksum", "licence", "source"
    return Fetched(path=path, rows=rows, **{name: said[name] for name in names})


def _tasks(wanted: LabelSet, made: pa.Table, targets: list[str], path: str) -> dict[str, dict]:
    """Keys of [tasks.NAME]; a task of each target where there are classes of several."""
    keys: dict[str, Any] = {"path": path, "kind": wanted.kind, "lat": "lat", "lon": "lon"}
    if wanted.transform and wanted.kind == "regression":
        keys["transform"] = wanted.transform
    if "split" in made.column_names:
        keys["split"] = "split"
    if wanted.kind == "regression" or len(targets) == 1:
        return {wanted.name: keys | {"target": targets}}
    return {f"{wanted.name}-{target}": keys | {"target": [target]} for target in targets}


def _made(wanted: LabelSet, table: pa.Table, hub: Hub) -> tuple[pa.Table, list[str], list[str]]:
    """The table as it is written, its targets, and what to know of it."""
    where = f"{addresses.COORDBENCH}: table {quote(wanted.table)}"
    lon, lat = (_coordinates(table, names, where) for names in (LONGITUDES, LATITUDES))
    targets = _targets(wanted, table.schema, where)
    notes = [wanted.note] if wanted.note else []
    keep = np.ones(len(table), bool)

    def leave_out(rows: np.ndarray, why: str) -> None:
        nonlocal keep
        count = int((keep & rows).sum())
        keep &= ~rows
        if count:
            notes.append(f"{counted(count, 'row')} of {len(table):,} left out: {why}")

    if wanted.only:
        leave_out(~_only(wanted.only, table, hub, where), f"only those with {wanted.only}")
    for column, value in wanted.drop:
        column = targets[0] if column == "target" else column
        leave_out(_equal(table, column, value, where), f"{column} is {value:g}, for missing")
    missing = [_missing(table[target]) for target in targets]
    leave_out(np.all(missing, axis=0), "no target has a value")
    leave_out(~((np.abs(lat) <= 90) & (np.abs(lon) <= 180)), "without coordinates in degrees")
    if not keep.any():
        raise InputError(f"{where}: no row is left ({'; '.join(notes)}); the table is not as known")
    rows = pa.array(np.flatnonzero(keep))
    part = table.take(rows)
    made = {"id": _ids(part, rows, notes), "lat": lat[keep], "lon": lon[keep]}
    made |= {target: _labels(part[target], target, wanted.kind, where) for target in targets}
    made |= _further(part, targets, notes)
    return pa.table(made), targets, notes


def _coordinates(table: pa.Table, names: Sequence[str], where: str) -> np.ndarray:
    """(n,) float64 degrees; NaN where there is none."""
    name = next((name for name in names if name in table.column_names), None)
    if name is None or not is_number(table.schema.field(name).type):
        raise InputError(
            f"{where}: has no column of numbers named {listing(names, 4)} among "
            f"{listing(table.column_names, 12)}; the table is not as documented"
        )
    return _floats(table[name])


def _targets(wanted: LabelSet, schema: pa.Schema, where: str) -> list[str]:
    """The columns that the label set's patterns name, in their order."""
    exempt = [name.lower() for name in (*_NO_TARGETS, *wanted.except_)]
    columns = [n for n in schema.names if not any(_like(n, pattern) for pattern in exempt)]
    numbers = [name for name in columns if is_number(schema.field(name).type)]
    open_ended = wanted.first or wanted.targets == ("*",)
    found = []
    for pattern in wanted.targets:
        found += [n for n in (numbers if open_ended else columns) if _like(n, pattern.lower())]
    if not found or (not open_ended and len(found) < len(wanted.targets)):
        raise InputError(
            f"{where}: has no target {listing(wanted.targets, 3)} among "
            f"{listing(schema.names, 12)}; the table is not as documented"
        )
    return found[:1] if wanted.first else list(dict.fromkeys(found))


def _like(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name.lower(), pattern)


def _only(rule: str, table: pa.Table, hub: Hub, where: str) -> np.ndarray:
    """(n,) bool, the rows that a rule keeps."""
    pool = _POOL.fullmatch(rule)
    if pool is None:
        column, _, value = rule.partition("=")
        return _equal(table, column, float(value), where)
    other, _ = hub.table(pool[1])
    column, _, value = pool[2].partition("=")
    there = f"{addresses.COORDBENCH}: table {quote(pool[1])}"
    kept = other.filter(pa.array(_equal(other, column, float(value), there)))
    for one, name in ((table, where), (kept, there)):
        if "id" not in one.column_names:
            raise InputError(f"{name}: has no column id; the table is not as documented")
    text = pa.string()  # the hub's tables may hold the same ids as numbers and as text
    return pc.is_in(table["id"].cast(text), kept["id"].cast(text).combine_chunks()).to_numpy()


def _equal(table: pa.Table, column: str, value: float, where: str) -> np.ndarray:
    if column not in table.column_names or not is_number(table.schema.field(column).type):
        raise InputError(
            f"{where}: has no column of numbers {quote(column)} among "
            f"{listing(table.column_names, 12)}; the table is not as documented"
        )
    return _floats(table[column]) == value


def _missing(column: pa.ChunkedArray) -> np.ndarray:
    return np.isnan(_floats(column)) if is_number(column.type) else column.is_null().to_numpy()


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    """(n,) float64; null is NaN."""
    return pc.fill_null(column.cast(pa.float64(), safe=False), np.nan).to_numpy()


def _labels(column: pa.ChunkedArray, name: str, kind: str, where: str) -> pa.ChunkedArray:
    """Classes as text or whole numbers, targets of regression as float64."""
    if kind == "regression":
        if not is_number(column.type):
            raise InputError(
                f"{where}: target {quote(name)} holds {column.type}, not numbers; ask for it with "
                "kind = classification"
            )
        return pa.array(_floats(column))
    if not pa.types.is_floating(column.type):
        return column.combine_chunks()
    values = _floats(column)
    odd = np.flatnonzero(np.isfinite(values) & (values != np.round(values)))
    if len(odd):
        raise InputError(
            f"{where}: target {quote(name)} has {counted(len(odd), 'value')} that are no whole "
            f"numbers, first {values[odd[0]]:g}, and so no classes; ask for it with kind = "
            "regression"
        )
    return pa.array(values.astype(np.int64), mask=np.isnan(values))


def _ids(part: pa.Table, rows: pa.Array, notes: list[str]) -> pa.Array:
    """The table's own ids where each row has one of its own; else numbers of its rows."""
    if "id" in part.column_names:
        ids = part["id"].combine_chunks()
        if not ids.null_count and pc.count_distinct(ids).as_py() == len(ids):
            return ids
        if ids.null_count < len(ids):
            notes.append("ids are numbers of rows, for not each row has an id of its own")
    return rows


def _further(part: pa.Table, targets: Sequence[str], notes: list[str]) -> dict[str, Any]:
    """The columns split and year, where every row has a value."""
    found: dict[str, Any] = {}
    if "split" in part.column_names:
        split = part["split"].combine_chunks()
        if not split.null_count:
            found["split"] = split
        elif split.null_count < len(split):
            notes.append(f"no split, for {counted(split.null_count, 'row')} has none")
    if "timestamp" in part.column_names and not part["timestamp"].null_count:
        stamps = pd.to_datetime(part["timestamp"].to_numpy(), unit="ms", utc=True)
        found["year"] = pa.array(stamps.year.astype(np.int64))
    elif "year" in part.column_names and "year" not in targets:
        if pa.types.is_integer(part["year"].type) and not part["year"].null_count:
            found["year"] = part["year"].cast(pa.int64()).combine_chunks()
    return found
