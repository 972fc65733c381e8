"""Do the intervals hold what they say? Planted worlds, seen again and again.

    python experiments/coverage.py [--worlds=1000] [--only=TEXT,…] [--interval=ratio]
        [--bootstraps=0] [--out=experiments/coverage.md]

Each world of `planted.py` and `planted_maps.py` is drawn `--worlds` times (classes: 300 at most;
four times as often where tails are heavy, whose means are harder to know), evaluated as a user
would (`--protocol=strict`, 10 folds unless said otherwise; classes with one fixed C, of 0.1 unless
said otherwise), and every interval is held against the truth. The truth is what the same recipe
loses on new rows when it is trained on as many rows as each fold trains on, averaged over draws of
its own: a gain is 1 − mean loss of the set ÷ mean loss of what it is compared with, and the index
that over the single with the smallest mean loss. Writes a table, a picture and every figure as
JSON, says which demand of `coverage_page.DEMANDS` is not met, and then exits with 1. With `--only`,
the other worlds' figures stay as they were.

Expect: every demand is met. Takes about 50 minutes on 2 cores.
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
from planted_maps import Map, named_maps

import ecjax

WORLDS = flags.DEFINE_integer("worlds", 1000, "Draws of each world.")
ONLY = flags.DEFINE_list("only", [], "Worlds whose names contain one of these.")
INTERVAL = flags.DEFINE_string("interval", "ratio", "Kind of interval.")
BOOTSTRAPS = flags.DEFINE_integer("bootstraps", 0, "Replicates, of kinds that have them.")
OUT = flags.DEFINE_string("out", "experiments/coverage.md", "Where the table is written.")

FRESH = 3  # times the rows of a world, that the truth is measured on
CLASS_WORLDS = 300
FAMILIES = 1_000  # tables whose simultaneous intervals are looked at, of one task each
WORLD_OF = named_worlds() | named_maps()
METRICS = {"r2": "", "accuracy": "errors", "log_loss": "log-loss"}  # and what the table calls them


def evaluations(world: World | Map, draws: int, seed: int, fresh: bool) -> Iterator[ecjax.Result]:
    """Evaluations of so many draws; with `fresh`, trained on one part and tested on new rows."""
    n_train = world.rows - world.rows // world.folds
    rows = n_train + FRESH * world.rows if fresh else world.rows
    how = {"folds": world.folds, "interval": INTERVAL.value, "bootstraps": BOOTSTRAPS.value}
    how |= world.arguments
    given = {"kind": "classification" if world.classes else None}
    if fresh:
        how = {"split": "column"} | {k: v for k, v in world.arguments.items() if k == "logistic_c"}
        given["split"] = np.where(np.arange(rows) < n_train, "train", "test")
    for draw in range(-(-draws // world.tasks)):
        drawn = world.draw(np.random.default_rng([seed, draw]), rows)
        tasks = {
            f"{i:02}": ecjax.Task(y, **given, **drawn.places) for i, y in enumerate(drawn.targets)
        }
        yield ecjax.evaluate(drawn.embeddings, tasks, protocol="strict", seed=draw, **how)


@dataclasses.dataclass(frozen=True)
class Truth:
    """What is lost on average, (task, metric, subset) → loss, and what follows from it.

    own: whether each task has a truth of its own; else the tasks' names are "".
    """

    loss: Mapping[tuple[str, str, str], float]
    own: bool

    def gain(self, task: str, metric: str, subset: str, over: str) -> float:
        task = task if self.own else ""
        return 1 - self.loss[task, metric, subset] / self.loss[task, metric, over]

    def index(self, task: str, metric: str, subset: str) -> float:
        losses = {
            single: self.loss[task if self.own else "", metric, single]
            for single in subset.split("+")
        }
        return self.gain(task, metric, subset, min(losses, key=losses.get))


def truth_of(world: World | Map, draws: int) -> Truth:
    """By draws of its own."""
    losses = []
    for result in evaluations(world, draws, 1, fresh=True):
        scores = result.scores[result.scores["metric"].isin(METRICS)]
        loss = np.where(scores["metric"] == "log_loss", scores["pooled"], 1 - scores["pooled"])
        task = scores["task"] if world.same else ""
        losses.append(scores.assign(loss=loss, task=task)[["task", "metric", "subset", "loss"]])
    mean = pd.concat(losses).groupby(["task", "metric", "subset"])["loss"].mean()
    return Truth(mean.to_dict(), world.same)


def with_truth(frame: pd.DataFrame, truth_of_row, keys: list[str]) -> pd.DataFrame:
    """Rows of whole tasks, by their truth; `inside`: whether the interval holds it."""
    frame = frame[frame["target"].isna() & frame["metric"].isin(METRICS)]
    truth = np.array([truth_of_row(*row) for row in frame[keys].itertuples(index=False)])
    inside = (frame["eci_low"] <= truth) & (truth <= frame["eci_high"])
    return frame.assign(truth=truth, inside=inside, off=frame["eci_pooled"] - truth)


def seen(world: World | Map, draws: int, truth: Truth) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every gain and every index of all draws beside its truth."""
    gains, indices = [], []
    for result in evaluations(world, draws, 0, fresh=False):
        gains.append(with_truth(result.gains, truth.gain, ["task", "metric", "subset", "over"]))
        indices.append(with_truth(result.index, truth.index, ["task", "metric", "subset"]))
    return pd.concat(gains), pd.concat(indices)


def family_wise(world: World, truth: Truth) -> dict[str, float]:
    """Metric → share of tables of one task, whose simultaneous intervals all hold."""
    alone, held = dataclasses.replace(world, tasks=1), []
    for result in evaluations(alone, FAMILIES, 2, fresh=False):
        index = with_truth(result.index, truth.index, ["task", "metric", "subset"])
        low, high = index["eci_low_simultaneous"], index["eci_high_simultaneous"]
        inside = (low <= index["truth"]) & (index["truth"] <= high)
        held.append(inside.groupby(index["metric"]).all())
    return pd.concat(held).groupby(level=0).mean().to_dict()


def figures(gains: pd.DataFrame, indices: pd.DataFrame) -> dict:
    """Of one world and metric; worst ones are those of a set, or of a set and a single."""
    width = (gains["eci_high"] - gains["eci_low"]).median()
    of_singles = gains[~gains["over"].str.contains("+", regex=False)]
    of_pairs, of_sets = of_singles.groupby(["subset", "over"]), indices.groupby("subset")
    claims, truth = indices["eci_low"] > 0, indices["truth"]
    false, right = claims[truth <= 0], claims[truth > 0]
    covered = of_sets["inside"].mean()
    return {
        "worlds": int(of_sets.size().iloc[0]),
        "truth": [float(truth.min()), float(truth.max())],
        "gains": float(of_singles["inside"].mean()),
        "gains_worst": float(of_pairs["inside"].mean().min()),
        "gains_bias": float(of_pairs["off"].mean().abs().max()),
        "gains_width": float(width),
        "index": float(covered.mean()),
        "index_worst": float(covered.min()),
        "index_bias": float(of_sets["off"].mean().abs().max()),
        "false_claims": float(false.mean()) if len(false) else None,
        "power": float(right.mean()) if len(right) else None,
    }


def measure(name: str, world: World | Map) -> Iterator[dict]:
    """Figures of a world, by metric."""
    draws = min(WORLDS.value, CLASS_WORLDS) if world.classes else WORLDS.value * world.times
    truth = truth_of(world, draws)
    gains, indices = seen(world, draws, truth)
    together = family_wise(world, truth) if name in coverage_page.FAMILY_WISE else {}
    for metric, called in METRICS.items():
        own = [table[table["metric"] == metric] for table in (gains, indices)]
        if len(own[0]):
            label = f"{name}: {called}" if called else name
            row = {"world": label, "rows": world.rows, "classes": world.classes, **figures(*own)}
            yield row | {"family_wise": together.get(metric)}


def with_earlier(rows: list[dict], figures: Path) -> list[dict]:
    """In the place of those that stand there, where only some worlds were asked for."""
    if ONLY.value and figures.exists():
        new = {row["world"] for row in rows}
        rows = rows + [row for row in json.loads(figures.read_text()) if row["world"] not in new]
    order = list(WORLD_OF)
    return sorted(rows, key=lambda row: order.index(row["world"].partition(": ")[0]))


def main(_) -> None:
    rows, out = [], Path(OUT.value)
    for name, world in WORLD_OF.items():
        if ONLY.value and not any(text in name for text in ONLY.value):
            continue
        started = time.perf_counter()
        for row in measure(name, world):
            rows.append(row)
            print(coverage_page.line(row), f"{time.perf_counter() - started:.0f} s", flush=True)
    rows = with_earlier(rows, out.with_suffix(".json"))
    command = f"python experiments/coverage.py --worlds={WORLDS.value}"
    if INTERVAL.value != "ratio":
        command += f" --interval={INTERVAL.value} --bootstraps={BOOTSTRAPS.value}"
    missed = coverage_page.write(rows, out, command, INTERVAL.value)
    print("\n".join(missed) or "every demand is met")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    app.run(main)
