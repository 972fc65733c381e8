"""Which files a path of a study stands for: one, a folder of parts, or those of a pattern."""

from __future__ import annotations

import glob
import itertools
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from ecjax.errors import InputError, listing, quote
from ecjax.limits import MOST_FILES
from ecjax.remote import RemotePath, joined

# Endings of parts, the first of which that are there make up a folder's table.
PARTS = ((".parquet", ".pq"), (".arrow", ".feather", ".ipc"), (".csv", ".csv.gz"))
_MAGIC = "*?["


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
    """The existing files that a path, folder of parts, or pattern stands for, sorted.

    Raises:
        InputError: there are none or too many, they cannot be looked up, or one is a link that
            leads out of the folder; it begins with `where`.
    """
    path = path_of(text, folder, where)
    pattern = path.url.path if isinstance(path, RemotePath) else text  # a query has a ? of its own
    home = "the working directory" if folder == Path() else "the study file"
    way_out = f"check it (relative paths are relative to {home})"
    inside = None
    try:
        if path.is_dir():
            found, inside = _parts(path), None if isinstance(path, RemotePath) else path
            way_out = "the folder holds no .parquet file, nor other parts; give a pattern or a file"
        elif path.exists():
            found = [path]
            if isinstance(path, Path) and not path.is_file():
                raise InputError(f"{where}: {path} is neither a file nor a folder; give one")
        elif any(c in pattern for c in _MAGIC):
            if isinstance(path, RemotePath):
                found = path.matches()
            else:
                found, inside = _matches(text, folder), _before_pattern(text, folder)
            way_out = "no file matches the pattern; " + way_out
        else:
            found = []
        if inside is not None:
            _check_links(found, inside, where)
    except OSError as error:
        what = "path and its permissions"
        if isinstance(path, RemotePath):
            what = "URL, and the credentials that the environment gives"
        raise InputError(
            f"{where}: {quote(path)} cannot be looked up ({error.strerror or error}); check the "
            f"{what}"
        ) from None
    except (ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: {quote(path)} cannot be used as a path ({error})") from None
    if not found:
        raise InputError(f"{where}: no file {path}; {way_out}")
    if len(found) > MOST_FILES:
        raise InputError(
            f"{where}: {path} stands for more than {MOST_FILES:,} files, which is the most that a "
            "table may have; write larger parts"
        )
    return tuple(found)


def _parts(folder: Path | RemotePath) -> list[Path | RemotePath]:
    """The files of a folder that are parts of one table."""
    files = list(folder.iterdir())
    for endings in PARTS:
        if found := sorted(p for p in files if p.name.endswith(endings)):
            return found
    return []


def _matches(text: str, folder: Path) -> list[Path]:
    """The local files that match a pattern, sorted; one more than are allowed, if there are."""
    pattern = text if os.path.isabs(text) else os.path.join(glob.escape(str(folder)), text)
    found = (path for path in map(Path, glob.iglob(pattern, recursive=True)) if path.is_file())
    return sorted(itertools.islice(found, MOST_FILES + 1))


def _before_pattern(text: str, folder: Path) -> Path:
    """The folder that a local pattern begins in."""
    plain = itertools.takewhile(lambda part: not any(c in part for c in _MAGIC), Path(text).parts)
    return folder.joinpath(*plain)


def _check_links(found: Sequence[Path], folder: Path, where: str) -> None:
    """Raises an InputError if a part lies elsewhere, so that a folder holds what it seems to."""
    folder = folder.resolve()
    outside = [path for path in found if not path.resolve().is_relative_to(folder)]
    if outside:
        hub = "snapshots" in folder.parts and outside[0].resolve().parent.name == "blobs"
        other = "give the data's hf:// address" if hub else "name the folder that they are in"
        raise InputError(
            f"{where}: {len(outside)} of {len(found)} parts are links that lead out of {folder} "
            f"({listing(outside)}); copy the files with `cp -rL {shlex.quote(str(folder))} COPY` "
            f"and name COPY, or {other}; a single file may be a link"
        )
