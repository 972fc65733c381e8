"""Tessera's vectors from the Zarr store in which they are published, pixel by pixel.

The store (`geotessera` 0.11.0, `zarr.py` and `store.py`) has a group for each UTM zone
of 6° of longitude, for both hemispheres: int8 `embeddings` (time, band, y, x) and float32 `scales`
(time, y, x), 10 m pixels, northings counted from the equator and negative south of it. A vector is
its int8 values times its pixel's scale. A scale that is NaN means water or no data within a tile,
and one that is infinite, that nothing was ever written.

Which pixel a place is in, and where else to look, is as in `geotessera`'s `sample_points`: the
nearest centre, the western and northern one of two; beside a pixel that was never written, the
nearest of its eight neighbours; within 0.1° of a zone's edge also the next zone, for tiles stop at
their own. That reader itself is not used: the package has it from 0.8 on, which needs Python 3.12
and brings a gigabyte of other packages, and it reads 512 KiB of indices for a single pixel.

Axes: n places, p columns.
"""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ecjax import addresses, shards, utm, web
from ecjax.errors import InputError, quote
from ecjax.models import Estimate, Model, Places, Unavailable, Vectors

DIMS = 128
VARIANTS = {"v1": "vultr", "v1.1": "dclimate"}  # of the stores in `addresses`
MODELS = {"v1": "1.0", "v1.1": "1.1"}  # as a store names the model that it holds
PART = 256  # places that are read together at most
SEAM = 0.1  # degrees from a zone's edge within which the next zone may have the tile
LARGEST_SCALE = 1.0  # real ones are far below; some damaged pixels of v1 have 1e32
PUBLISHED = "free for the reader; Source Cooperative serves it"
CHUNK_BYTES = 110_000  # of vectors and scales together, as published
METADATA_BYTES = 1 << 26
OUTSIDE = "outside the store's grid"
UNWRITTEN = "never written in this store"
WATER = "water, or no data in its tile"
DAMAGED = "the store's scale for it is not plausible"
# Of two reasons, the higher is told; 1 is a year that a zone lacks.
_RANK = {OUTSIDE: 0, UNWRITTEN: 2, WATER: 3, DAMAGED: 4}
# The neighbours of a pixel, the nearest first, and of those equally near the northern and western.
_AROUND = np.array([(-1, 0), (0, -1), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)])


class _Zone(NamedTuple):
    """One zone's group.

    Attributes:
      years: of each time.
      pixel, west, north: side of a pixel, and the grid's corner, in metres.
    """

    number: int
    years: list[int]
    pixel: float
    west: float
    north: float
    embeddings: shards.Array
    scales: shards.Array

    def pixels(self, places: Places) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row and column of each place, (n,) int64, and whether it lies within the grid."""
        south = np.zeros(len(places.lat), bool)  # northings are negative there
        zone = np.full(len(places.lat), self.number)
        easting, northing = utm.project(places.lat, places.lon, zone, south)
        right, down = (easting - self.west) / self.pixel, (self.north - northing) / self.pixel
        height, width = self.scales.shape[-2:]
        rows, columns = np.ceil(down) - 1, np.ceil(right) - 1
        rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
        # Up to half a pixel beyond its edge the grid has a nearest pixel.
        near = (np.abs(right - columns - 0.5) <= 1) & (np.abs(down - rows - 0.5) <= 1)
        return rows.astype(np.int64), columns.astype(np.int64), near


class Tessera(Model):
    """Tessera's annual vectors.

    Args:
      source: "v1", the version that the paper uses, or "v1.1"; or a URL at which such a store is,
        of v1 unless the version stands before it, as in "v1.1@https://…".

    Raises:
      InputError: no such version or URL, or a package is missing.
    """

    name = "tessera"
    dims = DIMS
    licence = (
        "as its publishers state it at the address above; cite Feng et al., TESSERA, "
        "arXiv 2506.20380"
    )

    def __init__(self, source: str | None = None):
        asked = source or "v1"
        version, at, url = asked.partition("@")
        if version not in addresses.TESSERA or (at and not url):
            version, url = "v1", asked
        elif not at:
            url = addresses.TESSERA[version]
        if not url.startswith(("http://", "https://")):
            raise InputError(
                f"tessera: {quote(asked)} is no version ({', '.join(addresses.TESSERA)}) and no "
                "URL of a store; give one of these"
            )
        if importlib.util.find_spec("numcodecs") is None:
            raise InputError("tessera needs numcodecs; pip install 'ecjax[sources]' brings it")
        self.asked, self.url = version, url.rstrip("/")
        published = self.url == addresses.TESSERA[version]
        self.version = f"{version} ({VARIANTS[version] if published else web.shown(self.url)})"
        self._cost = PUBLISHED if published else f"as {web.shown(self.url)} charges"
        self._groups: dict[str, Any] | None = None
        self._zones: dict[int, _Zone | None] = {}
        self._alone = threading.Lock()

    def parts(self, places: Places) -> Sequence[np.ndarray]:
        """Places of one shard, some 41 km square, at most PART together.

        Raises:
          Unavailable: the store's metadata cannot be had.
          InputError: the store is of another version.
        """
        found = []
        for zone, rows in self._by_zone(places):
            if zone is None:
                found += self._cut(rows)
                continue
            y, x, near = zone.pixels(places.at(rows))
            chunks = [axis // size for axis, size in zip((y, x), zone.scales.chunk, strict=True)]
            squares = [axis // size for axis, size in zip((y, x), zone.scales.shard, strict=True)]
            for members in shards.groups(places.year[rows], near, *squares):
                order = np.lexsort([axis[members] for axis in reversed(chunks)])
                found += self._cut(rows[members[order]])
        return found

    def estimate(self, places: Places) -> Estimate:
        """By the chunks that hold the places, at their usual size."""
        chunks = files = 0
        for zone, rows in self._by_zone(places):
            if zone is None:
                continue
            y, x, near = zone.pixels(places.at(rows))
            there = near & np.isin(places.year[rows], zone.years)
            keys = places.year[rows][there], y[there], x[there]
            chunks += _squares(*keys, zone.scales.chunk)
            files += _squares(*keys, zone.scales.shard)
        return Estimate(
            requests=2 * (2 * files + chunks),
            nbytes=chunks * CHUNK_BYTES,
            seconds=None,
            cost=self._cost,
        )

    def read(self, places: Places) -> Vectors:
        n = len(places.lat)
        found = Vectors(
            np.full((n, DIMS), np.nan, np.float32), *(np.full(n, "", object) for _ in range(3))
        )
        found.reason[:] = OUTSIDE
        for zone, rows in self._by_zone(places):
            self._add(found, zone, places, rows)
        # A tile belongs to the zone of its centre, and may reach beyond that zone's edge.
        along = (places.lon + 180) % 6
        for beyond, step in ((along <= SEAM, -1), (along >= 6 - SEAM, 1)):
            rows = np.flatnonzero(beyond & (found.reason != ""))
            for number in np.unique(utm.zones(places.lon[rows])):
                there = self._zone((int(number) - 1 + step) % 60 + 1)
                members = rows[utm.zones(places.lon[rows]) == number]
                self._add(found, there, places, members)
        return found

    def _by_zone(self, places: Places) -> Iterator[tuple[_Zone | None, np.ndarray]]:
        """The places of each zone, and None for one that the store lacks."""
        numbers = utm.zones(places.lon)
        for rows in shards.groups(numbers):
            yield self._zone(int(numbers[rows[0]])), rows

    @staticmethod
    def _cut(rows: np.ndarray) -> list[np.ndarray]:
        return np.array_split(rows, range(PART, len(rows), PART))

    def _add(self, found: Vectors, zone: _Zone | None, places: Places, rows: np.ndarray) -> None:
        """Writes what a zone has for these rows into `found`."""
        if zone is None:
            return
        for members in shards.groups(places.year[rows]):
            part = rows[members]
            year = int(places.year[part[0]])
            if year not in zone.years:
                first, last = min(zone.years), max(zone.years)
                why = f"no year {year} in this store ({first} to {last})"
                _tell(found, part, np.full(len(part), why, object))
                continue
            _add_year(found, zone, zone.years.index(year), places, part)

    def _zone(self, number: int) -> _Zone | None:
        """A zone, asked for once; None where the store has none."""
        with self._alone:
            if self._groups is None:
                self._groups = self._metadata()
            if number not in self._zones:
                self._zones[number] = self._opened(number, self._groups)
            return self._zones[number]

    def _metadata(self) -> dict[str, Any]:
        """{path: metadata} of everything in the store, which is of the version asked for."""
        where, answer = f"tessera {web.shown(self.url)}", web.get(f"{self.url}/zarr.json", None)
        if answer is None:
            raise Unavailable(f"{where}: there is no Zarr store (no zarr.json)")
        try:
            root = json.loads(answer.content)
            attributes, groups = root["attributes"], root["consolidated_metadata"]["metadata"]
            model = attributes["geoemb:model"].rstrip("/").rpartition("/")[2]
            dims = attributes["geoemb:dimensions"]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f"{where}: is no Zarr store of Tessera with consolidated metadata; check the URL"
            ) from None
        if (model, dims) != (MODELS[self.asked], DIMS):
            raise InputError(
                f"{where}: holds vectors of model {quote(model)} with {quote(dims)} columns, but "
                f"{self.asked} (model {MODELS[self.asked]}, {DIMS} columns) was asked for; "
                "vectors of different versions must not be mixed, so say which version you want: "
                "--sources=tessera=VERSION@URL"
            )
        return groups

    def _opened(self, number: int, groups: dict[str, Any]) -> _Zone | None:
        group = f"utm{number:02d}"
        if group not in groups:
            return None
        where = f"tessera {web.shown(self.url)}/{group}"
        try:
            pixel, _, west, _, down, north = groups[group]["attributes"]["spatial:transform"]
            arrays = {name: groups[f"{group}/{name}"] for name in ("embeddings", "scales", "time")}
            code = groups[group]["attributes"]["proj:code"]
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{where}: lacks what a zone of Tessera has; check the URL") from None
        if code != f"EPSG:{32600 + number}" or down != -pixel:
            raise InputError(
                f"{where}: has a grid in {quote(code)} that ecjax does not read; it may be too old "
                "for this store"
            )
        embeddings, scales = (
            shards.Array(f"{self.url}/{group}/{name}", arrays[name], f"{where}/{name}")
            for name in ("embeddings", "scales")
        )
        years = shards.line(f"{self.url}/{group}/time", arrays["time"], f"{where}/time")
        return _Zone(number, years.tolist(), pixel, west, north, embeddings, scales)


def _squares(year: np.ndarray, y: np.ndarray, x: np.ndarray, sizes: tuple[int, int]) -> int:
    """How many squares of pixels, of these heights and widths, hold the pixels."""
    return np.unique(np.stack([year, y // sizes[0], x // sizes[1]]), axis=1).shape[1]


def _tell(found: Vectors, rows: np.ndarray, reasons: np.ndarray) -> None:
    """Writes why these rows have no vector, unless more is known of them."""
    for row, reason in zip(rows, reasons, strict=True):
        if _RANK.get(reason, 1) > _RANK.get(found.reason[row], 1):
            found.reason[row] = reason


def _add_year(found: Vectors, zone: _Zone, time: int, places: Places, rows: np.ndarray) -> None:
    """Writes what a zone has at one time for these rows into `found`."""
    y, x, near = zone.pixels(places.at(rows))
    rows, y, x = rows[near], y[near], x[near]
    scales = zone.scales.pixels(time, y, x)
    scale = scales.values.copy()
    holes = np.flatnonzero(np.isinf(scale))
    for step in _AROUND if len(holes) else ():
        moved_y, moved_x = y[holes] + step[0], x[holes] + step[1]
        inside = (moved_y >= 0) & (moved_x >= 0)
        inside &= (moved_y < zone.scales.shape[-2]) & (moved_x < zone.scales.shape[-1])
        there = zone.scales.pixels(time, moved_y[inside], moved_x[inside])
        good = np.isfinite(there.values)
        mended = holes[inside][good]
        y[mended], x[mended] = moved_y[inside][good], moved_x[inside][good]
        scale[mended], scales.checksums[mended] = there.values[good], there.checksums[good]
        holes = np.setdiff1d(holes, mended)
    why = np.full(len(rows), "", object)
    why[np.isinf(scale)], why[np.isnan(scale)] = UNWRITTEN, WATER
    why[np.isfinite(scale) & ~((scale > 0) & (scale < LARGEST_SCALE))] = DAMAGED
    _tell(found, rows[why != ""], why[why != ""])
    good = why == ""
    vectors = zone.embeddings.pixels(time, y[good], x[good])
    at = rows[good]
    found.values[at] = vectors.values.astype(np.float32) * scale[good][:, None]
    found.reason[at] = ""
    found.tile[at] = [f"utm{zone.number:02d}/embeddings/{key}" for key in vectors.shards]
    pairs = zip(vectors.checksums, scales.checksums[good], strict=True)
    found.checksum[at] = [f"{vector}+{scale}" for vector, scale in pairs]
