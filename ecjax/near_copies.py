"""Columns that nearly are, or alone tell, something else: copies with noise, bent, or mixed.

Each test has a screen in some of the matrix's rows, and is made on all rows for the few columns
that pass it.

Axes: n rows, p columns, r rows of the screen, q references.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ecjax.leaks import columns_standardised, ranks, ranks_standardised, standardised

SCREEN_ROWS = 256
SLACK = 0.05  # that a measure may be smaller on the screen's rows
# Without the rows where either is most extreme, of which a few may agree by chance.
EXTREME_SHARE, STILL_R = 0.01, 0.9
# What other columns leave unexplained of a column must be so many times what the reference leaves.
STRANGER = 3.0
EXPLAINED = 1e-4  # that other columns leave of one that they can make up
RIDGE_ROWS = 1000
PENALTIES = 10.0 ** np.arange(-8, 3)


class Table(NamedTuple):
    """Features: all of them, and some of their rows.

    Attributes:
      matrix: (n, p) finite, float32 or float64.
      rows: (r,) those of the screen, in a random order, so that rows of equal value are in none.
      screen: (r, p) float64.
      line, order: (r, p) its columns, and their ranks, centred and of unit norm; NaN if constant.
    """

    matrix: np.ndarray
    rows: np.ndarray
    screen: np.ndarray
    line: np.ndarray
    order: np.ndarray


class Likeness(NamedTuple):
    """Column j resembles `what` by so much (1: entirely); a share `left` of its variance is not."""

    j: int
    what: str
    measure: float
    left: float


def table_of(matrix: np.ndarray) -> Table:
    """With a screen of evenly spaced rows."""
    n = len(matrix)
    rows = np.linspace(0, n - 1, min(n, SCREEN_ROWS)).astype(np.int64)
    rows = np.random.default_rng(0).permutation(rows)
    screen = matrix[rows].astype(np.float64)
    return Table(matrix, rows, screen, columns_standardised(screen), ranks_standardised(screen))


def copies(table: Table, references: Mapping[str, np.ndarray], least: float) -> list[Likeness]:
    """Columns whose Pearson or Spearman correlation with a reference exceeds `least` in size.

    A Pearson correlation must nearly hold without the most extreme rows too: of heavy tails, one
    row may make all of it.

    Args:
      references: each (n,) float64.
    """
    if not references:
        return []
    whats = list(references)
    few = np.stack([references[what][table.rows] for what in whats], axis=1)  # (r, q)
    line = np.abs(columns_standardised(few).T @ table.line)  # (q, p)
    order = np.abs(ranks_standardised(few).T @ table.order)
    found = []
    for i, j in np.argwhere(np.fmax(line, order) > least - SLACK):  # NaN: constant on the screen
        column, reference = table.matrix[:, j].astype(np.float64), references[whats[i]]
        r = max(_spearman(column, reference), _sound_pearson(column, reference))
        if r > least:
            found.append(Likeness(int(j), whats[i], r, 1 - r**2))
    return found


def _spearman(column: np.ndarray, reference: np.ndarray) -> float:
    return abs(float(standardised(ranks(column)) @ standardised(ranks(reference))))


def _sound_pearson(column: np.ndarray, reference: np.ndarray) -> float:
    """Pearson's r in size; 0 where the most extreme rows made it."""
    one, other = standardised(column), standardised(reference)
    few = max(2, int(EXTREME_SHARE * len(one)))
    usual = np.ones(len(one), bool)
    for values in (one, other):
        usual[np.argpartition(-np.abs(values), few)[:few]] = False
    still = abs(float(standardised(one[usual]) @ standardised(other[usual])))
    return abs(float(one @ other)) if still > STILL_R else 0.0


def telling(table: Table, references: Mapping[str, np.ndarray], least: float) -> list[Likeness]:
    """Columns of which a reference is nearly a function, told by more than a share `least`.

    Along a column that tells the reference, its value hardly changes from row to row: the told
    share of its variance is 1 − Σ(y_(i+1) − y_i)²/(2Σ(y_i − ȳ)²) (von Neumann's ratio; on ranks it
    is kin to the ξ of S. Chatterjee, "A new coefficient of correlation", 2021). The larger one of
    the values' and the ranks' is taken.
    """
    order = np.argsort(table.screen, axis=0, kind="stable")  # (r, p)
    found = []
    for what, values in references.items():
        forms = values, ranks(values)
        told = np.maximum(*(_told(form[table.rows], order) for form in forms))
        for j in np.flatnonzero(told > least - SLACK):
            share = max(float(_told(*_along(table.matrix[:, j], form))[0]) for form in forms)
            if share > least:
                found.append(Likeness(int(j), what, share, 1 - share))
    return found


def _told(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(p,) shares of the variance of values (r,) that each order of them (r, p) tells."""
    spread = ((values - values.mean()) ** 2).sum()
    if not spread:
        return np.zeros(order.shape[1])
    return 1 - (np.diff(values[order], axis=0) ** 2).sum(axis=0) / (2 * spread)


def _along(column: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (n,) in a random order, and the order (n, 1) of a column then."""
    shuffled = np.random.default_rng(0).permutation(len(column))
    return values[shuffled], np.argsort(column[shuffled], kind="stable")[:, None]


def telling_class(table: Table, labels: np.ndarray, what: str, least: float) -> list[Likeness]:
    """Columns along which the class changes too rarely: by less than 1 − `least` of chance.

    Args:
      labels: (n,) codes.
    """
    order = np.argsort(table.screen, axis=0, kind="stable")
    found = []
    for j in np.flatnonzero(_kept(labels[table.rows], order) > 2 * least - 1 - SLACK):
        share = float(_kept(*_along(table.matrix[:, j], labels))[0])
        if share > least:
            found.append(Likeness(int(j), what, share, 1 - share))
    return found


def _kept(labels: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(p,) 1 − changes of the labels (r,) along each order (r, p), as a share of chance's.

    Not counted are as many changes as there must be."""
    rows = np.unique(labels, return_counts=True)[1]
    n, c = len(labels), len(rows)
    by_chance = n * (1 - ((rows / n) ** 2).sum())
    if by_chance < c:
        return np.zeros(order.shape[1])
    ordered = labels[order]
    changes = (ordered[1:] != ordered[:-1]).sum(axis=0) - (c - 1)  # but for the least
    return 1 - changes / by_chance


def mixed(
    table: Table, lat: np.ndarray, lon: np.ndarray, what: str, least: float
) -> list[Likeness]:
    """Columns that are linear in latitude, longitude and the place's vector in space, with an R²
    beyond `least`: coordinates in other units, turned, or as x, y, z."""
    phi, lam = np.radians(lat), np.radians(lon)
    sphere = np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)
    base = np.stack([np.ones_like(phi), phi, lam, *sphere], axis=1)  # (n, 6)
    screened = _left(base[table.rows], table.line)
    found = []
    for j in np.flatnonzero(screened < 10 * (1 - least)):
        left = float(_left(base, standardised(table.matrix[:, j])[:, None])[0])
        if left < 1 - least:
            found.append(Likeness(int(j), what, 1 - left, left))
    return found


def _left(base: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(p,) of the variance of standardised columns (n, p), what is not linear in a base (n, 6)."""
    basis, scale, _ = np.linalg.svd(base, full_matrices=False)
    basis = basis[:, scale > 1e-10 * scale[0]]
    return ((columns - basis @ (basis.T @ columns)) ** 2).sum(axis=0)


def strangers(matrix: np.ndarray, alike: Sequence[Likeness]) -> list[Likeness]:
    """Those that resemble their reference more than other columns explain them.

    All columns of a location encoder are smooth functions of the place: in a small region one or
    the other nearly is the latitude, and the others could be put together to make it.
    """
    suspected = sorted({one.j for one in alike})
    if not suspected:
        return []
    p = matrix.shape[1]
    others = np.setdiff1d(np.arange(p), suspected)
    if len(others) < p / 2:  # it is the table that is so; each then is held against all others
        left = dict(enumerate(_unexplained_by_others(matrix)))
    else:
        left = dict(zip(suspected, _unexplained(matrix, suspected, others), strict=True))
    return [one for one in alike if left[one.j] > STRANGER * max(one.left, EXPLAINED)]


def _unexplained(matrix: np.ndarray, wanted: Sequence[int], others: np.ndarray) -> np.ndarray:
    """(c,) of the variance of c columns, what ridge on other columns leaves on held-out rows.

    The least over penalties; half of the rows, or of some, are trained on.
    """
    if not len(others):
        return np.ones(len(wanted))
    trained, held_out = _halves(matrix)
    (x, y), (x_test, y_test) = ((a[:, others], a[:, wanted]) for a in (trained, held_out))
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    fitted, held = u.T @ y, x_test @ vt.T  # (h, c), (r, h)
    left = np.ones(len(wanted))
    for penalty in PENALTIES * len(x):
        missed = y_test - held @ ((s / (s**2 + penalty))[:, None] * fitted)
        left = np.fmin(left, _share(missed, y_test))
    return left


def _unexplained_by_others(matrix: np.ndarray) -> np.ndarray:
    """(p,) as `_unexplained` of each column by all others.

    With Θ = (XᵀX + λI)⁻¹, ridge on all columns but j leaves (XΘ)_j / Θ_jj of column j, by the
    inverse of a matrix in blocks; X = USVᵀ gives λΘ = V λ/(S² + λ) Vᵀ + (I - VVᵀ).
    """
    x, x_test = _halves(matrix)
    _, s, vt = np.linalg.svd(x, full_matrices=False)
    held, inside = x_test @ vt.T, (vt**2).sum(axis=0)
    outside, beyond = x_test - held @ vt, np.maximum(1 - inside, 0)
    left = np.ones(matrix.shape[1])
    for penalty in PENALTIES * len(x):
        kept = penalty / (s**2 + penalty)
        missed = ((held * kept) @ vt + outside) / (kept @ vt**2 + beyond)
        left = np.fmin(left, _share(missed, x_test))
    return left


def _halves(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half of the rows, or of some, and the others, scaled by the former; constants are 0."""
    rows = np.random.default_rng(0).permutation(len(matrix))[:RIDGE_ROWS]
    train, test = (matrix[part].astype(float) for part in np.array_split(rows, 2))
    mean, spread = train.mean(axis=0), train.std(axis=0)
    scale = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 0)
    return (train - mean) * scale, (test - mean) * scale


def _share(missed: np.ndarray, of: np.ndarray) -> np.ndarray:
    """(c,) sums of squares of columns (r, c), as shares; NaN of constants."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (missed**2).sum(axis=0) / (of**2).sum(axis=0)
