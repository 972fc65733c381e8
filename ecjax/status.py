"""`ecjax status` and `ecjax compact`: what a directory holds of a run, also while it runs."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from typing import Any

from ecjax import cell_pack, cell_store, journal, store
from ecjax.cell_store import CellStore
from ecjax.cells import Key
from ecjax.errors import InputError, counted
from ecjax.places import Place, check_writable, place_of
from ecjax.progress import clock_text

MOST_BYTES = 1 << 30  # of a file of many cells
SILENT_S = 300.0  # of a run; cells are of a minute


@dataclasses.dataclass(frozen=True)
class Status:
    """How far a directory's run is.

    Attributes:
      directory: its name.
      cells, done: of those that the last command asked for; with a control or with intervals that
        repeat fits, of those before these.
      stored: cells that are there, asked for or not.
      damaged: those among them that are; the next run computes them again.
      seconds_left: estimated for what is missing; None where nothing was measured yet.
      state: what the last process to write has said, one of `journal.STATES`, and when.
      updated: when that was.
      tables: as `store.state_of`.
    """

    directory: str
    cells: int
    done: int
    stored: int
    damaged: int
    seconds_left: float | None
    state: str
    updated: str
    tables: str

    @property
    def missing(self) -> int:
        return self.cells - self.done

    @property
    def _silence(self) -> str:
        """What a run that is killed cannot say itself."""
        if self.state not in ("running", "assembling"):
            return ""
        now = datetime.datetime.now(datetime.UTC)
        since = (now - datetime.datetime.fromisoformat(self.updated)).total_seconds()
        return f", {clock_text(since, None)} ago: is it still there?" if since > SILENT_S else ""

    @property
    def _whose(self) -> str:
        return ", of a run before" if self.tables == "whole" and self.state != "done" else ""

    def __str__(self) -> str:
        left = "" if self.seconds_left is None else f"; {clock_text(self.seconds_left, None)} left"
        rest = f"{self.missing:,} missing{left}" if self.missing else "none missing"
        lines = [
            f"{self.directory}: {self.done:,} of {counted(self.cells, 'cell')} done, {rest}",
            f"stored  {counted(self.stored, 'cell')}, {self.damaged:,} damaged",
            f"state   {self.state}, written {self.updated}{self._silence}",
            f"tables  {self.tables}{self._whose}",
        ]
        return "\n".join(lines)


def status(directory: str | os.PathLike) -> Status:
    """Looks at all cells of a directory, checksums too; changes nothing.

    Raises:
      InputError: no run into that directory has begun.
    """
    place = place_of(directory)
    told = _read(place, journal.FILE)
    # A stream that writes predictions keeps no cells.
    plan = _read(place, cell_store.PLAN) if place.has(cell_store.PLAN) else {"cells": []}
    cells = CellStore(place, lambda line: None, mend=False)
    for file in cells.files:
        cells.verify(file)
    missing = [cell for cell in plan["cells"] if not _is_done(cell, cells)]
    pace = told.get("pace")
    left = None if pace is None else pace * sum(cell["seconds"] for cell in missing)
    count, done = len(plan["cells"]), len(plan["cells"]) - len(missing)
    if not count:  # a stream's are known only by what it says itself
        # One of those under way may have been there before, and not been met again.
        count, left = told["cells"], told["seconds_left"]
        done = max(told["done"], min(count, len(cells.files)))
    return Status(
        directory=str(place),
        cells=count,
        done=done,
        stored=len(cells.files),
        damaged=cells.damaged,
        seconds_left=left,
        state=told["state"],
        updated=told["updated"],
        tables=store.state_of(directory),
    )


def not_done(directory: str | os.PathLike) -> str:
    """That the last run into a directory is not done, in words; "" where it is, or there was none.

    Tables that are whole are then of a run before it.
    """
    place = place_of(directory)
    if not place.has(journal.FILE):
        return ""
    told = _read(place, journal.FILE)
    if told["state"] == "done":
        return ""
    return (
        f"{place}: the last run is not done ({told['state']}, {told['done']:,} of "
        f"{counted(told['cells'], 'cell')}, written {told['updated']}), and these are the tables "
        "of one before it; its command again goes on, and makes its tables"
    )


def compact(directory: str | os.PathLike) -> str:
    """Puts all cells into one file, or one for each GiB of them; safe beside a running job.

    The cells' own files are removed when they are whole in the other. Damaged ones are left.

    Returns:
      What was done, in words.

    Raises:
      InputError: no run into that directory has begun.
      WriteError: the system refused to write; the cells are as they were.
    """
    place = place_of(directory)
    _read(place, cell_store.PLAN if place.has(cell_store.PLAN) else journal.FILE)
    check_writable(place, "make it so")
    # Listed first: a cell that is written from now on is not touched.
    before = [f for f in place.files(cell_store.FOLDER) if f.endswith(cell_store.ENDINGS)]
    cells = CellStore(place, lambda line: None, mend=False)
    whole = [file for file in cells.files if cells.verify(file)]
    written = []
    for group in _groups(cells, whole):
        name = cell_pack.name_of(group)
        if name not in before:
            content = cell_pack.pack((file, cells.read(file)) for file in group)
            place.write(f"{cell_store.FOLDER}/{name}", content)
        written.append(name)
    for file in before:
        if file not in (*written, *cells.unread):
            place.remove(f"{cell_store.FOLDER}/{file}")
    done = f"{place}: {counted(len(whole), 'cell')} in {counted(len(written), 'file')}"
    if not cells.damaged:
        return done
    left = f"{counted(cells.damaged, 'damaged cell')} left, which evaluate computes again"
    return f"{done}; {left}"


def _groups(cells: CellStore, files: list[str]) -> list[list[str]]:
    """Cells that become one file."""
    groups, size = [], MOST_BYTES
    for file in files:
        size += cells.size(file)
        if size > MOST_BYTES:
            groups.append([])
            size = cells.size(file)
        groups[-1].append(file)
    return groups


def _is_done(cell: dict[str, Any], cells: CellStore) -> bool:
    parts = [Key(base, tuple(seeds), tuple(subsets)) for base, seeds, subsets in cell["parts"]]
    return not any(cells.cover(part, cell["predictions"])[2] for part in parts)


def _read(place: Place, name: str) -> dict[str, Any]:
    if place.is_taken():
        raise InputError(
            f"{place}: is no directory; name the one that was given to --out of `ecjax evaluate`"
        )
    try:
        return json.loads(place.read(name))
    except FileNotFoundError:
        raise InputError(
            f"{place}: holds no run of `ecjax evaluate`; name the directory that was given to --out"
        ) from None
    except ValueError as error:
        raise InputError(f"{place}/{name}: is damaged ({error}); run evaluate again") from None
