"""Arrow IPC files (Feather) with a value changed that readers rely on.

Their metadata are flatbuffers: tables of fields at places that the tables themselves say. They are
walked by what Arrow's format says of them, and a number is changed where it lies: a length, an
offset, a count of nulls, a type, a dictionary's number.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import NamedTuple

from mutations import ANY, Mutation, number, put

# The fields of each table, in their order: bytes of a number; the table that is pointed to; in
# brackets, what a vector is of: tables, or structs of so many bytes. A union's table is told by
# the number before it.
TABLES: dict[str, tuple] = {
    "Message": (2, 1, "Header", 8, ["Pair"]),
    "Schema": (2, ["Field"], ["Pair"], [8]),
    "Batch": (8, [16], [16], "Compression", [8]),
    "Dictionary": (8, "Batch", 1),
    "Field": ("text", 1, 1, "Type", "Encoding", ["Field"], ["Pair"]),
    "Type": (4, 2, 4, 4),
    "Encoding": (8, "Type", 1, 2),
    "Compression": (1, 1),
    "Footer": (2, "Schema", [24], [24], ["Pair"]),
    "Pair": ("text", "text"),
}
HEADERS = {1: "Schema", 2: "Dictionary", 3: "Batch"}
MAGIC = b"ARROW1"


class Slot(NamedTuple):
    """A number of `size` bytes at `place`, of the table that is named."""

    table: str
    place: int
    size: int


def slots(content: bytes, start: int, table: str) -> Iterator[Slot]:
    """All numbers of a flatbuffer that begins at `start` with the place of its root table."""
    root = struct.unpack_from("<I", content, start)[0]
    yield Slot(table, start, 4)
    yield from _of_table(content, start + root, table)


def _of_table(content: bytes, at: int, table: str) -> Iterator[Slot]:
    back = struct.unpack_from("<i", content, at)[0]
    vtable = at - back
    size = struct.unpack_from("<H", content, vtable)[0]
    yield Slot(table, at, 4)
    offsets = struct.unpack_from(f"<{size // 2 - 2}H", content, vtable + 4)
    union = 0
    for j, (offset, kind) in enumerate(zip(offsets, TABLES[table], strict=False)):
        yield Slot(table, vtable + 4 + 2 * j, 2)
        if not offset:
            continue
        if isinstance(kind, int):
            yield Slot(table, at + offset, kind)
            union = content[at + offset]
            continue
        kind = HEADERS.get(union, "Compression") if kind == "Header" else kind
        yield Slot(table, at + offset, 4)
        yield from _pointed(content, at + offset, kind, table)


def _pointed(content: bytes, place: int, kind: str | list, table: str) -> Iterator[Slot]:
    """What the offset at a place leads to: a table, a text, or a vector of tables or structs."""
    to = place + struct.unpack_from("<I", content, place)[0]
    if isinstance(kind, str) and kind != "text":
        yield from _of_table(content, to, kind)
        return
    yield Slot(table, to, 4)
    count = struct.unpack_from("<I", content, to)[0]
    if kind == "text":
        yield from (Slot(table, to + 4 + j, 1) for j in range(count))
    elif isinstance(kind[0], str):
        for j in range(count):
            yield Slot(table, to + 4 + 4 * j, 4)
            yield from _pointed(content, to + 4 + 4 * j, kind[0], table)
    else:  # structs of numbers, at a multiple of eight bytes
        first = to + 4 + -(to + 4) % 8
        yield from (Slot(table, first + 8 * j, 8) for j in range(count * kind[0] // 8))


class Part(NamedTuple):
    """A message: where its metadata begin, and its body; and where the next one does."""

    metadata: int
    body: int
    stop: int


def messages(content: bytes) -> list[Part]:
    """Those of a valid file or stream, one after the other."""
    found, at = [], 8 if content.startswith(MAGIC) else 0
    while at < len(content) and struct.unpack_from("<I", content, at)[0] == 0xFFFFFFFF:
        size = struct.unpack_from("<i", content, at + 4)[0]
        if not size:
            break
        body = at + 8 + size
        root = at + 8 + struct.unpack_from("<I", content, at + 8)[0]
        vtable = root - struct.unpack_from("<i", content, root)[0]
        fields = struct.unpack_from("<H", content, vtable)[0] // 2 - 2
        length = 0
        if fields > 3:  # the fourth is how long the body is
            offset = struct.unpack_from("<H", content, vtable + 10)[0]
            length = struct.unpack_from("<q", content, root + offset)[0] if offset else 0
        found.append(Part(at + 8, body, body + length))
        at = found[-1].stop
    return found


def footer_of(content: bytes) -> int:
    """Where the footer begins."""
    return len(content) - 10 - struct.unpack_from("<i", content, len(content) - 10)[0]


def metadata(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """One or two numbers of the messages' metadata."""
    return _changed(content, [(part.metadata, "Message") for part in messages(content)], draw)


def footer(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """One or two numbers of the footer, or how long it is, or a message's length."""
    if draw.random() < 0.2:
        places = [len(content) - 10, *(part.metadata - 4 for part in messages(content))]
        place = draw.choice(places)
        return put(content, place, 4, number(draw, content[place : place + 4]))
    return _changed(content, [(footer_of(content), "Footer")], draw)


def _changed(content: bytes, tables: list[tuple[int, str]], draw: random.Random) -> bytes:
    found = [slot for start, table in tables for slot in slots(content, start, table)]
    for _ in range(draw.choice((1, 1, 2))):
        table = draw.choice(sorted({slot.table for slot in found}))
        slot = draw.choice([slot for slot in found if slot.table == table])
        old = content[slot.place : slot.place + slot.size]
        content = put(content, slot.place, slot.size, number(draw, old))
    return content


def body(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """What lies in a body: offsets of lists and texts, sizes before compressed buffers, values."""
    part = draw.choice([part for part in messages(content) if part.stop > part.body])
    place = part.body + 8 * draw.randrange((part.stop - part.body) // 8)
    if draw.random() < 0.5:
        size = draw.choice((4, 8))
        return put(content, place, size, number(draw, content[place : place + size]))
    piece = content[part.body : part.stop]
    changed = draw.choice((*ANY.values(),))(piece, other, draw)[: len(piece)]
    return content[: part.body] + changed.ljust(len(piece), b"\0") + content[part.stop :]


MUTATIONS: dict[str, Mutation] = {"metadata": metadata, "body": body}
OF_FILES: dict[str, Mutation] = {"footer": footer}
