"""A file that is asked for in ranges of bytes, as Python reads files."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable


class Ranges(io.RawIOBase):
    """Reads from place to place, each time as many bytes as are wanted and no more.

    Args:
        size: of the file, in bytes.
        read: gives bytes [start, stop).
    """

    def __init__(self, size: int, read: Callable[[int, int], bytes]):
        self._size, self._read, self._place = size, read, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}
        self._place = max(0, starts[whence] + offset)
        return self._place

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._place)
        wanted = left if size is None or size < 0 else min(size, left)
        found = self._read(self._place, self._place + wanted) if wanted else b""
        if len(found) < wanted:
            raise OSError(errno.EIO, f"ended {wanted - len(found):,} bytes early")
        self._place += wanted
        return found

    def readinto(self, buffer) -> int:
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)
