"""Opens Parquet and CSV files, checks what they are, and joins the parts of one table.

Types and text are left as stored; what the columns mean is `tables`' matter. A file that a URL
names is fetched once, whole, and read from memory.
"""

import contextlib
import io
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from ecjax.columns import check_unique
from ecjax.errors import InputError, counted, listing, neutral, quote
from ecjax.remote import RemotePath

# Given a file's columns and its name for messages, the names of the columns to read.
Choose = Callable[[pa.Schema, str], list[str]]

_MAGIC = (
    (b"PAR1", "Parquet"),
    (b"PK\x03\x04", "a zip archive or spreadsheet"),
    (b"\x1f\x8b", "gzip"),
    (b"ARROW1", "Feather (Arrow IPC)"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "HDF5"),
    (b"SQLite", "SQLite"),
)
_READ_BYTES = 1 << 24
_MAX_BLOCK_BYTES = 1 << 30


def is_csv(file: Path | RemotePath) -> bool:
    """Whether the file is CSV by its extension."""
    return file.suffix.lower() == ".csv"


def read_parts(
    files: tuple[Path | RemotePath, ...], owner: str, text: Collection[str], choose: Choose
) -> pa.Table:
    """Reads the columns that `choose` names from all parts, one below the other.

    Args:
        files: The parts, in the order in which they are joined.
        owner: Whose table it is, for messages: `embedding "NAME"`.
        text: Columns to be read as text from CSV, so that leading zeros and "NA" stay.
        choose: Called once per file.

    Raises:
        InputError: A file is unreadable, damaged, empty or not what its name says, or the parts
            differ in their columns.
    """
    choose = _alike(files, choose)
    parts = [_read_file(file, f"{owner} ({file})", text, choose) for file in files]
    _schema_of_all(files, [part.schema for part in parts], owner)
    return pa.concat_tables(parts, promote_options="permissive")


class Part(NamedTuple):
    """One of a table's Parquet files.

    Attributes:
        file: Where it is.
        schema: Of the chosen columns.
        groups: Rows of each row group.
    """

    file: Path | RemotePath
    schema: pa.Schema
    groups: tuple[int, ...]


def parquet_parts(
    files: tuple[Path | RemotePath, ...], owner: str, choose: Choose
) -> tuple[list[Part], pa.Schema]:
    """What `read_parts` would read of Parquet files, and the columns' types in all of them."""
    choose = _alike(files, choose)
    parts = [_parquet_part(file, f"{owner} ({file})", choose) for file in files]
    return parts, _schema_of_all(files, [part.schema for part in parts], owner)


def _parquet_part(file: Path | RemotePath, here: str, choose: Choose) -> Part:
    source, kind = _container(file, here, whole=False)
    with reading(here, kind), pq.ParquetFile(for_arrow(source)) as parquet:
        names = _chosen_of(parquet, here, choose)
        schema = pa.schema([parquet.schema_arrow.field(name) for name in names])
        metadata = parquet.metadata
        groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        return Part(file, schema, tuple(groups))


def _alike(files: tuple[Path | RemotePath, ...], choose: Choose) -> Choose:
    """`choose` for files one after the other, all of which must have the same columns."""
    first: list[str] = []

    def choose_alike(schema: pa.Schema, here: str) -> list[str]:
        if not first:
            first.extend(schema.names)
        _check_same_columns(first, schema.names, files[0], here)
        return choose(schema, here)

    return choose_alike


def _schema_of_all(
    files: tuple[Path | RemotePath, ...], schemas: Sequence[pa.Schema], owner: str
) -> pa.Schema:
    """The types of columns whose parts have these; an InputError where they cannot be joined."""
    # Lists of differing fixed width would be joined into lists of variable width.
    widths = {tuple(getattr(kind, "list_size", -1) for kind in schema.types) for schema in schemas}
    with contextlib.suppress(pa.ArrowException):
        if len(widths) == 1:
            return pa.unify_schemas(schemas, promote_options="permissive")
    raise _differing_types(files, schemas, owner)


def _differing_types(
    files: Sequence[Path | RemotePath], schemas: Sequence[pa.Schema], owner: str
) -> InputError:
    for file, schema in zip(files, schemas, strict=True):
        for name in schema.names:
            expected, given = schemas[0].field(name).type, schema.field(name).type
            if expected != given:
                return InputError(
                    f"{owner} ({file}): column {quote(name)} is of type {given}, but of type "
                    f"{expected} in {files[0]}; store all parts alike"
                )
    return InputError(f"{owner} ({files[0]}): the {len(files)} parts differ; store all alike")


def _check_same_columns(
    first: list[str], names: list[str], file: Path | RemotePath, here: str
) -> None:
    differing = [n for n in names if n not in first] + [n for n in first if n not in names]
    if differing:
        raise InputError(
            f"{here}: {counted(len(differing), 'column')} ({listing(differing)}) found in only "
            f"one of this part and {file}; all parts must have the same columns"
        )


def _read_file(
    file: Path | RemotePath, here: str, text: Collection[str], choose: Choose
) -> pa.Table:
    """The chosen columns of one file."""
    source, kind = _container(file, here, whole=True)
    with reading(here, kind):
        if kind == "csv":
            table = _read_csv(source, here, text)
            check_unique(table.column_names, here)
            _check_rows(len(table), here)
            return table.select(choose(table.schema, here))
        with pq.ParquetFile(for_arrow(source), page_checksum_verification=True) as parquet:
            chosen = _chosen_of(parquet, here, choose)
            return parquet.read(columns=chosen).select(chosen)


def _chosen_of(parquet: pq.ParquetFile, here: str, choose: Choose) -> list[str]:
    check_unique(parquet.schema_arrow.names, here)
    _check_rows(parquet.metadata.num_rows, here)
    return choose(parquet.schema_arrow, here)


@contextlib.contextmanager
def reading(here: str, kind: str) -> Iterator[None]:
    """Whatever goes wrong inside is an InputError."""
    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        raise InputError(
            f"{here}: damaged or not {kind} ({neutral(first)}); write or copy the file again"
        ) from None


def _check_rows(rows: int, here: str) -> None:
    if not rows:
        raise InputError(f"{here}: the file has columns but no rows; fill or remove it")


def _opened(source: Path | RemotePath | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def for_arrow(source: Path | RemotePath | bytes) -> Path | pa.NativeFile:
    """What pyarrow reads; of a file that a URL names, only what it needs is asked for."""
    if isinstance(source, bytes):
        return pa.BufferReader(source)
    return pa.PythonFile(source.open("rb"), "r") if isinstance(source, RemotePath) else source


def _container(
    file: Path | RemotePath, here: str, whole: bool
) -> tuple[Path | RemotePath | bytes, str]:
    """What to read, and whether it is "parquet" or "csv", by its extension and its content.

    A file that a URL names is fetched here where it shall be read as a whole.
    """
    kind = _kind(file, here)
    try:
        source = file.read_bytes() if whole and isinstance(file, RemotePath) else file
        _check_content(source, kind, here)
    except OSError as error:
        raise InputError(
            f"{here}: cannot be read ({error.strerror}); check the path and its permissions"
        ) from None
    return source, kind


def _kind(file: Path | RemotePath, here: str) -> str:
    """ "parquet" or "csv", by the extension."""
    kind = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv"}.get(file.suffix.lower())
    if kind is None:
        raise InputError(
            f"{here}: files ending in {quote(file.suffix)} are not read; the forms read are "
            "Parquet (.parquet, .pq) and CSV (.csv); convert the file to one of them"
        )
    return kind


def _check_content(source: Path | RemotePath | bytes, kind: str, here: str) -> None:
    """Checks that the first and last bytes are those of its kind."""
    with _opened(source) as stream:
        head = stream.read(8)
        size = stream.seek(0, 2)
        stream.seek(max(0, size - 4))
        tail = stream.read(4)
    if not size:
        raise InputError(f"{here}: the file is empty (0 bytes); write or copy it again")
    found = next((name for magic, name in _MAGIC if head.startswith(magic)), None)
    if kind == "csv" and found is not None:
        raise InputError(
            f"{here}: the extension says CSV, but the content is {found}; rename or convert it"
        )
    if kind == "parquet" and found != "Parquet":
        raise InputError(
            f"{here}: the extension says Parquet, but the content is {found or 'something else'}; "
            "rename or convert it"
        )
    if kind == "parquet" and (tail != b"PAR1" or size < 12):
        raise InputError(
            f"{here}: the Parquet file is truncated ({size:,} bytes, no footer at the end); write "
            "or copy it again"
        )


def _read_csv(source: Path | bytes, here: str, text: Collection[str]) -> pa.Table:
    """A whole CSV file, types inferred from all of its rows, except for the text columns."""
    size = _check_utf8(source, here)
    ragged: list[csv.InvalidRow] = []

    def note(row: csv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    # One block, so that a column's type is inferred from all rows; one thread, so that a ragged
    # row knows its number.
    block = min(size + 1, _MAX_BLOCK_BYTES)
    table = csv.read_csv(
        for_arrow(source),
        read_options=csv.ReadOptions(use_threads=False, block_size=block),
        parse_options=csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
        convert_options=csv.ConvertOptions(column_types={name: pa.string() for name in text}),
    )
    if ragged:
        row = ragged[0]
        line = _line(source, row)
        raise InputError(
            f"{here}: {counted(len(ragged), 'ragged line')}, first line {line:,} with "
            f"{counted(row.actual_columns, 'value')} instead of {row.expected_columns:,}; correct "
            "it, or quote values that contain commas"
        )
    return table


def _line(source: Path | bytes, row: csv.InvalidRow) -> int:
    """The line of a ragged row, whose number counts no blank lines nor those inside quotes."""
    text = (row.text.splitlines() or [""])[0]
    with io.TextIOWrapper(_opened(source), encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if number >= row.number and line.rstrip("\r\n") == text:
                return number
    return row.number


def _check_utf8(source: Path | bytes, here: str) -> int:
    """The size in bytes of a file that is UTF-8."""
    with _opened(source) as stream:
        start, rest = 0, b""
        while block := stream.read(_READ_BYTES):
            block = rest + block
            try:
                block.decode("utf-8")
                end = len(block)
            except UnicodeDecodeError as error:
                end = error.start
                if len(block) - end >= 4 or error.reason != "unexpected end of data":
                    raise _not_utf8(here, start + end) from None
            start, rest = start + end, block[end:]
        if rest:
            raise _not_utf8(here, start)
    return start


def _not_utf8(here: str, offset: int) -> InputError:
    return InputError(f"{here}: not UTF-8 at byte {offset:,}; save the file as UTF-8")
