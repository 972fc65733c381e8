"""Made-up tables of every kind that a page shows, with the columns that the commands write."""

import itertools

import numpy as np
import pandas as pd

METRICS = {
    "regression": ("r2", "mse"),
    "classification": ("accuracy", "balanced_accuracy", "log_loss"),
}
HOSTILE = (
    "<script>alert(1)</script>",
    "=cmd()",
    "x" * 200,
    "地球嵌入",
    'שלום"&',
)


def evaluation(models, tasks, folds=5, further=True, seed=0):
    """Tables and manifest of a strict evaluation.

    Args:
      models: names of embeddings.
      tasks: name → kind.
      further: whether there are maps, strata and commonality too.
    """
    rng = np.random.default_rng(seed)
    sets = [c for n in range(1, len(models) + 1) for c in itertools.combinations(models, n)]
    parts = {name: [] for name in ("scores", "index", "folds", "gains", "shapley")}
    for task, kind in tasks.items():
        worth = rng.uniform(0.02, 0.2, len(models))
        pooled = np.array([_score(worth[[models.index(m) for m in s]], rng) for s in sets])
        for metric in METRICS[kind]:
            values = pooled if metric in ("r2", "accuracy") else 1 - pooled
            names = np.array(["+".join(s) for s in sets], object)
            parts["scores"].append(_scores(task, metric, sets, names, values))
            parts["index"].append(_index(task, metric, sets, names, values, rng))
            parts["folds"].append(_folds(task, metric, names, values, folds))
            parts["gains"].append(_gains(task, metric, sets, dict(zip(names, values, strict=True))))
            share = pd.DataFrame({"task": task, "target": None, "model": models, "metric": metric,
                                  "value": worth, "low": worth - 0.02, "high": worth + 0.02,
                                  "reason": None})  # fmt: skip
            parts["shapley"].append(share)
    tables = {name: pd.concat(found, ignore_index=True) for name, found in parts.items()}
    if further:
        tables |= _further(models, tasks, sets, rng)
    return tables, _manifest(models, tasks, folds)


def _score(worth, rng):
    return 1 - np.prod(1 - worth) + rng.normal(0, 0.01)


def _scores(task, metric, sets, names, values):
    return pd.DataFrame(
        {"task": task, "subset": names, "n_models": [len(s) for s in sets],
         "dims": [64 * len(s) for s in sets], "metric": metric, "score": values + 0.001,
         "sem": 0.0123, "within_one_se": pd.array(values >= values.max() - 0.0123, "boolean"),
         "seed_std": np.nan, "pooled": values, "score_low": values - 0.017,
         "score_high": values + 0.017, "n_rows": 2000, "reason": None}
    )  # fmt: skip


def _index(task, metric, sets, names, values, rng):
    alone = {s[0]: v for s, v in zip(sets, values, strict=True) if len(s) == 1}
    pick = [i for i, s in enumerate(sets) if len(s) > 1]
    best = [max(sets[i], key=alone.get) for i in pick]
    single, score = np.array([alone[b] for b in best]), values[pick]
    eci = (score - single) / (1 - single)
    p = np.clip(np.exp(-np.maximum(eci, 0) * 60) * rng.uniform(0.5, 1, len(eci)), 0, 1)
    primary = metric in ("r2", "accuracy")
    return pd.DataFrame(
        {"task": task, "target": None, "subset": names[pick], "metric": metric, "score": score,
         "best_single": best, "best_single_share": 1.0, "best_single_score": single, "eci": eci,
         "eci_pooled": eci, "eci_permuted": np.nan, "eci_low": eci - 0.031, "eci_high": eci + 0.029,
         "p_value": p, "p_adjusted": p if primary else np.nan, "p_better": p,
         "p_better_adjusted": p if primary else np.nan, "reason": None}
    )  # fmt: skip


def _folds(task, metric, names, values, folds):
    n = len(names) * folds
    return pd.DataFrame(
        {"task": task, "subset": np.repeat(names, folds), "metric": metric, "seed": 42,
         "fold": np.tile(np.arange(folds), len(names)), "fold_name": None,
         "score": np.repeat(values, folds), "n_train": 1900, "n_test": 100, "n_dropped": 0,
         "gradient_norm": np.nan, "converged": pd.array([None] * n, "boolean"),
         "grid_edge": pd.array(np.arange(n) % 97 == 0, "boolean")}
    )  # fmt: skip


def _gains(task, metric, sets, score):
    rows = []
    for s in sets:
        if len(s) == 1:
            continue
        less = [tuple(m for m in s if m != out) for out in s] if len(s) > 2 else []
        for over in [*((m,) for m in s), *less]:
            a, b = score["+".join(s)], score["+".join(over)]
            rows.append(("+".join(s), "+".join(over), a - b, (a - b) / (1 - b)))
    found = pd.DataFrame(rows, columns=["subset", "over", "score_difference", "eci_pooled"])
    found.insert(0, "task", task)
    found.insert(1, "target", None)
    found.insert(4, "metric", metric)
    return found.assign(
        eci_low=found["eci_pooled"] - 0.02, eci_high=found["eci_pooled"] + 0.02, reason=None
    )


def _further(models, tasks, sets, rng):
    fused = ["+".join(s) for s in sets if len(s) > 1]
    maps, strata, separation, commonality = [], [], [], []
    for task, kind in tasks.items():
        metric = "r2" if kind == "regression" else "log_loss"
        within = "r2" if kind == "regression" else "accuracy"
        for subset in fused[-4:]:
            maps.append(_maps(task, metric, subset, rng))
        for subset in [*models, *fused[-4:]]:
            for by, names in (("latitude", ["low", "middle", "high"]), ("cover", list("abcde"))):
                eci = rng.normal(0.1, 0.1, len(names))
                single = subset in models
                strata.append(
                    pd.DataFrame(
                        {"task": task, "target": None, "metric": within, "subset": subset,
                         "n_models": subset.count("+") + 1, "by": by, "stratum": names,
                         "n_rows": 400, "n_units": 400, "score": rng.uniform(0.2, 0.8, len(names)),
                         "eci_pooled": np.nan if single else eci,
                         "eci_low": np.nan if single else eci - 0.05,
                         "eci_high": np.nan if single else eci + 0.05,
                         "p_adjusted": np.nan if single else np.clip(0.3 - eci, 1e-6, 1),
                         "p_worse_adjusted": np.nan if single else np.clip(0.6 + eci, 0, 1),
                         "reason": None}
                    )
                )  # fmt: skip
                if not single:
                    separation.append(
                        {"task": task, "target": None, "metric": within, "subset": subset,
                         "by": by, "n_strata": len(names), "least_stratum": names[eci.argmin()],
                         "eci_least": eci.min(), "most_stratum": names[eci.argmax()],
                         "eci_most": eci.max(), "spread": eci.std(), "p_value": 0.01,
                         "p_adjusted": 0.02, "reason": None}
                    )  # fmt: skip
        for a, b in itertools.combinations(models, 2):
            values = np.array([0.01, *rng.uniform(0.02, 0.3, 3), rng.normal(0, 0.02)])
            commonality.append(
                pd.DataFrame(
                    {"task": task, "target": None, "model_a": a, "model_b": b, "metric": metric,
                     "part": ["intercept", "unique_a", "unique_b", "shared", "synergy"],
                     "value": values, "low": values - 0.03, "high": values + 0.03,
                     "share": [np.nan, *(values[1:] / values[1:].sum())], "reason": None}
                )
            )  # fmt: skip
    return {
        "maps": pd.concat(maps, ignore_index=True),
        "strata": pd.concat(strata, ignore_index=True),
        "separation": pd.DataFrame(separation),
        "commonality": pd.concat(commonality, ignore_index=True),
    }


def _maps(task, metric, subset, rng):
    lat, lon = (a.ravel() for a in np.meshgrid(np.arange(36, 66, 9.0), np.arange(-10, 32, 12.0)))
    eci = rng.normal(0.1, 0.1, len(lat))
    few = np.arange(len(lat)) == 3
    eci = np.where(few, np.nan, eci)
    return pd.DataFrame(
        {"task": task, "target": None, "metric": metric, "subset": subset,
         "cell": [f"{a:.0f} {b:.0f}" for a, b in zip(lat, lon, strict=True)], "lat": lat,
         "lon": lon, "lat_min": lat - 4.5, "lat_max": lat + 4.5, "lon_min": lon - 6,
         "lon_max": lon + 6, "n_rows": np.where(few, 4, 170), "n_units": np.where(few, 4, 170),
         "eci_pooled": eci, "eci_low": eci - 0.08, "eci_high": eci + 0.08,
         "p_adjusted": np.clip(0.3 - 2 * eci, 1e-6, 1),
         "p_worse_adjusted": np.clip(0.7 + eci, 0, 1),
         "reason": np.where(few, "fewer than 20 rows", None)}
    )  # fmt: skip


def _manifest(models, tasks, folds):
    names = {
        "regression": {"kind": "regression", "classes": []},
        "classification": {"kind": "classification", "classes": ["a", "b"]},
    }
    about = {"rows": 2000, "targets": ["y"], "transform": "none", "unit": "row", "units": 2000,
             "question": "new rows on this map", "correlation_km": 130.0,
             "correlation_reason": ""}  # fmt: skip
    return {
        "name": "made-up", "protocol": "strict", "created": "2026-01-02T03:04:05+00:00",
        "versions": {"ecjax": "0.1.0", "jax": "0.10.2", "python": "3.11.7"}, "git_commit": None,
        "device": "cpu", "precision": "float64", "study": {"tasks": list(tasks)},
        "arguments": {"protocol": "strict", "folds": folds, "seeds": 1, "seed": 42,
                      "split": "random", "block_km": 100.0, "buffer_km": 0.0, "penalty": "shared",
                      "ridge_lambda": None, "logistic_c": [0.001, 0.01], "inner_folds": None,
                      "interval": "ratio", "bootstraps": 0, "confidence": 0.95, "probe": None},
        "swept": [],
        "notes": [{"task": next(iter(tasks)), "source": models[0], "reason": "id absent",
                   "count": 12, "first": "<b>7"}],
        "tasks": {name: names[kind] | about for name, kind in tasks.items()},
        "embeddings": dict.fromkeys(models, 64), "timings": {"total": 12.5},
    }  # fmt: skip


def overlap(models, tasks):
    """Tables and manifest of `ecjax overlap`, all tasks on the same rows."""
    sample, rows = "+".join(tasks), []
    rng = np.random.default_rng(1)
    for a in models:
        rows.append((sample, a, None, "participation_ratio", 23.1, 21.0, 25.2, None))
    for a, b in itertools.permutations(models, 2):
        v = rng.uniform(-0.05, 0.9)
        if models.index(a) < models.index(b):
            rows += [
                (sample, a, b, m, v, v - 0.04, v + 0.04, None) for m in ("cka", "cka_debiased")
            ]
            rows.append((sample, a, b, "cca_centred", np.nan, np.nan, np.nan, "more columns"))
        rows.append((sample, a, b, "r2", v, v - 0.04, v + 0.04, None))
    columns = ["sample", "model_a", "model_b", "measure", "value", "low", "high", "reason"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.insert(7, "n_rows", 2000)
    task = next(iter(tasks))
    relation = pd.DataFrame(
        {"task": task, "target": None, "metric": "r2", "measure": ["cka_debiased", "r2"],
         "rho": [-0.61, np.nan], "p_value": [0.02, np.nan], "p_adjusted": [0.04, np.nan],
         "n_pairs": [6, 6], "reason": [None, "all equal"]}
    )  # fmt: skip
    manifest = {"name": "made-up", "created": "2026-01-02T03:04:05+00:00", "versions": {},
                "study": {"command": "overlap"}, "embeddings": dict.fromkeys(models, 64),
                "arguments": {"seed": 42}}  # fmt: skip
    return {"overlap": frame, "overlap_correlation": relation}, manifest


def scale(models, tasks):
    """Tables and manifest of `ecjax scale`."""
    rows, curve = [], []
    for i, task in enumerate(tasks):
        for estimator, km in (("paper", np.nan if i else 80.0), ("variogram", 120.0 + 300 * i)):
            reason = "made for numbers between 0 and 1" if np.isnan(km) else None
            rows.append((task, "y", estimator, km, 3 * km, 2000, reason))
            at = np.arange(5.0, 1000, 45)
            fitted = np.full(len(at), np.nan) if np.isnan(km) else 1 - np.exp(-at / km)
            curve.append(pd.DataFrame({"task": task, "target": "y", "estimator": estimator,
                                       "km": at, "value": 1 - np.exp(-at / (km or 50)) + 0.02,
                                       "fitted": fitted}))  # fmt: skip
    columns = ["task", "target", "estimator", "range_km", "practical_range_km", "n_rows", "reason"]
    correlation = pd.DataFrame(
        {"kind": ["score", "index"], "subset": [models[0], "+".join(models[:2])],
         "estimator": "variogram", "rho": [0.5, np.nan], "p_value": [0.1, np.nan],
         "p_adjusted": [0.2, np.nan], "n_targets": [4, 2], "reason": [None, "too few"]}
    )  # fmt: skip
    manifest = {"name": "made-up", "created": "2026-01-02T03:04:05+00:00", "versions": {},
                "study": {"command": "scale"}, "results": None}  # fmt: skip
    tables = {
        "scale": pd.DataFrame(rows, columns=columns),
        "scale_curve": pd.concat(curve, ignore_index=True),
        "scale_correlation": correlation,
    }
    return tables, manifest
