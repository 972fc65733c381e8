"""The one writer of results, and their reader: a directory of tables and a manifest.

A directory is whole when its `manifest.json` says `"complete": true`; the manifest also carries the
SHA-256 of every file, so that a damaged or foreign table is noticed. A write goes in three steps:
1. everything is written and synced in a hidden directory `.writing-*` inside the directory;
2. a manifest that says `"complete": false` replaces the old one, then each table is moved;
3. the manifest that says `"complete": true` is moved last.
A run killed in step 1 leaves the old results, one killed later leaves a directory that says it is
unfinished, that cannot be read, and that a rerun of the same study may complete.

The directory may be a URL, see `places`. What is staged is then on this machine, and moving a file
is one request.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ecjax import report_files
from ecjax.atomic import WriteError, sync_and_hash
from ecjax.cell_store import FOLDER
from ecjax.encode import arrow_table, csv_text, differences, only_settings, plain
from ecjax.errors import InputError
from ecjax.places import Place, RemotePlace, place_of

MANIFEST = "manifest.json"
TABLES = (
    "scores", "folds", "index", "targets", "predictions", "gains", "shapley", "maps", "strata",
    "separation", "commonality", "points", "overlap", "overlap_correlation", "scale",
    "scale_correlation", "scale_curve", "comparison",
)  # fmt: skip
WITHOUT_CSV = ("folds", "predictions", "points")
SHOWN_DIFFERENCES = 6


def check_directory(directory: str | os.PathLike, fingerprint: Mapping[str, Any]) -> None:
    """Refuses, before anything is computed, a directory that must not or cannot be written.

    Leaves nothing behind. An unfinished directory of the same study is accepted, and so is one that
    holds only files which are not ecjax's.

    Args:
        directory: where the results shall go; need not exist.
        fingerprint: what makes the study this one (rows, tasks, embeddings, protocol, …).

    Raises:
        InputError: a file is in the way, nothing can be written there, or the directory holds the
            results of another study, or of other settings, or tables without a readable manifest.
    """
    place = place_of(directory)
    try:
        if place.is_taken():
            raise InputError(f"{place}: is not a directory. Name another one with --out.")
        place.check_writable()
        place.check_writable(FOLDER)
        if place.is_directory():
            _check_same_study(place, fingerprint)
    except OSError as error:
        raise InputError(
            f"{place}: results cannot be written there ({error.strerror or error}). "
            "Name another directory with --out."
        ) from error


def _check_same_study(place: Place, fingerprint: Mapping[str, Any]) -> None:
    there = place.files()
    if MANIFEST not in there:
        tables = [name for name in _own_files() if name in there]
        if tables:
            raise InputError(
                f"{place}: holds {', '.join(tables)} but no {MANIFEST}, so it cannot be known "
                "which study they belong to. Name another directory with --out, or remove them."
            )
        return
    before, now = _read_manifest(place)["study"], plain(fingerprint)
    there, here = (study.get("command", "evaluate") for study in (before, now))
    if there != here:
        raise InputError(
            f"{place}: holds the results of `ecjax {there}`, not of `ecjax {here}`. "
            "Name another directory with --out."
        )
    shown = differences(before, now)
    if not shown:
        return
    more = len(shown) - SHOWN_DIFFERENCES
    same = only_settings(before, now)
    whose = "this study with other settings: " if same else "another study; it differs in "
    raise InputError(
        f"{place}: holds the results of {whose}"
        + ", ".join(shown[:SHOWN_DIFFERENCES])
        + (f", and {more} more" if more > 0 else "")
        + ". Name another directory with --out."
    )


def study_of(directory: str | os.PathLike | Place) -> dict[str, Any] | None:
    """The fingerprint of the study whose directory it is; None where it is nobody's yet.

    Raises:
        InputError: the manifest cannot be read.
    """
    place = place_of(directory)
    return _read_manifest(place)["study"] if place.has(MANIFEST) else None


def begin(directory: str | os.PathLike | Place, fingerprint: Mapping[str, Any]) -> None:
    """Marks a directory as that of a study before its results are there.

    Results of an earlier run of it stay as they are until they are replaced.

    Raises:
        WriteError: the system refused to write.
    """
    place = place_of(directory)
    if not place.has(MANIFEST):
        place.write(MANIFEST, _manifest_text({"study": fingerprint}, {}).encode())


def write_results(
    directory: str | os.PathLike,
    tables: Mapping[str, pd.DataFrame],
    manifest: Mapping[str, Any],
    ready: Mapping[str, Path] = MappingProxyType({}),
) -> list[str]:
    """Writes all tables and the manifest, replacing those of an earlier run.

    Each table becomes `<name>.parquet` and, except `folds` and `predictions`, `<name>.csv`. Equal
    frames give equal bytes. In CSV a text that a spreadsheet would take for a formula starts with
    an apostrophe. Tables of the earlier run which are not in `tables`, and its page, tables for
    papers and figures, are removed.

    Args:
        directory: made if it does not exist; ask `check_directory` first.
        tables: name → frame; columns of numbers, booleans and text; NaN and None become null.
        manifest: what `manifest.json` shall say, with the fingerprint under `study`; the keys
            `complete` and `files` (file name → SHA-256) are added here.
        ready: name → a Parquet file that is moved; of tables too large to be frames.

    Returns:
        The names of the earlier run's files that were removed and not replaced.

    Raises:
        WriteError: the system refused to write. The message says what the directory holds now.
    """
    place = place_of(directory)
    try:
        with place.staging() as folder:
            files = _stage(folder, tables, manifest, ready)
            with place.alone():  # two runs at once: the last one's tables, not some of each
                return _install(place, folder, files)
    except OSError as error:
        raise WriteError(
            f"{place}: the results could not be written ({error.strerror or error}), "
            f"{_state(place)}. Make room or name another directory with --out, then run again",
        ) from error


def read_results(
    directory: str | os.PathLike, names: Sequence[str] | None = None
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Reads what `write_results` wrote: (name → frame, manifest).

    Args:
        directory: a directory of results.
        names: the tables wanted, where the run made them; None: all.

    Raises:
        InputError: there is no such directory, it holds no whole results, none of the tables
            wanted, or a file is missing or has changed since it was written.
    """
    place = place_of(directory)
    there = _files(place)
    if there is None:
        raise InputError(f"{place}: there is no such directory of results.")
    if MANIFEST not in there:
        raise InputError(
            f"{place}: has no {MANIFEST}, so it holds no results of ecjax. "
            "Name the directory that was given to --out."
        )
    manifest = _read_manifest(place)
    files = manifest.get("files")
    if manifest.get("complete") is not True or not isinstance(files, dict):
        raise InputError(
            f"{place}: its results are unfinished (a run is under way, or has ended early, or was "
            "a part, --shard, of one). Run the same evaluate command again, without --shard."
        )
    present = [Path(file).stem for file in files if file.endswith(".parquet")]
    wanted = [name for name in present if names is None or name in names]
    if names and not wanted:
        raise InputError(
            f"{place}: holds no {names[0]}, which `ecjax evaluate` writes, only "
            f"{', '.join(present)}. Name the directory that was given to evaluate."
        )
    return {n: _read_table(place, f"{n}.parquet", files) for n in wanted}, manifest


def state_of(directory: str | os.PathLike | Place) -> str:
    """Of a directory's tables: "whole", "damaged" (a file is missing or has changed), "unfinished"
    (a run is under way, or ended), or "none"."""
    place = place_of(directory)
    if not place.has(MANIFEST):
        return "none"
    manifest = _read_manifest(place)
    if manifest.get("complete") is not True:
        return "unfinished"
    try:
        for name in manifest["files"]:
            _read_file(place, name, manifest["files"], "")
    except InputError:
        return "damaged"
    return "whole"


def read_csv(
    directory: str | os.PathLike, manifest: Mapping[str, Any], largest: int = 20_000_000
) -> dict[str, bytes | None]:
    """The CSV files of a directory: name → bytes; None where there are more than `largest`.

    Raises:
        InputError: a file is missing or has changed since it was written.
    """
    place, found = place_of(directory), {}
    files, there = manifest.get("files") or {}, _files(place) or {}
    for name in (file for file in files if file.endswith(".csv")):
        large = there.get(name, 0) > largest
        found[name] = (
            None if large else _read_file(place, name, files, "Run the same evaluate command")
        )
    return found


def _files(place: Place) -> dict[str, int] | None:
    """Name → size; None where there is no such directory."""
    try:
        return place.files() if place.is_directory() else None
    except OSError as error:
        raise InputError(f"{error}. Run the same command again when it can be.") from error


def _read_file(place: Place, name: str, files: Mapping[str, str], way_out: str) -> bytes:
    """A file as it was written, by its SHA-256 in `files`."""
    path = place.path(name)
    try:
        content = place.read(name)
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing. {way_out} again.") from error
    except OSError as error:
        raise InputError(f"{error}. {way_out} again.") from error
    if hashlib.sha256(content).hexdigest() != files.get(name):
        raise InputError(f"{path}: has changed since it was written. {way_out} again.")
    return content


def _read_table(place: Place, name: str, files: Mapping[str, str]) -> pd.DataFrame:
    way_out = "Run the same evaluate command"
    content = _read_file(place, name, files, way_out)
    try:
        return pq.ParquetFile(io.BytesIO(content)).read().to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{place.path(name)}: cannot be read ({error}). {way_out} again."
        ) from error


def _read_manifest(place: Place) -> dict[str, Any]:
    path = place.path(MANIFEST)
    try:
        manifest = json.loads(place.read(MANIFEST))
        if isinstance(manifest, dict) and isinstance(manifest.get("study"), dict):
            return manifest
        reason = "it has no table `study`"
    except WriteError as error:
        raise InputError(f"{error}. Name another directory with --out, or try again.") from error
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error)
    raise InputError(
        f"{path}: is not a manifest of ecjax, or is damaged ({reason}). "
        "Remove it, with the tables beside it, and evaluate again (cells are kept), or name "
        "another directory with --out."
    )


def _stage(
    folder: Path,
    tables: Mapping[str, pd.DataFrame],
    manifest: Mapping[str, Any],
    ready: Mapping[str, Path],
) -> list[str]:
    """Writes and syncs every file; returns the names of the tables' files."""
    hashes = {}
    for name, file in ready.items():
        path = Path(shutil.move(file, folder / f"{name}.parquet"))
        hashes[path.name] = sync_and_hash(path)
    for name, frame in tables.items():
        path = folder / f"{name}.parquet"
        pq.write_table(arrow_table(frame), path, compression="zstd", store_schema=False)
        hashes[path.name] = sync_and_hash(path)
        if name not in WITHOUT_CSV:
            path = folder / f"{name}.csv"
            path.write_text(csv_text(frame), encoding="utf-8", newline="\n")
            hashes[path.name] = sync_and_hash(path)
    for file, listed in (("unfinished.json", {}), (MANIFEST, hashes)):
        text = _manifest_text(manifest, listed)
        (folder / file).write_text(text, encoding="utf-8", newline="\n")
        sync_and_hash(folder / file)
    return list(hashes)


def _manifest_text(manifest: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """What `manifest.json` holds; it is complete where files are listed."""
    content = {**plain(manifest), "complete": bool(files), "files": files}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _install(place: Place, folder: Path, files: Sequence[str]) -> list[str]:
    """Moves the staged files into place, and returns the names of removed ones.

    Every step is synced before the next one starts: else a power cut could keep the last manifest
    and lose a table that was moved before it.
    """
    there = place.files()
    place.move(folder / "unfinished.json", MANIFEST)
    place.sync()
    for file in files:
        place.move(folder / file, file)
    removed = []
    if MANIFEST in there:
        removed = [file for file in _own_files() if file in there and file not in files]
        for file in removed:
            place.remove(file)
        removed += report_files.remove(place, there)
    place.sync()
    place.move(folder / MANIFEST, MANIFEST)
    place.sync()
    return removed


def _state(place: Place) -> str:
    """What a failed write left, in words."""
    if isinstance(place, RemotePlace):  # which may be slow to say, after it has failed
        return "and may be unfinished now"
    try:
        whole = _read_manifest(place).get("complete") is True
    except InputError:
        return "and there are none there"
    return "and those of the earlier run are untouched" if whole else "and are unfinished now"


def _own_files() -> list[str]:
    csv = [f"{name}.csv" for name in TABLES if name not in WITHOUT_CSV]
    return [f"{name}.parquet" for name in TABLES] + csv
