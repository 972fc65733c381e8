"""The summary of a comparison for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ecjax.digest import SIGNIFICANCE, plain_name, words_of
from ecjax.errors import counted
from ecjax.paired import ROUNDING
from ecjax.report import aligned, set_labels
from ecjax.rounding import digits_of, number

LARGEST = 10
SHOWN = 12  # differences of settings, reasons, lists of rows
PRIMARY = ("r2", "accuracy")
ALL_SAME = "Both runs have the same tables, and every number in them is the same."
HOW = {
    "rows": (
        "Tests by rows: the losses of the same rows in both runs, each averaged over its seeds; "
        "± is the standard error. They speak of new rows drawn like these, and take rows (blocks, "
        "where a run's intervals rest on blocks) to be independent."
    ),
    "folds": (
        "Tests by folds: two-sided Wilcoxon signed-rank tests of the same folds' scores, first "
        "seed. Fold scores share training rows, so that p is too small as a rule, and of k folds "
        "none is below 2/2^k; with --predictions in both runs the rows themselves are tested."
    ),
}


def summary(table: pd.DataFrame, manifest: Mapping[str, Any], width: int = 100) -> str:
    """What differs: settings, rows, tables, and the largest differences with their tests.

    Args:
      table, manifest: of `compare.Comparison`.
      width: columns of the terminal.
    """
    lines = [_run_line(word, manifest[word]) for word in ("first", "second")]
    parts = [
        ("Settings and versions that differ:", [_words(t) for t in manifest["differences"]]),
        ("Rows:", _rows(manifest["rows"])),
        ("Tables:", _tables(manifest["tables"])),
        ("In one run alone:", _alone(table)),
    ]
    for title, texts in parts:
        if texts:
            lines += ["", title]
            for text in texts[:SHOWN]:
                lines += textwrap.wrap(f"  {text}", width, subsequent_indent="    ")
        if len(texts) > SHOWN:
            lines.append(f"  and {len(texts) - SHOWN:,} more")
    if not manifest["differences"]:
        lines += ["", "No setting and no version differs."]
    return "\n".join([*lines, "", *_numbers(table, manifest, width)])


def _words(text: str) -> str:
    return words_of(text, plain_name)


def _run_line(word: str, run: Mapping[str, Any]) -> str:
    version = (run.get("versions") or {}).get("ecjax", "?")
    parts = [f"protocol {run['protocol']}", f"{run['device']}, {run['precision']}"]
    about = " · ".join([plain_name(str(run["name"])), *parts, f"ecjax {version}", run["created"]])
    return f"{word:6}  {about}"


def _rows(reasons: Mapping[str, str]) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for task, reason in reasons.items():
        by_reason.setdefault(reason or "the same ids and targets", []).append(plain_name(task))
    return [f"{_some(names)}: {reason}" for reason, names in by_reason.items()]


def _tables(same: Mapping[str, str]) -> list[str]:
    told = {
        "bytes": "identical, byte by byte",
        "numbers": "identical in every number",
        "different": "different",
        "first": "in the first run alone",
        "second": "in the second run alone",
    }
    names = {kind: [name for name, of in same.items() if of == kind] for kind in told}
    return [f"{told[kind]}: {', '.join(found)}" for kind, found in names.items() if found]


def _alone(table: pd.DataFrame) -> list[str]:
    found = []
    for (word, task), rows in table[table["present"] != "both"].groupby(
        ["present", "task"], sort=False
    ):
        sets = list(dict.fromkeys(rows["subset"]))
        whole = not ((table["task"] == task) & (table["present"] != word)).any()
        names = "all of it" if whole else _some([plain_name(name) for name in sets])
        found.append(f"{word}, {plain_name(task)}: {names} ({counted(len(rows), 'row')})")
    return found


def _some(names: Sequence[str], limit: int = 4) -> str:
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _numbers(table: pd.DataFrame, manifest: Mapping[str, Any], width: int) -> list[str]:
    """The largest differences of whole tasks' primary metrics, and what the tests say."""
    both = table[(table["present"] == "both") & table["metric"].isin(PRIMARY)]
    both = both[both["target"].isna()]
    if not len(both):
        return ["No set of a task is in both runs: nothing can be compared."]
    tested = both["p_value"].notna()
    kinds = [kind for kind in HOW if (both["test"] == kind).any()]
    strict = all(manifest[word]["protocol"] == "strict" for word in ("first", "second"))
    shown = "pooled" if "rows" in kinds or strict and "folds" not in kinds else "score"
    change = both[f"{shown}_difference"].abs()
    differ = int((change > ROUNDING).sum())
    lines = []
    if differ:
        what = "pooled over all rows" if shown == "pooled" else "means over folds"
        text = f"Largest differences of scores ({what}), second - first; index: first → second"
        lines += [text, ""]
        largest = both.loc[change.sort_values(ascending=False, kind="stable").index[:LARGEST]]
        lines += [*_matrix(largest[change.loc[largest.index] > ROUNDING], shown, manifest), ""]
    lines += [ALL_SAME] * (set(manifest["tables"].values()) <= {"bytes", "numbers"})
    words = f"Of {counted(len(both), 'score')} of whole tasks in both runs {differ:,} differ."
    if tested.any():
        better = both["p_adjusted"] < SIGNIFICANCE
        up = int((better & (both["tested_difference"] > 0)).sum())
        words += f" {int(better.sum()):,} of {counted(int(tested.sum()), 'test')} significant "
        words += f"(adjusted p < {SIGNIFICANCE}): {up:,} higher in the second run, "
        words += f"{int(better.sum()) - up:,} lower. p is adjusted by Benjamini and Hochberg over "
        words += "sets × tasks. Tests are of scores, not of indices."
    lines += textwrap.wrap(words, width)
    for kind in kinds:
        lines += textwrap.wrap(HOW[kind], width)
    untested = both[both["p_value"].isna()]
    if len(untested):
        lines += ["", "No test:"]
    for reason, rows in untested.groupby("reason", sort=False):
        names = _some([plain_name(name) for name in dict.fromkeys(rows["task"])])
        text = f"  {names}, {counted(len(rows), 'score')}: {reason}"
        lines += textwrap.wrap(text, width, subsequent_indent="    ")
    return lines


def _matrix(rows: pd.DataFrame, shown: str, manifest: Mapping[str, Any]) -> list[str]:
    keys = manifest["swept"]
    members = dict.fromkeys(name for subset in rows["subset"] for name in subset.split("+"))
    labels = set_labels(list(rows["subset"]), list(members))
    lines = [
        [
            "task",
            *keys,
            "set",
            "first ",
            "second ",
            "difference ",
            "adjusted p",
            "index",
        ]
    ]
    for row in rows.to_dict("records"):
        error = row["standard_error"] if shown == "pooled" else float("nan")
        digits = digits_of(error)
        star = "*" if row["p_adjusted"] < SIGNIFICANCE else " "
        change = number(row[f"{shown}_difference"], digits, signed=True)
        change += f" ± {number(error, digits)}" if error == error else ""
        first, second = (number(row[f"{shown}_{word}"], digits) for word in ("first", "second"))
        index = [number(row[f"eci_{word}"], signed=True) for word in ("first", "second")]
        p = row["p_adjusted"]
        lines.append(
            [plain_name(row["task"]), *(plain_name(str(row[key])) for key in keys),
             labels[row["subset"]], f"{first} ", f"{second} ", change + star,
             "< 0.001" if p < 0.001 else number(p),
             "" if index == ["-", "-"] else " → ".join(index)]
        )  # fmt: skip
    numbers = [f"{i}={plain_name(name)}" for i, name in enumerate(members, start=1)]
    numbered = any(label.replace("+", "").isdigit() for label in labels.values())
    return ([", ".join(numbers), ""] if numbered else []) + aligned(lines, None, rule_after=0)
