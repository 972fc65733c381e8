"""Kills a run of many cells at random moments, and starts it again, until it has been killed often.

    python experiments/kills.py                        # 300 kills, 200 cells, 10 to 25 minutes
    python experiments/kills.py --kills=25 --cells=60  # what the tests do, half a minute

A run sweeps one ridge penalty; each value is a cell. It is killed by SIGKILL at a moment drawn from
all of its time: while it starts, computes, writes cells, assembles the tables or writes them. Then
the same command goes on. A run that ends before there were enough kills is followed by another one
into an empty directory. What must hold, else the script ends with 1:
- no cell that was there after a kill is lost or written again;
- no run ends otherwise than by its kill, or well;
- the tables of a run that ends well are those of one that nobody disturbed, byte for byte.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from pathlib import Path

from absl import app, flags
from cell_study import cells_of, tables_of, write_study

from ecjax import cli

KILLS = flags.DEFINE_integer("kills", 300, "How often runs are killed.", 1)
CELLS = flags.DEFINE_integer("cells", 200, "Cells of a run.", 1)
SEED = flags.DEFINE_integer("seed", 0, "Of the moments.", 0)


def start(study: Path, out: Path) -> int:
    """Starts a run as a process of its own; returns its number."""
    pid = os.fork()
    if pid:
        return pid
    log = os.open(out.with_suffix(".log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    arguments = ["evaluate", str(study), f"--out={out}", "--protocol=paper", "--folds=4"]
    os._exit(cli.main(arguments))


def disturb(study: Path, out: Path, whole: float, kills: int, draw: random.Random) -> int:
    """Runs a study to its end, killing it up to so many times; returns how often it was killed.

    Args:
      whole: seconds of a run that nobody disturbs.
    """
    killed, before = 0, {}
    while True:
        pid, due = start(study, out), time.monotonic() + draw.uniform(0, whole)
        status = None
        while status is None:
            ended, code = os.waitpid(pid, os.WNOHANG)
            if ended:
                status = code
            elif killed < kills and time.monotonic() >= due:
                os.kill(pid, signal.SIGKILL)
                status = os.waitpid(pid, 0)[1]
            else:
                time.sleep(0.002)
        now = cells_of(out)
        again = [name for name in before if now.get(name) != before[name]]
        if again:
            raise SystemExit(f"FAILED: {len(again)} cells lost or written again, first {again[0]}")
        before = now
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status) != 0:
                raise SystemExit(
                    f"FAILED: a run ended with {os.WEXITSTATUS(status)}, see {out}.log"
                )
            return killed
        killed += 1


def main(_) -> None:
    # Programs are compiled after each kill; how well is not what is tested.
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    draw = random.Random(SEED.value)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = write_study(folder, CELLS.value)
        started = time.monotonic()
        disturb(study, folder / "undisturbed", 0, 0, draw)
        whole = time.monotonic() - started
        expected = tables_of(folder / "undisturbed"), cells_of(folder / "undisturbed").keys()
        if len(expected[1]) != CELLS.value or not expected[0]:
            raise SystemExit("FAILED: the undisturbed run has not the cells or tables it should")
        killed = runs = 0
        while killed < KILLS.value:
            out = folder / f"run{runs}"
            killed += disturb(study, out, whole, KILLS.value - killed, draw)
            runs += 1
            if (tables_of(out), cells_of(out).keys()) != expected:
                raise SystemExit(f"FAILED: {out} has other tables or cells than undisturbed")
        print(
            f"{killed} kills in {runs} runs of {CELLS.value} cells ({whole:.1f} s undisturbed): no "
            f"cell lost or written again, all tables equal; {time.monotonic() - started:.0f} s"
        )


if __name__ == "__main__":
    app.run(main)
