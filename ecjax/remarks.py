"""What a reader of a run must know beside its numbers, for the terminal summary and the page.

Functions take `mark` as those of `digest` do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ecjax.chosen import COLUMN
from ecjax.digest import Cell, Mark, Tables, set_name, settings, words_of
from ecjax.errors import counted
from ecjax.rounding import number


def remarks(tables: Tables, manifest: Mapping[str, Any], mark: Mark) -> list[tuple[str, str]]:
    """What a reader must know: (where, what) of notes, missing numbers and unconverged fits."""
    found = _unlike_singles(tables, manifest, mark)
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


def _unlike_singles(tables: Tables, manifest: Mapping[str, Any], mark: Mark) -> list:
    """Sets whose index is above what is gained over any one member, as folds chose several."""
    cells: dict[str, list[Cell]] = {}
    for setting in settings(tables, manifest):
        for task in setting.tasks:
            cells.setdefault(task.name, []).extend(task.cells)
    found = []
    for task, all_of_task in cells.items():
        above = [cell for cell in all_of_task if cell.exceeds]
        if above:
            worst = max(above, key=lambda cell: cell.alone_score - cell.best_single_score)
            gain = number(worst.over_alone, signed=True)
            some, sets = (len({cell.subset for cell in own}) for own in (above, all_of_task))
            words = (
                f"folds differ in the single they choose: the index of {some:,} of "
                f"{counted(sets, 'set')} is above the gain over the better single "
                f"alone, of {set_name(worst.subset, mark)} {gain} over {mark(worst.alone)} "
                "(gains.parquet)"
            )
            found.append((mark(task), words))
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
            what, way_out = _penalty(edge)
            sets = counted(edge["subset"].nunique(), "set")
            words = f"at an edge of the grid for {len(edge):,} of {counted(len(rows), 'choice')}"
            words += f", of {sets} (grid_edge in folds.parquet; {way_out})"
            found.append((mark(task), f"{what} {words}"))
    return found


def _penalty(folds: pd.DataFrame) -> tuple[str, str]:
    """Which penalty was chosen and how large, which tells the edge; and what may be done."""
    wider = "--ridge_lambda takes a wider grid"
    # The C of the best probabilities need not be that of the most rows told right.
    by_loss = "chosen by log-loss; --logistic_c takes another grid, or one C"
    for kind, name, way_out in (("classification", "C", by_loss), ("regression", "λ", wider)):
        values = folds.get(COLUMN[kind], pd.Series(dtype=float)).dropna()
        if len(values):
            ends = dict.fromkeys(f"{value:.2g}" for value in (values.min(), values.max()))
            return f"{name} = {' to '.join(ends)}", way_out
    return "λ of an embedding", wider


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
