"""Results of an evaluation that other commands set their numbers beside: are they of this study?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ecjax import fingerprints, store
from ecjax.align import AlignedTask
from ecjax.errors import InputError, quote
from ecjax.places import place_of
from ecjax.result import Result

KEPT = ("name", "created", "protocol", "swept")  # of an evaluation's manifest


class Evaluated(NamedTuple):
    """Tables of an evaluation, by name, and its manifest."""

    tables: dict[str, pd.DataFrame]
    manifest: dict[str, Any]

    @property
    def swept(self) -> list[str]:
        """Keys of its sweep, which are columns of the tables."""
        return list(self.manifest.get("swept", []))

    @property
    def kept(self) -> dict[str, Any]:
        """What the manifest of the other command says of it."""
        return {key: self.manifest[key] for key in KEPT}


def read(
    results: str | Path | Result | None, tasks: Sequence[AlignedTask], names: Sequence[str]
) -> Evaluated | None:
    """The results of an evaluation of these tasks, or of some of them; None where none are given.

    Args:
      results: of an evaluation, or its directory.
      tasks: in the order of their tables, as `align` gives them.
      names: of the tables wanted.

    Raises:
      ecjax.InputError: they are of none of the tasks, or of other rows, or cannot be read.
    """
    if results is None:
        return None
    if isinstance(results, Result):
        where, found = "results", Evaluated(results.tables, results.manifest)
    else:
        place = place_of(results)
        where, found = str(place), Evaluated(*store.read_results(place, names=names))
    _check(where, found.manifest, tasks)
    return found


def _check(where: str, manifest: dict[str, Any], tasks: Sequence[AlignedTask]) -> None:
    hashes = manifest["study"].get("rows", {})  # none where nothing was written
    known = manifest.get("tasks", {})
    if not any(task.name in known for task in tasks):
        raise InputError(
            f"{where}: holds results of none of this study's tasks; give those of the same study"
        )
    for task in tasks:
        own = known.get(task.name)
        same = own is None or own["rows"] == len(task.ids)
        now = fingerprints.of_rows(task)["rows"] if same and task.name in hashes else None
        if not same or hashes.get(task.name) != now:
            raise InputError(
                f"{where}: results of task {quote(task.name)} are of other ids, targets or vectors "
                "than the study has now; evaluate it again"
            )
