"""Rows beyond memory: how fast a study is streamed, in how much memory, and how right it is.

    python experiments/stream.py            # 1.5 minutes on 2 cores, 3 GB in TMPDIR
    python experiments/stream.py --rows=1e5 --trial     # prints the same and demands no rates

Makes a study of three embeddings of 128 + 128 + 64 float32 columns and one target, in 16 Parquet
parts each; evaluates it as `--split=hash --stream` does (`strict`, 20 folds, 7 subsets) in a
process of its own whose data may take no more than 4 GiB, and a twentieth of its rows likewise.
Arrow's rate of reading the same files and the rate of a matrix product are measured in the same
process, all of it three times; medians count. Measured on 2 cores, from files in memory: 7.2 s and
3.2 s for the two passes and 0.9 s for the fits, where Arrow alone takes 2.2 s and XᵀX 3.5 s; 0.49
of the lower rate in the first pass (0.9 s of which are the hashing of ids, which makes the folds),
0.70 in the second and 0.55 in both; 1.0 GiB; 20 times the rows in 17 times the seconds. Demanded,
unless it is a trial:

- peak memory under 4 GiB;
- both passes together at half or more of the lower of two rates: Arrow's of reading, and that at
  which products of float64 matrices make what a pass computes: XᵀX (2 q² operations a row) in the
  first, residuals (4 s p, with the fits of which slopes are made) in the second;
- the passes' time linear in the rows: 20 times the rows in 15 to 24 times the seconds;
- on 20,000 rows, every score, index, gain and end of an interval within 1e-9 of those in memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import ecjax
from ecjax import blas, stream_evaluate
from ecjax.results import columns_of, frames_of
from ecjax.settings import Settings, from_arguments

WIDTHS = {"a": 128, "b": 128, "c": 64}
PARTS = 16
GIB = 2**30
LIMIT = 4 * GIB
BUDGET = 2 * GIB
ARGUMENTS = {"split": "hash", "folds": 20}
SUBSETS = 7
REPEATS = 3


def make_study(folder: Path, rows: int) -> Path:
    """Writes tables in parts, and a study file for all rows and one for the first twentieth."""
    rng = np.random.default_rng(0)
    few, per_part = rows // 20, rows // PARTS
    for name in ("t", *WIDTHS):
        for size in ("few", "all"):
            (folder / size / name).mkdir(parents=True)
    for part, start in enumerate(range(0, rows, per_part)):
        ids = np.arange(start, min(start + per_part, rows))
        hidden = rng.standard_normal((len(ids), 3), dtype=np.float32)
        y = hidden.sum(1) + rng.standard_normal(len(ids))
        _write(folder, "t", part, pa.table({"id": ids, "y": y}), few)
        for name, width in WIDTHS.items():
            x = rng.standard_normal((len(ids), width), dtype=np.float32)
            x[:, :3] += hidden
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), width)
            _write(folder, name, part, pa.table({"id": ids, "embedding": vectors}), few)
    text = "".join(f'[embeddings.{name}]\npath = "{name}"\n' for name in WIDTHS)
    text += '[tasks.t]\npath = "t"\ntarget = "y"\nkind = "regression"\n'
    for size in ("few", "all"):
        (folder / size / "study.toml").write_text(text)
    return folder


def _write(folder: Path, name: str, part: int, table: pa.Table, few: int) -> None:
    how = {"use_dictionary": False, "compression": "none", "row_group_size": 2**16}
    pq.write_table(table, folder / "all" / name / f"{part:02d}.parquet", **how)
    inside = table.slice(0, max(0, few - part * len(table)))
    if len(inside):
        pq.write_table(inside, folder / "few" / name / f"{part:02d}.parquet", **how)


def arrow_seconds(folder: Path) -> float:
    """Of reading all columns of the embeddings' files, all cores decoding."""
    started = time.perf_counter()
    for name in WIDTHS:
        for file in sorted((folder / name).glob("*.parquet")):
            with pq.ParquetFile(file, pre_buffer=True) as parquet:
                for group in range(parquet.num_row_groups):
                    for _ in parquet.iter_batches(2**16, row_groups=[group]):
                        pass
    return time.perf_counter() - started


def gemm_rate() -> float:
    """Operations a second of a float64 product of large matrices, the best of five."""
    n = 3000
    a, out = np.random.default_rng(0).normal(size=(n, n)), np.empty((n, n))
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        blas.multiply(a, a, out)
        seconds.append(time.perf_counter() - started)
    return 2 * n**3 / min(seconds)


def measure(folder: Path) -> list[dict]:
    """What streaming both studies of a folder takes, several times; in a process of its own."""
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    few, whole = (ecjax.read_study(folder / size / "study.toml") for size in ("few", "all"))
    settings = from_arguments(ARGUMENTS)
    stream_evaluate.evaluate(few, settings, BUDGET)  # what a process does once
    runs = []
    for _ in range(REPEATS):
        passes = statistics.median(_passes(_streamed(few, settings)) for _ in range(REPEATS))
        found = _streamed(whole, settings)
        found |= {"growth": _passes(found) / passes}
        found |= {"arrow": arrow_seconds(folder / "all"), "gemm_rate": gemm_rate()}
        runs.append(found | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024})
    return runs


def _streamed(study: ecjax.Study, settings: Settings) -> dict:
    """A study's rows, and the seconds that it and its parts take."""
    started = time.perf_counter()
    found = stream_evaluate.evaluate(study, settings, BUDGET)
    frames_of(columns_of(found.results, False), ())
    seconds = time.perf_counter() - started
    return {"rows": len(found.results[0].task.ids), "seconds": seconds, **found.seconds["t"]}


def _passes(found: dict) -> float:
    return found["first_pass"] + found["second_pass"]


def in_a_process(folder: Path) -> list[dict]:
    command = [sys.executable, __file__, f"--measure={folder}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def shares(found: dict) -> dict[str, float]:
    """How much of the lower rate each pass reaches, and both together."""
    q = sum(WIDTHS.values()) + 1
    operations = {"first_pass": 2 * q * q, "second_pass": 4 * SUBSETS * (q - 1)}
    least = {
        name: max(found["arrow"], found["rows"] * count / found["gemm_rate"])
        for name, count in operations.items()
    }
    both = sum(least.values()) / sum(found[name] for name in least)
    return {name: seconds / found[name] for name, seconds in least.items()} | {"both": both}


def largest_difference(folder: Path, rows: int) -> float:
    """Of all numbers in the tables of a smaller study, streamed and in memory."""
    study = ecjax.read_study(make_study(folder, rows) / "all" / "study.toml")
    expected = ecjax.evaluate(study, **ARGUMENTS)
    found = stream_evaluate.evaluate(study, from_arguments(ARGUMENTS), GIB / 8)
    differences = []
    for name, frame in frames_of(columns_of(found.results, False), ()).items():
        for column in frame.select_dtypes("float"):
            if not column.endswith("simultaneous"):  # rounded up to a grid of z
                pair = frame[column].to_numpy(), expected.tables[name][column].to_numpy()
                assert (np.isnan(pair[0]) == np.isnan(pair[1])).all(), (name, column)
                differences.append(np.nanmax(np.abs(pair[0] - pair[1]), initial=0))
    return float(max(differences))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=float, default=2e6)
    parser.add_argument("--trial", action="store_true")
    parser.add_argument("--measure", type=Path)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        difference = largest_difference(Path(folder), 20_000)
    print(f"20,000 rows: largest difference from in memory {difference:.1e}", flush=True)
    assert difference < 1e-9
    with tempfile.TemporaryDirectory() as folder:
        make_study(Path(folder), int(given.rows))
        runs = in_a_process(Path(folder))
    for found in runs:
        found |= {f"share of {name}": share for name, share in shares(found).items()}
        print("  ".join(f"{key} {value:,.3g}" for key, value in found.items()), flush=True)
    middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    peak = max(run["peak"] for run in runs)
    print(
        f"medians of {REPEATS}: {middle['share of both']:.3f} of the lower rate; 20 times the "
        f"rows in {middle['growth']:.1f} times the seconds"
    )
    print(f"peak memory {peak / GIB:.2f} GiB of {LIMIT / GIB:.0f}")
    if given.trial:
        return
    assert peak < LIMIT
    assert middle["share of both"] >= 0.5
    assert 15 < middle["growth"] < 24


if __name__ == "__main__":
    main()
