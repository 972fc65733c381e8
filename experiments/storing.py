"""What keeping cells costs: the steps of the part `store` of `benchmark.py`."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path

import promises
import workloads
from measuring import Rows, Setup, clock

import ecjax
from ecjax.demo import ROWS


def paper(setup: Setup) -> Rows:
    tasks = workloads.paper_study(setup.quick)
    return [_row(setup, "the paper's study: 6 tasks, 4 samples, 15 subsets", tasks, "< 5 %")]


def demo(setup: Setup) -> Rows:
    tasks = promises.demo_tasks(setup.quick_or(ROWS, ROWS // 8))
    return [_row(setup, "the demo's study", tasks, "< 2 s more")]


def _row(setup: Setup, study: str, tasks: Mapping[str, ecjax.Task], goal: str) -> dict:
    """Without and with a directory in turns, so that the machine's moods meet both."""
    setup.evaluate(tasks)
    alone, kept = [], []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(max(setup.repeats, setup.quick_or(5, 1))):
            alone.append(clock(lambda _: setup.evaluate(tasks), 1).median)
            out = Path(folder) / str(i)
            kept.append(clock(lambda _, out=out: setup.evaluate(tasks, out=out), 1).median)
    more = [b - a for a, b in zip(alone, kept, strict=True)]
    without = statistics.median(alone)
    return {
        "study": study,
        "without a directory (s)": without,
        "with one (s)": statistics.median(kept),
        "more (s)": statistics.median(more),
        "share": f"{statistics.median(more) / without:.1%}",
        "goal": goal,
    }
