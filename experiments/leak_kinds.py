"""What `planted_leaks.py` plants: one more column of features that tells what no feature may.

Axes: n rows, p columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd


class Rows(NamedTuple):
    """A table that is clean, and what is known of its rows.

    Attributes:
      name: of the table.
      vectors: (n, p) features.
      ids: (n,) whole numbers.
      lat, lon: (n,) degrees.
      y: (n,) numbers, or text for classes.
      source: (n,) text, where a row's label is from.
    """

    name: str
    vectors: np.ndarray
    ids: np.ndarray
    lat: np.ndarray
    lon: np.ndarray
    y: np.ndarray
    source: np.ndarray

    @property
    def classes(self) -> bool:
        return self.y.dtype == object


class Leak(NamedTuple):
    """A column that is planted.

    Attributes:
      kind: as the table of results calls it.
      column: (n,) or (n, 2).
      name: of the column; None: as the others are named.
      ids: (n,) text that the ids are written as; None: as they are.
      known: whether the task names the column of sources as its group.
      another: (n,) the target of another task on the same rows.
    """

    kind: str
    column: np.ndarray
    name: str | None = None
    ids: np.ndarray | None = None
    known: bool = False
    another: np.ndarray | None = None


def leaks_of(rows: Rows, rng: np.random.Generator) -> Iterator[Leak]:
    """Everything that is planted into one table."""
    yield from _ids(rows, rng)
    yield from _places(rows, rng)
    yield from _sources(rows, rng)
    yield from (_classes if rows.classes else _targets)(rows, rng)


def _noisy(values: np.ndarray, r: float, rng: np.random.Generator) -> np.ndarray:
    """A copy that correlates by r with the values."""
    noise = np.sqrt(1 / r**2 - 1) * np.std(values)
    return values + noise * rng.normal(size=len(values))


def _ids(rows: Rows, rng: np.random.Generator) -> Iterator[Leak]:
    n = len(rows.ids)
    for name in ("id", "ID", "index"):
        yield Leak("id, by its name", rows.ids, name)
    yield Leak("id, renamed", rows.ids)
    yield Leak("id, renamed", np.sqrt(rows.ids - rows.ids.min()))
    text = np.array([f"place-{i}" for i in rows.ids], object)
    order = np.argsort(np.argsort(text))
    yield Leak("rank of ids that are text", order, ids=text)
    yield Leak("number in ids that are text", rows.ids, ids=text)
    yield Leak("id with noise, r > 0.999", _noisy(rows.ids, 0.9999, rng))
    yield Leak("id with noise, r > 0.999", _noisy(rows.ids, 0.9995, rng))
    yield Leak("row number", np.arange(n))
    yield Leak("row number", -3.5 * np.arange(n) + 7)
    yield Leak("row number with noise, r > 0.999", _noisy(np.arange(n), 0.9995, rng))


def _places(rows: Rows, rng: np.random.Generator) -> Iterator[Leak]:
    lat, lon = np.radians(rows.lat), np.radians(rows.lon)
    yield Leak("coordinate", rows.lat, "latitude")
    yield Leak("coordinate", rows.lat)
    yield Leak("coordinate in other units", lon)
    yield Leak("coordinate in other units", np.log(np.tan(np.pi / 4 + lat / 2)))  # of Mercator
    yield Leak("coordinates turned or mixed", rows.lat + rows.lon)
    turn = rng.uniform(0.2, 1.3)
    yield Leak("coordinates turned or mixed", np.cos(turn) * rows.lat - np.sin(turn) * rows.lon)
    yield Leak("coordinates turned or mixed", np.cos(lat) * np.cos(lon))
    yield Leak("coordinate with noise, r > 0.999", _noisy(rows.lat, 0.9995, rng))
    yield Leak("coordinate with noise, r > 0.999", _noisy(rows.lon, 0.9995, rng))


def _sources(rows: Rows, rng: np.random.Generator) -> Iterator[Leak]:
    """One-hot of the source and its code, which the task may name as its group or not."""
    codes, names = pd.factorize(rows.source, sort=True)
    largest = np.argsort(-np.bincount(codes))
    for known in (True, False):
        how = "its column named" if known else "its column not named"
        for code in largest[:2]:
            yield Leak(f"one-hot of the source, {how}", (codes == code) * 1.0, known=known)
        numbers = rng.permutation(len(names))[codes]
        yield Leak(f"code of the source, {how}", numbers, known=known)


def _targets(rows: Rows, rng: np.random.Generator) -> Iterator[Leak]:
    y = rows.y
    z = (y - y.mean()) / y.std()
    yield Leak("target", y)
    yield Leak("target", -2 * y + 5, "height_2")
    yield Leak("monotone copy of the target", np.exp(z / 3))
    yield Leak("monotone copy of the target", np.cbrt(z))
    yield Leak("monotone copy of the target", np.argsort(np.argsort(y)))
    for r in (0.9999, 0.9995, 0.9991):
        yield Leak("target with noise, r > 0.999", _noisy(y, r, rng))
    yield Leak("monotone copy with noise", _noisy(np.exp(z / 3), 0.9995, rng))
    yield Leak("target with noise, r = 0.995", _noisy(y, 0.995, rng))
    yield Leak("target with noise, r = 0.95", _noisy(y, 0.95, rng))
    order = np.argsort(np.argsort(y)) / len(y)
    parts = rng.permutation(7)[np.minimum((7 * order).astype(int), 6)]
    yield Leak("target's ranges in another order", parts + (7 * order) % 1)
    yield Leak("target in 10 steps", np.floor(10 * order))
    category = rows.source
    mean = pd.Series(y).groupby(category).transform("mean").to_numpy()
    count = pd.Series(y).groupby(category).transform("size").to_numpy()
    yield Leak("target's mean per category", mean)
    yield Leak("target's mean per category", (mean - mean.mean()) / mean.std())
    smooth = (count * mean + 10 * y.mean()) / (count + 10)
    yield Leak("target's mean per category, shrunk", smooth)
    yield Leak("target's mean, its own row left out", (count * mean - y) / np.maximum(count - 1, 1))
    half = rng.normal(size=len(y)) * y.std()
    yield Leak("target split over two columns", np.stack([half, y - half], axis=1))
    other = _noisy(y, 0.7, rng)
    yield Leak("target of another task", other, another=other)
    yield Leak("column that the study does not name", other)


def _classes(rows: Rows, rng: np.random.Generator) -> Iterator[Leak]:
    codes, names = pd.factorize(rows.y, sort=True)
    n, c = len(codes), len(names)
    own = rng.permutation(c)
    yield Leak("code of the class", codes)
    yield Leak("code of the class", own[codes] + 0.5 * rng.integers(0, 2, n))
    yield Leak("indicator of a class", (codes == 1) * 1.0)
    for noise in (0.01, 0.1):
        yield Leak("code of the class with noise", own[codes] + noise * rng.normal(size=n))
    wrong = rng.random(n)
    yield Leak("code of the class, 1 % wrong", np.where(wrong < 0.01, rng.integers(0, c, n), codes))
    yield Leak("code of the class, 5 % wrong", np.where(wrong < 0.05, rng.integers(0, c, n), codes))
    yield Leak("indicator with noise, r > 0.999", _noisy((codes == 2) * 1.0, 0.9995, rng))
    yield Leak("indicator, 2 % wrong", ((codes == 2) ^ (wrong < 0.02)) * 1.0)
    for code in (0, 1):
        share = pd.Series(codes == code).groupby(rows.source).transform("mean").to_numpy()
        yield Leak("share of a class per category", share)
    other = rng.permutation(5)[codes % 5] * 1.0
    yield Leak("target of another task", other, another=other)
