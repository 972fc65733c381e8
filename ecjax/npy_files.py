"""NumPy arrays in files (`.npy`): vectors (n, p), or ids (n,); no pickled objects, no archives.

Layout: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. The header is
matched, not evaluated.
"""

from __future__ import annotations

import contextlib
import math
import re
import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from ecjax.containers import Source, Stored, opened, size_of
from ecjax.errors import InputError, counted, quote
from ecjax.limits import Budget, check_columns

VECTORS = "embedding"  # the column that the rows of an array are
_HEADER_BYTES = 10_000  # at most, as NumPy itself has it
_HEADER = re.compile(
    r"\{\s*'descr':\s*'([<>|=][a-zA-Z][0-9]{1,9})',\s*'fortran_order':\s*(True|False),\s*"
    r"'shape':\s*\(((?:[0-9]{1,18}\s*,\s*)*[0-9]{0,18})\s*\),?\s*\}\s*"
)


class _Header(NamedTuple):
    """Type, shape and order of an array, and where its numbers begin."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    start: int


@contextlib.contextmanager
def open_vectors(
    source: Source, here: str, id_column: str, ids: pa.ChunkedArray, budget: Budget
) -> Iterator[Stored]:
    """Opens (n, p) numbers as a table of two columns: their ids, and vectors.

    Args:
        id_column: what the ids shall be called.
        ids: (n,).

    Raises:
        InputError: It is no such array, is cut short or too large, or there are more or fewer ids.
    """
    own = budget.of(size_of(source), here)
    with opened(source) as stream:
        header = _header(stream, own.size, here)
        if len(header.shape) != 2 or header.dtype.kind not in "fiu" or not header.shape[1]:
            raise InputError(
                f"{here}: an array of shape {header.shape} of {header.dtype}, but vectors are an "
                "array of two dimensions, rows and columns, of floats or integers; store it so"
            )
        rows, width = header.shape
        check_columns(width, here)
        if rows != len(ids):
            raise InputError(
                f"{here}: {counted(rows, 'row')}, but {counted(len(ids), 'id')}; each row needs "
                "an id of its own, in the same order"
            )
        kind = pa.from_numpy_dtype(header.dtype)
        schema = pa.schema({id_column: ids.type, VECTORS: pa.list_(kind, width)})

        def read(names: Sequence[str]) -> pa.Table:
            own.take(own.size)
            values = pa.array(_values(stream, header).ravel())
            vectors = pa.FixedSizeListArray.from_arrays(values, width)
            return pa.table([ids, vectors], schema).select(names)

        yield Stored(schema, rows, read)


def read_ids(source: Source, here: str, budget: Budget) -> pa.Array:
    """(n,) whole numbers or text.

    Raises:
        InputError: It is no such array, or is cut short.
    """
    own = budget.of(size_of(source), here)
    with opened(source) as stream:
        header = _header(stream, own.size, here)
        if len(header.shape) != 1 or header.dtype.kind not in "iuUS":
            raise InputError(
                f"{here}: an array of shape {header.shape} of {header.dtype}, but ids are an array "
                "of one dimension, of whole numbers or text; store them so"
            )
        own.take(own.size)
        ids = _values(stream, header)
    if header.dtype.kind == "S":
        ids = np.char.decode(ids, "utf-8")
    return pa.array(ids.astype(object) if ids.dtype.kind == "U" else ids)


def _header(stream: BinaryIO, size: int, here: str) -> _Header:
    magic, major, _ = struct.unpack("<6sBB", stream.read(8).ljust(8, b"\0"))
    if magic != b"\x93NUMPY" or major not in (1, 2, 3):
        raise ValueError(f"version {major} of the format")
    code = "<H" if major == 1 else "<I"
    width = struct.calcsize(code)
    (length,) = struct.unpack(code, stream.read(width).ljust(width, b"\0"))
    if not 0 < length <= _HEADER_BYTES:
        raise ValueError(f"a header of {length:,} bytes")
    written = stream.read(length)
    if len(written) < length:
        raise ValueError(f"a header of {length:,} bytes, cut short")
    text = written.decode("utf-8")
    found = _HEADER.fullmatch(text)
    if found is None:
        raise InputError(
            f"{here}: the header {quote(text.strip()[:200])} is of no plain array of numbers or "
            "text (objects and records are not read); store it as floats"
        )
    name, fortran, shape = found.groups()
    try:
        dtype = np.dtype(name)
    except TypeError:
        raise ValueError(f"numbers of type {name}") from None
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"values of type {name}")
    sizes = tuple(int(part) for part in shape.split(",") if part.strip())
    start = 8 + width + length
    wanted = math.prod(sizes) * dtype.itemsize
    if size - start < wanted:
        raise InputError(
            f"{here}: the array is truncated ({size - start:,} bytes of {wanted:,}); write or copy "
            "it again"
        )
    if size - start > wanted:
        raise ValueError(f"{size - start - wanted:,} bytes after the array")
    return _Header(dtype, sizes, fortran == "True", start)


def _values(stream: BinaryIO, header: _Header) -> np.ndarray:
    """The array, in the machine's byte order, row after row."""
    stream.seek(header.start)
    count = math.prod(header.shape)
    flat = np.frombuffer(stream.read(count * header.dtype.itemsize), header.dtype, count)
    array = flat.reshape(header.shape, order="F" if header.fortran else "C")
    return np.ascontiguousarray(array, header.dtype.newbyteorder("="))
