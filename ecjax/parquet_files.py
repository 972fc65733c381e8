"""Parquet: a file's pages are compared with its footer and the budget, before they are read.

A page says how large it is when unpacked, and pyarrow makes room for that. So page headers are read
first: sizes and numbers of values must agree with the footer, and all of it with the budget.
Layout: https://github.com/apache/parquet-format (parquet.thrift: PageHeader).
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ecjax import thrift
from ecjax.arrow_types import least_bytes
from ecjax.containers import Source, Stored, for_arrow, opened, size_of
from ecjax.limits import Budget, FileBudget, check_columns
from ecjax.parquet_footer import Chunk, Footer, read_footer

_HEADER_BYTES, _MOST_HEADER_BYTES = 256, 1 << 20
_DATA, _DICTIONARY, _DATA_2 = 0, 2, 3  # kinds of pages
_PREFIXED = 7  # the encoding DELTA_BYTE_ARRAY: texts repeat the beginning of the one before
_MOST_EMPTY = 100  # pages
_FEW_BYTES = 1 << 24  # that texts may take without a closer look
_AT_ONCE = 1 << 26  # bytes of a batch whose lengths are added up


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
            own.take(bytes_when_read(footer, parquet.schema_arrow, names))
            check_pages(source, footer, range(len(footer.groups)), names, own)
            table = parquet.read(columns=list(names)).select(names)
            table.validate(full=True)
            if len(table) != rows:
                raise ValueError(f"{len(table):,} rows instead of {rows:,}")
            return table

        rows = sum(footer.groups)
        yield Stored(schema_of(parquet), rows, read)


@contextlib.contextmanager
def parquet_file(source: Source, here: str) -> Iterator[tuple[pq.ParquetFile, Footer]]:
    """The file as pyarrow has it, and its footer."""
    with pq.ParquetFile(for_arrow(source), page_checksum_verification=True) as parquet:
        check_columns(len(parquet.schema), here)
        with opened(source) as stream:
            footer = read_footer(stream, size_of(source), parquet)
        yield parquet, footer


def schema_of(parquet: pq.ParquetFile) -> pa.Schema:
    """The columns; of native geometries, a field's metadata hold the CRS as GeoArrow has it."""
    schema = parquet.schema_arrow
    single = {name for name, count in Counter(schema.names).items() if count == 1}
    for i in range(len(parquet.schema)):
        leaf = parquet.schema.column(i)
        plain = leaf.physical_type == "BYTE_ARRAY" and leaf.converted_type == "NONE"
        if not plain or leaf.path not in single:
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


def bytes_when_read(footer: Footer, schema: pa.Schema, names: Sequence[str]) -> int:
    """What the wanted columns take by the footer."""
    taken = dict.fromkeys(names, 0)
    for chunk in footer.wanted(range(len(footer.groups)), names):
        taken[chunk.name] += max(chunk.values * chunk.width, chunk.unpacked)
    for name in names:
        kind = schema.field(name).type
        if pa.types.is_fixed_size_list(kind):  # for a null list there is room, but no value stored
            room = sum(footer.groups) * kind.list_size * least_bytes(kind.value_type)
            taken[name] = max(taken[name], room)
    return sum(taken.values())


def check_pages(
    source: Source, footer: Footer, groups: Sequence[int], names: Sequence[str], budget: FileBudget
) -> None:
    """Reads the headers of all pages of the wanted columns in some row groups.

    Raises:
        ValueError: They contradict the footer.
        InputError: The columns take more than the footer says, and that is too much.
    """
    with opened(source) as stream:
        for chunk in footer.wanted(groups, names):
            pages = _pages(stream, chunk, budget.size)
            budget.take(max(0, pages.unpacked - chunk.unpacked))
            if chunk.text:
                budget.take(_repeated(source, chunk, pages, budget))


def _pages(stream: BinaryIO, chunk: Chunk, size: int) -> Pages:
    """Goes from header to header until all values are there."""
    place, values, empty = chunk.start, 0, 0
    unpacked = dictionary = largest = 0
    prefixed = False
    while values < chunk.values:
        header, place = _header(stream, place)
        kind, content, packed = (thrift.number(header, field) for field in (1, 2, 3))
        if content < 0 or not 0 <= packed <= size - place:
            raise ValueError(f"a page of {packed:,} bytes at byte {place:,} of {size:,}")
        place, own = place + packed, 0
        unpacked, largest = unpacked + content, max(largest, content)
        if kind == _DICTIONARY:
            dictionary, words = content, thrift.number(thrift.struct(header, 7), 1)
            if not 0 <= words <= content:  # each takes a byte at least, and pyarrow makes room
                raise ValueError(f"{words:,} words in {content:,} bytes")
        elif kind in (_DATA, _DATA_2):
            about = thrift.struct(header, 5 if kind == _DATA else 8)
            prefixed |= thrift.number(about, 2 if kind == _DATA else 4) == _PREFIXED
            own = max(0, thrift.number(about, 1))
        values += own
        empty += not own
        if values > chunk.values or empty > _MOST_EMPTY:
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
    values = chunk.values
    most = values * max(pages.dictionary, pages.largest if pages.prefixed else 0)
    if most <= _FEW_BYTES:
        return most
    how = {"row_groups": [chunk.group], "columns": [chunk.name]}
    if not pages.prefixed:  # as long as the longest word of the dictionary
        with pq.ParquetFile(for_arrow(source), read_dictionary=[chunk.path]) as parquet:
            batch = next(parquet.iter_batches(1, **how))
        column = batch.column(0)
        if not pa.types.is_dictionary(column.type):
            return most
        return values * (pc.max(pc.binary_length(column.dictionary)).as_py() or 0)
    total = 0
    with pq.ParquetFile(for_arrow(source)) as parquet:
        at_once = max(1, _AT_ONCE // max(pages.largest, 1))
        for batch in parquet.iter_batches(at_once, **how):
            total += batch.nbytes
            budget.check(total)
    return total
