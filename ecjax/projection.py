"""The map projection Equal Earth, which keeps areas, and outlines of cells under it.

Šavrič, Patterson and Jenny (2018), "The Equal Earth map projection", International Journal of
Geographical Information Science 33(3).
"""

from __future__ import annotations

import numpy as np

A = (1.340264, -0.081106, 0.000893, 0.003796)  # the paper's polynomial
M = np.sqrt(3) / 2
STEP = 2.0  # degrees of latitude between the points of a densified edge


def equal_earth(
    lat: np.ndarray, lon: np.ndarray, central: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Projects places onto the plane.

    Args:
        lat, lon: degrees, of shapes that go together. Longitudes are taken as they are given, up to
            180 degrees to either side of `central`: nothing is wrapped.
        central: the longitude of the vertical axis, in degrees.

    Returns:
        x and y in radii of the sphere: x within ±2.7066, y within ±1.3174.
    """
    theta = np.arcsin(M * np.sin(np.radians(lat)))
    square = theta * theta
    sixth = square**3
    a1, a2, a3, a4 = A
    slope = a1 + 3 * a2 * square + sixth * (7 * a3 + 9 * a4 * square)
    x = np.radians(np.subtract(lon, central)) * np.cos(theta) / (M * slope)
    y = theta * (a1 + a2 * square + sixth * (a3 + a4 * square))
    return np.broadcast_arrays(x, y)


def outline(
    lat_min: float, lat_max: float, lon_min: float, lon_max: float, central: float = 0.0
) -> np.ndarray:
    """The projected outline of a cell between two parallels and two meridians.

    Meridians get a point every 2 degrees, because they are curved under the projection; parallels
    are straight. All are degrees.

    Returns:
        (m, 2) points, counterclockwise from the south-west corner, the first not repeated.
    """
    corners = ((lat_min, lon_min), (lat_min, lon_max), (lat_max, lon_max), (lat_max, lon_min))
    edges = [densified(*edge) for edge in zip(corners, (*corners[1:], corners[0]), strict=True)]
    places = np.concatenate([edge[:-1] for edge in edges])
    return np.stack(equal_earth(places[:, 0], places[:, 1], central), 1)


def densified(start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    """(m, 2) points (lat, lon) from start to end, both included, at most 2 degrees of lat apart."""
    pieces = max(int(np.ceil(abs(end[0] - start[0]) / STEP)), 1)
    return np.linspace(start, end, pieces + 1)
