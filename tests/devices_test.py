"""Cells on several devices: the bits of one device's, batches, and what fits at once.

Run as a script, with {case: numbers of devices} as JSON, it prints which arrays differ from those
of the plain call.
"""

import dataclasses
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from evaluate_test import embeddings_of, tasks_of

from ecjax import devices
from ecjax.arrays import align_arrays
from ecjax.devices import Batch, Job
from ecjax.plan import make_plan
from ecjax.program import Penalties
from ecjax.settings import Settings

WIDTHS = {"a": 4, "b": 3}
STRICT = {"protocol": "strict", "inner_folds": 3}
# Of each case: tasks, settings, and the route of ridge regression.
CASES = {
    "paper": (("height", "soil"), {"predictions": True}, "cheaper"),
    "hat": (("height", "soil"), {"predictions": True}, "hat"),
    "strict": (("height", "soil"), STRICT, "cheaper"),
    "banded": (("height", "soil"), STRICT | {"penalty": "banded"}, "cheaper"),
    "classes": (("height", "crop"), {"predictions": True}, "cheaper"),
    "strict classes": (("height", "crop"), STRICT, "cheaper"),
}
COUNTS = (2, 4, 8)


def jobs_of(case, seeds=4, penalties=(1.0, 30.0)):
    """A job for each seed and penalty of a case."""
    tasks, settings, route = CASES[case]
    rng = np.random.default_rng(1)
    embeddings = embeddings_of(rng, WIDTHS)
    known = tasks_of(rng, embeddings)
    aligned = align_arrays(embeddings, {name: known[name] for name in tasks})
    settings = Settings(folds=5, seeds=seeds, **{"protocol": "paper"} | settings)
    plan = make_plan(aligned, settings, jax.devices("cpu")[0], route)
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


def run(jobs, batch):
    return devices.study([jobs[i] for i in batch.jobs], jax.devices()[: batch.width])


def compare(case, counts):
    """{devices: names of arrays that differ from the plain call's, of any job}."""
    jobs = list(jobs_of(case))
    alone = [devices.study([job], jax.devices()[:1])[0] for job in jobs]
    assert differing(alone[0], alone[1]) and differing(alone[0], alone[-1])  # seeds and penalties
    found = {}
    for count in counts:
        batches = devices.batches(jobs, count)
        assert [batch.width for batch in batches] == [count] * (len(jobs) // count)
        sums = {i: one for b in batches for i, one in zip(b.jobs, run(jobs, b), strict=True)}
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
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def nothing_differs(cases):
    return {case: {str(count): [] for count in counts} for case, counts in cases.items()}


def test_ridge_on_several_devices_has_the_bits_of_one():
    cases = {"paper": COUNTS, "hat": (8,), "banded": (8,)}
    assert on_eight(cases) == nothing_differs(cases)


@pytest.mark.long
def test_all_on_all_numbers_of_devices():
    cases = dict.fromkeys(CASES, COUNTS)
    assert on_eight(cases) == nothing_differs(cases)


def job(shape=(9, 2), program="program", dtype=float):
    """As much of one as `batches` reads."""
    return Job((program,), (np.zeros(shape, dtype),), Penalties(*np.zeros(3)))


def test_batches_hold_what_one_program_computes():
    a, b = job(), job(program="other")
    others = [job((9, 3)), job(dtype=int)]
    mixed = (one for one in [a, b, a, *others, b, a])  # read once
    assert devices.batches(mixed, 8) == [
        Batch((0, 2, 6), 3),
        Batch((1, 5), 2),
        Batch((3,), 1),
        Batch((4,), 1),
    ]
    assert devices.batches([], 8) == []


@pytest.mark.parametrize(
    "jobs, most, widths, sizes",
    [
        (8, 8, [8], [8]),
        (9, 8, [5, 5], [5, 4]),
        (17, 8, [6, 6, 6], [6, 6, 5]),
        (3, 1, [1, 1, 1], [1, 1, 1]),
    ],
)
def test_a_group_is_spread_evenly(jobs, most, widths, sizes):
    found = devices.batches([job()] * jobs, most)
    assert [batch.width for batch in found] == widths
    assert [len(batch.jobs) for batch in found] == sizes
    assert [i for batch in found for i in batch.jobs] == list(range(jobs))


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
