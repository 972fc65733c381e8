"""The one reader of input tables: files of all containers (`files`) in, arrays out.

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

from ecjax import columns, files, points, quantised
from ecjax.binning import How
from ecjax.coordinates import Coordinates
from ecjax.errors import InputError, counted, listing, quote
from ecjax.forms import IdFiles, check_ids, is_csv
from ecjax.id_column import ids_of
from ecjax.limits import Budget
from ecjax.remote import RemotePath
from ecjax.study import EmbeddingSource, TaskSource
from ecjax.values import check_finite, check_not_swapped, coordinate, masked_rows
from ecjax.vectors import list_vectors, wide_vectors


@dataclasses.dataclass(frozen=True)
class EmbeddingTable:
    """One embedding as stored, rows in the files' order.

    `ids` is (n,) int64 or object (str), unique; `vectors` (n, p) float32 or float64, C-contiguous,
    with NaN in the rows marked `missing` (n,); rows marked `fill` (n,) hold one fill value
    throughout. `columns` are the p names, `coordinates` columns beside them that are named like
    coordinates, `where` how messages call the table; `built_in` says how it was made from the
    task's coordinates, and `stored` how from whole numbers, in words, if it was.
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
    stored: str = ""


@dataclasses.dataclass(frozen=True)
class TaskTable:
    """One task's labels as stored, rows in the files' order.

    `targets` maps each target to its (n,) values, uninterpreted; `lat` and `lon` are (n,) float64
    degrees, `group` and `split` (n,) object; `coordinates` as in EmbeddingTable. `names` are the
    columns that are no features: id, coordinates, targets; `roles` those taken as id, lat, lon,
    group and split. `transform` is what the targets shall be changed by; `strata` holds the columns
    that divide the rows, uninterpreted, and how they do, see `binning`; `region` is (n,) object.
    `declared` marks the rows (n,) in which a target held a value that the study says is none.
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
    declared: np.ndarray | None = None


class _Reader:
    """What the columns of a source's files mean.

    Attributes:
        owner, where: How messages call the source, and its table.
        text: Columns that CSV is read from as text.
        id_files: Where the ids of arrays are.
    """

    def __init__(self, source: EmbeddingSource | TaskSource, what: str):
        self.source = source
        self.owner = f"{what} {quote(source.name)}"
        self.where = f"{self.owner} ({source.path})"
        self.text = [source.id]
        self.id_files: IdFiles | None = None

    def budget(self) -> Budget:
        """What the table may take."""
        return Budget(self.source.max_bytes)

    def whole(self) -> pa.Table:
        """The chosen columns of all files."""
        given = self.source.files, self.owner, self.text, self.choose, self.budget()
        return files.read_parts(*given, self.id_files)

    def ids(self, whole: pa.Table) -> np.ndarray:
        """(n,) of all rows, whose type is that of all together."""
        first = (self.id_files.files if self.id_files else self.source.files)[0]
        return ids_of(whole[self.source.id], self.source.id, is_csv(first), self.where)


class EmbeddingReader(_Reader):
    """What the columns of one embedding's files mean.

    Attributes:
        chosen: The columns that hold its vectors, known once `choose` has seen the first file.
    """

    def __init__(self, source: EmbeddingSource):
        super().__init__(source, "embedding")
        self.chosen: list[str] = []
        self.id_files = IdFiles(source.ids, source.id) if source.ids else None
        check_ids(source.files, self.owner, self.id_files)
        self._provenance: list[str] = []
        self._version: str | None = None

    def choose(self, schema: pa.Schema, here: str) -> list[str]:
        """As `files.Choose`."""
        source = self.source
        columns.check_id(schema, source.id, here)
        scale = [source.scale] if isinstance(source.scale, str) else []
        for name in scale:
            columns.check_present(schema, name, "scale", here)
        if not self.chosen:
            others = (source.id, *scale)
            self.chosen.extend(columns.choose_columns(schema, others, source.columns, here))
        given = {source.id: "id"} | dict.fromkeys(scale, "scale")
        for name, what in given.items():
            if name in self.chosen and name not in source.allow_leaks:
                raise InputError(
                    f"{here}: the {what} column {quote(name)} is among the {len(self.chosen)} "
                    f"feature columns that columns = {quote(source.columns)} matches; choose a "
                    'narrower pattern, as in columns = "emb_*"'
                )
        extra = [name for name in schema.names if columns.is_coordinate(name)]
        self._provenance = columns.version(schema)
        return list(dict.fromkeys([*self.chosen, *given, *extra, *self._provenance]))

    def stored(
        self, rows: pa.Table, ids: np.ndarray, width: int | None = None
    ) -> tuple[np.ndarray, list[str]]:
        """As `vectors`, but whole numbers are not yet what they stand for."""
        source, first = self.source, self.chosen[0]
        known = source.dequantise is not None or source.scale is not None
        if not columns.is_list(rows.schema.field(first).type):
            return wide_vectors(rows, self.chosen, ids, self.where, known), self.chosen
        where = self.where, width, known, self.budget()
        found = list_vectors(rows[first], first, ids, *where)
        return found, [f"{first}[{j}]" for j in range(found.shape[1])]

    def vectors(
        self, rows: pa.Table, ids: np.ndarray, width: int | None = None
    ) -> tuple[np.ndarray, list[str]]:
        """(n, p) vectors of some rows, and the p names.

        Args:
            width: Of lists, where it is known from other rows.
        """
        stored, names = self.stored(rows, ids, width)
        scale = self.source.scale
        if self.source.dequantise is not None:
            return quantised.of_alphaearth(stored, names, ids, self.where), names
        if isinstance(scale, str):
            (own,) = wide_vectors(rows, [scale], ids, self.where, quantised=True).T
            return quantised.scaled(stored, own, scale, ids, self.where), names
        return (stored if scale is None else stored * stored.dtype.type(scale)), names

    def table(self, rows: pa.Table, ids: np.ndarray, width: int | None = None) -> EmbeddingTable:
        """Of some rows; as `vectors`."""
        self._check_version(rows, ids)
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
            stored=quantised.in_words(self.source.dequantise, self.source.scale),
        )

    def _check_version(self, rows: pa.Table, ids: np.ndarray) -> None:
        """Raises an InputError if vectors come from different versions of a data set."""
        for name in self._provenance:
            values = columns.series(rows[name])
            given = values.notna().to_numpy()
            self._version = self._version or next(iter(values[given]), None)
            other = np.flatnonzero(given & (values != self._version).to_numpy())
            if len(other):
                found = dict.fromkeys([self._version, *values.iloc[other]])
                raise InputError(
                    f"{self.where}: column {quote(name)} names {len(found)} versions of the data "
                    f"set ({listing(found)}), the second first at id {quote(ids[other[0]])} and in "
                    f"{counted(len(other), 'row')}; vectors of different versions must not be "
                    "mixed: fetch all of one version, or remove the rows of the other"
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
        if source.lat is not None and points.is_points(schema.field(source.lat).type):
            points.check_crs(schema, source.lat, here)
        extra = [f.name for f in schema if columns.is_coordinate(f.name)]
        given = [name for name in (*self.asked.values(), *source.strata) if name is not None]
        return list(dict.fromkeys([source.id, *source.target, *given, *extra]))

    def table(self, rows: pa.Table, ids: np.ndarray) -> TaskTable:
        """Of some rows."""
        source, where = self.source, self.where
        used = dict.fromkeys([source.id, *source.target, source.lat, source.lon])
        lat, lon = self._places(rows, ids)
        targets, declared = self._targets(rows)
        columns_of = {
            role: None if name is None else columns.series(rows[name]).astype(object).to_numpy()
            for role, name in self.labels.items()
        }
        roles = {"id": source.id, **self.asked}
        return TaskTable(
            name=source.name,
            where=where,
            kind=source.kind,
            ids=ids,
            targets=targets,
            lat=lat,
            lon=lon,
            **columns_of,
            coordinates=_coordinates(rows, used),
            names=tuple(name for name in used if name is not None),
            files=source.files,
            roles={role: name for role, name in roles.items() if name is not None},
            transform=source.transform,
            strata={name: (columns.series(rows[name]), how) for name, how in source.strata.items()},
            declared=declared,
        )

    def targets(self, rows: pa.Table) -> dict[str, pd.Series]:
        """The targets of some rows, missing where they hold a value that the study says is none."""
        return self._targets(rows)[0]

    def _targets(self, rows: pa.Table) -> tuple[dict[str, pd.Series], np.ndarray | None]:
        targets, declared = {}, None if not self.source.missing else np.zeros(len(rows), bool)
        for name in self.source.target:
            column = rows[name]
            if declared is not None:
                if pa.types.is_dictionary(column.type):
                    column = column.cast(column.type.value_type)
                none = columns.holds(column, self.source.missing)
                declared |= none.to_numpy()
                column = pc.if_else(none, pa.scalar(None, column.type), column)
            targets[name] = columns.series(column)
        return targets, declared

    def _places(
        self, rows: pa.Table, ids: np.ndarray
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(n,) degrees of latitude and longitude, from two columns or one of points."""
        source, where = self.source, self.where
        if source.lat is None or source.lon is None:
            return None, None
        check_not_swapped(source.lat, source.lon, where)
        if points.is_points(rows[source.lat].type):
            x, y = points.coordinates(rows[source.lat], source.lat, ids, where)
            lat, lon = pd.Series(y), pd.Series(x)
        else:
            lat, lon = columns.series(rows[source.lat]), columns.series(rows[source.lon])
        lat = coordinate(lat, source.lat, 90, ids, where)
        return lat, coordinate(lon, source.lon, 180, ids, where)


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
    whole = reader.whole()
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


def _coordinates(table: pa.Table, but: object) -> dict[str, np.ndarray]:
    """Complete numeric columns named like coordinates, other than those in `but`."""
    return {
        f.name: table[f.name].cast(pa.float64(), safe=False).to_numpy()
        for f in table.schema
        if columns.is_coordinate(f.name) and f.name not in but
        if columns.is_number(f.type) and not table[f.name].null_count
    }
