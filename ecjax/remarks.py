"""What a reader of a run must know beside its numbers, for the terminal summary and the page.

Functions take `mark` as those of `digest` do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ecjax.digest import Mark, Tables, words_of
from ecjax.errors import counted


def remarks(tables: Tables, manifest: Mapping[str, Any], mark: Mark) -> list[tuple[str, str]]:
    """What a reader must know: (where, what) of notes, missing numbers and unconverged fits."""
    found = []
    for note in manifest.get("notes") or []:
        first = f", first {mark(str(note['first']))}" if note.get("first") else ""
        where = ", ".join(mark(str(note[key])) for key in ("task", "source") if note.get(key))
        found.append((where, f"{words_of(note['reason'], mark)}: {note['count']:,}{first}"))
    found += _missing(tables["scores"], "score", "subset", "set", mark)
    if "targets" in tables:
        found += _missing(tables["targets"], "score", "target", "target", mark)
    index = tables["index"]
    scored = index[index["score"].notna() & index["best_single_score"].notna()]
    found += _missing(scored[scored["target"].isna()], "eci", "subset", "set", mark)
    found += _at_edges(tables.get("folds"), manifest, mark)
    return found + _unconverged(tables.get("folds"), manifest, mark)


def _missing(frame: pd.DataFrame, column: str, of: str, noun: str, mark: Mark) -> list:
    empty = frame[frame[column].isna()]
    found = []
    for (task, metric), rows in empty.groupby(["task", "metric"], sort=False):
        everything = frame[(frame["task"] == task) & (frame["metric"] == metric)]
        total = everything[of].nunique()
        for reason, same in rows.groupby(rows["reason"].fillna("no reason given"), sort=False):
            what = "index" if column == "eci" else "score"
            some = f"{same[of].nunique():,} of {counted(total, noun)}"
            found.append((mark(task), f"no {metric} {what} for {some}: {mark(reason)}"))
    return found


def _at_edges(folds: pd.DataFrame | None, manifest: Mapping[str, Any], mark: Mark) -> list:
    """Penalties chosen at an edge of their grid, beyond which a better one may lie."""
    if folds is None or "grid_edge" not in folds.columns:
        return []
    keys = ["task", "subset", "seed", "fold", *(manifest.get("swept") or [])]
    choices = folds[folds["grid_edge"].notna()].drop_duplicates(keys)
    found = []
    for task, rows in choices.groupby("task", sort=False):
        edge = rows[rows["grid_edge"].astype(bool)]
        if len(edge):
            sets = counted(edge["subset"].nunique(), "set")
            words = f"at an edge of the grid for {len(edge):,} of {counted(len(rows), 'choice')}"
            found.append((mark(task), f"penalty {words}, of {sets} (grid_edge in folds.parquet)"))
    return found


def _unconverged(folds: pd.DataFrame | None, manifest: Mapping[str, Any], mark: Mark) -> list:
    if folds is None or "converged" not in folds.columns:
        return []
    keys = ["task", "subset", "seed", "fold", *(manifest.get("swept") or [])]
    fits = folds[folds["converged"].notna()].drop_duplicates(keys)
    found = []
    for task, rows in fits.groupby("task", sort=False):
        failed = rows[~rows["converged"].astype(bool)]
        if len(failed):
            norm = f"{failed['gradient_norm'].max():.1e}"
            words = f"{len(failed):,} of {counted(len(rows), 'fit')} stopped above the tolerance"
            found.append((mark(task), f"{words} (largest gradient norm {norm}; see folds.parquet)"))
    return found
