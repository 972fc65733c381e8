"""What a run found, in the numbers and words that the terminal summary and the page share.

Everything comes from the tables and the manifest alone. Functions that make sentences take `mark`,
which turns one name into what the medium needs: cut and harmless text, or escaped HTML.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ecjax.errors import counted, neutral
from ecjax.rounding import number

SIGNIFICANCE = 0.05
NAME_LIMIT = 30
EXCESS = 0.01  # of an index above what is gained over the better single alone: worth a word
PERFECT = 1.0  # of r2 and accuracy, the primary metrics

# Which score stands where, by protocol.
SCORES_ARE = {
    "strict": "Scores in table and sentences are pooled over all rows; that in brackets is of the "
    "singles that the folds chose, each by the others, with how many chose the one named. Smallest "
    "sets go by means over folds.",
    "paper": "Scores are means over folds.",
}

Mark = Callable[[str], str]
Tables = Mapping[str, pd.DataFrame]


def _index(score: float, single: float) -> float:
    left = PERFECT - single
    return (score - single) / left if left > 0 else math.nan


@dataclass(frozen=True)
class Cell:
    """What one fused set reached on one task; numbers are NaN where undefined."""

    subset: str
    score: float
    best_single: str
    best_single_score: float
    value: float  # the index shown: `eci`, or `eci_pooled` where a true one stands beside it
    true: float
    eci_pooled: float
    low: float  # of eci_pooled
    high: float
    p: float  # adjusted
    reason: str
    share: float  # of the folds that chose `best_single`; NaN where it was chosen for all at once
    alone: str  # the member with the best score, "" where none has one
    alone_score: float

    @property
    def significant(self) -> bool:
        return self.p < SIGNIFICANCE

    @property
    def over_alone(self) -> float:
        """The index against the best member alone, the same for all folds."""
        return _index(self.score, self.alone_score)

    @property
    def exceeds(self) -> bool:
        """Whether the index is well above what is gained over any one member.

        So it is where folds are unlike: each one's single is chosen by the others, and together
        they can score less than one of them would alone.
        """
        excess = _index(self.score, self.best_single_score) - self.over_alone
        return self.share < 1 and excess >= EXCESS


@dataclass(frozen=True)
class TaskView:
    """One task under one setting; `cells` in the order of the study, small sets first."""

    name: str
    metric: str
    cells: tuple[Cell, ...]
    single: str  # the best single of all, "" where none has a score
    single_score: float
    transform: str = "none"  # of the target, which scores are of
    smallest: str = ""  # the smallest set within one standard error of the best, "" where undefined
    smallest_score: float = math.nan
    best_set: str = ""  # the best of all sets by mean fold score, single ones too
    best_set_score: float = math.nan
    best_set_sem: float = math.nan

    @property
    def metric_name(self) -> str:
        """The metric, and of what where not of the target as it is."""
        return self.metric if self.transform == "none" else f"{self.metric} ({self.transform})"

    @property
    def best(self) -> Cell | None:
        """The fused set with the best score."""
        scored = [cell for cell in self.cells if not math.isnan(cell.score)]
        return max(scored, key=lambda cell: cell.score, default=None)


@dataclass(frozen=True)
class Setting:
    """One combination of the swept keys; `values` is empty without a sweep."""

    values: tuple[tuple[str, Any], ...]
    tasks: tuple[TaskView, ...]
    has_truth: bool

    @property
    def subsets(self) -> tuple[str, ...]:
        """Every fused set of any task, small sets first."""
        names = dict.fromkeys(cell.subset for task in self.tasks for cell in task.cells)
        return tuple(sorted(names, key=lambda name: name.count("+")))


def index_text(cell: Cell, has_truth: bool) -> str:
    """The index, the true one in brackets, and a star (or a blank) for significance."""
    star = "*" if cell.significant else " "
    if not has_truth:
        return number(cell.value, signed=True) + star
    return f"{number(cell.value, 2, True)} ({number(cell.true, 2, True)}){star}"


def plain_name(name: str) -> str:
    """A name for a terminal: nothing unprintable, at most 30 characters."""
    text = neutral(name)
    return text if len(text) <= NAME_LIMIT else text[: NAME_LIMIT - 1] + "…"


def set_name(subset: str, mark: Mark) -> str:
    return "+".join(mark(name) for name in subset.split("+"))


def settings(tables: Tables, manifest: Mapping[str, Any]) -> tuple[Setting, ...]:
    """The index table, cut into swept settings and tasks, on the primary metric of each task."""
    keys = [key for key in manifest.get("swept") or [] if key in tables["index"].columns]
    index = tables["index"][tables["index"]["target"].isna()]
    has_truth = "eci_true" in index.columns and bool(index["eci_true"].notna().any())
    views = []
    for combination in list(dict.fromkeys(_rows_of(index, keys))) or [()]:
        values = tuple(zip(keys, combination, strict=True))
        chosen, scores = at_setting(index, values), at_setting(tables["scores"], values)
        present = dict.fromkeys([*scores["task"], *chosen["task"]])
        known = [name for name in manifest.get("tasks") or {} if name in present]
        names = dict.fromkeys([*known, *present])
        tasks = [_task_view(name, chosen, scores, manifest, has_truth) for name in names]
        views.append(Setting(values, tuple(tasks), has_truth))
    return tuple(views)


def _rows_of(frame: pd.DataFrame, keys: Sequence[str]) -> list[tuple]:
    # None stands for NaN, which would not equal itself.
    columns = [[None if pd.isna(value) else value for value in frame[key]] for key in keys]
    return list(zip(*columns, strict=True))


def at_setting(frame: pd.DataFrame, values: Sequence[tuple[str, Any]]) -> pd.DataFrame:
    """The rows of one swept setting; `values` as in `Setting`."""
    for key, value in values:
        if key in frame.columns:
            frame = frame[frame[key].isna() if value is None else frame[key] == value]
    return frame


def _task_view(
    name: str,
    index: pd.DataFrame,
    scores: pd.DataFrame,
    manifest: Mapping[str, Any],
    has_truth: bool,
) -> TaskView:
    scores = scores[scores["task"] == name]
    metric = "r2" if (scores["metric"] == "r2").any() else "accuracy"
    index = index[(index["task"] == name) & (index["metric"] == metric)]
    order = {model: i for i, model in enumerate(manifest.get("embeddings") or {})}
    value = index["eci_pooled" if has_truth else "eci"]
    # The paper's test is bounded by the number of folds: of five, none is below 1/32.
    p = "p_better_adjusted" if manifest.get("protocol") == "strict" else "p_adjusted"
    true = index["eci_true"] if has_truth else [math.nan] * len(index)
    # Under `strict` the scores of the index table are pooled ones; the single must be comparable.
    column = "pooled" if manifest.get("protocol") == "strict" else "score"
    alone = scores[(scores["n_models"] == 1) & (scores["metric"] == metric)]
    singles = dict(zip(alone["subset"], alone[column], strict=True))
    cells = [
        Cell(row.subset, row.score, _text(row.best_single), row.best_single_score, *pair,
             row.eci_pooled, row.eci_low, row.eci_high, getattr(row, p), _text(row.reason),
             row.best_single_share, *_best({m: singles.get(m) for m in row.subset.split("+")}))
        for row, *pair in zip(index.itertuples(), value, true, strict=True)
    ]  # fmt: skip
    cells.sort(key=lambda cell: _study_order(cell.subset, order))
    single, score = _best(singles)
    transform = str((manifest.get("tasks") or {}).get(name, {}).get("transform", "none"))
    rows = scores[scores["metric"] == metric]
    return TaskView(name, metric, tuple(cells), single, score, transform, *_smallest(rows))


def _best(scores: Mapping[str, float | None]) -> tuple[str, float]:
    """The model with the best score, of equals the first; ("", NaN) where none has one."""
    known = {name: score for name, score in scores.items() if not pd.isna(score)}
    return max(known.items(), key=lambda item: item[1], default=("", math.nan))


def _smallest(scores: pd.DataFrame) -> tuple:
    """The smallest set within one standard error of the best, and the best, as `TaskView` has them.

    By number of models, then of columns, then by score. Under every protocol by mean fold score,
    which the standard error is of.
    """
    if "within_one_se" not in scores.columns:  # results of an earlier version
        return ()
    near = scores[scores["within_one_se"].astype("boolean").fillna(False).astype(bool)]
    if not len(near):
        return ()
    near = near.sort_values("score", ascending=False, kind="stable")
    best = near.iloc[0]
    least = near.sort_values(["n_models", "dims"], kind="stable").iloc[0]
    return least["subset"], least["score"], best["subset"], best["score"], best["sem"]


def _study_order(subset: str, order: Mapping[str, int]) -> tuple:
    members = subset.split("+")
    return len(members), [order.get(member, len(order)) for member in members]


def _text(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


def headline(tables: Tables, manifest: Mapping[str, Any], mark: Mark) -> str:
    """What was run, in one line (without the name of the study)."""
    rows = [int(task["rows"]) for task in (manifest.get("tasks") or {}).values()]
    span = " to ".join(f"{n:,}" for n in sorted({min(rows), max(rows)})) if rows else "?"
    folds = tables.get("folds")
    models = len(manifest.get("embeddings") or {})
    parts = [
        f"{counted(len(rows), 'task')} of {span} rows",
        f"{counted(models, 'embedding')}, {counted(tables['scores']['subset'].nunique(), 'set')}",
        f"protocol {mark(str(manifest.get('protocol', '?')))}",
    ]
    if folds is not None and len(folds):
        parts.append(_folds(folds, manifest))
        parts.append(counted(folds["seed"].nunique(), "seed"))
    parts.append(f"{mark(str(manifest.get('device', '?')))}, {manifest.get('precision', '?')}")
    return " · ".join(parts)


def _folds(folds: pd.DataFrame, manifest: Mapping[str, Any]) -> str:
    """ "20 folds", or "6 to 14 group folds"."""
    split = (manifest.get("arguments") or {}).get("split", "random")
    numbers = folds.groupby("task")["fold"].nunique()
    noun = "fold" if split == "random" else f"{split} fold"
    fewest = "" if numbers.min() == numbers.max() else f"{numbers.min():,} to "
    return fewest + counted(int(numbers.max()), noun)


def finding(task: TaskView, mark: Mark) -> str:
    """What a reader should take from one task, in one sentence."""
    best = task.best
    if best is None:
        if not task.single:
            return "no set has a score"
        return f"{mark(task.single)}: {number(task.single_score)}; no fused set has a score"
    name, score = set_name(best.subset, mark), number(best.score)
    if task.single and task.single_score >= best.score:
        words = f"{mark(task.single)} alone: {number(task.single_score)}; no set does better"
        return f"{words}, the nearest is {name} ({score})"
    share = best.value  # the index that stands in the cell
    if math.isnan(share) or not PERFECT - best.best_single_score > 0:
        return f"{name}: {score}; no index: {mark(best.reason or 'nothing was left to close')}"
    words = f"{name}: {score}, {_closes(share)} of what {_against(best, mark)} left"
    if best.exceeds:
        alone = f"{mark(best.alone)} alone ({number(best.alone_score)})"
        words += f", {_closes(best.over_alone)} of what {alone} left"
    if not math.isnan(best.low):
        ends = " to ".join(number(end, 2, signed=True) for end in (best.low, best.high))
        words += f"; eci_pooled {number(best.eci_pooled, 2, signed=True)}, interval {ends}"
    if math.isnan(best.p):
        return words
    p = "p < 0.001" if best.p < 0.001 else f"p = {number(best.p)}"
    return f"{words}; {'' if best.significant else 'not '}significant ({p})"


def _against(cell: Cell, mark: Mark) -> str:
    """What the index is against: one model, or several where folds chose several."""
    score = number(cell.best_single_score)
    if cell.share < 1:
        return f"each fold's single ({score}; {single_text(cell.best_single, cell.share, mark)})"
    return f"{mark(cell.best_single)} ({score})"


def _closes(share: float) -> str:
    percent = f"{100 * abs(share):.0f} %" if abs(share) >= 0.01 else f"{100 * abs(share):.1g} %"
    return f"closes {percent}" if share >= 0 else f"falls short by {percent}"


def single_text(single: str, share: float, mark: Mark) -> str:
    """The best single, and which part of the folds chose it where not all did."""
    return f"{mark(single)} in {100 * share:.0f} %" if share < 1 else mark(single)


def smallest(task: TaskView, mark: Mark) -> str:
    """The smallest set within one standard error of the best, in words; "" where undefined."""
    if not task.smallest:
        return ""
    name, score = set_name(task.smallest, mark), number(task.best_set_score)
    best = f"{score} ± {number(task.best_set_sem)}"
    if task.smallest == task.best_set:
        return f"{name} ({best}), the best itself"
    within = f"within one standard error of {set_name(task.best_set, mark)} ({best})"
    return f"{name} ({number(task.smallest_score)}), {within}"


def legend(has_truth: bool, manifest: Mapping[str, Any]) -> str:
    """What cells, stars and scores mean."""
    scores = SCORES_ARE["strict" if manifest.get("protocol") == "strict" else "paper"]
    what = "eci_pooled (in brackets the true index)" if has_truth else "eci"
    return (
        f"Cells and sentences: {what}, the share of what the set's best single leaves to a "
        "perfect score that fusing closes. 1: perfect; 0: no gain; negative: fusing hurts. "
        f"*: adjusted p < {SIGNIFICANCE}. -: undefined. The p is p_better_adjusted under strict, "
        f"p_adjusted under paper. {scores}"
    )


def interval_text(manifest: Mapping[str, Any], mark: Mark) -> str:
    """What kind the intervals are and what they rest on; "" if the manifest does not say."""
    given = manifest.get("arguments") or {}
    tasks = [task for task in (manifest.get("tasks") or {}).values() if "unit" in task]
    if not tasks or "interval" not in given:
        return ""
    if given.get("passes") == 1 and given.get("stream"):
        return "No intervals and no tests of regressions: the rows passed only once."
    counts = [int(task["units"]) for task in tasks]
    fewest = "" if min(counts) == max(counts) else f"{min(counts):,} to "
    units = fewest + counted(max(counts), mark(str(tasks[0]["unit"])))
    level = f"{100 * float(given['confidence']):.4g} %"
    kind = mark(str(given["interval"]))
    if given.get("bootstraps"):
        redone = ", penalties chosen anew" if given.get("bootstrap_choices") == "redo" else ""
        kind += f" ({int(given['bootstraps']):,} replicates{redone})"
    return f"Intervals of {level} by {kind}; taken to be independent: {units} of each task."


def question_text(manifest: Mapping[str, Any], mark: Mark) -> str:
    """Which question intervals answer, and how far errors are alike; "" without coordinates."""
    tasks = {k: v for k, v in (manifest.get("tasks") or {}).items() if v.get("question")}
    if not tasks:
        return ""
    # The same split and unit for all tasks, so one question.
    question = words_of(next(iter(tasks.values()))["question"], mark)
    ranges: dict[str, list[str]] = {}
    for name, task in tasks.items():
        ranges.setdefault(_range_text(task, mark), []).append(mark(name))
    texts = [f"{km} ({', '.join(names)})" for km, names in ranges.items()]
    alike = next(iter(ranges)) if len(ranges) == 1 else ", ".join(texts)
    return f"They speak about {question}. Range of the residuals' correlation: {alike}."


def words_of(text: Any, mark: Mark) -> str:
    """A sentence of the manifest; names are cut, a sentence is not."""
    return " ".join(mark(word) for word in str(text).split())


def _range_text(task: Mapping[str, Any], mark: Mark) -> str:
    km = task.get("correlation_km")
    if km is None or math.isnan(km):
        return f"undefined, {words_of(task.get('correlation_reason'), mark)}"
    if not km:
        return "none found"
    return f"about {km:.2g} km" if km < 100 else f"about {km:,.0f} km"


def setting_name(setting: Setting, mark: Mark) -> str:
    texts = [f"{mark(k)} = {'none' if v is None else mark(str(v))}" for k, v in setting.values]
    return ", ".join(texts)
