"""Made-up tables of a run, to draw figures and pages from; no number in them means anything."""

import itertools

import numpy as np
import pandas as pd

MODELS = ("alphaearth", "tessera", "geoclip", "satclip")
TASKS = ("crops", "biomass", "road_distance")
HOSTILE = (
    "<script>alert(1)</script>",
    "$\\frac{1}{2}$ =cmd()",
    "高分辨率地球嵌入",
    "מודל כדור הארץ",
    "long" * 50,
)


def subsets_of(models, most=None):
    """Names of all sets, small ones first."""
    sizes = range(1, (most or len(models)) + 1)
    return ["+".join(s) for size in sizes for s in itertools.combinations(models, size)]


def make_tables(models=MODELS, tasks=TASKS, seed=0):
    """{table: frame} as `ecjax evaluate`, `overlap` and `scale` write them."""
    draw = np.random.default_rng(seed)
    strength = dict(zip(models, draw.uniform(0.1, 0.5, len(models)), strict=True))
    parts = [_task(task, models, strength, draw) for task in tasks]
    tables = {name: pd.concat([part[name] for part in parts], ignore_index=True)
              for name in parts[0]}  # fmt: skip
    return tables | _pairs(models, draw) | _scales(tasks, draw)


def make_manifest(models=MODELS, tasks=TASKS):
    return {
        "name": "made up",
        "protocol": "strict",
        "embeddings": {model: 64 * (i + 1) for i, model in enumerate(models)},
        "tasks": {task: {"rows": 2000, "transform": "none"} for task in tasks},
        "arguments": {"confidence": 0.95, "interval": "ratio"},
        "swept": [],
        "notes": [],
        "versions": {},
    }


def _interval(value, draw, width=0.05):
    half = draw.uniform(0.3 * width, width, len(value))
    return value - half, value + half


def _task(task, models, strength, draw):
    names = subsets_of(models)
    base = {name: 1 - np.prod([1 - strength[m] for m in name.split("+")]) for name in names}
    best = {name: max(base[m] for m in name.split("+")) for name in names}
    noise = draw.normal(0, 0.02, len(names))
    score = np.array([base[name] for name in names]) * 0.8 + noise
    low, high = _interval(score, draw, 0.04)
    count = np.array([name.count("+") + 1 for name in names])
    common = {"task": task, "subset": names, "n_models": count, "metric": "r2"}
    scores = pd.DataFrame(
        common | {"dims": 64 * count, "score": score, "sem": 0.01, "pooled": score,
                  "score_low": low, "score_high": high, "within_one_se": score > score.max() - 0.01,
                  "n_rows": 2000, "reason": None}
    )  # fmt: skip
    fused = scores[scores["n_models"] > 1].reset_index(drop=True)
    single = np.array([0.8 * best[name] for name in fused["subset"]])
    eci = ((fused["score"] - single) / (1 - single)).to_numpy() - 0.1
    low, high = _interval(eci, draw)
    p = np.where(low > 0, 0.001, 0.4)
    index = pd.DataFrame(
        {"task": task, "target": None, "subset": fused["subset"], "metric": "r2",
         "score": fused["score"], "best_single": models[0], "best_single_share": 1.0,
         "best_single_score": single, "eci": eci, "eci_pooled": eci, "eci_low": low,
         "eci_high": high, "p_value": p, "p_adjusted": p, "p_better": p, "p_better_adjusted": p,
         "reason": None}
    )  # fmt: skip
    tables = {"scores": scores, "index": index, "gains": _gains(task, names, draw)}
    tables["shapley"] = _shapley(task, models, strength, draw)
    tables |= _places(task, list(fused["subset"])[-3:], draw)
    return tables | {"commonality": _commonality(task, models, draw)}


def _gains(task, names, draw):
    pairs = []
    for name in names:
        members = name.split("+")
        less = ["+".join(m for m in members if m != out) for out in members]
        pairs += [
            (name, over) for over in dict.fromkeys([*members, *less]) if over and over != name
        ]
    value = draw.normal(0.05, 0.08, len(pairs))
    low, high = _interval(value, draw)
    subset, over = zip(*pairs, strict=True)
    return pd.DataFrame(
        {"task": task, "target": None, "subset": subset, "over": over, "metric": "r2",
         "score_difference": value, "eci_pooled": value, "eci_low": low, "eci_high": high,
         "reason": None}
    )  # fmt: skip


def _shapley(task, models, strength, draw):
    value = np.array([strength[model] for model in models]) - 0.15
    low, high = _interval(value, draw)
    return pd.DataFrame(
        {"task": task, "target": None, "model": models, "metric": "r2", "value": value,
         "low": low, "high": high, "reason": None}
    )  # fmt: skip


def grid(south=-60.0, north=75.0, west=-180.0, east=180.0, step=9.0):
    """(m, 4) edges of nearly equal-area cells: south, north, west, east."""
    cells = []
    lats = np.linspace(south, north, max(round((north - south) / step), 1) + 1)
    for a, b in itertools.pairwise(lats):
        wide = (east - west) * np.cos(np.radians((a + b) / 2))
        lons = np.linspace(west, east, max(round(wide / step), 1) + 1)
        cells += [(a, b, c, d) for c, d in itertools.pairwise(lons)]
    return np.array(cells)


def make_maps(task, subset, edges, draw, kept=0.4):
    """Table `maps` of one set on some cells, of which a share is kept, and some have no index."""
    edges = edges[draw.random(len(edges)) < kept]
    lat, lon = edges[:, :2].mean(1), edges[:, 2:].mean(1)
    value = 0.25 * np.sin(np.radians(lat * 3)) + draw.normal(0, 0.08, len(lat))
    value[draw.random(len(lat)) < 0.1] = np.nan
    low, high = _interval(value, draw, 0.12)
    return pd.DataFrame(
        {"task": task, "target": None, "metric": "r2", "subset": subset,
         "cell": [f"c{i}" for i in range(len(lat))], "lat": lat, "lon": lon,
         "lat_min": edges[:, 0], "lat_max": edges[:, 1], "lon_min": edges[:, 2],
         "lon_max": edges[:, 3], "n_rows": draw.integers(5, 400, len(lat)), "n_units": 10,
         "eci_pooled": value, "eci_low": low, "eci_high": high,
         "p_adjusted": np.where(low > 0, 0.01, np.where(np.isnan(value), np.nan, 0.5)),
         "p_worse_adjusted": np.where(high < 0, 0.01, np.where(np.isnan(value), np.nan, 0.5)),
         "reason": np.where(np.isnan(value), "too few rows", None)}
    )  # fmt: skip


def _places(task, subsets, draw):
    maps = pd.concat([make_maps(task, s, grid(), draw) for s in subsets], ignore_index=True)
    strata = []
    kinds = {"land cover": ["forest", "cropland", "grassland", "built-up"],
             "latitude": ["60°S to 20°S", "20°S to 20°N", "20°N to 75°N"]}  # fmt: skip
    for subset, (by, names) in itertools.product(subsets, kinds.items()):
        value = draw.normal(0.1, 0.12, len(names))
        low, high = _interval(value, draw, 0.12)
        strata.append(pd.DataFrame(
            {"task": task, "target": None, "metric": "r2", "subset": subset,
             "n_models": subset.count("+") + 1, "by": by, "stratum": names,
             "n_rows": draw.integers(20, 4000, len(names)), "n_units": 20, "score": 0.5,
             "eci_pooled": value, "eci_low": low, "eci_high": high,
             "p_adjusted": np.where(low > 0, 0.01, 0.5),
             "p_worse_adjusted": np.where(high < 0, 0.01, 0.5), "reason": None}
        ))  # fmt: skip
    return {"maps": maps, "strata": pd.concat(strata, ignore_index=True)}


def _commonality(task, models, draw):
    rows = []
    for a, b in itertools.combinations(models, 2):
        share = draw.dirichlet([2, 3, 2, 1]) + np.array([0, 0, 0, draw.choice([0, -0.2])])
        share /= share.sum()
        for part, value in zip(("unique_a", "shared", "unique_b", "synergy"), share, strict=True):
            rows.append((task, None, a, b, "r2", part, 0.6 * value, 0.6 * value - 0.02,
                         0.6 * value + 0.02, value, None))  # fmt: skip
        rows.append((task, None, a, b, "r2", "intercept", -0.001, -0.002, 0.0, np.nan, None))
    names = ["task", "target", "model_a", "model_b", "metric", "part", "value", "low", "high",
             "share", "reason"]  # fmt: skip
    return pd.DataFrame(rows, columns=names)


def _pairs(models, draw):
    rows = []
    for a, b in itertools.combinations(models, 2):
        for measure, one, other in (("cka_debiased", a, b), ("r2", a, b), ("r2", b, a)):
            value = draw.uniform(0, 0.9)
            rows.append(("biomass", one, other, measure, value, value - 0.03, value + 0.03, 2000))
    rows += [("biomass", m, None, "participation_ratio", 7.0, 6.0, 8.0, 2000) for m in models]
    names = ["sample", "model_a", "model_b", "measure", "value", "low", "high", "n_rows"]
    return {"overlap": pd.DataFrame(rows, columns=names).assign(reason=None)}


def _scales(tasks, draw):
    ranges, curves = [], []
    km = np.geomspace(8, 2000, 18)
    for task, estimator in itertools.product(tasks, ("paper", "variogram")):
        known = draw.uniform(40, 600)
        fitted = 1.2 - np.exp(-km / known)
        value = fitted + draw.normal(0, 0.04, len(km))
        ranges.append((task, task, estimator, known, 3 * known, 2000, None))
        curves.append(pd.DataFrame({"task": task, "target": task, "estimator": estimator, "km": km,
                                    "value": value, "fitted": fitted}))  # fmt: skip
    names = ["task", "target", "estimator", "range_km", "practical_range_km", "n_rows", "reason"]
    return {"scale": pd.DataFrame(ranges, columns=names),
            "scale_curve": pd.concat(curves, ignore_index=True)}  # fmt: skip
