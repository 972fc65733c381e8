"""Ridge on the host's BLAS against one fit at a time and against the compiled route."""

import dataclasses
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import reference
from hat_test import CASES, table

from ecjax import engine, host
from ecjax.arrays import align_arrays
from ecjax.folds import random_folds
from ecjax.plan import make_plan
from ecjax.program import Penalties
from ecjax.settings import Settings
from ecjax.subsets import build_lattice, requested


def blocks_of(z, widths):
    stops = np.cumsum(widths)
    return [z[:, stop - width : stop] for width, stop in zip(widths, stops, strict=True)]


@pytest.mark.parametrize("seeds", [(3,), (3, 4)])  # one seed keeps the folds' moments
@pytest.mark.parametrize("widths, wanted, cap, n, t, folds, ridge_lambda, at_once", CASES)
def test_residuals_equal_one_fit_at_a_time(
    widths, wanted, cap, n, t, folds, ridge_lambda, at_once, seeds
):
    z, y = table(np.random.default_rng([n, t, folds]), widths, n, t)
    lattice = build_lattice(widths, requested("abcdef"[: len(widths)], wanted, cap))
    held_out = random_folds(n, folds, seeds).held_out
    stored = blocks_of(3 + 2 * z, widths)  # it standardises by itself
    found = host.fit(stored, 7 * y - 1, held_out, np.array(ridge_lambda), lattice, True)
    assert found.residuals.shape == (*held_out.shape, len(lattice.subsets), t)
    for r, seed in enumerate(seeds):
        for k, (training, rows) in enumerate(reference.splits(n, folds, seed)):
            assert (found.residuals[r, k, len(rows) :] == 0).all()  # the padding
            for i, subset in enumerate(lattice.subsets):
                predicted = reference.ridge_predictions(
                    z[:, lattice.columns(subset)], y, training, rows, ridge_lambda
                )
                expected = y[rows] - predicted
                left = found.residuals[r, k, : len(rows), i]
                np.testing.assert_allclose(left, expected, rtol=0, atol=1e-9)
                squares = found.squared_error[r, k, i]
                np.testing.assert_allclose(squares, (expected**2).sum(0), rtol=1e-9, atol=1e-12)


def test_a_block_of_several_parts_and_many_targets():
    """Blocks wider than a part of the factorisation, and a table that a fold's moments outgrow."""
    rng = np.random.default_rng(0)
    widths, n, folds = [2 * host.PANEL + 44, host.PANEL, 5], 700, 4
    z, y = table(rng, widths, n, 3)
    lattice = build_lattice(widths, requested("abc"))
    held_out = random_folds(n, folds, (0,)).held_out
    found = host.fit(blocks_of(z, widths), y, held_out, np.array(2.0), lattice, True)
    training, rows = next(iter(reference.splits(n, folds, 0)))
    for i, subset in enumerate(lattice.subsets):
        predicted = reference.ridge_predictions(
            z[:, lattice.columns(subset)], y, training, rows, 2.0
        )
        left = found.residuals[0, 0, : len(rows), i]
        np.testing.assert_allclose(left, y[rows] - predicted, rtol=0, atol=1e-9)


def test_the_study_has_the_same_numbers_compiled():
    rng = np.random.default_rng(1)
    embeddings = {name: rng.normal(size=(90, w)) for name, w in zip("abc", (4, 9, 2), strict=True)}
    tasks = align_arrays(embeddings, {"y": rng.normal(size=(90, 2)) + embeddings["b"][:, :2]})
    plan = make_plan(
        tasks, Settings(folds=7, seeds=2, protocol="paper"), jax.devices("cpu")[0], "gram"
    )
    (piece,) = plan.chunks[0]
    program = plan.program(piece, True)
    penalties = Penalties(*(np.float64(v) for v in (1, 1, 1e-5)))
    assert program.on_host
    found = []
    for on_host in (True, False):
        programs = (dataclasses.replace(program, on_host=on_host),)
        with jax.enable_x64(True):
            (sums,) = jax.device_get(engine.study(programs, (plan.data(piece),), penalties))
        found.append(sums.regression)
    for name, ours, compiled in zip(found[0]._fields, *found, strict=True):
        if name in ("chosen", "inner_loss", "row_slope"):  # of another protocol
            assert ours is compiled is None
            continue
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, compiled, rtol=1e-12, atol=1e-12, err_msg=name)


def test_the_number_of_cores_changes_no_bit(monkeypatch):
    widths, n = [40, 30, 9], 200
    z, y = table(np.random.default_rng(2), widths, n, 2)
    lattice = build_lattice(widths, requested("abc"))
    for seeds in ((0,), (0, 1)):
        held_out = random_folds(n, 9, seeds).held_out
        found = []
        for cores in (1, 2, 5):
            monkeypatch.setattr(host, "available_cores", lambda cores=cores: cores)
            arguments = (blocks_of(z, widths), y, held_out, np.array(1.0), lattice, False)
            found.append(host.fit(*arguments).squared_error)
        assert (found[0] == found[1]).all() and (found[0] == found[2]).all()


def test_every_subset_comes_once_in_the_walk():
    lattice = build_lattice([5, 4, 3, 2], requested("abcd", ["a+c", "b+c+d", "d"]))
    order, branches = host.walk(lattice)
    assert sorted(order) == list(range(len(lattice.subsets)))
    reached = [b for b in host.every(branches) if b.first + 1 == b.last and not b.branches]
    assert len(reached) == 4  # a+c, b+c+d, c, d


def test_a_singular_system_is_not_a_number_and_the_others_are():
    """Three equal columns and hardly a penalty: no weights, rather than some that look right."""
    rng = np.random.default_rng(3)
    column = rng.integers(0, 2, size=(40, 1)).astype(float)
    blocks = [np.hstack([column, column, column]), rng.normal(size=(40, 2))]
    lattice = build_lattice([3, 2], requested("ab"))
    held_out = random_folds(40, 4, (0,)).held_out
    y = rng.normal(size=(40, 1))
    found = host.fit(blocks, y, held_out, np.array(1e-300), lattice, False).squared_error
    which = [lattice.subsets.index(subset) for subset in ((0,), (0, 1), (1,))]
    singular = np.isnan(found[0][:, which, 0])
    assert not singular[:, 2].any()
    assert (singular[:, 0] == singular[:, 1]).all()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cannot take cores away here")
def test_one_core_is_enough():
    """JAX then has one thread: a call-back that waits for JAX to copy large tables never ends."""
    script = """
import os
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
import numpy as np, ecjax
rng = np.random.default_rng(0)
x, y = rng.normal(size=(2, 900, 300)).astype("f4"), rng.normal(size=900)
print(len(ecjax.evaluate({"a": x[0], "b": x[1]}, {"y": y}, folds=3).scores))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr
