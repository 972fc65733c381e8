"""The rows of a stored table in another order: that of the task's table.

Where the rows that both have come in the same order, they are read as they lie. Otherwise they are
dealt, in one pass over the table, to files on the disk, each of which holds the rows of one stretch
of the task's; a stretch is then put in order in memory. Beside it only numbers of rows are held.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from ecjax.atomic import WriteError
from ecjax.stream_files import StoredTable

MOST_FILES = 256  # written to at once

# Pieces of a table's rows in an order of their own, again with every call.
Pieces = Callable[[], Iterator[pa.Table]]


def arranged(
    table: StoredTable,
    place: np.ndarray,
    names: Sequence[str],
    directory: Path,
    most: int,
    budget: float,
) -> Pieces:
    """Columns of a table's rows.

    Args:
        place: (n,) numbers of the rows, each once.
        names: Of the columns.
        directory: Empty, for this table alone; used where the table has another order.
        most: Rows of a piece.
        budget: Bytes that a stretch may take.

    Raises:
        WriteError: There is no room for the files.
        InputError: As `StoredTable.pieces`.
    """
    if (place[1:] > place[:-1]).all():
        return lambda: table.pieces(place, names, most)
    return _Stretches(table, place, names, directory, most, budget).pieces


class _Stretches:
    """The rows of a table by stretches of another order, in files."""

    def __init__(self, table, place, names, directory: Path, most: int, budget: float):
        self.directory, self.most = directory, most
        numbers = np.argsort(place)  # in the wanted order, one row of the table after the other
        rows, done = place[numbers], 0
        schema = table.columns(names)
        files: list[pa.ipc.RecordBatchFileWriter] = []
        with _room(directory), contextlib.ExitStack() as stack:
            for piece in table.pieces(rows, names, most):
                if not files:
                    self.stretch = _stretch(piece, len(rows), budget)
                    paths = map(self._path, range(-(-len(rows) // self.stretch)))
                    files += [stack.enter_context(pa.ipc.new_file(p, schema)) for p in paths]
                self._deal(piece, numbers[done : done + len(piece)], files)
                done += len(piece)
        # As they lie in the files, one after the other.
        self.numbers = numbers[np.argsort(numbers // self.stretch, kind="stable")]

    def pieces(self) -> Iterator[pa.Table]:
        """All rows in the wanted order."""
        for i, start in enumerate(range(0, len(self.numbers), self.stretch)):
            with pa.OSFile(self._path(i), "rb") as file:
                rows = pa.ipc.open_file(file).read_all()
            rows = rows.take(np.argsort(self.numbers[start : start + self.stretch]))
            for first in range(0, len(rows), self.most):
                yield rows.slice(first, self.most)

    def _deal(self, piece: pa.Table, numbers: np.ndarray, files: Sequence) -> None:
        """Writes rows whose numbers in the wanted order are given."""
        of_file = numbers // self.stretch
        order = np.argsort(of_file, kind="stable")
        dealt, of_file = piece.take(order), of_file[order]
        starts = np.flatnonzero(np.diff(of_file, prepend=-1))
        for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
            files[of_file[start]].write_table(dealt.slice(start, stop - start))

    def _path(self, number: int) -> str:
        return str(self.directory / f"{number}.arrow")


def _stretch(piece: pa.Table, rows: int, budget: float) -> int:
    """Rows that take no more than the budget, but not so few that files are too many."""
    return max(1, int(budget * len(piece) / piece.nbytes), -(-rows // MOST_FILES))


@contextlib.contextmanager
def _room(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{directory}: the rows of a table whose order is not the task's are put in order "
            f"there, and it cannot be written ({error.strerror or error}); name a directory with "
            "more room in TMPDIR, or sort all tables by their ids"
        ) from None
