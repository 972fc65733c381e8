"""Arrow IPC: what pyarrow writes comes back, and nothing crafted comes through."""

import struct

import numpy as np
import pyarrow as pa
import pytest

from ecjax.arrow_files import open_arrow
from ecjax.containers import reading
from ecjax.errors import InputError
from ecjax.limits import Budget

N = 50
COLUMNS = {
    "id": pa.array(range(N)),
    "uint64": pa.array(range(N), pa.uint64()),
    "text": pa.array([f"x{i}" if i % 7 else None for i in range(N)]),
    "large": pa.array([f"x{i}" for i in range(N)], pa.large_string()),
    "view": pa.array([f"x{i}" * (i % 9) for i in range(N)], pa.string_view()),
    "word": pa.array([f"c{i % 3}" for i in range(N)]).dictionary_encode(),
    "bool": pa.array([i % 2 == 0 for i in range(N)]),
    "null": pa.nulls(N),
    "half": pa.array(np.arange(N, dtype=np.float16)),
    "decimal": pa.array(range(N), pa.decimal128(10, 2)),
    "time": pa.array(range(N), pa.timestamp("us", "UTC")),
    "date": pa.array(range(N), pa.date32()),
    "binary": pa.array([b"x" * i for i in range(N)], pa.binary_view()),
    "list": pa.array([[float(i)] * (i % 4) if i % 5 else None for i in range(N)]),
    "large_list": pa.array([[float(i)] for i in range(N)], pa.large_list(pa.float32())),
    "fixed": pa.array([[i, 2.0] if i % 6 else None for i in range(N)], pa.list_(pa.float32(), 2)),
}
# Their buffers are passed over.
OTHERS = {
    "struct": pa.array([{"a": i, "b": [1, 2]} for i in range(N)]),
    "map": pa.array([[("k", i)] for i in range(N)], pa.map_(pa.string(), pa.int64())),
    "dense": pa.UnionArray.from_dense(
        pa.array([0] * N, pa.int8()), pa.array(range(N), pa.int32()), [pa.array(range(N))]
    ),
    "sparse": pa.UnionArray.from_sparse(pa.array([0] * N, pa.int8()), [pa.array(range(N))]),
    "runs": pa.RunEndEncodedArray.from_arrays([N], [1]),
    "list_view": pa.array([[1]] * N, pa.list_view(pa.int64())),
    "bytes": pa.array([b"abcd"] * N, pa.binary(4)),
    "time_of_day": pa.array([0] * N, pa.time32("s")),
}


def written(table, new=pa.ipc.new_file, compression=None, rows=20) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with new(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue().to_pybytes()


def read(content, names, budget=0):
    with reading("here", "arrow"), open_arrow(content, "here", Budget(budget)) as table:
        return table.read(names)


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("new", [pa.ipc.new_file, pa.ipc.new_stream])
def test_columns_come_back_among_others(new, compression):
    table = pa.table(OTHERS | COLUMNS)
    found = read(written(table, new, compression), list(COLUMNS))
    assert found.equals(table.select(list(COLUMNS)))
    for name in OTHERS:
        with pytest.raises(InputError, match=f'column "{name}" is of a type .* not read from Arr'):
            read(written(table, new, compression), [name])


def test_a_dictionary_that_changes_between_batches():
    first, second = (pa.table({"w": pa.array(w).dictionary_encode()}) for w in ("ab", "ca"))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, first.schema) as writer:
        writer.write_table(first)
        writer.write_table(second)
    found = read(sink.getvalue().to_pybytes(), ["w"])
    assert found["w"].to_pylist() == ["a", "b", "c", "a"]


def test_cut_anywhere():
    for new in (pa.ipc.new_file, pa.ipc.new_stream):
        content = written(pa.table(COLUMNS), new)
        for end in range(8, len(content), 97):
            with pytest.raises(InputError, match="truncated|damaged"):
                read(content[:end], ["id", "list"])


def test_metadata_that_point_elsewhere():
    content = written(pa.table({"id": [1, 2, 3], "s": ["a", "b", "c"]}))
    refused, step = 0, 4
    for at in range(8, len(content) - 8, step):
        for value in (0xFFFFFFFF, 0x7FFFFFFF, 0x40000000):
            changed = content[:at] + struct.pack("<I", value) + content[at + 4 :]
            try:
                read(changed, ["id", "s"])
            except InputError:
                refused += 1
            except KeyError:  # a column of another name
                pass
    assert refused > len(content) / step  # of three; padding and numbers are no metadata


def test_a_column_of_lists_that_contain_themselves_many_times():
    kind = pa.int64()
    for _ in range(12):
        kind = pa.list_(kind)
    with pytest.raises(InputError, match="too many columns within columns"):
        read(written(pa.table({"v": pa.array([None], kind)})), ["v"])


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_small_file_that_expands(compression):
    content = written(pa.table({"v": np.zeros(10**6)}), compression=compression, rows=10**6)
    assert len(content) < 10**5
    with pytest.raises(InputError, match="here: the table takes .* when read"):
        read(content, ["v"], 10**6)
    assert len(read(content, ["v"])) == 10**6
