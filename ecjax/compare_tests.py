"""Which rows and folds two runs share, and the paired tests that this allows."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ecjax import intervals, paired, sphere
from ecjax.digest import Tables, at_setting
from ecjax.fingerprints import folds_key
from ecjax.paired import Predictions, Tested
from ecjax.uncertainty import benjamini_hochberg

COLUMNS = ("test", "n_units", "tested_difference", "standard_error", "low", "high", "p_value")
PRIMARY = ("r2", "accuracy")
UNKNOWN = "it is not known whether the rows are the same: results of an earlier version"
OTHER_SETS = "in one run alone"
WHOLE_TASKS = "folds have scores of whole tasks alone; evaluate both with --predictions"
OTHER_FOLDS = "the folds differ; evaluate both with --predictions for a test by rows"
OF_GROUPS = "the folds differ, and predictions do not tell the groups, which are the units"


class Run(NamedTuple):
    """Tables and manifest of one evaluation."""

    tables: Tables
    manifest: Mapping[str, Any]

    def task(self, name: str) -> Mapping[str, Any]:
        return (self.manifest.get("tasks") or {}).get(name, {})

    def argument(self, name: str) -> Any:
        return (self.manifest.get("arguments") or {}).get(name)


def with_tests(table: pd.DataFrame, keys: Sequence[str], runs: tuple[Run, Run]) -> pd.DataFrame:
    """The table with a paired test of each row that both runs have and that allows one.

    Args:
      table: with `task, target, metric, subset, present` and the swept keys.
      keys: the swept keys.
      runs: first and second.
    """
    nothing = np.full(len(table), None)
    table = table.assign(**dict.fromkeys(COLUMNS, nothing), p_adjusted=np.nan, reason=nothing)
    table.loc[table["present"] != "both", "reason"] = OTHER_SETS
    both = table[table["present"] == "both"]
    for (task, *setting), rows in both.groupby(["task", *keys], dropna=False, sort=False):
        values = [None if pd.isna(value) else value for value in setting]
        pair = _Pair(task, tuple(zip(keys, values, strict=True)), runs)
        found = pair.tests(rows)
        table.loc[rows.index, [*COLUMNS, "reason"]] = pd.DataFrame(
            found, index=rows.index, columns=[*COLUMNS, "reason"], dtype=object
        )
    numbers = [name for name in COLUMNS if name != "test"]
    table[numbers] = table[numbers].astype(float)
    return _adjusted(table, keys)


def _adjusted(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Benjamini–Hochberg over sets × tasks of the primary metrics, as `results` has it."""
    primary = table[table["metric"].isin(PRIMARY)]
    whole = primary["target"].isna().rename("whole")
    for _, rows in primary.groupby([whole, *keys], dropna=False):
        table.loc[rows.index, "p_adjusted"] = benjamini_hochberg(rows["p_value"].to_numpy())
    return table


def rows_reason(runs: tuple[Run, Run], task: str) -> str:
    """Why a task's rows are not the same in both runs; "" where they are."""
    one, two = (run.task(task) for run in runs)
    if one.get("transform", "none") != two.get("transform", "none"):
        return "the target is transformed otherwise"
    hashes = [of.get("targets_hash") for of in (one, two)]
    if None in hashes:
        before = [((run.manifest.get("study") or {}).get("rows") or {}).get(task) for run in runs]
        return "" if before[0] and before[0] == before[1] else UNKNOWN
    if hashes[0] == hashes[1]:
        return ""
    counts = [of["rows"] for of in (one, two)]
    what = "ids or targets" if counts[0] == counts[1] else f"{counts[0]:,} and {counts[1]:,}"
    return f"the rows differ ({what})"


def confidence(runs: tuple[Run, Run]) -> float:
    """Level of the intervals: the first run's."""
    return float(runs[0].argument("confidence") or 0.95)


class _Pair:
    """One task under one setting, in both runs."""

    def __init__(self, task: str, setting: tuple, runs: tuple[Run, Run]):
        self.task, self.setting, self.runs = task, setting, runs
        self._losses: dict[tuple, list[dict[str, np.ndarray]]] = {}

    def tests(self, rows: pd.DataFrame) -> list[tuple]:
        """For each row the values of COLUMNS, and the reason."""
        reason = rows_reason(self.runs, self.task)
        if self.same_predictions and (not reason or reason == UNKNOWN):
            return [self._by_rows(row) for row in rows.itertuples()]
        if reason:
            return [_nothing(reason)] * len(rows)
        return self._by_folds(rows)

    def rows_of(self, name: str) -> list[pd.DataFrame]:
        """Of both runs, the rows of a table that are of this task and setting."""
        found = []
        for run in self.runs:
            frame = at_setting(run.tables[name], self.setting)
            found.append(frame[frame["task"] == self.task])
        return found

    @functools.cached_property
    def predictions(self) -> tuple[Predictions, Predictions] | None:
        if any("predictions" not in run.tables for run in self.runs):
            return None
        found = self.rows_of("predictions")
        return tuple(map(paired.predictions_of, found)) if all(map(len, found)) else None

    @property
    def same_predictions(self) -> bool:
        """Whether a test by rows can be made: groups are not among the predictions."""
        found = self.predictions
        return found is not None and "group" not in self.kinds and found[0].same_rows(found[1])

    @property
    def kinds(self) -> list[str | None]:
        """What each run takes to be independent."""
        return [run.task(self.task).get("unit") for run in self.runs]

    @functools.cached_property
    def units(self) -> np.ndarray | None:
        """(n,) codes of blocks, where a run takes them to be independent; None: rows."""
        blocks = [run for run in self.runs if run.task(self.task).get("unit") == "block"]
        if not blocks:
            return None
        side = max(float(run.argument("block_km")) for run in blocks)
        first, _ = self.predictions
        return np.unique(sphere.equal_area_cells(first.lat, first.lon, side), return_inverse=True)[
            1
        ]

    @functools.cached_property
    def columns(self) -> dict[str, float]:
        """Set → columns that count in a fit, as `intervals` has it; of both runs the more."""
        most: dict[str, float] = {}
        for scores, folds in zip(self.rows_of("scores"), self.rows_of("folds"), strict=True):
            kept = np.ones(len(scores))
            if "chosen_ridge_lambda" in scores.columns:
                relative = scores["chosen_ridge_lambda"].to_numpy(float) / folds["n_train"].mean()
                kept = intervals.columns_kept(np.where(np.isnan(relative), 0, relative))
            for name, columns in zip(scores["subset"], scores["dims"] * kept, strict=True):
                most[name] = max(most.get(name, 0), columns)
        return most

    def losses(self, metric: str, target: str | None) -> list[dict[str, np.ndarray]]:
        """Of both runs, set → (n,) losses of the rows."""
        if (metric, target) not in self._losses:
            transform = self.runs[0].task(self.task).get("transform", "none")
            self._losses[metric, target] = [
                dict(zip(of.subsets, paired.row_losses(of, metric, target, transform), strict=True))
                for of in self.predictions
            ]
        return self._losses[metric, target]

    def _by_rows(self, row: Any) -> tuple:
        target = None if pd.isna(row.target) else row.target
        first, second = (of[row.subset] for of in self.losses(row.metric, target))
        level = confidence(self.runs)
        columns = self.columns[row.subset]
        return _values(
            "rows", paired.by_rows(first, second, row.metric, self.units, columns, level)
        )

    def _by_folds(self, rows: pd.DataFrame) -> list[tuple]:
        first, second = map(_first_seed, self.rows_of("folds"))
        if not self._same_folds(first, second):
            return [_nothing(OF_GROUPS if "group" in self.kinds else OTHER_FOLDS)] * len(rows)
        names = ["metric", "subset"]
        wide = [of.pivot(index=names, columns="fold", values="score") for of in (first, second)]
        whole = rows[rows["target"].isna()]
        wanted = pd.MultiIndex.from_frame(whole[names])
        tested = paired.by_folds(*(of.reindex(wanted).to_numpy(float) for of in wide))
        known = dict(zip(whole.index, tested, strict=True))
        return [
            _values("folds", known[i]) if i in known else _nothing(WHOLE_TASKS) for i in rows.index
        ]

    def _same_folds(self, first: pd.DataFrame, second: pd.DataFrame) -> bool:
        dealt = []
        for run, folds in zip(self.runs, (first, second), strict=True):
            key = folds_key(folds["fold"].nunique(), int(folds["seed"].iloc[0]))
            dealt.append((run.task(self.task).get("folds_hash") or {}).get(key))
        if None not in dealt:
            return dealt[0] == dealt[1]
        # Results of an earlier version; their rows are known to be the same, in the same order.
        sizes = [of.drop_duplicates("fold").sort_values("fold") for of in (first, second)]
        same = [of[["seed", "fold", "n_train", "n_test"]].to_numpy().tolist() for of in sizes]
        split = [run.argument("split") for run in self.runs]
        return same[0] == same[1] and split[0] == split[1]


def _first_seed(folds: pd.DataFrame) -> pd.DataFrame:
    return folds[folds["seed"] == folds["seed"].min()]


def _values(test: str, found: Tested) -> tuple:
    return (test, *found[:-1], found.reason or None)


def _nothing(reason: str) -> tuple:
    return (*[None] * len(COLUMNS), reason)
