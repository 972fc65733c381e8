"""Reads tables of a FlatBuffer, the form of Arrow's metadata, believing nothing.

Every offset is checked against the bytes that are there before it is followed; what does not fit is
a ValueError. Offsets lead forwards only, so that there are no circles.
Layout: https://flatbuffers.dev/internals/ (tables, vectors, strings and structs, little-endian).
"""

from __future__ import annotations

import struct
from typing import Any


class Table:
    """A table within the bytes of a buffer.

    Fields are named by their numbers in the schema; one that is not stored has its default.
    """

    def __init__(self, data: bytes, position: int):
        self._data, self._position = data, position
        vtable = position - _read("<i", data, position)[0]
        size, _ = _read("<HH", data, vtable)
        if size < 4 or size % 2:
            raise ValueError(f"a table of fields has {size} bytes")
        self._offsets = _read(f"<{size // 2 - 2}H", data, vtable + 4)

    def number(self, field: int, code: str, default: Any = 0) -> Any:
        """A scalar; `code` is its format as of the module struct."""
        place = self._place(field)
        return default if place is None else _read("<" + code, self._data, place)[0]

    def table(self, field: int) -> Table | None:
        """A table, or the one of a union."""
        place = self._place(field)
        return None if place is None else Table(self._data, _follow(self._data, place))

    def text(self, field: int) -> str:
        """Text; "" where there is none."""
        start, size = self._vector(field, 1)
        return self._data[start : start + size].decode("utf-8")

    def tables(self, field: int) -> list[Table]:
        """A vector of tables; [] where there is none."""
        start, count = self._vector(field, 4)
        places = range(start, start + 4 * count, 4)
        return [Table(self._data, _follow(self._data, place)) for place in places]

    def structs(self, field: int, code: str) -> list[tuple]:
        """A vector of structs or scalars; [] where there is none."""
        one = struct.Struct("<" + code)
        start, count = self._vector(field, one.size)
        return list(one.iter_unpack(self._data[start : start + one.size * count]))

    def _place(self, field: int) -> int | None:
        """Where a field is stored, if it is."""
        offset = self._offsets[field] if field < len(self._offsets) else 0
        return self._position + offset if offset else None

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Where the elements of a vector, of so many bytes each, begin, and how many there are."""
        place = self._place(field)
        if place is None:
            return 0, 0
        place = _follow(self._data, place)
        (count,) = _read("<I", self._data, place)
        _check(self._data, place + 4, size * count)
        return place + 4, count


def root(data: bytes) -> Table:
    """The buffer's outermost table."""
    return Table(data, _follow(data, 0))


def _follow(data: bytes, place: int) -> int:
    """What an offset points to, which is never itself."""
    (offset,) = _read("<I", data, place)
    if offset < 4:
        raise ValueError(f"offset {offset} at byte {place} leads nowhere")
    return place + offset


def _read(code: str, data: bytes, place: int) -> tuple:
    _check(data, place, struct.calcsize(code))
    return struct.unpack_from(code, data, place)


def _check(data: bytes, place: int, size: int) -> None:
    if place < 0 or place + size > len(data):
        raise ValueError(f"bytes {place} to {place + size} of metadata of {len(data)}")
