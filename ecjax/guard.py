"""What would make every score or the index meaningless: leaks, and one table under two names."""

import itertools
from collections.abc import Mapping

import numpy as np

from ecjax.errors import InputError, counted, listing, neutral, quote
from ecjax.keys import check_known
from ecjax.leaks import Leak, find_leaks
from ecjax.notes import Note
from ecjax.study import EmbeddingSource
from ecjax.tables import EmbeddingTable, TaskTable
from ecjax.transforms import back


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


def guard(
    task: TaskTable,
    y: np.ndarray,
    classes: tuple[str, ...],
    table: EmbeddingTable,
    matrix: np.ndarray,
    rows: np.ndarray,
) -> tuple[Note, ...]:
    """Refuses leaks among the features of one embedding.

    One that is made from the coordinates is exempt: it is there to show what these alone tell.

    Args:
        task: The task on the common rows.
        y: (n, t) targets or (n,) class codes of these rows.
        classes: The class labels.
        table: The embedding's table, all rows of it.
        matrix: (n, p) its vectors of the common rows.
        rows: (n,) where in the table they are.

    Returns:
        A note on the leaks that `allow_leaks` lets pass, if there are any.

    Raises:
        InputError: A column is a leak, or allow_leaks names a column that is not there.
    """
    coordinates = {name: values[rows] for name, values in table.coordinates.items()}
    leaks = leaks_among(task, y, classes, table, matrix, rows, coordinates)
    return judged(leaks, task, table, len(rows))


def leaks_among(
    task: TaskTable,
    y: np.ndarray,
    classes: tuple[str, ...],
    table: EmbeddingTable,
    matrix: np.ndarray,
    rows: np.ndarray,
    of_table: Mapping[str, np.ndarray],
) -> list[Leak]:
    """Leaks in some rows; arguments as for `guard`.

    Args:
        of_table: Coordinates (n,) that the embedding's table has of these rows.
    """
    if table.built_in is not None:
        return []
    for column in table.allow_leaks:
        check_known(column, table.columns, "column in allow_leaks", table.where)
    classified = task.kind == "classification"
    targets = {} if classified else dict(zip(task.targets, y.T, strict=True))
    if task.transform != "none":
        targets |= {f"{name} as stored": back(task.transform, v) for name, v in targets.items()}
    coordinates = {"lat": task.lat, "lon": task.lon, **task.coordinates}
    coordinates |= {f"{name} of the table": values for name, values in of_table.items()}
    references = {"the id": task.ids, "the row number": np.arange(len(rows))}
    if (np.diff(rows) != 1).any():
        references["the row number in the file"] = rows
    references |= {f"the coordinate {name}": v for name, v in coordinates.items() if v is not None}
    references |= {f"the target {name}": values for name, values in targets.items()}
    return find_leaks(
        matrix,
        table.columns,
        references,
        labels=y if classified else None,
        names=(table.id_column, *task.names, *task.targets),
        classes=classes,
    )


def judged(leaks: list[Leak], task: TaskTable, table: EmbeddingTable, n: int) -> tuple[Note, ...]:
    """A note on leaks that are allowed among n rows; an InputError on any that is not."""
    refused = [leak for leak in leaks if leak.column not in table.allow_leaks]
    if refused:
        raise _leak_error(refused, table, task, n)
    if not leaks:
        return ()
    return (Note(task.name, table.name, "leak allowed", len(leaks), leaks[0].column),)


def _leak_error(leaks: list[Leak], table: EmbeddingTable, task: TaskTable, n: int) -> InputError:
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
        f"task {quote(task.name)}, which would leak into every score; "
        f"{counted(len(leaks), 'such column')}: {columns}. {way_out}"
    )
