"""Runs that several processes share: the same numbers as alone, also after one of them is killed.

    python experiments/share_run.py [--rows=40000] [--kills=5]

With 2 and with 4 processes on this machine, told of each other by --coordinator:
- a study of 24 cells, which they share: all tables have the bytes of a run of one process;
- a streamed study, whose rows they share: every score within 1e-10 of one process's.
Then one of four processes is killed by SIGKILL at moments after all have come, alternately in
either study: the others end within 60 s with exit code 75 and a last line that names it, or had
ended already; the same command ends with 0 and in the same tables. Exits with 1 otherwise. Takes
ten minutes on 2 cores, of which most is starting processes.
"""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from absl import app, flags
from cell_study import tables_of, write_study
from stream import make_study

ROWS = flags.DEFINE_integer("rows", 40_000, "Of the streamed study.", 1000)
KILLS = flags.DEFINE_integer("kills", 5, "Moments at which a process is killed.", 0)
SEED = flags.DEFINE_integer("seed", 0, "Of the moments.", 0)
CELLS = 24
LIMIT_S = 60.0
LOST = 75


class Shared:
    """A study with its flags, and the tables of a run of one process."""

    def __init__(self, name: str, study: Path, *options: str):
        self.name, self.study, self.options = name, study, options
        self.out = study.parent / "alone"
        started = time.monotonic()
        (alone,) = self.start(self.out, 1)
        fail_unless(alone.wait() == 0, f"{name}: alone: {alone.stderr.read()}")
        self.seconds = time.monotonic() - started

    def start(self, out: Path, count: int) -> list[subprocess.Popen]:
        command = [sys.executable, "-m", "ecjax", "evaluate", self.study, f"--out={out}"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        given = [[] for _ in range(count)] if count == 1 else [
            [f"--coordinator=127.0.0.1:{port}", f"--num_processes={count}", f"--process_id={i}"]
            for i in range(count)
        ]  # fmt: skip
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        return [subprocess.Popen([*command, *self.options, *own], **quiet) for own in given]

    def difference(self, out: Path) -> float:
        """The largest of all numbers of `scores` and `folds` from those of one process."""
        found = []
        for name in ("scores.parquet", "folds.parquet"):
            ours, theirs = (pd.read_parquet(d / name) for d in (out, self.out))
            numbers = [ours[c].to_numpy(float) - theirs[c].to_numpy(float) for c in ours
                       if ours[c].dtype.kind == "f" and ours[c].notna().any()]  # fmt: skip
            found.append(max(np.nanmax(np.abs(column)) for column in numbers))
        return float(max(found))

    def check(self, out: Path, what: str) -> None:
        if self.name == "cells":
            fail_unless(tables_of(out) == tables_of(self.out), f"{what}: other tables")
            print(f"{what}: all tables have the same bytes", flush=True)
            return
        largest = self.difference(out)
        fail_unless(largest < 1e-10, f"{what}: differs by {largest:.1e}")
        print(f"{what}: largest difference {largest:.1e}", flush=True)


def fail_unless(held: bool, what: str) -> None:
    if not held:
        raise SystemExit(f"FAILED: {what}")


def ended(runs: Sequence[subprocess.Popen], limit: float) -> list[str]:
    """What each said at last."""
    return [run.communicate(timeout=limit)[1].strip().splitlines()[-1:] for run in runs]


def killed(shared: Shared, out: Path, moment: float, victim: int) -> None:
    runs = shared.start(out, 4)
    runs[victim].stderr.readline()  # of the device: all have come
    time.sleep(moment)
    runs[victim].send_signal(signal.SIGKILL)
    begun = time.monotonic()
    others = [run for i, run in enumerate(runs) if i != victim]
    last = ended(others, LIMIT_S)
    codes = [run.returncode for run in others]
    what = f"{shared.name}: process {victim} of 4 killed after {moment:.1f} s"
    done = codes == [0, 0, 0]
    named = all(f"process {victim} of 4" in line[0] for line in last if line)
    fail_unless(done or (set(codes) == {LOST} and named), f"{what}: {codes}, {last}")
    print(f"{what}: the others ended with {codes[0]} after {time.monotonic() - begun:.1f} s")
    again = shared.start(out, 4)
    ended(again, 600)
    fail_unless([run.returncode for run in again] == [0] * 4, f"{what}: the run after it")
    shared.check(out, f"{shared.name}: after it")


def main(_) -> None:
    draw = random.Random(SEED.value)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cells").mkdir()
        cells = write_study(folder / "cells", CELLS)
        make_study(folder, ROWS.value)
        study = folder / "all" / "study.toml"
        both = [
            Shared("cells", cells, "--folds=4", "--protocol=paper"),
            Shared("rows", study, "--stream", "--split=hash", "--max_memory_gib=0.5"),
        ]
        for shared in both:
            for count in (2, 4):
                out = folder / f"{shared.name}-{count}"
                runs = shared.start(out, count)
                last = ended(runs, 600)
                fail_unless(all(r.returncode == 0 for r in runs), f"{shared.name}: {last}")
                shared.check(out, f"{shared.name}: {count} processes")
        for i in range(KILLS.value):
            shared = both[i % 2]
            moment = draw.uniform(0, 0.8) * shared.seconds
            killed(shared, folder / f"killed-{i}", moment, draw.randrange(4))


if __name__ == "__main__":
    app.run(main)
