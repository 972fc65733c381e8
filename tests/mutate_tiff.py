"""GeoTIFFs with a tag that says something else, or a block that unpacks to something else."""

from __future__ import annotations

import random
import struct
from typing import NamedTuple

from mutations import ANY, Mutation, number, put

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8}
# Sides, bits, compression, planes, predictor, blocks and where they are, signs, places.
TAGS = (256, 257, 258, 259, 277, 284, 317, 322, 323, 324, 325, 339, 33550, 33922, 34264, 34735)
_BLOCK_OFFSETS, _BLOCK_SIZES = 324, 325


class Entry(NamedTuple):
    """A tag: where it stands, and its values, each of `size` bytes."""

    tag: int
    place: int
    values: int
    size: int
    count: int


def entries(content: bytes) -> tuple[list[Entry], bool]:
    """The tags of the first image of a valid little-endian file, and whether it is a BigTIFF."""
    big = content[2] == 43
    start = struct.unpack_from("<Q" if big else "<I", content, 8 if big else 4)[0]
    count = struct.unpack_from("<Q" if big else "<H", content, start)[0]
    start += 8 if big else 2
    found = []
    for place in range(start, start + count * (20 if big else 12), 20 if big else 12):
        tag, kind, number = struct.unpack_from("<HHQ" if big else "<HHI", content, place)
        inside = place + (12 if big else 8)
        size = _SIZES.get(kind, 1)
        values = inside
        if size * number > (8 if big else 4):
            values = struct.unpack_from("<Q" if big else "<I", content, inside)[0]
        found.append(Entry(tag, place, values, size, number))
    return found, big


def tag(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """One or two tags: what they are, their types, counts, or where their values are."""
    found, big = entries(content)
    for _ in range(draw.choice((1, 1, 2))):
        entry = draw.choice([entry for entry in found if entry.tag in TAGS or draw.random() < 0.1])
        offset, size = draw.choice(((0, 2), (2, 2), (4, 8), (12, 8)) if big else
                                   ((0, 2), (2, 2), (4, 4), (8, 4)))  # fmt: skip
        place = entry.place + offset
        new = draw.choice(TAGS) if not offset else number(draw, content[place : place + size])
        content = put(content, place, size, new)
    return content


def value(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """One or two values of tags: a side, a compression, a block's place or size."""
    found = [entry for entry in entries(content)[0] if entry.tag in TAGS and entry.count]
    for _ in range(draw.choice((1, 1, 2))):
        entry = draw.choice(found)
        place = entry.values + entry.size * draw.randrange(entry.count)
        content = put(content, place, entry.size, number(draw, content[place : place + entry.size]))
    return content


def directory(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Where the images' tags are, and how many: circles among them too."""
    found, big = entries(content)
    start, wide = found[0].place - (8 if big else 2), 8 if big else 4
    after = found[-1].place + (20 if big else 12)
    place, size = draw.choice(((8 if big else 4, wide), (start, 8 if big else 2), (after, wide)))
    return put(content, place, size, draw.choice((start, number(draw, start))))


def covered(content: bytes) -> list[tuple[int, int]]:
    """The blocks of a valid file, which Deflate puts a checksum over."""
    tags = {entry.tag: entry for entry in entries(content)[0]}
    starts, sizes = (
        [
            int.from_bytes(content[t.values + j * t.size :][: t.size], "little")
            for j in range(t.count)
        ]
        for t in (tags[_BLOCK_OFFSETS], tags[_BLOCK_SIZES])
    )
    return [(start, start + size) for start, size in zip(starts, sizes, strict=True)]


def block(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """What a block holds, of the same length."""
    start, stop = draw.choice(covered(content))
    changed = draw.choice((*ANY.values(),))(content[start:stop], other, draw)[: stop - start]
    return content[:start] + changed.ljust(stop - start, b"\0") + content[stop:]


MUTATIONS: dict[str, Mutation] = {
    "tag": tag,
    "value": value,
    "directory": directory,
    "block": block,
}
