"""Arrow's columns of numbers, or of lists of numbers, as matrices of floats."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ecjax import columns
from ecjax.errors import InputError, counted, quote
from ecjax.limits import Budget
from ecjax.quantised import WAY_OUT

_TURNED = 2048, 16  # rows and columns of a part that is transposed


def wide_vectors(
    table: pa.Table, names: list[str], ids: np.ndarray, where: str, quantised: bool = False
) -> np.ndarray:
    """(n, p) float32 or float64, C-contiguous, from p columns; null is NaN.

    Args:
        quantised: Whether it is known what integers stand for.

    Raises:
        InputError: A column holds no numbers, or all hold integers.
    """
    types = [table.schema.field(name).type for name in names]
    for name, kind in zip(names, types, strict=True):
        if not columns.is_number(kind) and not pa.types.is_null(kind):
            raise _not_numbers(table[name], name, ids, where)
    dtype = _float_type(types, names, where, quantised)
    by_column = np.empty((len(names), len(table)), dtype)
    for j, name in enumerate(names):
        by_column[j] = _floats(table[name], dtype)
    return _transposed(by_column)


def _transposed(by_column: np.ndarray) -> np.ndarray:
    """(n, p) from (p, n), part by part as the cache holds them: three times as fast as in one."""
    p, n = by_column.shape
    rows = np.empty((n, p), by_column.dtype)
    for i in range(0, n, _TURNED[0]):
        for j in range(0, p, _TURNED[1]):
            part = by_column[j : j + _TURNED[1], i : i + _TURNED[0]]
            rows[i : i + _TURNED[0], j : j + _TURNED[1]] = part.T
    return rows


def list_vectors(
    column: pa.ChunkedArray,
    name: str,
    ids: np.ndarray,
    where: str,
    width: int | None,
    quantised: bool = False,
    budget: Budget | None = None,
) -> np.ndarray:
    """(n, p) floats from one column of lists; a null list is a row of NaN.

    Args:
        width: p, where it is known from other rows.
        quantised: As for `wide_vectors`.
        budget: What the table may take, null lists included.

    Raises:
        InputError: The lists hold no floats, differ in length, or there is none.
    """
    kind = column.type.value_type
    if not columns.is_number(kind):
        raise _not_numbers(column, name, ids, where)
    dtype = _float_type([kind], [name], where, quantised)
    lengths = pc.list_value_length(column).to_numpy()  # float with NaN where a list is null
    given = np.flatnonzero(~np.isnan(lengths.astype(np.float64)))
    if width is None and (not len(given) or not lengths[given[0]]):
        raise InputError(
            f"{where}: column {quote(name)} holds no vector (all {len(ids):,} are null or empty); "
            'fill it, or name another with columns = "…"'
        )
    width = int(lengths[given[0]]) if width is None else width
    unequal = given[lengths[given] != width]
    if len(unequal):
        raise InputError(
            f"{where}: column {quote(name)} has {counted(len(unequal), 'vector')} of another "
            f"length than {width}, first {int(lengths[unequal[0]])} at id "
            f"{quote(ids[unequal[0]])}; all vectors must have equal length, or be null"
        )
    flat = pa.chunked_array([pc.list_flatten(c) for c in column.chunks], kind)
    filled = _floats(flat, dtype).reshape(-1, width)
    if len(given) == len(ids):
        return filled
    room = len(ids) * width * np.dtype(dtype).itemsize
    (budget or Budget()).of(column.nbytes, where).check(room)
    vectors = np.full((len(ids), width), np.nan, dtype)
    vectors[given] = filled
    return vectors


def _floats(column: pa.ChunkedArray, dtype: type) -> np.ndarray:
    """(n,) floats; null is NaN."""
    if pa.types.is_float16(column.type):  # Arrow fills no nulls in half precision
        return column.to_pandas().to_numpy(dtype, na_value=np.nan)
    column = column.cast(pa.from_numpy_dtype(dtype), safe=False)
    column = pc.fill_null(column, np.nan) if column.null_count else column
    if column.num_chunks == 1:
        return column.chunk(0).to_numpy(zero_copy_only=False)  # as it lies, where it can be
    return column.to_numpy()


def _float_type(
    types: list[pa.DataType], names: list[str], where: str, quantised: bool
) -> type[np.floating]:
    """The floats that hold columns of such types.

    Integers only are refused; one integer column among floats is the leak guard's matter.
    """
    if not quantised and all(pa.types.is_integer(kind) for kind in types):
        shown = f"{quote(names[0])}…{quote(names[-1])}" if len(names) > 1 else quote(names[0])
        raise InputError(
            f"{where}: {counted(len(names), 'column')} ({shown}) of integers ({types[0]}) and no "
            f"floats: quantised vectors; {WAY_OUT}"
        )
    single = {pa.float16(), pa.float32(), pa.null()}
    if quantised:
        single |= {pa.int8(), pa.uint8(), pa.int16(), pa.uint16()}
    return np.float32 if all(kind in single for kind in types) else np.float64


def _not_numbers(column: pa.ChunkedArray, name: str, ids: np.ndarray, where: str) -> InputError:
    """The error for a column of a type that is no number, with the first value that is none."""
    bad = np.flatnonzero(column.is_valid().to_numpy())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        values = column.to_pandas()
        unread = pd.to_numeric(values, errors="coerce").isna() & values.notna() & (values != "")
        bad = np.flatnonzero(unread) if unread.any() else bad
    first = int(bad[0]) if len(bad) else 0
    return InputError(
        f"{where}: embedding column {quote(name)} has {counted(len(bad), 'value')} of type "
        f"{column.type} instead of numbers, first {quote(column[first].as_py())} at id "
        f'{quote(ids[first])}; correct them, or leave the column out with columns = "…"'
    )
