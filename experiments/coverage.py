"""Do the intervals hold what they say? Planted worlds, seen again and again.

    python experiments/coverage.py [--worlds=1000] [--only=TEXT,…] [--interval=ratio]
        [--out=experiments/coverage.md]

Each world of `planted.py` is drawn `--worlds` times (classes: 300 at most), evaluated as a user
would (`--protocol=strict`), and every interval is held against the truth. The truth is what the
same recipe loses on `FRESH` new rows when it is trained on as many rows as each fold trains on,
averaged over fresh draws: a gain is 1 − mean loss of the set ÷ mean loss of what it is compared
with, and the index that over the single with the smallest mean loss. Writes a table, a picture and
every figure as JSON, and says which demand of `verdicts` is not met; then it exits with 1.

Expect: about 40 minutes on 2 cores.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import coverage_page
import numpy as np
import pandas as pd
from absl import app, flags
from planted import World, named_worlds

import ecjax

WORLDS = flags.DEFINE_integer("worlds", 1000, "Draws of each world.")
ONLY = flags.DEFINE_list("only", [], "Worlds whose names contain one of these.")
INTERVAL = flags.DEFINE_string("interval", "ratio", "Kind of interval.")
BOOTSTRAPS = flags.DEFINE_integer("bootstraps", 0, "Replicates, of kinds that have them.")
OUT = flags.DEFINE_string("out", "experiments/coverage.md", "Where the table is written.")

FRESH = 4  # times the rows of a world, that the truth is measured on
CLASS_WORLDS = 300
PRIMARY = {"r2": "", "accuracy": "errors", "log_loss": "log-loss"}  # metrics, and their names


def evaluations(world: World, draws: int, seed: int, fresh: bool) -> Iterator[ecjax.Result]:
    """Evaluations of so many draws; with `fresh`, trained on one part and tested on new rows."""
    n_train = world.rows - world.rows // world.folds
    rows = n_train + FRESH * world.rows if fresh else world.rows
    how = {"folds": world.folds, "interval": INTERVAL.value, "bootstraps": BOOTSTRAPS.value}
    split = None
    if fresh:
        how, split = {"split": "column"}, np.where(np.arange(rows) < n_train, "train", "test")
    if world.classes:
        how["logistic_c"] = [0.01]
    kind = "classification" if world.classes else None
    for draw in range(-(-draws // world.tasks)):
        rng = np.random.default_rng([seed, draw])
        embeddings, targets = world.draw(rng, rows)
        tasks = {f"{i:02}": ecjax.Task(y, kind=kind, split=split) for i, y in enumerate(targets)}
        yield ecjax.evaluate(embeddings, tasks, protocol="strict", seed=draw, **how)


def whole_tasks(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["target"].isna() & frame["metric"].isin(PRIMARY)]


@dataclasses.dataclass(frozen=True)
class Truth:
    """Mean loss of every subset by metric, (metric, subset) → loss, and what follows from it."""

    loss: Mapping[tuple[str, str], float]

    def gain(self, metric: str, subset: str, over: str) -> float:
        return 1 - self.loss[metric, subset] / self.loss[metric, over]

    def index(self, metric: str, subset: str) -> float:
        best = min(subset.split("+"), key=lambda single: self.loss[metric, single])
        return self.gain(metric, subset, best)


def truth_of(world: World, draws: int) -> Truth:
    """By fresh draws."""
    losses = []
    for result in evaluations(world, draws, 1, fresh=True):
        scores = result.scores[result.scores["metric"].isin(PRIMARY)]
        loss = np.where(scores["metric"] == "log_loss", scores["pooled"], 1 - scores["pooled"])
        losses.append(scores.assign(loss=loss).groupby(["metric", "subset"])["loss"].mean())
    return Truth(pd.concat(losses).groupby(level=[0, 1]).mean().to_dict())


def seen(world: World, draws: int, truth: Truth) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Every gain and every index of all draws beside its truth, and whether whole tables hold."""
    gains, indices, families = [], [], []
    for number, result in enumerate(evaluations(world, draws, 0, fresh=False)):
        gain, index = whole_tasks(result.gains), whole_tasks(result.index)
        own = [truth.gain(*row) for row in zip(gain["metric"], gain["subset"], gain["over"])]
        gains.append(gain.assign(truth=own, draw=number))
        own = [truth.index(*row) for row in zip(index["metric"], index["subset"])]
        indices.append(index.assign(truth=own, draw=number))
        table = indices[-1]
        low, high = table["eci_low_simultaneous"], table["eci_high_simultaneous"]
        inside = (low <= table["truth"]) & (table["truth"] <= high)
        families.append(inside.groupby(table["metric"]).all())
    return pd.concat(gains), pd.concat(indices), pd.concat(families).reset_index(name="inside")


def inside(table: pd.DataFrame) -> pd.Series:
    return (table["eci_low"] <= table["truth"]) & (table["truth"] <= table["eci_high"])


def figures(gains: pd.DataFrame, indices: pd.DataFrame, families: pd.DataFrame) -> dict:
    """Of one world and metric. Worst values are those of the worst comparison or set."""
    gains, indices = gains.assign(inside=inside(gains)), indices.assign(inside=inside(indices))
    gains = gains.assign(
        single=~gains["over"].str.contains("+", regex=False),
        width=gains["eci_high"] - gains["eci_low"],
        off=gains["eci_pooled"] - gains["truth"],
    )
    of_pairs = gains.groupby(["subset", "over"])
    of_singles = gains[gains["single"]].groupby(["subset", "over"])
    of_sets = indices.assign(
        claimed=indices["eci_low"] > 0, off=indices["eci_pooled"] - indices["truth"]
    ).groupby("subset")
    worst = of_singles["inside"].mean()
    claims, true_index = of_sets["claimed"].mean(), of_sets["truth"].first()
    false = claims[true_index <= 0]
    return {
        "worlds": int(of_sets.size().iloc[0]),
        "truth_low": float(true_index.min()),
        "truth_high": float(true_index.max()),
        "gains": float(worst.mean()),
        "gains_worst": float(worst.min()),
        "gains_less_one_worst": float(of_pairs["inside"].mean().min()),
        "gains_width": float(gains["width"].median()),
        "gains_bias": float(of_singles["off"].mean().abs().max()),
        "index": float(of_sets["inside"].mean().mean()),
        "index_worst": float(of_sets["inside"].mean().min()),
        "index_bias": float(of_sets["off"].mean().abs().max()),
        "false_claims": float(false.max()) if len(false) else None,
        "power": float(claims[true_index > 0].max()) if (true_index > 0).any() else None,
        "families": len(families),
        "family_wise": float(families["inside"].mean()),
    }


def measure(name: str, world: World) -> Iterator[dict]:
    """Figures of a world, by metric."""
    draws = min(WORLDS.value, CLASS_WORLDS) if world.classes else WORLDS.value
    truth = truth_of(world, draws)
    tables = seen(world, draws, truth)
    for metric, called in PRIMARY.items():
        own = [table[table["metric"] == metric] for table in tables]
        if len(own[0]):
            label = f"{name}: {called}" if called else name
            yield {"world": label, **dataclasses.asdict(world), **figures(*own)}


def main(_) -> None:
    rows = []
    for name, world in named_worlds().items():
        if ONLY.value and not any(text in name for text in ONLY.value):
            continue
        started = time.perf_counter()
        for row in measure(name, world):
            rows.append(row)
            print(coverage_page.line(row), f"{time.perf_counter() - started:.0f} s", flush=True)
    out = Path(OUT.value)
    out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
