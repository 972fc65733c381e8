"""Does a pair gain more the less its two models tell the same? Rank correlations over pairs.

Spearman's ρ, over the pairs of a study's models, between their overlap and the index of their
fusion, for each task and target, and averaged over the tasks. Below 0: less overlap, more gain.

The test is Mantel's (1967). Pairs share models, so that M(M − 1)/2 of them are not as many
independent observations as Student's t takes them for: one model that is unlike all others and adds
much to each makes M − 1 such pairs at once. If overlap told nothing about the index, a model's
overlaps with the others might as well be those of any other model. So the models of one of both
M × M matrices are relabelled, in all M! orders or in many, and p is the share of orders, that of
the matrix itself among them, with a |ρ| as large. Four models have 24 orders, and p is at least
1/24. In the mean over tasks all are relabelled alike, since models are the same in all of them; its
p has the same least value, but a mean is not as easily large by chance.

Axes: m models, q pairs of them, v orders.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ecjax.scores import PRIMARY
from ecjax.uncertainty import benjamini_hochberg

TABLES = ("index",)
MEASURES = ("cka", "cka_debiased", "cca", "cca_centred", "cca_weighted", "rsa", "r2")
FEWEST = 4  # models; of three, some other order always has as large a |ρ|, or a larger one
MOST_WHOLE = 7  # models of which all orders are taken, 5,040
DRAWN, SEED = 10_000, 0  # orders of more models
TIED = 1e-10  # two |ρ| that differ by less, by rounding, are equal
COLUMNS = [
    "task", "target", "metric", "measure", "rho", "p_value", "p_adjusted", "n_pairs", "n_models",
    "n_tasks", "reason",
]  # fmt: skip
FEW = f"fewer than {FEWEST} models of which all pairs have both an overlap and an index"
EQUAL = "all overlaps, or all indices, are the same"
NO_TASK = "no task has a rho of its own"


class Matrices(NamedTuple):
    """Overlap and index (m, m) of all pairs, symmetric, NaN where unknown."""

    overlap: np.ndarray
    index: np.ndarray


def correlate(
    overlap: pd.DataFrame,
    samples: Mapping[str, str],
    index: pd.DataFrame,
    swept: Sequence[str] = (),
) -> pd.DataFrame:
    """Correlations over pairs, a row for each task × target × measure, and for all tasks.

    Rows with `task` null hold the mean over those tasks that have a ρ for all targets together,
    of the pairs that all of these know. p values are adjusted by Benjamini and Hochberg over
    measures × tasks, of whole tasks, of single targets and of all tasks apart.

    Args:
      overlap: of `ecjax overlap`: `sample, model_a, model_b, measure, value`. `r2` counts as the
        mean of both directions.
      samples: task → the sample that its rows are.
      index: of an evaluation of these tasks; of its metrics, `r2` and `accuracy` count.
      swept: keys that the evaluation swept; their settings get rows of their own.
    """
    index = index[index["metric"].isin(PRIMARY.values()) & index["task"].isin(samples)]
    index = index[index["subset"].str.count(r"\+") == 1]
    rows = []
    for setting, own in by_setting(index, swept):
        rows += [setting | row for row in _rows(overlap, samples, own)]
    found = pd.DataFrame(rows, columns=[*swept, *COLUMNS])
    family = [found["task"].isna(), found["target"].isna()]
    keys = [*(found[key] for key in swept), *family]
    found["p_adjusted"] = found.groupby(keys, sort=False, dropna=False)["p_value"].transform(
        lambda p: benjamini_hochberg(p.to_numpy(float))
    )
    return found


def by_setting(
    table: pd.DataFrame, swept: Sequence[str]
) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Each setting of the swept keys, and its rows; all rows where none are swept."""
    if not swept:
        yield {}, table
        return
    for values, own in table.groupby(list(swept), sort=False, dropna=False):
        yield dict(zip(swept, values, strict=True)), own


def mantel(tasks: Sequence[Matrices]) -> dict[str, Any]:
    """Mean ρ over tasks, and its two-sided p, of the models of which every task knows all pairs."""
    known = [~np.isnan(task.overlap) & ~np.isnan(task.index) for task in tasks]
    models = _complete(np.all(known, axis=0)) if tasks else np.arange(0)
    m = len(models)
    counts = {"n_pairs": m * (m - 1) // 2, "n_models": m, "n_tasks": len(tasks)}
    undefined = {"rho": np.nan, "p_value": np.nan, **counts}
    if not tasks:
        return undefined | {"reason": NO_TASK}
    if m < FEWEST:
        return undefined | {"reason": FEW}
    one, other = np.triu_indices(m, 1)
    orders = orders_of(m)
    rho = np.zeros(len(orders))
    for task in tasks:
        likeness, gain = (_ranks(values[np.ix_(models, models)]) for values in task)
        if not likeness.any() or not gain.any():
            return undefined | {"reason": EQUAL}
        relabelled = likeness[orders[:, one], orders[:, other]]  # (v, q)
        rho += relabelled @ gain[one, other] / len(tasks)
    p_value = float(np.mean(np.abs(rho) >= abs(rho[0]) - TIED))
    return {"rho": float(rho[0]), "p_value": p_value, **counts, "reason": None}


@functools.cache
def orders_of(m: int) -> np.ndarray:
    """(v, m) orders of m models, as they are first: all, or that one and `DRAWN` others."""
    if m <= MOST_WHOLE:
        return np.array(list(itertools.permutations(range(m))))
    drawn = np.tile(np.arange(m), (1 + DRAWN, 1))
    drawn[1:] = np.random.default_rng(SEED).permuted(drawn[1:], axis=1)
    return drawn


def _complete(known: np.ndarray) -> np.ndarray:
    """Models of which all pairs are known (m, m), without the one that most lack, and so on."""
    unknown = ~known & ~np.eye(len(known), dtype=bool)  # none is a pair with itself
    models = np.arange(len(known))
    while (lacks := unknown[np.ix_(models, models)].sum(axis=1)).any():
        models = np.delete(models, lacks.argmax())
    return models


def _ranks(values: np.ndarray) -> np.ndarray:
    """(m, m) ranks of pairs, whose products add up to ρ; all 0 where all values are the same."""
    from scipy import stats  # here, because importing it takes longer than all the rest

    found = np.zeros_like(values)
    above = np.triu_indices(len(values), 1)
    ranks = stats.rankdata(values[above])
    ranks -= ranks.mean()
    found[above] = ranks / (np.linalg.norm(ranks) or 1.0)
    return found + found.T


def _rows(
    overlap: pd.DataFrame, samples: Mapping[str, str], index: pd.DataFrame
) -> list[dict[str, Any]]:
    """Those of one swept setting."""
    # By name, so that what is drawn does not depend on the study's order.
    models = sorted({name for subset in index["subset"] for name in subset.split("+")})
    likeness = _overlaps(overlap, models)
    rows, defined = [], {measure: [] for measure in MEASURES}
    keys = ["task", "target", "metric"]
    for names, own in index.groupby(keys, sort=False, dropna=False):
        told = dict(zip(keys, names, strict=True))
        told["target"] = None if pd.isna(told["target"]) else told["target"]
        pairs = [subset.split("+") for subset in own["subset"]]
        gain = _matrix(pairs, own["eci"], models)
        for measure in MEASURES:
            both = Matrices(likeness[samples[told["task"]], measure], gain)
            rows.append(told | {"measure": measure} | mantel([both]))
            if told["target"] is None and rows[-1]["reason"] is None:
                defined[measure].append(both)
    metrics = index["metric"].unique()
    told = {"task": None, "target": None, "metric": metrics[0] if len(metrics) == 1 else None}
    return rows + [told | {"measure": k} | mantel(tasks) for k, tasks in defined.items()]


def _overlaps(overlap: pd.DataFrame, models: Sequence[str]) -> dict[tuple[str, str], np.ndarray]:
    """{(sample, measure): overlaps (m, m)}."""
    pairs = overlap[overlap["model_b"].notna()]
    return {
        key: _matrix(zip(own["model_a"], own["model_b"], strict=True), own["value"], models)
        for key, own in pairs.groupby(["sample", "measure"], sort=False)
    }


def _matrix(
    pairs: Iterable[Sequence[str]], values: Iterable[float], models: Sequence[str]
) -> np.ndarray:
    """(m, m) values of pairs, symmetric; their mean where both directions have one."""
    place = {name: i for i, name in enumerate(models)}
    sums, counts = np.zeros((2, len(models), len(models)))
    for (a, b), value in zip(pairs, values, strict=True):
        if a in place and b in place:
            sums[place[a], place[b]] += value
            counts[place[a], place[b]] += 1
    sums, counts = sums + sums.T, counts + counts.T
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
