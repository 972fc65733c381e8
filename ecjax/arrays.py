"""Arrays as input: the same checks, rows and notes as for tables, without files."""

import dataclasses
import numbers
from collections.abc import Mapping, Sequence, Sized
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from ecjax import binning
from ecjax.align import AlignedTask, align_tables
from ecjax.binning import VALUES, How
from ecjax.coordinates import Coordinates
from ecjax.errors import InputError, counted, listing, quote
from ecjax.keys import check_known
from ecjax.study import KINDS, MAX_EMBEDDINGS, check_name
from ecjax.tables import EmbeddingTable, TaskTable, table_of_places
from ecjax.transforms import TRANSFORMS, check_kind
from ecjax.values import check_finite, check_ids, coordinate, infer_kind, masked_rows


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """One task as arrays; row i of every array is the same place.

    Attributes:
        y: (n,) or (n, t) targets: floats for regression; text, booleans or categories for classes;
            integers only with `kind`. A list, an array, or a pandas Series or DataFrame, whose
            column names are the targets' names.
        embeddings: Name to (n, p) floats or `Coordinates`, in place of those given to `evaluate`.
        kind: "regression" or "classification"; by default as the type of `y` says.
        id: (n,) unique integers or text; by default the row numbers.
        lat, lon: (n,) degrees, for `split="spatial"` and for embeddings that are `Coordinates`.
        group: (n,) labels, for `split="group"`.
        split: (n,) "train" or "trainval" and "test", or the fold of each row, for `split="column"`.
        strata: Name to (n,) labels, or to a pair of (n,) values and how they divide the rows, as in
            {"climate": climate, "elevation": (metres, 4)}; see `binning`.
        region: (n,) labels of the regions of maps; None: in none.
        transform: "none", or "log1p": fit and score log(1 + y) (regression); `predictions` are in
            the units of `y`.
    """

    y: Any
    embeddings: Mapping[str, Any] | None = None
    kind: str | None = None
    id: Any = None
    lat: Any = None
    lon: Any = None
    group: Any = None
    split: Any = None
    transform: str = "none"
    strata: Mapping[str, Any] | None = None
    region: Any = None


def align_arrays(
    embeddings: Mapping[str, Any] | None, tasks: Mapping[str, Any]
) -> tuple[AlignedTask, ...]:
    """Checks and aligns arrays.

    Args:
        embeddings: Name to (n, p) floats (array, DataFrame, nested list), or to `Coordinates`; may
            be empty or None if every task brings its own.
        tasks: Name to a Task, or to its `y` alone.

    Returns:
        The tasks, in order, each with the embeddings in the order of `embeddings` (or else of the
        first task's own).

    Raises:
        InputError: A name, shape, type or value is unusable, or a feature column is a leak.
    """
    embeddings = embeddings or {}
    if not isinstance(embeddings, Mapping) or not isinstance(tasks, Mapping) or not tasks:
        raise InputError(
            'embeddings and tasks must be dicts of at least one entry, as in {"alphaearth": X}, '
            '{"biomass": y}'
        )
    given = {name: t if isinstance(t, Task) else Task(t) for name, t in tasks.items()}
    names = list(embeddings) or list(next(iter(given.values())).embeddings or {})
    _check_names(names, given)
    read: dict[int, EmbeddingTable] = {}
    made: dict[tuple, np.ndarray] = {}
    pairs = []
    for name, task in given.items():
        table = _task_table(name, task)
        own = embeddings if task.embeddings is None else task.embeddings
        _check_same_names(name, own, names)
        tables = {
            m: _place_table(m, own[m], table, made)
            if isinstance(own[m], Coordinates)
            else _embedding_table(m, own[m], table, read)
            for m in names
        }
        _check_same_source(name, tables, (pairs or [(table, tables)])[0][1])
        pairs.append((table, tables))
    return align_tables(pairs)


def _check_names(embeddings: Sequence[str], tasks: Mapping[str, Task]) -> None:
    for name in embeddings:
        check_name(name, "embedding")
    for name in tasks:
        check_name(name, "task")
    if not 1 <= len(embeddings) <= MAX_EMBEDDINGS:
        raise InputError(
            f"{len(embeddings)} embeddings were given, but 1 to {MAX_EMBEDDINGS} are possible; "
            'give a dict such as {"alphaearth": X1, "tessera": X2}'
        )


def _check_same_names(task: str, own: Mapping[str, Any], names: Sequence[str]) -> None:
    if not isinstance(own, Mapping):
        raise InputError(f"task {quote(task)}: embeddings must be a dict of arrays")
    differing = [n for n in own if n not in names] + [n for n in names if n not in own]
    if differing:
        raise InputError(
            f"task {quote(task)}: its embeddings and the study's ({listing(names, 10)}) differ in "
            f"{listing(differing, 10)}; every task needs the same embeddings"
        )


def _check_same_source(
    task: str, tables: Mapping[str, EmbeddingTable], first: Mapping[str, EmbeddingTable]
) -> None:
    for name, table in tables.items():
        if (table.built_in is None) != (first[name].built_in is None):
            raise InputError(
                f"task {quote(task)}: embedding {quote(name)} is made from the coordinates in one "
                "task and an array in another, but a name must stand for one thing; give either a "
                "name of its own"
            )


def _task_table(name: str, task: Task) -> TaskTable:
    where = f"task {quote(name)} (array)"
    targets = _targets(task.y, name, where)
    n = len(next(iter(targets.values())))
    if not n:
        raise InputError(f"{where}: y is empty; give at least one row")
    ids = _ids(task.id, n, where)
    if task.kind is not None:
        check_known(task.kind, KINDS, "kind", where)
    kinds = {task.kind or infer_kind(v, f"{where}: y") for v in targets.values()}
    if len(kinds) > 1 or (len(targets) > 1 and "classification" in kinds):
        raise InputError(
            f"{where}: y has {len(targets)} columns of {' and '.join(sorted(kinds))}; several "
            "targets must all be regression; make a task of each"
        )
    kind = kinds.pop()
    check_known(task.transform, TRANSFORMS, "transform", where)
    check_kind(task.transform, kind, where)
    if (task.lat is None) != (task.lon is None):
        raise InputError(f"{where}: one of lat and lon is given without the other; give both")
    lat = lon = None
    if task.lat is not None:
        lat = coordinate(_column(task.lat, n, "lat", where), "lat", 90, ids, where)
        lon = coordinate(_column(task.lon, n, "lon", where), "lon", 180, ids, where)
    labels = {"group": task.group, "split": task.split, "region": task.region}
    labels = {
        what: None if given is None else _column(given, n, what, where).astype(object).to_numpy()
        for what, given in labels.items()
    }
    return TaskTable(
        name=name,
        where=where,
        kind=kind,
        ids=ids,
        targets=targets,
        lat=lat,
        lon=lon,
        transform=task.transform,
        strata={key: _stratum(v, n, key, where) for key, v in (task.strata or {}).items()},
        **labels,
    )


def _stratum(given: Any, n: int, name: str, where: str) -> tuple[pd.Series, How]:
    """Values of what divides the rows, and how they do."""
    values, how = given if isinstance(given, tuple) and len(given) == 2 else (given, VALUES)
    what = f"strata {quote(name)}"
    return _column(values, n, what, where), binning.checked(how, f"{where}: {what}")


def _targets(y: Any, name: str, where: str) -> dict[str, pd.Series]:
    """Each target's values by name: a DataFrame's columns, the task's name, or name_0, name_1, …"""
    if isinstance(y, pd.DataFrame):
        names = [str(column) for column in y.columns]
        if not names or len(set(names)) < len(names):
            raise InputError(f"{where}: y needs columns with unique names, not {listing(names)}")
        return {key: y.iloc[:, j].reset_index(drop=True) for j, key in enumerate(names)}
    if isinstance(y, pd.Series | pd.Categorical):
        return {name: pd.Series(y).reset_index(drop=True)}
    values = _array(y, f"{where}: y")
    if values.ndim == 2 and values.shape[1] > 1:
        return {f"{name}_{j}": pd.Series(column) for j, column in enumerate(values.T)}
    if values.ndim not in (1, 2) or values.ndim == 2 and not values.shape[1]:
        raise InputError(f"{where}: y has shape {values.shape} instead of (n,) or (n, t)")
    return {name: pd.Series(values.reshape(-1))}


def _ids(given: Any, n: int, where: str) -> np.ndarray:
    if given is None:
        return np.arange(n)
    column = _column(given, n, "id", where)
    if column.isna().any() or (column.astype(object) == "").any():
        null = column.isna() | (column.astype(object) == "")
        raise InputError(
            f"{where}: id has {counted(int(null.sum()), 'null id')}, first in row "
            f"{int(null.to_numpy().argmax()) + 1:,}; give each row an id of its own"
        )
    objects = column.astype(object).to_numpy()
    if pd.api.types.is_integer_dtype(column.dtype):
        ids = column.to_numpy(np.int64)
    elif all(isinstance(v, str) for v in objects):
        ids = np.array([str(v) for v in objects], object)
    else:
        raise InputError(
            f"{where}: id is of type {column.dtype} (first {quote(objects[0])}), but ids are whole "
            "numbers or text; convert them to one of them"
        )
    check_ids(ids, f"{where}: id")
    return ids


def _column(values: Any, n: int, what: str, where: str) -> pd.Series:
    """A one-dimensional argument of n values."""
    if isinstance(values, pd.Series | pd.Categorical):
        column = pd.Series(values).reset_index(drop=True)
    else:
        array = _array(values, f"{where}: {what}")
        if array.ndim != 1:
            raise InputError(f"{where}: {what} has shape {array.shape} instead of ({n},)")
        column = pd.Series(array)
    if len(column) != n:
        raise InputError(
            f"{where}: {what} has {counted(len(column), 'row')}, but y has {n:,}; row i of every "
            "array must be the same place"
        )
    return column


def _place_table(
    name: str, given: Coordinates, task: TaskTable, made: dict[tuple, np.ndarray]
) -> EmbeddingTable:
    if task.lat is None:
        raise InputError(
            f"{task.where}: embedding {quote(name)} is made from the coordinates, and this task "
            "has none; give them, as in ecjax.Task(y, lat=lat, lon=lon)"
        )
    return table_of_places(name, given, task, made)


def _embedding_table(
    name: str, given: Any, task: TaskTable, read: dict[int, EmbeddingTable]
) -> EmbeddingTable:
    """The task's embedding; one array given to several tasks is checked and held once."""
    where = f"embedding {quote(name)} (array)"
    if id(given) not in read:
        vectors, columns = _vectors(given, name, where)
        check_finite(vectors, columns, np.arange(len(vectors)), where)
        missing, fill = masked_rows(vectors)
        read[id(given)] = EmbeddingTable(
            name, where, np.arange(len(vectors)), vectors, tuple(columns), missing, fill
        )
    table = read[id(given)]
    if len(table.vectors) != len(task.ids):
        raise InputError(
            f"{where}: {counted(len(table.vectors), 'row')}, but y of task {quote(task.name)} has "
            f"{len(task.ids):,}; row i of every array must be the same place (a task with rows of "
            "its own takes ecjax.Task(y, embeddings={…}))"
        )
    return dataclasses.replace(table, name=name, where=where, ids=task.ids)


def _vectors(given: Any, name: str, where: str) -> tuple[np.ndarray, list[str]]:
    """(n, p) float32 or float64, C-contiguous, and the p names."""
    vectors = _array(given, where)
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise InputError(f"{where}: shape {vectors.shape} instead of (n, p) with p of at least 1")
    columns = [f"{name}[{j}]" for j in range(vectors.shape[1])]
    if isinstance(given, pd.DataFrame):
        columns = [str(column) for column in given.columns]
    if vectors.dtype.kind in "OUS":
        vectors = _from_objects(vectors.astype(object), columns, where)
    if vectors.dtype.kind in "iu":
        raise InputError(
            f"{where}: {counted(len(columns), 'column')} ({listing(columns)}) of integers "
            f"({vectors.dtype}): quantised vectors need their scale; give the de-quantised values "
            "as floats"
        )
    if vectors.dtype.kind != "f":
        raise InputError(f"{where}: values of type {vectors.dtype} are no numbers; give floats")
    dtype = np.float32 if vectors.dtype.itemsize <= 4 else np.float64
    return np.ascontiguousarray(vectors, dtype), columns


def _from_objects(vectors: np.ndarray, columns: list[str], where: str) -> np.ndarray:
    """(n, p) float64 of numbers of any type; what is missing is NaN."""
    missing = pd.isna(vectors)
    is_number = np.array([isinstance(v, numbers.Real | Decimal) for v in vectors.flat])
    bad = np.argwhere(~is_number.reshape(vectors.shape) & ~missing)
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"{where}: {counted(len(bad), 'value')} that are no numbers, first "
            f"{quote(vectors[row, column])} in column {quote(columns[column])} at id {quote(row)}; "
            "give floats, and NaN where one is missing"
        )
    return np.where(missing, np.nan, vectors).astype(np.float64)


def _array(values: Any, where: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        lengths = [len(row) if isinstance(row, Sized) else 1 for row in values]
        unequal = [i for i, length in enumerate(lengths) if length != lengths[0]]
        what = f"no full array ({error})"
        if unequal:
            what = (
                f"{counted(len(unequal), 'row')} of another length than {lengths[0]}, first "
                f"{lengths[unequal[0]]} at id {quote(unequal[0])}"
            )
        raise InputError(f"{where}: {what}; all rows must have equal length") from None
