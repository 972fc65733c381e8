"""Which question a task's intervals answer, and whether space lets them, where there are places.

The split says which rows are tested, the unit what would be others another time. Intervals over
blocks cover for maps like this where blocks are at least four ranges of the residuals' correlation
wide; over rows they speak about this map alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ecjax import correlation
from ecjax.correlation import Correlation
from ecjax.notes import TASK_TABLE, Note
from ecjax.outcome import TaskResult
from ecjax.settings import Settings

_TESTED = {
    "random": "new rows",
    "stratified": "new rows",
    "hash": "new rows",
    "spatial": "rows of a new region as large as a block,",
    "group": "rows of a new group (a new region where groups are regions),",
    "column": "the rows that the column holds out,",
}
_WHERE = {
    "row": "on this map",
    "block": "on maps like this",
    "group": "where groups are like these",
}
RANGES = 4  # that blocks must be wide
NARROW = f"blocks narrower than {RANGES} ranges, intervals may be too narrow; range in km"
THIS_MAP = "neighbouring rows err alike, intervals are of this map alone; range in km"


class Answer(NamedTuple):
    """What the intervals of a task speak about, and the residuals' correlation in space."""

    question: str
    correlation: Correlation

    def in_manifest(self) -> dict[str, str | float]:
        found = self.correlation
        return {"question": self.question, "correlation_km": found.range_km,
                "correlation_reason": found.reason}  # fmt: skip


def answers(results: Sequence[TaskResult], settings: Settings) -> dict[str, Answer]:
    """By task, of its first setting; tasks without coordinates have none."""
    question = f"{_TESTED[settings.split]} {_WHERE[settings.unit]}"
    found = {}
    for result in results:
        task = result.task
        if task.name not in found and task.lat is not None and task.lon is not None:
            places = task.lat[result.scored], task.lon[result.scored]
            found[task.name] = Answer(question, correlation.estimate(*places, differences(result)))
    return found


def question_notes(answered: Mapping[str, Answer], settings: Settings) -> list[Note]:
    """Warnings where errors are alike too far for the unit."""
    notes = []
    for task, (_, found) in answered.items():
        narrow = settings.unit == "block" and settings.block_km < RANGES * found.range_km
        near = settings.unit == "row" and found.range_km > found.neighbour_km
        if narrow or near:
            reason = NARROW if narrow else THIS_MAP
            notes.append(Note(task, TASK_TABLE, reason, max(1, round(found.range_km)), ""))
    return notes


def differences(result: TaskResult) -> np.ndarray:
    """(n,) of each scored row, e_f/ē_f − e_m/ē_m of the largest set f and its best member m.

    The interval of the index rests on them: where some rows err more than others, but all sets
    there, they are not alike. Losses are squared errors summed over targets, or log-losses (misses
    where one is undefined). With one model alone, e_f/ē_f.
    """
    largest = int(np.argmax([len(subset) for subset in result.subsets]))
    members = result.members([largest])[0] if largest in result.fused else []
    losses = _losses(result, [largest, *members])
    mean = losses.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):  # no error at all: undefined
        shares = losses / mean
    return shares[:, 0] - (shares[:, 1 + mean[1:].argmin()] if members else 0.0)


def _losses(result: TaskResult, sets: Sequence[int]) -> np.ndarray:
    """(n, len(sets)) of the scored rows, summed over seeds."""
    if result.task.kind == "regression":
        # A constant target has no error.
        return result.own.row_error[..., sets].sum(0)[result.scored]
    losses = result.own.row_log_loss[:, sets][result.scored]
    finite = np.isfinite(losses).all()
    return losses if finite else result.own.row_miss[:, sets][result.scored].astype(float)
