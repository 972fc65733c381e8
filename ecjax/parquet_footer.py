"""What a Parquet file says that it holds: the footer, read without pyarrow.

pyarrow ends the process when some of its metadata of row groups contradict others, so they are read
and compared here, before it is asked for more than the schema.
Layout: https://github.com/apache/parquet-format (parquet.thrift: FileMetaData and what it holds).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import pyarrow.parquet as pq

from ecjax import thrift
from ecjax.limits import MOST_METADATA

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8}


class Chunk(NamedTuple):
    """One column in one row group.

    Attributes:
        group, rows: number of the row group, and its rows.
        name, path: of the column, and of its values in the file's schema.
        text: whether they are of any length.
        width: bytes of a value when read, at least.
        values: how many, nulls included.
        unpacked, packed: bytes of all pages, as the footer has it.
        start: where they are.
    """

    group: int
    rows: int
    name: str
    path: str
    text: bool
    width: int
    values: int
    unpacked: int
    packed: int
    start: int


class Footer(NamedTuple):
    """Of a file.

    Attributes:
        groups: rows of each row group.
        chunks: in each row group, of all columns.
    """

    groups: tuple[int, ...]
    chunks: tuple[tuple[Chunk, ...], ...]

    def wanted(self, groups: Sequence[int], names: Sequence[str]) -> Iterator[Chunk]:
        """The columns of these names in some row groups."""
        names = set(names)
        return (chunk for group in groups for chunk in self.chunks[group] if chunk.name in names)


def read_footer(stream: BinaryIO, size: int, parquet: pq.ParquetFile) -> Footer:
    """Of a file of so many bytes, whose schema pyarrow has read.

    Raises:
        ValueError: It contradicts itself, the schema, or the file's size.
    """
    stream.seek(max(0, size - 8))
    length = int.from_bytes(stream.read(4), "little")
    if length > min(MOST_METADATA, size - 12):
        raise ValueError(f"a footer of {length:,} bytes")
    stream.seek(size - 8 - length)
    names = set(parquet.schema_arrow.names)
    footer, _ = thrift.read_struct(stream.read(length))
    leaves = [_leaf(parquet.schema.column(i), names) for i in range(len(parquet.schema))]
    tables = thrift.structs(footer, 4)
    rows = tuple(thrift.number(table, 3) for table in tables)
    if min(rows, default=0) < 0 or sum(rows) != thrift.number(footer, 3):
        raise ValueError(f"{thrift.number(footer, 3):,} rows, but {sum(rows):,} in row groups")
    chunks = []
    for group, table in enumerate(tables):
        columns = thrift.structs(table, 1)
        if len(columns) != len(leaves):
            raise ValueError(f"a row group of {len(columns)} columns, not {len(leaves)}")
        pairs = zip(columns, leaves, strict=True)
        chunks.append(tuple(_chunk(group, rows[group], own, leaf, size) for own, leaf in pairs))
    return Footer(rows, tuple(chunks))


class _Leaf(NamedTuple):
    """Of a column's values in the schema: as in Chunk, and whether there is one in each row."""

    name: str
    path: str
    text: bool
    width: int
    flat: bool


def _leaf(column: pq.ColumnSchema, names: Collection[str]) -> _Leaf:
    parts = column.path.split(".")
    begun = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    name = next((text for text in begun if text in names), column.path)
    width = _WIDTHS.get(column.physical_type) or max(column.length, 4)
    text = column.physical_type == "BYTE_ARRAY"
    return _Leaf(name, column.path, text, width, not column.max_repetition_level)


def _chunk(group: int, rows: int, column: dict[int, Any], leaf: _Leaf, size: int) -> Chunk:
    if 1 in column or not isinstance(column.get(3), dict):
        raise ValueError(f"column {leaf.path} is in another file, or encrypted")
    about = column[3]
    values, unpacked, packed = (thrift.number(about, field) for field in (5, 6, 7))
    start, dictionary = thrift.number(about, 9), thrift.number(about, 11, 0)
    if 0 < dictionary < start:
        start = dictionary
    if values < 0 or leaf.flat and values != rows:
        raise ValueError(f"{values:,} values of {leaf.path} in {rows:,} rows")
    if not 4 <= start <= size or unpacked < 0 or not 0 <= packed <= size:
        raise ValueError(f"pages of {leaf.path} at byte {start:,} of {size:,}")
    what = leaf.name, leaf.path, leaf.text, leaf.width
    return Chunk(group, rows, *what, values, unpacked, packed, start)
