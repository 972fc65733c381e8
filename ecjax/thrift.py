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
    try:
        return _struct(data, 0, 0)
    except IndexError:
        raise Short(f"{len(data)} bytes end within a struct") from None


def number(fields: dict[int, Any], field: int, default: int | None = None) -> int:
    """A whole number of a struct; a ValueError if it is none, or missing without a default."""
    value = fields.get(field, default)
    if not isinstance(value, int):
        raise ValueError(f"field {field} holds no number")
    return value


def struct(fields: dict[int, Any], field: int) -> dict[int, Any]:
    """A struct within a struct; a ValueError if it is none, or missing."""
    value = fields.get(field)
    if not isinstance(value, dict):
        raise ValueError(f"field {field} holds no struct")
    return value


def structs(fields: dict[int, Any], field: int) -> list[dict[int, Any]]:
    """A list of structs; a ValueError if it is none, or missing."""
    values = fields.get(field)
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise ValueError(f"field {field} holds no structs")
    return values


# Each takes the bytes and where to begin, and gives the value and where it ends; an IndexError is
# that the bytes end. A footer has hundreds of thousands of fields, so that calls are spared.


def _struct(data: bytes, place: int, depth: int) -> tuple[dict[int, Any], int]:
    if depth > _MOST_NESTED:
        raise ValueError("structs nested too deeply")
    fields: dict[int, Any] = {}
    name = 0
    while head := data[place]:
        place += 1
        kind = head & 15
        if head >> 4:
            name += head >> 4
        else:
            name, place = _whole(data, place)
        if kind <= _FALSE:
            fields[name] = kind == _TRUE
        elif _BYTE < kind <= _I64:
            fields[name], place = _whole(data, place)
        else:
            fields[name], place = _value(kind, data, place, depth)
    return fields, place + 1


def _value(kind: int, data: bytes, place: int, depth: int) -> tuple[Any, int]:
    if kind == _BINARY:
        count, place = _varint(data, place)
        return _slice(data, place, count)
    if kind == _STRUCT:
        return _struct(data, place, depth + 1)
    if kind in (_LIST, _SET) and depth <= _MOST_NESTED:
        head, place = data[place], place + 1
        count = head >> 4
        if count == 15:
            count, place = _varint(data, place)
        if count > len(data):
            raise IndexError
        values = []
        for _ in range(count):
            value, place = _value(head & 15, data, place, depth + 1)
            values.append(value)
        return values, place
    if kind in (_I16, _I32, _I64):
        return _whole(data, place)
    if kind in (_TRUE, _FALSE, _BYTE):  # bools within a list
        return data[place], place + 1
    if kind == _DOUBLE:
        return _slice(data, place, 8)
    raise ValueError(f"a field of type {kind}")


def _slice(data: bytes, place: int, count: int) -> tuple[bytes, int]:
    if place + count > len(data):
        raise IndexError
    return data[place : place + count], place + count


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("a number without an end")


def _whole(data: bytes, place: int) -> tuple[int, int]:
    byte = data[place]
    if byte < 128:
        return byte >> 1 ^ -(byte & 1), place + 1
    value, place = _varint(data, place)
    return value >> 1 ^ -(value & 1), place
