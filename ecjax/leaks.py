"""The leak guard: finds ids, row numbers, coordinates and targets among feature columns.

Arrays in, findings out; files and names of tables are the caller's. Every test has a cheap screen
in a hundred or so of the matrix's rows, and an exact float64 check over all rows of the few columns
that pass it.

Axes: n rows, p columns, q references, c classes.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np

# A column whose correlation with a reference exceeds this in size is that reference in disguise.
LEAK_R = 1 - 1e-6
# Names that no feature column may bear, whatever the tables call their own columns.
FORBIDDEN_NAMES = frozenset(
    ("id", "index", "row", "fid", "lat", "lon", "latitude", "longitude", "lng")
)
# Below so many rows two unrelated columns may agree by chance: three points nearly lie on a line
# often enough, and one of 12! orders is the same as another with p = 2e-9.
_PEARSON_ROWS = 4
_SPEARMAN_ROWS = 12
_SCREEN_R = 0.98
_SCREEN_RANK_R = 0.98
_SCREEN_ROWS = 128
_EXTREME_ROWS = 2


@dataclasses.dataclass(frozen=True)
class Leak:
    """One finding: `column` is `what` in disguise, by a correlation of `r` (NaN: otherwise)."""

    column: str
    what: str
    r: float


def find_leaks(
    matrix: np.ndarray,
    columns: Sequence[str],
    references: Mapping[str, np.ndarray],
    labels: np.ndarray | None = None,
    names: Collection[str] = (),
    classes: Sequence[str] = (),
) -> list[Leak]:
    """Finds feature columns that are something other than features.

    A column is found by its name; by a Pearson or Spearman correlation with a reference beyond
    1 - 1e-6 in size; and, given labels, by such a correlation with one class's indicator or by
    having at most 2c distinct values of which each belongs to one class.

    Args:
        matrix: (n, p) finite features, float32 or float64.
        columns: The p names.
        references: What features must not be, each (n,); text is replaced by its rank.
        labels: (n,) class codes 0 … c-1, or None for regression.
        names: Further names (of ids, coordinates, targets) that no column may bear; upper and
            lower case are the same.
        classes: The c class names, for the findings' wording.

    Returns:
        The findings in the order of the columns, one per column.
    """
    forbidden = FORBIDDEN_NAMES | {name.lower() for name in names}
    found = {
        j: Leak(name, f"named like an id, coordinate or target ({name})", float("nan"))
        for j, name in enumerate(columns)
        if name.lower() in forbidden
    }
    n = len(matrix)
    numbers = {what: numbers_of(values) for what, values in references.items()}
    numbers = {what: values for what, values in numbers.items() if np.ptp(values) > 0} if n else {}
    indicators = {} if labels is None else indicators_of(labels, classes)
    if n >= _PEARSON_ROWS:
        rows = _screen_rows(n, {**numbers, **indicators})
        screen = matrix[rows]  # (r, p)
        candidates = _same_line(matrix, screen, rows, {**numbers, **indicators})
        if n >= _SPEARMAN_ROWS:
            candidates += _same_order(matrix, screen, rows, numbers)
        if labels is not None:
            candidates += _one_class_each(matrix, screen, labels)
        for j, what, r in candidates:
            found.setdefault(j, Leak(columns[j], what, r))
    return [found[j] for j in sorted(found)]


def numbers_of(values: np.ndarray) -> np.ndarray:
    """A reference as (n,) float64; text becomes the rank of its sorted order."""
    values = np.asarray(values)
    if values.dtype.kind in "iufb":
        return values.astype(np.float64)
    return np.unique(values.astype(str), return_inverse=True)[1].astype(np.float64)


def indicators_of(labels: np.ndarray, classes: Sequence[str]) -> dict[str, np.ndarray]:
    codes = np.unique(labels)
    if len(codes) < 2:
        return {}
    named = {code: classes[code] if len(classes) else code for code in codes}
    return {f"whether the class is {named[code]}": (labels == code) * 1.0 for code in codes}


def _screen_rows(n: int, references: Mapping[str, np.ndarray]) -> np.ndarray:
    """Evenly spaced rows, and those where a reference is smallest or largest.

    The extremes keep a reference that is the same nearly everywhere from being constant here.
    """
    rows = [np.linspace(0, n - 1, min(n, _SCREEN_ROWS)).astype(np.int64)]
    few = min(_EXTREME_ROWS, n)
    for values in references.values():
        rows.append(np.argpartition(values, few - 1)[:few])
        rows.append(np.argpartition(-values, few - 1)[:few])
    return np.unique(np.concatenate(rows))


def _same_line(
    matrix: np.ndarray, screen: np.ndarray, rows: np.ndarray, references: Mapping[str, np.ndarray]
) -> list[tuple[int, str, float]]:
    """(column, reference, Pearson's r) beyond LEAK_R."""
    if not references:
        return []
    whats = list(references)
    few = np.stack([references[what][rows] for what in whats], axis=1)  # (r, q)
    r = columns_standardised(few).T @ columns_standardised(screen)  # (q, p)
    # NaN: constant over the screen rows, over which no reference is, or too wild to tell.
    suspicious = ~(np.abs(r) < _SCREEN_R)
    scaled = {i: standardised(references[whats[i]]) for i in np.flatnonzero(suspicious.any(1))}
    found = []
    for j in np.flatnonzero(suspicious.any(axis=0)):
        column = standardised(matrix[:, j])
        for i in np.flatnonzero(suspicious[:, j]):
            exact = float(scaled[i] @ column)
            if abs(exact) > LEAK_R:
                found.append((int(j), whats[i], exact))
    return found


def columns_standardised(screen: np.ndarray) -> np.ndarray:
    """(r, p) columns centred and scaled to unit norm; NaN if constant."""
    columns = screen.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        columns -= columns.mean(axis=0)
        columns /= np.abs(columns).max(axis=0)  # so that squares neither overflow nor vanish
        return columns / np.sqrt(np.einsum("ij,ij->j", columns, columns))


def standardised(values: np.ndarray) -> np.ndarray:
    """(n,) values centred and scaled to unit norm in float64; zeros if constant."""
    values = values.astype(np.float64)
    if values.min() == values.max():
        return np.zeros_like(values)
    centred = values - values.mean()
    centred /= np.abs(centred).max()  # so that squares neither overflow nor vanish
    centred -= centred.mean()
    return centred / np.linalg.norm(centred)


def _same_order(
    matrix: np.ndarray,
    screen: np.ndarray,
    rows: np.ndarray,
    references: Mapping[str, np.ndarray],
) -> list[tuple[int, str, float]]:
    """(column, reference, Spearman's r) beyond LEAK_R."""
    if not references:
        return []
    few = np.stack([values[rows] for values in references.values()], axis=1)  # (r, q)
    r = ranks_standardised(few).T @ ranks_standardised(screen)  # (q, p)
    # NaN: constant over the screen rows, over which no reference is: not the same order.
    suspicious = np.abs(r) > _SCREEN_RANK_R
    found, whats = [], list(references)
    for i in np.flatnonzero(suspicious.any(axis=1)):
        reference = standardised(ranks(references[whats[i]]))
        for j in np.flatnonzero(suspicious[i]):
            exact = float(reference @ standardised(ranks(matrix[:, j])))
            if abs(exact) > LEAK_R:
                found.append((int(j), whats[i], exact))
    return found


def ranks_standardised(screen: np.ndarray) -> np.ndarray:
    """(r, p) ranks of the columns, centred and scaled to unit norm; NaN if constant."""
    centred = ranks(screen)
    centred -= centred.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return centred / np.sqrt(np.einsum("ij,ij->j", centred, centred))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks 0 … n-1 along the first axis, ties averaged, as float64; values (n,) or (n, p).

    As scipy.stats.rankdata less 1, without importing scipy.stats, which takes most of a second.
    """
    n = len(values)
    columns = np.ascontiguousarray(values.reshape(n, -1).T)  # each in one place, to sort faster
    order = np.argsort(columns, axis=1)
    ordered = np.take_along_axis(columns, order, axis=1)
    place = np.arange(n, dtype=float)
    differs = ordered[:, 1:] != ordered[:, :-1]
    found = np.empty(columns.shape)
    np.put_along_axis(found, order, place[None], axis=1)
    for j in np.flatnonzero(~differs.all(axis=1)):  # few columns have ties, as a rule
        first, last = np.zeros(n), np.full(n, place[-1])
        first[1:] = np.where(differs[j], place[1:], 0)
        last[:-1] = np.where(differs[j], place[:-1], place[-1])
        first = np.maximum.accumulate(first)
        last = np.minimum.accumulate(last[::-1])[::-1]
        found[j, order[j]] = (first + last) / 2
    return found.T.reshape(values.shape)


def _one_class_each(
    matrix: np.ndarray, screen: np.ndarray, labels: np.ndarray
) -> list[tuple[int, str, float]]:
    """(column, what, NaN) where each of at most 2c distinct values belongs to one class."""
    found = []
    c = len(np.unique(labels))
    if c < 2 or len(matrix) <= 4 * c:
        return found
    ordered = np.sort(screen, axis=0)
    distinct = 1 + (ordered[1:] > ordered[:-1]).sum(axis=0)  # (p,)
    for j in np.flatnonzero(distinct <= 2 * c):
        values, inverse = np.unique(matrix[:, j], return_inverse=True)
        if not 2 <= len(values) <= 2 * c:
            continue
        lowest = np.full(len(values), np.iinfo(np.int64).max)
        highest = np.full(len(values), -1)
        np.minimum.at(lowest, inverse, labels)
        np.maximum.at(highest, inverse, labels)
        if (lowest == highest).all():
            found.append((int(j), "a code of the class", float("nan")))
    return found
