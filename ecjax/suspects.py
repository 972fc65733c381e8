"""Suspected leaks: feature columns that a person should look at before believing a score.

`leaks` refuses what is an id, a place or a target beyond doubt. Here is what merely looks like one:
a noisy or bent copy, a mean of the target, a code of where a row came from. Some may be features
after all, so they are told and not refused. A column is suspected only where it is a stranger among
the others, because all columns of a location encoder resemble the coordinates, and all of a
quantised embedding have few values.

Axes: n rows, p columns, c classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ecjax import codes, near_copies
from ecjax.leaks import indicators_of
from ecjax.near_copies import Likeness, Table

FEWEST_ROWS = 30  # below which a thousand columns of noise may look like anything
# Of the tables released with the paper no column comes near these: correlations of 0.88 with a
# coordinate, 0.68 with a row number and 0.55 with the target, 0.30 of it told, 0.17 of the class.
POSITION_R = 0.999
TARGET_R = 0.99
TOLD = 0.98
CLASS_TOLD = 0.95
PLACE_R2 = 0.9999

PLACES = "latitude, longitude"
POSITION = "nearly an id, row number or coordinate"
PLACE = "nearly a mix of coordinates"
TARGET = "tells a target by itself"
CLASS = "tells the class by itself"
MEAN = "means of a target"
ORDER = "a code that follows ids or rows"
SOURCE = "a code of a group or stratum"
CODE = "a code that tells the target"
KINDS = (TARGET, CLASS, POSITION, PLACE, MEAN, SOURCE, ORDER, CODE)


@dataclasses.dataclass(frozen=True)
class References:
    """What features should not be, of n rows; made once for a task, and for all its embeddings.

    Attributes:
      orders: ids (of text, the ranks: `leaks.numbers_of`) and row numbers, each (n,).
      coordinates: each (n,); `lat` and `lon` of them those in degrees, or None.
      targets: numbers, each (n,): of this task, or of others.
      labels: (n,) class codes 0 … c-1, or None.
      classes: the c names.
      sources: what rows are grouped by, such as where their labels are from: codes, each (n,).
      names: that no column should bear.
    """

    orders: Mapping[str, np.ndarray]
    coordinates: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    lat: np.ndarray | None = None
    lon: np.ndarray | None = None
    targets: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    labels: np.ndarray | None = None
    classes: Sequence[str] = ()
    sources: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    names: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Suspect:
    """One finding: a column, one of KINDS, what it resembles, and how much (1: entirely)."""

    column: str
    kind: str
    what: str
    measure: float


def find_suspects(
    matrix: np.ndarray, columns: Sequence[str], references: References
) -> list[Suspect]:
    """Finds columns that may be something other than features.

    Args:
      matrix: (n, p) finite features, float32 or float64.
      columns: the p names.

    Returns:
      The findings in the order of the columns, one for each: the first of KINDS that fits.
    """
    if len(matrix) < FEWEST_ROWS:
        return []
    table = near_copies.table_of(matrix)
    alike = _resembling(table, references)
    strange = set(near_copies.strangers(matrix, [one for own in alike.values() for one in own]))
    found = {kind: [one for one in own if one in strange] for kind, own in alike.items()}
    found |= _coded(codes.odd_columns(table), references)
    first: dict[int, Suspect] = {}
    for kind in KINDS:
        for one in found.get(kind, ()):
            first.setdefault(one.j, Suspect(columns[one.j], kind, one.what, one.measure))
    return [first[j] for j in sorted(first)]


def _resembling(table: Table, given: References) -> dict[str, list[Likeness]]:
    indicators = {} if given.labels is None else indicators_of(given.labels, given.classes)
    found = {
        TARGET: near_copies.copies(table, given.targets, TARGET_R)
        + near_copies.telling(table, given.targets, TOLD),
        CLASS: near_copies.copies(table, indicators, POSITION_R),
        POSITION: near_copies.copies(table, {**given.orders, **given.coordinates}, POSITION_R),
    }
    if given.labels is not None:
        found[CLASS] += near_copies.telling_class(table, given.labels, "the class", CLASS_TOLD)
    if given.lat is not None:
        found[PLACE] = near_copies.mixed(
            table, given.lat, given.lon, "latitude, longitude", PLACE_R2
        )
    return found


def _coded(odd: list[codes.Column], given: References) -> dict[str, list[Likeness]]:
    indicators = {} if given.labels is None else indicators_of(given.labels, given.classes)
    found = {
        MEAN: codes.means(odd, {**given.targets, **indicators}),
        SOURCE: codes.functions(odd, given.sources),
        ORDER: codes.blocks(odd, given.orders),
        CODE: codes.telling(odd, given.targets),
    }
    if given.labels is not None:
        found[CODE] += codes.telling_class(odd, given.labels, "the class")
    return found
