"""Tensors of a file of `torch.save` or of safetensors, without PyTorch and without unpickling.

`torch.save` writes a zip container: `data.pkl`, which `torch_pickle` reads, and the bytes of each
storage beside it, uncompressed. Sizes are compared with budgets, and with the file's own, before
anything is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ecjax.errors import InputError, listing, quote
from ecjax.filesystems import is_url, split
from ecjax.torch_pickle import BFLOAT16, MOST_TOLD, Storage, Tensor, interpret, sizes, tensor

MAX_BYTES = 2 << 30  # of a file
MAX_DIRECTORY = 4 << 20  # bytes of a zip container's list of entries
MAX_INSTRUCTIONS = 2 << 20  # bytes of a pickle, some seconds' work; SatCLIP's take under 0.1 MB
MAX_HEADER = 4 << 20  # bytes of a safetensors file's

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # files of PyTorch before 1.6 start so
ANEW = "torch.save(torch.load(OLD, weights_only=True), NEW) writes it anew, where PyTorch is"
KINDS = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": BFLOAT16},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "u1"},
}
Read = Callable[[Storage], bytes]

# All that `zipfile` raises where a file is damaged.
_FAULTS = (
    *(zipfile.BadZipFile, EOFError, NotImplementedError, OSError, OverflowError),
    *(RuntimeError, ValueError, struct.error),
)


class Checkpoint:
    """An open file of tensors.

    Attributes:
      path: as it is shown.
      values: what was saved: dicts, lists, numbers and texts, and a `Tensor` for each tensor.
      sha256: of the whole file, in hexadecimal digits.
    """

    def __init__(self, path: str, values: Any, sha256: str, read: Read):
        self.path, self.values, self.sha256, self._read = path, values, sha256, read

    def array(self, tensor: Tensor) -> np.ndarray:
        """A tensor's numbers, in C order; bfloat16 as float32.

        Raises:
          InputError: the file does not hold them.
        """
        storage, offset, shape, strides = tensor
        kind = np.dtype("<u2" if storage.kind == BFLOAT16 else storage.kind)
        data = self._read(storage)
        if len(data) != storage.size * kind.itemsize:
            raise InputError(
                f"{self.path}: {quote(storage.key)} has {len(data):,} bytes, not {storage.size:,} "
                f"numbers of {kind.itemsize}; get the file again"
            )
        flat = np.frombuffer(data, kind)
        if 0 in shape:
            flat, offset, strides = np.empty(1, kind), 0, (0,) * len(shape)
        steps = [stride * kind.itemsize for stride in strides]
        values = np.lib.stride_tricks.as_strided(flat[offset:], shape, steps)
        if storage.kind == BFLOAT16:
            return (values.astype(np.uint32, order="C") << 16).view(np.float32)
        return values.astype(kind.newbyteorder("="), order="C")


@contextlib.contextmanager
def open_checkpoint(path: str | os.PathLike) -> Iterator[Checkpoint]:
    """Opens a file that `torch.save` wrote, of PyTorch 1.6 or later, or a safetensors file.

    Raises:
      InputError: there is no such file, it is neither, it is damaged or larger than a budget, or it
        wants what no checkpoint of tensors needs.
    """
    if is_url(path):
        where = split(os.fspath(path))
        raise InputError(f"{where}: weights are read from a file on this machine; copy it here")
    try:
        file = Path(path).open("rb")
    except (OSError, ValueError) as error:
        fault = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({fault})") from None
    with file, contextlib.ExitStack() as stack:
        try:
            values, read = _contents(str(path), file, stack)
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
        yield Checkpoint(str(path), values, sha256, read)


def _contents(path: str, file: BinaryIO, stack: contextlib.ExitStack) -> tuple[Any, Read]:
    """What the file holds, and the function that reads a storage while `stack` is open."""
    size = os.fstat(file.fileno()).st_size
    if size > MAX_BYTES:
        raise InputError(
            f"{path}: has {size:,} bytes, and {MAX_BYTES:,} are the most that is read; save the "
            "weights alone, without what training needs"
        )
    start = file.read(len(LEGACY))
    if start.startswith(b"PK"):
        return _zip(path, file, size, stack)
    if start == LEGACY:
        raise InputError(f"{path}: is of a PyTorch before 1.6, whose files are not read here", ANEW)
    if start[8:9] == b"{":
        return _safetensors(path, file, size)
    raise InputError(
        f"{path}: is neither a file of torch.save nor a safetensors file; give the file in which "
        "the weights were published"
    )


def _zip(path: str, file: BinaryIO, size: int, stack: contextlib.ExitStack) -> tuple[Any, Read]:
    """As `_contents`, of a zip container."""

    def read(name: str) -> bytes:
        try:
            return archive.read(name)
        except KeyError:
            raise InputError(f"{path}: lacks {quote(name)}; get the file again") from None
        except _FAULTS as error:
            fault = str(error)[:MOST_TOLD]
            raise InputError(f"{path}: is damaged ({fault}); get the file again") from None

    _check_directory(path, file, size)
    try:
        archive = stack.enter_context(zipfile.ZipFile(file))
    except _FAULTS as error:
        fault = str(error)[:MOST_TOLD]
        raise InputError(f"{path}: is damaged ({fault}); get the file again") from None
    _check_entries(path, archive.infolist(), size)
    found = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(found) != 1:
        raise InputError(f"{path}: holds {len(found)} of data.pkl; give a file of torch.save")
    (length,) = (entry.file_size for entry in archive.infolist() if entry.filename == found[0])
    if length > MAX_INSTRUCTIONS:
        raise InputError(
            f"{path}: data.pkl has {length:,} bytes, and {MAX_INSTRUCTIONS:,} are the most that is "
            "read; save the weights alone, without what training needs"
        )
    folder = found[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist() and read(f"{folder}byteorder") != b"little":
        raise InputError(f"{path}: was written on a big-endian machine", ANEW)
    values = interpret(path, read(found[0]))
    return values, lambda storage: read(f"{folder}data/{storage.key}")


def _check_directory(path: str, file: BinaryIO, size: int) -> None:
    """Refuses a list of entries over MAX_DIRECTORY, before `zipfile` reads it into memory."""
    file.seek(max(0, size - 98))
    tail = file.read().rjust(98)
    (directory,) = struct.unpack("<I", tail[88:92])
    if tail[56:60] == b"PK\x06\x07":  # there is a larger kind of list, which alone counts then
        (directory,) = struct.unpack("<Q", tail[40:48])
    if tail[76:80] != b"PK\x05\x06" or directory > MAX_DIRECTORY:
        raise InputError(
            f"{path}: has no list of entries at its end, or one of over {MAX_DIRECTORY:,} bytes; "
            "it is cut or damaged: get it again"
        )


def _check_entries(path: str, entries: list[zipfile.ZipInfo], size: int) -> None:
    """Refuses what can expand or overlap: compressed entries, and more bytes than the file has."""
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise InputError(f"{path}: {listing(packed)} compressed, as torch.save never does", ANEW)
    total = sum(entry.file_size for entry in entries)
    if total > size:
        raise InputError(
            f"{path}: its entries claim {total:,} bytes of a file of {size:,}; get it again"
        )


def _safetensors(path: str, file: BinaryIO, size: int) -> tuple[Any, Read]:
    """As `_contents`: 8 bytes for the header's length, the header in JSON, then the numbers."""
    file.seek(0)
    (length,) = struct.unpack("<Q", file.read(8))
    if length > min(MAX_HEADER, size - 8):
        raise InputError(
            f"{path}: has a header of over {MAX_HEADER:,} bytes, or is cut; get the file again"
        )
    values, places = {}, {}
    try:
        for name, entry in json.loads(file.read(length)).items():
            if name != "__metadata__":
                values[name], places[name] = _entry(name, entry, size - 8 - length)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        fault = f"{type(error).__name__}: {error}"[:MOST_TOLD]
        raise InputError(f"{path}: its header is damaged ({fault}); get the file again") from None

    def read(storage: Storage) -> bytes:
        start, stop = places[storage.key]
        file.seek(8 + length + start)
        return file.read(stop - start)

    return values, read


def _entry(name: str, entry: dict, room: int) -> tuple[Tensor, tuple[int, int]]:
    """One tensor of a safetensors header, and from where to where its bytes are."""
    kind, shape = KINDS[entry["dtype"]], sizes(tuple(entry["shape"]))
    start, stop = sizes(tuple(entry["data_offsets"]))
    if not start <= stop <= room:
        raise ValueError("numbers outside of the file")
    size = (stop - start) // np.dtype("<u2" if kind == BFLOAT16 else kind).itemsize
    strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return tensor(Storage(kind, name, size), 0, shape, strides), (start, stop)
