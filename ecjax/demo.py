"""The whole job on a made-up world whose true index is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ecjax import store
from ecjax.arrays import align_arrays
from ecjax.evaluate import Result, Run
from ecjax.progress import Progress, Silent
from ecjax.settings import Settings
from ecjax.truth import true_index
from ecjax.world import MODELS, SAMPLES, Places, World, as_tasks, make_world

ROWS = 2_000
TRUTH_OPERATIONS = 1e12  # for the progress bar
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
"""
READING = """\
How to read it: the index says which share of what the best single model leaves unexplained is
closed by fusing. Above 0 and starred, the models are better together; below 0, fusing hurts.
Here the truth is known, because the world is made up: {close} of {count} indices lie within
0.05 of it.
Next: `ecjax report {folder}` writes a page with all tables. For places of your own, edit
{folder}/study.toml, then `ecjax evaluate {folder}/study.toml --out=my-results`."""


def draw_samples(world: World, seed: int) -> dict[str, Places]:
    """The demo's tables: ROWS places of every sample."""
    return {
        sample: world.draw(sample, ROWS, np.random.default_rng([seed, 1, i]))
        for i, sample in enumerate(SAMPLES)
    }


def run_demo(
    out: str | Path, settings: Settings, progress: Silent | Progress
) -> tuple[Result, str]:
    """Evaluates the made-up tasks, finds the truth and writes DIR.

    Args:
      settings: `seed` makes the world as well as the folds.

    Returns:
      The result, whose `index` has the column `eci_true`, and what to read out of it.
    """
    world = make_world(settings.seed)
    drawn = draw_samples(world, settings.seed)
    run = Run("demo", align_arrays(None, as_tasks(drawn)), settings, {}, progress)
    store.check_directory(out, run.fingerprint())
    result = run.evaluate(None)
    truth = add_truth(result.index, world, settings, progress)
    manifest = result.manifest | {"study": run.fingerprint()}
    result = Result(**(result.tables | {"index": truth}), manifest=manifest)
    store.write_results(out, result.tables, manifest)
    write_study(Path(out), drawn["biomass"])
    whole = truth[truth["target"].isna() & truth["metric"].isin(["r2", "accuracy"])]
    close = int(((whole["eci_pooled"] - whole["eci_true"]).abs() < 0.05).sum())
    return result, READING.format(close=close, count=len(whole), folder=out)


def add_truth(
    index: pd.DataFrame, world: World, settings: Settings, progress: Silent
) -> pd.DataFrame:
    """The `index` table with the column `eci_true`, beside `eci_pooled`."""
    rows = ROWS - ROWS // settings.folds

    def work():
        return true_index(
            world, rows, settings.seed, settings.ridge_lambda[0], settings.logistic_c[0]
        )

    truth = progress.run(work, "truth", TRUTH_OPERATIONS)
    keys = zip(index["task"], index["target"], index["metric"], index["subset"], strict=True)
    values = [truth[task, None if pd.isna(t) else t, metric, s] for task, t, metric, s in keys]
    place = index.columns.get_loc("eci_pooled") + 1
    index = index.copy()
    index.insert(place, "eci_true", values)
    return index


def write_study(folder: Path, places: Places) -> None:
    """Writes a study that runs as it is and is meant to be edited; never over an edited one."""
    if (folder / "study.toml").exists():
        return
    tables = folder / "tables"
    tables.mkdir(exist_ok=True)
    ids = np.arange(1, len(places.lat) + 1) * 7  # ids need not be row numbers
    for name, x in places.embeddings.items():
        columns = {f"emb_{i}": x[:, i] for i in range(x.shape[1])}
        pd.DataFrame({"id": ids, **columns}).to_parquet(tables / f"{name}.parquet", index=False)
    pd.DataFrame(
        {
            "id": ids,
            "lat": places.lat,
            "lon": places.lon,
            "biomass": places.labels["biomass"][:, 0],
        }
    ).to_csv(tables / "biomass.csv", index=False)
    embeddings = "\n".join(
        f'[embeddings.{name}]\npath = "tables/{name}.parquet"\n' for name in MODELS
    )
    text = STUDY.format(folder=folder, embeddings=embeddings)
    (folder / "study.toml").write_text(text, encoding="utf-8")
