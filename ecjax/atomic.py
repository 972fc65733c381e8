"""Files that are written at once or not at all: beside the old ones first, synced, then moved."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on every system
    fcntl = None

STAGING = ".writing-"


class WriteError(OSError):
    """Results could not be written: a full disk, a lost mount, a missing permission."""


def replace_files(directory: str | os.PathLike, files: Mapping[str, bytes]) -> list[Path]:
    """Writes files, each at once or not at all, and returns their paths.

    Args:
        directory: where they go; exists.
        files: path within it, at most one folder deep → content, in the order of moving.

    Raises:
        WriteError: the system refused to write.
    """
    directory = Path(directory)
    paths = [directory / name for name in files]
    place = directory
    try:
        with staging(directory) as folder:
            for number, content in enumerate(files.values()):
                place = paths[number]
                (folder / str(number)).write_bytes(content)
                sync_and_hash(folder / str(number))
            for number, place in enumerate(paths):
                place.parent.mkdir(exist_ok=True)
                os.replace(folder / str(number), place)
            for parent in dict.fromkeys(path.parent for path in paths):
                sync_directory(parent)
    except OSError as error:
        raise WriteError(f"{place}: cannot be written ({error.strerror or error})") from error
    return paths


@contextlib.contextmanager
def staging(directory: Path) -> Iterator[Path]:
    """A hidden directory that is gone afterwards, whatever happens.

    Those of processes that were killed are removed, those of others at work are not.
    """
    for left in directory.glob(f"{STAGING}*"):
        with _locked(left, wait=False) as abandoned:
            if abandoned:
                shutil.rmtree(left, ignore_errors=True)  # leaves links and files alone
    while True:
        folder = Path(tempfile.mkdtemp(prefix=STAGING, dir=directory))
        with _locked(folder):
            if not folder.exists():  # another process has taken it for a dead one's
                continue
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Waits until no other process is in here for this directory; not on all file systems."""
    with _locked(directory):
        yield


@contextlib.contextmanager
def _locked(directory: Path, wait: bool = True) -> Iterator[bool]:
    """Holds the lock on a directory, which ends with its process; whether it could be had."""
    handle = None
    try:
        handle = os.open(directory, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        held = True
    except (OSError, AttributeError):  # another holds it, or there are no locks here
        held = False
    try:
        yield held
    finally:
        if handle is not None:
            os.close(handle)


def sync_and_hash(path: Path) -> str:
    """Puts a file's content on the disk and returns its SHA-256."""
    with path.open("rb+") as file:  # some systems sync only what is open for writing
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_directory(directory: Path) -> None:
    """Puts a directory's entries on the disk."""
    # Some network file systems cannot sync a directory; the moves themselves have succeeded.
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
