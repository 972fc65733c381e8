"""What would make every score or the index meaningless: leaks, and one table under two names."""

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ecjax.errors import InputError, counted, listing, neutral, quote
from ecjax.keys import check_known
from ecjax.leaks import Leak, find_leaks, numbers_of
from ecjax.notes import SUSPECTED, Note
from ecjax.study import EmbeddingSource
from ecjax.suspects import KINDS, References, Suspect, find_suspects
from ecjax.tables import EmbeddingTable, TaskTable
from ecjax.transforms import back

_ONE_NUMBER = re.compile(r"[^0-9]*([0-9]{1,15})[^0-9]*\Z")


def check_sources(sources: Mapping[str, EmbeddingSource], where: str) -> None:
    """Raises an InputError if two embeddings are the same columns of the same files."""
    seen: dict[tuple, str] = {}
    for name, source in sources.items():
        key = tuple(f.resolve() for f in source.files), source.columns, source.built_in
        if key in seen:
            what = f"{where} ({source.path})", "the same file"
            if source.built_in is not None:
                what = where, f"{source.built_in}, both of them"
            raise _same_table(seen[key], name, *what)
        seen[key] = name


def check_distinct(
    matrices: Mapping[str, np.ndarray], tables: Mapping[str, EmbeddingTable], where: str
) -> None:
    """Raises an InputError if two embeddings are the same numbers, to float32."""
    for first, second in itertools.combinations(matrices, 2):
        if same_numbers(matrices[first], matrices[second]):
            raise same_vectors(tables[first], tables[second], where, len(matrices[first]))


def same_numbers(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two matrices are the same numbers, to float32: text or a copy may hold no more."""
    if a.shape != b.shape:
        return False
    return bool((a[0].astype(np.float32) == b[0].astype(np.float32)).all()) and np.array_equal(
        a.astype(np.float32, copy=False), b.astype(np.float32, copy=False)
    )


def same_vectors(first: EmbeddingTable, second: EmbeddingTable, where: str, n: int) -> InputError:
    """The error for two embeddings whose vectors are equal in n rows."""
    what = f"{first.where} and {second.where} are equal on all {counted(n, 'common row')}"
    return _same_table(first.name, second.name, where, what)


def _same_table(first: str, second: str, where: str, what: str) -> InputError:
    return InputError(
        f"{where}: embeddings {quote(first)} and {quote(second)} are one table under two names "
        f"({what}), of which the index means nothing; remove one, or correct its path"
    )


def references_of(task: TaskTable, y: np.ndarray, classes: tuple[str, ...]) -> References:
    """What no feature of a task's embeddings should be: ids and row numbers, places, targets.

    Args:
        task: The task on the common rows.
        y: (n, t) targets or (n,) class codes of these rows.
        classes: The class labels.
    """
    orders = {"the id": task.ids, "the row number": np.arange(len(y))} | _number_in(task.ids)
    coordinates = {"lat": task.lat, "lon": task.lon, **task.coordinates}
    classified = task.kind == "classification"
    return References(
        orders={what: numbers_of(values) for what, values in orders.items()},
        coordinates={f"the coordinate {k}": v for k, v in coordinates.items() if v is not None},
        lat=task.lat,
        lon=task.lon,
        targets={} if classified else _targets(task, y),
        labels=y if classified else None,
        classes=classes,
        sources=_sources(task),
        names=(*task.names, *task.targets),
    )


def _targets(task: TaskTable, y: np.ndarray) -> dict[str, np.ndarray]:
    targets = dict(zip(task.targets, y.T, strict=True))
    if task.transform != "none":
        targets |= {f"{name} as stored": back(task.transform, v) for name, v in targets.items()}
    return {f"the target {name}": v for name, v in targets.items()}


def with_table(
    references: References, rows: np.ndarray, coordinates: Mapping[str, np.ndarray]
) -> References:
    """A task's references with those that one embedding's table adds.

    Args:
        rows: (n,) where in the table the rows are.
        coordinates: That the table has of these rows, each (n,).
    """
    orders = {**references.orders}
    if (np.diff(rows) != 1).any():
        orders["the row number in the file"] = numbers_of(rows)
    own = {f"the coordinate {name} of the table": v for name, v in coordinates.items()}
    return dataclasses.replace(
        references, orders=orders, coordinates={**references.coordinates, **own}
    )


def guard(
    task: str, table: EmbeddingTable, matrix: np.ndarray, references: References
) -> tuple[Note, ...]:
    """Refuses leaks among the features of one embedding.

    One that is made from the coordinates is exempt: it is there to show what these alone tell.

    Args:
        task: The task's name.
        table: The embedding's table, all rows of it.
        matrix: (n, p) its vectors of the common rows.
        references: Of these rows, with the table's.

    Returns:
        A note on the leaks that `allow_leaks` lets pass, if there are any.

    Raises:
        InputError: A column is a leak, or allow_leaks names a column that is not there.
    """
    return judged(leaks_among(table, matrix, references), task, table, len(matrix))


def leaks_among(table: EmbeddingTable, matrix: np.ndarray, references: References) -> list[Leak]:
    """Leaks in some rows; arguments as for `guard`."""
    if table.built_in is not None:
        return []
    for column in table.allow_leaks:
        check_known(column, table.columns, "column in allow_leaks", table.where)
    return find_leaks(
        matrix,
        table.columns,
        {**references.orders, **references.coordinates, **references.targets},
        labels=references.labels,
        names=(table.id_column, *references.names),
        classes=references.classes,
    )


def _number_in(ids: np.ndarray) -> dict[str, np.ndarray]:
    """The number in each text id, as in "place-17"; nothing where one has none or several."""
    if ids.dtype != object or not len(ids) or not _ONE_NUMBER.match(ids[0]):
        return {}
    found = [_ONE_NUMBER.match(text) for text in ids]
    if not all(found):
        return {}
    return {"the number in the id": np.array([float(match[1]) for match in found])}


def suspected(
    table: EmbeddingTable, matrix: np.ndarray, references: References
) -> tuple[Suspect, ...]:
    """Columns of one embedding that may be leaks, but need not; arguments as for `guard`.

    Those that `allow_leaks` lets pass, and those made from the coordinates, are not suspected.
    """
    if table.built_in is not None:
        return ()
    found = find_suspects(matrix, table.columns, references)
    return tuple(one for one in found if one.column not in table.allow_leaks)


def _sources(task: TaskTable) -> dict[str, np.ndarray]:
    """Codes (n,) of what the task says its rows are grouped by."""
    given = {"group": task.group, "region": task.region, "split": task.split}
    given |= {f"stratum {name}": values for name, (values, _) in task.strata.items()}
    return {what: pd.factorize(v)[0] + 1 for what, v in given.items() if v is not None}


def suspect_notes(task: str, source: str, suspects: Sequence[Suspect]) -> tuple[Note, ...]:
    """A note for each kind of suspicion."""
    notes = ()
    for kind in KINDS:
        own = [one.column for one in suspects if one.kind == kind]
        if own:
            notes += (Note(task, source, f"{SUSPECTED}, {kind}", len(own), own[0]),)
    return notes


def judged(leaks: list[Leak], task: str, table: EmbeddingTable, n: int) -> tuple[Note, ...]:
    """A note on leaks that are allowed among n rows; an InputError on any that is not."""
    refused = [leak for leak in leaks if leak.column not in table.allow_leaks]
    if refused:
        raise _leak_error(refused, table, task, n)
    if not leaks:
        return ()
    return (Note(task, table.name, "leak allowed", len(leaks), leaks[0].column),)


def _leak_error(leaks: list[Leak], table: EmbeddingTable, task: str, n: int) -> InputError:
    first = leaks[0]
    how = f" (|r| = {abs(first.r):.6f} over {counted(n, 'row')})" if np.isfinite(first.r) else ""
    columns = listing([leak.column for leak in leaks], 8)
    way_out = "Remove them from the array"
    if table.files:
        way_out = (
            'Remove them from the table, choose the features with columns = "…", or declare '
            f"allow_leaks = [{columns}] under [embeddings.{table.name}]"
        )
    return InputError(
        f"{table.where}: feature column {quote(first.column)} is {neutral(first.what)}{how} of "
        f"task {quote(task)}, which would leak into every score; "
        f"{counted(len(leaks), 'such column')}: {columns}. {way_out}"
    )
