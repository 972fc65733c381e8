"""Planted maps for `coverage.py`: residuals that are alike nearby, with and without an end.

Places lie on a map of some 2,000 km. Embedding a is independent noise that explains half of the
target; b is smooth and useless. Residuals are in part a Gaussian field whose correlation falls as
exp(−distance/range). Of `same` maps the fields are drawn once, and rows are new places on them: a
task is a map, with a truth of its own. Else every draw has new fields.

Axes: n rows, m places, t fields.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from planted import Drawn

PLACES = 4_000  # that rows are drawn from
SIDE = 9.0  # degrees from the middle of the map
KM = 111.2  # of a degree
SMOOTH = 100.0  # range of b, km
COLUMNS = 12  # of a and of b
FIELD = 0.6  # of the residuals' variance that is the field's


@dataclasses.dataclass(frozen=True)
class Map:
    """A planted world on a map, as `planted.World`.

    Attributes:
      rows: n.
      range_km: of the residuals' correlation.
      block_km: of the units of the intervals; 0: rows.
      same: whether all draws are of the same maps.
      tasks: fields of residuals in a draw.
      folds: of an evaluation.
    """

    rows: int = 800
    range_km: float = 100.0
    block_km: float = 0.0
    same: bool = False
    tasks: int = 20
    folds: int = 10
    classes: int = 0
    times: int = 1

    @property
    def arguments(self) -> dict:
        if not self.block_km:
            return {"bootstrap_unit": "row"}
        return {"bootstrap_unit": "block", "block_km": self.block_km}

    def draw(self, rng: np.random.Generator, rows: int) -> Drawn:
        of_fields = np.random.default_rng(7) if self.same else rng
        smooth = _root(SMOOTH) @ of_fields.standard_normal((PLACES, COLUMNS))
        fields = _root(self.range_km) @ of_fields.standard_normal((PLACES, self.tasks))
        directions = of_fields.standard_normal((COLUMNS, self.tasks))
        directions /= np.linalg.norm(directions, axis=0)
        taken = rng.choice(PLACES, rows, replace=False)
        a = rng.standard_normal((rows, COLUMNS))
        noise = rng.standard_normal((rows, self.tasks))
        residuals = np.sqrt(FIELD) * fields[taken] + np.sqrt(1 - FIELD) * noise
        targets = (a @ directions + residuals) / np.sqrt(2)
        lat, lon = _places()[taken].T
        where = {"lat": lat, "lon": lon}
        return Drawn({"a": a, "b": smooth[taken]}, list(targets.T[:, :, None]), where)


@functools.cache
def _places() -> np.ndarray:
    """(m, 2) latitudes and longitudes, degrees, about the equator."""
    return np.random.default_rng(3).uniform(-SIDE, SIDE, (PLACES, 2))


@functools.cache
def _root(range_km: float) -> np.ndarray:
    """(m, m) L with L Lᵀ the covariances of a field at the places."""
    places = _places() * KM
    squares = ((places[:, None] - places) ** 2).sum(2)
    return np.linalg.cholesky(np.exp(-np.sqrt(squares) / range_km) + 1e-9 * np.eye(PLACES))


def named_maps() -> dict[str, Map]:
    return {
        "same map": Map(same=True),
        "maps, blocks of 4 ranges": Map(block_km=400),
        "maps, blocks of 1 range": Map(block_km=100),
        "maps, rows": Map(),
    }
