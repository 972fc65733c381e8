"""`ecjax fetch`: the vectors of several models for one's own places, and a study ready to run.

Models are asked one after the other, each part by part, several parts at once. What was had is kept
in the output directory, so that a run may be ended at any moment and goes on by the same command,
and a later one with more places asks for these alone. The tables are those of a run that nobody
disturbed, byte for byte.

All vectors of one model are in memory at a time: 4 n p bytes and a copy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ecjax import registry
from ecjax.errors import UsageError, counted, listing, neutral, quote
from ecjax.fetch_files import (
    LABELS,
    MISSING,
    STUDY,
    Output,
    missing_table,
    table_name,
    vectors_table,
)
from ecjax.gather import OfModel, OfTable, Where
from ecjax.manifest import made_by
from ecjax.memory import size_text
from ecjax.models import Model
from ecjax.places import Directory
from ecjax.precomputed import Precomputed
from ecjax.progress import Silent, clock_text
from ecjax.study_text import Targets, study_text, targets_of
from ecjax.wanted import YEARS, Given, Wanted, read_wanted

WORKERS = 4
MOST_WORKERS = 64


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is asked for.

    Attributes:
      places: path, folder, pattern or URL of a table of ids, coordinates and labels.
      models: names, as `registry.models_of` takes them.
      sources: name → where a model's data or weights are, or a table of its vectors.
      year: of all places; None: the table's column `year`, or, of models that know none, no year.
      given: which columns are ids and coordinates.
      target, kind: as `study_text.targets_of` takes them.
      workers: how many parts are read at once.
    """

    places: str
    models: Sequence[str]
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)
    year: int | None = None
    given: Given = Given()
    target: Sequence[str] = ()
    kind: str | None = None
    workers: int = WORKERS


@dataclasses.dataclass(frozen=True)
class Fetched:
    """What a directory holds now.

    Attributes:
      output: its name.
      rows: how many places.
      models: name → what the manifest says of it.
      targets: what became tasks.
      notes: lines for the user.
    """

    output: str
    rows: int
    models: Mapping[str, Mapping[str, Any]]
    targets: Targets
    notes: tuple[str, ...]

    @property
    def empty(self) -> list[str]:
        """Models without a single vector."""
        return [name for name, own in self.models.items() if not own["rows"]]

    def __str__(self) -> str:
        left, lines = max(map(len, self.models)), []
        for name, own in self.models.items():
            had = f"{own['rows']:,} of {counted(self.rows, 'place')}"
            lines.append(f"{neutral(name):{left}}  {had}  {neutral(own['version'])}")
            lines += [f"{'':{left}}  {n:,} {neutral(why)}" for why, n in own["missing"].items()]
        lines += ["", *_in_words(self.targets), *self.notes]
        return "\n".join(lines)


def fetch(asked: Asked, out: Directory, progress: Silent | None = None) -> Fetched:
    """Gets the vectors, and writes tables, study and manifest.

    Args:
      out: the directory; need not exist.
      progress: tells the user; None: nothing is told.

    Raises:
      UsageError: an unknown model, or no year where a model needs one.
      InputError: places, a source, an encoder or the directory cannot be used.
      Unavailable: a source does not answer. What was had is kept.
      WriteError: the system refused to write. What was had is kept.
      KeyboardInterrupt: the user has asked to end. What was had is kept.
    """
    progress = progress or Silent()
    wanted, targets, models, output = _prepared(asked, out)
    output.check_writable()
    output.begin({name: _identity(model, asked) for name, model in models.items()})
    where = Where(output.place, asked.workers, progress)
    facts, reasons = {}, {}
    for name, model in models.items():
        progress.check()
        own = _gathered(model, asked, wanted, where)
        if own.parts:
            progress.say(f"{neutral(name)}: {_estimate_text(own)}")
        facts[name], reasons[name] = _write(name, own, asked, wanted, output)
    output.write_table(MISSING, missing_table(wanted, reasons))
    output.write_table(LABELS, wanted.labels)
    had = [name for name, own in facts.items() if own["rows"]]
    notes = _notes(output, had, output.write_study(_study(wanted, had, targets)))
    output.finish(_manifest(asked, wanted, facts, targets))
    return Fetched(str(output.place), len(wanted.ids), facts, targets, notes)


def plan(asked: Asked, out: Directory) -> str:
    """What `fetch` would take; writes nothing and asks for no more than an index. Raises as it."""
    wanted, targets, models, output = _prepared(asked, out)
    where = Where(output.place, asked.workers, Silent(), mend=False)
    lines = []
    for name, model in models.items():
        own = _gathered(model, asked, wanted, where)
        lines += [f"{neutral(name)}: {_estimate_text(own)}", f"    licence: {neutral(own.licence)}"]
    return "\n".join([*lines, "", *_in_words(targets)])


def _prepared(
    asked: Asked, out: Directory
) -> tuple[Wanted, Targets, dict[str, Model | Precomputed], Output]:
    """Everything that can be checked before anything is asked for."""
    if not 1 <= asked.workers <= MOST_WORKERS:
        raise UsageError(f"workers={asked.workers}: give a number from 1 to {MOST_WORKERS}")
    if asked.year is not None and not YEARS[0] <= asked.year <= YEARS[1]:
        raise UsageError(f"year={asked.year}: give a year from {YEARS[0]} to {YEARS[1]}")
    models = registry.models_of(asked.models, asked.sources)
    output = Output(out, list(models))
    for name, model in models.items():
        output.check(name, _identity(model, asked))
    wanted = read_wanted(asked.places, asked.given, asked.year)
    needing = [name for name, model in models.items() if not _is_timeless(model)]
    if needing and wanted.year is None:
        raise UsageError(
            f"{listing(needing)}: of which year? Give --year, or the places a column year"
        )
    return wanted, targets_of(wanted, asked.target, asked.kind), models, output


def _is_timeless(model: Model | Precomputed) -> bool:
    return isinstance(model, Precomputed) or model.timeless


def _identity(model: Model | Precomputed, asked: Asked) -> dict[str, str]:
    """What makes vectors of one name those of one model, as far as it is known yet."""
    source = {"source": registry.shown(asked.sources.get(model.name))}
    return source if isinstance(model, Precomputed) else {"version": model.version, **source}


def _gathered(
    model: Model | Precomputed, asked: Asked, wanted: Wanted, where: Where
) -> OfModel | OfTable:
    if isinstance(model, Precomputed):
        return OfTable(model, wanted, where)
    return OfModel(model, asked.sources.get(model.name), wanted, where)


def _write(
    name: str, own: OfModel | OfTable, asked: Asked, wanted: Wanted, output: Output
) -> tuple[dict[str, Any], np.ndarray]:
    """Gets one model's vectors and writes their table; what is to be said of them, and (n,) why
    there is none."""
    vectors = own.get()
    identity = {"version": own.version, "source": registry.shown(asked.sources.get(name))}
    output.check(name, identity)
    missing = vectors.reason[vectors.reason != ""]
    rows = len(vectors.reason) - len(missing)
    if rows:
        table = vectors_table(wanted, vectors, own.version, own.timeless)
        output.write_table(table_name(name), table)
    else:
        output.place.remove(table_name(name))
    reasons, counts = np.unique(missing.astype(str), return_counts=True)
    facts = {**identity, "licence": own.licence, "dims": vectors.values.shape[1], "rows": rows}
    facts |= {"missing": dict(zip(reasons.tolist(), counts.tolist(), strict=True))}
    return facts, vectors.reason


def _study(wanted: Wanted, had: Sequence[str], targets: Targets) -> str:
    return study_text(wanted.task.name, had, LABELS, wanted.task.roles, targets)


def _manifest(
    asked: Asked, wanted: Wanted, facts: Mapping[str, Any], targets: Targets
) -> dict[str, Any]:
    return {
        "command": "fetch",
        **made_by(),
        "arguments": {
            "places": wanted.task.where,
            "models": list(asked.models),
            "year": asked.year,
            "columns": wanted.task.roles,
            "tasks": {target.column: target.kind for target in targets.taken},
        },
        "rows": len(wanted.ids),
        "models": facts,
    }


def _notes(output: Output, had: Sequence[str], written: bool) -> tuple[str, ...]:
    notes = []
    others = [name for name in output.earlier["models"] if name not in had]
    others = [name for name in others if output.place.has(table_name(name))]
    if others:
        notes.append(
            f"{listing(others)}: of an earlier run and not in {STUDY}; name all models in --models "
            "to have them in one study"
        )
    if not written:
        notes.append(f"{STUDY} was changed by hand and is left as it is")
    return tuple(notes)


def _in_words(targets: Targets) -> list[str]:
    """What became tasks, and how others do."""
    lines = [f"task: {target.kind} of {quote(target.column)}" for target in targets.taken]
    offered = [target.column for target in targets.offered]
    if not targets.taken and not offered:
        return [f"no task: the places have no labels; add them, or a task to {STUDY}"]
    if not targets.taken:
        return [f"no task: {listing(offered, 6)} could be targets; say which with --target=…"]
    if offered:
        lines.append(f"other columns that could be targets: {listing(offered, 6)}")
    return lines


def _estimate_text(own: OfModel | OfTable) -> str:
    """What reading would take, in words."""
    rows, there = own.rows
    had = f", {there:,} there already" if there else ""
    if not own.parts:
        return f"{counted(rows, 'place')}, all there already"
    estimate = own.estimate()
    about = "" if estimate.seconds is None else f", about {clock_text(estimate.seconds, None)}"
    asked = f"{counted(estimate.requests, 'request')}, " if estimate.requests else ""
    return (
        f"{counted(rows, 'place')}{had}; {counted(len(own.parts), 'part')} to read: {asked}"
        f"{size_text(estimate.nbytes)}{about}; {neutral(estimate.cost)}"
    )
