"""A probe of one's own on the paper's real tables: the same numbers, and one program?

    python experiments/real_probes.py

Biomass (4,581 rows) and crops (3,596 rows, 18 classes) from ../shared/data/better_together or where
ECJAX_PAPER_DATA points, with four embeddings: AlphaEarth, GeoCLIP, latitude and longitude, and
spherical harmonics of degree 5. Ridge regression written as a probe must have ecjax's own numbers
of biomass to 1e-9, for 15 subsets × 20 folds; `own_probe.nearest` runs over both tasks in one call.
Each first call must compile one program, and a call with another seed none. Exits with 1 where
that does not hold.

Expect: all holds. Takes some four minutes on 2 cores, one of them compiling.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd
from own_probe import nearest

import ecjax

STUDY = """
[embeddings.alphaearth]
path = "{data}/alphaearth_centre/biomass_alphaearth_centre.csv"
[embeddings.geoclip]
path = "{data}/geoclip/biomass_geoclip.parquet"
[embeddings.latlon]
source = "coordinates"
encoding = "latlon"
[embeddings.harmonics]
source = "coordinates"
degree = 5
[tasks.biomass]
path = "{data}/downstream_tasks/biomass_cleaned_centre.csv"
id = "index"
target = "biomass_mean"
kind = "regression"
lat = "lat"
lon = "lon"
"""
CROPS = """
[tasks.crops]
path = "{data}/downstream_tasks/cropharvest_cleaned_global_threshold-200-sample.csv"
id = "index"
target = "label_name"
kind = "classification"
lat = "lat"
lon = "lon"
[tasks.crops.embeddings]
alphaearth = "{data}/alphaearth_centre/cropharvest200_alphaearth_centre.csv"
geoclip = "{data}/geoclip/cropharvest200_geoclip.parquet"
"""
COMPILED = "/jax/core/compile/backend_compile_duration"
compiled: list[str] = []  # names of programs


def ridge(X, Y, weights, X_test, penalty):
    """(h, t): ridge regression with a free intercept, from the normal equations."""
    own = weights[:, None]
    mean_x, mean_y = (weights @ a / weights.sum() for a in (X, Y))
    centred = (X - mean_x) * own
    system = centred.T @ centred + penalty * jnp.eye(X.shape[1])
    return (X_test - mean_x) @ jnp.linalg.solve(system, centred.T @ (Y - mean_y)) + mean_y


def listen(event: str, _: float, **details: Any) -> None:
    if event == COMPILED:
        compiled.append(details["fun_name"])


def timed(what: str, work: Callable[[], ecjax.Result]) -> tuple[ecjax.Result, list[str]]:
    """The result, and the programs that were compiled for it; both are told."""
    compiled.clear()
    started = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - started
    print(f"{what}: {seconds:.1f} s; compiled: {', '.join(compiled) or 'nothing'}", flush=True)
    return result, list(compiled)


def read(text: str, folder: Path) -> ecjax.Study:
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "better_together"
    data = Path(os.environ.get("ECJAX_PAPER_DATA") or beside) / "data"
    path = folder / "study.toml"
    path.write_text(text.format(data=data.resolve()), encoding="utf-8")
    return ecjax.read_study(path)


def main() -> None:
    jax.monitoring.register_event_duration_secs_listener(listen)
    with tempfile.TemporaryDirectory() as folder:
        biomass, both = (read(text, Path(folder)) for text in (STUDY, STUDY + CROPS))
        right = True
        for name, study, probe in (("ridge", biomass, ridge), ("nearest", both, nearest)):

            def run(probe=probe, study=study, **more) -> ecjax.Result:
                return ecjax.evaluate(study, protocol="paper", probe=probe, **more)

            found, first = timed(f"{name}, first call", run)
            _, second = timed(f"{name}, another seed", lambda run=run: run(seed=7))
            sets = found.folds.groupby("task")[["subset", "fold"]].nunique()
            print(sets.rename(columns={"subset": "subsets", "fold": "folds"}))
            right = right and len(first) == 1 and not second
            if probe is ridge:
                built_in, _ = timed("ecjax's own ridge", lambda run=run: run(probe=None))
                gap = largest_gap(built_in, found)
                print(f"largest difference of any number of any table: {gap:.1e}")
                right = right and gap <= 1e-9
    sys.exit(not right)


def largest_gap(one: ecjax.Result, other: ecjax.Result) -> float:
    """Of all numbers; where texts or what is null differ, an AssertionError says where."""
    gaps = [0.0]
    for table, frame in one.tables.items():
        found = other.tables[table]
        pd.testing.assert_frame_equal(found, frame, rtol=1e-6, atol=1e-6, obj=table)
        numbers = frame.select_dtypes("number")
        gaps.append(float((found[numbers.columns] - numbers).abs().max().max()))
    return max(gaps)


if __name__ == "__main__":
    main()
