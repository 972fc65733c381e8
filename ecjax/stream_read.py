"""The tables of a task as a stream of batches, joined on the id.

First the ids alone are read, and held: 8 bytes a row and table (more where they are text), and as
much for where each of the task's rows is in every table. Then the task's table passes batch by
batch in its own order, and beside it the tables of its embeddings (`stream_order`). Which rows are
used is decided as `align` does it, in the first pass; later passes read only these.

Axes: n rows of the task's table, m rows of a batch, r seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ecjax.align import AlignedTask, kept_rows, targets_of
from ecjax.errors import InputError, listing, quote
from ecjax.guard import check_sources
from ecjax.ids import common_ids
from ecjax.notes import Note
from ecjax.row_digest import RowDigest, of_classes
from ecjax.stream_checks import Checks
from ecjax.stream_files import StoredTable
from ecjax.stream_labels import codes_of, used_codes
from ecjax.stream_moments import Peers
from ecjax.stream_order import Pieces, arranged
from ecjax.study import EmbeddingSource, TaskSource
from ecjax.tables import EmbeddingReader, EmbeddingTable, TaskReader, TaskTable, table_of_places


class Batch(NamedTuple):
    """Rows that are used.

    Attributes:
      rows: (m,) their numbers in the task's table.
      task: ids and places.
      y: (m, t) float64 targets in the unit of the task's transform, or (m,) class codes.
      matrices: (m, p) of each embedding, in the study's order.
    """

    rows: np.ndarray
    task: TaskTable
    y: np.ndarray
    matrices: dict[str, np.ndarray]

    def at(self, some: np.ndarray) -> Batch:
        """The marked ones (m,) of them."""
        matrices = {name: matrix[some] for name, matrix in self.matrices.items()}
        return Batch(self.rows[some], kept_rows(self.task, some), self.y[some], matrices)


class InOrder:
    """Takes the next rows from pieces of any size."""

    def __init__(self, pieces: Iterator[pa.Table], schema: pa.Schema):
        self.pieces = pieces
        self.left = schema.empty_table()

    @property
    def at_hand(self) -> int:
        """Rows that can be taken without a copy; 0: none are left."""
        if not len(self.left):
            self.left = next(self.pieces, self.left)
        return len(self.left)

    def take(self, count: int) -> pa.Table:
        """The next so many rows, of which there must be as many."""
        found = []
        while count:
            if not len(self.left):
                self.left = next(self.pieces)
            found.append(self.left.slice(0, count))
            self.left = self.left.slice(count)
            count -= len(found[-1])
        return pa.concat_tables(found) if found else self.left.slice(0, 0)


class Vectors:
    """The table of one embedding, beside the task's.

    Attributes:
      reader: what its columns mean.
      place: (n,) where in the table each of the task's rows is; −1 where nowhere.
      width: p.
    """

    def __init__(self, source: EmbeddingSource, task: TaskTable, join: str):
        self.reader = EmbeddingReader(source)
        self.stored = StoredTable(self.reader)
        self.width = self.stored.vectors_width()
        ids = self.reader.ids(self.stored.whole([source.id]))
        none = np.zeros((len(ids), 0))
        table = EmbeddingTable(source.name, self.reader.where, ids, none, (), none, none, source.id)
        self.common = common_ids(task, table, join)
        self.place = self.common.place
        features = self.reader.chosen
        every = self.stored.schema.names
        self.names = [name for name in every if name != source.id or name in features]
        self.pieces: Pieces | None = None

    def arrange(self, rows: slice, directory: Path, most: int, budget: float) -> None:
        """Prepares passes over those of some of the task's rows that are there.

        The arguments are those of `stream_order.arranged`.
        """
        place = self.place[rows]
        wanted = place[place >= 0]
        self.pieces = arranged(self.stored, wanted, self.names, directory, most, budget)

    def table(self, rows: pa.Table, ids: np.ndarray) -> EmbeddingTable:
        """Of some rows."""
        return self.reader.table(rows, ids, self.width)

    def vectors(self, rows: pa.Table, ids: np.ndarray) -> np.ndarray:
        """(m, p) of some rows."""
        return self.reader.vectors(rows, ids, self.width)[0]


def described(source: TaskSource) -> AlignedTask:
    """A task without rows."""
    none = np.zeros((0, 0))
    own = source.embeddings
    return AlignedTask(
        name=source.name,
        where=f"task {quote(source.name)} ({source.path})",
        kind=source.kind,
        ids=np.zeros(0, int),
        targets=source.target,
        y=np.zeros((0, len(source.target))),
        classes=(),
        embeddings=dict.fromkeys(own, none),
        lat=None,
        lon=None,
        group=None,
        sample=0,
        notes=(),
        built_in={name: e.built_in for name, e in own.items() if e.built_in is not None},
        transform=source.transform,
    )


class Joined:
    """A task's tables, joined.

    Attributes:
      ids: (n,) of the task's table.
      known: (n,) whether every embedding's table has a row.
      share: the rows that this process reads.
      keep: (n,) which rows are used; known after the first pass, those of all after `agree`.
      notes: what was noticed; known after `agree`.
      digest: of the rows that are used; of all after `agree`.
      codes, classes: (n,) of a classification's rows, −1 for none, and its labels; those that are
        used after `agree`.
    """

    def __init__(self, source: TaskSource, join: str):
        """Opens the tables, and reads their ids.

        Args:
          join: as in the study.

        Raises:
          InputError: as `align.align`.
        """
        check_sources(source.embeddings, f"task {quote(source.name)}")
        self.source = source
        self.reader = TaskReader(source)
        self.stored = StoredTable(self.reader)
        self.ids = self.reader.ids(self.stored.whole([source.id]))
        task = TaskTable(source.name, self.reader.where, source.kind, self.ids, {})
        self.codes, self.classes = None, ()
        if source.kind == "classification":
            self.codes, self.classes = codes_of(self.stored, self.reader.where, self.ids)
        self.tables: dict[str, Vectors] = {}
        self.known = np.ones(len(self.ids), bool)
        for name, own in source.embeddings.items():
            if own.built_in is None:
                self.tables[name] = Vectors(own, task, join)
                self.known &= self.tables[name].place >= 0
        # What passes: targets and places; groups and folds are `labels`.
        passing = dataclasses.replace(source, group=None, split=None, strata={})
        self.passing = TaskReader(passing)
        needed = self.passing.choose(self.stored.schema, self.reader.where)
        self.names = [name for name in needed if name != source.id]
        self.keep: np.ndarray | None = None
        self.notes: tuple[Note, ...] | None = None
        self.digest = RowDigest()
        self._checks: Checks | None = None
        self._last: tuple[TaskTable, dict[str, EmbeddingTable]] | None = None  # some rows

    def arrange(
        self, directory: Path, most: int, budget: float, part: tuple[int, int] = (0, 1)
    ) -> None:
        """Prepares passes over the rows.

        Args:
          directory: empty, for tables whose rows must be put in order.
          most: rows of a batch.
          budget: bytes that are put in order at a time.
          part: number of this process, and of all that share the rows.
        """
        n, (number, count) = len(self.ids), part
        self.most, self.share = most, slice(n * number // count, n * (number + 1) // count)
        for i, table in enumerate(self.tables.values()):
            own = directory / str(i)
            own.mkdir()
            table.arrange(self.share, own, most, budget)

    @property
    def widths(self) -> dict[str, int]:
        """p of each embedding."""
        built_in = {
            name: len(own.built_in.columns)
            for name, own in self.source.embeddings.items()
            if own.built_in is not None
        }
        return {
            name: built_in.get(name) or self.tables[name].width for name in self.source.embeddings
        }

    def labels(self, roles: Sequence[str]) -> AlignedTask:
        """The known rows with what the columns of some roles ("lat", "group", …) say about them.

        They have neither targets nor vectors.
        """
        none = dict.fromkeys(("lat", "lon", "group", "split"))
        asked = {role: getattr(self.source, role) for role in roles}
        source = dataclasses.replace(self.source, target=(), strata={}, **none | asked)
        names = list(dict.fromkeys(name for name in asked.values() if name is not None))
        rows = self.stored.whole(names) if names else pa.table({})
        kept = kept_rows(TaskReader(source).table(rows, self.ids), self.known)
        widths = {name: np.zeros((0, width)) for name, width in self.widths.items()}
        places = {"lat": kept.lat, "lon": kept.lon, "group": kept.group, "split": kept.split}
        return dataclasses.replace(
            described(self.source), ids=kept.ids, embeddings=widths, **places
        )

    def batches(self) -> Iterator[Batch]:
        """The rows that are used, the next batch of which is read while one is at work.

        Raises:
          InputError: in the first pass as `align.align`; in any, a file is not what it was.
        """
        yield from ahead(self._first_pass() if self.keep is None else self._again())
        for table in (self.stored, *(own.stored for own in self.tables.values())):
            table.check_unchanged()

    def agree(self, peers: Peers) -> None:
        """After the first pass: decides about the rows of all processes.

        Raises:
          InputError: as `align.align`.
        """
        checks, (own, tables) = self._checks, self._last
        checks.agree(peers)
        (keep,) = peers.summed((self.keep.astype(int),))
        self.keep = keep > 0
        commons = {name: table.common for name, table in self.tables.items()}
        notes = checks.notes(own, tables, commons, self.ids)
        if self.codes is not None:
            self.codes, self.classes = used_codes(self.codes, self.classes, self.keep)
        if not checks.rows:
            raise InputError(
                f"{own.where}: no row has a target and a vector in every one of "
                f"{listing(tables, 10)}; compare the ids of the tables"
            )
        self.notes, self._checks, self._last = notes, None, None
        (sums,) = peers.summed((self.digest.sums.view(np.int64),))
        self.digest.sums = sums.view(np.uint64)

    def _first_pass(self) -> Iterator[Batch]:
        checks = Checks(self.source.name, self.widths, self.classes)
        keep = np.zeros(len(self.ids), bool)
        task, streams = self._streams()
        for rows in self._batches_of_rows([task, *streams.values()]):
            own = self._task(task.take(rows.stop - rows.start), rows)
            y, stay = self._targets(own, rows)
            numbers = np.arange(rows.start, rows.stop)
            checks.see_targets(own, ~stay, numbers)
            tables, present = {}, {}
            for name in self.source.embeddings:
                table, there = self._table(name, streams, own, rows)
                checks.vectors[name].see_rows(table, numbers[there])
                stay = stay & there
                stay[there] &= ~(table.missing | table.fill)
                tables[name], present[name] = table, there
            keep[rows] = stay
            self._last = own, tables
            if stay.any():
                inside = {name: stay[there] for name, there in present.items()}
                tables = {name: _used(table, inside[name]) for name, table in tables.items()}
                places = {name: table.place[rows][stay] for name, table in self.tables.items()}
                made = dict.fromkeys(tables, numbers[stay])
                own, y = kept_rows(own, stay), y[stay]
                checks.see(own, y, tables, made | places)
                matrices = {name: table.vectors for name, table in tables.items()}
                of_targets = y if self.codes is None else of_classes(self.classes)[y]
                self.digest.add(own.ids, of_targets, list(matrices.values()))
                yield Batch(numbers[stay], own, y, matrices)
        self.keep, self._checks = keep, checks

    def _again(self) -> Iterator[Batch]:
        """Without looking at what the first pass has seen."""
        task, streams = self._streams()
        for rows in self._batches_of_rows([task, *streams.values()]):
            own = self._task(task.take(rows.stop - rows.start), rows)
            stay = self.keep[rows]
            matrices = {}
            for name, source in self.source.embeddings.items():
                if source.built_in is not None:
                    matrices[name] = source.built_in.encode(own.lat[stay], own.lon[stay])
                    continue
                table = self.tables[name]
                present = table.place[rows] >= 0
                found = table.vectors(streams[name].take(present.sum()), own.ids[present])
                inside = stay[present]
                matrices[name] = found if inside.all() else found[inside]
            if stay.any():
                y = self._targets(own, rows)[0][stay]
                numbers = np.flatnonzero(stay) + rows.start
                yield Batch(numbers, kept_rows(own, stay), y, matrices)

    def _streams(self) -> tuple[InOrder, dict[str, InOrder]]:
        wanted = np.arange(self.share.start, self.share.stop)
        pieces = self.stored.pieces(wanted, self.names, self.most)
        # Each table is read in a thread of its own: one alone is slower than the passes.
        return InOrder(ahead(pieces), self.stored.columns(self.names)), {
            name: InOrder(ahead(own.pieces()), own.stored.columns(own.names))
            for name, own in self.tables.items()
        }

    def _batches_of_rows(self, streams: Sequence[InOrder]) -> Iterator[slice]:
        """Batches that end where pieces do, unless they were small then."""
        start = self.share.start
        while start < self.share.stop:
            count = min(own.at_hand or self.most for own in streams)
            count = count if self.most / 2 <= count <= self.most else self.most
            yield slice(start, min(start + count, self.share.stop))
            start += count

    def _task(self, rows: pa.Table, which: slice) -> TaskTable:
        return self.passing.table(rows, self.ids[which])

    def _targets(self, own: TaskTable, which: slice) -> tuple[np.ndarray, np.ndarray]:
        """Of some rows, and which of them have every one."""
        if self.codes is None:
            y, _, given = targets_of(own)
            return y, given
        codes = self.codes[which]
        return codes, codes >= 0

    def _table(self, name: str, streams, own: TaskTable, rows: slice):
        """An embedding's table of a batch's rows, and which of them it has."""
        built_in = self.source.embeddings[name].built_in
        if built_in is not None:
            return table_of_places(name, built_in, own, {}), np.ones(len(own.ids), bool)
        table = self.tables[name]
        present = table.place[rows] >= 0
        return table.table(streams[name].take(present.sum()), own.ids[present]), present


def _used(table: EmbeddingTable, inside: np.ndarray) -> EmbeddingTable:
    """The marked rows of a batch."""
    if inside.all():
        return table
    coordinates = {name: values[inside] for name, values in table.coordinates.items()}
    return dataclasses.replace(
        table, ids=table.ids[inside], vectors=table.vectors[inside], coordinates=coordinates
    )


def ahead(items: Iterator) -> Iterator:
    """The same items; the next is made in a thread while one is at work."""
    nothing = object()
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, nothing)
        while (item := following.result()) is not nothing:
            following = pool.submit(next, items, nothing)
            yield item
