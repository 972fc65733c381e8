"""Overlap of embeddings without a task: which of them tell the same about the same rows.

A sample is the rows that some tasks share. For each sample and pair of embeddings there are the
measures of `similarity`, and R² of predicting each from the other.
"""

from __future__ import annotations

import dataclasses
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecjax import (
    evaluated,
    fingerprints,
    folds,
    fragments,
    overlap_correlation,
    overlap_pairs,
    store,
)
from ecjax.align import AlignedTask, align, by_id
from ecjax.arrays import Task, align_arrays
from ecjax.digest import plain_name
from ecjax.errors import InputError, UsageError, counted, neutral
from ecjax.manifest import made_by
from ecjax.plots import Plots
from ecjax.progress import Progress, Silent
from ecjax.report import aligned
from ecjax.result import Result
from ecjax.rounding import number
from ecjax.settings import Settings, from_arguments
from ecjax.study import Study

COLUMNS = ["sample", "model_a", "model_b", "measure", "value", "low", "high", "n_rows", "reason"]
SHOWN = {
    "cka_debiased": "CKA, debiased",
    "cca_centred": "CCA, centred: mean squared correlation",
    "r2": "R² of a row's embedding predicted from a column's",
}
ABOUT = (
    "1: the one tells all of the other; 0: nothing; below 0 by chance alone. overlap.csv has all "
    "measures, their intervals, and why something is undefined (-)."
)


ABOUT_RHO = (
    "Mean over tasks of Spearman's ρ, over pairs of models, of their overlap with their index. "
    "Below 0: pairs that tell less of the same gain more. p: two-sided, by relabelling the models "
    "(Mantel); adjusted over measures; *: below 0.05. -: undefined."
)


@dataclasses.dataclass(frozen=True)
class Overlap:
    """What `overlap` found, as pandas frames with the columns that the README lists.

    Attributes:
      overlap: a row for each sample, pair and measure.
      manifest: of the run.
      overlap_correlation: a row for each task, target and measure; None where no results were
        given.
    """

    overlap: pd.DataFrame
    manifest: dict[str, Any]
    overlap_correlation: pd.DataFrame | None = None

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The frames that there are, by name."""
        found = {"overlap": self.overlap, "overlap_correlation": self.overlap_correlation}
        return {name: frame for name, frame in found.items() if frame is not None}

    @property
    def undefined(self) -> bool:
        """Whether a value is null for a reason in the data."""
        return bool(self.overlap["value"].isna().any())

    def as_text(self, width: int = 100) -> str:
        """The readable summary."""
        lines = [_summary(self.overlap, self.manifest, width)]
        if self.overlap_correlation is not None:
            swept = self.manifest["results"]["swept"]
            lines += ["", *_correlation_lines(self.overlap_correlation, swept, width)]
        return "\n".join(lines)

    @property
    def plot(self) -> Plots:
        """Figures, as matplotlib axes: `found.plot.overlap("cca_centred")`."""
        return Plots(self.tables, self.manifest)

    def __str__(self) -> str:
        return self.as_text()

    def _repr_html_(self) -> str:
        return fragments.of_overlap(self.overlap, self.manifest, SHOWN)


def overlap(
    data: Study | Mapping[str, Any],
    tasks: Mapping[str, Any] | None = None,
    *,
    id: Any = None,
    out: str | Path | None = None,
    seed: int = 42,
    confidence: float = 0.95,
    results: str | Path | Result | None = None,
    progress: bool = False,
) -> Overlap:
    """Measures how much embeddings overlap on the same rows, without any task.

    Args:
      data: a study (`ecjax.read_study`), or arrays: name → (n, p) embedding, row i of each the same
        place.
      tasks: with arrays, as `ecjax.evaluate` takes them; only their rows count. None: all rows are
        one sample.
      id: (n,) ids of the arrays' rows, which deal them to groups, where no tasks are given; by
        default the row numbers.
      out: a directory that the table is also written to.
      seed: of the dealing of rows to the groups of intervals and to the folds of `r2`.
      confidence: level of the intervals.
      results: of an evaluation of the same study, or its directory: also correlates overlap with
        the indices of pairs.
      progress: show what is computed in, and progress, on standard error.

    Raises:
      ecjax.InputError: the data cannot be used, or the results are of other tables; the message
        says where and what to do.
      ecjax.UsageError: an argument is out of range.
    """
    settings = from_arguments({"seed": seed, "confidence": confidence})
    if isinstance(data, Study):
        if tasks is not None or id is not None:
            raise UsageError("a study brings its own tasks and ids; leave out the other arguments")
        found, name = align(data), data.name
    else:
        if tasks is not None and id is not None:
            raise UsageError("ids belong to the tasks: ecjax.Task(y, id=…); leave out id")
        found, name = align_arrays(data, tasks or _rows(data, id)), "arrays"
    return run(name, found, settings, out, results, Progress() if progress else Silent())


def run(
    name: str,
    tasks: Sequence[AlignedTask],
    settings: Settings,
    out: str | Path | None,
    results: str | Path | Result | None,
    progress: Silent,
) -> Overlap:
    """Measures all samples and, if `out` is given, writes the tables; arguments as of `overlap`."""
    started = time.perf_counter()
    samples = _samples(by_id(tasks))
    fingerprint = {
        "command": "overlap",
        "embeddings": {sample: list(task.embeddings) for sample, task in samples.items()},
        "rows": {sample: fingerprints.of_rows(t)["vectors"] for sample, t in samples.items()},
    }
    if out is not None:
        store.check_directory(out, fingerprint)
    known = evaluated.read(results, tasks, overlap_correlation.TABLES)
    progress.say("cpu, float64")
    rows = []
    for number_of, (sample, task) in enumerate(samples.items(), start=1):
        label = f"overlap {number_of}/{len(samples)}" if len(samples) > 1 else "overlap"
        estimates = progress.run(lambda task=task: _measured(task, settings), label, None)
        n = len(task.ids)
        rows += [(sample, a, b, *e[:4], n, e.reason or None) for a, b, e in estimates]
    manifest = {
        "name": name,
        **made_by(),
        "device": "cpu",
        "precision": "float64",
        "study": fingerprint,
        "arguments": {"seed": settings.seed, "confidence": settings.confidence},
        "notes": [dataclasses.asdict(note) for task in tasks for note in task.notes],
        "samples": {
            sample: {"rows": len(task.ids), "groups": min(overlap_pairs.GROUPS, len(task.ids))}
            for sample, task in samples.items()
        },
        "embeddings": {k: x.shape[1] for task in tasks for k, x in task.embeddings.items()},
        "results": known and known.kept,
        "timings": {"total": round(time.perf_counter() - started, 3)},
    }
    table = pd.DataFrame(rows, columns=COLUMNS)
    result = Overlap(table, manifest, known and _correlated(table, samples, tasks, known))
    if out is not None:
        removed = store.write_results(out, result.tables, manifest)
        if removed:
            progress.say(f"removed, because the earlier run's: {', '.join(removed)}")
    return result


def _correlated(
    table: pd.DataFrame,
    samples: Mapping[str, AlignedTask],
    tasks: Sequence[AlignedTask],
    known: evaluated.Evaluated,
) -> pd.DataFrame:
    names = {task.sample: name for name, task in samples.items()}
    of_task = {task.name: names[task.sample] for task in tasks}
    return overlap_correlation.correlate(table, of_task, known.tables["index"], known.swept)


def _measured(task: AlignedTask, settings: Settings) -> list[tuple[str, str | None, Any]]:
    """(model_a, model_b, estimate) of one sample, in the table's order."""
    dealt = folds.stratified_folds(
        task.ids, np.zeros(len(task.ids)), overlap_pairs.GROUPS, settings.seed
    )
    groups = [np.flatnonzero(dealt == g) for g in range(min(overlap_pairs.GROUPS, len(task.ids)))]
    blocks = [overlap_pairs.Block(name, x) for name, x in task.embeddings.items()]
    found = [(b.name, None, overlap_pairs.single(b, groups, settings.confidence)) for b in blocks]
    for i, a in enumerate(blocks):
        for b in blocks[i + 1 :]:
            sums = overlap_pairs.sums_of(a, b, groups)
            both = overlap_pairs.alike(sums, settings.confidence)
            there, back = overlap_pairs.predicted(sums, settings.confidence)
            found += [(a.name, b.name, estimate) for estimate in (*both, there)]
            found.append((b.name, a.name, back))
    return found


def _samples(tasks: Sequence[AlignedTask]) -> dict[str, AlignedTask]:
    """A task of each sample, by the names of all tasks that share its rows."""
    shared: dict[int, list[AlignedTask]] = {}
    for task in tasks:
        shared.setdefault(task.sample, []).append(task)
    return {"+".join(task.name for task in own): own[0] for own in shared.values()}


def _rows(data: Mapping[str, Any], id: Any) -> dict[str, Task]:
    """A task without targets, on all rows of some arrays."""
    if not isinstance(data, Mapping) or not data:
        raise InputError('give embeddings as a dict such as {"alphaearth": X1, "tessera": X2}')
    counts = {name: np.shape(x)[0] if np.ndim(x) else 0 for name, x in data.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{neutral(name)} {n:,}" for name, n in counts.items())
        raise InputError(
            f"embeddings have different numbers of rows ({told}); row i of every array must be the "
            "same place"
        )
    if not any(counts.values()):
        raise InputError("embeddings must be arrays of shape (n, p) with at least one row")
    return {"rows": Task(np.zeros(next(iter(counts.values()))), id=id)}


def _summary(table: pd.DataFrame, manifest: Mapping[str, Any], width: int) -> str:
    """For each sample a matrix of pairs of three measures, and each model's dimensions."""
    names = list(manifest["embeddings"])
    labels = [plain_name(name) for name in names]
    lines = [f"{plain_name(str(manifest['name']))}: overlap of {counted(len(names), 'embedding')}"]
    for sample, rows in table.groupby("sample", sort=False):
        values = {
            (row.measure, row.model_a, row.model_b): row.value
            for row in rows.astype({"model_b": object}).itertuples()
        }
        single = rows[rows["measure"] == "participation_ratio"].set_index("model_a")["value"]
        shown = " and ".join(["", counted(int(rows["n_rows"].iloc[0]), "row")]).removeprefix(
            " and "
        )
        lines += ["", f"{_sample_name(sample)}: {shown}", ""]
        widths = manifest["embeddings"]
        parts = [["effective dimensions", "of", "columns"]]
        parts += [
            [label, number(single[name], 1), f"{widths[name]:,}"]
            for name, label in zip(names, labels, strict=True)
        ]
        lines += aligned(parts, None, rule_after=0)
        for measure, words in SHOWN.items() if len(names) > 1 else ():
            matrix = [[words, *labels]]
            for a, label in zip(names, labels, strict=True):
                cells = [values.get((measure, a, b)) for b in names]
                if measure != "r2":
                    cells = [
                        values.get((measure, b, a)) if cell is None else cell
                        for b, cell in zip(names, cells, strict=True)
                    ]
                matrix.append([label, *_cells(a, names, cells)])
            lines += ["", *aligned(matrix, None, rule_after=0)]
    return "\n".join([*lines, "", *textwrap.wrap(ABOUT, width)])


def _correlation_lines(table: pd.DataFrame, swept: Sequence[str], width: int) -> list[str]:
    """For each swept setting the rho of all tasks together, by measure."""
    together = table[table["task"].isna()]
    lines = []
    for setting, own in overlap_correlation.by_setting(together, swept):
        named = [f"{key} = {value}" for key, value in setting.items()]
        head = ", ".join(["rho of overlap with the index", *named])
        rows = [[head, "rho", "p", "adjusted p ", "pairs", "tasks"]]
        for row in own.itertuples():
            star = "*" if row.p_adjusted < 0.05 else " "
            numbers = number(row.rho, signed=True), _p_text(row.p_value)
            adjusted = _p_text(row.p_adjusted) + star
            rows.append([row.measure, *numbers, adjusted, f"{row.n_pairs:,}", f"{row.n_tasks:,}"])
        lines += [*aligned(rows, None, rule_after=0), ""]
    lines += textwrap.wrap(ABOUT_RHO, width)
    for reason, own in together.dropna(subset="reason").groupby("reason", sort=False):
        told = f"  {', '.join(dict.fromkeys(own['measure']))}: {reason}"
        lines += textwrap.wrap(told, width, subsequent_indent="    ")
    return lines


def _p_text(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else number(p_value)


def _cells(own: str, names: Sequence[str], values: Sequence[float | None]) -> list[str]:
    return ["" if name == own else number(value) for name, value in zip(names, values, strict=True)]


def _sample_name(sample: str) -> str:
    """The tasks' names, the first alone where they are many."""
    first, *others = sample.split("+")
    text = "+".join(plain_name(name) for name in (first, *others))
    return text if len(text) <= 60 else f"{plain_name(first)} and {len(others):,} more"
