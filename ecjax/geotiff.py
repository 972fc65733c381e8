"""Blocks of cloud-optimised GeoTIFFs of int8, read by their byte ranges.

TIFF and BigTIFF, little-endian, in tiles, with the bands one after another or side by side,
compressed with Zstandard or Deflate or not at all, with or without horizontal differences: what
GDAL writes. Nothing a file says is believed before it is checked against its size and the limits
below, and no block expands to more than its pixels.

Axes: p bands.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

HEAD = 1 << 14  # bytes read at first; directories and small tags lie there
WINDOW = 1 << 12  # bytes read at least for a tag that lies elsewhere; others are beside it
MOST_TAGS, MOST_BLOCKS, MOST_SIDE = 256, 1 << 20, 1 << 13
MASKED = -128
_WHOLE = {1: "u1", 3: "<u2", 4: "<u4", 16: "<u8"}  # types of numbers, as TIFF counts types
_DOUBLE = {12: "<f8"}
_NONE, _DEFLATE, _OLD_DEFLATE, _ZSTD = 1, 8, 32946, 50000

Read = Callable[[int, int], bytes]


class FormatError(ValueError):
    """A file is not a GeoTIFF as these are; the message says how, in a few words."""


class Layout(NamedTuple):
    """Where the pixels of the first image are.

    Attributes:
      bands, rows, columns: of the image.
      block: (rows, columns) of a block.
      west, south: of the lower left corner, metres.
      pixel: metres, both ways.
      bottom_up: whether row 0 is the southernmost.
      epsg: of the coordinates.
      planes: p if each band has blocks of its own, else 1.
      offsets, counts: (planes, blocks down, blocks across) int64, bytes of each block; a count of
        0 is a block that is masked throughout.
      compression, predictor: as TIFF numbers them.
    """

    bands: int
    rows: int
    columns: int
    block: tuple[int, int]
    west: float
    south: float
    pixel: float
    bottom_up: bool
    epsg: int
    planes: int
    offsets: np.ndarray
    counts: np.ndarray
    compression: int
    predictor: int

    @property
    def east(self) -> float:
        return self.west + self.columns * self.pixel

    @property
    def north(self) -> float:
        return self.south + self.rows * self.pixel


def read_layout(read: Read, size: int) -> Layout:
    """The layout of a file.

    Args:
        read: its bytes [start, stop).
        size: of the file, bytes.

    Raises:
        FormatError: it is none of the files above.
    """
    tags = _Tags(read, size)
    bands, rows, columns = tags.one(277, 1), tags.one(257), tags.one(256)
    block = tags.one(323), tags.one(322)
    if set(tags.many(258, bands)) != {8} or set(tags.many(339, bands)) != {2}:
        raise FormatError("its pixels are not int8")
    compression, predictor = tags.one(259, 1), tags.one(317, 1)
    if compression not in (_NONE, _DEFLATE, _OLD_DEFLATE, _ZSTD) or predictor not in (1, 2):
        raise FormatError(f"compression {compression} with predictor {predictor} is unknown")
    if not (0 < block[0] <= MOST_SIDE and 0 < block[1] <= MOST_SIDE and rows and columns):
        raise FormatError(f"it has blocks of {block[0]:,} x {block[1]:,} pixels")
    planes = bands if tags.one(284, 1) == 2 else 1
    down, across = -(-rows // block[0]), -(-columns // block[1])
    if planes * down * across > MOST_BLOCKS:
        raise FormatError(f"it has more than {MOST_BLOCKS:,} blocks")
    shape = planes, down, across
    offsets = tags.many(324, planes * down * across).astype(np.int64).reshape(shape)
    counts = tags.many(325, planes * down * across).astype(np.int64).reshape(shape)
    if (offsets < 0).any() or (counts < 0).any() or (offsets > size - counts).any():
        raise FormatError("blocks lie beyond its end")
    if counts.max() > _most(block, bands, planes):
        raise FormatError("compressed blocks are larger than their pixels")
    west, south, pixel, bottom_up = _place(tags, rows)
    return Layout(
        bands, rows, columns, block, west, south, pixel, bottom_up, _epsg(tags), planes, offsets,
        counts, compression, predictor,
    )  # fmt: skip


def ranges(layout: Layout, down: int, across: int) -> list[tuple[int, int]]:
    """[start, stop) of a block's bytes, one for each plane."""
    starts = layout.offsets[:, down, across]
    stops = starts + layout.counts[:, down, across]
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def values(layout: Layout, plane: bytes, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(n, p) int8 of some pixels of one plane of a block; p is 1 where bands are apart.

    Args:
        plane: the compressed bytes.
        rows, columns: (n,) within the block.

    Raises:
        FormatError: they do not expand to the pixels of a block.
    """
    deep = layout.bands // layout.planes
    if not plane:
        return np.full((len(rows), deep), MASKED, np.int8)
    data = _expanded(plane, layout.compression, layout.block[0] * layout.block[1] * deep)
    pixels = np.frombuffer(data, np.int8).reshape(*layout.block, deep)
    if layout.predictor == 1:
        return pixels[rows, columns]
    needed, which = np.unique(rows, return_inverse=True)
    summed = np.cumsum(pixels[needed], axis=1, dtype=np.int8)  # wraps, as it was written
    return summed[which, columns]


def _most(block: tuple[int, int], bands: int, planes: int) -> int:
    """Bytes of one block at most: data that do not compress grow a little."""
    pixels = block[0] * block[1] * (bands // planes)
    return pixels + pixels // 100 + 1024


def _expanded(data: bytes, compression: int, size: int) -> bytes:
    found = b""
    try:
        if compression == _NONE:
            found = data
        elif compression == _ZSTD:
            found = pa.Codec("zstd").decompress(data, size, asbytes=True)
        else:
            stream = zlib.decompressobj()
            found = stream.decompress(data, size) + stream.decompress(stream.unconsumed_tail, 1)
            found = found if stream.eof else b""  # only there its checksum is compared
    except (zlib.error, OSError, ValueError) as error:
        raise FormatError(f"a block is damaged ({error})") from None
    if len(found) != size:
        raise FormatError("a block does not expand to its pixels")
    return found


class _Tags:
    """The tags of a file's first image, read as they are asked for."""

    def __init__(self, read: Read, size: int):
        self._read, self._size = read, size
        head = read(0, min(HEAD, size))
        self._windows = [(0, head)]
        big = head[:4] == b"II+\0"
        if not big and head[:4] != b"II*\0":
            raise FormatError("it is not a little-endian TIFF")
        self._word = "<Q" if big else "<I"
        wide = struct.calcsize(self._word)
        (start,) = struct.unpack(self._word, self._bytes(8 if big else 4, wide))
        (count,) = struct.unpack("<Q" if big else "<H", self._bytes(start, 8 if big else 2))
        if not 0 < count <= MOST_TAGS:
            raise FormatError(f"it has {count:,} tags")
        entry = 20 if big else 12
        table = self._bytes(start + (8 if big else 2), count * entry)
        self._found = {}
        for at in range(0, len(table), entry):
            tag, kind, many = struct.unpack_from("<HHQ" if big else "<HHI", table, at)
            self._found.setdefault(tag, (kind, many, table[at + entry - wide : at + entry]))

    def _bytes(self, start: int, count: int) -> bytes:
        if start < 0 or start + count > self._size:
            raise FormatError("it ends before its tags")
        for first, data in self._windows:
            if first <= start and start + count <= first + len(data):
                return data[start - first : start - first + count]
        window = self._read(start, min(start + max(count, WINDOW), self._size))
        self._windows.append((start, window))
        return window[:count]

    def many(
        self, tag: int, count: int | None = None, types: dict[int, str] = _WHOLE
    ) -> np.ndarray:
        """The values of a tag, so many; [] if it is not there and may be so."""
        kind, many, held = self._found.get(tag, (next(iter(types)), 0, b""))
        if kind not in types or many > MOST_BLOCKS or (count is not None and many != count):
            raise FormatError(f"tag {tag} has {many:,} values of type {kind}")
        dtype = np.dtype(types[kind])
        nbytes = many * dtype.itemsize
        if nbytes > len(held):
            held = self._bytes(*struct.unpack(self._word, held), nbytes)
        return np.frombuffer(held[:nbytes], dtype)

    def one(self, tag: int, default: int | None = None) -> int:
        """The value of a tag that has a single one."""
        if tag not in self._found and default is not None:
            return default
        return int(self.many(tag, 1)[0])

    def __contains__(self, tag: int) -> bool:
        return tag in self._found


def _place(tags: _Tags, rows: int) -> tuple[float, float, float, bool]:
    """West, south, pixel and whether row 0 is the southernmost: ModelTransformation, or a
    ModelPixelScale and one ModelTiepoint."""
    if 34264 in tags:
        matrix = tags.many(34264, 16, _DOUBLE)
        x, dx, y, dy = matrix[3], matrix[0], matrix[7], matrix[5]
        straight = not (matrix[1] or matrix[4])
    else:
        scale, tie = tags.many(33550, 3, _DOUBLE), tags.many(33922, 6, _DOUBLE)
        x, dx, y, dy = tie[3], scale[0], tie[4], -scale[1]
        straight = not (tie[0] or tie[1])
    if not (straight and np.isfinite([x, y]).all() and 0 < dx < 1e6 and abs(dy) == dx):
        raise FormatError("its pixels are not squares along the axes")
    return float(x), float(y if dy > 0 else y + rows * dy), float(dx), bool(dy > 0)


def _epsg(tags: _Tags) -> int:
    """GeoKey 3072, ProjectedCRS; 0 if there is none."""
    keys = tags.many(34735).astype(int)
    for key, place, _, value in keys[4 : len(keys) // 4 * 4].reshape(-1, 4):
        if key == 3072 and place == 0:
            return int(value)
    return 0
