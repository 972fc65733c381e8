"""CSV, also compressed by gzip: UTF-8, types inferred from all rows."""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Collection, Iterator

import pyarrow as pa
from pyarrow import csv

from ecjax.containers import Source, Stored, for_arrow, opened, size_of
from ecjax.errors import InputError, counted
from ecjax.limits import Budget, FileBudget, check_columns

_READ_BYTES = 1 << 24
_MAX_BLOCK_BYTES = 1 << 30
_VALUE_BYTES = 8  # of a number when read
_GZIP = 31  # of zlib: a header, the data, their length and checksum


@contextlib.contextmanager
def open_csv(source: Source, here: str, text: Collection[str], budget: Budget) -> Iterator[Stored]:
    """Reads a whole CSV file, and offers its columns.

    Args:
        text: Columns that stay text, with their leading zeros and "NA".

    Raises:
        InputError: It is not UTF-8, lines are of unequal length, or it is too large.
    """
    table = _table(source, here, text, budget.of(size_of(source), here))
    yield Stored(table.schema, len(table), table.select)


def inflated(source: Source, here: str, budget: Budget) -> bytes:
    """What a gzip file holds.

    Raises:
        InputError: It is cut short, its checksum does not agree, or it expands to too much.
    """
    own, slices = budget.of(size_of(source), here), []
    with opened(source) as stream:
        member, ended = zlib.decompressobj(_GZIP), False
        while packed := stream.read(_READ_BYTES):
            while packed:
                if ended:  # members follow one another, and zeros may follow the last
                    packed = packed.lstrip(b"\0")
                    member, ended = zlib.decompressobj(_GZIP), not packed
                    continue
                slices.append(_unpacked(member, packed, here))
                own.take(len(slices[-1]))
                ended = member.eof
                packed = member.unused_data if ended else member.unconsumed_tail
    if not ended:
        raise InputError(
            f"{here}: the gzip file is truncated ({own.size:,} bytes, no checksum at the end); "
            "write or copy it again"
        )
    return b"".join(slices)


def _unpacked(member, packed: bytes, here: str) -> bytes:
    try:
        return member.decompress(packed, _READ_BYTES)
    except zlib.error as error:
        raise InputError(
            f"{here}: damaged gzip ({str(error).partition(': ')[2] or error}); write or copy the "
            "file again"
        ) from None


def _table(source: Source, here: str, text: Collection[str], budget: FileBudget) -> pa.Table:
    size, lines = _check_utf8(source, here)
    columns = _columns(source, here)
    check_columns(columns, here)
    in_memory = isinstance(source, bytes)  # and counted when it came there
    budget.take(lines * columns * _VALUE_BYTES + (0 if in_memory else size))
    ragged: list[csv.InvalidRow] = []

    def note(row: csv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    # One block, so that a column's type is inferred from all rows; one thread, so that a ragged
    # row knows its number.
    block = min(size + 1, _MAX_BLOCK_BYTES)
    table = csv.read_csv(
        for_arrow(source),
        read_options=csv.ReadOptions(use_threads=False, block_size=block),
        parse_options=csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
        convert_options=csv.ConvertOptions(column_types={name: pa.string() for name in text}),
    )
    if ragged:
        row = ragged[0]
        line = _line(source, row)
        raise InputError(
            f"{here}: {counted(len(ragged), 'ragged line')}, first line {line:,} with "
            f"{counted(row.actual_columns, 'value')} instead of {row.expected_columns:,}; correct "
            "it, or quote values that contain commas"
        )
    return table


def _columns(source: Source, here: str) -> int:
    """How many columns the first line may have at most."""
    with opened(source) as stream:
        line = stream.readline(_READ_BYTES)
    other = next((mark for mark in (b";", b"\t") if mark in line), None)
    if other and b"," not in line:
        name = {b";": "semicolons", b"\t": "tabs"}[other]
        raise InputError(
            f"{here}: its columns are separated by {name}; save it with commas between values, and "
            "points in numbers"
        )
    return line.count(b",") + 1


def _line(source: Source, row: csv.InvalidRow) -> int:
    """The line of a ragged row, whose number counts no blank lines nor those inside quotes."""
    text = (row.text.splitlines() or [""])[0]
    with io.TextIOWrapper(opened(source), encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if number >= row.number and line.rstrip("\r\n") == text:
                return number
    return row.number


def _check_utf8(source: Source, here: str) -> tuple[int, int]:
    """The size in bytes of a file that is UTF-8, and how many lines it has at most."""
    with opened(source) as stream:
        start, lines, rest = 0, 1, b""
        while block := stream.read(_READ_BYTES):
            lines += max(block.count(b"\n"), block.count(b"\r"))
            block = rest + block
            try:
                block.decode("utf-8")
                end = len(block)
            except UnicodeDecodeError as error:
                end = error.start
                if len(block) - end >= 4 or error.reason != "unexpected end of data":
                    raise _not_utf8(here, start + end) from None
            start, rest = start + end, block[end:]
        if rest:
            raise _not_utf8(here, start)
    return start, lines


def _not_utf8(here: str, offset: int) -> InputError:
    return InputError(f"{here}: not UTF-8 at byte {offset:,}; save the file as UTF-8")
