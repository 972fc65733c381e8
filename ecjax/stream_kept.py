"""Streamed tasks in the store: what is kept of each, under each setting, is a cell.

A task's rows have to be read once, to know that they are still the same; then what is kept of them
is taken, and what is not is computed.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ecjax import sums
from ecjax.cell_file import Damaged
from ecjax.cell_keys import OF_MACHINES, OTHER_KIND, fingerprint
from ecjax.cell_store import CellStore
from ecjax.engine_version import OF_STREAMS, engine_digest
from ecjax.loss_moments import RowMoments
from ecjax.peers import Alone
from ecjax.row_digest import of_labels
from ecjax.settings import Settings
from ecjax.stream_result import StreamedResult
from ecjax.stream_task import StreamedTask

# Settings that what is kept does not depend on, beside those of machines.
OF_TABLES = ("confidence", "map_by", "map_km", "predictions")
KINDS = {kind.__name__: kind for kind in (sums.RegressionSums, sums.ClassSums, RowMoments)}

Told = Callable[[str, str, float], None]  # a cell's name, what it is of, and its seconds


class Kept:
    """What is kept of a run.

    Args:
      store: of cells.
      peers: the processes that share the rows; the first writes.
      finished: told of each cell that is computed, with its name, what it is of, and seconds.
      found: told of each cell that was there.
    """

    def __init__(self, store: CellStore, peers: Alone, finished: Told, found: Callable[[], None]):
        self._store, self._peers = store, peers
        self._finished, self._found = finished, found
        self._resumes = self._all(bool(store.files))

    def result(
        self, task: StreamedTask, setting: Mapping[str, Any], settings: Settings
    ) -> StreamedResult:
        """As `StreamedTask.result`. Raises WriteError if it cannot be kept."""
        started = time.perf_counter()
        if self._resumes:
            task.read()
            arrays = self._load(_key(task, settings))
            if arrays is not None:
                sizes, *own = _unpacked(arrays)
                self._found()
                names = ("sums", "of_empty", "of_rows")
                found = dict(zip(names, own, strict=True))
                return dataclasses.replace(task.restored(sizes, setting, settings), **found)
        result = task.result(setting, settings)
        if self._peers.index == 0:
            of = result.folds.sizes, result.sums, result.of_empty, result.of_rows
            what = f"{result.task.name}, streamed"
            file = self._store.save_unit(_key(task, settings), _packed(of), {"what": what})
            self._finished(file, what, time.perf_counter() - started)
        return result

    def _load(self, key: str) -> tuple[np.ndarray, ...] | None:
        arrays = None
        if self._store.has_unit(key):
            try:
                arrays = self._store.load_unit(key)
            except Damaged:  # then it is no longer there
                arrays = None
        return arrays if self._all(arrays is not None) else None

    def _all(self, own: bool) -> bool:
        """Whether it is so in all processes."""
        (count,) = self._peers.summed((np.array(int(own)),))
        return int(count) == self._peers.count


def _key(task: StreamedTask, settings: Settings) -> str:
    without = {*OF_MACHINES, *OF_TABLES, "probe", *OTHER_KIND[task.joined.source.kind]}
    fields = (field.name for field in dataclasses.fields(settings))
    units = None
    if task.unit_of_row is not None:
        keep = task.joined.keep
        units = of_labels(task.joined.ids[keep], task.unit_of_row[keep])
    return fingerprint(
        {
            "engine": engine_digest(OF_STREAMS),
            "streamed": task.digests,
            "units": units,
            "settings": {name: getattr(settings, name) for name in fields if name not in without},
            "second pass": task.how.second_pass,
        }
    )


def _packed(value: Any) -> list[np.ndarray]:
    """Tuples, dicts, numbers and None as arrays, the first of which tells how they stand."""
    arrays: list[np.ndarray] = []

    def told(part: Any) -> Any:
        if isinstance(part, np.ndarray):
            arrays.append(part)
            return {"array": len(arrays)}
        if type(part).__name__ in KINDS:
            return {"kind": type(part).__name__, "of": [told(own) for own in part]}
        if isinstance(part, dict):
            return {"dict": [[told(key), told(own)] for key, own in part.items()]}
        if isinstance(part, tuple):
            return [told(own) for own in part]
        return part if part is None else float(part) if isinstance(part, float) else int(part)

    text = json.dumps(told(value))
    return [np.frombuffer(text.encode(), np.uint8), *arrays]


def _unpacked(arrays: tuple[np.ndarray, ...]) -> Any:
    def made(part: Any) -> Any:
        if isinstance(part, list):
            return tuple(map(made, part))
        if not isinstance(part, dict):
            return part
        if "array" in part:
            return arrays[part["array"]]
        if "dict" in part:
            return {made(key): made(own) for key, own in part["dict"]}
        return KINDS[part["kind"]](*map(made, part["of"]))

    return made(json.loads(arrays[0].tobytes()))
