"""One of four processes is killed: do the others end in time, say who it was, and go on later?

    python experiments/kill_peer.py [--processes=4]

Each process computes its share of 12 cells, keeps each in a file, and meets the others; the sums of
all cells are then added by `psum`, and the first process writes them. One process is killed by
SIGKILL at five moments: while JAX is started on all of them, during a compiled call, while the
others wait for it at a meeting, inside `psum`, and at the end, while JAX is shut down. Each time it
is the first process, which runs JAX's own service, and once more another.

Demanded: the others end within 60 s with exit code 75 and a last line that names the lost process;
then the same command ends with 0, computes no cell that was kept, and writes the same bytes as a
run that nobody disturbed. Exits with 1 otherwise.

Expect: 20 to 21 s where the others compute on or wait for JAX itself (`peers.FINISH_S`), but 4 to
5 s there if the first process is gone (`peers.FIRST_S`); under 1 s where they are at a meeting or
add up. Takes five minutes on 2 cores, of which most is waiting.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

from ecjax import peers, processes

PROCESSES = flags.DEFINE_integer("processes", 4, "How many processes share the run.", 2)
INDEX = flags.DEFINE_integer("index", None, "Which of them to be; by the script itself.")
PORT = flags.DEFINE_integer("port", None, "Of the first process; by the script itself.")
DIRECTORY = flags.DEFINE_string("directory", None, "Of the cells; by the script itself.")
KILL = flags.DEFINE_string("kill", "", "The moment at which to die; by the script itself.")

MOMENTS = {
    "start": "while JAX starts",
    "compute": "in a compiled call",
    "meet": "while others wait",
    "psum": "inside psum",
    "end": "at the end",
}
CELLS = 12
LIMIT_S = 60.0
LONG_CALL_S = 90.0  # longer than the limit, so that only the watch can end it


def die(*_, **__) -> None:
    """Ends this process as the kernel does where memory is short."""
    time.sleep(1.0)  # the others are waiting by then
    (Path(DIRECTORY.value) / "killed").write_text(str(time.time()))
    os.kill(os.getpid(), signal.SIGKILL)


def cell_sums(number: int) -> np.ndarray:
    """What a cell computes, (3,)."""
    x = np.random.default_rng(number).normal(size=(1000, 3))
    with jax.enable_x64(True):
        return np.asarray(jax.jit(lambda x: (x**2).sum(0))(x))


def long_call() -> None:
    """A compiled call that outlasts the limit, and in which the process to be killed dies."""

    def wait(x: np.ndarray) -> np.ndarray:
        if KILL.value == "compute":
            die()
        time.sleep(LONG_CALL_S)
        return x

    shape = jax.ShapeDtypeStruct((), np.float32)
    jax.jit(lambda x: jax.pure_callback(wait, shape, x))(np.float32(0)).block_until_ready()


def work(directory: Path) -> None:
    """What each process does."""
    if KILL.value == "start":
        jax.distributed.initialize = die
    with processes.join(f"localhost:{PORT.value}", PROCESSES.value, INDEX.value) as joined:
        joined.summed(np.ones(1))  # connects Gloo, so that later only adding is left
        sums = np.zeros(3)
        for number in processes.share(range(CELLS), joined):
            path = directory / f"{number}.npy"
            if not path.exists():
                np.save(directory / f"{number}.part.npy", cell_sums(number))
                (directory / f"{number}.part.npy").rename(path)
                (directory / "computed").open("a").write(f"{number}\n")
            sums += np.load(path)
        if (directory / "slow").exists():
            long_call()
        if KILL.value == "meet":
            die()
        joined.meet("all cells are there")
        if KILL.value == "psum":
            peers._psum = die
        sums = joined.summed(sums)
        if joined.index == 0:
            np.save(directory / "sums.npy", sums)
        if KILL.value == "end":
            jax.distributed.shutdown = die


def run(directory: Path, victim: int | None = None, moment: str = "") -> list[tuple]:
    """Runs all processes; (exit code, last line said, when it ended) of each."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    running = []
    for index in range(PROCESSES.value):
        command = [sys.executable, __file__, f"--processes={PROCESSES.value}", f"--index={index}"]
        command += [f"--port={port}", f"--directory={directory}"]
        command += [f"--kill={moment}"] if index == victim else []
        said = (directory / f"said{index}").open("w+")
        process = subprocess.Popen(command, stdout=said, stderr=said)
        running.append((process, said))
    ended: dict[int, float] = {}
    while len(ended) < len(running):
        time.sleep(0.05)
        for index, (process, _) in enumerate(running):
            if index not in ended and process.poll() is not None:
                ended[index] = time.time()
    results = []
    for index, (process, said) in enumerate(running):
        said.seek(0)
        lines = said.read().splitlines() or [""]
        results.append((process.returncode, lines[-1], ended[index]))
        said.close()
    return results


def faults_of(results: list[tuple], victim: int, killed: float) -> list[str]:
    """What the processes that were left did wrong."""
    faults = []
    for index, (code, last, ended) in enumerate(results):
        if index == victim:
            faults += [f"it ended with {code}"] if code != -signal.SIGKILL else []
            continue
        if code != peers.LOST:
            faults.append(f"process {index} ended with {code}")
        if f"process {victim} of {len(results)} (host {socket.gethostname()}) is gone" not in last:
            faults.append(f"process {index} said last: {last}")
        if ended - killed > LIMIT_S:
            faults.append(f"process {index} took {ended - killed:.0f} s")
    return faults


def try_moment(moment: str, victim: int, expected: bytes) -> list[str]:
    """Kills, runs again, prints a line; returns what was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        if moment == "compute":
            (directory / "slow").touch()
        results = run(directory, victim, moment)
        killed = float((directory / "killed").read_text())
        faults = faults_of(results, victim, killed)
        (directory / "slow").unlink(missing_ok=True)
        again = run(directory)
        faults += [f"again: {code}, {last}" for code, last, _ in again if code != 0]
        if not faults and (directory / "sums.npy").read_bytes() != expected:
            faults.append("again: other sums")
        computed = (directory / "computed").read_text().split()
        if sorted(map(int, computed)) != list(range(CELLS)):
            faults.append(f"cells computed: {' '.join(computed)}")
        others = [end - killed for index, (_, _, end) in enumerate(results) if index != victim]
    shown = "; ".join(faults) or "as demanded"
    print(f"{MOMENTS[moment]:20s} process {victim}  {max(others):5.1f} s  {shown}", flush=True)
    return faults


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    if INDEX.value is not None:
        work(Path(DIRECTORY.value))
        return
    with tempfile.TemporaryDirectory() as folder:
        results = run(Path(folder))
        if any(code != 0 for code, _, _ in results):
            sys.exit(f"a run that nobody disturbed ended with {results}")
        expected = (Path(folder) / "sums.npy").read_bytes()
    faults = []
    for moment in MOMENTS:
        for victim in (0, PROCESSES.value // 2):
            faults += try_moment(moment, victim, expected)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    app.run(main)
