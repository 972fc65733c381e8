"""NumPy arrays (.npy) whose header says something else, or whose content is a pickle."""

from __future__ import annotations

import random
import re

from mutations import Mutation, number, text

# Would leave a folder `unpickled` where it is unpickled, and be an array of objects.
PICKLE = b"cos\nmkdir\n(S'unpickled'\ntR."
TYPES = (
    "'|O'", "'<f8'", "'<f4'", "'>f4'", "'<f2'", "'<c8'", "'|S4'", "'<U1'", "'|V4'", "'|V0'", "''",
    "'<M8[s]'", "[('a', '<f4')]", "[('a', '|O')]", "'<i4'", "'|i1'", "'|u1'", "'|b1'", "'<f16'",
    "('<f4', (4,))", "('<f4', (2147483647, 2147483647))", "None", "1", "'<f4,' * 9", "'O8'",
    "'f" + "4" * 3000 + "'",
)  # fmt: skip
SHAPES = (
    "()", "(0,)", "(1,)", "(0, 4)", "(24, 0)", "(24,)", "(96,)", "(4, 24)", "(24, 4, 1)", "(23, 4)",
    "(25, 4)", "(-24, -4)", "(-1, 4)", "(24.0, 4)", "('24', 4)", "[24, 4]", "24", "None",
    "(True, 4)", "(2147483648, 4)", "(4611686018427387904, 4)", "(9223372036854775807, 9)",
    "(18446744073709551640, 4)", "(1" + "0" * 4000 + ", 4)", "(24, 4, " + "1, " * 70 + ")",
    "(" * 300 + ")" * 300, "(" + "-" * 3000 + "24, 4)", "(24, 4) if 1 else 0", "__import__('os')",
)  # fmt: skip
ORDERS = ("True", "False", "None", "1", "'C'", "[]")
_PLACES = (r"(?<='descr': ).*?(?=, 'fortran)", r"(?<='shape': ).*(?=, \})", r"True|False")


def parts_of(content: bytes) -> tuple[str, bytes]:
    """Header and data of a valid array of version 1."""
    size = int.from_bytes(content[8:10], "little")
    return content[10 : 10 + size].decode("latin1"), content[10 + size :]


def header(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Another type, shape or order, or a changed word; at times with another length or version."""
    said, data = parts_of(content)
    which = draw.randrange(4)
    if which < 3:
        new = draw.choice((TYPES, SHAPES, ORDERS)[which])
        said = re.sub(_PLACES[which], lambda _: new, said)
        coded = said.encode("latin1")
    else:
        coded = text(("'descr'", "'shape'", "(", ")", "{", "**", "24", "4"))(
            said.encode("latin1"), other, draw
        )
    size, version, width = len(coded), 1, 2
    if draw.random() < 0.15:
        size = number(draw, size)
    if draw.random() < 0.15 or size > 65535:
        version, width = draw.choice(((2, 4), (3, 4), (0, 2), (4, 4), (255, 2)))
    length = (size % 256**width).to_bytes(width, "little")
    return b"\x93NUMPY" + bytes([version, draw.choice((0, 0, 0, 1))]) + length + coded + data


def pickled(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """An array of objects, which is a pickle."""
    said, data = parts_of(content)
    said = re.sub(_PLACES[0], "'|O'", said)
    start = b"\x93NUMPY\x01\x00" + len(said).to_bytes(2, "little") + said.encode("latin1")
    return draw.choice((start + PICKLE, PICKLE + data, start + data))


MUTATIONS: dict[str, Mutation] = {"header": header, "pickle": pickled}
