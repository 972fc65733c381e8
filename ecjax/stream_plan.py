"""The plan of a streamed run, and how it reads on a terminal.

The tables' ids, and the columns that folds and classes are made from, are read; no vectors are.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from ecjax import host, inner, stream_cost, subsets
from ecjax.digest import plain_name
from ecjax.errors import counted
from ecjax.memory import size_text
from ecjax.pieces import Sample, lattice_of
from ecjax.report import aligned
from ecjax.scaled_plan import Needs, about, duration
from ecjax.settings import Settings, sweep
from ecjax.splits import dealing_of
from ecjax.stream_cost import Shape, StreamCost
from ecjax.stream_read import Joined
from ecjax.study import Study, TaskSource

# Measured on 2 cores of a 2.x GHz Xeon by `experiments/stream.py`: operations a second of the first
# pass, of ridge fits and of what comes after, and of passes of logistic fits; bytes read a second.
RATES = "2 cores of a 2.x GHz Xeon"
FIRST, FITS, AFTER, LOGISTIC, READ = 3.0e10, 2.5e10, 1.2e10, 1.0e10, 1.1e9


class TaskPlan(NamedTuple):
    """What one task takes under all settings.

    Attributes:
      rows: of the task's table that every embedding has.
      columns: p.
      targets: t; 0 for classes.
      classes: c; 0 for regression.
      subsets, folds: how many.
      cost: of all settings.
      seconds: estimated.
    """

    name: str
    rows: int
    columns: int
    targets: int
    classes: int
    subsets: int
    folds: int
    cost: StreamCost
    seconds: float


@dataclasses.dataclass(frozen=True)
class StreamPlan:
    """What a streamed run takes.

    Attributes:
      tasks: in the study's order.
      settings, seeds: how many.
      budget_bytes: what may be used.
    """

    tasks: tuple[TaskPlan, ...]
    settings: int
    seeds: int
    budget_bytes: float

    @property
    def operations(self) -> float:
        return sum(sum(task.cost.operations) for task in self.tasks)

    @property
    def seconds(self) -> float:
        return sum(task.seconds for task in self.tasks)

    @property
    def needs(self) -> Needs:
        """The same for other machines, whose devices share the rows."""
        repeated = sum(task.cost.repeated for task in self.tasks)
        read = sum(task.cost.passes * task.cost.bytes_read for task in self.tasks)
        return Needs(self.operations - repeated, repeated, read, 0.0, float("inf"))

    def __str__(self) -> str:
        return self.as_text()

    def as_text(self, width: int = 100) -> str:
        """The table of tasks, then the whole, as `ecjax plan` prints them."""
        table = [list(_HEAD), *map(_row, self.tasks)]
        empty = [j for j, cells in enumerate(zip(*table[1:], strict=True)) if not any(cells)]
        table = [[cell for j, cell in enumerate(row) if j not in empty] for row in table]
        lines = [*aligned(table, None, rule_after=0), ""]
        peak = max(task.cost.peak_bytes for task in self.tasks)
        whole = {
            "rows": "are streamed, batch by batch",
            "sweep": counted(self.settings, "setting") + f"; {counted(self.seeds, 'seed')}",
            "operations": f"{self.operations:.1e}".replace("e+0", "e").replace("e+", "e"),
            "memory": f"about {size_text(peak)}; the budget is {size_text(self.budget_bytes)}",
            "time": f"{about(self.seconds)} on {RATES}",
        }
        for name, text in whole.items():
            first = f"{name:10}  "
            lines += textwrap.wrap(first + text, width, subsequent_indent=" " * len(first))
        return "\n".join(lines)


_HEAD = ("task", "rows", "columns", "targets", "classes", "sets", "folds", "passes", "a pass reads",
         "operations", "time", "memory")  # fmt: skip


def _row(task: TaskPlan) -> list[str]:
    cost = task.cost
    return [
        plain_name(task.name),
        f"{task.rows:,}",
        f"{task.columns:,}",
        f"{task.targets:,}" if task.targets else "",
        f"{task.classes:,}" if task.classes else "",
        f"{task.subsets:,}",
        f"{task.folds:,}",
        f"{cost.passes:,}",
        size_text(cost.bytes_read),
        f"{sum(cost.operations):.1e}".replace("e+0", "e").replace("e+", "e"),
        duration(task.seconds),
        size_text(cost.peak_bytes),
    ]


def plan_stream(study: Study, settings: Settings, budget: float) -> StreamPlan:
    """Plans all settings of a run.

    Args:
      budget: bytes of memory that may be used.

    Raises:
      InputError: the tables cannot be used, as far as their ids, folds and classes tell.
    """
    steps = [chosen for _, chosen in sweep(settings, study.sweep)]
    tasks = tuple(_of_task(source, study.join, steps, budget) for source in study.tasks.values())
    return StreamPlan(tasks, len(steps), settings.seeds, budget)


def _of_task(source: TaskSource, join: str, steps: Sequence[Settings], budget) -> TaskPlan:
    joined = Joined(source, join)
    known = joined.labels(("split",) if steps[0].split == "column" else ())
    wanted = subsets.requested(list(joined.widths), steps[0].subsets, steps[0].max_subset_size)
    lattice = lattice_of(Sample(tuple(joined.widths), (known,), ()), wanted)
    t, c, costs, dealt = len(source.target), len(joined.classes), [], set()
    for settings in steps:
        dealing = dealing_of(known, settings)
        shape = _shape(len(known.ids), lattice, source.kind, dealing, settings)
        if c:
            given = known.name, len(known.ids), lattice.starts[-1], c, budget
            stream_cost.rows_held(*given, host.available_cores())
            cost = stream_cost.logistic(shape, c, budget, host.available_cores())
        else:
            cost = stream_cost.ridge(shape, t, budget, settings.passes > 1)
        if (key := (settings.folds, settings.seed)) in dealt:  # its first pass serves this one too
            passes = cost.passes - 1 - shape.dealt
            cost = cost._replace(passes=passes, operations=(0.0, *cost.operations[1:]))
        dealt.add(key)
        costs.append(cost)
    return TaskPlan(
        name=source.name,
        rows=len(known.ids),
        columns=lattice.starts[-1],
        targets=0 if c else t,
        classes=c,
        subsets=len(wanted),
        folds=dealing.folds,
        cost=_total(costs),
        seconds=sum(_seconds(cost, bool(c)) for cost in costs),
    )


def _shape(rows: int, lattice, kind: str, dealing, settings: Settings) -> Shape:
    groups = penalties = 1
    if settings.strict:
        groups = inner.group_count(dealing.folds, settings.inner_folds, kind)
        if kind == "classification":
            penalties = len(settings.logistic_c or inner.INVERSE_C)
        else:
            penalties = len(settings.ridge_lambda or inner.RIDGE_LAMBDA)
    divided = settings.split != "column" or dealing.folds > 1
    return Shape(
        rows, lattice, dealing.folds, settings.seeds, settings.strict, groups, penalties, divided
    )


def _total(costs: Sequence[StreamCost]) -> StreamCost:
    return StreamCost(
        passes=sum(cost.passes for cost in costs),
        operations=tuple(map(sum, zip(*(cost.operations for cost in costs), strict=True))),
        repeated=sum(cost.repeated for cost in costs),
        bytes_read=costs[0].bytes_read,
        peak_bytes=max(cost.peak_bytes for cost in costs),
    )


def _seconds(cost: StreamCost, classes: bool) -> float:
    """Of one setting: the next batch is read while one is at work."""
    first, fits, after = cost.operations
    read = cost.passes * cost.bytes_read / READ
    if classes:
        return max(read, first / FIRST + fits / LOGISTIC + after / AFTER)
    return max(read, first / FIRST + after / AFTER) + fits / FITS
