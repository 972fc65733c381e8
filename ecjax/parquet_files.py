"""Parquet: what a file says that it holds is checked against its pages, before it is read.

A page says how large it is when unpacked, and pyarrow makes room for that. So page headers are read
first: sizes and numbers of values must agree with the footer, and all of it with the budget.
Layout: https://github.com/apache/parquet-format (parquet.thrift: PageHeader and ColumnMetaData).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ecjax import thrift
from ecjax.arrow_types import least_bytes
from ecjax.containers import Source, Stored, for_arrow, opened, size_of
from ecjax.limits import Budget, FileBudget, check_columns
from ecjax.parquet_footer import ChunkFooter, Footer, read_footer

_HEADER_BYTES, _MOST_HEADER_BYTES = 256, 1 << 20
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8}
_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3  # kinds of pages
_PREFIXED = 7  # the encoding DELTA_BYTE_ARRAY: texts repeat the beginning of the one before
_MOST_EMPTY = 100  # pages
_FEW_BYTES = 1 << 24  # that texts may take without a closer look
_AT_ONCE = 1 << 26  # bytes of a batch whose lengths are added up


class Chunk(NamedTuple):
    """One of the wanted columns in one row group.

    Attributes:
        group, rows: number of the row group, and its rows.
        name, path: of the column, and of its values in the file's schema.
        flat: whether there is one value a row.
        width: bytes of a value when read, at least.
        text: whether the values are of variable length.
        footer: what the footer says of it.
    """

    group: int
    rows: int
    name: str
    path: str
    flat: bool
    width: int
    text: bool
    footer: ChunkFooter

    @property
    def start(self) -> int:
        """Where its pages are."""
        data, dictionary = self.footer.data_page_offset, self.footer.dictionary_page_offset
        return min(data, dictionary) if dictionary else data


class Pages(NamedTuple):
    """A chunk as its page headers have it.

    Attributes:
        unpacked: bytes of all pages.
        dictionary: bytes of the dictionary; 0: there is none.
        largest: bytes of the largest page.
        prefixed: whether texts repeat the beginning of the one before.
    """

    unpacked: int
    dictionary: int
    largest: int
    prefixed: bool


@contextlib.contextmanager
def open_parquet(source: Source, here: str, budget: Budget) -> Iterator[Stored]:
    """Opens a Parquet file.

    Raises:
        InputError: It is too large.
        pyarrow.ArrowException, ValueError: It is damaged.
    """
    own = budget.of(size_of(source), here)
    with parquet_file(source, here) as (parquet, footer):

        def read(names: Sequence[str]) -> pa.Table:
            own.take(bytes_when_read(parquet, footer, names, own.size))
            check_pages(source, parquet, footer, range(len(footer)), names, own)
            table = parquet.read(columns=list(names)).select(names)
            table.validate(full=True)
            if len(table) != parquet.metadata.num_rows:
                raise ValueError(f"{len(table):,} of {parquet.metadata.num_rows:,} rows")
            return table

        yield Stored(schema_of(parquet), parquet.metadata.num_rows, read)


@contextlib.contextmanager
def parquet_file(source: Source, here: str) -> Iterator[tuple[pq.ParquetFile, Footer]]:
    """The file as pyarrow has it, and its footer, which is checked."""
    with pq.ParquetFile(for_arrow(source), page_checksum_verification=True) as parquet:
        metadata = parquet.metadata
        check_columns(metadata.num_columns, here)
        groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        if min(groups, default=0) < 0 or sum(groups) != metadata.num_rows:
            raise ValueError(f"{metadata.num_rows:,} rows, but {sum(groups):,} in row groups")
        footer = read_footer(source, metadata.num_columns)
        if len(footer) != len(groups):
            raise ValueError(f"{len(footer):,} row groups, or {len(groups):,}")
        yield parquet, footer


def schema_of(parquet: pq.ParquetFile) -> pa.Schema:
    """The columns; of native geometries, a field's metadata hold the CRS as GeoArrow has it."""
    schema = parquet.schema_arrow
    for i in range(len(parquet.schema)):
        leaf = parquet.schema.column(i)
        if leaf.physical_type != "BYTE_ARRAY" or schema.names.count(leaf.path) != 1:
            continue
        about = json.loads(leaf.logical_type.to_json())
        if about.get("Type") in ("Geometry", "Geography"):
            metadata = {
                "ARROW:extension:name": "geoarrow.wkb",
                "ARROW:extension:metadata": json.dumps({"crs": about.get("crs") or "OGC:CRS84"}),
            }
            number = schema.get_field_index(leaf.path)
            schema = schema.set(number, schema.field(number).with_metadata(metadata))
    return schema


def bytes_when_read(
    parquet: pq.ParquetFile, footer: Footer, names: Sequence[str], size: int
) -> int:
    """What the wanted columns take by the footer, of a file of so many bytes.

    Raises:
        ValueError: The footer contradicts itself or the file's size.
    """
    metadata, taken = parquet.metadata, dict.fromkeys(names, 0)
    for chunk in _chunks(parquet, footer, range(len(footer)), names):
        values, unpacked = chunk.footer.num_values, chunk.footer.total_uncompressed_size
        if values < 0 or chunk.flat and values != chunk.rows:
            raise ValueError(f"{values:,} values of {chunk.path} in {chunk.rows:,} rows")
        if not 4 <= chunk.start <= size or unpacked < 0:
            raise ValueError(f"pages at byte {chunk.start:,} of {size:,}")
        taken[chunk.name] += max(values * chunk.width, unpacked)
    for name in names:
        kind = parquet.schema_arrow.field(name).type
        if pa.types.is_fixed_size_list(kind):  # for a null list there is room, but no value stored
            room = metadata.num_rows * kind.list_size * least_bytes(kind.value_type)
            taken[name] = max(taken[name], room)
    return sum(taken.values())


def check_pages(
    source: Source,
    parquet: pq.ParquetFile,
    footer: Footer,
    groups: Sequence[int],
    names: Sequence[str],
    budget: FileBudget,
) -> None:
    """Reads the headers of all pages of the wanted columns in some row groups.

    Raises:
        ValueError: They contradict the footer.
        InputError: The columns take more than the footer says, and that is too much.
    """
    with opened(source) as stream:
        for chunk in _chunks(parquet, footer, groups, names):
            pages = _pages(stream, chunk, budget.size)
            budget.take(max(0, pages.unpacked - chunk.footer.total_uncompressed_size))
            if chunk.text:
                budget.take(_repeated(source, chunk, pages, budget))


def _chunks(
    parquet: pq.ParquetFile, footer: Footer, groups: Sequence[int], names: Sequence[str]
) -> Iterator[Chunk]:
    """The wanted columns in some row groups."""
    leaves, wanted = [], set(names)
    for i in range(len(parquet.schema)):
        leaf = parquet.schema.column(i)
        name = leaf.path if leaf.path in wanted else leaf.path.split(".")[0]
        if name in wanted:
            width = _WIDTHS.get(leaf.physical_type) or max(leaf.length, 4)
            text = leaf.physical_type == "BYTE_ARRAY"
            leaves.append((i, name, leaf.path, not leaf.max_repetition_level, width, text))
    for group in groups:
        rows = parquet.metadata.row_group(group).num_rows
        for i, *what in leaves:
            yield Chunk(group, rows, *what, footer[group][i])


def _pages(stream: BinaryIO, chunk: Chunk, size: int) -> Pages:
    """Goes from header to header until all values are there."""
    place, values, empty = chunk.start, 0, 0
    unpacked = dictionary = largest = 0
    prefixed = False
    while values < chunk.footer.num_values:
        header, place = _header(stream, place)
        kind, content, packed = (thrift.field(header, j, int) for j in (1, 2, 3))
        if content < 0 or not 0 <= packed <= size - place:
            raise ValueError(f"a page of {packed:,} bytes at byte {place:,} of {size:,}")
        place += packed
        unpacked, largest = unpacked + content, max(largest, content)
        own = 0
        if kind == _DICTIONARY:
            dictionary = content
        elif kind in (_DATA, _DATA_2):
            about = thrift.field(header, 5 if kind == _DATA else 8, dict)
            prefixed |= about.get(2 if kind == _DATA else 4) == _PREFIXED
            own = max(0, thrift.field(about, 1, int))
        values, empty = values + own, empty + (not own)
        if values > chunk.footer.num_values or empty > _MOST_EMPTY:
            raise ValueError(f"pages of {chunk.path} that hold other values than the footer says")
    return Pages(unpacked, dictionary, largest, prefixed)


def _header(stream: BinaryIO, place: int) -> tuple[dict[int, Any], int]:
    """The page header there, and where it ends."""
    count = _HEADER_BYTES
    while True:
        stream.seek(place)
        data = stream.read(count)
        try:
            header, length = thrift.read_struct(data)
            return header, place + length
        except thrift.Short:
            if len(data) < count or count >= _MOST_HEADER_BYTES:
                raise
            count *= 8


def _repeated(source: Source, chunk: Chunk, pages: Pages, budget: FileBudget) -> int:
    """Bytes that texts take beyond their pages, as a dictionary or a prefix is repeated."""
    values = chunk.footer.num_values
    most = values * max(pages.dictionary, pages.largest if pages.prefixed else 0)
    if most <= _FEW_BYTES:
        return most
    how = {"row_groups": [chunk.group], "columns": [chunk.name]}
    if not pages.prefixed:  # as long as the longest word of the dictionary
        with pq.ParquetFile(for_arrow(source), read_dictionary=[chunk.path]) as parquet:
            batch = next(parquet.iter_batches(1, **how), None)
        if batch is None or not pa.types.is_dictionary(batch.column(0).type):
            return most
        return values * (pc.max(pc.binary_length(batch.column(0).dictionary)).as_py() or 0)
    total = 0
    with pq.ParquetFile(for_arrow(source)) as parquet:
        at_once = max(1, _AT_ONCE // max(pages.largest, 1))
        for batch in parquet.iter_batches(at_once, **how):
            total += batch.nbytes
            budget.check(total)
    return total
