"""Embeddings made from the coordinates alone: what a probe gains by just knowing the place.

Axes: n places, p columns. Degrees in, float64 out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from ecjax.errors import InputError, shown
from ecjax.keys import choice

ENCODINGS = ("spherical_harmonics", "latlon")
DEGREE = 10
MAX_DEGREE = 40  # 1,680 columns


@dataclasses.dataclass(frozen=True)
class Coordinates:
    """An embedding made from each task's lat and lon, in place of an array or a table.

    A place has one vector, however it is written: the longitudes 180 and -180 are the same, and a
    pole has the longitude 0.

    Attributes:
        encoding: "spherical_harmonics": the real harmonics of degree 1 to `degree` at the place, as
            `harmonics` gives them; smooth across the date line and the poles. "latlon": two
            columns, latitude and longitude in degrees, which part at the date line.
        degree: Of the harmonics, 1 to 40, by default 10; None for "latlon". Degree l tells apart
            what lies some 180/l degrees of arc from each other, 2,000 km for 10.

    Raises:
        InputError: The encoding is unknown, or the degree out of range or of no use.
    """

    encoding: str = ENCODINGS[0]
    degree: int | None = None

    def __post_init__(self):
        object.__setattr__(self, "degree", checked(self.encoding, self.degree, "ecjax.Coordinates"))

    def __str__(self) -> str:
        if self.encoding == "latlon":
            return "from the coordinates: latitude and longitude in degrees"
        return f"from the coordinates: spherical harmonics of degree 1 to {self.degree}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The p names: "lat" and "lon", or "Y(l,m)" of degree l and order m."""
        if self.encoding == "latlon":
            return "lat", "lon"
        return tuple(f"Y({degree},{order})" for degree, order in degrees_and_orders(self.degree))

    def encode(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        """(n, p) float64 vectors, C-contiguous, of places (n,) in degrees within ±90 and ±180."""
        lat = np.asarray(lat, np.float64) + 0.0  # -0.0 is 0.0
        lon = np.where((np.abs(lat) == 90) | (lon == 0), 0.0, np.where(lon == 180, -180.0, lon))
        if self.encoding == "latlon":
            return np.stack([lat, lon], axis=1)
        return harmonics(lat, lon, self.degree)


def checked(encoding: Any, degree: Any, where: str) -> int | None:
    """The degree that these two mean, None where the encoding has none.

    Raises:
        InputError: As `Coordinates`; the message starts with `where`.
    """
    choice(encoding, ENCODINGS, "encoding", where)
    if encoding == "latlon":
        if degree is not None:
            raise InputError(
                f'{where}: degree = {shown(degree)} is for encoding = "spherical_harmonics", but '
                'the encoding is "latlon"; remove one of them'
            )
        return None
    if degree is None:
        return DEGREE
    whole = isinstance(degree, int | np.integer) and not isinstance(degree, bool)
    if not whole or not 1 <= degree <= MAX_DEGREE:
        raise InputError(
            f"{where}: degree = {shown(degree)} must be a whole number from 1 to {MAX_DEGREE}"
        )
    return int(degree)


def degrees_and_orders(degree: int) -> Iterator[tuple[int, int]]:
    """Degree l and order m of each column: l = 1 … degree, and m = -l … l within each."""
    return ((d, m) for d in range(1, degree + 1) for m in range(-d, d + 1))


def harmonics(lat: np.ndarray, lon: np.ndarray, degree: int) -> np.ndarray:
    """Real spherical harmonics of degree 1 to `degree`, orthonormal over the sphere.

    With the latitude φ, the longitude λ and the fully normalised Legendre functions P_l^m,

        Y(l, m) = √2 P_l^m(sin φ) cos(mλ)      for m > 0,
        Y(l, 0) = P_l^0(sin φ),
        Y(l, m) = √2 P_l^|m|(sin φ) sin(|m|λ)  for m < 0,

    without the Condon-Shortley phase, so that ∫ Y(l, m) Y(l', m') dΩ is 1 for equals, else 0. The
    constant of degree 0 is left out: a probe has an intercept. P comes from the recursions along m
    and then along l (Holmes and Featherstone, 2002, equations 11 and 13), which divide by nothing
    that vanishes at the poles.

    Returns:
        (n, (degree + 1)² - 1) float64, C-contiguous, in the order of `degrees_and_orders`.
    """
    phi, lam = np.radians(lat), np.radians(lon)
    sine, cosine = np.sin(phi), np.cos(phi)
    columns = np.empty(((degree + 1) ** 2 - 1, len(phi)))
    sectoral = np.full(len(phi), np.sqrt(1 / (4 * np.pi)))  # P_m^m
    for m in range(degree + 1):
        if m:
            sectoral = sectoral * cosine * np.sqrt((2 * m + 1) / (2 * m))
        east, north = np.sqrt(2) * np.cos(m * lam), np.sqrt(2) * np.sin(m * lam)
        before, legendre = np.zeros_like(sine), sectoral  # P_{d-1}^m and P_d^m
        for d in range(m, degree + 1):
            if d > m:
                a = np.sqrt((4 * d**2 - 1) / (d**2 - m**2))
                b = np.sqrt(((d - 1) ** 2 - m**2) / (4 * (d - 1) ** 2 - 1)) if d - 1 > m else 0.0
                before, legendre = legendre, a * (sine * legendre - b * before)
            place = d * (d + 1) - 1  # of order 0
            if not m and d:
                columns[place] = legendre
            elif m:
                columns[place + m] = legendre * east
                columns[place - m] = legendre * north
    return np.ascontiguousarray(columns.T)
