"""Files that are written at once or not at all: beside the old ones first, synced, then moved."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

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
    """A hidden directory that is gone afterwards, whatever happens; removes left-over ones too."""
    for stale in directory.glob(f"{STAGING}*"):
        shutil.rmtree(stale, ignore_errors=True)  # leaves links and files alone
    folder = Path(tempfile.mkdtemp(prefix=STAGING, dir=directory))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
