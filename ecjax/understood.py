"""What was understood of a table: which columns were taken for what, and its rows and ids."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ecjax.columns import in_short, place_columns
from ecjax.errors import quote
from ecjax.notes import TASK_TABLE
from ecjax.tables import EmbeddingTable, TaskTable


@dataclasses.dataclass(frozen=True)
class Understood:
    """One table as it was read.

    Attributes:
      files: how many it was read from; 0 for an array, and what is made from the coordinates.
      rows: how many it has, used or not.
      id_type: "whole numbers" or "text".
      first_id: of its first row, as text.
      columns: which were taken for what, in words; of an embedding that is made from the
        coordinates, how; "" for an array.
      places: of a task, what its places are for, or would be for if columns that look like them
        were named; "" where there are none.
    """

    files: int
    rows: int
    id_type: str
    first_id: str
    columns: str
    places: str = ""


def understood(task: TaskTable, tables: Mapping[str, EmbeddingTable]) -> dict[str, Understood]:
    """What was taken of a task's table (TASK_TABLE) and of those of its embeddings, by name."""
    found = {TASK_TABLE: _understood(task, _roles(task), _places(task, tables))}
    for name, table in tables.items():
        words = f"{in_short(table.columns)}, id {quote(table.id_column)}" if table.files else ""
        words += f", {table.stored}" if table.stored else ""
        found[name] = _understood(table, words if table.built_in is None else str(table.built_in))
    return found


def _understood(table: TaskTable | EmbeddingTable, columns: str, places: str = "") -> Understood:
    ids = table.ids
    return Understood(
        files=len(table.files),
        rows=len(ids),
        id_type="text" if ids.dtype == object else "whole numbers",
        first_id=str(ids[0]) if len(ids) else "",
        columns=columns,
        places=places,
    )


def _roles(task: TaskTable) -> str:
    return ", ".join(f"{role} {quote(name)}" for role, name in task.roles.items())


def _places(task: TaskTable, tables: Mapping[str, EmbeddingTable]) -> str:
    """What a task's places are for; which columns look like some and are not used; or ""."""
    if not task.roles:
        return ""
    uses = "the range of the residuals' correlation"
    asked = '--split=spatial and source = "coordinates"'
    if task.lat is not None:
        return f"used for {uses}; there for {asked}"
    owners = {"": task.coordinates} | {
        f" of embedding {quote(name)}": table.coordinates for name, table in tables.items()
    }
    for owner, coordinates in owners.items():
        found = place_columns(coordinates)
        if found is not None:
            lat, lon = map(quote, found)
            copy = "copy them to the task's table, and " if owner else ""
            return (
                f"none; columns {lat} and {lon}{owner} only serve to find leaks: {copy}say lat = "
                f"{lat} and lon = {lon} under task {quote(task.name)}, for {uses}, {asked}"
            )
    return ""
