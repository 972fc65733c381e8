"""Strata of a task's rows: the values of a column, or bins of a column of numbers.

A study says which, as in `strata = { climate = "values", elevation = 4, lat = [-90, 0, 90] }`: each
value its own stratum; so many bins of about as many rows each; or bins between the edges given.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ecjax import keys
from ecjax.errors import InputError, counted, listing, quote, shown
from ecjax.values import class_target, regression_target

VALUES = "values"
MOST = 200  # strata of one column
How = str | int | tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Strata:
    """What divides the rows of a task.

    Attributes:
      labels: of the c strata, in their order.
      codes: (n,) 0 … c − 1, −1 of a row that is in none.
    """

    labels: tuple[str, ...]
    codes: np.ndarray

    def at(self, rows: np.ndarray) -> Strata:
        """Of some of the rows, by their numbers or a mask."""
        return Strata(self.labels, self.codes[rows])


def checked(given: Any, where: str) -> How:
    """How a study says that a column makes strata.

    Raises:
      InputError: it is neither "values", nor a number of bins, nor edges.
    """
    if given == VALUES:
        return VALUES
    if isinstance(given, int) and not isinstance(given, bool) and 2 <= given <= MOST:
        return given
    numbers = isinstance(given, (list, tuple)) and all(
        isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x) for x in given
    )
    if numbers and len(given) > 1 and all(a < b for a, b in itertools.pairwise(given)):
        return tuple(map(float, given))
    raise InputError(
        f'{where} is {shown(given)}; give "values" (each value its own), a number of bins from 2 '
        f"to {MOST}, or their edges in rising order, as in [0, 10, 20]"
    )


def all_checked(given: Any, where: str) -> dict[str, How]:
    """The key `strata` of a task: column → how it makes strata."""
    if not isinstance(given, dict):
        raise InputError(
            f'{where} must be a table of columns, as in {{ climate = "values", elevation = 4 }}, '
            f"not {keys.type_name(given)}"
        )
    return {name: checked(how, f"{where}: {quote(name)}") for name, how in given.items()}


def strata_of_columns(
    columns: Mapping[str, tuple[pd.Series, How]], ids: np.ndarray, where: str
) -> dict[str, Strata]:
    """Strata by each of some columns; errors start with `where` and the column."""
    return {
        name: strata_of(values, how, ids, f"{where}: strata {quote(name)}")
        for name, (values, how) in columns.items()
    }


def strata_of(values: pd.Series, how: How, ids: np.ndarray, where: str) -> Strata:
    """Deals rows to strata.

    Args:
      values: (n,) of the column, of the rows that are used.
      where: what errors start with.

    Raises:
      InputError: the column holds no numbers for bins, too many different values, or too many equal
        ones.
    """
    values = values.reset_index(drop=True)
    if how == VALUES:
        return _of_values(values, ids, where)
    if not pd.api.types.is_numeric_dtype(values.dtype) and values.dropna().map(type).eq(str).any():
        raise InputError(
            f'{where} holds text, of which there are no bins; give "values", each its own stratum'
        )
    numbers = regression_target(values, ids, where)
    known = numbers[~np.isnan(numbers)]
    if not len(known):
        raise InputError(f"{where} holds no value; name another column, or leave it out")
    edges = how if isinstance(how, tuple) else _quantiles(known, how, where)
    return _bins(numbers, edges)


def _of_values(values: pd.Series, ids: np.ndarray, where: str) -> Strata:
    if pd.api.types.is_float_dtype(values.dtype):
        given = values.dropna()
        if len(given) and (given % 1 != 0).any():
            raise InputError(
                f"{where} holds numbers that are not whole, so hardly two are alike; give a number "
                "of bins, or their edges"
            )
    codes, labels = class_target(values, ids, where)
    if not labels:
        raise InputError(f"{where} holds no value; name another column, or leave it out")
    if len(labels) > MOST:
        raise InputError(
            f"{where} holds {counted(len(labels), 'different value')} ({listing(labels)}), more "
            f"than {MOST}; give a number of bins, or their edges, or name another column"
        )
    return Strata(labels, codes.astype(np.int64))


def _quantiles(known: np.ndarray, bins: int, where: str) -> tuple[float, ...]:
    edges = np.quantile(known, np.linspace(0, 1, bins + 1))
    if len(np.unique(edges)) <= bins:
        raise InputError(
            f"{where} holds too many equal values to be divided into {bins} bins of about as many "
            "rows each; give fewer bins, or their edges"
        )
    return tuple(edges.tolist())


def _bins(numbers: np.ndarray, edges: Sequence[float]) -> Strata:
    """A bin holds its lower edge, and the last one its upper edge too."""
    codes = np.searchsorted(edges, numbers, side="right") - 1
    codes = np.where(numbers == edges[-1], len(edges) - 2, codes)
    outside = np.isnan(numbers) | (codes < 0) | (codes > len(edges) - 2)
    return Strata(_bin_labels(edges), np.where(outside, -1, codes))


def _bin_labels(edges: Sequence[float]) -> tuple[str, ...]:
    """ "0 to 12.5": as few digits as keep the edges apart, at least four."""
    for digits in range(4, 18):
        texts = [f"{edge:.{digits}g}" for edge in edges]
        if len(set(texts)) == len(texts):
            break
    return tuple(f"{low} to {high}" for low, high in itertools.pairwise(texts))
