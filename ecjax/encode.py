"""How frames and settings become Parquet columns, CSV cells, JSON values and messages."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ecjax.errors import neutral

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def arrow_table(frame: pd.DataFrame) -> pa.Table:
    """The frame's columns in their order, without index or pandas metadata.

    Columns become float64, int64, bool or text; NaN, None and NA become null. A column of mixed
    types (ids of several tasks), or one that holds nothing at all, becomes text.
    """
    return pa.table({str(name): _arrow_column(frame[name]) for name in frame.columns})


def _arrow_column(values: pd.Series) -> pa.Array | pa.ChunkedArray:
    dtype = values.dtype
    if pd.api.types.is_bool_dtype(dtype):
        return pa.array(values, type=pa.bool_(), from_pandas=True)
    if pd.api.types.is_integer_dtype(dtype):
        return pa.array(values, type=pa.int64(), from_pandas=True)
    if pd.api.types.is_float_dtype(dtype):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        return pa.array(numbers, from_pandas=True)
    if isinstance(dtype, pd.StringDtype):
        return pa.array(values, type=pa.large_string(), from_pandas=True)
    cells = [None if _is_null(value) else value for value in values]
    kinds = {type(value) for value in cells} - {type(None)}
    if kinds and kinds <= {bool, np.bool_}:
        return pa.array(cells, type=pa.bool_())
    if kinds and all(issubclass(k, (int, np.integer)) and k is not bool for k in kinds):
        return pa.array(cells, type=pa.int64())
    # large_string: a column of predictions may hold more than 2 GiB of text.
    return pa.array([None if c is None else str(c) for c in cells], type=pa.large_string())


def _is_null(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def csv_text(frame: pd.DataFrame) -> str:
    """The frame as CSV: null is an empty cell, a float has as many digits as identify it.

    Text which a spreadsheet would run as a formula gets an apostrophe in front.
    """
    safe = frame.apply(_without_formulas) if len(frame) else frame
    return safe.to_csv(index=False, lineterminator="\n")


def _without_formulas(values: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(values.dtype):
        return values
    cells = [_safe_cell(value) if isinstance(value, str) else value for value in values]
    return pd.Series(cells, index=values.index, dtype=object)


def _safe_cell(text: str) -> str:
    # A carriage return would end the row: Python's csv does not quote it before a plain newline.
    start = "'" if text.startswith(FORMULA_STARTS) else ""
    return start + text.replace("\r", " ")


def plain(value: Any) -> Any:
    """The value as JSON knows it: numpy scalars and arrays, tuples and paths too; NaN is null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return [plain(item) for item in sorted(value)]
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (int, str)) else str(value)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One text "key (there: …; now: …)" for each setting that is not the same in both.

    Settings within settings are compared one by one, under `outer.inner`.
    """
    before, now = _flat(before), _flat(now)
    absent = object()
    return [
        f"{neutral(key)} (there: {_short(before, key)}; now: {_short(now, key)})"
        for key in {**before, **now}
        if before.get(key, absent) != now.get(key, absent)
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _short(settings: Mapping[str, Any], key: str) -> str:
    """A value for a message: hashes to their first 8 digits, long texts to 60 characters."""
    if key not in settings:
        return "absent"
    value = settings[key]
    text = neutral(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    if len(text) >= 32 and not set(text.lower()) - set("0123456789abcdef"):
        return text[:8] + "…"
    return text if len(text) <= 60 else text[:59] + "…"
