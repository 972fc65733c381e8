"""Ranges of files on web servers: asked for politely, checked, and never of two versions of a file.

A server may be busy, silent, or wrong. What may pass is asked for again after growing pauses, or
when the server says; a file whose ETag or size changes while it is read is not read on. Connections
are kept open, one a thread and server; proxies are those of the environment. Redirections are not
followed: nothing is asked of a server that was not named.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import io
import os
import random
import re
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from ecjax.errors import InputError, neutral, quote
from ecjax.models import Unavailable

PASSING = (408, 425, 429, 500, 502, 503, 504)  # statuses that may be others a little later
MOVED = (301, 302, 303, 307, 308)
SLICE = 1 << 20  # bytes between two looks at the clock


class Missing(Exception):
    """There is no such file on the server (404 or 410)."""


class Changed(Unavailable):
    """A file is another version than was read before."""


class Patience(NamedTuple):
    """How often, how long and how fast a server is asked.

    Attributes:
      attempts: of each request.
      pause: seconds before the second attempt, doubled for each further one, less up to a half
        drawn at random, so that many readers do not come back at once.
      longest: seconds of one pause; who says Retry-After with more than that is not waited for.
      silence: seconds without a byte that count as failing.
      slowest: bytes a second; an answer that takes longer counts as failing.
    """

    attempts: int = 6
    pause: float = 1.0
    longest: float = 120.0
    silence: float = 60.0
    slowest: float = 20_000.0


class _Passing(Exception):
    """A failure that may pass, and the seconds that the server wants to be left alone."""

    def __init__(self, text: str, wait: float = 0.0, lasting: type[Unavailable] = Unavailable):
        super().__init__(text)
        self.wait, self.lasting = wait, lasting


class _Answer(NamedTuple):
    content: bytes
    size: int
    etag: str


class Web:
    """Asks web servers. May be used by several threads at once."""

    def __init__(
        self, patience: Patience | None = None, sleep: Callable[[float], None] = time.sleep
    ):
        self.patience = patience or Patience()
        self._sleep = sleep
        self._thread = threading.local()

    def file(self, url: str) -> WebFile:
        """A file to read from; nothing is asked yet.

        Raises:
            InputError: it is no http or https URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{quote(url)} is not an address of the form https://HOST/PATH")
        return WebFile(self, url)

    def patiently(self, url: str, ask: Callable[[], _Answer]) -> _Answer:
        """What `ask` returns; it is called again while its failures may pass."""
        began, patience = time.monotonic(), self.patience
        for attempt in range(1, patience.attempts + 1):
            try:
                return ask()
            except _Passing as failure:
                if attempt == patience.attempts or failure.wait > patience.longest:
                    alone = f", wants to be left alone for {failure.wait:,.0f} s"
                    raise failure.lasting(
                        f"{shown(url)}: {failure}{alone * (failure.wait > patience.longest)} "
                        f"(attempt {attempt}, after {time.monotonic() - began:,.0f} s)"
                    ) from None
                pause = min(patience.pause * 2 ** (attempt - 1), patience.longest)
                self._sleep(max(failure.wait, pause * random.uniform(0.5, 1)))
        raise AssertionError("the last attempt returns or raises")

    def once(self, url: str, start: int, stop: int) -> _Answer:
        """Bytes [start, stop) of a file, asked for a single time."""
        deadline = time.monotonic() + self.patience.silence
        deadline += (stop - start) / self.patience.slowest
        whole = False
        try:
            response = self._respond(url, f"bytes={start}-{stop - 1}")
            _check_status(url, response)
            body = _body(response, stop - start, deadline)
            whole = True
        except (OSError, http.client.HTTPException) as error:
            raise _Passing(_told(error)) from None
        finally:
            if not whole:  # what is left of an answer blocks the connection
                self._drop(url)
        return _checked(response, body, start, stop)

    def _respond(self, url: str, ranged: str) -> http.client.HTTPResponse:
        parts = urlsplit(url)
        kept = _server(parts) in self._connections
        try:
            return self._send(parts, ranged)
        except (ConnectionError, http.client.BadStatusLine):
            self._drop(url)
            if not kept:
                raise
            return self._send(parts, ranged)  # servers close connections that wait for long

    def _send(self, parts: SplitResult, ranged: str) -> http.client.HTTPResponse:
        server = _server(parts)
        if server not in self._connections:
            self._connections[server] = _connect(parts, self.patience.silence)
        connection, through = self._connections[server]
        path = (parts.path or "/") + f"?{parts.query}" * bool(parts.query)
        headers = {"User-Agent": "ecjax", "Accept-Encoding": "identity", "Range": ranged}
        connection.request(
            "GET", f"{parts.scheme}://{parts.netloc}{path}" if through else path, headers=headers
        )
        return connection.getresponse()

    @property
    def _connections(self) -> dict:
        return self._thread.__dict__.setdefault("connections", {})

    def _drop(self, url: str) -> None:
        connection, _ = self._connections.pop(_server(urlsplit(url)), (None, False))
        if connection is not None:
            connection.close()


class WebFile:
    """One version of one file: that of the first answer. May be used by several threads at once."""

    def __init__(self, web: Web, url: str):
        self.url, self._web, self._lock = url, web, threading.Lock()
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
            Changed: the file is another version by now; a new WebFile reads that.
            Unavailable: the server refuses or keeps failing.
        """

        def ask() -> _Answer:
            answer = self._web.once(self.url, start, stop)
            version = answer.size, answer.etag
            with self._lock:
                first = self._version = self._version or version
            if version != first:
                raise _Passing(
                    f"the file changed while it was read: first {_described(first)}, then "
                    f"{_described(version)}",
                    lasting=Changed,
                )
            return answer

        return self._web.patiently(self.url, ask).content


class Opened(io.RawIOBase):
    """A web file as Python reads files, from place to place."""

    def __init__(self, file: WebFile):
        self._file, self._place = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place}.get(whence, self._file.size)
        self._place = max(0, start + offset)
        return self._place

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._file.size - self._place)
        wanted = left if size is None or size < 0 else min(size, left)
        found = self._file.read(self._place, self._place + wanted) if wanted else b""
        self._place += len(found)
        return found

    def readinto(self, buffer) -> int:
        found = self.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


def shown(url: str) -> str:
    """A URL as it may be shown: without user, password and query."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return neutral(f"{parts.scheme}://{parts.hostname}{port}{parts.path}")


def _server(parts: SplitResult) -> tuple[str, str]:
    return parts.scheme, parts.netloc


def _connect(parts: SplitResult, silence: float) -> tuple[http.client.HTTPConnection, bool]:
    """A connection, and whether it is to a proxy that is asked for whole URLs."""
    host, port, proxy = parts.hostname, parts.port, None
    if not urllib.request.proxy_bypass(parts.netloc):
        proxy = urllib.request.getproxies().get(parts.scheme)
    asked = urlsplit(proxy if "://" in proxy else f"//{proxy}") if proxy else parts
    if parts.scheme == "http":
        kept = http.client.HTTPConnection(asked.hostname, asked.port, timeout=silence)
        return kept, proxy is not None
    context = ssl.create_default_context()
    kept = http.client.HTTPSConnection(asked.hostname, asked.port, timeout=silence, context=context)
    if proxy:
        kept.set_tunnel(host, port)
    return kept, False


def _check_status(url: str, response: http.client.HTTPResponse) -> None:
    status = response.status
    if status in (200, 206):
        return
    if status in (404, 410):
        raise Missing(shown(url))
    text = f"answered {status} {neutral(response.reason)[:40]}".strip()
    if status in PASSING:
        raise _Passing(text, _retry_after(response.headers.get("Retry-After")))
    if status in MOVED:
        there = shown(response.headers.get("Location") or "")
        text += f" and names {there}, which is not followed; if you trust it, name it yourself"
    raise Unavailable(f"{shown(url)}: {text}")


def _retry_after(text: str | None) -> float:
    """Seconds that a Retry-After header asks for, given in seconds or as a date; 0 if none."""
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, float(text))
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return 0.0


def _body(response: http.client.HTTPResponse, most: int, deadline: float) -> bytes:
    """At most so many bytes; a server that sends more is not listened to."""
    slices, left = [], most + 1
    while left > 0 and (data := response.read1(min(SLICE, left))):
        slices.append(data)
        left -= len(data)
        if time.monotonic() > deadline:
            raise _Passing("is too slow")
    if left <= 0:
        raise _Passing(f"sent more than the {most:,} bytes that were asked for")
    if response.length:
        raise _Passing(f"its answer ended {response.length:,} bytes early")
    response.close()
    return b"".join(slices)


def _checked(response, body: bytes, start: int, stop: int) -> _Answer:
    """The answer, if it is what was asked for."""
    etag = neutral((response.headers.get("ETag") or "").strip())[:200]
    if response.status == 200 and start == 0:  # all of a file that is no longer than that
        return _Answer(body, len(body), etag)
    text = response.headers.get("Content-Range") or ""
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", text)
    if not found or response.status == 200:
        raise _Passing("does not send the part of the file that was asked for")
    first, last, size = map(int, found.groups())
    if first != start or last != min(stop, size) - 1 or len(body) != last + 1 - first:
        raise _Passing(
            f"sent {len(body):,} bytes as bytes {first:,} to {last:,} of {size:,}, not those that "
            "were asked for"
        )
    return _Answer(body, size, etag)


def _described(version: tuple[int, str]) -> str:
    return f"{version[0]:,} bytes, ETag {version[1] or 'none'}"


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "does not answer"
    if isinstance(error, http.client.IncompleteRead):
        return "its answer ended early"
    return neutral(str(error) or type(error).__name__)[:200]
