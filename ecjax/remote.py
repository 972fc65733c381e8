"""Files that a URL names, in an object store or another file system: as much of a Path as is used.

A file is written whole or not at all, checked by its size, and there for everyone when the call
returns. Object stores have no folders: one is there as long as something is in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fnmatch
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO, TypeVar
from urllib.parse import unquote

from pyarrow import fs

from ecjax.filesystems import (
    OBJECT_STORES,
    SLICE,
    Alive,
    Url,
    fsspec_of,
    is_url,
    opened,
    patiently,
    split,
)
from ecjax.ranges import Ranges

SLOWEST = 1e6  # bytes a second that a store must take in

T = TypeVar("T")


def path_of(text: str | os.PathLike) -> Path | RemotePath:
    """The path that a text, path or URL names.

    Raises:
        InputError: nothing here opens such URLs.
    """
    if isinstance(text, RemotePath) or not is_url(text):
        return text if isinstance(text, RemotePath) else Path(text)
    url = split(str(text))
    return Path("/" + unquote(url.path)) if url.scheme == "file" else RemotePath(url)


def joined(folder: Path | RemotePath, text: str) -> Path | RemotePath:
    """What a text, relative to a folder or not, names; raises as `path_of`."""
    if is_url(text) or os.path.isabs(text):
        return path_of(text)
    return folder / text


@dataclasses.dataclass(frozen=True)
class RemotePath:
    """A file or folder that a URL names. Its methods raise OSError as those of a Path do."""

    url: Url
    filesystem: fs.FileSystem = dataclasses.field(init=False, compare=False, repr=False)
    base: str = dataclasses.field(init=False, compare=False, repr=False)

    def __post_init__(self):
        filesystem, base = opened(self.url)
        object.__setattr__(self, "filesystem", filesystem)
        object.__setattr__(self, "base", base)

    def __str__(self) -> str:
        """Without credentials and options, for messages."""
        return str(self.url)

    def __lt__(self, other: RemotePath) -> bool:
        return self._parts < other._parts

    def __truediv__(self, text: str) -> RemotePath:
        parts = list(self._parts)
        for part in text.split("/"):
            if part == "..":
                parts = parts[:-1]
            elif part not in ("", "."):
                parts.append(part)
        return dataclasses.replace(self, url=dataclasses.replace(self.url, path="/".join(parts)))

    @property
    def _parts(self) -> list[str]:
        return self.url.path.split("/") if self.url.path else []

    @property
    def name(self) -> str:
        return self._parts[-1] if self._parts else ""

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    @property
    def stem(self) -> str:
        return Path(self.name).stem

    @property
    def parent(self) -> RemotePath:
        return self / ".."

    def resolve(self) -> RemotePath:
        return self

    @property
    def native(self) -> str:
        """Its path in `filesystem`, for pyarrow."""
        path = f"{self.base}/{self.url.path}" if self.url.path else self.base
        web = self.url.scheme in ("http", "https") and self.url.query
        return f"{path}?{self.url.query}" if web else path

    def _do(self, work: Callable[[Alive], T], sent: int = 0) -> T:
        """What work returns; every failure is an OSError whose text may be shown."""
        try:
            return patiently(work, sent / SLOWEST)
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(self)) from None
        except Exception as error:  # each store has errors of its own
            raise OSError(errno.EIO, self.url.told(error)) from None

    def _info(self) -> fs.FileInfo:
        return self._do(lambda alive: self.filesystem.get_file_info(self.native))

    def exists(self) -> bool:
        return self._info().type != fs.FileType.NotFound

    def is_file(self) -> bool:
        return self._info().type == fs.FileType.File

    def is_dir(self) -> bool:
        return self._info().type == fs.FileType.Directory

    def stat(self) -> SimpleNamespace:
        """With st_size, in bytes, and st_mtime_ns, None where the store does not tell it."""
        info = self._info()
        if info.type != fs.FileType.File:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(self))
        return SimpleNamespace(st_size=info.size, st_mtime_ns=info.mtime_ns, st_ino=0)

    def open(self, mode: str) -> BinaryIO:
        """For reading; each read is a request for so many bytes."""
        if mode != "rb":
            raise ValueError(f"mode {mode}: a remote file is opened for reading only")
        return Ranges(self.stat().st_size, lambda start, stop: self.read_bytes(stop - start, start))

    def entries(self) -> list[tuple[RemotePath, fs.FileInfo]]:
        """What is in the folder, sorted; [] where there is none."""
        selector = fs.FileSelector(self.native, allow_not_found=True)

        def work(alive: Alive) -> list[fs.FileInfo]:
            behind = fsspec_of(self.filesystem)
            if behind is not None:
                behind.invalidate_cache()  # others write there too
            return self.filesystem.get_file_info(selector)

        found = [(self / info.base_name, info) for info in self._do(work) if info.base_name]
        return sorted(found, key=lambda entry: entry[0])

    def iterdir(self) -> Iterator[RemotePath]:
        return (path for path, _ in self.entries())

    def matches(self) -> list[RemotePath]:
        """The files that it stands for as a pattern, as `glob.glob` has them, sorted."""
        root = dataclasses.replace(self, url=dataclasses.replace(self.url, path=""))
        return sorted(set(_matches(root, self._parts)))

    def read_bytes(self, size: int | None = None, start: int = 0) -> bytes:
        """The content from `start` on, or so many bytes of it."""

        def work(alive: Alive) -> bytes:
            with self.filesystem.open_input_file(self.native) as stream:
                rest = max(0, stream.size() - start)
                wanted = rest if size is None else min(size, rest)
                stream.seek(min(start, stream.size()))
                slices = []
                while wanted > 0:
                    slices.append(stream.read(min(SLICE, wanted)))
                    if not slices[-1]:
                        raise OSError(f"ended {wanted:,} bytes early")
                    wanted -= len(slices[-1])
                    alive()
                return b"".join(slices)

        return self._do(work)

    def read_text(self, encoding: str) -> str:
        return self.read_bytes().decode(encoding)

    def write_bytes(self, content: bytes) -> None:
        """Writes it whole or not at all, in the place of what was there."""

        def work(alive: Alive) -> None:
            if self.url.scheme in OBJECT_STORES:
                self._put(self.native, content)
            else:
                self._put_and_rename(content)
            alive()
            size = self.filesystem.get_file_info(self.native).size
            if size != len(content):
                raise OSError(f"holds {size} bytes after {len(content):,} were written")

        self._do(work, len(content))

    def _put(self, path: str, content: bytes) -> None:
        behind = fsspec_of(self.filesystem)
        if behind is not None:
            behind.pipe_file(path, content)
            return
        # Closing a stream publishes what it holds, so all of it is given at once.
        with self.filesystem.open_output_stream(path) as stream:
            stream.write(content)

    def _put_and_rename(self, content: bytes) -> None:
        behind = fsspec_of(self.filesystem)
        self.filesystem.create_dir(self.parent.native, recursive=True)
        beside = (self.parent / f".{self.name}.{uuid.uuid4().hex}").native
        try:
            self._put(beside, content)
            move = self.filesystem.move if behind is None else behind.mv
            move(beside, self.native)
        except BaseException:
            with contextlib.suppress(Exception):
                self.filesystem.delete_file(beside)
            raise

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            self._do(lambda alive: self.filesystem.delete_file(self.native))
        except FileNotFoundError:
            if not missing_ok:
                raise


def _matches(folder: RemotePath, parts: list[str]) -> Iterator[RemotePath]:
    head, rest = parts[0], parts[1:]
    if head == "**":
        yield from _matches(folder, rest or ["*"])
        for path, info in folder.entries():
            if info.type == fs.FileType.Directory and not path.name.startswith("."):
                yield from _matches(path, parts)
    elif any(c in head for c in "*?["):
        for path, info in folder.entries():
            hidden = path.name.startswith(".") and not head.startswith(".")
            if hidden or not fnmatch.fnmatchcase(path.name, head):
                continue
            if rest and info.type == fs.FileType.Directory:
                yield from _matches(path, rest)
            elif not rest and info.type == fs.FileType.File:
                yield path
    elif rest:
        yield from _matches(folder / head, rest)
    elif (folder / head).is_file():
        yield folder / head
