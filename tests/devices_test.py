"""Cells on several devices: the bits of one device's, order, faults, and what fits at once.

Run as a script, with {case: numbers of devices} as JSON, it prints which arrays differ from those
of the plain call.
"""

import collections
import dataclasses
import json
import os
import queue
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from evaluate_test import embeddings_of, tasks_of

from ecjax import devices, engine
from ecjax.arrays import align_arrays
from ecjax.devices import Job
from ecjax.plan import make_plan
from ecjax.precision import DeviceFacts
from ecjax.program import Penalties
from ecjax.settings import Settings

WIDTHS = {"a": 4, "b": 3}
STRICT = {"protocol": "strict", "inner_folds": 3, "predictions": True}
RIDGE, BOTH = ("height", "soil"), ("height", "crop")
PAPER = {"protocol": "paper", "predictions": True}
CPU = DeviceFacts("cpu", "cpu", 2**34)
GPU = DeviceFacts("gpu", "NVIDIA H100 80GB HBM3", 80 * 2**30)
TPU = DeviceFacts("tpu", "TPU v5 lite", 16 * 2**30)
# Of each case: tasks, settings, route of ridge regression, and the device that it is planned for.
CASES = {
    "paper": (RIDGE, PAPER, "cheaper", CPU),
    "hat": (RIDGE, PAPER, "hat", CPU),
    "strict": (RIDGE, STRICT, "cheaper", CPU),
    "banded": (RIDGE, STRICT | {"penalty": "banded"}, "cheaper", CPU),
    "classes": (BOTH, PAPER, "cheaper", CPU),
    "strict classes": (BOTH, STRICT, "cheaper", CPU),
    "float64 of a GPU": (RIDGE, PAPER, "gram", GPU),
    "strict of a GPU": (RIDGE, STRICT, "cheaper", GPU),
    "float32 of a TPU": (RIDGE, PAPER, "cheaper", TPU),
}
COUNTS = (1, 2, 4, 8)


def jobs_of(case, seeds=5, penalties=(1.0, 30.0)):
    """A job for each seed and penalty of a case."""
    tasks, settings, route, device = CASES[case]
    rng = np.random.default_rng(1)
    embeddings = embeddings_of(rng, WIDTHS)
    known = tasks_of(rng, embeddings)
    aligned = align_arrays(embeddings, {name: known[name] for name in tasks})
    plan = make_plan(aligned, Settings(folds=5, seeds=seeds, **settings), device, route)
    (chunk,) = plan.chunks
    for penalty in penalties:
        fixed = Penalties(*map(np.float64, (penalty, 1 / penalty, 1e-5)))
        for seed in range(seeds):
            cell = [dataclasses.replace(piece, seeds=(seed,)) for piece in chunk]
            yield Job(*plan.arguments(cell), fixed)


def differing(alone, found):
    """Names of the arrays that differ in a bit, in shape or in kind."""
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(alone)]
    arrays = zip(names, jax.tree.leaves(alone), jax.tree.leaves(found), strict=True)
    return [
        name
        for name, a, b in arrays
        if (a.shape, a.dtype, a.tobytes()) != (b.shape, b.dtype, b.tobytes())
    ]


def compare(case, counts):
    """{devices: names of arrays that differ from the plain call's, of any job}."""
    jobs = list(jobs_of(case))
    with jax.enable_x64(True):
        alone = [jax.device_get(engine.study(*job)) for job in jobs]
    assert differing(alone[0], alone[1])  # in their seeds
    found = {}
    for count in counts:
        sums = dict(devices.study(jobs, jax.devices()[:count]))
        assert sorted(sums) == list(range(len(jobs)))
        found[count] = [name for i, one in sums.items() for name in differing(alone[i], one)]
    return found


def on_eight(cases):
    """`compare` of {case: counts} in a process with eight devices, as {case: {count: names}}."""
    flag = "--xla_force_host_platform_device_count=8"
    paths = os.pathsep.join(sys.path)
    known = os.environ.get("XLA_FLAGS", "")
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(cases)],
        env=os.environ | {"XLA_FLAGS": f"{known} {flag}", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def nothing_differs(cases):
    return {case: {str(count): [] for count in counts} for case, counts in cases.items()}


def test_ridge_on_several_devices_has_the_bits_of_one():
    cases = {"paper": COUNTS, "strict": (2,)}
    assert on_eight(cases) == nothing_differs(cases)


@pytest.mark.long
def test_all_on_all_numbers_of_devices():
    cases = dict.fromkeys(CASES, COUNTS)
    assert on_eight(cases) == nothing_differs(cases)


class Calls:
    """In place of `devices._call`: the sums of a job are its number. Negative ones raise.

    Attributes:
      events: (what, job, device or thread) in the order in which they happened.
      closed, gates: jobs that end when their gate, an event, is set.
    """

    def __init__(self):
        self.events = []
        self.gates = collections.defaultdict(threading.Event)
        self.closed = set()

    def __call__(self, job, device, on_compiled=lambda: None):
        number = int(job.samples)
        self.events.append(("start", number, device, threading.current_thread()))
        on_compiled()
        if number in self.closed:
            assert self.gates[number].wait(60)
        if number < 0:
            raise ValueError(f"job {number}")
        self.events.append(("end", number, device, threading.current_thread()))
        return number


@pytest.fixture
def calls(monkeypatch):
    calls = Calls()
    monkeypatch.setattr(devices, "_call", calls)
    return calls


def job(number, program="program"):
    return Job(program, np.array(number), np.zeros(3))


def test_every_job_runs_once_on_a_device_of_its_own(calls):
    taken = []

    def jobs():
        for number in range(40):
            taken.append(number)
            yield job(number)

    found = {}
    for position, sums in devices.study(jobs(), "abcd"):
        found[position] = sums
        assert len(taken) <= len(found) + 4  # no job is taken before a device is free
    assert found == {number: number for number in range(40)}
    busy = {}
    for what, number, device, _ in calls.events:
        assert busy.pop(device, number) == number
        if what == "start":
            busy[device] = number
    assert {device for _, _, device, _ in calls.events} == set("abcd")


def test_a_slow_job_holds_up_no_other(calls):
    calls.closed = {0}
    found = devices.study(map(job, range(6)), "ab")
    assert [next(found) for _ in range(5)] == [(i, i) for i in range(1, 6)]
    calls.gates[0].set()
    assert list(found) == [(0, 0)]


def test_one_device_runs_in_the_callers_thread(calls):
    assert list(devices.study(map(job, range(3)), "a")) == [(0, 0), (1, 1), (2, 2)]
    assert {thread for *_, thread in calls.events} == {threading.current_thread()}


def test_what_runs_beside_a_fault_is_finished_before_it_is_raised(calls):
    calls.closed = {1}
    taken = iter([job(-1), job(1), job(2)])
    found = devices.study(taken, "ab")
    threading.Timer(0.2, calls.gates[1].set).start()
    assert next(found) == (1, 1)
    with pytest.raises(ValueError, match="job -1"):
        next(found)
    assert [int(job.samples) for job in taken] == [2]  # nothing more was begun


def test_a_program_is_compiled_for_one_device_first(monkeypatch):
    compiled, begun = threading.Event(), queue.SimpleQueue()

    def call(job, device, on_compiled):
        begun.put(int(job.samples))
        if job.samples == 0:
            assert compiled.wait(60)
        on_compiled()
        return None

    monkeypatch.setattr(devices, "_call", call)
    found = devices.study([job(0), job(1), job(2, "other"), job(3)], "abcd")
    done = threading.Thread(target=list, args=(found,))
    done.start()
    assert {begun.get(timeout=60) for _ in range(2)} == {0, 2}
    time.sleep(0.1)
    assert begun.empty()
    compiled.set()
    assert {begun.get(timeout=60) for _ in range(2)} == {1, 3}
    done.join(60)


def test_jobs_of_other_shapes_are_of_another_program():
    keys = {
        devices._program_key(Job((program,), np.zeros(shape, dtype), np.zeros(3)))
        for program in "ab"
        for shape in ((3,), (4,))
        for dtype in (float, int)
    }
    assert len(keys) == 8
    assert devices._program_key(job(1)) == devices._program_key(job(2))


def device(platform, kind="one", number=0):
    return SimpleNamespace(platform=platform, device_kind=kind, id=number)


@pytest.mark.parametrize(
    "platform, bytes_of_cell, count",
    [("cpu", 10, 4), ("cpu", 24, 4), ("cpu", 26, 3), ("cpu", 101, 1), ("gpu", 90, 4)],
)
def test_processors_share_their_memory_and_accelerators_do_not(platform, bytes_of_cell, count):
    assert devices.at_once([device(platform)] * 4, bytes_of_cell, 100) == count


def test_devices_of_another_kind_or_process_are_left_out(monkeypatch):
    here = [device("gpu", "one", 1), device("gpu", "two", 2), device("gpu", "one", 3)]
    monkeypatch.setattr(jax, "local_devices", lambda backend: here if backend == "gpu" else [])
    assert devices.like(here[2]) == [here[2], here[0]]


if __name__ == "__main__":
    print(
        json.dumps(
            {case: compare(case, counts) for case, counts in json.loads(sys.argv[1]).items()}
        )
    )
