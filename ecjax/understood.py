"""What was understood of a study's tables, in words, for `ecjax validate`."""

from __future__ import annotations

from collections.abc import Mapping

from ecjax.columns import in_short, place_columns
from ecjax.errors import quote
from ecjax.notes import TASK_TABLE
from ecjax.tables import EmbeddingTable, TaskTable

PLACES = "task table, places"  # beside TASK_TABLE in `align.AlignedTask.read`


def columns_in_words(task: TaskTable, tables: Mapping[str, EmbeddingTable]) -> dict[str, str]:
    """What `AlignedTask.read` says; arrays have no columns that were chosen."""
    made = {name: str(t.built_in) for name, t in tables.items() if t.built_in is not None}
    if not task.roles:
        return made
    read = {
        name: f"{in_short(t.columns)}, id {quote(t.id_column)}" + f", {t.stored}" * bool(t.stored)
        for name, t in tables.items()
    }
    read |= made
    places = _places_in_words(task, tables)
    read |= {PLACES: places} if places else {}
    return {TASK_TABLE: ", ".join(f"{role} {quote(n)}" for role, n in task.roles.items()), **read}


def _places_in_words(task: TaskTable, tables: Mapping[str, EmbeddingTable]) -> str:
    """What a task's places are for; which columns look like some and are not used; or ""."""
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
