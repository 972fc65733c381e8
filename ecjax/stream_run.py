"""A run whose rows are streamed: what `evaluate.Run` is to tables in memory."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import pandas as pd
import pyarrow.parquet as pq

from ecjax import analyses, cell_keys, profiling, results, store, stream_evaluate
from ecjax.atomic import WriteError
from ecjax.calls import Interrupted
from ecjax.cell_store import FOLDER, CellStore
from ecjax.devices import find_device
from ecjax.encode import arrow_table
from ecjax.errors import UsageError, neutral
from ecjax.journal import Journal
from ecjax.manifest import Facts, device_text, fingerprint_of, flags_of, manifest_of
from ecjax.meetings import FLAGS
from ecjax.peers import Alone, PeerLost
from ecjax.places import Place, place_of
from ecjax.plan import memory_budget
from ecjax.processes import Shard
from ecjax.progress import Silent
from ecjax.result import Result
from ecjax.results import Frames
from ecjax.settings import Settings, sweep
from ecjax.stream_evaluate import Streamed
from ecjax.stream_kept import Kept
from ecjax.stream_plan import StreamPlan, plan_stream
from ecjax.stream_read import described
from ecjax.study import Study

PREDICTIONS = "predictions.parquet"


@dataclasses.dataclass(frozen=True)
class StreamedRun:
    """One evaluation of a study's tables, which are read batch by batch.

    Attributes:
      study: whose tables.
      settings: what was asked for.
      progress: where progress goes.
      peers: the processes that share the rows.
    """

    study: Study
    settings: Settings
    progress: Silent
    peers: Alone

    def __post_init__(self):
        if isinstance(self.peers, Shard):
            raise UsageError(
                "shard: the rows of a stream are divided over processes that add up what they "
                "find; use --coordinator and the like, leave --shard out, or, where nobody asked "
                "for a stream, raise --max_memory_gib"
            )
        if self.settings.predictions and self.peers.count > 1:
            raise UsageError(
                "predictions: each process of a stream has those of its own rows only; leave "
                "--predictions out, or run one process"
            )
        for _, chosen in sweep(self.settings, self.study.sweep):
            stream_evaluate.check(self.study, chosen)

    def evaluate(self, out: str | Path | None) -> Result | None:
        """As `evaluate.Run.evaluate`; predictions are written, and are not in what is returned."""
        if out is None and self.peers.count > 1:
            raise UsageError("processes share a run by a directory that all reach; give --out=DIR")
        started = time.perf_counter()
        device = find_device(self.settings.require_platform)
        profiling.check(self.settings.profile)
        out = None if out is None else place_of(out)
        directory = _Directory(out, self)
        # Else sums of other fits might be added up.
        self.peers.meet(f"{FLAGS}{flags_of(self.settings)}")
        study = self.fingerprint({}), dict(self.study.sweep)
        self.peers.meet(f"study {cell_keys.fingerprint(study)}")
        cells = None
        if out is not None and not self.settings.predictions:  # which are not kept
            cells = directory.cells()
        self.progress.say(f"{device_text(device)}, float64, rows are streamed")
        with contextlib.ExitStack() as stack:
            stack.enter_context(directory.told())
            kept = _Predictions(None if out is None else stack.enter_context(out.staging()))
            with profiling.traced(self.settings.profile):
                found = self._stream(device, directory, kept, cells)
            if cells is not None:  # else nothing would be left of what is done
                self.progress.check()
            directory.tell("assembling")
            frames = self._tables(found)
            facts = Facts(
                name=self.study.name,
                device=device,
                precision="float64",
                fingerprint=None if out is None else self.fingerprint(found.digests),
                digests=found.digests,
                swept=list(found.results[0].setting),
                notes=found.notes,
                timings=_timings(found) | {"total": time.perf_counter() - started},
                answered={},
            )
            tasks = [result.task for result in found.results[: len(self.study.tasks)]]
            manifest = manifest_of(tasks, self.settings, found.results, facts)
            result = Result(**frames, **kept.in_memory(), manifest=manifest)
            if self.peers.index > 0:
                return None
            if out is not None:
                result.write(out, self.progress, kept.close())
                directory.tell("done")
        return result

    def plan(self) -> StreamPlan:
        """What the evaluation would take; ids and labels are read, and no vectors.

        Raises:
          ecjax.InputError: the tables cannot be used, as far as these tell.
        """
        device = find_device(self.settings.require_platform)
        self.progress.say(f"{device_text(device)}, float64, rows are streamed")
        return plan_stream(self.study, self.settings, memory_budget(self.settings, device))

    def fingerprint(self, digests: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
        """What makes this study this one.

        Args:
          digests: as `manifest.fingerprint_of` takes them, of the tasks that were read.
        """
        tasks = [described(source) for source in self.study.tasks.values()]
        return fingerprint_of(tasks, self.settings, self.study.sweep, "float64", digests)

    def _stream(
        self, device: jax.Device, directory: _Directory, kept: _Predictions, cells: Kept | None
    ) -> Streamed:
        wanted = self.settings.predictions

        def work() -> Streamed:
            return stream_evaluate.evaluate(
                self.study,
                self.settings,
                memory_budget(self.settings, device),
                None if device.platform == "cpu" else device,
                self.peers,
                kept.add if wanted else None,
                self.settings.passes > 1,
                directory.seen,
                directory.passed,
                cells,
            )

        return self.progress.run(work, directory.in_words, None)

    def _tables(self, found: Streamed) -> Frames:
        parts = collections.defaultdict(list)
        for own in _by_setting(found.results, len(self.study.tasks)):
            columns = results.columns_of(own, False) | analyses.columns_of(own, self.settings)
            for name, more in columns.items():
                parts[name] += more
        swept = list(found.results[0].setting)
        return analyses.finished(results.frames_of(parts, swept), swept)


def _by_setting(found: Sequence, tasks: int) -> Iterator[Sequence]:
    for start in range(0, len(found), tasks):
        yield found[start : start + tasks]


def _timings(found: Streamed) -> dict[str, float]:
    total: dict[str, float] = collections.Counter()
    for seconds in found.seconds.values():
        total.update(seconds)
    return dict(total)


class _Directory:
    """Where the results go, as it is checked and told while rows pass.

    Args:
      place: None: nowhere.
    """

    def __init__(self, place: Place | None, run: StreamedRun):
        self._place, self._run, self._digests = place, run, {}
        self._said = "stream"
        first = run.peers.index == 0
        self._journal = None
        if place is not None:
            store.check_directory(place, run.fingerprint(self._known()))
            self._journal = Journal(place if first else None, run.progress)
            settings = len(sweep(run.settings, run.study.sweep))
            self._journal.expect([1.0] * len(run.study.tasks) * settings, 0)

    def cells(self) -> Kept:
        """What is kept there."""
        self._place.tidy(FOLDER)
        store = CellStore(self._place, self._run.progress.say)
        if self._run.peers.index == 0:
            store.write_plan([])  # which cells there are is known when the rows have passed

        def finished(cell: str, what: str, seconds: float) -> None:
            self._journal.finished(cell, what, 1.0, seconds)

        found = functools.partial(self._journal.finished_elsewhere, [1.0])
        return Kept(store, self._run.peers, finished, found)

    def seen(self, task: str, digests: Mapping[str, str]) -> None:
        """A task's rows have passed: are they those that the directory's results are of?"""
        self._digests[task] = dict(digests)
        if self._place is None:
            return
        fingerprint = self._run.fingerprint(self._known())
        store.check_directory(self._place, fingerprint)
        if len(self._digests) == len(self._run.study.tasks) and self._run.peers.index == 0:
            store.begin(self._place, fingerprint)

    def passed(self, what: str, done: int, rows: int) -> None:
        """So many rows of a pass are done; raises KeyboardInterrupt if the user asks to end."""
        self._said = f"{neutral(what)}, {done / rows:.0%} of {rows:,} rows"
        if done < rows:  # a pass that is through is not thrown away
            self._run.progress.check()
        self._run.peers.check()

    def in_words(self) -> str:
        """How far the run is."""
        return self._said

    def tell(self, state: str) -> None:
        """Says in the journal, if there is one, how far the run is."""
        self._said = state
        if self._journal is not None:
            self._journal.state(state)

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Says how far the run was when it is interrupted meanwhile."""
        try:
            yield
        except (KeyboardInterrupt, WriteError, PeerLost) as error:
            if self._journal is not None:
                self._journal.ended(error)
            if isinstance(error, KeyboardInterrupt):
                done = "" if self._journal is None else f"; {self._journal.kept()}"
                raise Interrupted(f"{self._said}{done}; the same command goes on") from None
            raise

    def _known(self) -> dict[str, dict[str, str]]:
        """Fingerprints of the tasks; of those that have not passed, what the directory says."""
        before = store.study_of(self._place) or {}
        return {
            name: self._digests.get(name)
            or {
                "rows": before.get("rows", {}).get(name, ""),
                "split": before.get("split_of", {}).get(name, ""),
            }
            for name in self._run.study.tasks
        }


class _Predictions:
    """The table of predictions, written batch by batch, or kept where no directory is named.

    Args:
      folder: where; None: in memory.
    """

    def __init__(self, folder: Path | None):
        self._folder, self._writer = folder, None
        self._frames: list[pd.DataFrame] = []

    def add(self, frame: pd.DataFrame) -> None:
        """Some rows of the table. Raises WriteError."""
        if self._folder is None:
            self._frames.append(frame)
            return
        table = arrow_table(frame)
        path = self._folder / PREDICTIONS
        try:
            if self._writer is None:
                how = {"compression": "zstd", "store_schema": False}
                self._writer = pq.ParquetWriter(path, table.schema, **how)
            self._writer.write_table(table.cast(self._writer.schema))
        except OSError as error:
            raise WriteError(f"{path}: cannot be written ({error.strerror or error})") from error

    def close(self) -> dict[str, Path]:
        """The finished file, by the table's name; {} where there is none."""
        if self._writer is None:
            return {}
        self._writer.close()
        return {"predictions": self._folder / PREDICTIONS}

    def in_memory(self) -> dict[str, pd.DataFrame]:
        """The table, by its name; {} where there is none."""
        return {"predictions": pd.concat(self._frames, ignore_index=True)} if self._frames else {}
