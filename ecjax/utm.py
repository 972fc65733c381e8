"""UTM coordinates on WGS84, by Krüger's series.

The series to the sixth order in the third flattening n (C. F. F. Karney, Transverse Mercator with
an accuracy of a few nanometers, J. Geod. 85, 2011, eqs. 7 to 14 and 35) is exact to nanometres
within a zone.

Axes: n places.
"""

from __future__ import annotations

import numpy as np

SOUTHERNMOST, NORTHERNMOST = -80.0, 84.0  # degrees; beyond, UTM is not defined

_FLATTENING = 1 / 298.257223563
_N = _FLATTENING / (2 - _FLATTENING)
_ECCENTRICITY = np.sqrt(_FLATTENING * (2 - _FLATTENING))
# The radius of the circle that is as long as a meridian, metres.
_RADIUS = 6378137.0 / (1 + _N) * (1 + _N**2 / 4 + _N**4 / 64 + _N**6 / 256)
_SCALE, _FALSE_EASTING, _FALSE_NORTHING = 0.9996, 500_000.0, 10_000_000.0
# By powers of n from n^j on, of sin 2jξ' cosh 2jη' and cos 2jξ' sinh 2jη'.
_SERIES = (
    (1 / 2, -2 / 3, 5 / 16, 41 / 180, -127 / 288, 7891 / 37800),
    (13 / 48, -3 / 5, 557 / 1440, 281 / 630, -1983433 / 1935360),
    (61 / 240, -103 / 140, 15061 / 26880, 167603 / 181440),
    (49561 / 161280, -179 / 168, 6601661 / 7257600),
    (34729 / 80640, -3418889 / 1995840),
    (212378941 / 319334400,),
)
_ALPHA = [sum(c * _N ** (j + k) for k, c in enumerate(row)) for j, row in enumerate(_SERIES, 1)]


def zones(lon: np.ndarray) -> np.ndarray:
    """(n,) int64, the zones 1 to 60 of longitudes within ±180: 6° each, eastwards from 180° W.

    A place on a border is in the eastern zone, and 180° is 180° W. The wider zones around Norway
    and Svalbard are not used.
    """
    return np.floor((lon + 180) / 6).astype(np.int64) % 60 + 1


def project(
    lat: np.ndarray, lon: np.ndarray, zone: np.ndarray, south: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) float64 easting and northing in metres.

    Args:
        lat, lon: (n,) degrees.
        zone: (n,) 1 to 60, of the place or a neighbouring one.
        south: (n,) bool, whether northings count from 10,000 km south of the equator.
    """
    phi = np.radians(lat)
    away = np.radians((lon - (6 * zone - 183) + 180) % 360 - 180)  # from the central meridian
    # The conformal latitude's tangent; near the poles tan is large, not infinite.
    tau = np.tan(phi)
    sigma = np.sinh(_ECCENTRICITY * np.arctanh(_ECCENTRICITY * tau / np.hypot(1, tau)))
    tau = tau * np.hypot(1, sigma) - sigma * np.hypot(1, tau)
    xi0 = np.arctan2(tau, np.cos(away))
    eta0 = np.arcsinh(np.sin(away) / np.hypot(tau, np.cos(away)))
    xi, eta = xi0.copy(), eta0.copy()
    for j, alpha in enumerate(_ALPHA, 1):
        xi += alpha * np.sin(2 * j * xi0) * np.cosh(2 * j * eta0)
        eta += alpha * np.cos(2 * j * xi0) * np.sinh(2 * j * eta0)
    scale = _SCALE * _RADIUS
    return _FALSE_EASTING + scale * eta, scale * xi + np.where(south, _FALSE_NORTHING, 0.0)
