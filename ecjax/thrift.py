"""Reads structs of Thrift's compact protocol, the form of Parquet's page headers.

Layout: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from typing import Any

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_MOST_NESTED = 8


class Short(ValueError):
    """The bytes end before the struct does."""


def read_struct(data: bytes) -> tuple[dict[int, Any], int]:
    """A struct as {number of field: value}, and how many bytes it took.

    Values are whole numbers, bools, bytes, lists, and structs as such; maps are refused.

    Raises:
        Short: More bytes are needed.
        ValueError: It is no struct.
    """
    reader = _Reader(data)
    return reader.struct(0), reader.place


def field(struct: Any, number: int, kind: type, default: Any = None) -> Any:
    """A field's value.

    Raises:
        ValueError: It is of another kind, or there is neither it nor a default.
    """
    value = struct.get(number, default) if isinstance(struct, dict) else None
    if not isinstance(value, kind) or kind is int and isinstance(value, bool):
        raise ValueError(f"field {number} is no {kind.__name__}")
    return value


class _Reader:
    def __init__(self, data: bytes):
        self.data, self.place = data, 0

    def struct(self, depth: int) -> dict[int, Any]:
        if depth > _MOST_NESTED:
            raise ValueError("structs nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._whole()
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_I16, _I32, _I64):
            return self._whole()
        if kind in (_TRUE, _FALSE, _BYTE):  # bools within a list
            return self._byte()
        if kind == _DOUBLE:
            return self._bytes(8)
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            if count > len(self.data):
                raise Short(f"a list of {count} values")
            return [self._value(head & 15, depth + 1) for _ in range(count)]
        if kind == _STRUCT:
            return self.struct(depth + 1)
        raise ValueError(f"a field of type {kind}")

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, count: int) -> bytes:
        found = self.data[self.place : self.place + count]
        if len(found) != count:
            raise Short(f"{count} bytes are wanted")
        self.place += count
        return found

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number without an end")

    def _whole(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
