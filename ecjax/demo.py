"""The whole job on a made-up world whose true index is known."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pandas as pd

from ecjax.arrays import align_arrays
from ecjax.evaluate import Run
from ecjax.intervals import z_of
from ecjax.places import place_of
from ecjax.progress import Progress, Silent
from ecjax.result import Result
from ecjax.scores import PRIMARY
from ecjax.settings import Settings
from ecjax.truth import true_index
from ecjax.world import MODELS, SAMPLES, Places, World, as_tasks, make_world

ROWS = 2_000
# Fewer folds and values of C than the defaults, so that it takes about two minutes on 2 cores.
ARGUMENTS = {"protocol": "strict", "folds": 5, "logistic_c": (0.0003, 0.003, 0.03)}
TRUTH_SECONDS = 23.0  # for the progress bar; on 2 cores
CLOSE = 0.05  # of an index: what counts as near, and as no gain
STUDY = """\
# The biomass part of the demo, as a study of its own. Run it with
#   ecjax evaluate {folder}/study.toml --out=my-results
# Then put your own tables in place of these: Parquet or CSV, one row per place, the same ids.
name = "my-study"

{embeddings}
[tasks.biomass]
path = "tables/biomass.csv"
target = "biomass"
kind = "regression"                  # or "classification"
lat = "lat"
lon = "lon"
strata = {{ lat = [-90, -30, 0, 30, 90] }}   # optional: scores and indices in bands, or by a column
"""
READING = """\
How to read it: the index says which share of what the best single model leaves unexplained is
closed by fusing. Above 0 and starred, the models are better together; below 0, fusing hurts.
Here the truth is known, because the world is made up: {close} of {count} indices lie within
0.05 of it, and {inside} intervals hold it. To be quick, {folds} folds and {values} values of C are
tried here; `ecjax evaluate` has 20 and 5.
Next: `ecjax report {folder}` writes a page with all tables. For places of your own, edit
{folder}/study.toml, then `ecjax evaluate {folder}/study.toml --out=my-results`."""


def draw_samples(world: World, seed: int) -> dict[str, Places]:
    """The demo's tables: ROWS places of every sample."""
    return {
        sample: world.draw(sample, ROWS, np.random.default_rng([seed, 1, i]))
        for i, sample in enumerate(SAMPLES)
    }


@dataclasses.dataclass(frozen=True)
class Demo:
    """A made-up world, what was drawn from it, and the evaluation of its tasks."""

    world: World
    drawn: dict[str, Places]
    run: Run

    def evaluate(self) -> Result:
        """The tables, without the truth."""
        return self.run.evaluate(None)

    def with_truth(self, result: Result) -> Result:
        """The tables, with `eci_true` in `index`."""
        index = add_truth(result, self.world, self.run.settings, self.run.progress)
        return Result(**(result.tables | {"index": index}), manifest=result.manifest)


def make_demo(settings: Settings, progress: Silent | Progress) -> Demo:
    """Draws the tables; `seed` of the settings makes the world as well as the folds."""
    world = make_world(settings.seed)
    drawn = draw_samples(world, settings.seed)
    run = Run("demo", align_arrays(None, as_tasks(drawn)), settings, {}, progress)
    return Demo(world, drawn, run)


def run_demo(
    out: str | Path, settings: Settings, progress: Silent | Progress
) -> tuple[Result, str]:
    """Evaluates the made-up tasks, finds the truth and writes DIR.

    Returns:
      The result, whose `index` has the column `eci_true`, and what to read out of it.
    """
    demo = make_demo(settings, progress)
    result = demo.run.evaluate(out, demo.with_truth)
    write_study(out, demo.drawn["biomass"])
    whole = whole_tasks(result.index)
    close = int(((whole["eci_pooled"] - whole["eci_true"]).abs() <= CLOSE).sum())
    inside = int(whole["eci_true"].between(whole["eci_low"], whole["eci_high"]).sum())
    text = READING.format(
        close=close, inside=inside, count=len(whole), folder=place_of(out).directory,
        folds=settings.folds, values=len(settings.logistic_c),
    )  # fmt: skip
    return result, text


def whole_tasks(index: pd.DataFrame) -> pd.DataFrame:
    """The rows of `index` that are of all targets together, in the primary metric."""
    return index[index["target"].isna() & index["metric"].isin(PRIMARY.values())]


def compare_with_truth(result: Result) -> pd.DataFrame:
    """How far the found indices of whole tasks are from the true ones.

    Args:
      result: with `eci_true`.

    Returns:
      `task, subset, eci_pooled, eci_true, eci_low, eci_high`; the `standard_error` of `eci_pooled`,
      from its interval over the best single; whether the truth lies `within` 0.05 or 3 standard
      errors of what was found, and whether it is `inside` the interval; whether it is `clear`,
      beyond ±0.05 by more than 3 standard errors; and whether the two have the `same_sign`.
    """
    columns = ["task", "subset", "eci_pooled", "eci_true", "eci_low", "eci_high"]
    found = whole_tasks(result.index)[columns]
    gains = whole_tasks(result.gains)
    singles = gains[~gains["over"].str.contains("+", regex=False)]
    nearest = singles.loc[singles.groupby(["task", "subset"])["eci_pooled"].idxmin()]
    z = z_of(result.manifest["arguments"]["confidence"])
    ratio_error = np.log((1 - nearest["eci_low"]) / (1 - nearest["eci_high"])) / (2 * z)
    error = ((1 - nearest["eci_pooled"]) * ratio_error).set_axis(
        pd.MultiIndex.from_frame(nearest[["task", "subset"]])
    )
    keys = pd.MultiIndex.from_frame(found[["task", "subset"]])
    standard_error = error.reindex(keys).to_numpy()
    distance = (found["eci_pooled"] - found["eci_true"]).abs()
    return found.assign(
        standard_error=standard_error,
        within=distance <= np.maximum(CLOSE, 3 * standard_error),
        inside=found["eci_true"].between(found["eci_low"], found["eci_high"]),
        clear=found["eci_true"].abs() - CLOSE > 3 * standard_error,
        same_sign=np.sign(found["eci_pooled"]) == np.sign(found["eci_true"]),
    )


def add_truth(result: Result, world: World, settings: Settings, progress: Silent) -> pd.DataFrame:
    """The `index` table with the column `eci_true`, beside `eci_pooled`."""
    rows = ROWS - ROWS // settings.folds
    folds = result.folds[result.folds["metric"].isin(PRIMARY.values())]
    chosen = folds["chosen_ridge_lambda"].fillna(folds["chosen_logistic_c"])
    most = chosen.groupby([folds["task"], folds["subset"]]).agg(lambda c: c.mode().iloc[0])
    penalties = most.to_dict()
    work = functools.partial(true_index, world, rows, settings.seed, penalties)
    truth = progress.run(work, "truth", TRUTH_SECONDS)
    index = result.index
    keys = zip(index["task"], index["target"], index["metric"], index["subset"], strict=True)
    values = [truth[task, None if pd.isna(t) else t, metric, s] for task, t, metric, s in keys]
    place = index.columns.get_loc("eci_pooled") + 1
    index = index.copy()
    index.insert(place, "eci_true", values)
    return index


def write_study(folder: str | Path, places: Places) -> None:
    """Writes a study that runs as it is and is meant to be edited; never over an edited one."""
    place = place_of(folder)
    if place.has("study.toml"):
        return
    ids = np.arange(1, len(places.lat) + 1) * 7  # ids need not be row numbers
    for name, x in places.embeddings.items():
        columns = {f"emb_{i}": x[:, i] for i in range(x.shape[1])}
        table = pd.DataFrame({"id": ids, **columns})
        place.write(f"tables/{name}.parquet", table.to_parquet(index=False))
    labels = pd.DataFrame(
        {
            "id": ids,
            "lat": places.lat,
            "lon": places.lon,
            "biomass": places.labels["biomass"][:, 0],
        }
    )
    place.write("tables/biomass.csv", labels.to_csv(index=False).encode())
    embeddings = "\n".join(
        f'[embeddings.{name}]\npath = "tables/{name}.parquet"\n' for name in MODELS
    )
    text = STUDY.format(folder=place.directory, embeddings=embeddings)
    place.write("study.toml", text.encode())
