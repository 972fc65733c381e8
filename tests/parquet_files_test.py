"""Parquet: honest files of any making are read, and what they say of themselves is checked."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ecjax.containers import reading
from ecjax.errors import InputError
from ecjax.limits import FREE_BYTES, Budget
from ecjax.parquet_files import open_parquet

N = 3000


def written(table, **how) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **how)
    return sink.getvalue()


def read(content, names=None, budget=0):
    with reading("here", "parquet"), open_parquet(content, "here", Budget(budget)) as table:
        return table.read(names or table.schema.names)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
def test_files_of_any_making(version, compression):
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "id": [f"key {i}" for i in range(N)],
            "v": pa.array(list(rng.normal(size=(N, 4))), pa.list_(pa.float64())),
            "w": pa.array([None if i % 7 == 0 else [i, 1.0] for i in range(N)],
                          pa.list_(pa.float32(), 2)),
            "word": [f"c{i % 5}" for i in range(N)],
            "system:index": rng.normal(size=N).astype(np.float16),
            "a.b": range(N),
            "b": pa.array([True, None, False] * (N // 3)),
        }
    )  # fmt: skip
    for how in (
        {"row_group_size": 700},
        {"use_dictionary": False},
        {"data_page_size": 1000, "write_page_checksum": True},
        {"use_dictionary": False, "column_encoding": {"id": "DELTA_BYTE_ARRAY"}},
        {"write_page_index": True, "use_byte_stream_split": ["v"], "use_dictionary": False},
    ):
        content = written(table, data_page_version=version, compression=compression, **how)
        assert read(content).equals(table)


def test_a_page_that_expands():
    content = written(pa.table({"v": np.zeros(FREE_BYTES // 8 + 1)}), compression="zstd")
    assert len(content) < 10**6
    with pytest.raises(InputError, match="here: .* would expand to"):
        read(content)
    with pytest.raises(InputError, match="here: the table takes"):
        read(content, budget=10**6)


@pytest.mark.parametrize("how", [{}, {"column_encoding": "DELTA_BYTE_ARRAY"}])
def test_a_long_text_again_and_again(how):
    table = pa.table({"w": pa.array(["x" * 10**5] * 200).dictionary_encode().cast(pa.string())})
    content = written(table, use_dictionary=not how, compression="zstd", **how)
    assert len(content) < 10**6
    with pytest.raises(InputError, match="here: the table takes .*, and --max_input_bytes is"):
        read(content, budget=10**7)
    assert read(content).equals(table)


def test_many_words_of_a_large_dictionary_are_few_bytes():
    words = [f"{i:0100}" for i in range(2000)]
    table = pa.table({"w": words * 100})
    assert read(written(table)).equals(table)


def test_null_lists_of_fixed_size_take_their_room():
    table = pa.table({"v": pa.nulls(100, pa.list_(pa.float32(), 10**4))})
    with pytest.raises(InputError, match="here: the table takes 4,000,000 bytes"):
        read(written(table, compression="zstd"), budget=10**6)


def test_bits_of_the_footer():
    content = written(pa.table({"id": range(40), "w": ["a", "b"] * 20}))
    length = int.from_bytes(content[-8:-4], "little")
    refused = 0
    for at in range(len(content) - 8 - length, len(content) - 8):
        changed = bytearray(content)
        changed[at] ^= 1 << at % 8
        try:
            read(bytes(changed), ["id", "w"])
        except InputError:
            refused += 1
        except KeyError:  # a column of another name
            pass
    assert refused > length / 4


def test_bits_of_the_page_headers():
    content = written(pa.table({"id": range(40)}), compression="none", use_dictionary=False)
    for at in range(4, 40):
        changed = bytearray(content)
        changed[at] ^= 0x40
        try:
            read(bytes(changed))
        except InputError as error:
            assert "here: damaged" in str(error)


def test_text_that_is_none():
    content = written(pa.table({"w": ["abc"]}), compression="none", use_dictionary=False)
    changed = content.replace(b"abc", b"a\xffc")
    with pytest.raises(InputError, match="damaged"):
        read(changed)
