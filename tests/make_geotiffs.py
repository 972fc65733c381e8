"""Small GeoTIFFs in the layout of AlphaEarth's, and the index of them, made without GDAL.

The published files are cloud-optimised BigTIFFs of 8192 x 8192 pixels and 64 bands of int8, in
blocks of 1024 x 1024 pixels, a band at a time (PlanarConfiguration 2), compressed with Zstandard.
Row 0 is the southernmost, told by a ModelTransformation with a positive step northwards; -128 is
masked. The overviews' blocks come first, and between two blocks are 8 bytes of GDAL's.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

PIXEL = 10.0  # metres
BANDS = 64
COMPRESSIONS = {"none": 1, "deflate": 8, "zstd": 50000}
PUBLISHED = "gs://alphaearth_foundations/satellite_embedding/v1/annual/"
_SHORT, _LONG, _DOUBLE, _LONG8, _ASCII = 3, 4, 12, 16, 2
_FORMATS = {_SHORT: "H", _LONG: "I", _DOUBLE: "d", _LONG8: "Q", _ASCII: "s"}

_BETA = (  # by powers of n from n^j on
    (1 / 2, -2 / 3, 37 / 96, -1 / 360, -81 / 512, 96199 / 604800),
    (1 / 48, 1 / 15, -437 / 1440, 46 / 105, -1118711 / 3870720),
    (17 / 480, -37 / 840, -209 / 4480, 5569 / 90720),
    (4397 / 161280, -11 / 504, -830251 / 7257600),
    (4583 / 161280, -108847 / 3991680),
    (20648693 / 638668800,),
)


def geotiff(
    pixels: np.ndarray,
    west: float,
    south: float,
    epsg: int,
    block: int = 32,
    interleave: str = "band",
    compression: str = "zstd",
    predictor: int = 1,
    bottom_up: bool = True,
    big: bool = True,
    overview: bool = True,
    **tags: object,
) -> bytes:
    """A GeoTIFF.

    Args:
        pixels: (bands, rows, columns) int8, row 0 the southernmost.
        west, south: of the lower left corner, metres.
        epsg: of the UTM zone.
        interleave: "band": all blocks of a band, then the next band's; "tile": all bands of a
            block, then the next block's; "pixel": the bands of a pixel side by side.
        bottom_up: as the published files are; otherwise row 0 of the file is the northernmost.
        overview: also one of half the resolution, its blocks before the others.
        tags: of the first image, t339=(types, values) replaces or adds; None leaves it out.
    """
    images = [pixels, pixels[:, ::2, ::2]] if overview else [pixels]
    images = [image if bottom_up else image[:, ::-1] for image in images]
    coded = [_blocks(image, block, interleave, compression, predictor) for image in images]
    place = (west, south) if bottom_up else (west, south + pixels.shape[1] * PIXEL)
    entries = []
    for number, (image, blocks) in enumerate(zip(images, coded, strict=True)):
        found = _image_tags(image, block, interleave, compression, predictor, len(blocks))
        if number == 0:
            found |= _place_tags(place, epsg, bottom_up)
            found |= {int(name[1:]): value for name, value in tags.items()}
        else:
            found[254] = _LONG, [1]
        entries.append({tag: value for tag, value in sorted(found.items()) if value})
    head = len(_directories(entries, [[0] * len(blocks) for blocks in coded], coded, big))
    offsets, body = [[] for _ in coded], io.BytesIO()
    for number in reversed(range(len(coded))):
        for data in coded[number]:
            body.write(struct.pack("<I", len(data)))
            offsets[number].append(head + body.tell())
            body.write(data + data[-4:])
    if interleave == "tile":
        offsets = [_by_band(places, pixels.shape[0]) for places in offsets]
        coded = [_by_band(blocks, pixels.shape[0]) for blocks in coded]
    return _directories(entries, offsets, coded, big) + body.getvalue()


def _by_band(items: list, bands: int) -> list:
    """From block by block to band by band, as the tags list them."""
    return [items[at] for band in range(bands) for at in range(band, len(items), bands)]


def _blocks(image, block, interleave, compression, predictor) -> list[bytes]:
    """The compressed blocks in the order of the file."""
    image = np.pad(
        image, [(0, 0), *((0, -side % block) for side in image.shape[1:])], constant_values=-128
    )
    bands, rows, columns = image.shape
    cut = image.reshape(bands, rows // block, block, columns // block, block)
    order = {"band": (0, 1, 3, 2, 4), "tile": (1, 3, 0, 2, 4), "pixel": (1, 3, 2, 4, 0)}[interleave]
    cut = cut.transpose(order)
    if predictor == 2:
        axis = 3 if interleave == "pixel" else 4
        cut = np.diff(cut, axis=axis, prepend=np.zeros_like(cut.take([0], axis=axis)))
    size = block * block * (bands if interleave == "pixel" else 1)
    return [_compressed(data.tobytes(), compression) for data in cut.reshape(-1, size)]


def _compressed(data: bytes, compression: str) -> bytes:
    if compression == "zstd":
        return pa.Codec("zstd", 1).compress(data, asbytes=True)
    return zlib.compress(data, 1) if compression == "deflate" else data


def _image_tags(image, block, interleave, compression, predictor, blocks) -> dict:
    bands, rows, columns = image.shape
    return {
        256: (_LONG, [columns]),
        257: (_LONG, [rows]),
        258: (_SHORT, [8] * bands),
        259: (_SHORT, [COMPRESSIONS[compression]]),
        262: (_SHORT, [1]),
        277: (_SHORT, [bands]),
        284: (_SHORT, [1 if interleave == "pixel" else 2]),
        317: (_SHORT, [predictor]),
        322: (_SHORT, [block]),
        323: (_SHORT, [block]),
        324: (_LONG8, [0] * blocks),
        325: (_LONG, [0] * blocks),
        338: (_SHORT, [0] * (bands - 1)),
        339: (_SHORT, [2] * bands),
        42113: (_ASCII, [b"-128\0"]),
    }


def _place_tags(place, epsg, bottom_up) -> dict:
    x, y = place
    keys = [1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, epsg]
    if bottom_up:
        matrix = [PIXEL, 0, 0, x, 0, PIXEL, 0, y, 0, 0, 0, 0, 0, 0, 0, 1]
        return {34264: (_DOUBLE, matrix), 34735: (_SHORT, keys)}
    scale, tie = [PIXEL, PIXEL, 0], [0, 0, 0, x, y, 0]
    return {33550: (_DOUBLE, scale), 33922: (_DOUBLE, tie), 34735: (_SHORT, keys)}


def _directories(entries, offsets, coded, big) -> bytes:
    """Header, the images' directories, and what their tags hold."""
    start, pair, size = (16, "<HHQ", 8) if big else (8, "<HHI", 4)
    text = struct.pack("<2sHHHQ", b"II", 43, 8, 0, start) if big else b"II*\0\x08\0\0\0"
    for number, found in enumerate(entries):
        found = {
            **found,
            324: (found[324][0] if big else _LONG, offsets[number]),
            325: (found[325][0], [len(data) for data in coded[number]]),
        }
        count = struct.pack("<Q" if big else "<H", len(found))
        behind = len(text) + len(count) + len(found) * (12 + 8 if big else 12) + size
        table, values = b"", b""
        for tag, (kind, held) in found.items():
            many = len(held[0]) if kind == _ASCII else len(held)
            data = held[0] if kind == _ASCII else struct.pack(f"<{many}{_FORMATS[kind]}", *held)
            table += struct.pack(pair, tag, kind, many)
            if len(data) > size:
                table += struct.pack("<Q" if big else "<I", behind + len(values))
                values += data + b"\0" * (-len(data) % 8)
            else:
                table += data.ljust(size, b"\0")
        last = number == len(entries) - 1
        following = 0 if last else behind + len(values)
        text += count + table + struct.pack("<Q" if big else "<I", following) + values
    return text


def pixel_codes(zone: str, year: int, east: np.ndarray, north: np.ndarray) -> np.ndarray:
    """(bands, ...) int8, a made value for each pixel by its number eastwards and northwards.

    One pixel in thirteen, along diagonals, is masked in all bands.
    """
    seed = np.uint64(int(zone[:-1]) * 20_000 + year * 2 + zone.endswith("S"))
    east, north = np.asarray(east, np.int64), np.asarray(north, np.int64)
    bands = np.arange(BANDS, dtype=np.uint64).reshape(BANDS, *(1,) * east.ndim)
    with np.errstate(over="ignore"):  # it wraps
        mixed = east.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ north.astype(np.uint64)) * np.uint64(0xC2B2AE3D27D4EB4F)
        mixed = (mixed ^ (bands + (seed << np.uint64(8)))) * np.uint64(0x9E3779B97F4A7C15)
    codes = ((mixed >> np.uint64(40)) % np.uint64(255)).astype(np.int16) - 127
    return np.where((east + north) % 13 == 0, -128, codes).astype(np.int8)


class Square(NamedTuple):
    """A file of a made world: `side` x `side` pixels from (`column`, `row`) on, in pixels."""

    zone: str
    year: int
    column: int
    row: int
    side: int

    @property
    def key(self) -> str:
        return f"{self.year}/{self.zone}/x{self.row:010d}-{self.column:010d}.tiff"

    @property
    def epsg(self) -> int:
        return 32600 + 100 * self.zone.endswith("S") + int(self.zone[:-1])

    def content(self, **options: object) -> bytes:
        """The file; options as of `geotiff`."""
        east = np.arange(self.column, self.column + self.side)[None, :]
        north = np.arange(self.row, self.row + self.side)[:, None]
        pixels = pixel_codes(self.zone, self.year, *np.broadcast_arrays(east, north))
        west, south = self.column * PIXEL, self.row * PIXEL
        return geotiff(pixels, west, south, self.epsg, **options)


def index(squares: Iterable[Square]) -> bytes:
    """The index as Parquet, with the published columns."""
    squares = list(squares)
    table = pd.DataFrame(
        {
            # Most of the published file are outlines, of which this is but the size.
            "geometry": [np.random.default_rng(i).bytes(3000) for i in range(len(squares))],
            "crs": [f"EPSG:{square.epsg}" for square in squares],
            "path": [PUBLISHED + square.key for square in squares],
            "year": [square.year for square in squares],
            "utm_zone": [square.zone for square in squares],
            "utm_west": [square.column * PIXEL for square in squares],
            "utm_south": [square.row * PIXEL for square in squares],
            "utm_east": [(square.column + square.side) * PIXEL for square in squares],
            "utm_north": [(square.row + square.side) * PIXEL for square in squares],
        }
    )
    for name in ("wgs84_west", "wgs84_south", "wgs84_east", "wgs84_north"):
        table[name] = 0.0
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), stream)
    return stream.getvalue()


def place_of(zone: str, east: np.ndarray, north: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Latitude and longitude of points given in pixels, fractions too: (0.5, 0.5) is a centre.

    Krüger's series the other way round (Karney 2011, eqs. 15 to 20 and 36), so that it shares no
    coefficient with `ecjax.utm`.
    """
    flattening = 1 / 298.257223563
    n = flattening / (2 - flattening)
    e = np.sqrt(flattening * (2 - flattening))
    radius = 6378137 / (1 + n) * (1 + n**2 / 4 + n**4 / 64 + n**6 / 256)
    xi = (np.asarray(north) * PIXEL - 1e7 * zone.endswith("S")) / (0.9996 * radius)
    eta = (np.asarray(east) * PIXEL - 5e5) / (0.9996 * radius)
    xi0, eta0 = xi.copy(), eta.copy()
    for j, row in enumerate(_BETA, 1):
        beta = sum(c * n ** (j + k) for k, c in enumerate(row))
        xi0 -= beta * np.sin(2 * j * xi) * np.cosh(2 * j * eta)
        eta0 -= beta * np.cos(2 * j * xi) * np.sinh(2 * j * eta)
    conformal = np.sin(xi0) / np.hypot(np.sinh(eta0), np.cos(xi0))
    tau = conformal.copy()
    for _ in range(6):  # Newton's method
        sigma = np.sinh(e * np.arctanh(e * tau / np.hypot(1, tau)))
        wrong = conformal - (tau * np.hypot(1, sigma) - sigma * np.hypot(1, tau))
        slope = np.hypot(1, conformal) * np.hypot(1, tau) * (1 - e**2) / (1 + (1 - e**2) * tau**2)
        tau += wrong / slope
    lon = np.degrees(np.arctan2(np.sinh(eta0), np.cos(xi0))) + 6 * int(zone[:-1]) - 183
    return np.degrees(np.arctan(tau)), (lon + 180) % 360 - 180
