"""Single pixels of arrays in a Zarr store on the web (version 3), whose chunks lie in shards.

A shard is one file: its chunks, each compressed by itself, and at its end an index of where they
are (Zarr's codec `sharding_indexed`). To read a pixel, the entry of its chunk is read from the
index, then the chunk; of a large index never the whole, so that its checksum is compared where it
is small alone.

Axes: (time, …, y, x); a chunk holds one time and all that is between time and y. k pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ecjax import web
from ecjax.errors import InputError
from ecjax.models import Unavailable

GAP = 8192  # bytes between two parts of a file that are read rather than asked for apart
LONGEST = 1 << 23  # bytes that are asked for together
ATTEMPTS = 3
_CHECKSUM = 4  # bytes, behind the index
_ENTRY = 16  # bytes of the index for each chunk: where it starts, and its length
_NONE = 2**64 - 1  # in place of both: there is no such chunk, and all of it is the fill value
_BLOSC = 16  # bytes of a compressed chunk's header


class Pixels(NamedTuple):
    """What was read.

    Attributes:
      values: (k, …), what is between time and y for each pixel.
      checksums: (k,) object, the first 16 hexadecimal digits of the SHA-256 of the compressed
        chunk that each is in; "" where there is none.
      shards: (k,) object, the key of the shard that each would be in.
    """

    values: np.ndarray
    checksums: np.ndarray
    shards: np.ndarray


class _Broken(Exception):
    """What was read makes no sense, or no sense together."""


class Array:
    """One array, by its metadata.

    Args:
      url: of the array.
      metadata: its zarr.json.
      where: for messages.

    Attributes:
      shape: (time, …, y, x).
      shard, chunk: (y, x), pixels of each.

    Raises:
      InputError: it is stored in a way that is not read here.
    """

    def __init__(self, url: str, metadata: dict[str, Any], where: str):
        self.url = url
        try:
            self._understand(metadata)
        except (KeyError, TypeError, ValueError) as error:
            raise _unread(where, error) from None

    def _understand(self, metadata: dict[str, Any]) -> None:
        self.shape = tuple(map(int, metadata["shape"]))
        self.dtype = np.dtype(metadata["data_type"]).newbyteorder("<")
        _expect(metadata["chunk_grid"]["name"], "regular")
        shard = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        keys = metadata["chunk_key_encoding"]
        separator = keys.get("configuration", {}).get("separator", "/")
        _expect((keys["name"], separator), ("default", "/"))
        (sharding,) = metadata["codecs"]
        _expect(sharding["name"], "sharding_indexed")
        how = sharding["configuration"]
        _expect(how.get("index_location", "end"), "end")
        _expect([codec["name"] for codec in how["index_codecs"]], ["bytes", "crc32c"])
        _expect([codec["name"] for codec in how["codecs"]], ["bytes", "blosc"])
        for codec in (how["index_codecs"][0], how["codecs"][0]):
            _expect(codec.get("configuration", {}).get("endian", "little"), "little")
        _expect(tuple(how["chunk_shape"][:-2]), (1, *self.shape[1:-2]))
        _expect(tuple(shard[:-2]), (1, *self.shape[1:-2]))
        self.shard, self.chunk = tuple(shard[-2:]), tuple(how["chunk_shape"][-2:])
        _expect([s % c for s, c in zip(self.shard, self.chunk, strict=True)], [0, 0])
        self._fill = np.array(float(metadata["fill_value"])).astype(self.dtype)
        self._across = self.shard[1] // self.chunk[1]
        self._chunks = self._across * (self.shard[0] // self.chunk[0])
        self._chunk_shape = (*self.shape[1:-2], *self.chunk)
        self._chunk_bytes = int(np.prod(self._chunk_shape)) * self.dtype.itemsize

    def pixels(self, time: int, rows: np.ndarray, columns: np.ndarray) -> Pixels:
        """The pixels of these rows and columns, (k,) int64 within the array, at one time.

        Raises:
          Unavailable: the store does not answer, or what it gives is damaged.
        """
        found = Pixels(
            np.full((len(rows), *self.shape[1:-2]), self._fill, self.dtype),
            np.full(len(rows), "", object),
            np.full(len(rows), "", object),
        )
        shards = rows // self.shard[0], columns // self.shard[1]
        for members in groups(*shards):
            y, x = (int(axis[members[0]]) for axis in shards)
            key = "/".join(map(str, ("c", time, *(0 for _ in self.shape[1:-2]), y, x)))
            found.shards[members] = key
            chunks = self._place(rows, self.shard[0], self.chunk[0])[members] * self._across
            chunks = chunks + self._place(columns, self.shard[1], self.chunk[1])[members]
            contents = self._contents(f"{self.url}/{key}", np.unique(chunks))
            for inside in groups(chunks):
                content = contents.get(int(chunks[inside[0]]))
                if content is None:
                    continue
                at = members[inside]
                chunk, found.checksums[at] = content
                here = chunk[..., rows[at] % self.chunk[0], columns[at] % self.chunk[1]]
                found.values[at] = np.moveaxis(here, -1, 0)
        return found

    @staticmethod
    def _place(pixels: np.ndarray, shard: int, chunk: int) -> np.ndarray:
        """Of the chunk within its shard, along one axis."""
        return pixels % shard // chunk

    def _contents(self, url: str, chunks: np.ndarray) -> dict[int, tuple[np.ndarray, str]]:
        """{number of a chunk in this shard: its values, and its checksum} for those there are."""
        for _ in range(ATTEMPTS):
            try:
                return self._read(url, chunks)
            except _Broken as broken:
                why = str(broken)
        raise Unavailable(f"{web.shown(url)}: {why}, read {ATTEMPTS} times")

    def _read(self, url: str, chunks: np.ndarray) -> dict[int, tuple[np.ndarray, str]]:
        index = self._chunks * _ENTRY + _CHECKSUM
        end = web.get(url, (-(index if index <= GAP else _CHECKSUM), None))
        if end is None:
            return {}
        start = end.size - index
        if start < 0:
            raise _Broken(f"has {end.size:,} bytes, too few for its index of {index:,}")
        if index <= GAP:
            told = int.from_bytes(end.content[-_CHECKSUM:], "little")
            if crc32c(end.content[:-_CHECKSUM]) != told:
                raise _Broken("has an index whose checksum does not agree")
            entries = [end.content[number * _ENTRY :][:_ENTRY] for number in chunks]
        else:
            entries = _pieces(url, end, [(start + int(n) * _ENTRY, _ENTRY) for n in chunks])
        there = {}
        for number, entry in zip(chunks, entries, strict=True):
            offset, length = np.frombuffer(entry, "<u8").tolist()
            if (offset, length) != (_NONE, _NONE):
                if length < _BLOSC or offset + length > start:
                    raise _Broken(f"has an index that leads beyond it (chunk {number:,})")
                there[int(number)] = offset, length
        contents = _pieces(url, end, list(there.values()))
        return {
            number: (self._decoded(content), hashlib.sha256(content).hexdigest()[:16])
            for number, content in zip(there, contents, strict=True)
        }

    def _decoded(self, content: bytes) -> np.ndarray:
        """The values of one compressed chunk."""
        values = np.frombuffer(decompressed(content, self._chunk_bytes), self.dtype)
        return values.reshape(self._chunk_shape)


def line(url: str, metadata: dict[str, Any], where: str) -> np.ndarray:
    """All of a small array of one axis, which is not in shards.

    Raises:
      InputError: it is stored in a way that is not read here.
      Unavailable: the store does not answer, or what it gives is damaged.
    """
    try:
        (length,), (chunk,) = (
            metadata["shape"], metadata["chunk_grid"]["configuration"]["chunk_shape"]
        )  # fmt: skip
        dtype = np.dtype(metadata["data_type"]).newbyteorder("<")
        _expect([codec["name"] for codec in metadata["codecs"]], ["bytes", "blosc"])
    except (KeyError, TypeError, ValueError) as error:
        raise _unread(where, error) from None
    values = np.full(length, metadata["fill_value"], dtype)
    for number, start in enumerate(range(0, length, chunk)):
        answer = web.get(f"{url}/c/{number}")
        if answer is not None:
            try:
                content = decompressed(answer.content, chunk * dtype.itemsize)
            except _Broken as broken:
                raise Unavailable(f"{web.shown(url)}: {broken}") from None
            values[start : start + chunk] = np.frombuffer(content, dtype)[: length - start]
    return values


def decompressed(content: bytes, length: int) -> bytes:
    """What Blosc has compressed, of a length that is known before.

    Raises:
      _Broken: it is damaged. Its header is compared first, so that nothing swells. Blosc has no
        checksum: what is damaged elsewhere may pass.
    """
    from numcodecs.blosc import decompress

    header = np.frombuffer(content.ljust(_BLOSC)[:_BLOSC], "<u4").tolist()
    if len(content) < _BLOSC or (header[1], header[3]) != (length, len(content)):
        raise _Broken("holds a chunk whose header tells another length")
    try:
        return decompress(content)
    except (RuntimeError, ValueError) as error:
        raise _Broken(f"holds a chunk that cannot be decompressed ({error})") from None


def crc32c(content: bytes) -> int:
    """The checksum behind an index (Castagnoli's polynomial, reflected)."""
    value = 0xFFFFFFFF
    for byte in content:
        value = _CRC32C[(value ^ byte) & 255] ^ value >> 8
    return value ^ 0xFFFFFFFF


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC32C = [_remainder(byte) for byte in range(256)]


def groups(*keys: np.ndarray) -> Iterator[np.ndarray]:
    """Rows, ascending, that agree in all of these (n,) keys; the groups in the keys' order."""
    if not len(keys[0]):
        return
    order = np.lexsort(keys[::-1])
    changes = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
    yield from np.split(order, np.flatnonzero(changes) + 1)


def _pieces(url: str, whole: web.Answer, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    """Parts of a file, each (start, length), in few requests.

    Args:
      whole: an earlier answer about the file, which must not have changed since.
    """
    pieces = [b""] * len(spans)
    run: list[int] = []
    for number in sorted(range(len(spans)), key=spans.__getitem__):
        start, length = spans[number]
        if run:
            first = spans[run[0]][0]
            end = max(sum(spans[member]) for member in run)
            if start - end > GAP or start + length - first > LONGEST:
                _ask(url, whole, spans, run, pieces)
                run = []
        run.append(number)
    if run:
        _ask(url, whole, spans, run, pieces)
    return pieces


def _ask(url: str, whole: web.Answer, spans, run: list[int], pieces: list[bytes]) -> None:
    """Reads those of the spans that are in `run`, in one request."""
    first = spans[run[0]][0]
    answer = web.get(url, (first, max(sum(spans[member]) for member in run)))
    if answer is None or (answer.etag, answer.size) != (whole.etag, whole.size):
        raise _Broken("changes while it is read")
    for member in run:
        start, length = spans[member]
        pieces[member] = answer.content[start - first : start - first + length]


def _unread(where: str, error: Exception) -> InputError:
    return InputError(
        f"{where}: is stored in a way that ecjax does not read ({error!r:.200}); ecjax may be too "
        "old for this store"
    )


def _expect(given: Any, wanted: Any) -> None:
    if given != wanted:
        raise ValueError(f"{given!r} in place of {wanted!r}")
