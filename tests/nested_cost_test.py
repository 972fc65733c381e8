"""The cost model of `strict` against operations counted, and plans made of it."""

import dataclasses

import jax
import numpy as np
import pytest
from cost_test import counted, tasks_of

from ecjax import (
    blas,
    bootstrap,
    cost,
    engine,
    host_kept,
    host_nested,
    host_rechosen,
    inner,
    nested_cost,
    rechosen,
)
from ecjax.folds import random_folds
from ecjax.plan import make_plan
from ecjax.program import Penalties
from ecjax.settings import Settings
from ecjax.subsets import build_lattice, requested

CPU = jax.devices("cpu")[0]

# widths, wanted, rows, targets, folds, seeds, grid, inner folds
CASES = [
    ([8, 4, 2, 1], (), 60, 1, 5, 3, None, None),
    ([5, 7, 3], ("a+b", "c"), 41, 3, 4, 2, (1.0, 2.0), 0),
    ([300, 3], (), 48, 2, 3, 1, (1.0,), 2),
    ([5, 3], (), 48, 2, 2, 2, (1.0, 3.0), 3),
]


@pytest.mark.parametrize("widths, wanted, n, t, folds, seeds, grid, asked", CASES)
def test_the_model_counts_what_the_program_does(widths, wanted, n, t, folds, seeds, grid, asked):
    settings = Settings(
        protocol="strict", folds=folds, seeds=seeds, subsets=wanted, ridge_lambda=grid,
        inner_folds=asked,
    )  # fmt: skip
    plan = make_plan(tasks_of(widths, n, t), settings, CPU)
    (piece,) = plan.chunks[0]
    program = plan.program(piece, False)
    with jax.enable_x64(True):
        penalties = Penalties(*(np.float64(v) for v in (1, 1, 1e-5)))
        traced = jax.make_jaxpr(engine.study, static_argnums=0)(
            (dataclasses.replace(program, on_host=False),), (plan.data(piece),), penalties
        )
    search = plan.search(piece, "regression")
    assert search.groups == inner.group_count(folds, asked, "regression")
    assert search.penalties == len(grid or inner.RIDGE_LAMBDA)
    shape = n, t, folds, seeds, search, cost.shares(n, folds)
    expected = nested_cost.nested_cost(False, program.gram.lattice, *shape).operations
    assert counted(traced.jaxpr) == pytest.approx(expected, rel=1e-12)
    planned = nested_cost.nested_cost(True, program.gram.lattice, *shape)
    assert plan.work([piece]).operations == pytest.approx(planned.operations, rel=1e-12)
    assert plan.work([piece]).seconds == pytest.approx(planned.seconds, rel=1e-12)


@pytest.fixture
def done(monkeypatch):
    """Operations of each call of the host's BLAS."""
    done = []
    call = blas._call

    def counting(name, options, *values):
        numbers = [v for v in values if isinstance(v, int)]
        a, b, c = (*numbers, 0, 0)[:3]
        done.append(
            {
                "dgemm": 2.0 * a * b * c,
                "dsyrk": 1.0 * a * a * b,
                "dpotrf": a**3 / 3,
                "dtrtri": a**3 / 3,
                "dtrmm": 1.0 * a * a * b,
                "dtrsm": 1.0 * a * b * (a if options[0] == "L" else b),
            }[name]
        )
        return call(name, options, *values)

    monkeypatch.setattr(blas, "_call", counting)
    return done


@pytest.mark.parametrize("widths, wanted, n, t, folds, seeds, grid, asked", CASES)
def test_the_model_counts_what_the_host_does(done, widths, wanted, n, t, folds, seeds, grid, asked):
    lattice = build_lattice(widths, requested("abcdef"[: len(widths)], wanted))
    rng = np.random.default_rng(0)
    blocks, y = [rng.normal(size=(n, width)) for width in widths], rng.normal(size=(n, t))
    assigned = random_folds(n, folds, range(seeds))
    choices = inner.choices("regression", assigned, grid, asked, range(seeds))
    groups = inner.group_count(folds, asked, "regression")
    table = inner.groups_of_folds(folds, groups) if choices.rows is None else None
    dealt = assigned.held_out, *choices, table, [(0, t)]
    host_nested.fit(blocks, y, *dealt, lattice, False)
    penalties, width = choices.grid.shape[2], 0 if choices.rows is None else 1
    search = nested_cost.Search(groups, penalties, width)
    shape = n, t, folds, seeds, search, cost.shares(n, folds)
    expected = sum(step.operations for step in nested_cost.host_steps(lattice, *shape))
    # Counted as if every penalty was chosen for some set in every outer fold.
    share = 0.0 if penalties == 1 else 2 / (2 + groups)
    assert (1 - share - 0.03) * expected <= sum(done) <= 1.03 * expected


@pytest.mark.parametrize("strict", [True, False])
def test_the_model_counts_kept_fits(done, strict):
    widths, n, t, folds, replicates = (90, 40, 20), 900, 2, 8, 6
    lattice = build_lattice(widths, requested("abc"))
    rng = np.random.default_rng(0)
    blocks, y = [rng.normal(size=(n, width)) for width in widths], rng.normal(size=(n, t))
    assigned = random_folds(n, folds, (0,))
    grid = np.broadcast_to(np.arange(1.0, 8), (1, 1, folds, 7))
    places = np.zeros((1, 1, folds, 7, t, 1), int)
    if strict:  # every set has a penalty of its own
        places[:] = np.arange(7)[:, None, None]
    weights = bootstrap.counts(n, 0, 0)[:replicates].astype(float)
    dealt = assigned.tested, assigned.held_out, grid, places, lattice
    host_kept.fit(blocks, y, weights, *dealt, True, strict, False)
    shape = n, t, folds, replicates, strict, cost.shares(n, folds)
    expected = nested_cost.kept_cost(True, lattice, *shape).operations
    assert sum(done) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("widths, wanted, n, t, folds, seeds, grid, asked", CASES)
def test_the_model_counts_choices_that_are_redone(
    done, widths, wanted, n, t, folds, seeds, grid, asked
):
    replicates, s = 3, len(requested("abcdef"[: len(widths)], wanted))
    lattice = build_lattice(widths, requested("abcdef"[: len(widths)], wanted))
    rng = np.random.default_rng(0)
    blocks, y = [rng.normal(size=(n, width)) for width in widths], rng.normal(size=(n, t))
    assigned = random_folds(n, folds, range(seeds))
    choices = inner.choices("regression", assigned, grid, asked, range(seeds))
    count = inner.group_count(folds, asked, "regression")
    rows, groups, width = choices.rows, (), 0
    if rows is None:
        rows, groups = assigned.held_out, inner.groups_of_folds(folds, count)
        groups = tuple(map(tuple, groups.tolist()))
    else:
        width = rows.shape[3]
    weights = bootstrap.counts(n, 0, 0)[:replicates].astype(float)
    places = np.zeros((1, seeds, folds, s, t, 1), np.int32)
    arrays = blocks, y, weights, rows, choices.grid, places
    search = nested_cost.Search(count, choices.grid.shape[2], width)
    shape = lattice, n, t, folds, replicates * seeds, search, cost.shares(n, folds)
    host_rechosen.choose(*arrays, lattice, groups, ((0, t),), ())
    assert sum(done) == pytest.approx(nested_cost.rechosen_cost(True, *shape).operations, rel=0.05)
    how = rechosen.How(lattice, groups, ((0, t),), (), False, 1)
    with jax.enable_x64(True):
        traced = jax.make_jaxpr(rechosen.choose, static_argnums=0)(how, *arrays)
    expected = nested_cost.rechosen_cost(False, *shape).operations
    assert counted(traced.jaxpr) == pytest.approx(expected, rel=1e-12)


def test_the_plan_counts_the_search_for_a_penalty_of_each_embedding():
    """On 8,829 × 960 rows, 10 targets, 20 folds it took 111 s on two cores, 170 s as five tasks."""
    lattice = build_lattice((512, 256, 128, 64), requested("abcd"))

    def seconds(tasks):
        search = nested_cost.Search(5, 13, 0, tasks)
        shape = lattice, 8829, 10, 20, 1, search, cost.shares(8829, 20)
        return nested_cost.nested_cost(True, *shape).seconds

    for tasks, measured in ((1, 111), (5, 170)):
        assert 0.5 < (seconds(tasks) - seconds(0)) / measured < 2
