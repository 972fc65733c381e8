"""From a table of places to a report in four commands, on the real biomass places.

    pip install --no-deps geoclip       # its weights; nothing of it is imported
    ECJAX_PAPER_DATA=../shared/data/better_together python experiments/own_places.py   # 30 seconds

GeoCLIP's vectors are computed here, AlphaEarth's given as a table; then the same study is evaluated
with the GeoCLIP table that was computed by the public package. Prints the four commands, the
seconds of each, and the largest differences of scores and indices: 1e-4 is allowed. Exits 1 where
they are larger, or a command fails.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

MOST = 1e-4
STUDY = """
[embeddings.geoclip]
path = "{data}/geoclip/biomass_geoclip.parquet"
[embeddings.alphaearth]
path = "{data}/alphaearth_centre/biomass_alphaearth_centre.csv"
[tasks.biomass_mean]
path = "{data}/downstream_tasks/biomass_cleaned_centre.csv"
id = "index"
target = "biomass_mean"
kind = "regression"
lat = "lat"
lon = "lon"
"""


def run(folder: Path, command: str) -> None:
    """Runs `ecjax …` in a folder; exits where it fails."""
    started = time.perf_counter()
    arguments = [sys.executable, "-m", "ecjax", *shlex.split(command)]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True)
    print(f"{time.perf_counter() - started:6.1f} s  ecjax {command}", flush=True)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{done.stderr}\nexit {done.returncode}")


def difference(folder: Path, table: str, column: str) -> float:
    """The largest of a column between both evaluations; all rows must have a partner."""
    keys = ["task", "subset", "metric"]
    both = [
        pd.read_parquet(folder / name / f"{table}.parquet").set_index(keys)[column]
        for name in ("results", "given")
    ]
    assert both[0].index.equals(both[1].index) and both[0].notna().all() and len(both[0])
    return float((both[0] - both[1]).abs().max())


def main() -> None:
    beside = Path(__file__).resolve().parents[2] / "shared/data/better_together"
    data = Path(os.environ.get("ECJAX_PAPER_DATA") or beside).resolve() / "data"
    places = data / "downstream_tasks/biomass_cleaned_centre.csv"
    table = data / "alphaearth_centre/biomass_alphaearth_centre.csv"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(
            folder,
            f"fetch {places} --id=index --models=geoclip,alphaearth --sources=alphaearth={table} "
            "--target=biomass_mean --out=plots",
        )
        run(folder, "validate plots/study.toml")
        run(folder, "evaluate plots/study.toml --out=results")
        run(folder, "report results")
        (folder / "given.toml").write_text(STUDY.format(data=data))
        run(folder, "evaluate given.toml --out=given")
        found = [difference(folder, "scores", "score"), difference(folder, "index", "eci")]
    print(f"largest difference of a score {found[0]:.1e}, of an index {found[1]:.1e}")
    sys.exit(0 if max(found) <= MOST else 1)


if __name__ == "__main__":
    main()
