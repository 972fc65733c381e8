"""A model of no data, whose vectors tell where and when they are of, and places to ask it for."""

import hashlib
import threading
from pathlib import Path

import numpy as np
import pandas as pd

from ecjax.models import Estimate, Model, Places, Unavailable, Vectors

SIDE = 30  # degrees of a tile


class Made(Model):
    """Tiles of 30 degrees; none south of 60° S.

    What is asked of it is noted in `asked`, as rows (lat, lon, year), for all that are made.
    """

    name, dims, version, licence = "made", 3, "made v1", "free, by nobody"
    asked: list[tuple[float, float, int]] = []
    fails_after = None  # parts, then it is Unavailable
    _lock = threading.Lock()

    def __init__(self, source: str | None = None):
        self.source = source

    def parts(self, places: Places) -> list[np.ndarray]:
        tiles = _tiles(places)
        return [np.flatnonzero(tiles == tile) for tile in np.unique(tiles)]

    def estimate(self, places: Places) -> Estimate:
        return Estimate(len(places.lat), 1000 * len(places.lat), 60.0, "nobody pays")

    def read(self, places: Places) -> Vectors:
        with self._lock:
            if self.fails_after is not None and self.fails_after <= len(_asked_tiles()):
                raise Unavailable("made: HTTP 503 from http://127.0.0.1/tiles")
            Made.asked.extend(zip(*(column.tolist() for column in places), strict=True))
        values = values_of(places)
        absent = places.lat < -60
        values[absent] = np.nan
        tile = _tiles(places).astype(object)
        checksum = np.array([hashlib.sha256(t.encode()).hexdigest()[:8] for t in tile], object)
        reason = np.where(absent, "no tile there", "").astype(object)
        tile[absent] = checksum[absent] = ""
        return Vectors(values, tile, checksum, reason)


class Timeless(Made):
    """The same for all years."""

    name, timeless = "timeless", True


def values_of(places: Places) -> np.ndarray:
    """(n, 3) float32, what `Made` gives where there are tiles."""
    columns = np.sin(places.lat), np.cos(places.lon), places.year / 1000.0
    return np.stack(columns, axis=1).astype(np.float32)


def places_table(n=40, ids=None, seed=0) -> pd.DataFrame:
    """Places all over the Earth, and a label."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": np.arange(n) if ids is None else ids,
            "lat": rng.uniform(-80, 80, n),
            "lon": rng.uniform(-180, 180, n),
            "height": rng.normal(size=n),
        }
    )


def write_places(path: Path, table: pd.DataFrame) -> str:
    """Writes a table as the extension says; its path as text."""
    table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path)
    return str(path)


def _tiles(places: Places) -> np.ndarray:
    """(n,) names."""
    row, column = (np.floor(c / SIDE).astype(int) for c in (places.lat, places.lon))
    return np.array([f"{y}_{x}_{t}" for y, x, t in zip(row, column, places.year, strict=True)])


def _asked_tiles() -> set[str]:
    columns = np.array(Made.asked).reshape(-1, 3).T
    return set(_tiles(Places(columns[0], columns[1], columns[2].astype(int))))
