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
from ecjax.vectors import list_vectors, wide_vectors

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


class _Reader:
    """What the columns of a source's files mean.

    Attributes:
        owner, where: How messages call the source, and its table.
        text: Columns that CSV is read from as text.
    """

    def __init__(self, source: EmbeddingSource | TaskSource, what: str):
        self.source = source
        self.owner = f"{what} {quote(source.name)}"
        self.where = f"{self.owner} ({source.path})"
        self.text = [source.id]

    def ids(self, whole: pa.Table) -> np.ndarray:
        """(n,) of all rows, whose type is that of all together."""
        is_csv = files.is_csv(self.source.files[0])
        return _ids(whole[self.source.id], self.source.id, is_csv, self.where)


class EmbeddingReader(_Reader):
    """What the columns of one embedding's files mean.

    Attributes:
        chosen: The columns that hold its vectors, known once `choose` has seen the first file.
    """

    def __init__(self, source: EmbeddingSource):
        super().__init__(source, "embedding")
        self.chosen: list[str] = []

    def choose(self, schema: pa.Schema, here: str) -> list[str]:
        """As `files.Choose`."""
        source = self.source
        columns.check_id(schema, source.id, here)
        if not self.chosen:
            self.chosen.extend(columns.choose_columns(schema, source.id, source.columns, here))
        if source.id in self.chosen and source.id not in source.allow_leaks:
            raise InputError(
                f"{here}: the id column {quote(source.id)} is among the {len(self.chosen)} feature "
                f"columns that columns = {quote(source.columns)} matches; choose a narrower "
                'pattern, as in columns = "emb_*"'
            )
        extra = [name for name in schema.names if columns.is_coordinate(name)]
        return list(dict.fromkeys([*self.chosen, source.id, *extra]))

    def vectors(
        self, rows: pa.Table, ids: np.ndarray, width: int | None = None
    ) -> tuple[np.ndarray, list[str]]:
        """(n, p) vectors of some rows, and the p names.

        Args:
            width: Of lists, where it is known from other rows.
        """
        first = self.chosen[0]
        if not columns.is_list(rows.schema.field(first).type):
            return wide_vectors(rows, self.chosen, ids, self.where), self.chosen
        vectors = list_vectors(rows[first], first, ids, self.where, width)
        return vectors, [f"{first}[{j}]" for j in range(vectors.shape[1])]

    def table(self, rows: pa.Table, ids: np.ndarray, width: int | None = None) -> EmbeddingTable:
        """Of some rows; as `vectors`."""
        vectors, names = self.vectors(rows, ids, width)
        check_finite(vectors, names, ids, self.where)
        missing, fill = masked_rows(vectors)
        return EmbeddingTable(
            name=self.source.name,
            where=self.where,
            ids=ids,
            vectors=vectors,
            columns=tuple(names),
            missing=missing,
            fill=fill,
            id_column=self.source.id,
            coordinates=_coordinates(rows, self.chosen),
            files=self.source.files,
            allow_leaks=self.source.allow_leaks,
        )


class TaskReader(_Reader):
    """What the columns of one task's files mean."""

    def __init__(self, source: TaskSource):
        super().__init__(source, "task")
        self.labels = {"group": source.group, "split": source.split}
        self.asked = {"lat": source.lat, "lon": source.lon, **self.labels}
        named = (name for name in self.labels.values() if name is not None)
        self.text = list(dict.fromkeys([source.id, *named]))

    def choose(self, schema: pa.Schema, here: str) -> list[str]:
        """As `files.Choose`."""
        source = self.source
        columns.check_id(schema, source.id, here)
        for target in source.target:
            columns.check_present(schema, target, "a target", here)
        for what, name in self.asked.items():
            if name is not None:
                columns.check_present(schema, name, what, here)
        for name in source.strata:
            columns.check_present(schema, name, "strata", here)
        extra = [f.name for f in schema if columns.is_coordinate(f.name)]
        given = [name for name in (*self.asked.values(), *source.strata) if name is not None]
        return list(dict.fromkeys([source.id, *source.target, *given, *extra]))

    def table(self, rows: pa.Table, ids: np.ndarray) -> TaskTable:
        """Of some rows."""
        source, where = self.source, self.where
        used = dict.fromkeys([source.id, *source.target, source.lat, source.lon])
        lat = lon = None
        if source.lat is not None and source.lon is not None:
            check_not_swapped(source.lat, source.lon, where)
            lat = coordinate(rows[source.lat].to_pandas(), source.lat, 90, ids, where)
            lon = coordinate(rows[source.lon].to_pandas(), source.lon, 180, ids, where)
        columns_of = {
            role: None if name is None else rows[name].to_pandas().astype(object).to_numpy()
            for role, name in self.labels.items()
        }
        roles = {"id": source.id, **self.asked}
        return TaskTable(
            name=source.name,
            where=where,
            kind=source.kind,
            ids=ids,
            targets={name: rows[name].to_pandas() for name in source.target},
            lat=lat,
            lon=lon,
            **columns_of,
            coordinates=_coordinates(rows, used),
            names=tuple(name for name in used if name is not None),
            files=source.files,
            roles={role: name for role, name in roles.items() if name is not None},
            transform=source.transform,
            strata={name: (rows[name].to_pandas(), how) for name, how in source.strata.items()},
        )


def read_embedding(source: EmbeddingSource) -> EmbeddingTable:
    """Reads one embedding; parts are joined in the order of their names.

    Raises:
        InputError: A file cannot be read, or holds what no embedding can (inputs.md's rows 1-25).
    """
    return _read(EmbeddingReader(source))


def read_task(source: TaskSource) -> TaskTable:
    """Reads one task's ids, targets, coordinates, groups and folds.

    Raises:
        InputError: A file cannot be read, a column is missing, or an id or coordinate unusable.
    """
    return _read(TaskReader(source))


def _read(reader: _Reader) -> EmbeddingTable | TaskTable:
    whole = files.read_parts(reader.source.files, reader.owner, reader.text, reader.choose)
    return reader.table(whole, reader.ids(whole))


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


def _coordinates(table: pa.Table, but: object) -> dict[str, np.ndarray]:
    """Complete numeric columns named like coordinates, other than those in `but`."""
    return {
        f.name: table[f.name].cast(pa.float64(), safe=False).to_numpy()
        for f in table.schema
        if columns.is_coordinate(f.name) and f.name not in but
        if columns.is_number(f.type) and not table[f.name].null_count
    }
