"""The land of the Earth, to draw maps on.

Source: Natural Earth (naturalearthdata.com), land at 1:110 million, which is in the public domain;
rounded to a tenth of a degree and cut at the date line by `experiments/make_coastlines.py`.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

DATA = Path(__file__).with_name("coastlines.csv")
EDGE = 180.0


@functools.cache
def land() -> tuple[np.ndarray, ...]:
    """The rings that bound the land, each (m, 2) of longitude and latitude in degrees.

    None crosses the date line; Antarctica goes along it to the pole. The first point is not
    repeated at the end.
    """
    table = np.loadtxt(DATA, delimiter=",", skiprows=1)
    starts = np.flatnonzero(np.diff(table[:, 0])) + 1
    rings = np.split(table[:, 1:], starts)
    for ring in rings:
        ring.flags.writeable = False
    return tuple(rings)


def coasts(ring: np.ndarray) -> list[np.ndarray]:
    """The ring as lines along which there is a coast: without edges on the date line or the pole.

    Args:
        ring: (m, 2) of longitude and latitude, as `land` gives them.

    Returns:
        Lines, each (k, 2) with k >= 2.
    """
    closed = np.concatenate([ring, ring[:1]])
    start, end = closed[:-1], closed[1:]
    on_line = (np.abs(start[:, 0]) == EDGE) & (start[:, 0] == end[:, 0])
    at_pole = (start[:, 1] == -90) & (end[:, 1] == -90)
    inland = on_line | at_pole
    if not inland.any():
        return [closed]
    # Begin behind an edge that is none, so that no line is cut where the ring begins.
    first = int(np.flatnonzero(inland)[0]) + 1
    turned = np.roll(ring, -first, axis=0)
    gaps = np.flatnonzero(np.roll(inland, -first)) + 1
    return [line for line in np.split(turned, gaps) if len(line) > 1]


def cut(ring: np.ndarray, west: float) -> list[np.ndarray]:
    """A ring in the 360 degrees east of `west`, as one ring or two that do not cross its meridian.

    Args:
        ring: (m, 2) of longitude and latitude; neighbouring points less than 180 degrees apart in
            longitude as they are given.
    """
    pieces = []
    for turn in (-360.0, 0.0, 360.0):
        piece = between(ring + (turn, 0.0), west)
        if len(piece) > 2 and np.ptp(piece[:, 0]) > 0:
            pieces.append(piece)
    return pieces


def between(ring: np.ndarray, west: float) -> np.ndarray:
    """What of a ring lies in the 360 degrees east of `west`; (0, 2) where nothing does."""
    return _half(_half(ring, west, 1.0), west + 2 * EDGE, -1.0)


def _half(ring: np.ndarray, meridian: float, side: float) -> np.ndarray:
    """What lies east (side 1) or west (side -1) of a meridian (Sutherland and Hodgman)."""
    kept = []
    inside = side * (ring[:, 0] - meridian) >= 0 if len(ring) else []
    for i in range(len(ring)):
        before, here = ring[i - 1], ring[i]
        if inside[i] != inside[i - 1]:
            share = (meridian - before[0]) / (here[0] - before[0])
            kept.append((meridian, before[1] + share * (here[1] - before[1])))
        if inside[i]:
            kept.append(tuple(here))
    return np.array(kept).reshape(-1, 2)
