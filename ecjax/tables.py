"""The one reader of input tables: Parquet and CSV files (`files`) in, arrays out.

Nothing is repaired on the way: a value is taken as stored, marked as missing, or refused with a
message. Which rows are used in the end is decided in `align`. The tables of embeddings that are
made from a task's coordinates come from here too.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ecjax import columns, files
from ecjax.binning import How
from ecjax.coordinates import Coordinates
from ecjax.errors import InputError, counted, quote
from ecjax.remote import RemotePath
from ecjax.study import EmbeddingSource, TaskSource
from ecjax.values import check_finite, check_ids, check_not_swapped, coordinate, masked_rows

_NULL_TEXTS = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None", "#N/A")
_WHOLE_NUMBER = r"^(0|-?[1-9][0-9]{0,17})$"


@dataclasses.dataclass(frozen=True)
class EmbeddingTable:
    """One embedding as stored, rows in the files' order.

    `ids` is (n,) int64 or object (str), unique; `vectors` (n, p) float32 or float64, C-contiguous,
    with NaN in the rows marked `missing` (n,); rows marked `fill` (n,) hold one fill value
    throughout. `columns` are the p names, `coordinates` columns beside them that are named like
    coordinates, `where` how messages call the table; `built_in` says how it was made from the
    task's coordinates, if it was.
    """

    name: str
    where: str
    ids: np.ndarray
    vectors: np.ndarray
    columns: tuple[str, ...]
    missing: np.ndarray
    fill: np.ndarray
    id_column: str = "id"
    coordinates: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    files: tuple[Path | RemotePath, ...] = ()
    allow_leaks: tuple[str, ...] = ()
    built_in: Coordinates | None = None


@dataclasses.dataclass(frozen=True)
class TaskTable:
    """One task's labels as stored, rows in the files' order.

    `targets` maps each target to its (n,) values, uninterpreted; `lat` and `lon` are (n,) float64
    degrees, `group` and `split` (n,) object; `coordinates` as in EmbeddingTable. `names` are the
    columns that are no features: id, coordinates, targets; `roles` those taken as id, lat, lon,
    group and split. `transform` is what the targets shall be changed by; `strata` holds the columns
    that divide the rows, uninterpreted, and how they do, see `binning`; `region` is (n,) object.
    """

    name: str
    where: str
    kind: str
    ids: np.ndarray
    targets: dict[str, pd.Series]
    lat: np.ndarray | None = None
    lon: np.ndarray | None = None
    group: np.ndarray | None = None
    split: np.ndarray | None = None
    coordinates: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    names: tuple[str, ...] = ()
    files: tuple[Path | RemotePath, ...] = ()
    roles: dict[str, str] = dataclasses.field(default_factory=dict)
    transform: str = "none"
    strata: dict[str, tuple[pd.Series, How]] = dataclasses.field(default_factory=dict)
    region: np.ndarray | None = None


def read_embedding(source: EmbeddingSource) -> EmbeddingTable:
    """Reads one embedding; parts are joined in the order of their names.

    Raises:
        InputError: A file cannot be read, or holds what no embedding can (inputs.md's rows 1-25).
    """
    owner = f"embedding {quote(source.name)}"
    where = f"{owner} ({source.path})"
    chosen: list[str] = []

    def choose(schema: pa.Schema, here: str) -> list[str]:
        columns.check_id(schema, source.id, here)
        if not chosen:
            chosen.extend(columns.choose_columns(schema, source.id, source.columns, here))
        if source.id in chosen and source.id not in source.allow_leaks:
            raise InputError(
                f"{here}: the id column {quote(source.id)} is among the {len(chosen)} feature "
                f"columns that columns = {quote(source.columns)} matches; choose a narrower "
                'pattern, as in columns = "emb_*"'
            )
        extra = [name for name in schema.names if columns.is_coordinate(name)]
        return list(dict.fromkeys([*chosen, source.id, *extra]))

    whole = files.read_parts(source.files, owner, [source.id], choose)
    ids = _ids(whole[source.id], source.id, files.is_csv(source.files[0]), where)
    if columns.is_list(whole.schema.field(chosen[0]).type):
        vectors = _list_vectors(whole[chosen[0]], chosen[0], ids, where)
        names = [f"{chosen[0]}[{j}]" for j in range(vectors.shape[1])]
    else:
        vectors, names = _wide_vectors(whole, chosen, ids, where), chosen
    check_finite(vectors, names, ids, where)
    missing, fill = masked_rows(vectors)
    return EmbeddingTable(
        name=source.name,
        where=where,
        ids=ids,
        vectors=vectors,
        columns=tuple(names),
        missing=missing,
        fill=fill,
        id_column=source.id,
        coordinates=_coordinates(whole, chosen),
        files=source.files,
        allow_leaks=source.allow_leaks,
    )


def read_task(source: TaskSource) -> TaskTable:
    """Reads one task's ids, targets, coordinates, groups and folds.

    Raises:
        InputError: A file cannot be read, a column is missing, or an id or coordinate unusable.
    """
    owner = f"task {quote(source.name)}"
    where = f"{owner} ({source.path})"
    labels = {"group": source.group, "split": source.split}
    asked = {"lat": source.lat, "lon": source.lon, **labels}

    def choose(schema: pa.Schema, here: str) -> list[str]:
        columns.check_id(schema, source.id, here)
        for target in source.target:
            columns.check_present(schema, target, "a target", here)
        for what, name in asked.items():
            if name is not None:
                columns.check_present(schema, name, what, here)
        for name in source.strata:
            columns.check_present(schema, name, "strata", here)
        extra = [f.name for f in schema if columns.is_coordinate(f.name)]
        given = [name for name in (*asked.values(), *source.strata) if name is not None]
        return list(dict.fromkeys([source.id, *source.target, *given, *extra]))

    text = dict.fromkeys([source.id, *(name for name in labels.values() if name is not None)])
    whole = files.read_parts(source.files, owner, text, choose)
    ids = _ids(whole[source.id], source.id, files.is_csv(source.files[0]), where)
    used = dict.fromkeys([source.id, *source.target, source.lat, source.lon])
    lat = lon = None
    if source.lat is not None and source.lon is not None:
        check_not_swapped(source.lat, source.lon, where)
        lat = coordinate(whole[source.lat].to_pandas(), source.lat, 90, ids, where)
        lon = coordinate(whole[source.lon].to_pandas(), source.lon, 180, ids, where)
    columns_of = {
        role: None if name is None else whole[name].to_pandas().astype(object).to_numpy()
        for role, name in labels.items()
    }
    return TaskTable(
        name=source.name,
        where=where,
        kind=source.kind,
        ids=ids,
        targets={name: whole[name].to_pandas() for name in source.target},
        lat=lat,
        lon=lon,
        **columns_of,
        coordinates=_coordinates(whole, used),
        names=tuple(name for name in used if name is not None),
        files=source.files,
        roles={role: name for role, name in {"id": source.id, **asked}.items() if name is not None},
        transform=source.transform,
        strata={name: (whole[name].to_pandas(), how) for name, how in source.strata.items()},
    )


def table_of_places(
    name: str, built_in: Coordinates, task: TaskTable, made: dict[tuple, np.ndarray]
) -> EmbeddingTable:
    """The embedding that is made from the coordinates of a task, which has a vector in every row.

    Args:
        made: Vectors of earlier tasks, to which these are added: tasks at the same places share
            one array.
    """
    key = built_in, task.lat.tobytes(), task.lon.tobytes()
    if key not in made:
        made[key] = built_in.encode(task.lat, task.lon)
    none = np.zeros(len(task.ids), bool)
    return EmbeddingTable(
        name=name,
        where=f"embedding {quote(name)} (of the coordinates of task {quote(task.name)})",
        ids=task.ids,
        vectors=made[key],
        columns=built_in.columns,
        missing=none,
        fill=none,
        built_in=built_in,
    )


def _ids(column: pa.ChunkedArray, name: str, is_csv: bool, where: str) -> np.ndarray:
    """(n,) unique int64 or object (str) ids.

    CSV has no types: its ids are numbers only if every one is written as a plain whole number.
    """
    here = f"{where}: id column {quote(name)}"
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    null = column.is_null()
    if text:
        null = pc.or_(null, pc.equal(pc.fill_null(column, ""), ""))
        if is_csv:
            null_text = pc.is_in(column, pa.array(_NULL_TEXTS))
            whole = pc.match_substring_regex(column, _WHOLE_NUMBER)
            if pc.all(pc.or_(whole, pc.or_(null, null_text))).as_py():
                null = pc.or_(null, null_text)
                text = False
    rows = np.flatnonzero(null.to_numpy())
    if len(rows):
        raise InputError(
            f"{here} has {counted(len(rows), 'null id')}, first in row {rows[0] + 1:,}; give each "
            "row an id of its own"
        )
    if text:
        ids = column.to_numpy().astype(object)
    else:
        try:
            ids = column.cast(pa.int64()).to_numpy()
            usable = not pa.types.is_floating(column.type)
        except pa.ArrowException:
            usable = False
        if not usable or pa.types.is_boolean(column.type) or pa.types.is_temporal(column.type):
            raise InputError(
                f"{here} is of type {column.type} (first {quote(column[0].as_py())}), but ids are "
                "whole numbers below 2**63 or text; store it as one of them"
            )
    check_ids(ids, here)
    return ids


def _wide_vectors(table: pa.Table, names: list[str], ids: np.ndarray, where: str) -> np.ndarray:
    """(n, p) floats from p columns."""
    types = [table.schema.field(name).type for name in names]
    for name, kind in zip(names, types, strict=True):
        if not columns.is_number(kind) and not pa.types.is_null(kind):
            raise _not_numbers(table[name], name, ids, where)
    _check_floating(types, names, where)
    single = all(k in (pa.float16(), pa.float32(), pa.null()) for k in types)
    dtype = np.float32 if single else np.float64
    by_column = np.empty((len(names), len(table)), dtype)
    for j, name in enumerate(names):
        by_column[j] = _floats(table[name], dtype)
    return np.ascontiguousarray(by_column.T)


def _list_vectors(column: pa.ChunkedArray, name: str, ids: np.ndarray, where: str) -> np.ndarray:
    """(n, p) floats from one column of lists; a null list is a row of NaN."""
    kind = column.type.value_type
    if not columns.is_number(kind):
        raise _not_numbers(column, name, ids, where)
    _check_floating([kind], [name], where)
    lengths = pc.list_value_length(column).to_numpy()  # float with NaN where a list is null
    given = np.flatnonzero(~np.isnan(lengths.astype(np.float64)))
    if not len(given) or not lengths[given[0]]:
        raise InputError(
            f"{where}: column {quote(name)} holds no vector (all {len(ids):,} are null or empty); "
            'fill it, or name another with columns = "…"'
        )
    width = int(lengths[given[0]])
    unequal = given[lengths[given] != width]
    if len(unequal):
        raise InputError(
            f"{where}: column {quote(name)} has {counted(len(unequal), 'vector')} of another "
            f"length than {width}, first {int(lengths[unequal[0]])} at id "
            f"{quote(ids[unequal[0]])}; all vectors must have equal length, or be null"
        )
    dtype = np.float32 if kind in (pa.float16(), pa.float32()) else np.float64
    vectors = np.full((len(ids), width), np.nan, dtype)
    flat = pa.chunked_array([pc.list_flatten(c) for c in column.chunks], kind)
    vectors[given] = _floats(flat, dtype).reshape(-1, width)
    return vectors


def _floats(column: pa.ChunkedArray, dtype: type) -> np.ndarray:
    """(n,) floats; null is NaN."""
    if pa.types.is_float16(column.type):  # Arrow fills no nulls in half precision
        return column.to_pandas().to_numpy(dtype, na_value=np.nan)
    column = column.cast(pa.from_numpy_dtype(dtype), safe=False)
    return pc.fill_null(column, np.nan).to_numpy()


def _check_floating(types: list[pa.DataType], names: list[str], where: str) -> None:
    """Refuses integers only; one integer column among floats is the leak guard's matter."""
    if all(pa.types.is_integer(kind) for kind in types):
        shown = f"{quote(names[0])}…{quote(names[-1])}" if len(names) > 1 else quote(names[0])
        raise InputError(
            f"{where}: {counted(len(names), 'column')} ({shown}) of integers ({types[0]}) and no "
            "floats: quantised vectors need their scale; store the de-quantised values as floats"
        )


def _not_numbers(column: pa.ChunkedArray, name: str, ids: np.ndarray, where: str) -> InputError:
    """The error for a column of a type that is no number, with the first value that is none."""
    bad = np.flatnonzero(column.is_valid().to_numpy())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        values = column.to_pandas()
        unread = pd.to_numeric(values, errors="coerce").isna() & values.notna() & (values != "")
        bad = np.flatnonzero(unread) if unread.any() else bad
    first = int(bad[0]) if len(bad) else 0
    return InputError(
        f"{where}: embedding column {quote(name)} has {counted(len(bad), 'value')} of type "
        f"{column.type} instead of numbers, first {quote(column[first].as_py())} at id "
        f'{quote(ids[first])}; correct them, or leave the column out with columns = "…"'
    )


def _coordinates(table: pa.Table, but: object) -> dict[str, np.ndarray]:
    """Complete numeric columns named like coordinates, other than those in `but`."""
    return {
        f.name: table[f.name].cast(pa.float64(), safe=False).to_numpy()
        for f in table.schema
        if columns.is_coordinate(f.name) and f.name not in but
        if columns.is_number(f.type) and not table[f.name].null_count
    }
