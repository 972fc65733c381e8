"""Finds out what was understood of a study's tables, and what a run of it takes.

Tables are read and aligned as a run would; nothing is compiled or fitted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ecjax import binning, sphere, stream_evaluate
from ecjax.align import AlignedTask, Reader, align_tables, class_notes
from ecjax.devices import find_device
from ecjax.errors import InputError
from ecjax.evaluate import Run, run_of
from ecjax.folds import Folds
from ecjax.notes import NEAR_KM, SUSPECTED, TASK_TABLE, near_neighbours
from ecjax.plan import memory_budget
from ecjax.progress import Silent
from ecjax.remote import RemotePath
from ecjax.run_plan import RunPlan
from ecjax.settings import Settings, sweep
from ecjax.splits import check_column, fold_notes, folds_of
from ecjax.stream_plan import StreamPlan
from ecjax.study import Study, TaskSource
from ecjax.validation import Embedding, Near, Needs, Strata, Target, Task, Validation

NEAR = "near neighbours"
LOST = ("id absent", "missing value", "masked row")  # reasons that cost a task a row


def validate(study: Study, settings: Settings, progress: Silent) -> Validation:
    """Reads all tables of a study and plans its run; bad input is told in `errors`.

    Raises:
      UsageError: the settings ask for what the study does not have.
    """
    try:
        run = run_of(study, settings, progress)
    except InputError as error:
        return _validation(study, problems(study, settings, error), (), None)
    errors, tasks, needs = [], (), None
    if isinstance(run, Run):
        try:
            folds = _folds(run.tasks, settings, study)
        except InputError as error:
            errors.append(str(error))
            folds = [None] * len(run.tasks)
        tasks = tuple(_task(t, study, f) for t, f in zip(run.tasks, folds, strict=True))
    try:
        needs = _needs(run.plan(), settings)
    except InputError as error:
        errors.append(str(error))
    return _validation(study, errors, tasks, needs)


def problems(study: Study, settings: Settings, first: InputError) -> list[str]:
    """The errors of all tables, each once, where there is one; the first alone where it is none of
    a table's, or they do not fit into memory."""
    try:
        budget = memory_budget(settings, find_device(settings.require_platform))
        if stream_evaluate.bytes_in_memory(study) > budget:
            return [str(first)]
    except InputError:
        pass  # of one of the tables: it is told with the others
    try:
        reader = Reader(study)
    except InputError as error:
        return [str(error)]
    sources = [s for task in study.tasks.values() for s in task.embeddings.values()]
    checks = [partial(reader.embedding, s) for s in dict.fromkeys(sources) if s.files]
    checks += [partial(_aligned, reader, task, study.join) for task in study.tasks.values()]
    found = []
    for check in checks:
        try:
            check()
        except InputError as error:
            found.append(str(error))
    return list(dict.fromkeys(found)) or [str(first)]


def _aligned(reader: Reader, task: TaskSource, join: str) -> None:
    align_tables([reader.tables(task)], join)


def _validation(
    study: Study, errors: Sequence[str], tasks: tuple[Task, ...], needs: Needs | None
) -> Validation:
    return Validation(
        study=study.name,
        path=study.path.name,
        usable=not errors,
        errors=tuple(dict.fromkeys(_within(error, study) for error in errors)),
        tasks=tasks,
        needs=needs,
    )


def _folds(tasks: Sequence[AlignedTask], settings: Settings, study: Study) -> list[Folds]:
    """Of every task, under the setting of the sweep that has most; raises as `folds_of`."""
    for task in tasks:
        check_column(task)
    chosen = max((own for _, own in sweep(settings, study.sweep)), key=lambda own: own.folds)
    return [folds_of(task, chosen) for task in tasks]


def _task(task: AlignedTask, study: Study, folds: Folds | None) -> Task:
    source = study.tasks[task.name]
    own = [note for note in task.notes if note.source not in task.embeddings]
    own = [note for note in own if note.reason != NEAR]
    if folds is not None:
        own += [*class_notes(task, folds.count), *fold_notes(task, folds)]
    targets, classes = (), {}
    if task.kind == "regression":
        unit = "" if task.transform == "none" else task.transform
        targets = tuple(
            Target(name, unit, float(y.min()), float(y.max()), float(y.mean()))
            for name, y in zip(task.targets, task.y.T, strict=True)
        )
    else:
        members = np.bincount(task.y, minlength=len(task.classes))
        classes = dict(zip(task.classes, members.tolist(), strict=True))
    return Task(
        name=task.name,
        kind=task.kind,
        path=_path(source.path, study),
        table=task.read[TASK_TABLE],
        rows=len(task.ids),
        targets=targets,
        classes=classes,
        near=None if task.lat is None else _near(task, folds),
        strata=tuple(_strata(name, strata) for name, strata in task.strata.items()),
        embeddings=tuple(_embedding(task, name, study) for name in task.embeddings),
        notes=tuple(own),
    )


def _embedding(task: AlignedTask, name: str, study: Study) -> Embedding:
    source, matrix = study.tasks[task.name].embeddings[name], task.embeddings[name]
    notes = [note for note in task.notes if note.source == name]
    return Embedding(
        name=name,
        path=None if source.path is None else _path(source.path, study),
        table=task.read[name],
        width=matrix.shape[1],
        dtype=matrix.dtype.name,
        low=float(matrix.min()),
        high=float(matrix.max()),
        lost=tuple(note for note in notes if note.reason in LOST),
        notes=tuple(
            note
            for note in notes
            if note.reason not in LOST and not note.reason.startswith(SUSPECTED)
        ),
        suspects=task.suspects[name],
    )


def _near(task: AlignedTask, folds: Folds | None) -> Near:
    places = sphere.unit_vectors(task.lat, task.lon)
    near = near_neighbours(task.lat, task.lon)
    rows, trained_on = int(near.sum()), None
    if folds is not None:
        trained_on = 0
        for tested, held_out in zip(folds.tested[0], folds.held_out[0], strict=True):
            trained = near.copy()
            trained[held_out[held_out < len(near)]] = False
            scored = tested[tested < len(near)]
            scored = scored[near[scored]]
            if trained.any() and len(scored):
                trained_on += int(sphere.within(places[scored], places[trained], NEAR_KM).sum())
    return Near(NEAR_KM, rows, trained_on)


def _strata(name: str, strata: binning.Strata) -> Strata:
    rows = np.bincount(strata.codes[strata.codes >= 0], minlength=len(strata.labels))
    return Strata(name, len(rows), int(rows.min()), int(rows.max()))


def _needs(plan: RunPlan | StreamPlan, settings: Settings) -> Needs:
    streamed = isinstance(plan, StreamPlan)
    parts = plan.tasks if streamed else plan.samples
    peak = max(t.cost.peak_bytes for t in parts) if streamed else plan.peak_bytes
    return Needs(
        protocol=settings.protocol,
        split=settings.split,
        folds=tuple(dict.fromkeys(part.folds for part in parts)),
        seeds=settings.seeds,
        settings=plan.settings if streamed else math.prod(map(len, plan.swept.values())),
        sets=max(part.subsets for part in parts),
        operations=float(plan.operations),
        memory_bytes=float(peak),
        budget_bytes=float(plan.budget_bytes),
        seconds=plan.seconds,
        streamed=streamed,
    )


def _path(path: Path | RemotePath, study: Study) -> str:
    """As the study says it."""
    return str(path).removeprefix(f"{study.path.parent}/")


def _within(message: str, study: Study) -> str:
    """A message without the way to the study's folder, which is nobody's business."""
    folder = str(study.path.parent)
    return message if folder in (".", "/") else message.replace(f"{folder}/", "")
