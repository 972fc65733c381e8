"""Tables without a leak, of every make that true embeddings have, for `planted_leaks.py`.

Axes: n rows, p columns.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from leak_kinds import Rows

from ecjax.coordinates import Coordinates

CLASSES = 7


def _normal(n, p, places, rng):
    return rng.normal(size=(n, p))


def _heavy(n, p, places, rng):
    return rng.standard_t(1.5, size=(n, p))


def _mostly_zero(n, p, places, rng):
    return np.maximum(rng.normal(size=(n, p)) - rng.uniform(0, 1, size=p), 0)


def _discrete(n, p, places, rng):
    return rng.integers(0, rng.integers(2, 9, size=p), size=(n, p)) * 1.0


def _mixed(n, p, places, rng):
    """Some columns of few values among others."""
    found = rng.normal(size=(n, p))
    few = rng.random(p) < 0.1
    found[:, few] = _discrete(n, int(few.sum()), places, rng)
    return found


def _correlated(n, p, places, rng):
    """Few things seen by many columns."""
    return rng.normal(size=(n, 5)) @ rng.normal(size=(5, p)) + 0.1 * rng.normal(size=(n, p))


def _quantised(n, p, places, rng):
    """As AlphaEarth: unit vectors, whose square roots are stored in a byte."""
    x = _correlated(n, p, places, rng)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    q = np.round(127.5 * np.sqrt(np.abs(x))) * np.sign(x)
    return (q / 127.5) ** 2 * np.sign(q)


def _bytes(n, p, places, rng):
    """A byte for each value, with an offset and a scale of each column's own."""
    x = _correlated(n, p, places, rng)
    scale = np.ptp(x, axis=0) / 255
    return np.round(x / scale) * scale + rng.normal(size=p)


def _waves(n, p, places, rng):
    """Smooth functions of the place, as location encoders are."""
    found = Coordinates(degree=6).encode(*places).astype(float)
    return np.tanh(found @ rng.normal(size=(found.shape[1], p)))


def _lines(n, p, places, rng):
    """Of a small region, where smooth functions hardly bend.

    Not so small that one of hundreds is a coordinate to a millionth, which is refused.
    """
    phi = np.radians(np.stack(places, axis=1))
    turn = rng.uniform(0, 2 * np.pi, p)
    steps = rng.uniform(10, 40, p) * np.stack([np.cos(turn), np.sin(turn)])
    return np.sin(phi @ steps + rng.uniform(0, 6, size=p))


def _repeated(n, p, places, rng):
    """The vectors of some 20 counties, each in many rows."""
    return rng.normal(size=(20, p))[rng.integers(0, 20, n)]


MAKES: dict[str, Callable] = {
    "normal": _normal,
    "heavy tails": _heavy,
    "mostly zero": _mostly_zero,
    "few values": _discrete,
    "some of few values": _mixed,
    "correlated": _correlated,
    "quantised": _quantised,
    "a byte each": _bytes,
    "smooth in place": _waves,
    "smooth in a small region": _lines,
    "repeated": _repeated,
}
SIZES = ((60, 960), (200, 16), (1000, 64), (3000, 256), (400, 8), (10_000, 64))


def clean_table(number: int) -> Rows:
    """The make, size, order and target of so many a table."""
    rng = np.random.default_rng([8, number])
    make = list(MAKES)[number % len(MAKES)]
    n, p = SIZES[number // len(MAKES) % len(SIZES)]
    small = make == "smooth in a small region"
    side = (3, 3) if small else (60, 170)
    lat, lon = (rng.uniform(-s, s, n) + (7 if small else 0) for s in side)
    if number % 3 == 0:  # as maps are written, line by line
        order = np.lexsort((lon, np.round(lat, 1)))
        lat, lon = lat[order], lon[order]
    vectors = MAKES[make](n, p, (lat, lon), rng)
    y = _target(vectors, (lat, lon), number, rng)
    ids = 10 * np.arange(n) + rng.integers(0, 10, n)
    ids = ids if number % 2 else rng.permutation(ids)
    source = np.array([f"s{i}" for i in rng.integers(0, 5, n)], object)
    name = f"{make}, {n:,} x {p}"
    return Rows(name, vectors.astype(np.float32), ids, lat, lon, y, source)


def _target(vectors, places, number: int, rng) -> np.ndarray:
    """Told by the columns, by the place, in part or hardly; counts, or classes."""
    n, p = vectors.shape
    scaled = (vectors - vectors.mean(axis=0)) / np.maximum(vectors.std(axis=0), 1e-9)
    signal = np.tanh(scaled) @ rng.normal(size=p) / np.sqrt(p)
    if number % 4 == 1:
        waves = Coordinates(degree=4).encode(*places).astype(float)
        signal = waves @ rng.normal(size=waves.shape[1])
    signal = (signal - signal.mean()) / signal.std()
    y = signal + rng.choice([0.1, 0.5, 2.0]) * rng.normal(size=n)
    if number % 5 == 2:
        return np.exp(3 * y)
    if number % 5 == 3:
        return np.maximum(y - 1, 0)
    if number % 5 == 4:
        edges = np.quantile(y, np.arange(1, CLASSES) / CLASSES)
        return np.array([f"class {i}" for i in np.searchsorted(edges, y)], object)
    return y
