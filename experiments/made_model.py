"""A model of no data for the scripts that disturb `ecjax fetch`: tiles that take a moment each."""

from __future__ import annotations

import hashlib
import time

import numpy as np

from ecjax.models import Estimate, Model, Places, Vectors

SIDE = 10  # degrees of a tile
SECONDS = 0.02  # that one takes


class Made(Model):
    """Vectors that tell where they are of; none south of 60° S."""

    name, dims, version, licence = "made", 8, "made v1", "free, by nobody"

    def __init__(self, source: str | None = None):
        del source

    def parts(self, places: Places) -> list[np.ndarray]:
        tiles = _tiles(places)
        return [np.flatnonzero(tiles == tile) for tile in np.unique(tiles)]

    def estimate(self, places: Places) -> Estimate:
        return Estimate(len(self.parts(places)), 0, None, "nobody pays")

    def read(self, places: Places) -> Vectors:
        time.sleep(SECONDS)
        angles = np.outer(np.radians(places.lat), np.arange(1, 5))
        turns = np.outer(np.radians(places.lon), np.arange(1, 5))
        values = np.hstack([np.sin(angles), np.cos(turns)]).astype(np.float32)
        absent = places.lat < -60
        values[absent] = np.nan
        tile = np.array([f"tile {tile}" for tile in _tiles(places)], object)
        checksum = np.array([hashlib.sha256(row.tobytes()).hexdigest() for row in values], object)
        return Vectors(values, tile, checksum, np.where(absent, "no tile", "").astype(object))


def _tiles(places: Places) -> np.ndarray:
    """(n,) numbers."""
    return np.floor(places.lat / SIDE) * 1000 + np.floor(places.lon / SIDE)
