"""A file on the web that is read in parts, and never in parts of two versions of it."""

from __future__ import annotations

import threading
import time

from ecjax import web
from ecjax.errors import neutral
from ecjax.models import Unavailable

LOOKS = 3  # at a part whose version differs; a store may serve both for a moment


class Missing(Exception):
    """There is no such file on the server."""


class Changed(Unavailable):
    """A file is another version than was read before; a new WebFile reads that."""


class WebFile:
    """One version of one file: that of the first answer. May be used by several threads at once."""

    def __init__(self, url: str):
        self.url, self._lock = url, threading.Lock()
        self._version: tuple[int, str] | None = None

    @property
    def size(self) -> int:
        """Bytes; asks for the first one if nothing was read before."""
        return self._known()[0]

    @property
    def etag(self) -> str:
        """As the server writes it, "" where it gives none; asks as `size` does."""
        return self._known()[1]

    def _known(self) -> tuple[int, str]:
        if self._version is None:
            self.read(0, 1)
        return self._version

    def read(self, start: int, stop: int) -> bytes:
        """Bytes [start, stop), fewer at the end of the file.

        Raises:
            Missing: there is no such file.
            Changed: its ETag or size is another by now.
            Unavailable: as `web.get`.
        """
        for look in range(LOOKS):
            if look:
                time.sleep(web.PAUSE * 2**look)
            answer = web.get(self.url, (start, stop))
            if answer is None:
                raise Missing(web.shown(self.url))
            version = answer.size, neutral(answer.etag)[:200]
            with self._lock:
                first = self._version = self._version or version
            if version == first:
                return answer.content
        raise Changed(
            f"{web.shown(self.url)}: the file changed while it was read: first "
            f"{_described(first)}, then {_described(version)}"
        )


def _described(version: tuple[int, str]) -> str:
    return f"{version[0]:,} bytes, ETag {version[1] or 'none'}"
