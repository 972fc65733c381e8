"""What every container of a table has: bytes to read it from, columns, rows, and one way to fail.

Types and text are left as stored.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from ecjax.errors import InputError, neutral
from ecjax.remote import RemotePath

# A file here, one that a URL names, or the content of one that was fetched.
Source = Path | RemotePath | bytes


class Stored(NamedTuple):
    """One file's table before it is read.

    Attributes:
        schema: its columns.
        rows: how many.
        read: the columns of these names, within the budget.
    """

    schema: pa.Schema
    rows: int
    read: Callable[[Sequence[str]], pa.Table]


def opened(source: Source) -> BinaryIO:
    """For reading bytes."""
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def size_of(source: Source) -> int:
    """In bytes."""
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def for_arrow(source: Source) -> Path | pa.NativeFile:
    """What pyarrow reads; of a file that a URL names, only what it needs is asked for."""
    if isinstance(source, bytes):
        return pa.BufferReader(source)
    return pa.PythonFile(source.open("rb"), "r") if isinstance(source, RemotePath) else source


@contextlib.contextmanager
def reading(here: str, kind: str) -> Iterator[None]:
    """Whatever goes wrong inside is an InputError."""
    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        raise InputError(
            f"{here}: damaged or not {kind} ({neutral(first)}); write or copy the file again"
        ) from None
