"""Which rows of an embedding's table are a task's, from the ids of both alone."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from ecjax.errors import InputError, counted, quote
from ecjax.notes import Note, note_rows
from ecjax.tables import EmbeddingTable, TaskTable


class Common(NamedTuple):
    """Which rows of an embedding table are a task's.

    Attributes:
        place: (n,) where in the table each of the task's rows is, -1 where nowhere.
        absent, surplus: Notes on the task's rows without a vector, and on vectors without a row.
    """

    place: np.ndarray
    absent: tuple[Note, ...]
    surplus: tuple[Note, ...]


def common_ids(task: TaskTable, table: EmbeddingTable, join: str) -> Common:
    """Compares the ids of a task with those of an embedding table, of which nothing else is used.

    Raises:
        InputError: They are of another type, have none in common, or differ where `join` is exact.
    """
    _check_id_types(task, table)
    place = _places(task.ids, table.ids)
    present = place >= 0
    unused = np.ones(len(table.ids), bool)
    unused[place[present]] = False
    if not present.any():
        raise InputError(
            f"{table.where}: no id in common with {task.where}: none of the "
            f"{counted(len(table.ids), 'id')} here (column {quote(table.id_column)}, first "
            f"{quote(table.ids[0])}) is among the {len(task.ids):,} there (first "
            f"{quote(task.ids[0])}); compare the id columns of both"
        )
    if join == "exact" and (unused.any() or not present.all()):
        absent, surplus = task.ids[~present], table.ids[unused]
        first = (absent if len(absent) else surplus)[0]
        raise InputError(
            f'{table.where}: join = "exact" on column {quote(table.id_column)}, but '
            f"{counted(len(absent), 'id')} of {task.where} "
            f"absent here and {counted(len(surplus), 'id')} of this table absent there, first "
            f'{quote(first)}; complete the tables, or use join = "inner"'
        )
    notes = ()
    if unused.any():  # the least id, not the first: no word depends on the table's order
        surplus, least = int(unused.sum()), str(min(table.ids[unused]))
        notes = (Note(task.name, table.name, "id without label", surplus, least),)
    absent = note_rows(task.name, table.name, "id absent", ~present, task.ids)
    return Common(place, absent, notes)


def _places(ids: np.ndarray, among: np.ndarray) -> np.ndarray:
    """(n,) where among others each id is, -1 where nowhere.

    An index takes many times the room of its ids, and is made only of those without an order.
    """
    if len(ids) == len(among) and (ids == among).all():
        return np.arange(len(ids))
    if all((given[1:] > given[:-1]).all() for given in (ids, among)):
        place = np.minimum(np.searchsorted(among, ids), len(among) - 1)
        place[among[place] != ids] = -1
        return place
    return pd.Index(among).get_indexer(pd.Index(ids))


def _check_id_types(task: TaskTable, table: EmbeddingTable) -> None:
    if task.ids.dtype == table.ids.dtype:
        return
    kinds = [("text" if ids.dtype == object else "numbers") for ids in (task.ids, table.ids)]
    raise InputError(
        f"{table.where}: ids are {kinds[1]} (column {quote(table.id_column)}, first "
        f"{quote(table.ids[0])}), but {kinds[0]} in {task.where} (first {quote(task.ids[0])}); "
        '"1" and 1 are not taken for the same, so store them alike'
    )
