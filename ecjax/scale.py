"""The spatial scale of every target that has coordinates: `ecjax scale` and `ecjax.scale`.

Two estimators, both with the distance as range at which a difference has risen by 1 − 1/e: that of
the paper (`entropy`) and that of the variogram (`variogram`).
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecjax import entropy, evaluated, fingerprints, fragments, scale_correlation, store, variogram
from ecjax.align import AlignedTask, align
from ecjax.arrays import align_arrays
from ecjax.digest import plain_name
from ecjax.errors import UsageError, counted, neutral
from ecjax.manifest import made_by
from ecjax.pairs import Curve, Scale
from ecjax.plots import Plots
from ecjax.progress import Progress, Silent
from ecjax.report import aligned
from ecjax.result import Result
from ecjax.study import Study

ESTIMATORS = ("paper", "variogram")
NO_PLACES = 'the task names no lat and lon; give it both, as in lat = "lat", lon = "lon"'
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
      scale_curve: a row for each distance of each task × target × estimator that has a range; None
        where it was not read.
    """

    scale: pd.DataFrame
    manifest: dict[str, Any]
    scale_correlation: pd.DataFrame | None = None
    scale_curve: pd.DataFrame | None = None

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The frames that there are, by name."""
        names = "scale", "scale_correlation", "scale_curve"
        found = {name: getattr(self, name) for name in names}
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
    known = evaluated.read(results, used, scale_correlation.TABLES)
    speaker.say("cpu, float64")
    found = [(task, *pair) for task in used for pair in _estimated(task, speaker)]
    table = _ranges(found)
    result = ScaleResult(
        scale=table,
        manifest={
            "name": name,
            **made_by(),
            "device": "cpu",
            "precision": "float64",
            "study": fingerprint,
            "targets_hash": {t.name: fingerprints.of_rows(t)["targets"] for t in used},
            "results": known and known.kept,
        },
        scale_correlation=known and scale_correlation.correlate(table, known.tables, known.swept),
        scale_curve=_curves(found),
    )
    if out is not None:
        removed = store.write_results(out, result.tables, result.manifest)
        if removed:
            speaker.say(f"removed, because the earlier run's: {', '.join(removed)}")
    return result


def _fingerprint(tasks: Sequence[AlignedTask]) -> dict[str, Any]:
    """What makes this study this one; results of another may not share its directory."""
    return {
        "command": "scale",
        "tasks": [task.name for task in tasks],
        "rows": {task.name: fingerprints.of_rows(task)["rows"] for task in tasks},
        "places": {task.name: fingerprints.of_split(task, "spatial") for task in tasks},
    }


def _estimated(task: AlignedTask, progress: Silent) -> list[tuple[str, str, Scale]]:
    """(target, estimator, scale) of each of a task's targets."""
    label = f"scale of {neutral(task.name)}"
    found = progress.run(lambda: estimate(task), label, None)
    return [
        (target, estimator, one)
        for target, scales in zip(task.targets, found, strict=True)
        for estimator, one in zip(ESTIMATORS, scales, strict=True)
    ]


def _ranges(found: Sequence[tuple[AlignedTask, str, str, Scale]]) -> pd.DataFrame:
    """A row for each target and estimator."""
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
            for task, target, estimator, one in found
        ]
    )


def _curves(found: Sequence[tuple[AlignedTask, str, str, Scale]]) -> pd.DataFrame:
    """A row for each distance of each target and estimator with a range."""
    names = pd.DataFrame(
        [[task.name, target, estimator] for task, target, estimator, _ in found],
        columns=["task", "target", "estimator"],
    )
    curves = [one.curve for *_, one in found]
    table = names.loc[names.index.repeat([len(curve.km) for curve in curves])]
    numbers = dict(zip(Curve._fields, np.concatenate(curves, axis=1), strict=True))
    return table.reset_index(drop=True).assign(**numbers)


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
