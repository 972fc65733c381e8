"""One table as a stream: its rows in pieces, in the order in which its parts hold them.

Parquet is read row group by row group; a table of any other container is held in memory as a whole.
What a file's size and time of writing were when the stream began is compared with what they are
after each pass, so that a table that is written to meanwhile is noticed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ecjax import columns, files
from ecjax.containers import for_arrow, reading, size_of
from ecjax.errors import InputError
from ecjax.forms import is_parquet
from ecjax.parquet_files import check_pages
from ecjax.remote import RemotePath
from ecjax.tables import EmbeddingReader, TaskReader

# Of a row group's columns, up to which they are read in one go before any of them is decoded.
BUFFERED_BYTES = 1 << 28
STREAM_BYTES = 1 << 20  # read at a time of each column of larger groups


class State(NamedTuple):
    """What tells that a file is still the same: its size, time of writing and place on the disk."""

    size: int
    written: int
    place: int


def state_of(file: Path | RemotePath) -> State | None:
    """None where there is no such file any more."""
    try:
        found = file.stat()
    except OSError:
        return None
    return State(found.st_size, found.st_mtime_ns, found.st_ino)


class StoredTable:
    """The files of one table.

    Attributes:
        reader: What their columns mean.
        rows: n of all parts together.
        schema: Types of the chosen columns.
    """

    def __init__(self, reader: EmbeddingReader | TaskReader):
        """Opens the table, of which nothing but its columns is read where it is Parquet.

        Raises:
            InputError: As `files.read_parts`.
        """
        self.reader = reader
        given, owner = reader.source.files, reader.owner
        self._states = {file: state_of(file) for file in given}
        self._parts, self._whole = [], None
        self._checked: set[tuple] = set()  # row groups whose pages were looked at
        if all(map(is_parquet, given)):
            how = reader.choose, reader.budget()
            self._parts, self.schema = files.parquet_parts(given, owner, *how)
            self.rows = sum(sum(part.footer.groups) for part in self._parts)
        else:
            self._whole = reader.whole()
            self.schema, self.rows = self._whole.schema, len(self._whole)

    def columns(self, names: Sequence[str]) -> pa.Schema:
        """Types of some of the columns."""
        return pa.schema([self.schema.field(name) for name in names])

    def whole(self, names: Sequence[str]) -> pa.Table:
        """Some columns of all rows."""
        if self._whole is not None:
            return self._whole.select(names)
        return pa.concat_tables(self.pieces(np.arange(self.rows), names, self.rows))

    def pieces(self, wanted: np.ndarray, names: Sequence[str], most: int) -> Iterator[pa.Table]:
        """Columns of the rows with these numbers.

        Args:
            wanted: Increasing numbers of rows.
            most: Rows of a piece.

        Raises:
            InputError: A file is damaged, or no longer the one that was opened.
        """
        if self._whole is not None:
            for start in range(0, len(wanted), most):
                yield _rows(self._whole.select(names), 0, wanted[start : start + most])
            return
        first = 0
        schema = self.columns(names)
        for part in self._parts:
            after = first + sum(part.footer.groups)
            own = _within(wanted, first, after)
            if len(own):
                for piece in self._of_part(part, own - first, names, most):
                    yield piece if piece.schema.equals(schema) else piece.cast(schema)
            first = after

    def check_unchanged(self) -> None:
        """Raises an InputError if a file is not what it was when the table was opened."""
        for file in self._states:
            self._check_same(file)

    def vectors_width(self) -> int:
        """p of an embedding; of lists, the length of the first that is given."""
        chosen = self.reader.chosen
        kind = self.schema.field(chosen[0]).type
        if not columns.is_list(kind):
            return len(chosen)
        if pa.types.is_fixed_size_list(kind) and kind.list_size > 0:
            return kind.list_size
        for piece in self.pieces(np.arange(self.rows), chosen[:1], 1024):
            given = np.flatnonzero(piece[0].is_valid())
            if len(given):
                piece = piece.slice(given[0], 1)
                break
        ids = np.arange(len(piece))
        return self.reader.stored(piece, ids)[0].shape[1]  # refuses what holds no vector

    def _of_part(
        self, part: files.Part, wanted: np.ndarray, names: Sequence[str], most: int
    ) -> Iterator[pa.Table]:
        with reading(f"{self.reader.owner} ({part.file})", "parquet"):
            try:
                with _opened(part, names) as parquet:
                    for group, (first, after) in enumerate(_ranges(part.footer.groups)):
                        own = _within(wanted, first, after)
                        if not len(own):
                            continue
                        self._check_same(part.file)
                        self._check_pages(part, group, names)
                        which = {"row_groups": [group], "columns": list(names)}
                        for batch in parquet.iter_batches(most, **which):
                            inside = _within(own, first, first + len(batch))
                            if len(inside):
                                batch.validate(full=True)
                                table = pa.Table.from_batches([batch]).select(names)
                                yield _rows(table, first, inside)
                            first += len(batch)
                        if first != after:
                            raise ValueError(f"{abs(after - first):,} rows more or fewer than said")
            except (pa.ArrowException, OSError, ValueError):
                self._check_same(part.file)  # then that is what is wrong with it
                raise

    def _check_pages(self, part: files.Part, group: int, names: Sequence[str]) -> None:
        """Before a row group is read for the first time; not where each page would be a request."""
        file, key = part.file, (part.file, group, tuple(names))
        if isinstance(file, RemotePath) or key in self._checked:
            return
        budget = self.reader.budget().of(size_of(file), f"{self.reader.owner} ({file})")
        check_pages(file, part.footer, [group], names, budget)
        self._checked.add(key)

    def _check_same(self, file: Path | RemotePath) -> None:
        before, now = self._states[file], state_of(file)
        if before == now:
            return
        if now is None:
            raise self._changed(file, "is no longer there")
        if now.size == before.size:
            raise self._changed(file, "was written again")
        how = "grew" if now.size > before.size else "shrank"
        raise self._changed(file, f"{how} from {before.size:,} to {now.size:,} bytes")

    def _changed(self, file: Path | RemotePath, what: str) -> InputError:
        return InputError(
            f"{self.reader.owner} ({file}): the file {what} while it was read, so that what was "
            "read belongs to no one table; run again when nothing writes to it"
        )


def _opened(part: files.Part, names: Sequence[str]) -> pq.ParquetFile:
    """The file, read ahead unless a row group of it is too large for that."""
    groups = range(len(part.footer.groups))
    stored = (sum(c.packed for c in part.footer.wanted([group], names)) for group in groups)
    how = {} if max(stored) <= BUFFERED_BYTES else {"buffer_size": STREAM_BYTES}
    return pq.ParquetFile(for_arrow(part.file), page_checksum_verification=True, **how)


def _ranges(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First row of each, and the one after its last."""
    stops = list(itertools.accumulate(sizes, initial=0))
    return itertools.pairwise(stops)


def _within(numbers: np.ndarray, first: int, after: int) -> np.ndarray:
    """Those of increasing numbers that are in a range."""
    return numbers[slice(*np.searchsorted(numbers, (first, after)))]


def _rows(table: pa.Table, first: int, wanted: np.ndarray) -> pa.Table:
    """Rows of a table that begins with the row `first`; no copy where they follow one another."""
    if len(wanted) == wanted[-1] + 1 - wanted[0]:
        return table.slice(wanted[0] - first, len(wanted))
    return table.take(wanted - first)
