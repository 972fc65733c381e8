"""The plan of a whole run, all swept settings, and how it reads on a terminal.

Nothing is fitted or compiled for it; `evaluate` would do what it counts.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax

from ecjax import refits
from ecjax.align import AlignedTask
from ecjax.compute import CELL_SECONDS
from ecjax.digest import plain_name
from ecjax.errors import counted
from ecjax.memory import size_text
from ecjax.pieces import Piece
from ecjax.plan import Plan, make_plan, split
from ecjax.report import aligned
from ecjax.scaled_plan import Needs, about, duration
from ecjax.settings import Settings

RATES = "2 cores of a 2.x GHz Xeon"  # that the rates of `cost` were measured on
# Of studies with classes, whose fits stop at a tolerance: what was measured, see README.
FAR_OFF = "four times as long, or a fifth"
# Seconds of checking a run's rows and making its tables, and of the tables for each target.
TABLES, TARGET = 0.015, 0.0005


# Of one setting, its swept values, the settings, and the tasks that are computed for it: none where
# an earlier setting has given the same numbers.
Step = tuple[Mapping[str, Any], Settings, Sequence[AlignedTask]]


@dataclasses.dataclass(frozen=True)
class SamplePlan:
    """What is computed on the rows of one sample (tasks that share rows and embeddings).

    Attributes:
      tasks: their names.
      settings: how many swept settings this is computed for; operations and seconds are of all.
      rows, columns: n, and p of all embeddings.
      targets: of all regression tasks.
      classes: of each classification task.
      subsets, folds, seeds: how many.
      tested: (2,) fewest and most rows that a fold scores.
      dropped: most rows that a fold neither scores nor trains on.
      by_gram, by_hat: subsets whose ridge fits take the one route and the other.
      operations: floating-point operations, logistic fits at the assumed evaluations; with those
        that intervals of kinds `refit` and `nested` repeat.
      seconds: estimated, without compiling; None on a device whose rates were never measured.
      bytes: of the largest call's arrays of this sample; an upper estimate.
    """

    tasks: tuple[str, ...]
    settings: int
    rows: int
    columns: int
    targets: int
    classes: tuple[int, ...]
    subsets: int
    folds: int
    seeds: int
    tested: tuple[int, int]
    dropped: int
    by_gram: int
    by_hat: int
    operations: float
    seconds: float | None
    bytes: float


@dataclasses.dataclass(frozen=True)
class Repeated:
    """Of what a run takes, the fits that intervals of kinds `refit` and `nested` repeat.

    Attributes:
      what: in words, such as "200 replicates".
      calls, operations, seconds: as of `RunPlan`.
    """

    what: str
    calls: int
    operations: float
    seconds: float | None


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """What a run takes.

    Attributes:
      samples: in order of first use.
      split: how rows are dealt to folds.
      swept: key → values; empty without a sweep.
      calls: of compiled functions, one for each memory chunk of each setting, and those for
        intervals that repeat fits.
      cells: the same where a directory is written, without those of intervals.
      compilations: how often it is compiled anew in a fresh process: distinct programs × shapes.
      operations: of all samples.
      seconds: of all samples and the making of tables.
      evaluations: pairs of matrix products that each logistic fit is assumed to take, of samples
        the most; None where there is no classification.
      peak_bytes: of the largest call, an upper estimate.
      budget_bytes: what a call may use.
      platform: of the device.
      needs: the same for other machines, where each cell is a minute's work on these.
      repeated: what intervals take of it; None where they repeat no fits.
    """

    samples: tuple[SamplePlan, ...]
    split: str
    swept: dict[str, tuple]
    calls: int
    cells: int
    compilations: int
    operations: float
    seconds: float | None
    evaluations: float | None
    peak_bytes: float
    budget_bytes: float
    platform: str
    needs: Needs
    repeated: Repeated | None = None

    def __str__(self) -> str:
        return self.as_text()

    def as_text(self, width: int = 100) -> str:
        """The table of samples, then the whole, as `ecjax plan` prints them."""
        return _as_text(self, width)


def plan_run(steps: Sequence[Step], device: jax.Device) -> RunPlan:
    """Plans all settings of a run.

    Raises:
      InputError: as `plan.make_plan`.
    """
    samples: dict[tuple, SamplePlan] = {}
    programs, calls, cells, peak = set(), 0, 0, 0.0
    repeated, evaluations = [], []
    for _, settings, tasks in steps:
        if not tasks:
            continue
        plan = make_plan(tasks, settings, device)
        for number in range(len(plan.samples)):
            further = refits.planned(plan, number)
            _add(samples, _sample_plan(plan, number, further))
            repeated.append(further)
            if plan.samples[number].classification:
                evaluations.append(plan.evaluations[number])
            programs |= set(further.programs)
            calls += len(further.programs)
        for chunk in plan.chunks:
            programs.add(_compiled_for(plan, chunk))
            peak = max(peak, plan.work(chunk).bytes)
        calls += len(plan.chunks)
        cells += _cells(plan)
    found = tuple(samples.values())
    seconds = _sum(sample.seconds for sample in found)
    operations = sum(sample.operations for sample in found)
    parts = calls if seconds is None else max(calls, math.ceil(seconds / CELL_SECONDS))
    targets = sum(s.settings * (s.targets + len(s.classes)) for s in found)
    return RunPlan(
        samples=found,
        split=plan.settings.split,
        swept={key: tuple(dict.fromkeys(step[0][key] for step in steps)) for key in steps[0][0]},
        calls=calls,
        cells=cells,
        compilations=len(programs),
        operations=operations,
        seconds=None if seconds is None else seconds + TABLES + TARGET * targets,
        evaluations=max(evaluations, default=None),
        peak_bytes=peak,
        budget_bytes=plan.budget,
        platform=device.platform,
        needs=Needs(operations, 0.0, 0.0, _bytes_read(steps), parts),
        repeated=_repeated(plan.settings, repeated, seconds is not None),
    )


def _cells(plan: Plan) -> int:
    """Into how many calls a setting is cut where a directory is written."""
    timed = dataclasses.replace(plan, cell_seconds=CELL_SECONDS)
    whole = [piece for chunk in plan.chunks for piece in chunk]
    return 1 if timed.fits(whole) else sum(len(split(piece, timed)) for piece in whole)


def _bytes_read(steps: Sequence[Step]) -> float:
    """Of the tasks' tables, those that several share once."""
    arrays = [x for _, _, tasks in steps for t in tasks for x in (t.y, *t.embeddings.values())]
    return float(sum({id(x): x.nbytes for x in arrays}.values()))


def _repeated(
    settings: Settings, further: Sequence[refits.Planned], known: bool
) -> Repeated | None:
    if not settings.repeats_fits:
        return None
    replicates = counted(settings.bootstraps, "replicate")
    return Repeated(
        what=replicates if settings.interval == "refit" else "nested cross-validation",
        calls=sum(len(one.programs) for one in further),
        operations=sum(one.operations for one in further),
        seconds=sum(one.seconds for one in further) if known else None,
    )


def _sample_plan(plan: Plan, number: int, further: refits.Planned) -> SamplePlan:
    sample = plan.samples[number]
    pieces = [piece for chunk in plan.chunks for piece in chunk if piece.sample == number]
    work = plan.work(pieces)
    by_hat = len(plan.hat[number])
    subsets, folds = len(plan.subsets[number]), plan.folds[number]
    return SamplePlan(
        tasks=tuple(task.name for task in sample.tasks),
        settings=1,
        rows=sample.rows,
        columns=sum(x.shape[1] for x in sample.blocks),
        targets=sample.regression_targets,
        classes=tuple(len(task.classes) for task in sample.classification),
        subsets=subsets,
        folds=folds.count,
        seeds=plan.settings.seeds,
        tested=(int(folds.sizes.min()), int(folds.sizes.max())),
        dropped=int(folds.dropped.max()),
        by_gram=subsets - by_hat if sample.regression else 0,
        by_hat=by_hat,
        operations=work.operations + further.operations,
        seconds=None if work.seconds is None else work.seconds + further.seconds,
        bytes=max(plan.bytes(piece) for piece in pieces),
    )


def _add(samples: dict[tuple, SamplePlan], new: SamplePlan) -> None:
    """Adds a setting's numbers to those of the same work under other settings."""
    key = new.tasks, new.folds
    before = samples.get(key)
    if before is None:
        samples[key] = new
        return
    samples[key] = dataclasses.replace(
        before,
        settings=before.settings + 1,
        tested=(min(before.tested[0], new.tested[0]), max(before.tested[1], new.tested[1])),
        dropped=max(before.dropped, new.dropped),
        operations=before.operations + new.operations,
        seconds=_sum([before.seconds, new.seconds]),
    )


def _compiled_for(plan: Plan, chunk: Iterable[Piece]) -> tuple:
    """What a compiled program is kept under: static arguments, and the shapes of the others."""
    programs, data = plan.arguments(chunk)
    shapes = [(array.shape, array.dtype.name) for array in jax.tree.leaves(data)]
    return programs, tuple(shapes), jax.tree.structure(data)


def _sum(seconds: Iterable[float | None]) -> float | None:
    seconds = list(seconds)
    return None if None in seconds else sum(seconds)


def _as_text(plan: RunPlan, width: int) -> str:
    rows = [_HEAD, *(_row(sample) for sample in plan.samples)]
    columns = [column for column in zip(*rows, strict=True) if _tells(*column)]
    table = [list(row) for row in zip(*columns, strict=True)]
    lines = [*aligned(table, None, rule_after=0), ""]
    whole = {
        "folds": _folds_in_words(plan),
        "sweep": _sweep_in_words(plan),
        "operations": _amount(plan.operations),
        "memory": f"up to {size_text(plan.peak_bytes)} in a call; the budget is "
        f"{size_text(plan.budget_bytes)}",
        "time": _time_in_words(plan),
        "compiled": f"{counted(plan.compilations, 'program')} for {counted(plan.calls, 'call')}"
        + (f"; {counted(plan.cells, 'cell')} with --out" if plan.cells > 1 else ""),
    }
    if plan.repeated is not None:
        whole["refits"] = _repeated_in_words(plan.repeated)
    for name, text in whole.items():
        first = f"{name:10}  "
        lines += textwrap.wrap(first + text, width, subsequent_indent=" " * len(first))
    return "\n".join(lines)


_HEAD = ["sample", "settings", "rows", "columns", "targets", "classes", "sets", "gram",
         "hat", "folds", "operations", "time", "memory"]  # fmt: skip
_UNTOLD = {"settings": "1", "targets": "", "classes": "", "gram": "", "hat": ""}
_NAME_LIMIT = 30


def _tells(head: str, *cells: str) -> bool:
    """Whether a column is worth its room."""
    return set(cells) != {_UNTOLD.get(head)}


def _row(sample: SamplePlan) -> list[str]:
    first, *others = (plain_name(name) for name in sample.tasks)
    name = "+".join([first, *others])
    ridge = sample.targets > 0
    return [
        name if len(name) <= _NAME_LIMIT else f"{first} and {len(others)} more",
        f"{sample.settings:,}",
        f"{sample.rows:,}",
        f"{sample.columns:,}",
        f"{sample.targets:,}" if ridge else "",
        ", ".join(map(str, sample.classes)),
        f"{sample.subsets:,}",
        f"{sample.by_gram:,}" if ridge else "",
        f"{sample.by_hat:,}" if ridge else "",
        f"{sample.folds:,}",
        _amount(sample.operations),
        "not known" if sample.seconds is None else duration(sample.seconds),
        size_text(sample.bytes),
    ]


def _folds_in_words(plan: RunPlan) -> str:
    folds = ", ".join(str(k) for k in dict.fromkeys(sample.folds for sample in plan.samples))
    seeds = counted(plan.samples[0].seeds, "seed")
    if plan.split == "random":
        return f"{folds}; {seeds}"
    fewest, most = (pick(s.tested[i] for s in plan.samples) for i, pick in enumerate((min, max)))
    sizes = counted(most, "row") if fewest == most else f"{fewest:,} to {most:,} rows"
    dropped = max(sample.dropped for sample in plan.samples)
    lost = (
        f"; the buffer drops up to {counted(dropped, 'row')} of a fold's training"
        if dropped
        else ""
    )
    return f"{folds} of {sizes} by split={plan.split}{lost}; {seeds}"


def _sweep_in_words(plan: RunPlan) -> str:
    settings = math.prod(len(values) for values in plan.swept.values())
    values = [f"{key} = {', '.join(map(_plain, v))}" for key, v in plan.swept.items()]
    return f"{counted(settings, 'setting')}: {'; '.join(values)}" if values else "none"


def _plain(value: float | str) -> str:
    """A grid, which is text, in brackets."""
    return f"[{value}]" if isinstance(value, str) else f"{value:g}"


def _time_in_words(plan: RunPlan) -> str:
    if plan.seconds is None:
        return f"not known: the estimate was fitted on a CPU, in float64; this is {plan.platform}"
    text = f"{about(plan.seconds)} on {RATES}, without compiling"
    if plan.evaluations is None:
        return text
    most = "up to " if sum(bool(sample.classes) for sample in plan.samples) > 1 else ""
    text += f"; assumes {most}{plan.evaluations:.0f} evaluations for each logistic fit"
    return f"{text}, and may be {FAR_OFF}"


def _repeated_in_words(repeated: Repeated) -> str:
    calls, operations = counted(repeated.calls, "call"), _amount(repeated.operations)
    time = "" if repeated.seconds is None else f", {about(repeated.seconds)}"
    return f"{repeated.what}, which take of this {calls}, {operations} operations{time}"


def _amount(operations: float) -> str:
    return f"{operations:.1e}".replace("e+0", "e").replace("e+", "e")
