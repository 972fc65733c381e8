"""The classes of a stream's rows: one number a row, beside which only the labels are held."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ecjax.errors import quote
from ecjax.stream_files import StoredTable
from ecjax.values import class_target

AT_ONCE = 2**18  # rows whose labels are read


def codes_of(
    stored: StoredTable, where: str, ids: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """As `values.class_target`, of the target of a task's stored table.

    Raises:
        InputError: As `class_target`, about the first rows at which that is seen.
    """
    (target,) = stored.reader.source.target
    what, n = f"{where}: target {quote(target)}", len(ids)
    parts: list[tuple[np.ndarray, tuple[str, ...]]] = []
    numeric, start = True, 0
    for piece in stored.pieces(np.arange(n), [target], AT_ONCE):
        values = stored.reader.targets(piece)[target]
        parts.append(class_target(values, ids[start : start + len(values)], what))
        numeric &= bool(pd.api.types.is_numeric_dtype(values.dtype))
        numeric &= not pd.api.types.is_bool_dtype(values.dtype)
        start += len(values)
    known = set().union(*(labels for _, labels in parts))
    classes = tuple(sorted(known, key=int if numeric else None))
    place = {label: code for code, label in enumerate(classes)}
    found = [
        np.array([*(place[label] for label in labels), -1], np.int32)[codes]
        for codes, labels in parts
    ]
    return np.concatenate(found), classes


def used_codes(
    codes: np.ndarray, classes: tuple[str, ...], keep: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Codes (n,) of the rows to keep, −1 for the others, and the labels that these have."""
    used = np.unique(codes[keep])
    place = np.full(len(classes) + 1, -1, np.int32)
    place[used] = np.arange(len(used))
    return np.where(keep, place[codes], -1).astype(np.int32), tuple(classes[i] for i in used)
