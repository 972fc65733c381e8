"""How frames and settings become Parquet columns, CSV cells, JSON values and messages."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ecjax.errors import neutral, quote

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
# Of a study's fingerprint: inputs, of which those with a hash have words in its place, and what
# differs because a setting does: to `paper` the order of rows is something, to `strict` nothing.
HASHED = {
    "rows": "the data of task {task} (ids, targets or vectors)",
    "order": "the order of task {task}'s rows",
    "places": "the places of task {task}",
    "split_of": "what the folds of task {task} are made from (ids, places, groups or its column)",
}
INPUTS = ("tasks", "embeddings", "coordinates", "transforms", *HASHED)
FOLLOW = {
    "protocol": ("order",),
    "split": ("order", "split_of", "block_km", "buffer_km"),
    **dict.fromkeys(("embeddings", "coordinates", "transforms"), ("rows",)),
}


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


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], words: tuple[str, str] = ("there", "now")
) -> list[str]:
    """One text for each setting that is not the same in both, and for each input.

    A setting is told as "key (there: …; now: …)", with `words` for both; settings within settings
    are compared one by one, under `outer.inner`. Of inputs that are known by their hashes it is
    told whose they are. What differs because another setting does is left out.
    """
    before, now = _flat(before), _flat(now)
    absent = object()
    keys = [k for k in {**before, **now} if before.get(k, absent) != now.get(k, absent)]
    follow = {outer for key in keys for outer in FOLLOW.get(key.split(".")[0], ())}
    if "tasks" in keys:  # of a task that is in one alone, no more needs to be said
        follow |= {key for key in keys if "." in key and (key not in before or key not in now)}
    told = [key for key in keys if not {key, key.split(".")[0]} & follow]
    return [_difference(before, now, key, words) for key in told or keys]


def _difference(
    before: Mapping[str, Any], now: Mapping[str, Any], key: str, words: tuple[str, str]
) -> str:
    outer, _, inner = key.partition(".")
    if outer in HASHED and inner:
        return HASHED[outer].format(task=quote(inner))
    values = _short(before, key), _short(now, key)
    return f"{neutral(key)} ({words[0]}: {values[0]}; {words[1]}: {values[1]})"


def only_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two fingerprints are of the same inputs, as far as their settings let it be known."""
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    follow = {outer for key in changed for outer in FOLLOW.get(key, ())}
    return not set(changed) & set(INPUTS) - follow


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _short(settings: Mapping[str, Any], key: str) -> str:
    """A value for a message: a list by its elements, long texts to 60 characters."""
    if key not in settings:
        return "not set"
    value = settings[key]
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    text = neutral(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= 60 else text[:59] + "…"
