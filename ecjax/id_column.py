"""The ids of a table: whole numbers or text, none missing, none twice."""

from __future__ import annotations

import contextlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ecjax.columns import is_text
from ecjax.errors import InputError, counted, quote
from ecjax.values import check_ids

_NULL_TEXTS = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None", "#N/A")
_WHOLE_NUMBER = r"^(0|-?[1-9][0-9]{0,17})$"


def ids_of(column: pa.ChunkedArray, name: str, is_csv: bool, where: str) -> np.ndarray:
    """(n,) unique int64 or object (str) ids.

    CSV has no types: its ids are numbers only if every one is written as a plain whole number.

    Raises:
        InputError: An id is missing, given twice, or of another type.
    """
    here = f"{where}: id column {quote(name)}"
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    text = is_text(column.type)
    if pa.types.is_string_view(column.type):  # for which pyarrow has few functions
        column = column.cast(pa.string())
    null = column.is_null()
    if text:
        null = pc.or_(null, pc.equal(pc.fill_null(column, ""), ""))
        if is_csv:
            null_text = pc.is_in(column, pa.array(_NULL_TEXTS))
            whole = pc.match_substring_regex(column, _WHOLE_NUMBER)
            if pc.all(pc.or_(whole, pc.or_(null, null_text))).as_py():
                null = pc.or_(null, null_text)
                text = False
    rows = np.flatnonzero(null.to_numpy())
    if len(rows):
        raise InputError(
            f"{here} has {counted(len(rows), 'null id')}, first in row {rows[0] + 1:,}; give each "
            "row an id of its own"
        )
    ids = column.to_numpy().astype(object) if text else _numbers(column, here)
    check_ids(ids, here)
    return ids


def _numbers(column: pa.ChunkedArray, here: str) -> np.ndarray:
    kind, types = column.type, pa.types
    if not (types.is_floating(kind) or types.is_boolean(kind) or types.is_temporal(kind)):
        with contextlib.suppress(pa.ArrowException):
            return column.cast(pa.int64()).to_numpy()
    raise InputError(
        f"{here} is of type {kind} (first {quote(column[0].as_py())}), but ids are whole numbers "
        "below 2**63 or text; store it as one of them"
    )
