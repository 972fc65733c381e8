"""Many cells in one file, for stores that are slow with many.

ecjax cells 1 <bytes of index> <bytes of cells> <SHA-256 of index>\n
index  JSON: of each cell its name, first byte after the index, bytes and header
cells  their files, one after the other, each with its own checksums
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from ecjax import cell_file
from ecjax.cell_file import Damaged

ENDING = ".cells"
LINE = re.compile(rb"ecjax cells 1 ([0-9]{12}) ([0-9]{18}) ([0-9a-f]{64})\n")
LINE_BYTES = len("ecjax cells 1 ") + 12 + 1 + 18 + 1 + 64 + 1


class Member(NamedTuple):
    """A cell within a file of many.

    Attributes:
      name: of its own file.
      start, size: its bytes within the file of many.
      header: what it is of.
    """

    name: str
    start: int
    size: int
    header: dict[str, Any]


def pack(cells: Iterable[tuple[str, bytes]]) -> bytes:
    """Cells, by name with the content of their files, as the content of one.

    Raises:
      Damaged: one of them is.
    """
    index, contents, start = [], [], 0
    for name, content in cells:
        header, _ = cell_file.unpack(content)
        index.append([name, start, len(content), header])
        contents.append(content)
        start += len(content)
    head = json.dumps(index).encode()
    line = f"ecjax cells 1 {len(head):012d} {start:018d} {hashlib.sha256(head).hexdigest()}\n"
    return b"".join([line.encode(), head, *contents])


def name_of(members: Iterable[str]) -> str:
    """Of the file with these cells: equal ones have equal names."""
    return hashlib.sha256("\n".join(sorted(members)).encode()).hexdigest()[:32] + ENDING


def index_bytes(start: bytes, size: int) -> int:
    """How many bytes line and index have together, by the file's first LINE_BYTES.

    Args:
      size: of the file.

    Raises:
      Damaged: the file does not begin as one of cells does, or has another size than it says.
    """
    index, cells, _ = _line(start)
    if LINE_BYTES + index + cells != size:
        raise Damaged(f"it has {size:,} bytes, not the {LINE_BYTES + index + cells:,} it says")
    return LINE_BYTES + index


def read_index(start: bytes) -> list[Member]:
    """What is in it, from the bytes that `index_bytes` counts.

    Raises:
      Damaged: the index is not what was written.
    """
    length, _, expected = _line(start)
    index = start[LINE_BYTES : LINE_BYTES + length]
    if hashlib.sha256(index).hexdigest() != expected:
        raise Damaged("its index has changed")
    first = LINE_BYTES + length
    return [Member(name, first + at, size, head) for name, at, size, head in json.loads(index)]


def _line(start: bytes) -> tuple[int, int, str]:
    found = LINE.match(start[:LINE_BYTES])
    if found is None:
        raise Damaged("it does not begin as a file of cells does")
    index, cells, digest = found.groups()
    return int(index), int(cells), digest.decode()
