"""Kills `ecjax fetch` at random moments, and starts it again, until it has been killed often.

    python experiments/fetch_kills.py               # 20 kills, a made model, 2,000 places: a minute
    python experiments/fetch_kills.py --model=alphaearth --source=http://127.0.0.1:8000

`fetch_alphaearth.py` and `fetch_tessera.py` run it against made servers of theirs.

A run is ended by SIGKILL, or every third time by SIGTERM, at a moment drawn from all of its time:
while it starts, reads parts, writes them or the tables. Then the same command goes on. A run that
ends before there were enough kills is followed by another one into an empty directory. What must
hold, else the script ends with 1:
- no part that was there after a kill is lost or written again;
- no run asks its model for a place that is in a part which was there when it began;
- no run ends otherwise than by its kill, or well; after SIGTERM with 75, where it heard it;
- the tables of a run that ends well are those of one that nobody disturbed, byte for byte.
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
from absl import app, flags

from ecjax import cell_file, cli, part_store, registry

KILLS = flags.DEFINE_integer("kills", 20, "How often runs are killed.", 1)
COUNT = flags.DEFINE_integer("count", 2000, "Places, unless there is a table of them.", 1)
PLACES = flags.DEFINE_string("places", None, "Table of places; None: made ones.")
MODEL = flags.DEFINE_string("model", "made", "Which model, as in --models.")
SOURCE = flags.DEFINE_string("source", None, "Where its data are, as in --sources.")
YEAR = flags.DEFINE_integer("year", 2021, "Of the vectors; 0: the places have a column year.")
WORKERS = flags.DEFINE_integer("workers", 4, "Parts that are read at once.", 1)
SEED = flags.DEFINE_integer("seed", 0, "Of places and moments.", 0)

registry.BUILT_IN["made"] = "made_model:Made"


def command(places: Path, out: Path) -> list[str]:
    """The arguments of a run."""
    source = [] if SOURCE.value is None else [f"--sources={MODEL.value}={SOURCE.value}"]
    flagged = [f"--models={MODEL.value}", f"--workers={WORKERS.value}"]
    flagged += [f"--year={YEAR.value}"] if YEAR.value else []
    return ["fetch", str(places), f"--out={out}", *flagged, *source]


def start(places: Path, out: Path) -> int:
    """Starts a run as a process of its own, which notes what it asks for; returns its number."""
    pid = os.fork()
    if pid:
        return pid
    log = os.open(out.with_suffix(".log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    models_of = registry.models_of

    def watched(*given, **more):
        models, late = models_of(*given, **more)
        for model in models.values():
            _watch(model, out.with_suffix(".asked"))
        return models, late

    registry.models_of = watched
    os._exit(cli.main(command(places, out)))


def _watch(model, file: Path) -> None:
    read = model.read
    noted = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)

    def noting(places):
        os.write(noted, np.stack(places, axis=1).astype(np.float64).tobytes())  # at once
        return read(places)

    model.read = noting


def parts_of(out: Path) -> dict[str, tuple[int, int]]:
    """Name → what tells whether a part's file was written again."""
    files = (out / part_store.FOLDER / MODEL.value).glob(f"*{part_store.ENDING}")
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def places_in(out: Path) -> set[tuple[float, ...]]:
    """Places whose vectors are there."""
    found = set()
    for name in parts_of(out):
        content = (out / part_store.FOLDER / MODEL.value / name).read_bytes()
        arrays = cell_file.unpack(content)[1]
        keys = [arrays[f"key {key}"].tolist() for key in ("lat", "lon", "year")]
        found |= set(zip(*keys, strict=True))
    return found


def tables_of(out: Path) -> dict[str, bytes]:
    files = [*out.glob("*.parquet"), out / "study.toml"]
    return {file.name: file.read_bytes() for file in sorted(files)}


def asked_by(out: Path) -> set[tuple[float, ...]]:
    """Places that the last run has asked its model for."""
    file = out.with_suffix(".asked")
    rows = np.frombuffer(file.read_bytes() if file.exists() else b"").reshape(-1, 3)
    file.unlink(missing_ok=True)
    return set(map(tuple, rows.tolist()))


def disturb(places: Path, out: Path, whole: float, kills: int, draw: random.Random) -> int:
    """Fetches to the end, killing up to so many times; returns how often it was killed.

    Args:
      whole: seconds of a run that nobody disturbs.
    """
    killed, before, had = 0, {}, set()
    while True:
        pid, due = start(places, out), time.monotonic() + draw.uniform(0, whole)
        number = signal.SIGTERM if killed % 3 == 2 else signal.SIGKILL
        status = None
        while status is None:
            ended, code = os.waitpid(pid, os.WNOHANG)
            if ended:
                status = code
            elif killed < kills and time.monotonic() >= due:
                os.kill(pid, number)
                status = os.waitpid(pid, 0)[1]
            else:
                time.sleep(0.002)
        now, asked = parts_of(out), asked_by(out)
        again = [name for name in before if now.get(name) != before[name]]
        if again:
            raise SystemExit(f"FAILED: {len(again)} parts lost or written again, first {again[0]}")
        if asked & had:
            raise SystemExit(f"FAILED: {len(asked & had)} places asked for that were there")
        before, had = now, places_in(out)
        ending = os.waitstatus_to_exitcode(status)
        if ending not in (cli.DONE, cli.INTERRUPTED, -number):
            said = out.with_suffix(".log").read_text("utf-8").strip()
            raise SystemExit(f"FAILED: a run ended with {ending}; it said:\n{said[-2000:]}")
        if ending == cli.DONE:
            return killed
        killed += 1


def main(_) -> None:
    draw = random.Random(SEED.value)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        places = Path(PLACES.value) if PLACES.value else write_places(folder)
        started = time.monotonic()
        disturb(places, folder / "undisturbed", 0, 0, draw)
        whole = time.monotonic() - started
        expected = tables_of(folder / "undisturbed"), parts_of(folder / "undisturbed").keys()
        if not expected[1]:
            raise SystemExit("FAILED: the undisturbed run has left no parts")
        killed = runs = 0
        while killed < KILLS.value:
            out = folder / f"run{runs}"
            killed += disturb(places, out, whole, KILLS.value - killed, draw)
            runs += 1
            if (tables_of(out), parts_of(out).keys()) != expected:
                raise SystemExit(f"FAILED: {out} has other tables or parts than undisturbed")
        print(
            f"{killed} kills in {runs} runs of {len(expected[1])} parts ({whole:.1f} s "
            "undisturbed): nothing lost, written again, or asked for while it was there, all "
            f"tables equal; {time.monotonic() - started:.0f} s"
        )


def write_places(folder: Path) -> Path:
    """A table of made places, by hand: threads of pyarrow's would be missing in the forks."""
    draw, path = np.random.default_rng(SEED.value), folder / "places.csv"
    rows = draw.uniform((-80, -180), (80, 180), (COUNT.value, 2)).tolist()
    lines = [f"{i},{lat},{lon}" for i, (lat, lon) in enumerate(rows)]
    path.write_text("\n".join(["id,lat,lon", *lines]) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    app.run(main)
