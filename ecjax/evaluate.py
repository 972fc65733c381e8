"""The main job: a study or arrays in, tables of scores and complementarity indices out."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ecjax import (
    analyses,
    cell_keys,
    fingerprints,
    maps,
    processes,
    profiling,
    question,
    refits,
    results,
    store,
    stream_evaluate,
)
from ecjax.align import AlignedTask, align, by_id, class_notes
from ecjax.arrays import align_arrays
from ecjax.cell_store import FOLDER, CellStore
from ecjax.compute import ALONE, Elsewhere, Runner, Work
from ecjax.control import with_control
from ecjax.devices import find_device
from ecjax.errors import UsageError
from ecjax.manifest import Facts, device_text, fingerprint_of, flags_of, manifest_of
from ecjax.meetings import FLAGS
from ecjax.memory import TooLarge
from ecjax.notes import Note
from ecjax.outcome import TaskResult
from ecjax.peers import Alone
from ecjax.places import place_of
from ecjax.plan import make_plan, memory_budget
from ecjax.precision import resolve
from ecjax.processes import Shard
from ecjax.progress import Progress, Silent
from ecjax.question import Answer
from ecjax.result import Result
from ecjax.results import Frames
from ecjax.run_plan import RunPlan, Step, plan_run
from ecjax.settings import Settings, from_arguments, sweep
from ecjax.splits import constant_notes, fold_notes
from ecjax.stream_run import StreamedRun
from ecjax.study import Study
from ecjax.units import unit_notes, units_of


def evaluate(
    data: Study | Mapping[str, Any] | None = None,
    tasks: Mapping[str, Any] | None = None,
    *,
    out: str | Path | None = None,
    progress: bool = False,
    **arguments: Any,
) -> Result | None:
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
      The tables; None in a process that shares the run (`shard`, `coordinator`) and is not the one
      to make them.

    Raises:
      ecjax.InputError: the data cannot be used; the message says where and what to do.
      ecjax.UsageError: an argument is unknown, out of range or not there yet.
    """
    settings = from_arguments(arguments)
    speaker = Progress() if progress else Silent()
    with processes.of(settings) as peers:
        if isinstance(data, Study):
            if tasks is not None:
                raise UsageError("a study brings its own tasks; leave out the second argument")
            return run_of(data, settings, speaker, peers).evaluate(out)
        if not tasks:
            raise UsageError(
                "give tasks: a mapping from names to targets or ecjax.Task; a study file is "
                "given as ecjax.read_study(path)"
            )
        if settings.stream:
            raise UsageError("stream: arrays are in memory already; leave it out")
        run = Run("arrays", align_arrays(data or {}, tasks), settings, {}, speaker, peers)
        return run.evaluate(out)


def run_of(
    study: Study, settings: Settings, progress: Silent, peers: Alone = ALONE
) -> Run | StreamedRun:
    """The evaluation of a study's tables, in memory or streamed.

    Raises:
      InputError: the tables cannot be used, or do not fit into memory and their split is none that
        a stream can have.
      UsageError: a stream was asked for that cannot be.
    """
    if not settings.stream:
        budget = memory_budget(settings, find_device(settings.require_platform))
        if not stream_evaluate.must_stream(study, settings, budget):
            if settings.passes == 1:
                raise UsageError("passes=1 is of a stream; add --stream, or leave it out")
            run = Run(study.name, align(study), settings, study.sweep, progress, peers)
            if not stream_evaluate.can_stream(study, settings) or run.fits():
                return run
        progress.say("the study does not fit into the memory that may be used: rows are streamed")
    return StreamedRun(study, settings, progress, peers)


@dataclasses.dataclass(frozen=True)
class Run:
    """One evaluation of aligned tasks.

    Attributes:
      name: of the study.
      tasks: aligned.
      settings: what was asked for.
      swept: the study's sweep, key → values.
      progress: where progress goes.
      peers: the processes that share the run.
    """

    name: str
    tasks: tuple[AlignedTask, ...]
    settings: Settings
    swept: Mapping[str, Sequence]
    progress: Silent
    peers: Alone = ALONE

    def __post_init__(self):
        if self.settings.strict:  # the order of rows, which deals them to folds, is the ids'
            object.__setattr__(self, "tasks", by_id(self.tasks))

    def evaluate(
        self, out: str | Path | None, more: Callable[[Result], Result] | None = None
    ) -> Result | None:
        """Computes all settings and, if `out` is given, keeps cells and writes the tables there.

        Args:
          more: makes more of the result before it is written.

        Returns:
          The tables; None in a process that shares the run and is not the one to make them.
        """
        if out is None and self.peers.count > 1:
            raise UsageError("processes share a run by a directory that all reach; give --out=DIR")
        started = time.perf_counter()
        device = find_device(self.settings.require_platform)
        profiling.check(self.settings.profile)
        steps = self._steps()
        fingerprint = cells = None
        out = None if out is None else place_of(out)  # the same one, to the end
        if out is not None:
            fingerprint = self.fingerprint()
            # Processes that were started on other studies are told apart before they compute.
            self.peers.meet(f"{FLAGS}{flags_of(self.settings)}")
            self.peers.meet(f"study {cell_keys.fingerprint([fingerprint, dict(self.swept)])}")
            store.check_directory(out, fingerprint)
            out.tidy()
            out.tidy(FOLDER)
            cells = CellStore(out, self.progress.say)
        self.progress.say(f"{device_text(device)}, {self.precision()}")
        runner = Runner(device, self.progress, cells, self.peers)
        with runner.told():
            works = [
                runner.prepare(tasks, chosen, setting) if tasks else None
                for setting, chosen, tasks in steps
            ]
            if out is not None:
                store.begin(out, fingerprint)
            checked = time.perf_counter()
            with profiling.traced(self.settings.profile):
                made = self._compute(steps, works, runner)
            self.progress.check()  # asked during the last call, or where Python swallows errors
            if not made:
                runner.tell("waiting")
                return None
            result = self._result(steps, works, runner, fingerprint, (started, checked))
            if more is not None:
                result = more(result)
            if self.peers.index > 0:
                return None
            if out is not None:
                self.progress.check()
                result.write(out, self.progress)
                runner.tell("done")
        return result

    def _compute(self, steps: Sequence[Step], works: list[Work | None], runner: Runner) -> bool:
        """Makes all calls of this process; whether it is the one to make the tables."""
        try:
            runner.complete([work for work in works if work is not None])
        except Elsewhere:
            return False
        if not isinstance(self.peers, Shard):
            return True
        for (_, chosen, _), work in zip(steps, works, strict=True):
            if work is not None and (chosen.control or chosen.repeats_fits):
                with contextlib.suppress(Elsewhere):
                    _fresh(work, chosen, runner)
        return False

    def _result(
        self,
        steps: Sequence[Step],
        works: list[Work | None],
        runner: Runner,
        fingerprint: dict[str, Any] | None,
        times: tuple[float, float],
    ) -> Result:
        """What is made of the calls; times: when the run began, and had checked everything."""
        frames, found, answered = self._tables(steps, works, runner)
        (started, checked), done = times, time.perf_counter()
        timings = {"align_and_check": checked - started, "compute": done - checked}
        facts = Facts(
            name=self.name,
            device=runner.device,
            precision=self.precision(),
            fingerprint=fingerprint,
            digests=self.digests,
            swept=list(steps[0][0]),
            notes=self.notes(found)
            + question.question_notes(answered, self.settings)
            + analyses.notes(found, self.settings),
            timings=timings | {"total": time.perf_counter() - started},
            answered=answered,
        )
        return Result(**frames, manifest=manifest_of(self.tasks, self.settings, found, facts))

    def _tables(
        self, steps: Sequence[Step], works: list[Work | None], runner: Runner
    ) -> tuple[Frames, list[TaskResult], dict[str, Answer]]:
        """The tables of all settings, results without their sums, and what intervals answer.

        Sums of one setting are in memory at a time, and those that later settings use too.

        Args:
          works: what each step takes; None where it takes nothing.
        """
        runner.tell("assembling")
        cells = [[_cell(task, chosen) for task in self.tasks] for _, chosen, _ in steps]
        last = {cell: number for number, own in enumerate(cells) for cell in own}
        known: dict[tuple, TaskResult] = {}
        parts, light, answered = collections.defaultdict(list), [], {}
        for number, (setting, chosen, _) in enumerate(steps):
            if works[number] is not None:
                for result in _fresh(works[number], chosen, runner):
                    known[_cell(result.task, chosen)] = result
                works[number] = None
            found = [dataclasses.replace(known[cell], setting=setting) for cell in cells[number]]
            columns = results.columns_of(found, self.settings.predictions)
            for name, own in (columns | analyses.columns_of(found, self.settings)).items():
                parts[name] += own
            answered = answered or question.answers(found, self.settings)
            light += [result.without_sums() for result in found]
            known = {cell: result for cell, result in known.items() if last[cell] > number}
        swept = list(steps[0][0])
        return analyses.finished(results.frames_of(parts, swept), swept), light, answered

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

    def fits(self) -> bool:
        """Whether every call fits into the memory that may be used."""
        device = find_device(self.settings.require_platform)
        try:
            for _, chosen, tasks in self._steps():
                if tasks:
                    make_plan(tasks, chosen, device)
        except TooLarge:
            return False
        return True

    def _steps(self) -> list[Step]:
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
        how = self.settings, self.swept, self.precision(), self.digests
        return fingerprint_of(self.tasks, *how)

    @functools.cached_property
    def digests(self) -> dict[str, dict[str, str]]:
        """Task → fingerprints of its rows, and of what they are split by."""
        split = self.settings.split
        return {
            task.name: fingerprints.of_rows(task) | {"split": fingerprints.of_split(task, split)}
            for task in self.tasks
        }

    def notes(self, found: Sequence[TaskResult]) -> list[Note]:
        """What was noticed about the rows of all tasks, and their folds where there are most."""
        notes = []
        for task in self.tasks:
            own = [result for result in found if result.task is task]
            most = max((result.folds for result in own), key=lambda folds: folds.count)
            notes += [*task.notes, *class_notes(task, most.count), *fold_notes(task, most)]
            notes += constant_notes(task, most) if self.settings.strict else []
            notes += unit_notes(task, own[0].units)
        return notes


def _fresh(work: Work, settings: Settings, runner: Runner) -> list[TaskResult]:
    """What the calls of a setting gave, with what further calls are made from."""
    found = runner.results(work)
    if settings.control:
        found = with_control(found, settings, runner)
    if settings.repeats_fits:
        found = refits.with_refits(found, settings, runner)
    return found


def _cell(task: AlignedTask, settings: Settings) -> tuple:
    """What a task's numbers depend on among swept keys; equal cells are computed once."""
    regression = task.kind == "regression"
    penalty = settings.ridge_lambda if regression else settings.logistic_c
    return task.name, settings.folds, settings.seed, settings.inner_folds, penalty
