"""Runs that are killed at random moments, or go on side by side, end as if nothing had been."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_25_kills_lose_nothing_and_change_nothing():
    done = subprocess.run(
        [sys.executable, ROOT / "experiments" / "kills.py", "--kills=25", "--cells=40"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "25 kills" in done.stdout and "all tables equal" in done.stdout


RUN = """
import sys, jax, numpy as np, ecjax
jax.config.update("jax_disable_most_optimizations", True)
rng = np.random.default_rng(0)
x = {"a": rng.normal(size=(60, 3)), "b": rng.normal(size=(60, 2))}
y = x["a"][:, 0] + rng.normal(size=60)
print("begun", flush=True)
sweep = list(range(1, 31))
ecjax.evaluate(x, {"y": y}, out=sys.argv[1], folds=4, protocol="paper", ridge_lambda=sweep)
"""


def files(out):
    found = [*out.glob("*.csv"), *out.glob("*.parquet"), *out.glob("cells/*.cell")]
    return {path.name: path.read_bytes() for path in found}


def test_two_processes_share_the_cells_and_make_the_same_tables(tmp_path):
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    how = f"coordinator='localhost:{port}', num_processes=2, process_id="
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", RUN.replace("out=", f"{more}out="), tmp_path / out],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        for out, more in [("both", f"{how}0, "), ("both", f"{how}1, "), ("alone", "")]
    ]
    assert [run.wait(timeout=200) for run in runs] == [0, 0, 0]
    assert files(tmp_path / "both") == files(tmp_path / "alone")


def test_two_runs_of_one_directory_at_once(tmp_path):
    """They compute what the other has not, or the same; all is as if one had been alone."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, tmp_path / out],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        for out in ("both", "both", "alone")
    ]
    assert [run.wait(timeout=200) for run in runs] == [0, 0, 0]
    assert files(tmp_path / "both") == files(tmp_path / "alone")
    assert len(list((tmp_path / "alone" / "cells").glob("*.cell"))) == 30
