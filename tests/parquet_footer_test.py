"""The footer of a Parquet file is read as pyarrow reads it, and believed in nothing."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mutate_parquet import Field, Items, footer_of, with_footer

from ecjax import thrift
from ecjax.parquet_footer import read_footer

NAMES = "num_values total_uncompressed_size total_compressed_size data_page_offset".split()


def content(**how) -> bytes:
    lists = pa.array([[1.5, 2.0], None, [3.0, 4.0]] * 7, pa.list_(pa.float32(), 2))
    table = pa.table({"id": np.arange(21), "v": lists, "word": ["rye", "oats", None] * 7})
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=8, **how)
    return out.getvalue()


@pytest.mark.parametrize("how", [{}, {"compression": "zstd", "use_dictionary": False}])
def test_it_says_what_pyarrow_says(how):
    data = content(**how)
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata
    footer = read_footer(data, metadata.num_columns)
    assert len(footer) == metadata.num_row_groups == 3
    for i, group in enumerate(footer):
        for j, chunk in enumerate(group):
            expected = metadata.row_group(i).column(j)
            for name in NAMES:
                assert getattr(chunk, name) == getattr(expected, name)
            assert chunk.dictionary_page_offset == (expected.dictionary_page_offset or 0)


def test_a_row_group_with_another_number_of_columns_is_damaged():
    with pytest.raises(ValueError, match="more or fewer than the 4 columns"):
        read_footer(content(), 4)


@pytest.mark.parametrize(
    ("number", "value"),
    [(5, Field(5, 8, b"many")), (5, Field(5, 1, True)), (9, None), (6, Field(6, 9, Items(5, [1])))],
)
def test_a_number_of_another_kind_is_damaged(number, value):
    data = content()
    tree, start = footer_of(data)
    fields = tree.get(4).items[1].get(1).items[0].get(3).fields
    fields[:] = [own for own in fields if own.number != number] + ([value] if value else [])
    with pytest.raises(ValueError, match=f"field {number} is no int"):
        read_footer(with_footer(data[:start], tree), 3)


@pytest.mark.parametrize("size", [0, 5, 8, 60])
def test_a_cut_file_is_damaged(size):
    with pytest.raises(ValueError):
        read_footer(content()[-size:] if size else b"", 3)


def test_a_field_has_its_kind_or_a_default():
    assert thrift.field({1: 2}, 1, int) == 2 and thrift.field({}, 1, int, 7) == 7
    for struct, kind in (({1: True}, int), ({1: b""}, int), ({}, int), (b"", int), ({1: 2}, dict)):
        with pytest.raises(ValueError, match="field 1 is no"):
            thrift.field(struct, 1, kind)
