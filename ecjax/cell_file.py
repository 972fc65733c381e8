"""The file of a cell: what it is of, its arrays, and checksums over every byte.

    ecjax cell 1 <bytes of header> <bytes of payload> <SHA-256 of header> <SHA-256 of payload>\n
    header   JSON: whatever the writer says about the cell, and under `arrays` each one's
             name, dtype, shape and first byte within the payload
    payload  the arrays, row-major, little-endian, each at a multiple of 64 bytes

Files of any version begin with its number and the bytes of the header, in twelve digits.
A file that was cut or changed anywhere is `Damaged`; nothing in it is executed or unpickled.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

FORMAT = 1
# Before the sums are checked, sizes are believed up to a point only.
LINE = re.compile(rb"ecjax cell 1 ([0-9]{12}) ([0-9]{18}) ([0-9a-f]{64}) ([0-9a-f]{64})\n")
LINE_BYTES = len("ecjax cell 1 ") + 12 + 1 + 18 + 1 + 64 + 1 + 64 + 1
ALIGNMENT = 64
KINDS = "fiub"  # of dtypes: numbers and booleans


class Damaged(Exception):
    """A cell's file is not what was written; the message says in what."""


class OtherVersion(Exception):
    """A file is a cell of another version of this form."""


def pack(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """A cell as the content of a file.

    Args:
      header: what JSON can hold; the key `arrays` is taken.
      arrays: name → numbers or booleans.
    """
    parts, described, start = [], {}, 0
    for name, array in arrays.items():
        array = np.ascontiguousarray(array)
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        if array.dtype.kind not in KINDS:
            raise TypeError(f"{name}: {array.dtype} is not kept in cells")
        described[name] = [array.dtype.str, list(array.shape), start]
        padding = -array.nbytes % ALIGNMENT
        parts += [memoryview(array).cast("B") if array.size else b"", bytes(padding)]
        start += array.nbytes + padding
    head = json.dumps({**header, "arrays": described}, sort_keys=True).encode()
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    sums = f"{hashlib.sha256(head).hexdigest()} {digest.hexdigest()}"
    line = f"ecjax cell {FORMAT} {len(head):012d} {start:018d} {sums}\n"
    return b"".join([line.encode(), head, *parts])


def header_bytes(start: bytes, size: int) -> int:
    """How many bytes line and header have together, by the file's first LINE_BYTES.

    Args:
      size: of the file.

    Raises:
      Damaged: the file does not begin as a cell does, or has another size than it says.
      OtherVersion: it begins as one of another version.
    """
    head, payload, _, _ = _line(start)
    if LINE_BYTES + head + payload != size:
        raise Damaged(f"it has {size:,} bytes, not the {LINE_BYTES + head + payload:,} it says")
    return LINE_BYTES + head


def read_header(start: bytes) -> dict[str, Any]:
    """The header, from the bytes that `header_bytes` counts.

    Raises:
      Damaged: the header is not what was written.
    """
    length, _, expected, _ = _line(start)
    head = start[LINE_BYTES : LINE_BYTES + length]
    if hashlib.sha256(head).hexdigest() != expected:
        raise Damaged("its header has changed")
    return json.loads(head)


def unpack(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a file's content; the arrays cannot be written to.

    Raises:
      Damaged: the content is not what was written.
    """
    stop = header_bytes(content, len(content))
    header = read_header(content)
    payload = memoryview(content)[stop:]
    if hashlib.sha256(payload).hexdigest() != _line(content)[3]:
        raise Damaged("its numbers have changed")
    arrays = {}
    for name, (dtype, shape, first) in header["arrays"].items():
        count = int(np.prod(shape, dtype=np.int64))
        own = np.frombuffer(payload, np.dtype(dtype), count, first)
        arrays[name] = own.reshape(shape).astype(own.dtype.newbyteorder("="), copy=False)
    return header, arrays


def _line(start: bytes) -> tuple[int, int, str, str]:
    found = LINE.match(start[:LINE_BYTES])
    if found is None:
        version = re.match(rb"ecjax cell ([1-9][0-9]{0,3}) [0-9]{12} ", start[:LINE_BYTES])
        if version is not None and int(version[1]) != FORMAT:
            raise OtherVersion
        raise Damaged("it does not begin as a cell does")
    head, payload, *sums = found.groups()
    return int(head), int(payload), *(own.decode() for own in sums)
