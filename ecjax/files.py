"""Reads the files of a table, and joins its parts.

Types and text are left as stored; what the columns mean is `tables`' matter. A file that a URL
names is fetched once, whole, and read from memory.
"""

import contextlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from ecjax.columns import is_list
from ecjax.containers import Stored, reading, size_of
from ecjax.errors import InputError, counted, listing, quote
from ecjax.forms import IdFiles, check_content, check_ids, check_table, kind_of, open_file
from ecjax.limits import Budget
from ecjax.parquet_files import bytes_when_read, parquet_file, schema_of
from ecjax.parquet_footer import Footer
from ecjax.remote import RemotePath

ID_BYTES = 8  # of each row that are always held
# Given a file's columns and its name for messages, the names of the columns to read.
Choose = Callable[[pa.Schema, str], list[str]]


def read_parts(
    files: tuple[Path | RemotePath, ...],
    owner: str,
    text: Collection[str],
    choose: Choose,
    budget: Budget | None = None,
    ids: IdFiles | None = None,
) -> pa.Table:
    """Reads the columns that `choose` names from all parts, one below the other.

    Args:
        files: The parts, in the order in which they are joined.
        owner: Whose table it is, for messages: `embedding "NAME"`.
        text: Columns to be read as text from CSV, so that leading zeros and "NA" stay.
        choose: Called once per file.
        budget: What the table may take; by default that of the machine.
        ids: Of arrays.

    Raises:
        InputError: A file is unreadable, damaged, empty or not what its name says, the parts differ
            in their columns, or the table is too large.
    """
    choose, budget = _alike(files, choose), budget or Budget()
    check_ids(files, owner, ids)
    parts = []
    for i, file in enumerate(files):
        here, own = f"{owner} ({file})", ids and ids._replace(files=ids.files[i : i + 1])
        with open_file(file, here, text, budget, own) as table:
            parts.append(table.read(_chosen(table, here, choose)))
    _schema_of_all(files, [part.schema for part in parts], owner)
    return pa.concat_tables(parts, promote_options="permissive")


class Part(NamedTuple):
    """One of a table's Parquet files.

    Attributes:
        file: Where it is.
        schema: Of the chosen columns.
        footer: What it says of its row groups.
    """

    file: Path | RemotePath
    schema: pa.Schema
    footer: Footer


def parquet_parts(
    files: tuple[Path | RemotePath, ...], owner: str, choose: Choose, budget: Budget | None = None
) -> tuple[list[Part], pa.Schema]:
    """What `read_parts` would read of Parquet files, and the columns' types in all of them.

    The budget need only hold the ids.
    """
    choose, budget = _alike(files, choose), budget or Budget()
    parts = [_parquet_part(file, f"{owner} ({file})", choose, budget) for file in files]
    return parts, _schema_of_all(files, [part.schema for part in parts], owner)


def _parquet_part(file: Path | RemotePath, here: str, choose: Choose, budget: Budget) -> Part:
    check_content(file, kind_of(file, here), here)
    with reading(here, "parquet"), parquet_file(file, here) as (parquet, footer):
        own, rows = budget.of(size_of(file), here), sum(footer.groups)
        names = _chosen(Stored(schema_of(parquet), rows, lambda names: None), here, choose)
        own.check_expansion(bytes_when_read(footer, parquet.schema_arrow, names))
        own.take(ID_BYTES * rows)
        return Part(file, pa.schema([parquet.schema_arrow.field(n) for n in names]), footer)


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
    here_only, there_only = set(names) - set(first), set(first) - set(names)
    differing = [n for n in names if n in here_only] + [n for n in first if n in there_only]
    if differing:
        raise InputError(
            f"{here}: {counted(len(differing), 'column')} ({listing(differing)}) found in only "
            f"one of this part and {file}; all parts must have the same columns"
        )


def _chosen(table: Stored, here: str, choose: Choose) -> list[str]:
    """The names of the columns to read, of types that there is a use for."""
    check_table(table, here)
    names = choose(table.schema, here)
    for name in names:
        kind = table.schema.field(name).type
        inner = kind.value_type if is_list(kind) else kind
        if pa.types.is_nested(inner):
            raise InputError(
                f"{here}: column {quote(name)} is of type {kind}, of which there is no use; name "
                "another column, of numbers, text or lists of numbers"
            )
    return names
