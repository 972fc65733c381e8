"""Sums over rows of embeddings' columns, a tile of rows at a time and group by group.

Axes: n rows, p columns of an embedding, q of all that are summed, g groups of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ecjax import blas
from ecjax.gram import is_constant
from ecjax.similarity import Moments

TILE = 4096  # rows


def tiles(blocks: Sequence[np.ndarray], rows: np.ndarray, tile: int) -> Iterator[list[np.ndarray]]:
    """Some rows of blocks (n, p) in float64, so many at a time."""
    for start in range(0, len(rows), tile):
        yield [x[rows[start : start + tile]].astype(np.float64) for x in blocks]


def moments_of(
    blocks: Sequence[np.ndarray],
    groups: Sequence[np.ndarray],
    columns: Callable[[list[np.ndarray]], Sequence[np.ndarray]],
    tile: int,
) -> list[Moments]:
    """Moments of each group of rows of what a function makes of a tile of all blocks.

    Args:
      groups: row numbers of each.
      columns: from a tile of each block to arrays (m, ·), of which the columns are taken side by
        side.
    """
    found = []
    for rows in groups:
        sums = products = None
        for tile_of in tiles(blocks, rows, tile):
            own = np.ascontiguousarray(np.concatenate(columns(tile_of), axis=1))
            if sums is None:
                q = own.shape[1]
                sums, products = np.zeros(q), np.zeros((q, q))
            sums += own.sum(axis=0)
            blas.add_gram(products, own)
        lower = np.tril(products)
        found.append(Moments(len(rows), sums, lower + np.tril(lower, -1).T))
    return found


def total_of(parts: Sequence[Moments]) -> Moments:
    """Of the rows of all parts."""
    return Moments(*(sum(own[1:], start=own[0]) for own in zip(*parts, strict=True)))


def unit_rows(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (m, p) centred and scaled to length 1, and (m,) which are constant, and so zeros."""
    p = x.shape[1]
    mean = x.mean(axis=1)
    centred = x - mean[:, None]
    centred -= centred.mean(axis=1)[:, None]  # what rounding left in the mean
    squares = np.einsum("ij,ij->i", centred, centred)
    constant = np.asarray(is_constant(mean, squares / p, p))
    length = np.sqrt(np.where(constant, 1, squares))
    return np.where(constant[:, None], 0, centred / length[:, None]), constant


def centres(x: np.ndarray, tile: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Means (p,) of columns and of unit rows, and how many rows are constant."""
    raw, unit, constant = np.zeros(x.shape[1]), np.zeros(x.shape[1]), 0
    for (own,) in tiles([x], np.arange(len(x)), tile):
        z, flat = unit_rows(own)
        raw += own.sum(axis=0)
        unit += z.sum(axis=0)
        constant += int(flat.sum())
    return raw / len(x), unit / len(x), constant


def without(moments: Moments, columns: np.ndarray) -> Moments:
    """Moments in which the columns that are marked (q,) are zero."""
    keep = np.where(columns, 0.0, 1.0)
    return Moments(moments.count, moments.sums * keep, moments.products * keep * keep[:, None])


def constant_columns(total: Moments, origin: np.ndarray) -> np.ndarray:
    """(q,) which columns are constant but for rounding; origin (q,) that sums are about."""
    mean = origin + total.sums / total.count
    return np.asarray(is_constant(mean, np.diagonal(total.centred) / total.count, total.count))
