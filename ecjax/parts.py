"""Which files a path of a study stands for: one, a folder of parts, or those of a pattern."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from ecjax.errors import InputError, quote
from ecjax.remote import RemotePath, joined


def path_of(text: str, folder: Path | RemotePath, where: str) -> Path | RemotePath:
    """What a path or URL of a study names; relative ones are relative to its folder.

    Raises:
        InputError: nothing here opens such URLs; it begins with `where`.
    """
    try:
        return joined(folder, text)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def files_of(text: str, folder: Path | RemotePath, where: str) -> tuple[Path | RemotePath, ...]:
    """The existing files that a path, folder of Parquet parts, or pattern stands for, sorted.

    Raises:
        InputError: there are none, or they cannot be looked up; it begins with `where`.
    """
    path = path_of(text, folder, where)
    pattern = path.url.path if isinstance(path, RemotePath) else text  # a query has a ? of its own
    way_out = "check it (relative paths are relative to the study file)"
    try:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix in (".parquet", ".pq"))
            way_out = "the folder holds no .parquet file; give a pattern or a file"
        elif path.exists():
            found = [path] if path.is_file() else []
            way_out = "a pipe or device is there; copy its content to a regular file"
        elif any(c in pattern for c in "*?["):
            found = path.matches() if isinstance(path, RemotePath) else _matches(text, folder)
            way_out = "no file matches the pattern; " + way_out
        else:
            found = []
    except OSError as error:
        raise InputError(
            f"{where}: {quote(path)} cannot be looked up ({error.strerror or error}); check the "
            "path and its permissions"
        ) from None
    except ValueError as error:
        raise InputError(f"{where}: {quote(path)} cannot be used as a path ({error})") from None
    if not found:
        raise InputError(f"{where}: no file {path}; {way_out}")
    return tuple(found)


def _matches(text: str, folder: Path | RemotePath) -> list[Path]:
    """The local files that match a pattern, sorted."""
    pattern = text if os.path.isabs(text) else os.path.join(glob.escape(str(folder)), text)
    return sorted(p for p in map(Path, glob.glob(pattern, recursive=True)) if p.is_file())
