"""What a URL names: a file system of pyarrow or, beyond those, of fsspec; and what may be shown.

S3 (`s3://`), Google Cloud Storage (`gs://`), Azure (`abfs://`) and HDFS (`hdfs://`) are pyarrow's,
with the options in a URL's query that `pyarrow.fs.FileSystem.from_uri` knows. `hf://`, `https://`
and the rest are fsspec's, the extra `cloud`. Credentials come from the environment, as usual for
each of them; what a URL holds of them is never shown.

A store may fail or fall silent. S3 is asked ATTEMPTS times, with growing pauses; whatever shows no
sign of life for PATIENCE seconds counts as failing.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote
from urllib.parse import quote as quote_url

from pyarrow import fs

from ecjax.errors import InputError, listing, quote

PATIENCE = 60.0  # seconds
ATTEMPTS = 5
MOST_TOLD = 300  # characters of what a store says
SLICE = 1 << 24  # bytes between two signs of life
S3_OPTIONS = ("region", "scheme", "endpoint_override", "anonymous", "tls_ca_file_path")
SHOWN_OPTIONS = (*S3_OPTIONS, "project_id", "retry_limit_seconds")  # whose values are no secrets
ARROW = ("gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
# Files appear there whole or not at all; elsewhere they are written beside and renamed.
OBJECT_STORES = ("s3", "gs", "gcs", "abfs", "abfss", "hf")
CLOUD = "pip install 'ecjax[cloud]'"
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.\-]+://")
_COLLAPSED = re.compile(r"^[A-Za-z][A-Za-z0-9+.\-]+:/[^/]")

T = TypeVar("T")
Alive = Callable[[], None]


@dataclasses.dataclass(frozen=True)
class Url:
    """The parts of a URL as they are written; `path` has no slash at either end."""

    scheme: str
    user: str = dataclasses.field(repr=False)
    password: str = dataclasses.field(repr=False)
    host: str
    path: str
    query: str = dataclasses.field(repr=False)

    @property
    def options(self) -> dict[str, str]:
        """The query's."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    @property
    def root(self) -> str:
        """The URL of the file system, secrets included."""
        user = f"{self.user}:{self.password}" if self.password else self.user
        return f"{self.scheme}://{user}{'@' * bool(user)}{self.host}/"

    @property
    def _shows_user(self) -> bool:
        return not self.password and (self.user == "anonymous" or self.scheme in ("abfs", "abfss"))

    def __str__(self) -> str:
        """Without credentials and options."""
        user = f"{self.user}@" if self._shows_user and self.user else ""
        return f"{self.scheme}://{user}{self.host}" + f"/{self.path}" * bool(self.path)

    @property
    def shown_query(self) -> str:
        """The query as it may be shown, with its question mark."""
        shown = [
            f"{key}={value if key in SHOWN_OPTIONS else '***'}"
            for key, value in self.options.items()
        ]
        return f"?{'&'.join(shown)}" if shown else ""

    def told(self, error: object) -> str:
        """An error's text on one line, without what is secret in the URL."""
        hidden = [value for key, value in self.options.items() if key not in SHOWN_OPTIONS]
        hidden += [] if self._shows_user else [self.user, self.password]
        text = str(getattr(error, "strerror", None) or error)
        text = " ".join(text.split()) or type(error).__name__
        for secret in hidden:
            for form in filter(None, {secret, unquote(secret), quote_url(secret, safe="")}):
                text = text.replace(form, "***")
        return text[:MOST_TOLD]


def is_url(text: str | os.PathLike) -> bool:
    """Whether a text is a URL. Raises InputError for one that was made a path."""
    text = os.fspath(text)
    if _COLLAPSED.match(text):
        scheme = text.partition(":")[0]
        raise InputError(f"{scheme}:/…: a URL has two slashes, and loses one as a path; give text")
    return bool(_URL.match(text))


def split(text: str) -> Url:
    """The parts of a URL. Raises InputError, which shows nothing of it, if a secret spoils it."""
    scheme, _, rest = text.partition("://")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    user, _, host = authority.rpartition("@")
    user, _, password = user.partition(":")
    port = host.rpartition(":")[2] if ":" in host and not host.endswith("]") else None
    if port is not None and (scheme.lower() in OBJECT_STORES or not port.isdecimal()):
        raise InputError(
            f"{scheme}://…: no URL, for a user's part must be followed by @, and / in it be written"
            " %2F; better give credentials in the environment"
        )
    if not host and scheme.lower() in OBJECT_STORES:
        raise InputError(f"{scheme}:///…: names no bucket; write it behind the two slashes")
    parts = [part for part in path.split("/") if part]
    return Url(scheme.lower(), user, password, host, "/".join(parts), query)


def opened(url: Url) -> tuple[fs.FileSystem, str]:
    """The file system that a URL names, and what stands before its paths there.

    Raises:
        InputError: nothing here opens such URLs, or an option is unknown.
    """
    return _opened(dataclasses.replace(url, path=""), PATIENCE)


@functools.lru_cache(maxsize=32)
def _opened(url: Url, patience: float) -> tuple[fs.FileSystem, str]:
    how = _s3 if url.scheme == "s3" else _arrow if url.scheme in ARROW else _fsspec
    try:
        return patiently(lambda alive: how(url, patience))
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise InputError(f"{url}: cannot be opened ({url.told(error)})") from None


def _s3(url: Url, patience: float) -> tuple[fs.FileSystem, str]:
    options = url.options
    unknown = [key for key in options if key not in S3_OPTIONS]
    if unknown:
        raise InputError(
            f"{url}: unknown option {quote(unknown[0])}; known: {listing(S3_OPTIONS, 9)}"
        )
    keys = {"access_key": unquote(url.user), "secret_key": unquote(url.password)}
    anonymous = options.pop("anonymous", "false") == "true"
    environment = os.environ.get
    elsewhere = "endpoint_override" in options or environment("AWS_ENDPOINT_URL_S3")
    region = environment("AWS_REGION") or environment("AWS_DEFAULT_REGION")
    if not region and not elsewhere and not environment("AWS_ENDPOINT_URL"):
        region = fs.resolve_s3_region(url.host)
    options = {"region": region} | options if region else options
    silence = max(1.0, patience / 12)  # a whole second is the least that is counted
    filesystem = fs.S3FileSystem(
        **(keys if url.user else {"anonymous": anonymous}),
        **options,
        connect_timeout=silence,
        request_timeout=silence,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        allow_delayed_open=True,  # so that a small file is one request
    )
    return filesystem, url.host


def _arrow(url: Url, patience: float) -> tuple[fs.FileSystem, str]:
    query = url.query
    if url.scheme in ("gs", "gcs") and "retry_limit_seconds" not in url.options:
        query += f"{'&' * bool(query)}retry_limit_seconds={patience / 2:g}"
    filesystem, base = fs.FileSystem.from_uri(url.root + f"?{query}" * bool(query))
    return filesystem, base.rstrip("/")


def _fsspec(url: Url, patience: float) -> tuple[fs.FileSystem, str]:
    del patience
    try:
        import fsspec
    except ImportError:
        raise InputError(f"{url}: {url.scheme}:// needs fsspec; {CLOUD} brings it") from None
    if url.scheme not in fsspec.available_protocols():
        raise InputError(f"{url}: nothing here opens {url.scheme}://; check the URL's beginning")
    if url.query and url.scheme not in ("http", "https"):
        raise InputError(f"{url}: {url.scheme}:// takes no options in the URL; leave them out")
    try:
        filesystem, base = fsspec.core.url_to_fs(url.root)
    except ImportError as error:
        raise InputError(
            f"{url}: {url.scheme}:// needs a package that is not here ({url.told(error)}); "
            f"{CLOUD} brings that of hf://"
        ) from None
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), base.rstrip("/")


def patiently(work: Callable[[Alive], T], more: float = 0.0) -> T:
    """What `work` returns, or TimeoutError where it shows no sign of life for too long.

    Args:
        work: calls what it is given as a sign of life. It runs in a thread, which is left behind
            where it falls silent.
        more: seconds that it may take beyond PATIENCE.
    """
    patience = PATIENCE + more
    last, done, outcome = [time.monotonic()], threading.Event(), []

    def alive() -> None:
        last[0] = time.monotonic()

    def run() -> None:
        try:
            outcome.append((work(alive), None))
        except BaseException as error:  # raised again below
            outcome.append((None, error))
        done.set()

    threading.Thread(target=run, daemon=True, name="ecjax-store").start()
    while not done.wait(max(0.0, last[0] + patience - time.monotonic())):
        if time.monotonic() >= last[0] + patience and not done.is_set():
            raise TimeoutError(f"no answer for {patience:.3g} s")
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def fsspec_of(filesystem: fs.FileSystem) -> Any | None:
    """The file system of fsspec behind one of pyarrow; None where it is pyarrow's own."""
    handler = getattr(filesystem, "handler", None)
    return getattr(handler, "fs", None)
