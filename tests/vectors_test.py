"""Columns become matrices with every number in its place."""

import numpy as np
import pyarrow as pa
import pytest

from ecjax.vectors import list_vectors, wide_vectors

IDS = np.arange(4100)


@pytest.mark.parametrize("n, p", [(1, 1), (2049, 16), (4100, 33)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_wide_columns_of_any_shape(n, p, dtype):
    expected = np.random.default_rng(0).normal(size=(n, p)).astype(dtype)
    names = [f"e{j}" for j in range(p)]
    table = pa.table(dict(zip(names, expected.T, strict=True)))
    found = wide_vectors(table, names, IDS[:n], "t")
    assert found.dtype == dtype and found.flags.c_contiguous and (found == expected).all()


@pytest.mark.parametrize("null", [False, True])
def test_lists_of_several_chunks(null):
    rows = [[float(i), -1.0] for i in range(9)]
    rows[4] = None if null else rows[4]
    kind = pa.list_(pa.float32(), 2)
    column = pa.chunked_array([pa.array(rows[:5], kind), pa.array(rows[5:], kind)])
    found = list_vectors(column, "v", IDS[:9], "t", None)
    assert np.isnan(found[4]).all() == null
    others = np.delete(np.arange(9), 4)
    assert (found[others, 0] == others).all() and (found[others, 1] == -1).all()
    assert list_vectors(column.slice(4, 1), "v", IDS[4:5], "t", 2).shape == (1, 2)
