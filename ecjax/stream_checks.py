"""What is noticed about the rows of a stream, as `align` notices it about tables in memory.

Rows are counted batch by batch. That two embeddings are the same numbers, that a column is constant
or a leak must hold in every batch; a leak is so told from some of the rows at a time, by the same
rules.

Axes: n rows of the task's table, m rows of a batch, p columns.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np

from ecjax.align import check_share, named_targets, named_vectors
from ecjax.guard import (
    judged,
    leaks_among,
    references_of,
    same_numbers,
    same_vectors,
    with_table,
)
from ecjax.ids import Common
from ecjax.leaks import Leak
from ecjax.notes import IN_LOG1P, TASK_TABLE, Note
from ecjax.stream_moments import Peers
from ecjax.tables import EmbeddingTable, TaskTable

FEWEST_ROWS = 12  # of a batch that can tell a leak from chance


class Tally:
    """Marked rows: how many there are among how many, and the number of the first."""

    def __init__(self):
        self.numbers = np.zeros(3, int)

    def add(self, marked: np.ndarray, rows: np.ndarray) -> None:
        """Counts the marked (m,) among rows with these numbers (m,)."""
        if not self.numbers[0] and marked.any():
            self.numbers[2] = rows[marked.argmax()]
        self.numbers[:2] += marked.sum(), len(marked)

    def agree(self, peers: Peers) -> None:
        """Becomes that of the rows of all processes."""
        slots = np.zeros((peers.count, 3), int)
        slots[peers.index] = self.numbers
        slots = peers.summed(slots)
        some = slots[:, 0] > 0
        first = slots[some, 2].min() if some.any() else 0
        self.numbers = np.array([*slots[:, :2].sum(0), first])

    def notes(self, ids: np.ndarray, *what: str) -> tuple[Note, ...]:
        """A note on them, if there are any; what: task, source and reason."""
        count, _, first = self.numbers
        return (Note(*what, int(count), str(ids[first])),) if count else ()

    def refuse_many(self, ids: np.ndarray, where: str) -> None:
        """As `align.check_share`."""
        count, among, first = self.numbers
        if count:
            check_share(int(count), int(among), ids[first], where)


class VectorChecks:
    """Of one embedding.

    Attributes:
        missing, fill, lost: Rows with a missing value, with a fill value throughout, with either.
        leak: (p,) the leak that a column still may be, or None; until a batch is large enough to
            tell there is none of these.
        constant: (p,) whether a column still is, and `first` its value.
    """

    def __init__(self, width: int, classes: tuple[str, ...] = ()):
        self.classes = classes
        self.missing, self.fill, self.lost = Tally(), Tally(), Tally()
        self.leak: list[Leak | None] | None = None
        self.first = np.full(width, np.nan)
        self.constant = np.ones(width, bool)

    def see_rows(self, table: EmbeddingTable, rows: np.ndarray) -> None:
        """The table's rows that are the task's too, with their numbers there."""
        self.missing.add(table.missing, rows)
        self.fill.add(table.fill, rows)
        self.lost.add(table.missing | table.fill, rows)

    def see_vectors(
        self, task: TaskTable, y: np.ndarray, table: EmbeddingTable, place: np.ndarray
    ) -> None:
        """Rows that are used.

        Args:
            task, y, table: Of these m rows; y class codes (m,) where there are classes.
            place: (m,) their numbers in the embedding's table.
        """
        vectors = table.vectors
        if np.isnan(self.first).any():
            self.first = vectors[0].astype(float)
        for few in (vectors[:8], vectors):  # most columns differ in their first rows already
            still = np.flatnonzero(self.constant)
            self.constant[still] = (few[:, still] == self.first[still]).all(axis=0)
        if len(vectors) >= FEWEST_ROWS:
            self._see_leaks(task, y, table, place)

    def _see_leaks(self, task, y, table: EmbeddingTable, place) -> None:
        columns = range(len(table.columns))
        if self.leak is not None:  # look only at what has been one so far
            columns = [j for j in columns if self.leak[j] is not None]
            if not columns:
                return
            table = dataclasses.replace(
                table,
                columns=tuple(table.columns[j] for j in columns),
                vectors=table.vectors[:, columns],
                allow_leaks=(),
            )
        references = references_of(task, y, self.classes)
        of_both = with_table(references, place, table.coordinates)
        found = leaks_among(table, table.vectors, of_both)
        by_name = {leak.column: leak for leak in found}
        before, self.leak = self.leak, [None] * len(self.first)
        for j, name in zip(columns, table.columns, strict=True):
            if name in by_name:
                self.leak[j] = by_name[name] if before is None else before[j]

    def agree(self, peers: Peers) -> None:
        """Becomes that of the rows of all processes."""
        for tally in (self.missing, self.fill, self.lost):
            tally.agree(peers)
        first = np.zeros((peers.count, len(self.first)))
        first[peers.index] = self.first
        may_leak = [self.leak is None or leak is not None for leak in self.leak or self.first]
        first, constant, may_leak = peers.summed(
            (first, self.constant.astype(int), np.array(may_leak, int))
        )
        seen = first[~np.isnan(first).any(axis=1)]
        self.constant = (constant == peers.count) & (seen == seen[:1]).all(axis=0)
        if self.leak is not None:
            agreed = may_leak == peers.count
            self.leak = [leak if agreed[j] else None for j, leak in enumerate(self.leak)]

    @property
    def leaks(self) -> list[Leak]:
        """Of all rows seen."""
        return [leak for leak in self.leak or [] if leak is not None]


class Checks:
    """Of all rows of a task's stream.

    Attributes:
        rows: How many are used.
        vectors: Of each embedding.
    """

    def __init__(self, task: str, widths: Mapping[str, int], classes: tuple[str, ...] = ()):
        """widths: p of each embedding; classes: labels of the target, for messages."""
        self.task, self.rows = task, 0
        self.targets, self.declared = Tally(), Tally()
        self.vectors = {name: VectorChecks(width, classes) for name, width in widths.items()}
        self.pairs = list(itertools.combinations(widths, 2))
        self.alike = np.ones(len(self.pairs), bool)

    def see_targets(self, task: TaskTable, missing: np.ndarray, rows: np.ndarray) -> None:
        """The task's rows (m,) without a target, with their numbers there."""
        declared = np.zeros(len(missing), bool) if task.declared is None else task.declared
        self.targets.add(missing & ~declared, rows)
        self.declared.add(declared, rows)

    def see(
        self,
        task: TaskTable,
        y: np.ndarray,
        tables: Mapping[str, EmbeddingTable],
        places: Mapping[str, np.ndarray],
    ) -> None:
        """Rows that are used, as for `VectorChecks.see_vectors`."""
        self.rows += len(y)
        for name, table in tables.items():
            self.vectors[name].see_vectors(task, y, table, places[name])
        for i in np.flatnonzero(self.alike):
            a, b = (tables[name].vectors for name in self.pairs[i])
            self.alike[i] = same_numbers(a, b)

    def agree(self, peers: Peers) -> None:
        """Becomes that of the rows of all processes."""
        self.targets.agree(peers)
        self.declared.agree(peers)
        for own in self.vectors.values():
            own.agree(peers)
        alike, rows = peers.summed((self.alike.astype(int), np.array(self.rows)))
        self.alike, self.rows = alike == peers.count, int(rows)

    def notes(
        self,
        task: TaskTable,
        tables: Mapping[str, EmbeddingTable],
        common: Mapping[str, Common],
        ids: np.ndarray,
    ) -> tuple[Note, ...]:
        """What was noticed.

        Args:
            task, tables: Some rows of each, for names.
            common: Of the embeddings that have a table.
            ids: (n,) of the task's table.

        Raises:
            InputError: As `align.align` on missing values, equal embeddings and leaks.
        """
        self._refuse(task, tables, ids)
        notes = self.targets.notes(ids, self.task, TASK_TABLE, "missing target")
        notes += self.declared.notes(ids, self.task, TASK_TABLE, "declared missing")
        if task.transform != "none":
            first = next(iter(task.targets))
            notes += (Note(self.task, TASK_TABLE, IN_LOG1P, len(task.targets), first),)
        for name, of_ids in common.items():
            own = self.vectors[name]
            notes += of_ids.absent
            notes += own.missing.notes(ids, self.task, name, "missing value")
            notes += own.fill.notes(ids, self.task, name, "masked row")
            notes += of_ids.surplus
        for name, table in tables.items():
            notes += judged(self.vectors[name].leaks, task.name, table, self.rows)
            constant = np.flatnonzero(self.vectors[name].constant)
            if len(constant):
                first = table.columns[constant[0]]
                notes += (Note(self.task, name, "constant column", len(constant), first),)
        return notes

    def _refuse(self, task: TaskTable, tables: Mapping[str, EmbeddingTable], ids) -> None:
        self.targets.refuse_many(ids, named_targets(task))
        for name, table in tables.items():
            self.vectors[name].lost.refuse_many(ids, named_vectors(table))
        if self.rows:
            for i in np.flatnonzero(self.alike):
                a, b = self.pairs[i]
                raise same_vectors(tables[a], tables[b], task.where, self.rows)
