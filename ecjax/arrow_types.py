"""The columns of Arrow's schema message: their names, types, and buffers in a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from ecjax.errors import InputError, quote
from ecjax.flatbuffers import Table
from ecjax.limits import check_columns

MOST_NESTED = 8
_UNITS = ("s", "ms", "us", "ns")
_FLOATS = (pa.float16(), pa.float32(), pa.float64())
_STRUCT = 13

# Of each type, by its number in Schema.fbs: how many buffers it has, without those of its children.
_BUFFERS = {
    1: 0, 2: 2, 3: 2, 4: 3, 5: 3, 6: 2, 7: 2, 8: 2, 9: 2, 10: 2, 11: 2, 12: 2, 13: 1, 15: 2, 16: 1,
    17: 2, 18: 2, 19: 3, 20: 3, 21: 2, 22: 0, 23: 2, 24: 2, 25: 3, 26: 3,
}  # fmt: skip
_VARIADIC = (23, 24)  # of which each batch says how many more


@dataclasses.dataclass(frozen=True)
class Field:
    """A column, or one inside of a column.

    Attributes:
        name: of the column.
        stored: what a batch holds: indices, where there is a dictionary.
        buffers: how many, before the children's; with `variadic`, of which more may follow.
        children: columns inside.
        dictionary, values: its key and the column of its values, if there is one.
        readable: whether columns of the type are read.
    """

    name: str
    stored: pa.DataType
    buffers: int
    variadic: bool = False
    children: tuple[Field, ...] = ()
    dictionary: int | None = None
    values: Field | None = None
    readable: bool = True

    @property
    def type(self) -> pa.DataType:
        """Of the column."""
        if self.values is None:
            return self.stored
        return pa.dictionary(self.stored, self.values.stored)


def schema_of(message: Table, here: str) -> tuple[list[Field], pa.Schema]:
    """The columns of a message Schema.

    Raises:
        ValueError: It is damaged, or in the other byte order.
        InputError: There are too many columns.
    """
    if message.number(0, "h"):
        raise ValueError("numbers in big-endian order")
    tables = message.tables(1)
    check_columns(len(tables), here)
    numbers = iter(range(4 * len(tables) + 1000))  # so many fields at most, inner ones included
    fields = [_field(table, numbers, 0) for table in tables]
    metadata = {pair.text(0): pair.text(1) for pair in message.tables(2)}
    own = [{pair.text(0): pair.text(1) for pair in table.tables(6)} for table in tables]
    described = [pa.field(f.name, f.type, metadata=m) for f, m in zip(fields, own, strict=True)]
    return fields, pa.schema(described, metadata)


def check_read(fields: Sequence[Field], names: Sequence[str], here: str) -> None:
    """Raises an InputError if one of the wanted columns is of a type that is not read."""
    asked = set(names)
    for field in fields:
        if field.name in asked and not field.readable:
            raise InputError(
                f"{here}: column {quote(field.name)} is of a type ({field.type}) that is not read "
                "from Arrow files; leave it out, or write the table as Parquet"
            )


def least_bytes(kind: pa.DataType) -> int:
    """Bytes that each row of a column takes at least."""
    if pa.types.is_fixed_size_list(kind):
        return kind.list_size * least_bytes(kind.value_type)
    try:
        return kind.bit_width // 8
    except ValueError:  # of no fixed width
        return 0


def _field(table: Table, numbers: Iterator[int], depth: int) -> Field:
    if next(numbers, None) is None or depth > MOST_NESTED:
        raise ValueError("too many columns within columns")
    name, number = table.text(0), table.number(2, "B")
    children = tuple(_field(child, numbers, depth + 1) for child in table.tables(5))
    about, encoding = table.table(3), table.table(4)
    if about is None:
        raise ValueError(f"column {quote(name)} has no type")
    if number == 14:  # a union; its types, and where they are
        found = Field(
            name, pa.struct([]), 1 + about.number(0, "h"), False, children, readable=False
        )
    else:
        found = _plain(name, number, about, children)
    if encoding is None:
        return found
    index = encoding.table(1)
    stored = pa.int32() if index is None else _integer(index)
    nested = bool(found.children)
    return Field(
        name, stored, 2, dictionary=encoding.number(0, "q"), values=found,
        readable=found.readable and not nested,
    )  # fmt: skip


def _plain(name: str, number: int, about: Table, children: tuple[Field, ...]) -> Field:
    if number not in _BUFFERS:
        raise ValueError(f"column {quote(name)} is of unknown type {number}")
    variadic = number in _VARIADIC
    make = _TYPES.get(number)
    plain = all(child.readable and child.values is None for child in children)
    if make is None or not plain:
        stored = pa.struct([(child.name, child.type) for child in children])
        return Field(name, stored, _BUFFERS[number], variadic, children, readable=False)
    stored = make(about, children)
    return Field(name, stored, _BUFFERS[number], variadic, children)


def _integer(about: Table) -> pa.DataType:
    width, signed = about.number(0, "i"), about.number(1, "?", False)
    if width not in (8, 16, 32, 64):
        raise ValueError(f"integers of {width} bits")
    return getattr(pa, f"{'' if signed else 'u'}int{width}")()


def _float(about: Table, _: object) -> pa.DataType:
    return _FLOATS[_among(about.number(0, "h"), len(_FLOATS))]


def _decimal(about: Table, _: object) -> pa.DataType:
    width, digits = about.number(2, "i", 128), (about.number(0, "i"), about.number(1, "i"))
    if width not in (128, 256):
        raise ValueError(f"decimals of {width} bits")
    return (pa.decimal128 if width == 128 else pa.decimal256)(*digits)


def _timestamp(about: Table, _: object) -> pa.DataType:
    return pa.timestamp(_UNITS[_among(about.number(0, "h"), 4)], about.text(1) or None)


def _date(about: Table, _: object) -> pa.DataType:
    return pa.date64() if about.number(0, "h", 1) else pa.date32()


def _fixed_list(about: Table, children: tuple[Field, ...]) -> pa.DataType:
    size = about.number(0, "i")
    if size < 0:
        raise ValueError(f"lists of {size} values")
    return pa.list_(_only(children), size)


def _only(children: tuple[Field, ...]) -> pa.Field:
    if len(children) != 1:
        raise ValueError(f"a list of {len(children)} columns")
    return pa.field(children[0].name, children[0].type)


def _among(number: int, count: int) -> int:
    if not 0 <= number < count:
        raise ValueError(f"number {number} of {count}")
    return number


# The types that are read, by their numbers in Schema.fbs.
_TYPES: dict[int, Callable[[Table, tuple[Field, ...]], pa.DataType]] = {
    1: lambda about, _: pa.null(),
    2: lambda about, _: _integer(about),
    3: _float,
    4: lambda about, _: pa.binary(),
    5: lambda about, _: pa.string(),
    6: lambda about, _: pa.bool_(),
    7: _decimal,
    8: _date,
    10: _timestamp,
    12: lambda about, children: pa.list_(_only(children)),
    16: _fixed_list,
    19: lambda about, _: pa.large_binary(),
    20: lambda about, _: pa.large_string(),
    21: lambda about, children: pa.large_list(_only(children)),
    23: lambda about, _: pa.binary_view(),
    24: lambda about, _: pa.string_view(),
}
