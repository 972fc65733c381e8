"""The main job: a study or arrays in, tables of scores and complementarity indices out."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from ecjax import analyses, blas, engine, fragments, maps, question, refits, report, store
from ecjax.align import AlignedTask, align, by_id, class_notes
from ecjax.arrays import align_arrays
from ecjax.control import with_control
from ecjax.errors import UsageError, neutral
from ecjax.manifest import Facts, device_text, fingerprint_of, manifest_of
from ecjax.notes import Note
from ecjax.outcome import TaskResult
from ecjax.pieces import Piece
from ecjax.places import place_of
from ecjax.plan import Plan, make_plan
from ecjax.plots import Plots
from ecjax.precision import resolve
from ecjax.progress import Progress, Silent
from ecjax.results import build_frames
from ecjax.run_plan import RunPlan, plan_run
from ecjax.settings import Settings, from_arguments, sweep
from ecjax.splits import fold_notes
from ecjax.study import Study
from ecjax.sums import SampleSums, join
from ecjax.units import unit_notes, units_of

WITH_DEVICE = {"gpu": "jax[cuda12]", "tpu": "jax[tpu]"}  # what to install for a platform


@dataclasses.dataclass(frozen=True)
class Result:
    """Tables of one run as pandas frames, with the columns that the README lists.

    Tables that were not asked for are None.
    """

    scores: pd.DataFrame
    folds: pd.DataFrame
    index: pd.DataFrame
    targets: pd.DataFrame
    manifest: dict[str, Any]
    predictions: pd.DataFrame | None = None
    gains: pd.DataFrame | None = None
    shapley: pd.DataFrame | None = None
    commonality: pd.DataFrame | None = None
    maps: pd.DataFrame | None = None
    strata: pd.DataFrame | None = None
    separation: pd.DataFrame | None = None
    points: pd.DataFrame | None = None

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The frames that there are, by name."""
        fields = (field.name for field in dataclasses.fields(self) if field.name != "manifest")
        found = {name: getattr(self, name) for name in fields}
        return {name: frame for name, frame in found.items() if frame is not None}

    @property
    def undefined(self) -> bool:
        """Whether a score or an index is null for a reason in the data."""
        numbers = (self.scores["score"], self.targets["score"], self.index["eci"])
        return any(column.isna().any() for column in numbers)

    @property
    def plot(self) -> Plots:
        """Figures, as matplotlib axes: `result.plot.index()`. Needs the extra `plot`."""
        return Plots(self.tables, self.manifest)

    def __str__(self) -> str:
        return report.summary(self.tables, self.manifest)

    def _repr_html_(self) -> str:
        return fragments.of_result(self.tables, self.manifest)


def evaluate(
    data: Study | Mapping[str, Any] | None = None,
    tasks: Mapping[str, Any] | None = None,
    *,
    out: str | Path | None = None,
    progress: bool = False,
    **arguments: Any,
) -> Result:
    """Evaluates every subset of embeddings on every task, all folds and seeds.

    Args:
      data: a study (`ecjax.read_study`), or arrays: name → (n, p) embedding, or
        `ecjax.Coordinates` for one made from the tasks' lat and lon.
      tasks: with arrays: name → targets (n,) or (n, t), or an `ecjax.Task`.
      out: a directory that the tables are also written to.
      progress: show devices, precision and progress on standard error.
      **arguments: the flags of `ecjax evaluate` under their own names; lists are lists. `probe`
        is a JAX function in the place of ridge and logistic regression; `ecjax/probe.py` says what
        it is given, `experiments/own_probe.py` shows one.

    Returns:
      The tables.

    Raises:
      ecjax.InputError: the data cannot be used; the message says where and what to do.
      ecjax.UsageError: an argument is unknown, out of range or not there yet.
    """
    settings = from_arguments(arguments)
    if isinstance(data, Study):
        if tasks is not None:
            raise UsageError("a study brings its own tasks; leave out the second argument")
        aligned, name, swept = align(data), data.name, data.sweep
    else:
        if not tasks:
            raise UsageError(
                "give tasks: a mapping from names to targets or ecjax.Task; a study file is "
                "given as ecjax.read_study(path)"
            )
        aligned, name, swept = align_arrays(data or {}, tasks), "arrays", {}
    run = Run(name, aligned, settings, swept, Progress() if progress else Silent())
    return run.evaluate(out)


@dataclasses.dataclass(frozen=True)
class Run:
    """One evaluation of aligned tasks.

    Attributes:
      name: of the study.
      tasks: aligned.
      settings: what was asked for.
      swept: the study's sweep, key → values.
      progress: where progress goes.
    """

    name: str
    tasks: tuple[AlignedTask, ...]
    settings: Settings
    swept: Mapping[str, Sequence]
    progress: Silent

    def __post_init__(self):
        if self.settings.strict:  # the order of rows, which deals them to folds, is the ids'
            object.__setattr__(self, "tasks", by_id(self.tasks))

    def evaluate(self, out: str | Path | None) -> Result:
        """Computes all settings and, if `out` is given, writes the tables."""
        started = time.perf_counter()
        device = find_device(self.settings.require_platform)
        steps = self._steps()
        fingerprint = None
        if out is not None:
            fingerprint = self.fingerprint()
            store.check_directory(out, fingerprint)
        self.progress.say(f"{device_text(device)}, {self.precision()}")
        results: list[TaskResult] = []
        known: dict[tuple, TaskResult] = {}
        timings: dict[str, float] = {"align_and_check": 0.0, "compute": 0.0}
        for setting, chosen, missing in steps:
            begun = time.perf_counter()
            fresh = compute(missing, chosen, device, self.progress)
            if chosen.control:
                run = functools.partial(compute, device=device, progress=self.progress)
                fresh = with_control(fresh, chosen, run)
            if chosen.repeats_fits:
                fresh = refits.with_refits(fresh, chosen, device, self.progress.run)
            for result in fresh:
                known[_cell(result.task, chosen)] = result
            timings["compute"] += time.perf_counter() - begun
            found = [known[_cell(task, chosen)] for task in self.tasks]
            results += [dataclasses.replace(result, setting=setting) for result in found]
        frames = build_frames(results, self.settings.predictions)
        frames |= analyses.build(results, self.settings)
        timings["total"] = time.perf_counter() - started
        answered = question.answers(results, self.settings)
        facts = Facts(
            name=self.name,
            device=device,
            precision=self.precision(),
            fingerprint=fingerprint,
            swept=list(steps[0][0]),
            notes=self.notes(results)
            + question.question_notes(answered, self.settings)
            + analyses.notes(results, self.settings),
            timings=timings,
            answered=answered,
        )
        result = Result(**frames, manifest=manifest_of(self.tasks, self.settings, results, facts))
        if out is not None:
            write(out, result, self.progress)
        return result

    def precision(self) -> str:
        """What is computed in, "float64" or "float32"."""
        device = find_device(self.settings.require_platform)
        return resolve(self.settings.precision, device.platform, device.device_kind)

    def plan(self) -> RunPlan:
        """What the evaluation would take; nothing is fitted or compiled.

        Raises:
          ecjax.InputError: too few rows for the folds, or a budget that nothing fits into.
          ecjax.UsageError: the required platform is not there.
        """
        device = find_device(self.settings.require_platform)
        self.progress.say(f"{device_text(device)}, {self.precision()}")
        return plan_run(self._steps(), device)

    def _steps(self) -> list[tuple[dict[str, Any], Settings, list[AlignedTask]]]:
        """Every setting, with the tasks whose numbers no earlier setting has given."""
        known: set[tuple] = set()
        steps = []
        for task in self.tasks:
            # Both refuse, before anything is fitted, a task that lacks what they need.
            units_of(task, self.settings)
            maps.check(task, self.settings)
        for setting, chosen in sweep(self.settings, self.swept):
            for task in self.tasks:
                refits.check(task, chosen)
            wanted = {_cell(task, chosen): task for task in self.tasks}
            missing = [task for cell, task in wanted.items() if cell not in known]
            known |= set(wanted)
            steps.append((setting, chosen, missing))
        return steps

    def fingerprint(self) -> dict[str, Any]:
        """What makes this study this one, see `manifest.fingerprint_of`."""
        return fingerprint_of(self.tasks, self.settings, self.swept, self.precision())

    def notes(self, results: Sequence[TaskResult]) -> list[Note]:
        """What was noticed about the rows of all tasks, and their folds where there are most."""
        notes = []
        for task in self.tasks:
            own = [result for result in results if result.task is task]
            most = max((result.folds for result in own), key=lambda folds: folds.count)
            notes += [*task.notes, *class_notes(task, most.count), *fold_notes(task, most)]
            notes += unit_notes(task, own[0].units)
        return notes


def write(out: str | Path, result: Result, progress: Silent) -> None:
    """Writes a result; says what it took from the directory. Raises `store.WriteError`."""
    removed = store.write_results(out, result.tables, result.manifest)
    if removed:
        page = f"; `ecjax report {neutral(place_of(out))}` writes the page anew"
        text = f"removed, because the earlier run's: {', '.join(removed)}"
        progress.say(text + page * (store.PAGE in removed))


def compute(
    tasks: Sequence[AlignedTask],
    settings: Settings,
    device: jax.Device,
    progress: Silent,
    route: str = "cheaper",
) -> list[TaskResult]:
    """Evaluates tasks under one setting; one compiled call per memory chunk.

    Args:
      route: of ridge regression, as `plan.make_plan` takes it.
    """
    if not tasks:
        return []
    plan = make_plan(tasks, settings, device, route)
    fixed = settings.ridge_lambda, settings.logistic_c
    penalties = engine.Penalties(
        *(np.float64(np.nan if settings.strict else values[0]) for values in fixed),
        np.float64(settings.logistic_tolerance),
    )
    parts: list[list[tuple[Piece, SampleSums]]] = [[] for _ in plan.samples]
    for number, chunk in enumerate(plan.chunks, start=1):
        label = f"evaluate {number}/{len(plan.chunks)}" if len(plan.chunks) > 1 else "evaluate"
        programs, data = plan.arguments(chunk)
        seconds = plan.work(chunk).seconds

        def call(programs=programs, data=data):
            with blas.one_thread(), jax.enable_x64(True), jax.default_device(device):
                return jax.device_get(engine.study(programs, data, penalties))

        for piece, sums in zip(chunk, progress.run(call, label, seconds), strict=True):
            parts[piece.sample].append((piece, sums))
    return [
        result
        for i, sample in enumerate(plan.samples)
        for result in _task_results(plan, i, _join(parts[i], plan.subsets[i]), settings)
    ]


def _task_results(plan: Plan, i: int, sums: SampleSums, settings: Settings):
    sample = plan.samples[i]
    of_task = [sums.regression] * len(sample.regression) + list(sums.classification)
    grids = {kind: choice.grid for kind, choice in plan.choices[i].items()}
    for task, task_sums in zip(sample.tasks, of_task, strict=True):
        yield TaskResult(
            task=task,
            subsets=plan.subsets[i],
            seeds=settings.seed_list(),
            folds=plan.folds[i],
            targets=sample.columns(task),
            sums=task_sums,
            tolerance=None if settings.probe else settings.logistic_tolerance,
            confidence=settings.confidence,
            unit=units_of(task, settings),
            bootstraps=0 if settings.repeats_fits else settings.bootstraps,
            setting={},
            grid=grids.get(task.kind),
            banded=settings.penalty == "banded",
        )


def _join(parts: list[tuple[Piece, SampleSums]], wanted: tuple[tuple[int, ...], ...]) -> SampleSums:
    """Puts the pieces of a sample together again: subsets on axis 1, then seeds on axis 0."""
    if len(parts) == 1:
        return parts[0][1]
    by_seeds: dict[tuple[int, ...], dict] = {}
    for piece, sums in parts:
        by_seeds.setdefault(piece.seeds, {})[piece.subsets] = sums
    rows = []
    for group in by_seeds.values():
        order = [subset for subsets in group for subset in subsets]
        back = [order.index(subset) for subset in wanted]
        rows.append(join(list(group.values()), axis=1, order=back))
    return join(rows, axis=0)


def find_device(required: str) -> jax.Device:
    """The device to run on; UsageError if JAX has none of the required platform."""
    if required in ("", "any"):
        return jax.devices()[0]
    try:
        return jax.devices(required)[0]
    except RuntimeError as error:
        way_out = f"install {WITH_DEVICE[required]}, or " if required in WITH_DEVICE else ""
        raise UsageError(
            f"require_platform={required}: JAX finds no such device here, only "
            f"{jax.default_backend()}; {way_out}leave require_platform out"
        ) from error


def _cell(task: AlignedTask, settings: Settings) -> tuple:
    """What a task's numbers depend on among swept keys; equal cells are computed once."""
    regression = task.kind == "regression"
    penalty = settings.ridge_lambda if regression else settings.logistic_c
    return task.name, settings.folds, settings.seed, settings.inner_folds, penalty
