"""The summary of a run for a terminal, from the tables alone."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from ecjax.digest import (
    Mark,
    Setting,
    Tables,
    TaskView,
    finding,
    headline,
    index_text,
    interval_text,
    legend,
    plain_name,
    question_text,
    set_name,
    setting_name,
    settings,
    single_text,
    smallest,
)
from ecjax.remarks import remarks
from ecjax.rounding import number

LABEL_LIMIT = 60
MATRIX_LIMIT = 40
BEST_SETS = 10
REMARK_LIMIT = 30
BOLD, DIM, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"


def summary(
    tables: Tables, manifest: Mapping[str, Any], color: bool = False, width: int = 100
) -> str:
    """The readable summary: what was run, the index by set and task, findings, remarks.

    Args:
        tables: `scores` and `index`, and `folds` and `targets` where there are any.
        manifest: of the run, as `write_results` got it or `read_results` gave it.
        color: whether terminal codes may be used: bold where significant, dim where undefined.
        width: columns of the terminal; a wider table goes on below. Names are never cut for it.
    """
    name = plain_name(str(manifest.get("name", "?")))
    lines = [f"{name}: {headline(tables, manifest, plain_name)}"]
    views = settings(tables, manifest)
    for setting in views:
        lines.append("")
        if setting.values:
            lines += [f"{setting_name(setting, plain_name)}:", ""]
        lines += _setting_lines(setting, list(manifest.get("embeddings") or {}), color, width)
    lines += ["", *_wrapped(legend(views[0].has_truth, manifest), width)]
    about = f"{interval_text(manifest, plain_name)} {question_text(manifest, plain_name)}"
    lines += _wrapped(about, width)
    found = remarks(tables, manifest, plain_name)
    if found:
        lines += ["", "To know:"]
        for where, what in found[:REMARK_LIMIT]:
            lines += _wrapped(f"  {where}: {what}", width, indent=4)
    if len(found) > REMARK_LIMIT:
        lines.append(f"  and {len(found) - REMARK_LIMIT:,} more, see manifest.json and the tables")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _setting_lines(
    setting: Setting, embeddings: Sequence[str], color: bool, width: int
) -> list[str]:
    labels = set_labels(setting.subsets, embeddings)
    numbered = any(label != set_name(subset, plain_name) for subset, label in labels.items())
    lines = []
    if numbered:
        names = [f"{i}={plain_name(name)}" for i, name in enumerate(embeddings, start=1)]
        lines += [*_wrapped(", ".join(names), width), ""]
    if len(labels) > MATRIX_LIMIT:
        for task in setting.tasks:
            lines += [*_best_sets(task, labels, setting.has_truth, color), ""]
    elif labels:
        for part in _parts(setting, labels, width):
            lines += [*_matrix(part, labels, setting.has_truth, color), ""]
    findings = [[plain_name(task.name), finding(task, plain_name)] for task in setting.tasks]
    left = max((_width(name) for name, _ in findings), default=0)
    for name, words in findings:
        lines += _wrapped(f"{_pad(name, left)}  {words}", width, indent=left + 2)
    enough = [[plain_name(task.name), smallest(task, plain_name)] for task in setting.tasks]
    if any(words for _, words in enough):
        lines += [
            "",
            "The smallest set that does about as well as the best of all, by mean over folds:",
        ]
    for name, words in enough:
        if words:
            lines += _wrapped(f"{_pad(name, left)}  {words}", width, indent=left + 2)
    return lines


def _wrapped(text: str, width: int, indent: int = 0) -> list[str]:
    options = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(text, width, subsequent_indent=" " * indent, **options)


def set_labels(
    subsets: Sequence[str], embeddings: Sequence[str], mark: Mark = plain_name
) -> dict[str, str]:
    """Set → label; numbers of embeddings in place of names where these are too long or alike."""
    labels = {subset: set_name(subset, mark) for subset in subsets}
    known = {name: str(i) for i, name in enumerate(embeddings, start=1)}
    members = {name for subset in subsets for name in subset.split("+")}
    short = all(_width(label) <= LABEL_LIMIT for label in labels.values())
    if short and len(set(labels.values())) == len(labels) or members - set(known):
        return labels
    return {subset: set_name(subset, known.__getitem__) for subset in subsets}


def _parts(setting: Setting, labels: Mapping[str, str], width: int) -> list[list[TaskView]]:
    """The tasks, dealt evenly to as many tables as it takes to stay within the width."""
    tasks = list(setting.tasks)
    for count in range(1, len(tasks) + 1):
        size = -(-len(tasks) // count)
        parts = [tasks[i : i + size] for i in range(0, len(tasks), size)]
        tables = [_matrix(part, labels, setting.has_truth, False) for part in parts]
        if max(_width(line) for table in tables for line in table) <= width:
            return parts
    return [[task] for task in tasks]


def _matrix(
    tasks: Sequence[TaskView], labels: Mapping[str, str], has_truth: bool, color: bool
) -> list[str]:
    """The aligned table: tasks side by side, the best single above, a line per fused set."""
    cells = [{cell.subset: cell for cell in task.cells} for task in tasks]
    rows = [
        ["index" if not has_truth else "index (true)", *(f"{plain_name(t.name)} " for t in tasks)],
        ["best single", *(f"{plain_name(t.single) or '-'} " for t in tasks)],
        ["its score", *(f"{number(t.single_score)} " for t in tasks)],
        ["metric", *(f"{plain_name(t.metric_name)} " for t in tasks)],
    ]
    styles = [[""] * (len(tasks) + 1) for _ in rows]
    for subset, label in labels.items():
        row = [column.get(subset) for column in cells]
        rows.append([label, *("" if c is None else index_text(c, has_truth) for c in row)])
        styles.append(["", *("" if c is None else _style(rows[-1][i], c.significant)
                             for i, c in enumerate(row, start=1))])  # fmt: skip
    return aligned(rows, styles if color else None, rule_after=3)


def _best_sets(
    task: TaskView, labels: Mapping[str, str], has_truth: bool, color: bool
) -> list[str]:
    """The best few sets of one task, where a table of all would be too long."""
    ranked = sorted(task.cells, key=lambda c: c.score if c.score == c.score else -1e300)[::-1]
    rows = [
        [
            f"{plain_name(task.name)}: best sets by {plain_name(task.metric_name)}",
            "score ",
            "index ",
            "",
        ]
    ]
    styles = [[""] * 4]
    single = plain_name(task.single) or "-"
    rows.append([f"{single} (best single)", f"{number(task.single_score)} ", "", ""])
    styles.append([""] * 4)
    for cell in ranked[:BEST_SETS]:
        text = index_text(cell, has_truth)
        single = single_text(cell.best_single, cell.share, plain_name)
        over = f"over {single}" if cell.best_single else ""
        rows.append([labels[cell.subset], f"{number(cell.score)} ", text, over])
        styles.append(["", "", _style(text, cell.significant), ""])
    lines = aligned(rows, styles if color else None, rule_after=0)
    more = len(ranked) - BEST_SETS
    return lines + ([f"and {more:,} more in index.parquet"] if more > 0 else [])


def _style(text: str, significant: bool) -> str:
    if significant:
        return BOLD
    return DIM if text.startswith("-") and not text.strip("- ") else ""


def aligned(rows: list[list[str]], styles: list[list[str]] | None, rule_after: int) -> list[str]:
    """Columns of equal width, the first to the left, the others to the right."""
    widths = [max(_width(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for number_of_row, row in enumerate(rows):
        cells = [_pad(t, w, right=i > 0) for i, (t, w) in enumerate(zip(row, widths, strict=True))]
        if styles:
            pairs = zip(cells, styles[number_of_row], strict=True)
            cells = [f"{style}{cell}{PLAIN}" if style else cell for cell, style in pairs]
        lines.append("  ".join(cells).rstrip())
        if number_of_row == rule_after:
            lines.append("-" * (sum(widths) + 2 * (len(widths) - 1)))
    return lines


def _pad(text: str, width: int, right: bool = False) -> str:
    blank = " " * (width - _width(text))
    return blank + text if right else text + blank


def _width(text: str) -> int:
    """Columns of a terminal that a text takes: East Asian letters two, combining marks none."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)
