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
from ecjax.fetch_asked import Asked, Labels, has_places, labels_of
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
from ecjax.models import Model, Unavailable
from ecjax.part_store import FOLDER
from ecjax.places import Directory, LocalPlace, place_of
from ecjax.precomputed import Precomputed
from ecjax.progress import Silent, clock_text
from ecjax.study_text import Tasks, study_text, tables_named
from ecjax.wanted import Wanted


@dataclasses.dataclass(frozen=True)
class Fetched:
    """What a directory holds now.

    Attributes:
      output: its name.
      rows: how many places, as many as the table has rows.
      models: name → what the manifest says of it.
      tasks: those of the study; {} where it was changed by hand and is left as it is.
      notes: lines for the user.
      late: models whose source does not answer → what it says; what was had of them is kept.
    """

    output: str
    rows: int
    models: Mapping[str, Mapping[str, Any]]
    tasks: Tasks
    notes: tuple[str, ...]
    late: Mapping[str, str]

    @property
    def empty(self) -> list[str]:
        """Models without a single vector."""
        return [name for name, own in self.models.items() if not own["rows"]]

    def __str__(self) -> str:
        left, lines = max(map(len, self.models), default=0), []
        for name, own in self.models.items():
            had = f"{own['rows']:,} of {counted(self.rows, 'row')}"
            lines.append(f"{neutral(name):{left}}  {had}  {neutral(own['version'])}")
            lines += [f"{'':{left}}  {n:,} {neutral(why)}" for why, n in own["missing"].items()]
        return "\n".join([*lines, *[""] * bool(lines), *_in_words(self.tasks), *self.notes])


def fetch(asked: Asked, out: Directory, progress: Silent | None = None) -> Fetched:
    """Gets the vectors, and writes tables, study and manifest.

    Args:
      out: the directory; need not exist.
      progress: tells the user; None: nothing is told.

    Raises:
      UsageError: an unknown model, or no year where a model needs one.
      InputError: places, a source, an encoder or the directory cannot be used.
      Unavailable: a public label set cannot be had.
      WriteError: the system refused to write. What was had is kept.
      KeyboardInterrupt: the user has asked to end. What was had is kept.
    """
    progress = progress or Silent()
    output, models, late = _models(asked, out, keep=True)
    output.check_writable()
    labels = progress.run(lambda: labels_of(asked, output.place), "reading the places", None)
    _check_years(models, labels.wanted)
    output.begin({name: _identity(model, asked) for name, model in models.items()})
    where = Where(output.place, asked.workers, progress)
    facts, reasons = {}, {}
    for name, model in models.items():
        progress.check()
        try:
            own, estimate = _looked_up(model, asked, labels.wanted, where)
            if own.parts:
                progress.say(f"{neutral(name)}: {estimate}")
            written = _write(name, own, asked, labels.wanted, output, progress)
            facts[name], reasons[name] = written
        except Unavailable as error:  # the others may be had
            late[name] = error
    if labels.public is None:
        output.write_table(LABELS, labels.wanted.labels)
    if models:
        output.write_table(MISSING, missing_table(labels.wanted, reasons))
    had = [name for name, own in facts.items() if own["rows"]]
    tasks, notes = _write_study(labels, had, output)
    output.finish(_manifest(asked, labels, tasks, facts), complete=not late)
    late = {name: str(error) for name, error in late.items()}
    return Fetched(str(output.place), len(labels.wanted.ids), facts, tasks, notes, late)


def plan(asked: Asked, out: Directory) -> str:
    """What `fetch` would take; writes nothing and asks for no more than an index. Raises as it."""
    output, models, late = _models(asked, out, keep=False)
    if not has_places(asked, output.place):
        raise UsageError(
            "--dry_run: the places of a task are known once it is here; get it first, without "
            "--models"
        )
    labels = labels_of(asked, output.place)
    _check_years(models, labels.wanted)
    where = Where(output.place, asked.workers, Silent(), mend=False)
    lines = []
    for name, model in models.items():
        try:
            own, estimate = _looked_up(model, asked, labels.wanted, where)
            lines.append(f"{neutral(name)}: {estimate}")
            lines.append(f"    licence: {neutral(own.licence)}")
        except Unavailable as error:
            late[name] = error
    lines += [f"{neutral(name)}: not known now: {neutral(late[name])}" for name in late]
    edited = output.edited_study()
    if edited is None:
        told = *_in_words(labels.tasks), *labels.notes, *labels.offer
    else:
        told = *labels.notes, *_notes(output, (), edited)
    return "\n".join([*lines, "", *told])


def _models(
    asked: Asked, out: Directory, keep: bool
) -> tuple[Output, dict[str, Model | Precomputed], dict[str, Unavailable]]:
    """The directory and the models, which fit each other; and those that cannot be had now.

    Args:
      keep: whether models may fetch weights, and keep an index in the directory.
    """
    asked.check()
    place = place_of(out)
    folder = place.path(FOLDER) if keep and isinstance(place, LocalPlace) else None
    models, late = {}, {}
    if asked.models or not asked.task:
        models, late = registry.models_of(asked.models, asked.sources, folder, download=keep)
    own = LABELS, MISSING, table_name(asked.task or "")
    taken = [name for name in models if table_name(name) in own]
    if taken:
        raise UsageError(
            f"--models: {quote(taken[0])} would be written over {table_name(taken[0])}, which "
            "holds something else; give the model another name"
        )
    output = Output(place, list(models), own_labels=not asked.task)
    for name, model in models.items():
        output.check(name, _identity(model, asked))
    return output, models, late


def _check_years(models: Mapping[str, Model | Precomputed], wanted: Wanted) -> None:
    needing = [name for name, model in models.items() if not _is_timeless(model)]
    if needing and wanted.year is None:
        own = any(name not in registry.BUILT_IN for name in needing)
        raise UsageError(
            f"{listing(needing)}: of which year? Give --year, or the places a column year"
            + "; an encoder of your own that knows none says so by timeless = True" * own
        )


def _is_timeless(model: Model | Precomputed) -> bool:
    return isinstance(model, Precomputed) or model.timeless


def _identity(model: Model | Precomputed, asked: Asked) -> dict[str, str]:
    """What makes vectors of one name those of one model, as far as it is known yet."""
    source = {"source": registry.shown(asked.sources.get(model.name))}
    return source if isinstance(model, Precomputed) else {"version": model.version, **source}


def _looked_up(
    model: Model | Precomputed, asked: Asked, wanted: Wanted, where: Where
) -> tuple[OfModel | OfTable, str]:
    """What is there of a model and what is left, and what getting that would take, in words."""

    def work() -> tuple[OfModel | OfTable, str]:
        if isinstance(model, Precomputed):
            own = OfTable(model, wanted, where)
        else:
            own = OfModel(model, asked.sources.get(model.name), wanted, where)
        return own, _estimate_text(own, wanted)

    return where.progress.run(work, f"{model.name}: what is there, and what is left", None)


def _write(
    name: str,
    own: OfModel | OfTable,
    asked: Asked,
    wanted: Wanted,
    output: Output,
    progress: Silent,
) -> tuple[dict[str, Any], np.ndarray]:
    """Gets one model's vectors and writes their table; what is to be said of them, and (n,) why
    there is none."""
    vectors = own.get()
    identity = {"version": own.version, "source": registry.shown(asked.sources.get(name))}
    output.check(name, identity)
    missing = vectors.reason[vectors.reason != ""]
    rows = len(vectors.reason) - len(missing)
    if rows:
        about, path = (own.version, own.timeless), table_name(name)
        progress.run(
            lambda: output.write_table(path, vectors_table(wanted, vectors, *about)),
            f"{name}: writing {path}",
            None,
        )
    else:
        output.place.remove(table_name(name))
    reasons, counts = np.unique(missing.astype(str), return_counts=True)
    facts = {**identity, "licence": own.licence, "dims": vectors.values.shape[1], "rows": rows}
    facts |= {"missing": dict(zip(reasons.tolist(), counts.tolist(), strict=True))}
    return facts, vectors.reason


def _write_study(
    labels: Labels, had: Sequence[str], output: Output
) -> tuple[Tasks, tuple[str, ...]]:
    """Writes the study, unless the user has changed it; its tasks, as far as they are of this run,
    and lines for the user."""
    edited = output.edited_study()
    if edited is not None:
        return {}, (*labels.notes, *_notes(output, had, edited))
    output.write_study(study_text(labels.wanted.task.name, had, labels.tasks, labels.offered))
    return labels.tasks, (*labels.notes, *labels.offer, *_notes(output, had, None))


def _manifest(
    asked: Asked, labels: Labels, tasks: Tasks, facts: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "command": "fetch",
        **made_by(),
        "arguments": {
            "places": labels.wanted.task.where,
            "models": list(asked.models),
            "year": asked.year,
            "columns": labels.wanted.task.roles,
        },
        "rows": len(labels.wanted.ids),
        "tasks": tasks,
        "models": facts,
        **({} if labels.public is None else {"labels": labels.public}),
    }


def _notes(output: Output, had: Sequence[str], edited: str | None) -> tuple[str, ...]:
    """Which tables the study does not name, and why.

    Args:
      had: models whose tables a study that is written now names.
      edited: the study, where the user has changed it.
    """
    others = [name for name in output.earlier.get("models", {}) if name not in had]
    others = [name for name in others if output.place.has(table_name(name))]
    if edited is None:
        way_out = "name all models in --models to have them in one study"
        note = f"{listing(others)}: of an earlier run and not in {STUDY}; {way_out}"
        return (note,) * bool(others)
    note = f"{STUDY} was changed by hand and is left as it is, with its own embeddings and tasks"
    tables = tables_named(edited)
    lacking = [name for name in (*had, *others) if table_name(name) not in tables]
    if tables and lacking:
        note += (
            f"; it does not name {listing(map(table_name, lacking))}: a table [embeddings.NAME] "
            f'with path = "{neutral(table_name(lacking[0]))}" adds it'
        )
    return (note,)


def _in_words(tasks: Tasks) -> list[str]:
    """What became tasks."""
    return [
        f"task {quote(name)}: {keys['kind']} of {listing(keys['target'], 4)}"
        for name, keys in tasks.items()
    ]


def _estimate_text(own: OfModel | OfTable, wanted: Wanted) -> str:
    """What reading would take, in words."""
    places, there = own.rows
    text = counted(places, "place")
    if places < len(wanted.ids):
        text = f"{counted(len(wanted.ids), 'row')} at {counted(places, 'distinct place')}"
        text += "" if own.timeless or len(np.unique(wanted.year)) == 1 else " and years"
    if not own.parts:
        return f"{text}, all there already"
    had = f", {there:,} there already" if there else ""
    estimate = own.estimate()
    about = "" if estimate.seconds is None else f", about {clock_text(estimate.seconds, None)}"
    asked = f"{counted(estimate.requests, 'request')}, " if estimate.requests else ""
    return (
        f"{text}{had}; {counted(len(own.parts), 'part')} to read: {asked}"
        f"{size_text(estimate.nbytes)}{about}; {neutral(estimate.cost)}"
    )
