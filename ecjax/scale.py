"""The spatial scale of every target that has coordinates: `ecjax scale` and `ecjax.scale`.

Two estimators, both with the distance as range at which a difference has risen by 1 − 1/e: that of
the paper (`entropy`) and that of the variogram (`variogram`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecjax import entropy, fragments, scale_correlation, store, variogram
from ecjax.align import AlignedTask, align, by_id
from ecjax.arrays import align_arrays
from ecjax.digest import plain_name
from ecjax.errors import InputError, UsageError, counted, neutral, quote
from ecjax.evaluate import Result
from ecjax.manifest import hash_rows, made_by
from ecjax.pairs import Scale
from ecjax.plots import Plots
from ecjax.progress import Progress, Silent
from ecjax.report import aligned
from ecjax.splits import made_from
from ecjax.study import Study

ESTIMATORS = ("paper", "variogram")
NO_PLACES = 'the task names no lat and lon; give it both, as in lat = "lat", lon = "lon"'
KEPT = ("name", "created", "protocol", "swept")  # of an evaluation's manifest
CLASSES = "the target is classes, and this estimator is made for numbers between 0 and 1"
ABOUT = (
    "Range: the distance at which a target differs by 1 − 1/e (63 %) of the way from near to far "
    "places; three times it is the practical range. paper: entropy of similarity, for shares "
    "between 0 and 1; variogram: exponential model. -: undefined."
)
ABOUT_RHO = (
    "Spearman's ρ, over targets, of the range with the scores of singles and with the indices of "
    "sets. In brackets how many targets, and the adjusted p that ρ is above 0; *: p < 0.05. -: "
    "undefined."
)


@dataclasses.dataclass(frozen=True)
class ScaleResult:
    """Scales of all targets, as pandas frames with the columns that the README lists.

    Attributes:
      scale: a row for each task × target × estimator.
      manifest: of the run.
      scale_correlation: a row for each subset × estimator; None where no results were given.
    """

    scale: pd.DataFrame
    manifest: dict[str, Any]
    scale_correlation: pd.DataFrame | None = None

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The frames that there are, by name."""
        found = {"scale": self.scale, "scale_correlation": self.scale_correlation}
        return {name: frame for name, frame in found.items() if frame is not None}

    @property
    def undefined(self) -> bool:
        """Whether some target has no range by either estimator."""
        known = self.scale["range_km"].notna()
        return not known.groupby([self.scale["task"], self.scale["target"]]).any().all()

    def as_text(self, width: int = 100) -> str:
        """The readable summary."""
        rows = self.scale.drop_duplicates(["task", "target"])["n_rows"]
        head = f"{plain_name(self.manifest['name'])}: scale of {counted(len(rows), 'target')}"
        lines = [head, "", *_range_lines(self.scale), "", *textwrap.wrap(ABOUT, width)]
        if self.scale_correlation is not None:
            swept = self.manifest["results"]["swept"]
            lines += _correlation_lines(self.scale_correlation, swept)
            lines += ["", *textwrap.wrap(ABOUT_RHO, width)]
        reasons = _reasons(self.scale)
        if self.scale_correlation is not None:
            told = self.scale_correlation.dropna(subset="reason").drop_duplicates(
                ["estimator", "reason"]
            )
            reasons += [f"rho, {row.estimator}: {row.reason}" for row in told.itertuples()]
        if reasons:
            lines += ["", "To know:"]
        for reason in reasons:
            lines += textwrap.wrap(f"  {reason}", width, subsequent_indent="    ")
        return "\n".join(lines)

    @property
    def plot(self) -> Plots:
        """Figures, as matplotlib axes: `found.plot.scale()`."""
        return Plots(self.tables, self.manifest)

    def __str__(self) -> str:
        return self.as_text()

    def _repr_html_(self) -> str:
        return fragments.of_scale(self.scale, self.manifest)


def scale(
    data: Study | Mapping[str, Any] | None = None,
    tasks: Mapping[str, Any] | None = None,
    *,
    out: str | Path | None = None,
    results: str | Path | Result | None = None,
    progress: bool = False,
) -> ScaleResult:
    """Estimates over which distances every target of every task changes.

    The rows are those that `ecjax.evaluate` uses: all that every embedding of the task has. Targets
    are in the unit that is scored.

    Args:
      data, tasks: as `ecjax.evaluate` takes them; a task without lat and lon has no scale.
      out: a directory that the tables are also written to.
      results: of an evaluation of the same study, or its directory: also correlates its scores and
        indices with the scales.
      progress: show what is computed in, and progress, on standard error.

    Raises:
      ecjax.InputError: the data cannot be used, or the results are of other tables.
      ecjax.UsageError: an argument is wrong.
    """
    if isinstance(data, Study):
        if tasks is not None:
            raise UsageError("a study brings its own tasks; leave out the second argument")
        used, name = align(data), data.name
    else:
        if not tasks:
            raise UsageError("give tasks: a mapping from names to targets or ecjax.Task")
        used, name = align_arrays(data or {}, tasks), "arrays"
    speaker = Progress() if progress else Silent()
    fingerprint = _fingerprint(used)
    if out is not None:
        store.check_directory(out, fingerprint)
    tables, manifest = _evaluation(results, used)
    speaker.say("cpu, float64")
    table = pd.concat([_task_rows(task, speaker) for task in used], ignore_index=True)
    result = ScaleResult(
        scale=table,
        manifest={
            "name": name,
            **made_by(),
            "device": "cpu",
            "precision": "float64",
            "study": fingerprint,
            "results": {key: manifest[key] for key in KEPT} if manifest else None,
        },
        scale_correlation=tables and scale_correlation.correlate(table, tables, manifest),
    )
    if out is not None:
        removed = store.write_results(out, result.tables, result.manifest)
        if removed:
            speaker.say(f"removed, because the earlier run's: {', '.join(removed)}")
    return result


def _fingerprint(tasks: Sequence[AlignedTask]) -> dict[str, Any]:
    """What makes this study this one; results of another may not share its directory."""
    places = {task.name: repr(made_from(task, "spatial")).encode() for task in tasks}
    return {
        "command": "scale",
        "tasks": [task.name for task in tasks],
        "rows": {task.name: hash_rows(task) for task in tasks},
        "places": {name: hashlib.sha256(text).hexdigest() for name, text in places.items()},
    }


def _evaluation(
    results: str | Path | Result | None, tasks: Sequence[AlignedTask]
) -> tuple[dict[str, pd.DataFrame] | None, dict[str, Any]]:
    """Tables and manifest of an evaluation, if there is one, of the same rows."""
    if results is None:
        return None, {}
    if isinstance(results, Result):
        where, tables, manifest = "results", results.tables, results.manifest
    else:
        where = str(results)
        tables, manifest = store.read_results(results, names=scale_correlation.TABLES)
    hashes = manifest["study"].get("rows", {})  # none where nothing was written
    evaluated = manifest.get("tasks", {})
    if not any(task.name in evaluated for task in tasks):
        raise InputError(
            f"{where}: holds results of none of this study's tasks; give those of the same study"
        )
    for task in tasks if manifest.get("protocol") != "strict" else by_id(tasks):
        known = evaluated.get(task.name)
        same = known is None or known["rows"] == len(task.ids)
        if not same or hashes.get(task.name, same and hash_rows(task)) != hash_rows(task):
            raise InputError(
                f"{where}: results of task {quote(task.name)} are of other ids, targets or vectors "
                "than the study has now; evaluate it again"
            )
    return tables, manifest


def _task_rows(task: AlignedTask, progress: Silent) -> pd.DataFrame:
    """A row for each target and estimator."""
    label = f"scale of {neutral(task.name)}"
    found = progress.run(lambda: estimate(task), label, None)
    return pd.DataFrame(
        [
            {
                "task": task.name,
                "target": target,
                "estimator": estimator,
                "range_km": one.range_km,
                "practical_range_km": variogram.PRACTICAL * one.range_km,
                "n_rows": len(task.ids),
                "reason": one.reason or None,
            }
            for target, scales in zip(task.targets, found, strict=True)
            for estimator, one in zip(ESTIMATORS, scales, strict=True)
        ]
    )


def estimate(task: AlignedTask) -> list[tuple[Scale, Scale]]:
    """Of each of a task's targets, the scales by both estimators."""
    lat, lon, y = task.lat, task.lon, task.y
    if lat is None or lon is None:
        return [(Scale(np.nan, NO_PLACES),) * 2 for _ in task.targets]
    if task.kind == "classification":
        return [(Scale(np.nan, CLASSES), *variogram.estimate(lat, lon, y, task.kind))]
    ranges = variogram.estimate(lat, lon, y, task.kind)
    return list(zip(entropy.estimate(lat, lon, y), ranges, strict=True))


def _names(table: pd.DataFrame) -> pd.Series:
    """What each row's target is called: by its task where it is the only one there."""
    alone = table.groupby("task")["target"].transform("nunique") == 1
    task, target = table["task"].map(plain_name), table["target"].map(plain_name)
    return task.where(alone, task + " " + target)


def _range_lines(table: pd.DataFrame) -> list[str]:
    rows = [["range in km", *ESTIMATORS, "rows"]]
    for name, own in table.groupby(_names(table), sort=False):
        cells = ["-" if np.isnan(km) else f"{km:,.3g}" if km < 10 else f"{km:,.0f}"
                 for km in own["range_km"]]  # fmt: skip
        rows.append([name, *cells, f"{own['n_rows'].iloc[0]:,}"])
    return aligned(rows, None, rule_after=0)


def _correlation_lines(table: pd.DataFrame, swept: Sequence[str]) -> list[str]:
    lines = []
    keys = [*swept, "kind"]
    for setting, own in table.groupby(keys, sort=False, dropna=False):
        named = [f"{key} = {value}" for key, value in zip(swept, setting, strict=False)]
        rows = [[", ".join([f"rho of the range with the {setting[-1]}", *named]), *ESTIMATORS]]
        for subset, found in own.groupby("subset", sort=False):
            found = found.set_index("estimator")
            rows.append([plain_name(subset), *(_rho(found.loc[name]) for name in ESTIMATORS)])
        lines += ["", *aligned(rows, None, rule_after=0)]
    return lines


def _rho(row: pd.Series) -> str:
    if np.isnan(row["rho"]):
        return "-"
    star = "*" if row["p_adjusted"] < 0.05 else " "
    return f"{row['rho']:+.3f} ({row['n_targets']:.0f}, p {row['p_adjusted']:.3f}){star}"


def _reasons(table: pd.DataFrame) -> list[str]:
    """Why ranges are undefined, each reason with the first targets that it holds for."""
    undefined = table.assign(name=_names(table))[table["reason"].notna()]
    lines = []
    for (estimator, reason), own in undefined.groupby(["estimator", "reason"], sort=False):
        names = list(own["name"])
        more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
        lines.append(f"{', '.join(names[:3])}{more}, {estimator}: {reason}")
    return lines
