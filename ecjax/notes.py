"""What was noticed about a task's rows without being wrong: noted, shown, never repaired."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ecjax import sphere
from ecjax.errors import counted, quote

NEAR_KM = 1.0
TASK_TABLE = "task table"
SUSPECTED = "suspected leak"  # what a reason begins with that then says the kind
IN_LOG1P = "scores are of log(1 + target)"
CONSTANT_IN_FOLD = "column constant in a fold's training rows"
NEAR_IN_TRAINING = f"rows nearer than {NEAR_KM:g} km to one that their fold trains on"
APART = "far from all others"  # of a target's value that may stand for none
SENTINELS = (-999.0, -9999.0, -99999.0, -32768.0, 9999.0, 99999.0)
_HASHED_COLUMNS = 8

# What a note says, after its count of the things in brackets.
_WORDS = {
    "id absent": ("row", "left out: the id is absent from the table"),
    "id without label": ("row", "of the table not used: the task has no such id"),
    "missing value": ("row", "left out: the vector is null or has a missing value"),
    "masked row": ("row", "left out: the whole vector is one fill value"),
    "missing target": ("row", "left out: no value of a target"),
    "declared missing": ("row", "left out: a target has a value that stands for none"),
    "constant column": ("column", "constant: weight 0"),
    CONSTANT_IN_FOLD: ("column", "constant in the rows that a fold trains on: weight 0 there"),
    "identical vectors": ("row", "with the same vector as another row"),
    "near neighbours": ("row", f"with another row nearer than {NEAR_KM:g} km"),
    NEAR_IN_TRAINING: ("row", f"scored by a fold that trains on a row nearer than {NEAR_KM:g} km"),
    "no stratum": ("row", "without a value or outside the edges: in no stratum"),
    "no region": ("row", "outside all regions: in none of the map's"),
    "few members": ("class", "with fewer members than folds: log-loss may be undefined"),
    IN_LOG1P: ("target", "taken as log(1 + target): scores are of that, predictions are not"),
    "leak allowed": ("column", "that looks like a leak, allowed by allow_leaks"),
}


@dataclasses.dataclass(frozen=True)
class Note:
    """One thing noticed: `count` rows, columns or classes, the `first` of them as text.

    `source` is the embedding's name or "task table"; `reason` a short fixed text.
    """

    task: str
    source: str
    reason: str
    count: int
    first: str


def note_rows(
    task: str, source: str, reason: str, rows: np.ndarray, ids: np.ndarray
) -> tuple[Note, ...]:
    """Returns a note on the marked rows (n,), or none where none is marked."""
    marked = np.flatnonzero(rows)
    if not len(marked):
        return ()
    return (Note(task, source, reason, len(marked), str(ids[marked[0]])),)


def shared_vectors(matrix: np.ndarray) -> np.ndarray:
    """Marks the rows (n,) of an (n, p) matrix whose vector another row has too, bit for bit."""
    n, p = matrix.shape
    bits = np.ascontiguousarray(matrix).view(f"u{matrix.itemsize}")
    few = np.linspace(0, p - 1, min(p, _HASHED_COLUMNS)).astype(int)
    odd = np.random.default_rng(0).integers(2**63, size=len(few), dtype=np.uint64) * 2 + 1
    # A hash of few columns finds the rows that may be alike; only those are compared in full.
    hashes = (bits[:, few].astype(np.uint64) * odd).sum(axis=1, dtype=np.uint64)
    candidates = np.flatnonzero(_repeated(hashes))
    whole = np.array([hash(bits[row].tobytes()) for row in candidates], np.int64)
    marked = np.zeros(n, bool)
    marked[candidates] = _repeated(whole)
    return marked


def near_neighbours(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Marks the rows (n,) with another row nearer than NEAR_KM; degrees in, great circles."""
    if len(lat) < 2:
        return np.zeros(len(lat), bool)
    places = sphere.unit_vectors(lat, lon)
    # The nearest is the row itself, or one at the same place.
    return np.isfinite(sphere.nearest(places, places, 2, NEAR_KM))


def constant_columns(matrix: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns the numbers of the columns of (n, p) in which these rows (m,) are all equal."""
    columns = np.arange(matrix.shape[1])
    # Most columns differ in their first rows already; only the others are looked at in full.
    for count in (8, 512, len(rows)):
        some = matrix[np.ix_(rows[:count], columns)]
        columns = columns[(some == some[0]).all(axis=0)]
    return columns


def notice_targets(
    task: str, targets: Sequence[str], y: np.ndarray, ids: np.ndarray
) -> tuple[Note, ...]:
    """Returns a note on each target of (n, t) that holds what usually stands for no value.

    Such a value is told where it lies further from all others than these from each other.
    """
    notes = ()
    for name, values in zip(targets, y.T, strict=True):
        for value in SENTINELS:
            others = values[values != value]
            if 0 < len(others) < len(values) and np.abs(others - value).min() > np.ptp(others):
                reason = f"with {value:g} as {quote(name)}, {APART}: if it stands for none, say "
                reason += f"missing = [{value:g}]"
                notes += note_rows(task, TASK_TABLE, reason, values == value, ids)
    return notes


def notice_vectors(
    task: str, source: str, columns: Sequence[str], matrix: np.ndarray, ids: np.ndarray
) -> tuple[Note, ...]:
    """Returns notes on identical vectors and constant columns of an (n, p) matrix."""
    notes = note_rows(task, source, "identical vectors", shared_vectors(matrix), ids)
    constant = constant_columns(matrix, np.arange(len(matrix)))
    if len(constant):
        first = columns[constant[0]]
        notes += (Note(task, source, "constant column", len(constant), first),)
    return notes


def in_words(note: Note) -> str:
    """Returns a note as one line of text, safe for a terminal."""
    source = note.source if note.source == TASK_TABLE else quote(note.source)
    return f"{source}: {what_in_words(note)}"


def what_in_words(note: Note) -> str:
    """Returns what a note says, without whose table it is about."""
    noun, meaning = _WORDS.get(note.reason, ("", note.reason))
    noun = "row" if APART in note.reason else noun
    if note.reason.startswith(SUSPECTED):
        noun, meaning = "column", note.reason.replace(SUSPECTED, "that may be a leak", 1)
    amount = counted(note.count, noun) if noun else f"{note.count:,}"
    first = f" (first: {quote(note.first)})" if note.first else ""
    return f"{amount} {meaning}{first}"


def _repeated(values: np.ndarray) -> np.ndarray:
    ordered = np.sort(values)
    return np.isin(values, ordered[1:][ordered[1:] == ordered[:-1]])
