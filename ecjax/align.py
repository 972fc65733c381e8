"""The one place that decides about rows: a study or tables in, aligned tasks out.

Rule of common rows: an id that any of a task's embeddings lacks (absent, null or masked) is
dropped for every subset of that task, so that gaps in one model do not pose as complementarity.
The task table's order is kept.
"""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from ecjax import polygons
from ecjax.binning import Strata, strata_of_columns
from ecjax.columns import in_short
from ecjax.coordinates import Coordinates
from ecjax.errors import InputError, counted, listing, quote
from ecjax.guard import (
    check_distinct,
    check_sources,
    guard,
    references_of,
    suspect_notes,
    suspected,
    with_table,
)
from ecjax.ids import common_ids
from ecjax.notes import (
    IN_LOG1P,
    TASK_TABLE,
    Note,
    near_neighbours,
    note_rows,
    notice_targets,
    notice_vectors,
)
from ecjax.study import EmbeddingSource, Study, TaskSource
from ecjax.suspects import Suspect
from ecjax.tables import (
    EmbeddingTable,
    TaskTable,
    read_embedding,
    read_task,
    table_of_places,
)
from ecjax.transforms import forward
from ecjax.understood import Understood, understood
from ecjax.values import class_target, regression_target

# A table of which more rows than this are missing is more likely broken than gappy.
MAX_MISSING_SHARE = 0.2


@dataclasses.dataclass(frozen=True)
class AlignedTask:
    """One task on the rows that all of its embeddings have.

    Attributes:
        name: The task.
        where: How messages call it: with its table.
        kind: "regression" or "classification".
        ids: (n,) int64 or object (str).
        targets: The t target names; one for classification.
        y: (n, t) float64 in the unit of `transform`, or (n,) int32 codes into `classes`.
        classes: The c labels as text; () for regression.
        embeddings: Name to (n, p_m) float32 or float64, C-contiguous, in the study's order.
        lat, lon: (n,) float64 degrees, or None.
        group: (n,) object, or None.
        sample: Tasks with equal `sample` share their rows and the very same embedding arrays.
        notes: What was dropped or noticed.
        read: What was understood of the table of each embedding, and of the "task table".
        split: (n,) object, what the task says about its rows' folds, or None.
        built_in: How those of the embeddings are made that come from the coordinates alone.
        transform: What the targets have been changed by, see `transforms`.
        strata: What divides the rows, by name.
        region: (n,) object, the region that each row is in, None where in none; or None.
        columns: Name to the p_m names of an embedding's columns.
        suspects: Of each embedding, columns that may be leaks.
    """

    name: str
    where: str
    kind: str
    ids: np.ndarray
    targets: tuple[str, ...]
    y: np.ndarray
    classes: tuple[str, ...]
    embeddings: dict[str, np.ndarray]
    lat: np.ndarray | None
    lon: np.ndarray | None
    group: np.ndarray | None
    sample: int
    notes: tuple[Note, ...]
    read: dict[str, Understood] = dataclasses.field(default_factory=dict)
    split: np.ndarray | None = None
    built_in: dict[str, Coordinates] = dataclasses.field(default_factory=dict)
    transform: str = "none"
    strata: dict[str, Strata] = dataclasses.field(default_factory=dict)
    region: np.ndarray | None = None
    columns: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    suspects: dict[str, tuple[Suspect, ...]] = dataclasses.field(default_factory=dict)


class Reader:
    """Reads a study's tables, each once."""

    def __init__(self, study: Study):
        self._read: dict[EmbeddingSource, EmbeddingTable] = {}
        self._made: dict[tuple, np.ndarray] = {}
        self._layer = None if study.regions is None else polygons.read_layer(study.regions)

    def embedding(self, source: EmbeddingSource) -> EmbeddingTable:
        """The table of one that has files; raises as `tables.read_embedding`."""
        if source not in self._read:
            self._read[source] = read_embedding(source)
        return self._read[source]

    def tables(self, source: TaskSource) -> tuple[TaskTable, dict[str, EmbeddingTable]]:
        """A task's table and those of its embeddings.

        Raises:
            InputError: One of them is unusable; the message says where, how many and the way out.
        """
        check_sources(source.embeddings, f"task {quote(source.name)}")
        task = read_task(source)
        if self._layer is not None and task.lat is not None and task.lon is not None:
            task = dataclasses.replace(task, region=self._layer.regions_of(task.lat, task.lon))
        return task, {
            name: self.embedding(own)
            if own.built_in is None
            else table_of_places(name, own.built_in, task, self._made)
            for name, own in source.embeddings.items()
        }


def align(study: Study) -> tuple[AlignedTask, ...]:
    """Reads and aligns a study's tables; each embedding table is read once.

    Raises:
        InputError: A table is unusable; the message says where, how many and the way out.
    """
    reader = Reader(study)
    pairs = [reader.tables(source) for source in study.tasks.values()]
    return align_tables(pairs, study.join)


def align_tables(
    pairs: Iterable[tuple[TaskTable, Mapping[str, EmbeddingTable]]], join: str = "inner"
) -> tuple[AlignedTask, ...]:
    """Aligns each task's table with its embedding tables on the id.

    Args:
        pairs: Tasks with their embeddings.
        join: "inner", or "exact": ids absent from one table are an error.

    Raises:
        InputError: The tables do not fit together, or a feature column is a leak.
    """
    samples: dict[tuple, tuple[int, dict[str, np.ndarray]]] = {}
    return tuple(_align_one(task, tables, join, samples) for task, tables in pairs)


def by_id(tasks: Iterable[AlignedTask]) -> tuple[AlignedTask, ...]:
    """The tasks with their rows sorted by id; those that share rows still share them."""
    matrices: dict[int, dict[str, np.ndarray]] = {}

    def one(task: AlignedTask) -> AlignedTask:
        order = np.argsort(task.ids, kind="stable")
        if (order[1:] > order[:-1]).all():
            return task
        if task.sample not in matrices:
            matrices[task.sample] = {name: x[order] for name, x in task.embeddings.items()}
        columns = {
            name: None if getattr(task, name) is None else getattr(task, name)[order]
            for name in ("ids", "y", "lat", "lon", "group", "split", "region")
        }
        columns["strata"] = {name: own.at(order) for name, own in task.strata.items()}
        return dataclasses.replace(task, embeddings=matrices[task.sample], **columns)

    return tuple(one(task) for task in tasks)


def check_rows(task: AlignedTask, folds: int) -> None:
    """Raises an InputError if a task has fewer rows than 2 x folds."""
    n = len(task.ids)
    if n >= 2 * folds:
        return
    way_out = f"use --folds={n // 2} or fewer, or more rows" if n >= 4 else "use more rows"
    raise InputError(
        f"{task.where}: {counted(n, 'row')} for --folds={folds}, but at least 2 x "
        f"{folds} = {2 * folds} are needed; {way_out}"
    )


def few_members(task: AlignedTask, folds: int) -> np.ndarray:
    """The codes of the classes with fewer members than folds; none of a regression."""
    if task.kind == "regression":
        return np.zeros(0, int)
    return np.flatnonzero(np.bincount(task.y, minlength=len(task.classes)) < folds)


def class_notes(task: AlignedTask, folds: int) -> list[Note]:
    """Returns a note on the classes with fewer members than folds, if there are any."""
    few = few_members(task, folds)
    first = [task.classes[code] for code in few[:1]]
    return [Note(task.name, TASK_TABLE, "few members", len(few), name) for name in first]


def _align_one(
    task: TaskTable, tables: Mapping[str, EmbeddingTable], join: str, samples: dict
) -> AlignedTask:
    y, classes, has_target = targets_of(task)
    declared = np.zeros(len(y), bool) if task.declared is None else task.declared
    missing = ~has_target & ~declared
    _check_share(missing, task.ids, named_targets(task))
    keep = has_target
    notes = note_rows(task.name, TASK_TABLE, "missing target", missing, task.ids)
    notes += note_rows(task.name, TASK_TABLE, "declared missing", declared, task.ids)
    if task.transform != "none":
        first = next(iter(task.targets))
        notes += (Note(task.name, TASK_TABLE, IN_LOG1P, len(task.targets), first),)
    places = {}
    for name, table in tables.items():
        places[name], present, found = _place(task, table, join)
        keep = keep & present
        notes += found
    if not keep.any():
        raise InputError(
            f"{task.where}: no row has a target and a vector in every one of "
            f"{listing(tables, 10)}; compare the ids of the tables"
        )
    ids = task.ids[keep]
    rows = {name: place[keep] for name, place in places.items()}
    sample, matrices = _sample(ids, tables, rows, samples)
    kept = kept_rows(task, keep)
    y, classes = _used_classes(y[keep], classes) if classes else (y[keep], ())
    check_distinct(matrices, tables, task.where)
    if not classes:
        notes += notice_targets(task.name, tuple(task.targets), y, ids)
    suspects, references = {}, references_of(kept, y, classes)
    for name, matrix in matrices.items():
        own = {what: values[rows[name]] for what, values in tables[name].coordinates.items()}
        of_both = with_table(references, rows[name], own)
        notes += guard(task.name, tables[name], matrix, of_both)
        suspects[name] = suspected(tables[name], matrix, of_both)
        notes += suspect_notes(task.name, name, suspects[name])
        notes += notice_vectors(task.name, name, tables[name].columns, matrix, ids)
    strata = strata_of_columns(kept.strata, ids, task.where)
    notes += _stray_notes(kept, strata)
    if kept.lat is not None:
        near = near_neighbours(kept.lat, kept.lon)
        notes += note_rows(task.name, TASK_TABLE, "near neighbours", near, ids)
    return AlignedTask(
        name=task.name,
        where=task.where,
        kind=task.kind,
        ids=ids,
        targets=tuple(task.targets),
        y=y,
        classes=classes,
        embeddings=matrices,
        lat=kept.lat,
        lon=kept.lon,
        group=kept.group,
        sample=sample,
        notes=notes,
        read=understood(task, tables),
        split=kept.split,
        built_in={name: t.built_in for name, t in tables.items() if t.built_in is not None},
        transform=task.transform,
        strata=strata,
        region=kept.region,
        columns={name: table.columns for name, table in tables.items()},
        suspects=suspects,
    )


def kept_rows(task: TaskTable, keep: np.ndarray) -> TaskTable:
    """The task's ids and places of the rows (n,) to keep; its targets stay as they are."""
    return dataclasses.replace(
        task,
        ids=task.ids[keep],
        lat=None if task.lat is None else task.lat[keep],
        lon=None if task.lon is None else task.lon[keep],
        group=None if task.group is None else task.group[keep],
        split=None if task.split is None else task.split[keep],
        region=None if task.region is None else task.region[keep],
        strata={name: (values[keep], how) for name, (values, how) in task.strata.items()},
        coordinates={name: values[keep] for name, values in task.coordinates.items()},
    )


def _stray_notes(task: TaskTable, strata: Mapping[str, Strata]) -> tuple[Note, ...]:
    """Notes on rows that are in no stratum, or in no region."""
    notes = ()
    for name, own in strata.items():
        notes += note_rows(task.name, f"strata {name}", "no stratum", own.codes < 0, task.ids)
    if task.region is not None:
        notes += note_rows(task.name, TASK_TABLE, "no region", pd.isna(task.region), task.ids)
    return notes


def named_targets(task: TaskTable) -> str:
    """The targets in messages."""
    return f"{task.where}: target {listing(task.targets)}"


def named_vectors(table: EmbeddingTable) -> str:
    """An embedding's vectors in messages."""
    return f"{table.where}: vectors ({in_short(table.columns)})"


def targets_of(task: TaskTable) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """All rows' y, the classes, and (n,) whether a row has every target."""
    where = {name: f"{task.where}: target {quote(name)}" for name in task.targets}
    if task.kind == "classification":
        ((name, values),) = task.targets.items()
        y, classes = class_target(values, task.ids, where[name])
        given = y >= 0
    else:
        numbers = {k: regression_target(v, task.ids, where[k]) for k, v in task.targets.items()}
        changed = [forward(task.transform, v, task.ids, where[k]) for k, v in numbers.items()]
        y = np.stack(changed, axis=1)
        classes, given = (), ~np.isnan(y).any(axis=1)
    return y, classes, given


def _check_share(missing: np.ndarray, ids: np.ndarray, where: str) -> None:
    if missing.any():
        check_share(int(missing.sum()), len(missing), ids[np.argmax(missing)], where)


def check_share(count: int, among: int, first: object, where: str) -> None:
    """Raises an InputError if too many rows lack a value; `first` is the id of the first."""
    if count > MAX_MISSING_SHARE * among:
        raise InputError(
            f"{where}: {count:,} of {counted(among, 'row')} are missing or masked, first at "
            f"id {quote(first)}, and more than {MAX_MISSING_SHARE:.0%} is an "
            "error; fill them, or remove those rows from the task if that is meant"
        )


def _place(
    task: TaskTable, table: EmbeddingTable, join: str
) -> tuple[np.ndarray, np.ndarray, tuple[Note, ...]]:
    """Where in an embedding table each of the task's rows is, and whether there is a vector."""
    common = common_ids(task, table, join)
    place, present = common.place, common.place >= 0
    missing, fill = table.missing[place] & present, table.fill[place] & present
    there = present.nonzero()[0]
    _check_share((missing | fill)[there], task.ids[there], named_vectors(table))
    notes = (
        common.absent
        + note_rows(task.name, table.name, "missing value", missing, task.ids)
        + note_rows(task.name, table.name, "masked row", fill, task.ids)
        + common.surplus
    )
    return place, present & ~missing & ~fill, notes


def _sample(
    ids: np.ndarray,
    tables: Mapping[str, EmbeddingTable],
    rows: Mapping[str, np.ndarray],
    samples: dict,
) -> tuple[int, dict[str, np.ndarray]]:
    """The sample's number and matrices, those of an earlier task where rows and tables agree."""
    key = (
        tuple(ids) if ids.dtype == object else ids.tobytes(),
        tuple((name, id(tables[name].vectors), rows[name].tobytes()) for name in tables),
    )
    if key not in samples:
        matrices = {name: _rows(tables[name].vectors, rows[name]) for name in tables}
        samples[key] = len(samples), matrices
    return samples[key]


def _rows(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(n, p) vectors of the given rows, without a copy where that is all of them in order."""
    if len(rows) == len(vectors) and (rows == np.arange(len(rows))).all():
        return vectors
    return vectors[rows]


def _used_classes(y: np.ndarray, classes: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Codes and labels without the classes that no common row has."""
    used, codes = np.unique(y, return_inverse=True)
    return codes.astype(np.int32), tuple(classes[code] for code in used)
