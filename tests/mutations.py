"""Ways to damage a file: as bad disks and cut transfers do, and as someone would who means ill.

A mutation takes a file's content, that of another file of its kind, and what draws at random; it
returns the damaged content. Those of a form that is known change a value that readers rely on and
leave the rest as it was, so that they come further than a broken file would.
"""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Callable, Sequence

Mutation = Callable[[bytes, bytes, random.Random], bytes]

# Where arithmetic on sizes and offsets goes wrong.
NUMBERS = (
    0, 1, -1, 2, 3, 7, 8, 64, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1,
    2**31, -(2**31), 2**32 - 1, 2**32, 2**62, 2**63 - 1, -(2**63),
)  # fmt: skip
BYTES = (0x00, 0x01, 0x0A, 0x20, 0x22, 0x2C, 0x7F, 0x80, 0xC3, 0xFE, 0xFF)
# What ends, hides or changes the meaning of text.
TEXTS = (
    "", "\0", "\n", "\r", "\t", " ", '"', "'", "\\", ",", ";", "=", "#", "[", "]", "{", "}", "é",
    "\u202e", "\ufeff", "\U0001f30d", "\x1b[31m", "NaN", "null", "-", "inf", "1e400", "-0", "0x1F",
    "9" * 5000, "1_000", "true", "1979-05-27", "9223372036854775808", "../..", "/dev/null",
    "x" * 70,
)  # fmt: skip


def span(size: int, draw: random.Random) -> tuple[int, int]:
    """Where a piece of a file of `size` bytes begins and ends, short ones more often than long."""
    start = draw.randrange(size)
    most = min(size - start, 2 ** draw.randint(0, max(1, size.bit_length())))
    return start, start + draw.randint(1, most)


def flip(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """One to eight bits."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 8))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def byte(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """One to sixteen bytes, each for itself or side by side."""
    changed = bytearray(content)
    start = draw.randrange(len(changed))
    for j in range(draw.choice((1, 1, 2, 4, 16))):
        place = (start + j) % len(changed) if draw.random() < 0.7 else draw.randrange(len(changed))
        changed[place] = draw.choice((draw.choice(BYTES), draw.randrange(256)))
    return bytes(changed)


def word(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Four or eight bytes, which may be a size or an offset."""
    size = draw.choice((4, 8))
    if len(content) < size:
        return flip(content, other, draw)
    place = draw.randrange(len(content) - size + 1)
    place -= place % draw.choice((1, 4))
    return put(content, place, size, number(draw, content[place : place + size]))


def cut(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """A piece is missing: within, or the rest of the file."""
    start, stop = span(len(content), draw)
    return content[:start] + (content[stop:] if draw.random() < 0.6 else b"")


def insert(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Something that was not there."""
    start, size = draw.randrange(len(content) + 1), draw.choice((1, 2, 4, 8, 64, 1000))
    fill = draw.choice((draw.randbytes(size), bytes(size), b"\xff" * size))
    return content[:start] + fill + content[start:]


def repeat(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """A piece several times over."""
    start, stop = span(len(content), draw)
    times = min(draw.choice((2, 3, 16, 200)), max(2, 200_000 // (stop - start)))
    return content[:start] + content[start:stop] * times + content[stop:]


def move(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """A piece elsewhere, in place of what was there."""
    start, stop = span(len(content), draw)
    to = draw.randrange(len(content) - (stop - start) + 1)
    return content[:to] + content[start:stop] + content[to + stop - start :]


def splice(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """The beginning of one file and the end of another."""
    first, second = (content, other) if draw.random() < 0.5 else (other, content)
    stop = draw.randrange(1, len(first))
    start = stop if draw.random() < 0.5 and stop < len(second) else draw.randrange(1, len(second))
    return first[:stop] + second[start:]


ANY: dict[str, Mutation] = {
    "bits": flip,
    "bytes": byte,
    "word": word,
    "cut": cut,
    "insertion": insert,
    "repetition": repeat,
    "move": move,
    "splice": splice,
}


def number(draw: random.Random, old: bytes | int = 0) -> int:
    """A number that is likely to be wrong, or near to the one that was there."""
    if isinstance(old, bytes):
        old = int.from_bytes(old, "little", signed=True)
    near = (old + 1, old - 1, 2 * old, old // 2, -old, old + 8, old ^ 1 << draw.randrange(40))
    return draw.choice((draw.choice(NUMBERS), draw.choice(near), draw.randrange(64)))


def put(content: bytes, place: int, size: int, value: int) -> bytes:
    """Little-endian into `size` bytes, as much of the value as they hold."""
    value = (value % (1 << 8 * size)).to_bytes(size, "little")
    return content[:place] + value + content[place + size :]


def text(words: Sequence[str] = ()) -> Mutation:
    """Changes text by words: some put in, taken out, exchanged, or many times over.

    Args:
        words: Beside TEXTS.
    """

    def mutate(content: bytes, other: bytes, draw: random.Random) -> bytes:
        parts = _parts(content.decode("utf-8", "surrogateescape"))
        for _ in range(draw.choice((1, 1, 2, 5))):
            place = draw.randrange(len(parts))
            new = draw.choice((*TEXTS, *words, *(draw.choice(parts),) * 10))
            how = draw.randrange(5)
            if how == 0:
                parts.insert(place, new)
            elif how == 1:
                parts[place] = new
            elif how == 2 and len(parts) > 1:
                del parts[place]
            elif how == 3:
                parts[place] *= draw.choice((2, 3, 2000))
            else:
                to = draw.randrange(len(parts))
                parts[place], parts[to] = parts[to], parts[place]
        return "".join(parts).encode("utf-8", "surrogateescape")

    return mutate


def lines(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Text by lines: one dropped, doubled, exchanged, or ended otherwise."""
    rows = content.splitlines(keepends=True)
    a, b = draw.randrange(len(rows)), draw.randrange(len(rows))
    how = draw.randrange(5)
    if how == 0:
        del rows[a]
    elif how == 1:
        rows.insert(b, rows[a])
    elif how == 2:
        rows[a], rows[b] = rows[b], rows[a]
    elif how == 3:
        ends = draw.choice((b"\r", b"\r\n", b"\n\n", b"\v", b"\x85", b""))
        rows = [row.rstrip(b"\r\n") + ends for row in rows]
    else:
        rows[a] = rows[a].rstrip(b"\r\n") + rows[b]
    return b"".join(rows) or b"\n"


def values(choices: Sequence[str]) -> Mutation:
    """Gives a key of TOML another value: one of some, or that of another key."""

    def mutate(content: bytes, other: bytes, draw: random.Random) -> bytes:
        rows = content.decode().splitlines()
        keyed = [j for j, row in enumerate(rows) if " = " in row]
        for _ in range(draw.choice((1, 1, 2))):
            j, k = draw.choice(keyed), draw.choice(keyed)
            new = draw.choice((*choices, rows[k].partition(" = ")[2]))
            rows[j] = f"{rows[j].partition(' = ')[0]} = {new}"
        return "\n".join(rows).encode()

    return mutate


def _parts(text: str) -> list[str]:
    """Text as runs of letters, of digits, and single signs."""
    parts: list[str] = []
    for sign in text:
        kind = sign.isalpha(), sign.isdigit()
        if parts and any(kind) and kind == (parts[-1][-1].isalpha(), parts[-1][-1].isdigit()):
            parts[-1] += sign
        else:
            parts.append(sign)
    return parts or [""]


def zipped(mutate: Mutation) -> Mutation:
    """Changes what a gzip file holds, and zips it again."""

    def unzipped(content: bytes, other: bytes, draw: random.Random) -> bytes:
        inner = mutate(gzip.decompress(content), gzip.decompress(other), draw)
        return gzip.compress(inner, mtime=0)

    return unzipped


def gzip_fields(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """The header of a gzip file, or its checksum and size at the end."""
    if draw.random() < 0.5:
        place = draw.randrange(10)
        return put(content, place, 1, draw.choice((*BYTES, 2, 4, 8, 16, 31)))
    place = len(content) - draw.choice((8, 4))
    old = struct.unpack_from("<I", content, place)[0]
    return put(content, place, 4, number(draw, old))
