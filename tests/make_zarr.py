"""Small Zarr stores in the layout of Tessera's, written by the zarr package itself.

The published ones have 128 bands, chunks of 32 x 32 pixels in shards of 4096 x 4096, and a group
for each of the 60 UTM zones.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from ecjax import utm

BANDS = 128
PIXEL = 10.0


class Zone(NamedTuple):
    """What a zone holds, as (time, y, x) and (time, band, y, x); and its grid's corner."""

    number: int
    west: float
    north: float
    embeddings: np.ndarray
    scales: np.ndarray

    def centres(self, rows, columns) -> tuple[np.ndarray, np.ndarray]:
        """lat, lon in degrees of pixels' centres: `utm.project`, reversed by Newton's method."""
        rows, columns = np.asarray(rows), np.asarray(columns)
        east = self.west + (columns + 0.5) * PIXEL
        north = self.north - (rows + 0.5) * PIXEL
        return inverse(east, north, self.number)

    def vectors(self, time, rows, columns) -> np.ndarray:
        """(k, 128) float32, as they should be read."""
        values = self.embeddings[time, :, rows, columns].astype(np.float32)
        return values * self.scales[time, rows, columns][:, None]


def zone(number, lat, lon, size=96, times=2, seed=0) -> Zone:
    """A zone whose grid is around a place, all of it filled."""
    rng = np.random.default_rng([seed, number])
    east, north = project([lat], [lon], number)
    corner = [round(float(c[0]) / PIXEL) * PIXEL for c in (east, north)]
    half = size // 2 * PIXEL
    embeddings = rng.integers(-127, 128, (times, BANDS, size, size), np.int8)
    scales = rng.uniform(0.01, 0.1, (times, size, size)).astype(np.float32)
    return Zone(number, corner[0] - half, corner[1] + half, embeddings, scales)


def store(zones, years=(2020, 2021), model="1.0", chunk=8, shard=32) -> dict[str, bytes]:
    """{path: content} of a store; what of a zone is not filled has an infinite scale."""
    with tempfile.TemporaryDirectory() as folder:
        root = zarr.open_group(folder, mode="w", zarr_format=3)
        root.attrs.update({"geoemb:model": f"https://geotessera.org/model/{model}",
                           "geoemb:dimensions": BANDS})  # fmt: skip
        for one in zones:
            _write(root, one, years, chunk, shard)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the specification does not know it yet
            zarr.consolidate_metadata(folder)
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _write(root, one: Zone, years, chunk: int, shard: int) -> None:
    group = root.create_group(f"utm{one.number:02d}")
    size = one.scales.shape[-1]
    whole = -(-size // shard) * shard
    codec = BloscCodec(cname="zstd", clevel=3)
    arrays = {
        "embeddings": (one.embeddings, (1, BANDS), np.int8(0)),
        "scales": (one.scales, (1,), np.float32("inf")),
    }
    for name, (values, leading, fill) in arrays.items():
        array = group.create_array(
            name,
            shape=(len(years), *leading[1:], whole, whole),
            chunks=(*leading, chunk, chunk),
            shards=(*leading, shard, shard),
            dtype=values.dtype,
            fill_value=fill,
            compressors=codec,
        )
        array[..., :size, :size] = values
    times = group.create_array(
        "time", shape=(len(years),), dtype=np.int32, fill_value=0, compressors=codec
    )
    times[:] = years
    group.attrs.update({
        "proj:code": f"EPSG:{32600 + one.number}",
        "spatial:transform": [PIXEL, 0.0, one.west, 0.0, -PIXEL, one.north],
    })  # fmt: skip


def project(lat, lon, number):
    """Easting and northing in metres; northings are negative south of the equator."""
    n = len(lat)
    return utm.project(
        np.asarray(lat, float), np.asarray(lon, float), np.full(n, number), np.zeros(n, bool)
    )


def inverse(east, north, number) -> tuple[np.ndarray, np.ndarray]:
    """lat, lon in degrees, to a millionth of a metre."""
    lat = north / 110_574.0
    lon = 6 * number - 183 + (east - 500_000) / (111_320 * np.cos(np.radians(lat)))
    h = 1e-6
    for _ in range(8):
        e, n = project(lat, lon, number)
        e_lat, n_lat = project(lat + h, lon, number)
        e_lon, n_lon = project(lat, lon + h, number)
        a, b, c, d = (e_lon - e) / h, (e_lat - e) / h, (n_lon - n) / h, (n_lat - n) / h
        det = a * d - b * c
        lon = lon + (d * (east - e) - b * (north - n)) / det
        lat = lat + (a * (north - n) - c * (east - e)) / det
    return lat, (lon + 180) % 360 - 180
