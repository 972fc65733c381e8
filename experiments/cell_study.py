"""A study of many small cells, and what its runs leave: for the scripts that disturb them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TABLES = """
import numpy, pandas, pathlib, sys
folder = pathlib.Path(sys.argv[1])
rng = numpy.random.default_rng(0)
x = rng.normal(size=(60, 5))
for name, columns in {"alpha": slice(0, 3), "beta": slice(3, 5)}.items():
    table = pandas.DataFrame(x[:, columns]).add_prefix("emb_")
    table.insert(0, "id", range(60))
    table.to_parquet(folder / f"{name}.parquet", index=False)
height = x[:, 0] + x[:, 3] + rng.normal(size=60)
pandas.DataFrame({"id": range(60), "height": height}).to_csv(folder / "t.csv", index=False)
"""
STUDY = """
[embeddings.alpha]
path = "alpha.parquet"
[embeddings.beta]
path = "beta.parquet"
[tasks.height]
path = "t.csv"
target = "height"
kind = "regression"
[sweep]
ridge_lambda = [{values}]
"""


def write_study(folder: Path, cells: int) -> Path:
    """A study of so many cells. Another process writes the tables: threads that pyarrow starts here
    would be missing in the runs, which are forks."""
    subprocess.run([sys.executable, "-c", TABLES, folder], check=True)
    study = folder / "study.toml"
    values = ", ".join(f"{1 + i / 8}" for i in range(cells))
    study.write_text(STUDY.format(values=values), encoding="utf-8")
    return study


def cells_of(out: Path) -> dict[str, tuple[int, int]]:
    """Name → what tells whether a cell's file was written again."""
    files = (out / "cells").glob("*.cell")
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def tables_of(out: Path) -> dict[str, bytes]:
    files = [file for file in out.iterdir() if file.suffix in (".csv", ".parquet")]
    return {file.name: file.read_bytes() for file in sorted(files)}
