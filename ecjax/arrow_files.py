"""Arrow IPC, as files (`.arrow`, `.feather`, `.ipc`) or as streams, without pyarrow's own reader.

That one trusts offsets, lengths and types, and a crafted file can crash it. Here each is checked
against the bytes that are there, only then an array is made of them, and pyarrow validates it in
full. A file has its schema, and where its batches are, in a footer; a stream has one message after
the other.
Layout: https://arrow.apache.org/docs/format/Columnar.html; the numbers of fields and types are
those of its Message.fbs, Schema.fbs and File.fbs.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ecjax import arrow_types, flatbuffers
from ecjax.arrow_types import Field
from ecjax.columns import is_text
from ecjax.containers import Source, Stored, opened, size_of
from ecjax.errors import InputError, quote
from ecjax.limits import MOST_METADATA, Budget, FileBudget

MAGIC = b"ARROW1"
CONTINUED = b"\xff\xff\xff\xff"  # each message begins so
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_CODECS = ("lz4", "zstd")


class _Message(NamedTuple):
    """A message, and where its body is."""

    table: flatbuffers.Table
    start: int
    size: int


class _Batch(NamedTuple):
    """A record batch, or the values of a dictionary, as its message describes it.

    Attributes:
        about: the table RecordBatch.
        rows: how many.
        start, size: where its body is.
        dictionary: whose values these are; None: rows.
    """

    about: flatbuffers.Table
    rows: int
    start: int
    size: int
    dictionary: int | None


@contextlib.contextmanager
def open_arrow(source: Source, here: str, budget: Budget) -> Iterator[Stored]:
    """Opens an Arrow IPC file or stream.

    Raises:
        InputError: It is cut short, or too large.
        ValueError: It is damaged.
    """
    size = size_of(source)
    with opened(source) as stream:
        if stream.read(len(MAGIC)) == MAGIC:
            about, messages = _of_file(stream, size, here)
        else:
            about, messages = _of_stream(stream, size, here)
        fields, schema = arrow_types.schema_of(about, here)
        batches = [_batch(message) for message in messages]
        rows = sum(batch.rows for batch in batches if batch.dictionary is None)

        def read(names: Sequence[str]) -> pa.Table:
            own, types = budget.of(size, here), (schema.field(name).type for name in names)
            own.check(rows * max(1, sum(map(arrow_types.least_bytes, types))))
            arrow_types.check_read(fields, names, here)
            return _Reader(stream, fields, schema, names, own).table(batches)

        yield Stored(schema, rows, read)


def _of_file(
    stream: BinaryIO, size: int, here: str
) -> tuple[flatbuffers.Table, Iterator[_Message]]:
    """The schema of a file, and its messages: dictionaries first, as rows may need any of them."""
    stream.seek(max(0, size - 10))
    length, magic = struct.unpack("<i6s", stream.read(10).rjust(10, b"\0"))
    if magic != MAGIC:
        raise InputError(
            f"{here}: the Arrow file is truncated ({size:,} bytes, no footer at the end); write or "
            "copy it again"
        )
    if not 0 < length <= min(MOST_METADATA, size - 18):
        raise ValueError(f"a footer of {length:,} bytes")
    stream.seek(size - 10 - length)
    footer = flatbuffers.root(stream.read(length))
    about = footer.table(1)
    if about is None:
        raise ValueError("a footer without a schema")
    blocks = footer.structs(2, "qi4xq") + footer.structs(3, "qi4xq")
    return about, (_at(stream, place, size) for place, _, _ in blocks)


def _of_stream(
    stream: BinaryIO, size: int, here: str
) -> tuple[flatbuffers.Table, Iterator[_Message]]:
    """The schema of a stream, and the messages that follow it up to the end mark."""

    def messages() -> Iterator[_Message]:
        place = 0
        while place + 8 <= size:
            message = _at(stream, place, size)
            if message is None:
                return
            yield message
            place = message.start + message.size
        raise InputError(
            f"{here}: the Arrow stream is truncated ({size:,} bytes, no end mark); write or copy "
            "the file again"
        )

    found = messages()
    first = next(found, None)
    if first is None or first.table.number(1, "B") != _SCHEMA:
        raise ValueError("the schema does not come first")
    return _header(first.table), found


def _at(stream: BinaryIO, place: int, size: int) -> _Message | None:
    """The message at a byte of a file of so many; None for the end mark."""
    if not 0 <= place <= size - 8:
        raise ValueError(f"a message at byte {place:,} of {size:,}")
    stream.seek(place)
    mark, length = struct.unpack("<4si", stream.read(8))
    if mark != CONTINUED:
        raise ValueError(f"no message at byte {place:,}, or one from before Arrow 0.15")
    if not length:
        return None
    start = place + 8 + length
    if not 0 < length <= MOST_METADATA or start > size:
        raise ValueError(f"a message of {length:,} bytes at byte {place:,} of {size:,}")
    table = flatbuffers.root(stream.read(length))
    body = table.number(3, "q")
    if not 0 <= body <= size - start:
        raise ValueError(f"a message with {body:,} bytes at byte {start:,} of {size:,}")
    return _Message(table, start, body)


def _header(message: flatbuffers.Table) -> flatbuffers.Table:
    header = message.table(2)
    if header is None or message.number(0, "h") not in (3, 4):  # V4 and V5
        raise ValueError("a message without content, or of another version of the format")
    return header


def _batch(message: _Message | None) -> _Batch:
    if message is None:
        raise ValueError("an end mark in the place of a batch")
    kind, header = message.table.number(1, "B"), _header(message.table)
    if kind == _BATCH:
        about, key = header, None
    elif kind == _DICTIONARY and not header.number(2, "?", False):
        about, key = header.table(1), header.number(0, "q")
    else:
        raise ValueError(f"a message of kind {kind}, or one that adds to a dictionary")
    rows = -1 if about is None else about.number(0, "q")
    if rows < 0:
        raise ValueError(f"a batch of {rows} rows")
    return _Batch(about, rows, message.start, message.size, key)


class _Reader:
    """Makes arrays of the wanted columns of batches."""

    def __init__(
        self,
        stream: BinaryIO,
        fields: Sequence[Field],
        schema: pa.Schema,
        names: Sequence[str],
        budget: FileBudget,
    ):
        self.stream, self.budget = stream, budget
        self.fields, self.names = fields, names
        asked = set(names)
        self.schema = pa.schema([schema.field(name) for name in names])
        self.wanted = {id(field) for field in fields if field.name in asked}
        self.keys = {field.dictionary for field in fields if id(field) in self.wanted}
        self.of_key = {f.dictionary: f for f in fields if f.dictionary is not None}
        self.dictionaries: dict[int, pa.Array] = {}

    def table(self, batches: Sequence[_Batch]) -> pa.Table:
        """All rows."""
        found = []
        for batch in batches:
            if batch.dictionary is None and batch.rows:
                found.append(pa.table(self._columns(batch), self.schema))
            elif batch.dictionary is not None and batch.dictionary in self.keys:
                body = _Body(self.stream, batch, self.budget)
                values = body.array(self.of_key[batch.dictionary].values, True)
                self.dictionaries[batch.dictionary] = values
        return pa.concat_tables(found) if found else self.schema.empty_table()

    def _columns(self, batch: _Batch) -> list[pa.Array]:
        body = _Body(self.stream, batch, self.budget)
        columns: dict[str, pa.Array] = {}
        for field in self.fields:
            wanted = id(field) in self.wanted
            array = body.array(field, wanted)
            if not wanted:
                continue
            if len(array) != batch.rows:
                raise ValueError(f"column {quote(field.name)} has {len(array)} rows in a batch")
            if field.dictionary is not None:
                array = self._decoded(array, field)
            array.validate(full=True)
            self.budget.take(_repeated(array))
            columns[field.name] = array
        return [columns[name] for name in self.names]

    def _decoded(self, indices: pa.Array, field: Field) -> pa.Array:
        if field.dictionary not in self.dictionaries:
            raise ValueError(f"column {quote(field.name)} lacks its dictionary")
        indices.validate(full=True)
        return pa.DictionaryArray.from_arrays(indices, self.dictionaries[field.dictionary])


def _repeated(array: pa.Array) -> int:
    """Bytes of texts that are stored once and given again and again, were each written out."""
    if pa.types.is_dictionary(array.type) and is_text(array.type):
        return len(array) * int(_lengths(array.dictionary).max(initial=0))
    return int(_lengths(array).sum()) if pa.types.is_string_view(array.type) else 0


def _lengths(texts: pa.Array) -> np.ndarray:
    """(n,) bytes of each text that is given."""
    if pa.types.is_string_view(texts.type):  # of which each is a length, and 12 bytes of where
        views = np.frombuffer(texts.buffers()[1], np.int32)[::4][: len(texts)]
        return views[texts.is_valid().to_numpy(zero_copy_only=False)]
    return pc.binary_length(texts).drop_null().to_numpy()


class _Body:
    """The buffers of a batch, which are taken one after the other."""

    def __init__(self, stream: BinaryIO, batch: _Batch, budget: FileBudget):
        self.stream, self.batch, self.budget = stream, batch, budget
        about = batch.about
        self.nodes = iter(about.structs(1, "qq"))
        self.buffers = iter(about.structs(2, "qq"))
        self.variadic = iter(about.structs(4, "q"))
        compression = about.table(3)
        self.codec = None
        if compression is not None:
            number = compression.number(0, "b")
            if number not in (0, 1) or compression.number(1, "b"):
                raise ValueError(f"compression {number}")
            self.codec = _CODECS[number]

    def array(self, field: Field, wanted: bool) -> pa.Array | None:
        """The next column, or None where it is passed over."""
        length, nulls = _next(self.nodes)
        if not 0 <= nulls <= length:
            raise ValueError(f"{nulls} nulls in {length} values")
        count = field.buffers + (_next(self.variadic)[0] if field.variadic else 0)
        if not 0 <= count <= self.batch.size + 3:
            raise ValueError(f"{count} buffers of a column")
        places = [_next(self.buffers) for _ in range(count)]
        children = [self.array(child, wanted) for child in field.children]
        if not wanted:
            return None
        if pa.types.is_null(field.stored):
            return pa.nulls(length)
        buffers = [self._buffer(*place) for place in places]
        if buffers[0] is not None and not buffers[0].size:
            buffers[0] = None
        if nulls and buffers[0] is None:
            raise ValueError("nulls without a mark of which")
        array = pa.Array.from_buffers(field.stored, length, buffers, children=children or None)
        array.validate()
        return array

    def _buffer(self, offset: int, length: int) -> pa.Buffer:
        if not 0 <= offset <= offset + length <= self.batch.size:
            raise ValueError(f"a buffer of bytes {offset} to {offset + length}")
        self.stream.seek(self.batch.start + offset)
        if self.codec is None or not length:
            self.budget.take(length)
            return pa.py_buffer(self._bytes(length))
        (size,) = struct.unpack("<q", self._bytes(8)) if length >= 8 else (-2,)
        stored = length - 8 if size == -1 else size
        if stored < 0:
            raise ValueError(f"a buffer that is {size} bytes when unpacked")
        self.budget.take(stored)
        packed = pa.py_buffer(self._bytes(length - 8))
        if size == -1:
            return packed
        with pa.CompressedInputStream(pa.BufferReader(packed), self.codec) as unpacked:
            content = unpacked.read_buffer(size + 1)
        if content.size != size:
            raise ValueError(f"a buffer of {size} bytes is {content.size} when unpacked")
        return content

    def _bytes(self, count: int) -> bytes:
        found = self.stream.read(count)
        if len(found) != count:
            raise ValueError("the file ends early")
        return found


def _next(items: Iterator[tuple]) -> tuple:
    found = next(items, None)
    if found is None:
        raise ValueError("a batch describes fewer columns than the schema")
    return found
