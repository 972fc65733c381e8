"""What the footer of a Parquet file says of each column in each row group.

pyarrow says it too, but ends the whole process where a footer contradicts itself: what it throws
when it is asked for a column's metadata, nothing catches. So the footer is read here.
Layout: https://github.com/apache/parquet-format (parquet.thrift: FileMetaData and what is in it).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ecjax import thrift
from ecjax.containers import Source, opened

_END = 8  # bytes: how long the footer is, and the magic bytes


class ChunkFooter(NamedTuple):
    """One column in one row group.

    Attributes:
        num_values: nulls and values of lists included.
        total_uncompressed_size, total_compressed_size: bytes of its pages.
        data_page_offset, dictionary_page_offset: where they begin; 0: there is no dictionary.
    """

    num_values: int
    total_uncompressed_size: int
    total_compressed_size: int
    data_page_offset: int
    dictionary_page_offset: int


Footer = tuple[tuple[ChunkFooter, ...], ...]


def read_footer(source: Source, columns: int) -> Footer:
    """The columns of each row group.

    Args:
        columns: how many the file's schema has.

    Raises:
        ValueError: It is damaged, or a row group has more columns or fewer.
    """
    with opened(source) as stream:
        end = stream.seek(0, 2) - _END
        stream.seek(max(0, end))
        length = int.from_bytes(stream.read(4), "little")
        if not 0 < length <= end:
            raise ValueError(f"a footer of {length:,} bytes")
        stream.seek(end - length)
        footer, _ = thrift.read_struct(stream.read(length))
    groups = tuple(_group(group) for group in thrift.field(footer, 4, list, []))
    if any(len(chunks) != columns for chunks in groups):
        raise ValueError(f"a row group with more or fewer than the {columns:,} columns")
    return groups


def _group(group: Any) -> tuple[ChunkFooter, ...]:
    about = (thrift.field(chunk, 3, dict) for chunk in thrift.field(group, 1, list))
    return tuple(
        ChunkFooter(
            num_values=thrift.field(own, 5, int),
            total_uncompressed_size=thrift.field(own, 6, int),
            total_compressed_size=thrift.field(own, 7, int),
            data_page_offset=thrift.field(own, 9, int),
            dictionary_page_offset=thrift.field(own, 11, int, 0),
        )
        for own in about
    )
