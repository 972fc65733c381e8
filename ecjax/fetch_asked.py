"""What `ecjax fetch` is asked for, and the places and tasks that it is asked for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ecjax.coordbench import fetch_task
from ecjax.errors import UsageError, listing
from ecjax.fetch_files import LABELS, STUDY, table_name
from ecjax.label_sets import label_set
from ecjax.places import LocalPlace, Place
from ecjax.study_text import Targets, Tasks, targets_of, tasks_of
from ecjax.wanted import YEARS, Given, Wanted, read_wanted

WORKERS = 4
MOST_WORKERS = 64


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is asked for.

    Attributes:
      places: path, folder, pattern or URL of a table of ids, coordinates and labels; or "".
      models: names, as `registry.models_of` takes them; with `task` there may be none.
      sources: name → where a model's data or weights are, or a table of its vectors.
      year: of all places; None: the table's column `year`, or, of models that know none, no year.
      given: which columns are ids and coordinates.
      target, kind: as `study_text.targets_of` takes them.
      workers: how many parts are read at once.
      task: a public label set, which is got in place of `places`.
    """

    places: str
    models: Sequence[str]
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)
    year: int | None = None
    given: Given = Given()
    target: Sequence[str] = ()
    kind: str | None = None
    workers: int = WORKERS
    task: str | None = None

    def check(self) -> None:
        """Raises UsageError where this cannot be asked together."""
        if bool(self.places) == bool(self.task):
            raise UsageError("fetch takes a table of places, or --task=NAME; give one of the two")
        if self.task and (self.target or self.given != Given()):
            raise UsageError("--task: its targets and columns are known; leave out what names them")
        if not 1 <= self.workers <= MOST_WORKERS:
            raise UsageError(f"workers={self.workers}: give a number from 1 to {MOST_WORKERS}")
        if self.year is not None and not YEARS[0] <= self.year <= YEARS[1]:
            raise UsageError(f"year={self.year}: give a year from {YEARS[0]} to {YEARS[1]}")


class Labels(NamedTuple):
    """Places, and what is to be told at them.

    Attributes:
      wanted: the places.
      tasks, offered: those of the study, and those that become comments.
      notes: lines for the user.
      offer: such lines on how other columns become tasks of the study that is written.
      public: what the manifest says of a public label set; None for a table of one's own.
    """

    wanted: Wanted
    tasks: Tasks
    offered: Tasks
    notes: tuple[str, ...] = ()
    offer: tuple[str, ...] = ()
    public: dict[str, str] | None = None


def labels_of(asked: Asked, place: Place) -> Labels:
    """The places and tasks; a public label set is got, and written beside the tables of vectors.

    Raises:
      UsageError: a label set is to be written elsewhere than on this machine.
      InputError: the table cannot be used, or there is no such label set.
      Unavailable, WriteError: the label set cannot be had, or not written.
    """
    if asked.task:
        return _public(asked, place)
    wanted = read_wanted(asked.places, asked.given, asked.year)
    targets = targets_of(wanted, asked.target, asked.kind)
    every = tasks_of((*targets.taken, *targets.offered), LABELS, wanted.task.roles)
    names = list(every)
    taken = {name: every[name] for name in names[: len(targets.taken)]}
    offered = {name: every[name] for name in names[len(targets.taken) :]}
    return Labels(wanted, taken, offered, offer=tuple(_offer(targets)))


def _public(asked: Asked, place: Place) -> Labels:
    if not isinstance(place, LocalPlace):
        raise UsageError("--task writes to this machine only; name a directory of it with --out")
    found = fetch_task(asked.task, place.directory, kind=asked.kind)
    wanted = read_wanted(str(found.path), Given("id", "lat", "lon"), asked.year)
    about = {key: getattr(found, key) for key in ("version", "checksum", "licence", "source")}
    notes = (*found.notes, f"labels: {found.source}. Licence: {found.licence}")
    return Labels(wanted, found.tasks, {}, notes, public={"task": asked.task, **about})


def has_places(asked: Asked, place: Place) -> bool:
    """Whether the places are known without a request."""
    if not asked.task:
        return True
    return place.has(table_name(label_set(asked.task).name))


def _offer(targets: Targets) -> list[str]:
    """How other columns become tasks."""
    offered = [target.column for target in targets.offered]
    faults = [f"no target: {fault}" for fault in targets.faults]
    if targets.taken:
        could = [f"other columns that could be targets: {listing(offered, 6)}"]
        return could * bool(offered) + faults
    if offered:
        whole = [target.column for target in targets.offered if target.kind is None]
        kind = f", and of {listing(whole, 6)}, whole numbers, the --kind" if whole else ""
        which = f"say which with --target=…{kind}"
        return [f"no task: {listing(offered, 6)} could be targets; {which}", *faults]
    if faults:
        return ["no task: no column can be a target", *faults]
    return [f"no task: the places have no labels; add them, or a task to {STUDY}"]
