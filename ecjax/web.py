"""Files on the web, or parts of them, asked for politely: again after a pause, never without end.

Each thread keeps its connections open. Where the environment names a proxy for https, it is used.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import threading
import time
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from ecjax.errors import InputError, quote
from ecjax.filesystems import split
from ecjax.models import Unavailable

ATTEMPTS = 6
PAUSE = 1.0  # seconds before the second attempt, and twice as long before each further one
LONGEST_PAUSE = 60.0  # seconds that a server may ask to wait
SILENCE = 30.0  # seconds without a byte
PATIENCE, SLOWEST = 60.0, 50_000  # seconds for one answer, and one more for so many bytes
MOST = 1 << 28  # bytes of one answer
_SLICE = 1 << 18
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_ABSENT = (404, 410)
_ELSEWHERE = (301, 302, 303, 307, 308)
_HOPS = 5

_kept = threading.local()  # .connections: (scheme, host) -> connection


class Answer(NamedTuple):
    """What was asked for.

    Attributes:
      content: of the file, or of the part of it.
      etag: of the file, "" where the server gives none.
      size: of the whole file in bytes.
    """

    content: bytes
    etag: str
    size: int


class _Failed(Exception):
    """One attempt, which another may mend; the server may ask for a pause."""

    def __init__(self, why: str, pause: float = 0.0):
        super().__init__(why)
        self.pause = pause


def get(url: str, span: tuple[int, int | None] | None = None, most: int = MOST) -> Answer | None:
    """A file, or the part of it within `span`; None where there is no such file.

    Args:
      url: with http or https.
      span: the first byte and that after the last; (-n, None) are the last n bytes.
      most: bytes that the answer may have.

    Raises:
      Unavailable: the server does not answer, or refuses, or what it gives is no such part, even
        after ATTEMPTS.
      InputError: no such URL can be asked for.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"{quote(shown(url))}: give a URL that starts with https://")
    pause = PAUSE
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _followed(url, span, most)
        except _Failed as failure:
            why, wanted = str(failure), failure.pause
        except (OSError, http.client.HTTPException) as error:
            why, wanted = f"{type(error).__name__}: {error}".rstrip(": "), 0.0
        if wanted > LONGEST_PAUSE:
            raise Unavailable(f"{shown(url)}: asks to come back in {wanted:,.0f} s ({why})")
        if attempt < ATTEMPTS:
            time.sleep(max(pause, wanted))
            pause *= 2
    raise Unavailable(f"{shown(url)}: {why}, and {ATTEMPTS} attempts came to no more")


def shown(url: str) -> str:
    """An address as it may be shown: without credentials and query."""
    return str(split(url))


def _followed(url: str, span, most: int) -> Answer | None:
    """The answer to one request, from wherever it leads to."""
    for _ in range(_HOPS):
        response, content = _asked(url, span, most)
        if response.status not in _ELSEWHERE:
            return _answer(url, response, content, span)
        there = urljoin(url, response.getheader("Location", ""))
        if urlsplit(there).scheme not in ("https", urlsplit(url).scheme):
            raise Unavailable(f"{shown(url)}: leads to {quote(shown(there))}, which is not https")
        url = there
    raise Unavailable(f"{shown(url)}: leads from one address to the next, {_HOPS} times")


def _answer(url: str, response, content: bytes, span) -> Answer | None:
    if response.status in _ABSENT:
        return None
    if response.status in _TRY_AGAIN:
        wanted = _retry_after(response.getheader("Retry-After", ""))
        raise _Failed(f"the server answers {response.status}", wanted)
    if response.status not in (200, 206):
        raise Unavailable(f"{shown(url)}: the server answers {response.status}")
    size = len(content)
    if span is not None:
        size = _size(response.getheader("Content-Range", ""), size, span)
    return Answer(content, response.getheader("ETag", ""), size)


def _size(content_range: str, length: int, span: tuple[int, int | None]) -> int:
    """Of the whole file, from "bytes 0-99/1234", where that is the part that was asked for."""
    try:
        unit, _, rest = content_range.partition(" ")
        part, _, size = rest.partition("/")
        start, _, last = part.partition("-")
        start, stop, size = int(start), int(last) + 1, int(size)
    except ValueError:
        raise _Failed("the server does not give the part that was asked for") from None
    first, end = span
    wanted = (max(0, size + first), size) if first < 0 else (first, min(end, size))
    if unit != "bytes" or (start, stop) != wanted or length != stop - start:
        raise _Failed(f"the server gives bytes {start:,} to {stop:,} and not those asked for")
    return size


def _asked(url: str, span, most: int) -> tuple[http.client.HTTPResponse, bytes]:
    """One request and the body of its answer, whole."""
    parts = urlsplit(url)
    key = parts.scheme, parts.netloc
    connections = _kept.__dict__.setdefault("connections", {})
    connection = connections.pop(key, None) or _connection(*key)
    try:
        response = _sent(connection, parts, span)
        if span is not None and response.status == 200:
            raise _Failed("the server gives the whole file in place of a part")
        content = _body(response, most, url)
    except BaseException:
        connection.close()
        raise
    if response.will_close:
        connection.close()
    else:
        connections[key] = connection
    return response, content


def _sent(connection, parts, span) -> http.client.HTTPResponse:
    """Sends a request, on a new connection where a kept one was closed from the other end."""
    headers = {"User-Agent": "ecjax", "Accept-Encoding": "identity"}
    if span is not None:
        first, end = span
        headers["Range"] = f"bytes={first}" if first < 0 else f"bytes={first}-{end - 1}"
    path = (parts.path or "/") + f"?{parts.query}" * bool(parts.query)
    kept = connection.sock is not None
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse()
    except ConnectionError:
        connection.close()
        if not kept:
            raise
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def _body(response: http.client.HTTPResponse, most: int, url: str) -> bytes:
    """The body, as long as announced, and in a bounded time."""
    announced = response.length  # None where the end tells
    if announced is not None and announced > most:
        raise Unavailable(f"{shown(url)}: has {announced:,} bytes, and at most {most:,} are read")
    due = time.monotonic() + PATIENCE + (announced or 0) / SLOWEST
    pieces, total = [], 0
    while announced is None or total < announced:
        piece = response.read1(_SLICE if announced is None else min(_SLICE, announced - total))
        if not piece:
            break
        pieces.append(piece)
        total += len(piece)
        if total > most:
            raise Unavailable(f"{shown(url)}: has more than the {most:,} bytes that are read")
        if time.monotonic() > due:
            raise _Failed(f"the server gave {total:,} bytes in {PATIENCE:.0f} s or more")
    if announced is not None and total < announced:
        raise _Failed(f"the answer ends after {total:,} of {announced:,} bytes")
    response.close()
    return b"".join(pieces)


def _connection(scheme: str, host: str) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, timeout=SILENCE)
    proxy = urlsplit(getproxies().get("https", ""))
    if not proxy.hostname or proxy_bypass(host):
        return http.client.HTTPSConnection(host, timeout=SILENCE)
    headers = {}
    if proxy.username is not None:
        secret = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(secret.encode()).decode()}"
    connection = http.client.HTTPSConnection(proxy.hostname, proxy.port, timeout=SILENCE)
    connection.set_tunnel(host, headers=headers)
    return connection


def _retry_after(text: str) -> float:
    """Seconds that a server asks to wait, told as such or as a date."""
    with contextlib.suppress(ValueError):
        return max(0.0, float(text))
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    return 0.0
