"""The one writer of results, and their reader: a directory of tables and a manifest.

A directory is whole when its `manifest.json` says `"complete": true`; the manifest also carries the
SHA-256 of every file, so that a damaged or foreign table is noticed. A write goes in three steps:
1. everything is written and synced in a hidden directory `.writing-*` inside the directory;
2. a manifest that says `"complete": false` replaces the old one, then each table is moved;
3. the manifest that says `"complete": true` is moved last.
A run killed in step 1 leaves the old results, one killed later leaves a directory that says it is
unfinished, that cannot be read, and that a rerun of the same study may complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ecjax.atomic import WriteError, alone, replace_files, staging, sync_and_hash, sync_directory
from ecjax.encode import arrow_table, csv_text, differences, only_settings, plain
from ecjax.errors import InputError, counted

MANIFEST = "manifest.json"
PAGE = "report.html"
PAPER_TABLES = {"latex": "tables.tex", "markdown": "tables.md"}
BESIDE = (PAGE, *PAPER_TABLES.values())  # what `ecjax report` makes of the tables
FIGURES, FIGURE_LIST = "figures", "figures.json"
FIGURE_FORMATS = ("png", "pdf")
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
    directory = Path(directory)
    try:
        if os.path.lexists(directory) and not directory.is_dir():
            raise InputError(f"{directory}: is not a directory. Name another one with --out.")
        _check_writable(directory)
        if directory.is_dir():
            _check_same_study(directory, fingerprint)
    except OSError as error:
        raise InputError(
            f"{directory}: results cannot be written there ({error.strerror or error}). "
            "Name another directory with --out."
        ) from error


def _check_writable(directory: Path) -> None:
    place = directory.absolute()
    while not os.path.lexists(place):
        place = place.parent
    with tempfile.TemporaryFile(dir=place):
        pass


def _check_same_study(directory: Path, fingerprint: Mapping[str, Any]) -> None:
    if not (directory / MANIFEST).exists():
        tables = [name for name in _own_files() if (directory / name).exists()]
        if tables:
            raise InputError(
                f"{directory}: holds {', '.join(tables)} but no {MANIFEST}, so it cannot be known "
                "which study they belong to. Name another directory with --out, or remove them."
            )
        return
    before, now = _read_manifest(directory)["study"], plain(fingerprint)
    there, here = (study.get("command", "evaluate") for study in (before, now))
    if there != here:
        raise InputError(
            f"{directory}: holds the results of `ecjax {there}`, not of `ecjax {here}`. "
            "Name another directory with --out."
        )
    shown = differences(before, now)
    if not shown:
        return
    more = len(shown) - SHOWN_DIFFERENCES
    same = only_settings(before, now)
    whose = "this study with other settings: " if same else "another study; it differs in "
    raise InputError(
        f"{directory}: holds the results of {whose}"
        + ", ".join(shown[:SHOWN_DIFFERENCES])
        + (f", and {more} more" if more > 0 else "")
        + ". Name another directory with --out."
    )


def begin(directory: str | os.PathLike, fingerprint: Mapping[str, Any]) -> None:
    """Marks a directory as that of a study before its results are there.

    Results of an earlier run of it stay as they are until they are replaced.

    Raises:
        WriteError: the system refused to write.
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / MANIFEST).exists():
            replace_files(
                directory, {MANIFEST: _manifest_text({"study": fingerprint}, {}).encode()}
            )
    except OSError as error:
        raise WriteError(f"{directory}: cannot be written ({error.strerror or error})") from error


def write_results(
    directory: str | os.PathLike, tables: Mapping[str, pd.DataFrame], manifest: Mapping[str, Any]
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

    Returns:
        The names of the earlier run's files that were removed and not replaced.

    Raises:
        WriteError: the system refused to write. The message says what the directory holds now.
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with staging(directory) as folder:
            files = _stage(folder, tables, manifest)
            with alone(directory):  # two runs at once: the last one's tables, not some of each
                return _install(directory, folder, files)
    except OSError as error:
        raise WriteError(
            f"{directory}: the results could not be written ({error.strerror or error}), "
            f"{_state(directory)}. Make room or name another directory with --out, then run again",
        ) from error


def replace_page(directory: str | os.PathLike, text: str) -> Path:
    """Writes `report.html` at once or not at all, and returns its path. Raises WriteError."""
    return replace_files(directory, {PAGE: text.encode()})[0]


def replace_figures(
    directory: str | os.PathLike, ending: str, figures: Mapping[str, tuple[str, bytes]]
) -> list[Path]:
    """Writes figures of one format, removes its others of an earlier run, and lists them all.

    `figures/figures.json` tells what each file shows, and which files are ecjax's own.

    Args:
        directory: of the results.
        ending: one of FIGURE_FORMATS.
        figures: name, safe as a file's → what it shows, and the content.

    Returns:
        The paths of the figures.

    Raises:
        WriteError: the system refused to write.
    """
    directory = Path(directory)
    files = {f"{name}.{ending}": figure for name, figure in figures.items()}
    listed = _listed_figures(directory)
    stale = [file for file in listed if file.endswith(f".{ending}") and file not in files]
    shown = {file: text for file, text in listed.items() if file not in stale}
    shown |= {file: text for file, (text, _) in files.items()}
    listing = json.dumps(dict(sorted(shown.items())), indent=2, ensure_ascii=False) + "\n"
    contents = {FIGURE_LIST: listing.encode()} | {file: data for file, (_, data) in files.items()}
    try:
        for file in stale:
            (directory / FIGURES / file).unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(
            f"{directory / FIGURES}: cannot be written ({error.strerror or error})"
        ) from error
    return replace_files(directory, {f"{FIGURES}/{k}": data for k, data in contents.items()})[1:]


def _listed_figures(directory: Path) -> dict[str, str]:
    """File → what it shows, of the figures that ecjax wrote; {} where the list is damaged."""
    try:
        listed = json.loads((directory / FIGURES / FIGURE_LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    own = listed.items() if isinstance(listed, dict) else ()
    endings = tuple(f".{ending}" for ending in FIGURE_FORMATS)
    # The list may come from elsewhere; nothing outside the folder may be removed for it.
    return {k: str(v) for k, v in own if Path(k).name == k and k.endswith(endings)}


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
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory}: there is no such directory of results.")
    if not (directory / MANIFEST).exists():
        raise InputError(
            f"{directory}: has no {MANIFEST}, so it holds no results of ecjax. "
            "Name the directory that was given to --out."
        )
    manifest = _read_manifest(directory)
    files = manifest.get("files")
    if manifest.get("complete") is not True or not isinstance(files, dict):
        raise InputError(
            f"{directory}: its results are unfinished (a run ended while it wrote them). "
            "Run the same evaluate command again."
        )
    present = [Path(file).stem for file in files if file.endswith(".parquet")]
    wanted = [name for name in present if names is None or name in names]
    if names and not wanted:
        raise InputError(
            f"{directory}: holds no {names[0]}, which `ecjax evaluate` writes, only "
            f"{', '.join(present)}. Name the directory that was given to evaluate."
        )
    return {n: _read_table(directory / f"{n}.parquet", files) for n in wanted}, manifest


def state_of(directory: str | os.PathLike) -> str:
    """Of a directory's tables: "whole", "unfinished" (a run is under way, or ended), or "none"."""
    directory = Path(directory)
    if not (directory / MANIFEST).exists():
        return "none"
    return "whole" if _read_manifest(directory).get("complete") is True else "unfinished"


def read_csv(
    directory: str | os.PathLike, manifest: Mapping[str, Any], largest: int = 20_000_000
) -> dict[str, bytes | None]:
    """The CSV files of a directory: name → bytes; None where there are more than `largest`.

    Raises:
        InputError: a file is missing or has changed since it was written.
    """
    directory, found = Path(directory), {}
    files = manifest.get("files") or {}
    for name in (file for file in files if file.endswith(".csv")):
        path = directory / name
        try:
            large = path.stat().st_size > largest
            found[name] = None if large else path.read_bytes()
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror or error}). Run the same command again."
            ) from error
        if not large and hashlib.sha256(found[name]).hexdigest() != files[name]:
            raise InputError(
                f"{path}: has changed since it was written. Run the same command again."
            )
    return found


def _read_table(path: Path, files: Mapping[str, str]) -> pd.DataFrame:
    way_out = "Run the same evaluate command again."
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != files.get(path.name):
            raise InputError(f"{path}: has changed since it was written. {way_out}")
        return pq.ParquetFile(path).read().to_pandas()
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing. {way_out}") from error
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read ({error}). {way_out}") from error


def _read_manifest(directory: Path) -> dict[str, Any]:
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(manifest, dict) and isinstance(manifest.get("study"), dict):
            return manifest
        reason = "it has no table `study`"
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error)
    raise InputError(
        f"{path}: is not a manifest of ecjax, or is damaged ({reason}). "
        "Name another directory with --out, or remove this one and evaluate again."
    )


def _stage(
    folder: Path, tables: Mapping[str, pd.DataFrame], manifest: Mapping[str, Any]
) -> list[str]:
    """Writes and syncs every file; returns the names of the tables' files."""
    hashes = {}
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


def _install(directory: Path, folder: Path, files: Sequence[str]) -> list[str]:
    """Moves the staged files into place, and returns the names of removed ones.

    Every step is synced before the next one starts: else a power cut could keep the last manifest
    and lose a table that was moved before it.
    """
    replaces = (directory / MANIFEST).exists()
    os.replace(folder / "unfinished.json", directory / MANIFEST)
    sync_directory(directory)
    for file in files:
        os.replace(folder / file, directory / file)
    removed = []
    if replaces:
        earlier = [file for file in (*_own_files(), *BESIDE) if file not in files]
        removed = [file for file in earlier if (directory / file).exists()]
        for file in earlier:
            (directory / file).unlink(missing_ok=True)
        removed += _remove_figures(directory)
    sync_directory(directory)
    os.replace(folder / MANIFEST, directory / MANIFEST)
    sync_directory(directory)
    return removed


def _remove_figures(directory: Path) -> list[str]:
    """Removes the figures that ecjax wrote, and says so in one entry, or none."""
    folder = directory / FIGURES
    listed = [folder / file for file in _listed_figures(directory)]
    there = [path for path in listed if path.exists()]
    for path in there:
        path.unlink()
    (folder / FIGURE_LIST).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not there, or it holds other files
        folder.rmdir()
    return [f"{FIGURES} ({counted(len(there), 'file')})"] if there else []


def _state(directory: Path) -> str:
    """What a failed write left, in words."""
    try:
        whole = _read_manifest(directory).get("complete") is True
    except InputError:
        return "and there are none there"
    return "and those of the earlier run are untouched" if whole else "and are unfinished now"


def _own_files() -> list[str]:
    csv = [f"{name}.csv" for name in TABLES if name not in WITHOUT_CSV]
    return [f"{name}.parquet" for name in TABLES] + csv
