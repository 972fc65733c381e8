"""Makes ecjax/coastlines.csv from Natural Earth's land at 1:110 million, as world-atlas packs it.

    npm pack world-atlas@2.0.2 && tar xzf world-atlas-2.0.2.tgz
    python experiments/make_coastlines.py package/land-110m.json

Natural Earth is in the public domain. Expect some 130 rings and 4,900 points in 60 kB; a second.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from ecjax import coastlines


def arcs_of(topology: dict) -> list[np.ndarray]:
    """The arcs in degrees: differences of whole numbers are summed up and scaled."""
    scale, shift = (np.array(topology["transform"][key]) for key in ("scale", "translate"))
    return [np.cumsum(arc, axis=0) * scale + shift for arc in topology["arcs"]]


def rings_of(topology: dict) -> list[np.ndarray]:
    """Every ring of the land, longitudes unwrapped: no step is longer than 180 degrees."""
    arcs = arcs_of(topology)
    rings = []
    for geometry in topology["objects"]["land"]["geometries"]:
        for ring in (ring for polygon in geometry["arcs"] for ring in polygon):
            # ~i is arc i backwards; each arc begins where the one before ends.
            parts = [arcs[i] if i >= 0 else arcs[~i][::-1] for i in ring]
            points = np.concatenate([part[:-1] for part in parts])
            points[:, 0] = np.unwrap(points[:, 0], period=360)
            rings.append(points)
    return rings


def with_pole(ring: np.ndarray) -> np.ndarray:
    """A ring that goes around the Earth (Antarctica's) closed by way of the pole.

    Three turns, so that a whole one is left between the date lines wherever the ring begins.
    """
    step = ring[0, 0] - ring[-1, 0]
    if abs(step) < 180:
        return ring
    turn = -360.0 * np.sign(step)  # what the whole ring advances by
    wide = np.concatenate([ring - (turn, 0), ring, ring + (turn, 0)])
    pole = [[wide[-1, 0], -90.0], [wide[0, 0], -90.0]]
    return coastlines.between(np.concatenate([wide, pole]), -coastlines.EDGE)


def rounded(ring: np.ndarray) -> np.ndarray:
    """To a tenth of a degree, points that fall together taken once."""
    ring = np.round(ring, 1) + 0.0
    return ring[np.any(ring != np.roll(ring, 1, axis=0), axis=1)]


def main(path: str) -> None:
    topology = json.loads(Path(path).read_text("utf-8"))
    lines = ["ring,lon,lat"]
    count = 0
    for ring in map(with_pole, rings_of(topology)):
        for piece in map(rounded, coastlines.cut(ring, -coastlines.EDGE)):
            if len(piece) > 2:
                lines += [f"{count},{lon:g},{lat:g}" for lon, lat in piece]
                count += 1
    coastlines.DATA.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{count} rings, {len(lines) - 1:,} points")


if __name__ == "__main__":
    main(sys.argv[1])
