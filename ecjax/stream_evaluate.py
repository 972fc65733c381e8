"""Evaluates studies whose rows do not fit in memory, in two passes over their tables."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax

from ecjax.errors import UsageError
from ecjax.memory import FLOAT, MORE_ROOM, TooLarge, size_text
from ecjax.notes import Note
from ecjax.peers import Alone
from ecjax.settings import Settings, sweep
from ecjax.stream_class_task import StreamedClassTask
from ecjax.stream_files import StoredTable
from ecjax.stream_kept import Kept
from ecjax.stream_read import Joined
from ecjax.stream_result import StreamedResult
from ecjax.stream_task import How, Predictions, StreamedTask
from ecjax.study import EmbeddingSource, Study
from ecjax.tables import EmbeddingReader

SPLITS = ("hash", "column")  # in which the fold of a row rests on no other row


class Streamed(NamedTuple):
    """What came out of a study.

    Attributes:
      results: of every setting, and of every task under it, for `results.columns_of`.
      notes: what was noticed about the rows.
      digests: task → fingerprints of the rows used, see `row_digest`.
      seconds: task → those of `StreamedTask`, and of reading "ids".
    """

    results: list[StreamedResult]
    notes: list[Note]
    digests: dict[str, dict[str, str]]
    seconds: dict[str, dict[str, float]]


def check(study: Study, settings: Settings) -> None:
    """Raises a UsageError if a study or a setting asks for what no stream can give."""
    if settings.split not in SPLITS:
        raise UsageError(
            f"stream: --split={settings.split} deals rows by what the others are, which a stream "
            "does not know; use --split=hash or column, or leave out --stream"
        )
    alone = {"interval": "ratio", "control": "", "probe": None}
    for name, only in alone.items():
        if getattr(settings, name) != only:
            raise UsageError(
                f"stream: {name}={getattr(settings, name)} needs all rows at once; leave it out, "
                "or leave out --stream"
            )
    if settings.map_by != "auto" or settings.map_km:
        raise UsageError(
            "stream: no maps are made of rows that pass by; leave map_by and map_km out"
        )
    if settings.precision == "float32":
        raise UsageError("stream: moments are added up in float64; leave --precision out")


def can_stream(study: Study, settings: Settings) -> bool:
    """Whether nothing is asked for that no stream can give."""
    try:
        for _, chosen in sweep(settings, study.sweep):
            check(study, chosen)
    except UsageError:
        return False
    return True


def bytes_in_memory(study: Study) -> float:
    """What the vectors take at least when a study is evaluated in memory.

    As they are read, in float32 or more, and, of the task that has most of them, as standardised
    float64.
    """
    numbers: dict[EmbeddingSource, int] = {}
    most = 0
    for task in study.tasks.values():
        own = [source for source in task.embeddings.values() if source.built_in is None]
        for source in own:
            if source not in numbers:
                table = StoredTable(EmbeddingReader(source))
                numbers[source] = table.rows * table.vectors_width()
        most = max(most, sum(numbers[source] for source in own))
    return FLOAT / 2 * sum(numbers.values()) + FLOAT * most


def must_stream(study: Study, settings: Settings, budget: float) -> bool:
    """Whether a study fits into so many bytes only as a stream.

    Raises:
      TooLarge: it does not fit, and asks for what no stream can give.
    """
    size = bytes_in_memory(study)
    if size <= budget:
        return False
    if can_stream(study, settings):
        return True
    raise TooLarge(
        f"study {study.path}: its tables take about {size_text(size)} in memory, and the budget is "
        f"{size_text(budget)}; {MORE_ROOM}"
    )


def evaluate(
    study: Study,
    settings: Settings,
    budget: float,
    device: jax.Device | None = None,
    peers: Alone | None = None,
    predictions: Predictions | None = None,
    second_pass: bool = True,
    seen: Callable[[str, dict[str, str]], None] = lambda task, digests: None,
    progress: Callable[[str, int, int], None] = lambda what, done, rows: None,
    kept: Kept | None = None,
) -> Streamed:
    """Evaluates all settings of a study's sweep on all of its tasks.

    Args:
      budget: bytes of memory that may be used, beside the ids of all rows.
      device: that moments and losses of rows are computed on; None: the host's BLAS, which
        classifications always take.
      peers: processes that share the rows; each returns the same.
      predictions: takes the table of predictions, batch by batch, of the rows of this process.
      second_pass: whether the rows pass again; without it there are no intervals and predictions.
        Classifications take some passes anyway, and have them always.
      seen: told a task's name and the fingerprints of its rows before anything is fitted to them;
        what it raises ends the run.
      progress: told what is done, how many rows have passed, and how many there are.
      kept: where results are kept, and taken from.

    Raises:
      InputError: the tables cannot be used, or change while they are read, or the budget is too
        small for the moments.
      UsageError: as `check`.
    """
    steps = sweep(settings, study.sweep)
    for _, chosen in steps:
        check(study, chosen)
    how = How(budget, device, peers or Alone(), predictions, second_pass, seen, progress)
    by_task, notes, digests, seconds = {}, [], {}, {}
    for name, source in study.tasks.items():
        with tempfile.TemporaryDirectory(prefix="ecjax-") as directory:
            started = time.perf_counter()
            joined = Joined(source, study.join)
            kind = StreamedClassTask if source.kind == "classification" else StreamedTask
            task = kind(joined, steps[0][1], how, Path(directory))
            ids = time.perf_counter() - started
            result = task.result if kept is None else functools.partial(kept.result, task)
            by_task[name] = [result(*step) for step in steps]
            notes += task.all_notes(by_task[name])
            digests[name] = task.digests
            seconds[name] = {"ids": ids, **task.seconds}
    results = [by_task[name][i] for i in range(len(steps)) for name in study.tasks]
    return Streamed(results, notes, digests, seconds)
