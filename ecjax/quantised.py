"""Vectors that are stored as whole numbers, and the numbers that they stand for.

A study says how, with `dequantise` or `scale` under an embedding: which it is cannot be told from
the numbers.

Axes: n rows, p columns.
"""

from __future__ import annotations

import numpy as np

from ecjax import keys
from ecjax.errors import InputError, counted, quote

ALPHAEARTH = "alphaearth"
MASKED = -9999.0  # a row that holds it throughout stands for "no vector here"
_LEAST, _MOST, _UNIT = -128, 127, 127.5
WAY_OUT = (
    'say what they stand for: dequantise = "alphaearth" for AlphaEarth\'s int8, scale = "COLUMN" '
    "for Tessera's, or scale = 0.1, a number; or store the de-quantised values as floats"
)


def keys_of(table: dict, where: str) -> tuple[str | None, str | float | None]:
    """The keys `dequantise` and `scale` of an embedding.

    Raises:
        InputError: One is none of what it may be, or both are given.
    """
    dequantise, scale = keys.text(table, "dequantise", where), table.get("scale")
    if dequantise is not None:
        keys.choice(dequantise, (ALPHAEARTH,), "dequantise", where)
    number = isinstance(scale, (int, float)) and not isinstance(scale, bool)
    if number and not 0 < scale < float("inf"):
        raise InputError(f"{where}: scale = {scale} must be a finite number above 0, or a column")
    scale = float(scale) if number else keys.text(table, "scale", where)
    check(dequantise, scale, where)
    return dequantise, scale


def check(dequantise: str | None, scale: str | float | None, where: str) -> None:
    """Raises an InputError if both are given."""
    if dequantise is not None and scale is not None:
        raise InputError(
            f"{where}: both dequantise and scale are given, but vectors stand for one thing; "
            "remove one"
        )


def of_alphaearth(stored: np.ndarray, names: list[str], ids: np.ndarray, where: str) -> np.ndarray:
    """(n, p) float32: (q/127.5)² · sign(q), the published form of AlphaEarth's int8.

    −128 is NaN, and −9999 throughout in the rows that hold nothing else, which are masked.

    Args:
        stored: (n, p) whole numbers from −128 to 127, as floats; NaN stays.

    Raises:
        InputError: There are others.
    """
    given = ~np.isnan(stored)
    with np.errstate(invalid="ignore"):
        bad = given & ~((stored == np.rint(stored)) & (stored >= _LEAST) & (stored <= _MOST))
    if bad.any():
        rows, columns = np.nonzero(bad)
        raise InputError(
            f"{where}: {counted(len(rows), 'value')} no whole number from {_LEAST} to {_MOST}, "
            f"first {stored[rows[0], columns[0]]:g} in column {quote(names[columns[0]])} at id "
            f"{quote(ids[rows[0]])}; floats are taken as they are: remove "
            f'dequantise = "{ALPHAEARTH}"'
        )
    levels = np.arange(_LEAST, _MOST + 2) / _UNIT
    levels = (levels**2 * np.sign(levels)).astype(np.float32)
    levels[0] = levels[-1] = np.nan  # what is masked, and what is not given
    codes = np.where(given, stored, _MOST + 1).astype(np.int16) - _LEAST
    vectors = levels[codes]
    vectors[(codes == 0).all(axis=1)] = MASKED
    return vectors


def scaled(
    stored: np.ndarray, scale: np.ndarray | float, column: str, ids: np.ndarray, where: str
) -> np.ndarray:
    """(n, p) whole numbers times their scale, in the type of `stored`.

    Args:
        scale: of all rows, or (n,) of each; NaN where there is no vector.
        column: that it comes from.

    Raises:
        InputError: A scale is not above 0.
    """
    if np.ndim(scale):
        bad = np.flatnonzero(~(np.isnan(scale) | (scale > 0)))
        if len(bad):
            raise InputError(
                f"{where}: column {quote(column)} has {counted(len(bad), 'scale')} not above 0, "
                f"first {scale[bad[0]]:g} at id {quote(ids[bad[0]])}; correct them, or leave them "
                "empty where there is no vector"
            )
        scale = scale[:, None]
    return stored * np.asarray(scale, stored.dtype)
