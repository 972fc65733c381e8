"""Which container a file is, by its name and its content, and how it is opened."""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from ecjax.arrow_files import open_arrow
from ecjax.columns import check_id, check_unique
from ecjax.containers import Source, Stored, opened, reading
from ecjax.csv_files import inflated, open_csv
from ecjax.errors import InputError, counted, quote
from ecjax.limits import Budget, check_columns
from ecjax.npy_files import open_vectors, read_ids
from ecjax.parquet_files import open_parquet
from ecjax.remote import RemotePath

# Containers by how the name of a file ends, and how they are called.
_ENDINGS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".csv.gz": "gzip", ".arrow": "arrow",
    ".feather": "arrow", ".ipc": "arrow", ".npy": "npy",
}  # fmt: skip
_NAMES = {"parquet": "Parquet", "csv": "CSV", "gzip": "gzip", "arrow": "Arrow IPC", "npy": "NumPy"}
_READ = (
    "Parquet (.parquet, .pq) and CSV (.csv), also compressed (.csv.gz), Arrow IPC (.arrow, "
    ".feather, .ipc) and, for vectors, NumPy arrays (.npy)"
)
# Containers by how their content begins.
_MAGIC = (
    (b"PAR1", "Parquet"),
    (b"PARE", "encrypted Parquet"),
    (b"PK\x03\x04", "a zip archive or spreadsheet"),
    (b"\x1f\x8b", "gzip"),
    (b"ARROW1", "Arrow IPC"),
    (b"\xff\xff\xff\xff", "Arrow IPC"),
    (b"FEA1", "the first version of Feather"),
    (b"\x93NUMPY", "NumPy"),
    (b"\x89HDF", "HDF5"),
    (b"SQLite", "SQLite"),
)


class IdFiles(NamedTuple):
    """Where the ids of arrays are: one file for each, and the column, where that is a table."""

    files: tuple[Path | RemotePath, ...]
    column: str


def is_csv(file: Path | RemotePath) -> bool:
    """Whether the file is CSV by its extension, compressed or not."""
    return file.name.lower().endswith((".csv", ".csv.gz"))


def is_parquet(file: Path | RemotePath) -> bool:
    """Whether the file is Parquet by its extension."""
    return file.name.lower().endswith((".parquet", ".pq"))


@contextlib.contextmanager
def open_file(
    file: Path | RemotePath,
    here: str,
    text: Collection[str],
    budget: Budget,
    ids: IdFiles | None,
) -> Iterator[Stored]:
    """A file's table; whatever goes wrong while it is open is an InputError."""
    kind = kind_of(file, here)
    source = _fetched(file, kind, here, budget)
    with reading(here, kind):
        if kind == "gzip":
            source, kind = inflated(source, here, budget), "csv"
            check_content(source, kind, here)
        if kind == "csv":
            container = open_csv(source, here, text, budget)
        elif kind == "arrow":
            container = open_arrow(source, here, budget)
        elif kind == "npy":
            column = _ids_of_array(ids, here, budget)
            container = open_vectors(source, here, ids.column, column, budget)
        else:
            container = open_parquet(source, here, budget)
        with container as table:
            yield table


def _ids_of_array(ids: IdFiles, here: str, budget: Budget) -> pa.ChunkedArray:
    """The ids of one array, of which CSV has no types: `tables` decides about them."""
    (file,), column = ids
    here = f"{here}: ids ({file})"
    if not _is_array(file):
        with open_file(file, here, [column], budget, None) as table:
            check_table(table, here)
            check_id(table.schema, column, here)
            return table.read([column])[column]
    source = _fetched(file, "npy", here, budget)
    with reading(here, "npy"):
        return pa.chunked_array([read_ids(source, here, budget)])


def check_table(table: Stored, here: str) -> None:
    """Raises an InputError unless a file has rows, and columns of different names."""
    check_columns(len(table.schema), here)
    check_unique(table.schema.names, here)
    if not table.rows:
        raise InputError(f"{here}: the file has columns but no rows; fill or remove it")


def check_ids(files: Sequence[Path | RemotePath], owner: str, ids: IdFiles | None) -> None:
    """Raises an InputError unless there is a file of ids for each array, and for nothing else."""
    arrays = [file for file in files if _is_array(file)]
    if arrays and ids is None:
        raise InputError(
            f"{owner} ({arrays[0]}): an array has no ids; say which file holds them, one for each "
            'row and in the same order, as in ids = "ids.npy" or ids = "ids.csv"'
        )
    if ids is not None and len(arrays) < len(files):
        other = next(file for file in files if not _is_array(file))
        raise InputError(
            f"{owner} ({other}): ids names files for arrays (.npy), and a table has its ids in a "
            "column; leave ids out, and name the column with id"
        )
    if ids is not None and len(ids.files) != len(files):
        raise InputError(
            f"{owner} ({files[0]}): {counted(len(files), 'array')}, but "
            f"{counted(len(ids.files), 'file')} of ids; each array needs one, in the same order"
        )


def _is_array(file: Path | RemotePath) -> bool:
    return file.suffix.lower() == ".npy"


def _fetched(file: Path | RemotePath, kind: str, here: str, budget: Budget) -> Source:
    """What to read, its content checked; a file that a URL names is fetched whole."""
    if not isinstance(file, RemotePath):
        check_content(file, kind, here)
        return file
    try:
        size = file.stat().st_size
        budget.of(size, here).take(size)
        source = file.read_bytes()
    except OSError as error:
        raise _unreadable(here, error) from None
    check_content(source, kind, here)
    return source


def _unreadable(here: str, error: OSError) -> InputError:
    return InputError(
        f"{here}: cannot be read ({error.strerror}); check the path and its permissions"
    )


def kind_of(file: Path | RemotePath, here: str) -> str:
    """The container, by the extension."""
    for ending, kind in _ENDINGS.items():
        if file.name.lower().endswith(ending):
            return kind
    raise InputError(
        f"{here}: files ending in {quote(file.suffix)} are not read; the forms read are {_READ}; "
        "convert the file to one of them"
    )


def check_content(source: Source, kind: str, here: str) -> None:
    """Checks that the first and last bytes are those of its kind."""
    try:
        with opened(source) as stream:
            head = stream.read(8)
            size = stream.seek(0, 2)
            stream.seek(max(0, size - 4))
            tail = stream.read(4)
    except OSError as error:
        raise _unreadable(here, error) from None
    if not size:
        raise InputError(f"{here}: the file is empty (0 bytes); write or copy it again")
    found = next((name for magic, name in _MAGIC if head.startswith(magic)), None)
    if found != (None if kind == "csv" else _NAMES[kind]):
        raise InputError(
            f"{here}: the extension says {_NAMES[kind]}, but the content is "
            f"{found or 'something else'}; rename or convert it"
        )
    if kind != "parquet":
        return
    if tail != b"PAR1" or size < 12:
        raise InputError(
            f"{here}: the Parquet file is truncated ({size:,} bytes, no footer at the end); write "
            "or copy it again"
        )
