"""Takes the disk away from runs: exit codes, messages, and whether the store bears it.

    sudo python experiments/full_disk.py

Runs of 40 cells into a file system of their own, in memory (mounting it needs root), which becomes
full, is made read-only, is gone, or is one on which no file may be larger than a limit; at a moment
drawn from the run's time, or before its start. What must hold, else the script ends with 1:
- in mid-run the exit code is 75, at the start 2; the message names the directory and the reason;
- afterwards, with room again, the same command goes on, and ends in the tables and cells of a run
  that nobody disturbed, byte for byte; cells that were there are not written again.
Takes two minutes.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from absl import app, flags
from cell_study import cells_of, tables_of, write_study

ROUNDS = flags.DEFINE_integer("rounds", 5, "Moments for each way.", 1)
SEED = flags.DEFINE_integer("seed", 0, "Of the moments.", 0)
CELLS = 40
ROOM = "16m"


def mount(place: Path, *options: str) -> None:
    given = ",".join(options) or f"size={ROOM}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", given, "tmpfs", place], check=True)


def remount(place: Path, option: str) -> bool:
    done = subprocess.run(["mount", "-o", f"remount,{option}", place], capture_output=True)
    return done.returncode == 0


def fill(place: Path) -> None:
    """Leaves no room, as another program might."""
    with (place / "filler").open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2


def start(study: Path, out: Path, limit: int | None = None) -> subprocess.Popen:
    def limited():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, "-m", "ecjax", "evaluate", study, f"--out={out}", "--folds=4",
         "--protocol=paper"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limited,
    )  # fmt: skip


def fails(run: subprocess.Popen, code: int, out: Path, *reasons: str) -> None:
    """Sees a run end with a code, and a message that names the directory and a reason."""
    errors = run.communicate(timeout=120)[1]
    last = errors.strip().splitlines()[-1]
    if run.returncode != code or str(out) not in last or not any(r in last for r in reasons):
        raise SystemExit(f"FAILED: exit code {run.returncode}, not {code}:\n{errors[-2000:]}")


def main(_) -> None:
    if os.geteuid():
        raise SystemExit("this mounts file systems: run it as root")
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    draw = random.Random(SEED.value)
    with tempfile.TemporaryDirectory() as name:
        folder, place = Path(name), Path(name) / "place"
        place.mkdir()
        study = write_study(folder, CELLS)
        alone = start(study, folder / "alone")
        if alone.wait():
            raise SystemExit(f"FAILED: the undisturbed run: {alone.stderr.read()}")
        expected = tables_of(folder / "alone"), cells_of(folder / "alone").keys()

        def disturbed(disturb: Callable[[Path], None], mend: Callable[[Path], None], *reasons):
            mount(place)
            try:
                run = start(study, place / "out")
                _wait_for_cells(run, place / "out", draw.randrange(CELLS))
                disturb(place)
                if run.wait(timeout=120) == 0:
                    return False  # all was written
                fails(run, 75, place / "out", *reasons)
                mend(place)
                before = cells_of(place / "out")
                again = start(study, place / "out")
                errors = again.communicate(timeout=120)[1]
                now = cells_of(place / "out")
                same = (tables_of(place / "out"), now.keys()) == expected
                kept = all(now[cell] == before[cell] for cell in before)
                if again.returncode or not same or not kept:
                    raise SystemExit(f"FAILED: the run after it: {errors[-2000:]}")
            finally:
                subprocess.run(["umount", "-l", place], check=True)
            return True

        ways = {
            "full": (fill, lambda p: (p / "filler").unlink(), "No space left"),
            "read-only": (
                lambda p: _until(lambda: remount(p, "ro")), lambda p: remount(p, "rw"), "Read-only",
            ),
        }  # fmt: skip
        for way, given in ways.items():
            done = 0
            while done < ROUNDS.value:
                done += disturbed(*given)
            print(f"{way} in mid-run: {done} times 75, went on afterwards", flush=True)
        _gone(study, place, ROUNDS.value, draw)
        _limited(study, folder, expected)
        _at_start(study, place)


def _until(done: Callable[[], bool]) -> None:
    """A file system that is written to at this moment is busy."""
    while not done():
        time.sleep(0.001)


def _wait_for_cells(run: subprocess.Popen, out: Path, count: int) -> None:
    """Returns when a run has written so many cells, or has ended."""
    while run.poll() is None and len(cells_of(out)) < count:
        time.sleep(0.002)


def _gone(study: Path, place: Path, rounds: int, draw: random.Random) -> None:
    """The mount vanishes: nothing may be written where it was."""
    done = 0
    while done < rounds:
        mount(place)
        run = start(study, place / "out")
        _wait_for_cells(run, place / "out", draw.randrange(1, CELLS))
        subprocess.run(["umount", "-l", place], check=True)
        if run.wait(timeout=120) == 0:
            continue  # all was written
        fails(run, 75, place / "out", "is gone", "another one now")
        if list(place.iterdir()):
            raise SystemExit(f"FAILED: {list(place.iterdir())} was written where the mount was")
        done += 1
    print(f"gone in mid-run: {done} times 75, nothing was written in its place", flush=True)


def _limited(study: Path, folder: Path, expected) -> None:
    """Files may not be larger than a limit: cells, then tables, cannot be written."""
    out = folder / "limited"
    sizes = sorted({len(data) for data in expected[0].values()})
    for limit in (1_000, 5_000, *sizes[:-1:4]):
        fails(start(study, out, limit), 2 if limit < 100 else 75, out, "File too large")
    again = start(study, out)
    if again.wait(timeout=120) or tables_of(out) != expected[0]:
        raise SystemExit(f"FAILED: the run after it: {again.stderr.read()}")
    print("files limited in size: 75 each time, went on afterwards", flush=True)


def _at_start(study: Path, place: Path) -> None:
    mount(place, f"size={ROOM}", "ro")
    try:
        fails(start(study, place / "out"), 2, place / "out", "Read-only")
    finally:
        subprocess.run(["umount", "-l", place], check=True)
    print("read-only at the start: 2", flush=True)


if __name__ == "__main__":
    app.run(main)
