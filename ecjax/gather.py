"""Gets the vectors of one model for all places: what is there already from its files, the rest
part by part, several at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd

from ecjax.errors import InputError, counted, neutral, quote
from ecjax.models import Estimate, Model, Places, Unavailable, Vectors
from ecjax.part_store import Part, PartStore
from ecjax.places import Place
from ecjax.precomputed import Precomputed
from ecjax.progress import Silent
from ecjax.registry import shown
from ecjax.row_digest import hashed
from ecjax.wanted import Wanted

T = TypeVar("T")
R = TypeVar("R")


class Where(NamedTuple):
    """Where parts are kept, and how they are got.

    Attributes:
      place: the output directory.
      workers: how many parts are read at once.
      progress: tells the user, and whether he has asked to end.
      mend: whether damaged parts are removed.
    """

    place: Place
    workers: int
    progress: Silent
    mend: bool = True


class OfModel:
    """The vectors of a model. Places that several rows share are asked for once.

    Attributes:
      version, licence, timeless: of the model.
      parts: rows of places that are to be read together, without those that are there.
      rows: how many places there are, each once, and how many of them are there.
    """

    def __init__(self, model: Model, source: str | None, wanted: Wanted, where: Where):
        self.model, self.version, self._where = model, model.version, where
        self.licence, self.timeless = model.licence, model.timeless
        self._about = {"version": model.version, "source": shown(source)}
        places = wanted.places
        if model.timeless:
            places = places._replace(year=np.zeros_like(places.year))
        self._places, self._back = _distinct(places)
        self._store = PartStore(where.place, model.name, where.progress.say, where.mend)
        self._had = np.zeros(len(self._places.lat), bool)
        self._found = _Found(len(self._had))
        self._load()
        self.rows = len(self._had), int(self._had.sum())
        self.parts = self._left()

    def estimate(self) -> Estimate:
        """What is left to be read would take."""
        if not self.parts:
            return Estimate(0, 0, 0.0, "nothing is left to be read")
        return self.model.estimate(self._places.at(np.flatnonzero(~self._had)))

    def get(self) -> Vectors:
        """All vectors, in the order of the wanted rows.

        Raises:
          KeyboardInterrupt: the user has asked to end.
          Unavailable, WriteError: what was read is kept.
        """
        if self.parts:
            state = _State(len(self.parts), sum(map(len, self.parts)))
            name = self.model.name
            self._where.progress.run(
                lambda: self._read(state),
                lambda: f"{name}: {state.parts:,} of {counted(state.all_parts, 'part')}",
                None,
                lambda: state.rows / state.all_rows,
            )
        return self._found.vectors(self._back)

    def _read(self, state: _State) -> None:
        def one(rows: np.ndarray) -> tuple[np.ndarray, Vectors]:
            places = self._places.at(rows)
            vectors = self.model.read(places)
            self._store.save(Part(self._about, places._asdict(), vectors))
            return rows, vectors

        progress = self._where.progress
        try:
            for rows, vectors in each(one, self.parts, self._where.workers, progress):
                self._put(rows, vectors)
                state.parts += 1
                state.rows += len(rows)
        except Unavailable as error:
            raise Unavailable(f"{error}; {self._kept(state)}") from error
        if state.parts < state.all_parts:
            raise KeyboardInterrupt(self._kept(state))

    def _kept(self, state: _State) -> str:
        return (
            f"{state.parts:,} of {counted(state.all_parts, 'part')} of {self.model.name} were read "
            "and are kept; the same command goes on"
        )

    def _load(self) -> None:
        """Takes what is there."""
        parts = [p for p in self._store.read(self._where.workers) if p.about == self._about]
        if not parts:
            return
        keys = [np.concatenate([p.keys[name] for p in parts]) for name in Places._fields]
        at = pd.MultiIndex.from_arrays(self._places).get_indexer(pd.MultiIndex.from_arrays(keys))
        start = 0
        for part in parts:
            rows = at[start : start + len(part.vectors.values)]
            start += len(rows)
            asked = np.flatnonzero(rows >= 0)
            self._put(rows[asked], Vectors(*(column[asked] for column in part.vectors)))
            self._had[rows[asked]] = True

    def _put(self, rows: np.ndarray, vectors: Vectors) -> None:
        width, given = self._found.width, vectors.values.shape[1]
        if width not in (None, given):
            raise InputError(
                f"model {quote(self.model.name)}: gives {counted(given, 'number')} a place, but "
                f"{width:,} before, under one version ({neutral(self.version)}); give it another "
                "version, and name another directory with --out"
            )
        self._found.put(rows, vectors)

    def _left(self) -> list[np.ndarray]:
        if self._had.all():
            return []
        parts = list(self.model.parts(self._places))
        if not np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(self._had))):
            raise RuntimeError(f"{self.model.name}: its parts do not hold each place once")
        left = (rows[~self._had[rows]] for rows in parts)
        return [rows for rows in left if len(rows)]


class OfTable:
    """The vectors of a table, joined on the ids; as `OfModel`.

    What was had is there only as long as the table's files are the same by their stamp.
    """

    timeless = True

    def __init__(self, table: Precomputed, wanted: Wanted, where: Where):
        self._table, self._wanted, self.licence = table, wanted, table.licence
        self._progress = where.progress
        self._store = PartStore(where.place, table.name, where.progress.say, where.mend)
        self._stamp = table.stamp()
        self._about = {"source": shown(table.source), "files": self._stamp or ""}
        self._keys = {"id": hashed(wanted.ids)}
        kept = self._store.read(where.workers) if self._stamp is not None else ()
        self._part = next((part for part in kept if self._serves(part)), None)
        rows = len(wanted.ids)
        self.rows = rows, rows if self._part else 0
        self.parts = [] if self._part else [np.arange(rows)]

    def _serves(self, part: Part) -> bool:
        same = all(part.about.get(key) == value for key, value in self._about.items())
        return same and np.array_equal(part.keys.get("id", ()), self._keys["id"])

    @property
    def version(self) -> str:
        """Known once the table is read."""
        return self._read().about["version"]

    def estimate(self) -> Estimate:
        """What is left to be read would take."""
        if not self.parts:
            return Estimate(0, 0, 0.0, "nothing is left to be read")
        return self._table.estimate()

    def get(self) -> Vectors:
        """All vectors, in the order of the wanted rows. Raises InputError, WriteError."""
        reading = f"{self._table.name}: reading its table"
        return self._progress.run(self._read, reading, None).vectors

    def _read(self) -> Part:
        if self._part is None:
            vectors, version = self._table.read(self._wanted.task)
            self._part = Part({**self._about, "version": version}, self._keys, vectors)
            if self._stamp is not None:
                self._store.save(self._part)
        return self._part


@dataclasses.dataclass
class _State:
    """How far reading is."""

    all_parts: int
    all_rows: int
    parts: int = 0
    rows: int = 0


class _Found:
    """Vectors of n places, as they come.

    Attributes:
      width: of the vectors; None before the first.
    """

    def __init__(self, count: int):
        self._values: np.ndarray | None = None
        self._texts = [np.full(count, "", object) for _ in Vectors._fields[1:]]

    @property
    def width(self) -> int | None:
        return None if self._values is None else self._values.shape[1]

    def put(self, rows: np.ndarray, vectors: Vectors) -> None:
        values, *texts = vectors
        if self._values is None:
            self._values = np.full((len(self._texts[0]), values.shape[1]), np.nan, np.float32)
        self._values[rows] = values
        for mine, given in zip(self._texts, texts, strict=True):
            mine[rows] = given

    def vectors(self, rows: np.ndarray) -> Vectors:
        return Vectors(self._values[rows], *(texts[rows] for texts in self._texts))


def each(work: Callable[[T], R], items: Iterable[T], workers: int, progress: Silent) -> Iterator[R]:
    """What work gives for each item, as it comes; no more than `workers` at once.

    After an error, or where the user has asked to end, nothing new is begun, and what is under way
    is waited for.
    """
    waiting, left = set(), iter(items)
    with ThreadPoolExecutor(workers) as pool:
        while True:
            while len(waiting) < workers and not progress.asked:
                item = next(left, None)
                if item is None:
                    break
                waiting.add(pool.submit(work, item))
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


def _distinct(places: Places) -> tuple[Places, np.ndarray]:
    """The places, each once and in an order of their own, and where each row's is among them."""
    columns = np.stack([column.astype(np.float64) for column in places], axis=1)
    found, back = np.unique(columns, axis=0, return_inverse=True)
    lat, lon, year = found.T.copy()
    return Places(lat, lon, year.astype(np.int64)), back.reshape(-1)
