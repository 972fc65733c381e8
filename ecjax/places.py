"""Places: directories that results are written to and read from, here or in an object store.

A file is written whole or not at all, whoever is killed when. Here it is written beside, under a
hidden name of its own, synced and moved; in an object store it is one request, see `remote`.
"""

from __future__ import annotations

import abc
import contextlib
import os
import re
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from pyarrow import fs

from ecjax import atomic
from ecjax.atomic import WriteError, sync_directory
from ecjax.errors import InputError
from ecjax.remote import RemotePath, path_of

CHECK = ".writing-check"
OLD = 24 * 3600  # seconds after which no file is still being written
_BESIDE = re.compile(r"^\..*\.[0-9a-f]{32}$")  # as `write` names what it has not finished


class Place(abc.ABC):
    """A directory. Names of files in it are relative, with / between folders.

    What cannot be done raises WriteError, which says where and why, and in a time that is bounded
    also where a store falls silent; only a file that is not there to be read is a
    FileNotFoundError.
    """

    directory: Path | RemotePath

    def path(self, name: str) -> Path | RemotePath:
        """Where a file is, for messages and for other programs."""
        if any(part in ("", ".", "..") for part in name.split("/")):
            raise ValueError(f"{name}: no name of a file within a place")
        return self.directory / name

    def read(self, name: str) -> bytes:
        """A file's content."""
        with _told(self.path(name), "read"):
            return self.path(name).read_bytes()

    @abc.abstractmethod
    def read_part(self, name: str, start: int, size: int) -> bytes:
        """At most `size` bytes of a file from `start` on."""

    @abc.abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Writes a file whole or not at all, in the place of what was there; makes its folder.

        It is there to stay when this returns. Several processes may write the same file at once:
        one of them is the last.
        """

    @abc.abstractmethod
    def replace(self, files: Mapping[str, bytes]) -> list[Path | RemotePath]:
        """Writes files, name → content, each whole or not at all; returns their paths."""

    @abc.abstractmethod
    def files(self, folder: str = "") -> dict[str, int]:
        """Name → size in bytes of the files in a folder, hidden ones left out.

        Those of its own folders are not told. {} where there is no such folder.
        """

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        with _told(self.path(name), "read"):
            return self.path(name).is_file()

    def remove(self, name: str) -> None:
        """Removes a file, where it is."""
        with _told(self.path(name), "removed"):
            self.path(name).unlink(missing_ok=True)

    @abc.abstractmethod
    def tidy(self, folder: str = "") -> None:
        """Removes what writers that were killed left in a folder, once it is OLD."""

    @abc.abstractmethod
    def remove_folder(self, folder: str) -> None:
        """Removes a folder that is empty; leaves others alone."""

    def is_directory(self) -> bool:
        """Whether the place is there."""
        with _told(self.directory, "read"):
            return self.directory.is_dir()

    @abc.abstractmethod
    def is_taken(self) -> bool:
        """Whether something is in the way that is no directory."""

    @abc.abstractmethod
    def check_writable(self, folder: str = "") -> None:
        """Raises OSError where nothing can be written.

        Makes no directory; a store may keep an empty object that stands for a folder.

        Args:
          folder: of its own, where folders have rights of their own; need not be there.
        """

    @abc.abstractmethod
    def staging(self) -> contextlib.AbstractContextManager[Path]:
        """A hidden folder of this machine for files that `move` shall move; gone afterwards."""

    @abc.abstractmethod
    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Waits until no other process is in here for this place, where that can be known."""

    @abc.abstractmethod
    def move(self, file: Path, name: str) -> None:
        """Puts a staged, synced file in its place, in one step. `sync` makes it last."""

    @abc.abstractmethod
    def sync(self) -> None:
        """Returns when all files that were moved or removed are so for good."""


class LocalPlace(Place):
    """A directory in this machine's file system."""

    def __init__(self, directory: Path):
        self.directory = directory
        self._identity: tuple[int, int] | None = None

    def __str__(self) -> str:
        return str(self.directory)

    def _check_identity(self) -> None:
        """Raises OSError where the directory is not the one first written to: below a mount that is
        gone there may be another one of its name, or room for one."""
        if self._identity is None:
            _make_folder(self.directory)
        try:
            found = self.directory.stat()
        except FileNotFoundError:
            raise OSError("its directory is gone") from None
        if self._identity not in (None, (found.st_dev, found.st_ino)):
            raise OSError("its directory is another one now")
        self._identity = found.st_dev, found.st_ino

    def read_part(self, name: str, start: int, size: int) -> bytes:
        with _told(self.path(name), "read"), self.path(name).open("rb") as file:
            file.seek(start)
            return file.read(size)

    def write(self, name: str, content: bytes) -> None:
        path = self.path(name)
        with _told(path, "written"):
            self._check_identity()
            _make_folder(path.parent)
            beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
            try:
                with beside.open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(beside, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    beside.unlink(missing_ok=True)
                raise
            sync_directory(path.parent)

    def replace(self, files: Mapping[str, bytes]) -> list[Path | RemotePath]:
        return atomic.replace_files(self.directory, files)

    def files(self, folder: str = "") -> dict[str, int]:
        directory = self.path(folder) if folder else self.directory
        with _told(directory, "read"):
            found = _stats(directory)
        return {name: found[name].st_size for name in sorted(found) if not name.startswith(".")}

    def tidy(self, folder: str = "") -> None:
        directory = self.path(folder) if folder else self.directory
        with _told(directory, "tidied"):
            for name, found in _stats(directory).items():
                if _BESIDE.match(name) and found.st_mtime < time.time() - OLD:
                    (directory / name).unlink(missing_ok=True)

    def remove_folder(self, folder: str) -> None:
        with contextlib.suppress(OSError):  # not there, or it holds files
            self.path(folder).rmdir()

    def is_taken(self) -> bool:
        return os.path.lexists(self.directory) and not self.directory.is_dir()

    def check_writable(self, folder: str = "") -> None:
        place = (self.path(folder) if folder else self.directory).absolute()
        while not os.path.lexists(place):
            place = place.parent
        with tempfile.TemporaryFile(dir=place):
            pass

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        self._check_identity()
        with atomic.staging(self.directory) as folder:
            yield folder

    def alone(self) -> contextlib.AbstractContextManager[None]:
        return atomic.alone(self.directory)

    def move(self, file: Path, name: str) -> None:
        os.replace(file, self.path(name))

    def sync(self) -> None:
        sync_directory(self.directory)


class RemotePlace(Place):
    """A directory that a URL names; every request is final when it returns."""

    def __init__(self, directory: RemotePath):
        self.directory = directory

    def __str__(self) -> str:
        """With options that are no secrets, so that it can be given to a command again."""
        return f"{self.directory}{self.directory.url.shown_query}"

    def read_part(self, name: str, start: int, size: int) -> bytes:
        with _told(self.path(name), "read"):
            return self.path(name).read_bytes(size, start)

    def write(self, name: str, content: bytes) -> None:
        with _told(self.path(name), "written"):
            self.path(name).write_bytes(content)

    def replace(self, files: Mapping[str, bytes]) -> list[Path | RemotePath]:
        for name, content in files.items():
            self.write(name, content)
        return [self.path(name) for name in files]

    def files(self, folder: str = "") -> dict[str, int]:
        directory = self.path(folder) if folder else self.directory
        with _told(directory, "read"):
            return {
                path.name: info.size
                for path, info in directory.entries()
                if info.type == fs.FileType.File and not path.name.startswith(".")
            }

    def tidy(self, folder: str = "") -> None:
        """Nothing: a store holds nothing half-written."""

    def remove_folder(self, folder: str) -> None:
        """Nothing: a store has no empty folders."""

    def is_taken(self) -> bool:
        with _told(self.directory, "read"):
            return self.directory.is_file()

    def check_writable(self, folder: str = "") -> None:
        file = self.path(CHECK)  # a store has no folders
        file.write_bytes(b"")
        with contextlib.suppress(OSError):  # who may write may yet not be allowed to remove
            file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="ecjax-") as folder:
            yield Path(folder)

    def alone(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def move(self, file: Path, name: str) -> None:
        self.write(name, file.read_bytes())

    def sync(self) -> None:
        """Nothing is left to do."""


Directory = str | os.PathLike | Place


def place_of(directory: Directory) -> Place:
    """The place that a path or URL names; a place stands for itself.

    Raises:
        InputError: nothing here opens such URLs.
    """
    if isinstance(directory, Place):
        return directory
    path = path_of(directory)
    return RemotePlace(path) if isinstance(path, RemotePath) else LocalPlace(path)


def check_writable(place: Place, way_out: str) -> None:
    """Raises an InputError where nothing can be written."""
    try:
        place.check_writable()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{place}: nothing can be written there ({reason}); {way_out}") from error


@contextlib.contextmanager
def _told(path: Path | RemotePath, done: str) -> Iterator[None]:
    """Turns what a system says into a WriteError that names the file."""
    try:
        yield
    except FileNotFoundError:
        if done == "read":
            raise
        raise WriteError(f"{path}: cannot be {done} (its folder is not there)") from None
    except OSError as error:
        raise WriteError(f"{path}: cannot be {done} ({error.strerror or error})") from error


def _stats(directory: Path) -> dict[str, os.stat_result]:
    """Name → size and times of the files in a folder; {} where there is none."""
    found = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # just removed
                if entry.is_file():
                    found[entry.name] = entry.stat()
    return found


def _make_folder(folder: Path) -> None:
    """Makes a folder and those above it, so that they last."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_directory(path.parent)
