"""Parquet files with a value changed that readers rely on: in the footer, a page's header, a page.

Footers and headers are written in Thrift's compact protocol. They are taken apart without knowing
what most of the fields mean, and put together again with sizes and offsets that fit, so that a
reader comes as far as the value that does not.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import random
import zlib
from collections.abc import Iterator
from typing import Any

from mutations import ANY, TEXTS, Mutation, number, put

TRUE, FALSE, DOUBLE, TEXT, LIST, SET, STRUCT = 1, 2, 7, 8, 9, 10, 12
WHOLE = range(3, 7)  # bytes, and numbers of 16, 32 and 64 bits
MAGIC = b"PAR1"


@dataclasses.dataclass
class Field:
    """A field of a struct: its number and kind in Thrift, and its value."""

    number: int
    kind: int
    value: Any


@dataclasses.dataclass
class Struct:
    """Fields in the order in which they are written."""

    fields: list[Field]

    def get(self, number: int) -> Any:
        """A field's value, or None."""
        return next((field.value for field in self.fields if field.number == number), None)

    def set(self, number: int, value: Any) -> None:
        """Changes a field that is there."""
        for field in self.fields:
            if field.number == number:
                field.value = value


@dataclasses.dataclass
class Items:
    """A list, whose items are of one kind."""

    kind: int
    items: list[Any]


def parse(data: bytes, at: int = 0) -> tuple[Struct, int]:
    """A struct, and where it ends."""
    fields, last = [], 0
    while data[at]:
        kind, delta = data[at] & 15, data[at] >> 4
        at += 1
        if delta:
            last += delta
        else:
            last, at = _whole(data, at)
        value, at = _parse_value(data, at, kind)
        fields.append(Field(last, kind, value))
    return Struct(fields), at + 1


def _parse_value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (TRUE, FALSE):
        return kind == TRUE, at
    if kind == 3:
        return data[at], at + 1
    if kind in WHOLE:
        return _whole(data, at)
    if kind == DOUBLE:
        return data[at : at + 8], at + 8
    if kind == TEXT:
        size, at = _varint(data, at)
        return data[at : at + size], at + size
    if kind in (LIST, SET):
        count, of = data[at] >> 4, data[at] & 15
        at += 1
        if count == 15:
            count, at = _varint(data, at)
        items = []
        for _ in range(count):
            value, at = _parse_value(data, at, of)
            items.append(value)
        return Items(of, items), at
    if kind == STRUCT:
        return parse(data, at)
    raise ValueError(f"Thrift of kind {kind} at byte {at}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


def _whole(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return value >> 1 ^ -(value & 1), at


def unparse(struct: Struct) -> bytes:
    """A struct as it is written."""
    out, last = bytearray(), 0
    for field in struct.fields:
        kind = (TRUE if field.value else FALSE) if field.kind in (TRUE, FALSE) else field.kind
        delta = field.number - last
        if 0 < delta < 16:
            out.append(delta << 4 | kind)
        else:
            out.append(kind)
            out += _zigzag(field.number)
        out += _value(field.value, kind)
        last = field.number
    return bytes(out) + b"\0"


def _value(value: Any, kind: int) -> bytes:
    if kind in (TRUE, FALSE):
        return b""
    if kind == 3:
        return bytes([value % 256])
    if kind in WHOLE:
        return _zigzag(value)
    if kind == DOUBLE:
        return value
    if kind == TEXT:
        return _unsigned(len(value)) + value
    if kind == STRUCT:
        return value if isinstance(value, bytes) else unparse(value)
    count = len(value.items)
    start = bytes([min(count, 15) << 4 | value.kind]) + (_unsigned(count) if count > 14 else b"")
    return start + b"".join(_value(item, value.kind) for item in value.items)


def _unsigned(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def _zigzag(value: int) -> bytes:
    value = (value + 2**63) % 2**64 - 2**63  # what 64 bits hold of it
    return _unsigned(value << 1 if value >= 0 else (-value << 1) - 1)


def nodes(value: Any) -> Iterator[Field | Struct | Items]:
    """All that can be changed in a struct."""
    yield value
    inner = value.fields if isinstance(value, Struct) else ()
    if isinstance(value, Items):
        inner = value.items
    elif isinstance(value, Field):
        inner = (value.value,)
    for item in inner:
        if isinstance(item, Field | Struct | Items):
            yield from nodes(item)


def change(struct: Struct, draw: random.Random) -> None:
    """Changes one thing in it."""
    found = list(nodes(struct))
    sort = draw.choice(("number", "number", "number", "number", "text", "list", "fields"))
    kinds = {"number": (*WHOLE, TRUE, FALSE), "text": (TEXT,)}
    if sort in kinds:
        chosen = [n for n in found if isinstance(n, Field) and n.kind in kinds[sort]]
    else:
        chosen = [n for n in found if isinstance(n, Items if sort == "list" else Struct)]
    if not chosen:
        return
    node = draw.choice(chosen)
    if isinstance(node, Field):
        node.value = _other_value(node, draw)
    elif isinstance(node, Items):
        _change_all(node.items, draw)
    else:
        _change_all(node.fields, draw)
        if draw.random() < 0.3:
            node.fields.append(Field(draw.choice((1, 4, 99, -5)), STRUCT, _deep(draw)))


def _other_value(field: Field, draw: random.Random) -> Any:
    if field.kind in (TRUE, FALSE):
        return not field.value
    if field.kind != TEXT:
        return number(draw, field.value)
    texts = [text.encode() for text in TEXTS] + [b"\xff\xfe", b"id", b"emb_1", b"x" * 5000]
    longer = draw.choice((*ANY.values(),))
    return draw.choice((draw.choice(texts), longer(field.value or b"\0", b"\0\0", draw)))


def _change_all(items: list, draw: random.Random) -> None:
    """Drops, doubles or exchanges members."""
    if not items:
        return
    a, b = draw.randrange(len(items)), draw.randrange(len(items))
    how = draw.randrange(5)
    if how == 0:
        del items[a]
    elif how == 1:
        items.insert(b, items[a])
    elif how == 2:
        items[a], items[b] = items[b], items[a]
    elif how == 3:
        items.clear()
    else:
        items[a:a] = [items[a]] * draw.choice((2, 20, 300))


def _deep(draw: random.Random) -> bytes:
    """Structs within one another, as they are written."""
    depth = draw.choice((1, 50, 5_000, 50_000))
    return b"\x1c" * depth + b"\0" * (depth + 1)


def footer_of(content: bytes) -> tuple[Struct, int]:
    """The footer of a file, and where it begins."""
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    return parse(content, start)[0], start


def with_footer(body: bytes, footer: Struct) -> bytes:
    """A file of what stands before its footer."""
    written = unparse(footer)
    return body + written + len(written).to_bytes(4, "little") + MAGIC


def footer(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """One or two values of the footer."""
    tree, start = footer_of(content)
    for _ in range(draw.choice((1, 1, 2))):
        change(tree, draw)
    return with_footer(content[:start], tree)


def footer_end(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """How long the footer is, or what the file ends with."""
    if draw.random() < 0.3:
        return content[:-4] + draw.choice((b"PARE", b"PAR2", b"par1", b"\0\0\0\0"))
    old = int.from_bytes(content[-8:-4], "little")
    return put(content, len(content) - 8, 4, draw.choice((number(draw, old), len(content) - 8)))


@dataclasses.dataclass
class Page:
    """A page: its header, where that begins, and where its body begins and ends."""

    header: Struct
    start: int
    body: int
    stop: int


def chunks_of(footer: Struct) -> list[Struct]:
    """What the footer says about each column of each row group."""
    groups = footer.get(4).items
    return [column.get(3) for group in groups for column in group.get(1).items]


def pages(content: bytes) -> list[Page]:
    """All pages of a valid file."""
    found = []
    for chunk in chunks_of(footer_of(content)[0]):
        at = min(offset for offset in (chunk.get(9), chunk.get(11)) if offset)
        stop = at + chunk.get(7)
        while at < stop:
            header, body = parse(content, at)
            found.append(Page(header, at, body, body + header.get(3)))
            at = found[-1].stop
    return found


def covered(content: bytes) -> list[tuple[int, int]]:
    """The bytes that checksums of a valid file are over."""
    return [(page.body, page.stop) for page in pages(content) if page.header.get(4) is not None]


def page_header(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """One value of a page's header."""
    page = draw.choice(pages(content))
    change(page.header, draw)
    return _replaced(content, page, unparse(page.header) + content[page.body : page.stop])


def page_body(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """The body of a page, with a checksum that fits."""
    page = draw.choice([page for page in pages(content) if page.stop > page.body + 1])
    body = draw.choice((*ANY.values(),))(content[page.body : page.stop], other, draw)
    if page.header.get(4) is not None:
        page.header.set(4, (zlib.crc32(body) + 2**31) % 2**32 - 2**31)
    if draw.random() < 0.5:  # else the page is of another size than it says
        page.header.set(3, len(body))
    return _replaced(content, page, unparse(page.header) + body)


def rows(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """More rows than there are, said alike by the footer and the headers of all pages."""
    factor = draw.choice((2, 1000, 10**5, 10**7, 10**9))
    for j in range(len(pages(content))):
        page = pages(content)[j]
        for kind, fields in ((5, (1,)), (8, (1, 3))):
            about = page.header.get(kind)
            for field in fields if about is not None else ():
                about.set(field, min(about.get(field) * factor, 2**31 - 1))
        new = unparse(page.header) + content[page.body : page.stop]
        content = _replaced(content, page, new)
    tree, start = footer_of(content)
    tree.set(3, tree.get(3) * factor)
    for group in tree.get(4).items:
        group.set(3, group.get(3) * factor)
    for chunk in chunks_of(tree):
        chunk.set(5, chunk.get(5) * factor)
    return with_footer(content[:start], tree)


def _replaced(content: bytes, page: Page, new: bytes) -> bytes:
    """A file with another page, whose footer knows where everything is then."""
    tree, start = footer_of(content)
    longer = len(new) - (page.stop - page.start)
    for chunk in chunks_of(tree):
        begins = min(offset for offset in (chunk.get(9), chunk.get(11)) if offset)
        if begins <= page.start < begins + chunk.get(7):
            chunk.set(7, chunk.get(7) + longer)
        for field in (9, 11):
            if (chunk.get(field) or 0) > page.start:
                chunk.set(field, chunk.get(field) + longer)
    return with_footer(content[: page.start] + new + content[page.stop : start], tree)


def arrow_schema(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """The columns as Arrow knows them, which writers leave in the footer for its readers."""
    tree, start = footer_of(content)
    for pair in (tree.get(5) or Items(STRUCT, [])).items:
        if pair.get(1) == b"ARROW:schema":
            schema = base64.b64decode(pair.get(2))
            changed = draw.choice((*ANY.values(),))(schema, other, draw)
            pair.set(2, binascii.b2a_base64(changed, newline=False))
    return with_footer(content[:start], tree)


MUTATIONS: dict[str, Mutation] = {
    "footer": footer,
    "footer's end": footer_end,
    "page header": page_header,
    "page": page_body,
    "rows": rows,
    "Arrow's schema": arrow_schema,
}
# These write checksums that fit.
MENDING = ("page",)
