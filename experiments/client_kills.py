"""Kills fetches from a server that a script has started, which is what the trials of clients end
with."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from tile_server import TileServer

from ecjax.models import Places

KILLS = Path(__file__).with_name("fetch_kills.py")


def survives(model: str, server: TileServer, places: Places) -> bool:
    """Whether 20 kills change nothing, and a fetch asks for nothing when all is there."""
    with tempfile.TemporaryDirectory() as folder:
        table, out = Path(folder, "places.csv"), Path(folder, "out")
        pd.DataFrame(places._asdict()).rename_axis("id").to_csv(table)
        source, asked = f"{model}={server.url}", []
        flags = f"--model={model}", f"--source={server.url}", f"--places={table}", "--year=0"
        killed = subprocess.run([sys.executable, KILLS, *flags])
        fetch = sys.executable, "-m", "ecjax", "fetch", table, f"--models={model}"
        for _ in range(2):
            before = len(server.requests)
            done = subprocess.run([*fetch, f"--sources={source}", f"--out={out}"], stdout=-3)
            asked.append(len(server.requests) - before)
    print(f"a fetch: {asked[0]:,} requests; the same again: {asked[1]:,}")
    return not killed.returncode and not done.returncode and asked[0] > 0 and not asked[1]
