"""Do scores and indices rise with the spatial scale of a target? Rank correlations over targets.

Spearman's ρ between the ranges of targets and what one model scores on them, or what one set's
index is, with the one-sided p of Student's t (ρ > 0). p values are adjusted by Benjamini and
Hochberg over all singles, and apart from them over all sets, as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ecjax.uncertainty import benjamini_hochberg

FEWEST = 3  # targets; p has one degree of freedom then
TABLES = ("scores", "index", "targets")
COLUMNS = ["kind", "subset", "estimator", "rho", "p_value", "p_adjusted", "n_targets", "reason"]
FEW = f"fewer than {FEWEST} targets have both"
EQUAL = "all ranges, or all values, are the same"


def correlate(
    scale: pd.DataFrame, tables: Mapping[str, pd.DataFrame], swept: Sequence[str] = ()
) -> pd.DataFrame:
    """Correlations over targets, a row for each single (kind "score") and set (kind "index").

    Of several metrics that one is taken that most targets have, of equals R²: a rank among scores
    of different kinds would mean nothing.

    Args:
      scale: of `ecjax scale`: `task, target, estimator, range_km`.
      tables: of an evaluation: `scores`, `index` and `targets`.
      swept: keys that it swept; their settings get rows of their own.
    """
    values = _values(scale, tables)
    metrics = values.drop_duplicates(["task", "target", "metric"])["metric"].value_counts()
    metric = max(("r2", "accuracy"), key=lambda name: metrics.get(name, 0))
    values = values[values["metric"] == metric]
    families = [*swept, "kind", "estimator"]
    pairs = values.merge(scale[["task", "target", "estimator", "range_km"]], on=["task", "target"])
    rows = []
    for family, members in pairs.groupby(families, sort=False, dropna=False):
        own = dict(zip(families, family, strict=True))
        found = [
            own | {"subset": subset} | _spearman(targets["range_km"], targets["value"])
            for subset, targets in members.groupby("subset", sort=False)
        ]
        adjusted = benjamini_hochberg(np.array([row["p_value"] for row in found]))
        rows += [row | {"p_adjusted": p} for row, p in zip(found, adjusted, strict=True)]
    return pd.DataFrame(rows, columns=[*swept, *COLUMNS])


def _values(scale: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Scores of singles and indices of sets, a row for each target of each task.

    A task of one target has none in `scores`, and a null one in `index`.
    """
    names = scale.drop_duplicates(["task", "target"]).groupby("task")["target"]
    only = names.first()[names.size() == 1]  # task → its one target
    scores = [tables["scores"].assign(target=None), *([tables["targets"]] * ("targets" in tables))]
    scores = pd.concat([frame for frame in scores if len(frame)])
    scores = scores[scores["n_models"] == 1].assign(kind="score")
    index = tables["index"].assign(kind="index")
    found = []
    for frame, column in ((scores, "score"), (index, "eci")):
        target = frame["target"].where(frame["target"].notna(), frame["task"].map(only))
        found.append(frame.assign(target=target, value=frame[column])[target.notna()])
    return pd.concat([frame for frame in found if len(frame)], ignore_index=True)


def _spearman(ranges: pd.Series, values: pd.Series) -> dict[str, Any]:
    known = (ranges.notna() & values.notna()).to_numpy()
    x, y = ranges.to_numpy(float)[known], values.to_numpy(float)[known]
    undefined = {"rho": np.nan, "p_value": np.nan, "n_targets": len(x)}
    if len(x) < FEWEST:
        return undefined | {"reason": FEW}
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return undefined | {"reason": EQUAL}
    from scipy import stats  # here, because importing it takes longer than all the rest

    found = stats.spearmanr(x, y, alternative="greater")
    return {"rho": found.statistic, "p_value": found.pvalue, "n_targets": len(x), "reason": None}
