"""Places on the Earth, taken for a sphere: distances along great circles, cells of equal area.

Degrees in; n places. Nothing special happens at the date line or at the poles.
"""

from __future__ import annotations

import numpy as np

EARTH_RADIUS_KM = 6371.0
# Distances are compared as chords, which rounding blurs: a place exactly at a distance is within.
BLUR = 1e-9


def unit_vectors(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """(n, 3) places on the unit sphere."""
    phi, lam = np.radians(lat), np.radians(lon)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)


def chord(km: float) -> float:
    """The straight line through the unit sphere below a great-circle distance."""
    return 2 * np.sin(min(km / EARTH_RADIUS_KM, np.pi) / 2)


def nearest(places: np.ndarray, others: np.ndarray, rank: int, km: float) -> np.ndarray:
    """Distances (n,) as chords from unit vectors (n, 3) to the nearest others (m, 3).

    Args:
      rank: 1 for the nearest, 2 for the one after.
      km: distances beyond it are inf.
    """
    from scipy import spatial  # here, because importing it takes a third of a second

    bound = chord(km) * (1 + BLUR)
    return spatial.cKDTree(others).query(places, k=[rank], distance_upper_bound=bound)[0][:, 0]


def within(places: np.ndarray, others: np.ndarray, km: float) -> np.ndarray:
    """Whether each of the unit vectors (n, 3) has one of the others (m, 3) within a distance."""
    return np.isfinite(nearest(places, others, 1, km))


def equal_area_cells(lat: np.ndarray, lon: np.ndarray, side_km: float) -> np.ndarray:
    """(n,) int64 numbers of the cells, of exactly equal area and about side_km wide and high.

    The sphere is divided into N ≈ 4πR²/side² cells. B ≈ πR/side bands of about equal height run
    along the circles of latitude. Band i ends where the cells counted from the north pole, whole
    ones, come nearest to the share of the sphere north of its ideal edge at the angle πi/B from the
    pole: M_i = round(N(1 − cos(πi/B))/2). Its M_i − M_{i−1} cells divide it at equal steps of
    longitude, from the date line eastwards.
    """
    first = _first_cells(side_km)
    north = first[-1] * (1 - np.sin(np.radians(lat))) / 2  # of each place, in areas of cells
    band = np.searchsorted(first, north, side="right") - 1
    band = np.clip(band, 0, len(first) - 2)  # the south pole
    around = ((np.asarray(lon) + 180) / 360) % 1
    around = np.where(np.abs(lat) == 90, 0, around)  # a pole has every longitude
    inside = first[band + 1] - first[band]
    return first[band] + np.minimum((around * inside).astype(np.int64), inside - 1)


def cell_edges(cells: np.ndarray, side_km: float) -> np.ndarray:
    """(4, c) southern, northern, western and eastern edges in degrees of cells by their numbers."""
    first = _first_cells(side_km)
    band = np.searchsorted(first, cells, side="right") - 1
    sines = 1 - 2 * np.stack([first[band + 1], first[band]]) / first[-1]
    south, north = np.degrees(np.arcsin(np.clip(sines, -1, 1)))
    step = 360 / (first[band + 1] - first[band])
    west = -180 + step * (cells - first[band])
    return np.stack([south, north, west, west + step])


def mean_places(
    lat: np.ndarray, lon: np.ndarray, part_of_row: np.ndarray, parts: int
) -> np.ndarray:
    """(2, c) latitude and longitude of the middle of each part's places; NaN where there is none.

    Args:
      part_of_row: (n,) 0 … c − 1, −1 for a place in no part.
    """
    inside = part_of_row >= 0
    own, rows = part_of_row[inside], np.bincount(part_of_row[inside], minlength=parts)
    vectors = unit_vectors(lat[inside], lon[inside]).T
    sums = np.stack([np.bincount(own, weights=axis, minlength=parts) for axis in vectors])
    x, y, z = sums
    places = np.degrees([np.arctan2(z, np.hypot(x, y)), np.arctan2(y, x)])
    return np.where(np.linalg.norm(sums, axis=0) < BLUR * np.maximum(rows, 1), np.nan, places)


def _first_cells(side_km: float) -> np.ndarray:
    """(B + 1,) M_0 … M_B of `equal_area_cells`."""
    cells = max(1, round(4 * np.pi * (EARTH_RADIUS_KM / side_km) ** 2))
    bands = max(1, round(np.pi * EARTH_RADIUS_KM / side_km))
    edges = np.pi * np.arange(bands + 1) / bands
    return np.rint(cells * (1 - np.cos(edges)) / 2).astype(np.int64)
