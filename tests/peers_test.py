"""Processes of their own: they meet, add up and end together, also when one of them is killed."""

import signal
import socket
import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BEGIN = """
import os, signal, sys, time
import numpy as np
from ecjax import meetings, peers, processes
port, index, count = map(int, sys.argv[1:])
peers.FINISH_S = peers.FIRST_S = 1.0
def die():
    os.kill(os.getpid(), signal.SIGKILL)
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append("SIGTERM"))
def joining():
    return processes.join(f"localhost:{port}", count, index)
"""


def started(script, count=2):
    """(exit code, standard output, standard error) of so many processes that run a script."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", BEGIN + script, str(port), str(index), str(count)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for index in range(count)
    ]  # fmt: skip
    try:
        outputs = [process.communicate(timeout=300) for process in running]
    finally:
        for process in running:
            process.kill()
    return [(p.returncode, *output) for p, output in zip(running, outputs, strict=True)]


ADD = """
def slow(line, _send=meetings.Line.send, **message):
    _send(line, **message)
    time.sleep(1.0 if message.get("go") == meetings.END else 0.0)
meetings.Line.send = slow  # the first must not be gone before the second has been told
with joining() as joined:
    joined.meet("first")
    own = {"moments": np.full((2, 3), 0.1) * 3**index, "rows": np.array([1 << 40, index]),
           "none": np.zeros((0, 2)), "one": np.array(1.0)}
    found = joined.summed(own)
    found["moments"] *= 1  # sums may be written to
    again = joined.summed([])
    os.kill(os.getpid(), signal.SIGTERM)
    joined.meet("last")
import jax, jax.numpy as jnp
print({name: (str(a.dtype), a.tolist()) for name, a in found.items()})
print(again, heard)
(device,) = jax.local_devices()
print(float(jnp.sum(jax.device_put(np.arange(4.0), device))))
"""


def test_two_processes_add_up_and_go_on():
    (code, first, error), (other_code, second, _) = started(ADD)
    assert (code, other_code) == (0, 0), error
    assert first == second  # the same bits, and nothing of JAX's on standard output
    sums, others, after = first.splitlines()
    assert literal_eval(sums) == {
        "moments": ("float64", [[0.1 + 0.1 * 3] * 3] * 2),
        "rows": ("int64", [1 << 41, 1]),
        "none": ("float64", []),
        "one": ("float64", 2.0),
    }
    assert others == "[] ['SIGTERM']"  # JAX would keep the signal to itself
    assert after == "6.0"


SHARED = """
import jax, socket
socket.gethostname = lambda: "aba"[index]
os.environ |= {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "a,b", "SLURM_NTASKS": "3",
               "SLURM_PROCID": str(index), "SLURM_LOCALID": "001"[index]}
with joining():
    print(jax.config.values["jax_cuda_visible_devices"])
"""


def test_a_process_that_has_a_host_to_itself_uses_all_its_devices():
    results = started(SHARED, 3)
    assert [code for code, _, _ in results] == [0] * 3, results
    assert [out.strip() for _, out, _ in results] == ["0", "all", "1"]


KILLED = """
with joining() as joined:
    joined.meet("first")
    if index == {killed}:
        time.sleep(1.0)  # the other must have been told of the meeting
        die()
    time.sleep(60)  # a long computation
"""


@pytest.mark.parametrize("killed", [0, 1])
def test_whoever_loses_a_peer_ends_with_75_and_names_it(killed):
    results = started(KILLED.format(killed=killed))
    assert results[killed][0] == -signal.SIGKILL
    code, _, error = results[1 - killed]
    assert code == 75, error
    last = error.splitlines()[-1]
    assert last.startswith(f"ecjax: process {killed} of 2 (host {socket.gethostname()}) is gone;")
    assert last.endswith("; what was done is in the store, and the same command goes on from there")


FAILED = """
with joining() as joined:
    if index == 1:
        raise ValueError("of its own")
    joined.meet("first")
"""


@pytest.mark.long
def test_an_error_of_one_ends_all_and_keeps_its_code():
    (lost, _, error), (failed, _, own_error) = started(FAILED)
    assert lost == 75 and "ecjax.peers.PeerLost: process 1 of 2" in error
    assert failed == 1 and own_error.endswith("ValueError: of its own\n")


STUDY = """
import ecjax
random = np.random.default_rng(0)
blocks = {"a": random.normal(size=(120, 5)), "b": random.normal(size=(120, 3))}
tasks = {"y": blocks["a"][:, 0] + random.normal(size=120)}
with joining() as joined:
    for protocol in ("paper", "strict"):
        print(ecjax.evaluate(blocks, tasks, folds=5, protocol=protocol).scores.to_csv())
"""


@pytest.mark.long
def test_each_of_four_computes_on_its_own_device():
    """The host's BLAS is called from compiled code in every process."""
    results = started(STUDY, 4)
    assert [code for code, _, _ in results] == [0] * 4, results
    ((code, alone, error),) = started(STUDY, 1)
    assert code == 0, error
    assert {out for _, out, _ in results} == {alone}
    assert alone.count(",a+b,") == 4
