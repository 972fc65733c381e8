"""The door to a directory that results are written to and read from."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from ecjax.atomic import WriteError, sync_directory
from ecjax.errors import neutral

TEMPORARY = ".part-"


class Place:
    """A directory. Names of files in it are relative, with `/` between folders."""

    def __init__(self, directory: str | os.PathLike):
        self._path = Path(directory)
        self._identity = None

    def __str__(self) -> str:
        return neutral(self._path)

    def read(self, name: str) -> bytes:
        """A file's content; FileNotFoundError where there is none of that name."""
        return (self._path / name).read_bytes()

    def read_part(self, name: str, start: int, size: int) -> bytes:
        """Some of a file's bytes, fewer where it ends before."""
        with (self._path / name).open("rb") as file:
            file.seek(start)
            return file.read(size)

    def write(self, name: str, content: bytes) -> None:
        """Writes a file at once or not at all; on the disk when this returns.

        Raises:
          WriteError: the system refused to write.
        """
        path = self._path / name
        try:
            self._replace(path, content)
        except OSError as error:
            raise WriteError(f"{path}: cannot be written ({error.strerror or error})") from error

    def _replace(self, path: Path, content: bytes) -> None:
        self._check_identity()
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
        try:
            with part.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
        sync_directory(path.parent)

    def _check_identity(self) -> None:
        """Raises OSError where the directory is no longer the one first written to: below a mount
        that is gone, there may be another one of that name."""
        if self._identity is None:
            self._path.mkdir(parents=True, exist_ok=True)
        try:
            found = self._path.stat()
        except FileNotFoundError:
            raise OSError(f"the directory {self._path} is gone") from None
        identity = found.st_dev, found.st_ino
        if self._identity not in (None, identity):
            raise OSError(f"the directory {self._path} is another one now")
        self._identity = identity

    def files(self, folder: str = "") -> dict[str, int]:
        """Name within the folder → size, of its files; hidden ones and folders are left out."""
        try:
            with os.scandir(self._path / folder) as entries:
                found = {}
                for entry in entries:
                    # Gone between listing and looking: another process replaced or removed it.
                    with contextlib.suppress(FileNotFoundError):
                        if not entry.name.startswith(".") and entry.is_file():
                            found[entry.name] = entry.stat().st_size
                return found
        except FileNotFoundError:
            return {}

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        (self._path / name).unlink(missing_ok=True)


def place_of(directory: str | os.PathLike) -> Place:
    """The place that a path names."""
    return Place(directory)
