"""AlphaEarth Foundations' annual embeddings, read from the files that are published.

64 numbers for each pixel of 10 m and year, stored as int8 q, -128 where masked; a number is
(q / 127.5)² · sign(q). A place gets the vector of the pixel that holds it, from the file of its UTM
zone (`alphaearth_index`); just the blocks that are touched are read, each once a part.

A block of the published files is a square of 1,024 pixels whose 64 bands lie apart, some 0.4 MB
each: 28 MB for a single place, or for all that lie within the same 10 km.

Axes: n places.
"""

from __future__ import annotations

import collections
import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecjax import geotiff
from ecjax.addresses import ALPHAEARTH
from ecjax.alphaearth_index import Found, Index, find, read_index
from ecjax.errors import UsageError, listing, quote
from ecjax.geotiff import FormatError, Layout
from ecjax.http_range import Changed, Missing, Web, WebFile, shown
from ecjax.models import Estimate, Model, Places, Unavailable, Vectors

BANDS = 64
PIXEL, BLOCK = 10.0, 1024  # metres; pixels of a block's side, as published
BLOCK_BYTES = 435_000  # of one band, on average
HEADER_BYTES = 80_000
GAP = 64  # bytes between two pieces that are read along; GDAL leaves 8
FILES_KEPT = 64  # whose layouts are remembered
MASKED = "masked pixel"
LICENCE = (
    "CC-BY 4.0; The AlphaEarth Foundations Satellite Embedding dataset is produced by Google and "
    "Google DeepMind."
)
PAYS = {
    "google": "free of charge: Google pays for its bucket since July 2026",
    "source.coop": "free of charge: Source Cooperative's open data programme pays",
}
_CODES = np.arange(-128, 128).astype(np.float32)
_VALUES = np.square(_CODES / np.float32(127.5)) * np.sign(_CODES)
_VALUES[0] = np.nan


def dequantised(codes: np.ndarray) -> np.ndarray:
    """float32 of the same shape, (q / 127.5)² · sign(q) in float32 arithmetic; -128 is NaN."""
    return _VALUES[codes.astype(np.int16) + 128]


class AlphaEarth(Model):
    """The annual embeddings of one source.

    Args:
        source: "source.coop", "google", or the address of a copy: what stands before
            YEAR/ZONE/NAME.tiff and aef_index.parquet.
        cache: a folder where the index is kept; None: it is read once a process.
        web: how servers are asked.

    Raises:
        UsageError: it is no such source.
    """

    name = "alphaearth"
    dims = BANDS
    version = "v1 annual"
    licence = LICENCE

    def __init__(
        self, source: str = "source.coop", cache: Path | None = None, web: Web | None = None
    ):
        if source not in ALPHAEARTH and "://" not in source:
            raise UsageError(
                f"--source={source}: AlphaEarth is at {listing(ALPHAEARTH)}, or at an address "
                f"such as {quote(ALPHAEARTH['source.coop'])}"
            )
        self.source = source
        self._base = ALPHAEARTH.get(source, source).rstrip("/")
        self._cache, self._web = cache, web or Web()
        self._lock = threading.Lock()
        self._index: Index | None = None
        self._files: collections.OrderedDict[str, _File] = collections.OrderedDict()

    def parts(self, places: Places) -> Sequence[np.ndarray]:
        """The rows of each block, in the order of files and blocks; first those without a file."""
        cells = self._cells(self._find(places))
        _, first, which = np.unique(cells, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(which.reshape(-1), kind="stable")
        return np.split(order, np.cumsum(np.bincount(which.reshape(-1)))[:-1]) if len(first) else []

    def estimate(self, places: Places) -> Estimate:
        """Requests and bytes for blocks as those published have them."""
        cells = self._cells(self._find(places))
        cells = cells[cells[:, 0] >= 0]
        blocks, files = len(np.unique(cells, axis=0)), len(np.unique(cells[:, 0]))
        nbytes = blocks * BANDS * BLOCK_BYTES + files * HEADER_BYTES
        cost = PAYS.get(self.source, f"as {shown(self._base)} charges")
        return Estimate(blocks * BANDS + 4 * files, nbytes, None, cost)

    def read(self, places: Places) -> Vectors:
        """The vectors; raises Unavailable, as files do."""
        n, found = len(places.lat), self._find(places)
        vectors = Vectors(
            np.full((n, BANDS), np.nan, np.float32),
            np.full(n, "", object),
            np.full(n, "", object),
            found.reason,
        )
        for file in np.unique(found.file[found.file >= 0]):
            self._read_file(int(file), np.flatnonzero(found.file == file), found, vectors)
        return vectors

    def _find(self, places: Places) -> Found:
        with self._lock:
            if self._index is None:
                self._index = read_index(self._web, self._base, self._cache)
        return find(self._index, places)

    def _cells(self, found: Found) -> np.ndarray:
        """(n, 3) int64: file, and the block down and across; -1 thrice where there is no file."""
        corner = self._index.sides[found.file, :2]
        place = np.stack([found.y - corner[:, 1], found.x - corner[:, 0]], axis=1)
        cells = np.column_stack([found.file, np.floor(place / (PIXEL * BLOCK)).astype(np.int64)])
        cells[found.file < 0] = -1
        return cells

    def _read_file(self, file: int, rows: np.ndarray, found: Found, vectors: Vectors) -> None:
        """Fills the rows that are in one file; one that changes meanwhile is begun anew, once."""
        key = self._index.keys[file]
        try:
            try:
                codes, checksums = self._codes(file, found.x[rows], found.y[rows])
            except Changed:
                codes, checksums = self._codes(file, found.x[rows], found.y[rows])
        except Missing:
            vectors.reason[rows] = "the index names a file that is not there"
            return
        except FormatError as error:
            raise Unavailable(f"{self.name}: {shown(f'{self._base}/{key}')}: {error}") from None
        except Unavailable as error:
            raise Unavailable(f"{self.name}: {error}") from None
        vectors.values[rows] = dequantised(codes)
        vectors.tile[rows], vectors.checksum[rows] = key, checksums
        masked = rows[(codes == geotiff.MASKED).any(1)]
        vectors.values[masked] = np.nan
        vectors.reason[masked] = MASKED

    def _codes(self, file: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `_pixels`; a file that fails is forgotten, so that the next attempt opens it anew."""
        key = self._index.keys[file]
        opened = self._open(key)
        try:
            layout = opened.layout(lambda layout: self._check(file, layout))
            return _pixels(opened.file, layout, x, y)
        except (Unavailable, FormatError, Missing):
            with self._lock:
                if self._files.get(key) is opened:
                    del self._files[key]
            raise

    def _open(self, key: str) -> _File:
        with self._lock:
            if key not in self._files:
                self._files[key] = _File(self._web.file(f"{self._base}/{key}"))
            self._files.move_to_end(key)
            if len(self._files) > FILES_KEPT:
                self._files.popitem(last=False)
            return self._files[key]

    def _check(self, file: int, layout: Layout) -> None:
        """Raises FormatError unless a file is what the index says of it."""
        index, epsg = self._index, self._index.epsg(file)
        sides = layout.west, layout.south, layout.east, layout.north
        if layout.bands != BANDS:
            raise FormatError(f"it has {layout.bands} bands, not {BANDS}")
        if layout.epsg != epsg or np.abs(np.subtract(sides, index.sides[file])).max() > 1e-3:
            raise FormatError(
                f"it lies at {sides} of EPSG:{layout.epsg}, the index has it at "
                f"{tuple(index.sides[file].tolist())} of EPSG:{epsg}"
            )


class _File:
    """A file and its layout, which is read once."""

    def __init__(self, file: WebFile):
        self.file, self._lock, self._layout = file, threading.Lock(), None

    def layout(self, check) -> Layout:
        with self._lock:
            if self._layout is None:
                layout = geotiff.read_layout(self.file.read, self.file.size)
                check(layout)
                self._layout = layout
            return self._layout


def _pixels(file: WebFile, layout: Layout, x: np.ndarray, y: np.ndarray):
    """(n, 64) int8 of the pixels that hold places, and (n,) object checksums."""
    across = np.floor((x - layout.west) / layout.pixel).astype(np.int64)
    up = np.floor((y - layout.south) / layout.pixel).astype(np.int64)
    down = up if layout.bottom_up else layout.rows - 1 - up
    codes = np.empty((len(x), layout.bands), np.int8)
    checksums = np.empty(len(x), object)
    side = np.array(layout.block)
    block, within = np.divmod(np.column_stack([down, across]), side)
    for corner in np.unique(block, axis=0):
        rows = np.flatnonzero((block == corner).all(1))
        planes = _pieces(file, geotiff.ranges(layout, *corner))
        found = [geotiff.values(layout, plane, *within[rows].T) for plane in planes]
        codes[rows] = np.concatenate(found, axis=1)
        checksums[rows] = _checksum(file.etag, planes)
    return codes, checksums


def _pieces(file: WebFile, ranges: list[tuple[int, int]]) -> list[bytes]:
    """The bytes of each range; such as lie side by side are asked for together."""
    groups: list[list[tuple[int, int]]] = []
    for start, stop in sorted(piece for piece in ranges if piece[1] > piece[0]):
        if groups and 0 <= start - groups[-1][-1][1] <= GAP:
            groups[-1].append((start, stop))
        else:
            groups.append([(start, stop)])
    found = {}
    for group in groups:
        first, last = group[0][0], group[-1][1]
        data = file.read(first, last)
        found |= {piece: data[piece[0] - first : piece[1] - first] for piece in group}
    return [found.get(piece, b"") for piece in ranges]


def _checksum(etag: str, planes: list[bytes]) -> str:
    """The file's ETag; where the server gives none, SHA-256 of the block's bytes."""
    if etag:
        return "etag:" + etag.replace('"', "")
    return "sha256:" + hashlib.sha256(b"".join(planes)).hexdigest()
