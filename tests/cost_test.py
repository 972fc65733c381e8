"""The cost model against operations counted in the traced program; both routes' numbers agree."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest

from ecjax import blas, cost, engine, host
from ecjax.arrays import Task, align_arrays
from ecjax.compute import compute
from ecjax.folds import random_folds
from ecjax.plan import make_plan
from ecjax.program import Penalties
from ecjax.progress import Silent
from ecjax.results import columns_of, frames_of
from ecjax.settings import Settings
from ecjax.subsets import build_lattice, part_of, requested

CPU = jax.devices("cpu")[0]


def counted(jaxpr) -> float:
    """Operations of products, factorisations and triangular solves, loops unrolled."""
    total = 0.0
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        shapes = [v.aval.shape for v in equation.invars]
        if name == "dot_general":
            ((contracted, _), _) = parameters["dimension_numbers"]
            depth = np.prod([shapes[0][axis] for axis in contracted])
            total += 2.0 * depth * np.prod(equation.outvars[0].aval.shape)
        elif name == "cholesky":
            total += np.prod(shapes[0]) * shapes[0][-1] / 3
        elif name == "triangular_solve":
            total += np.prod(shapes[1]) * shapes[0][-1]
        times = parameters.get("length", 1) if name == "scan" else 1
        assert name not in ("while", "cond"), name
        for value in jax.tree.leaves(
            list(parameters.values()), is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                total += times * counted(inner)
    return total


def counted_study(program, plan, piece) -> float:
    """Operations of the traced study."""
    with jax.enable_x64(True):
        penalties = Penalties(*(np.float64(v) for v in (1, 1, 1e-5)))
        traced = jax.make_jaxpr(engine.study, static_argnums=0)(
            (program,), (plan.data(piece),), penalties
        )
    return counted(traced.jaxpr)


def tasks_of(widths, n, t):
    rng = np.random.default_rng([n, t])
    embeddings = {name: rng.normal(size=(n, w)) for name, w in zip("abcdef", widths, strict=False)}
    y = embeddings["a"][:, :1] + rng.normal(size=(n, t))
    return align_arrays(embeddings, {"y": y})


CASES = [
    ([8, 4, 2, 1], (), 60, 1, 5, 3),
    ([5, 7, 3], ("a+b", "c"), 41, 3, 4, 2),
    ([3, 3, 2, 2, 1], (), 50, 2, 10, 1),
]


@pytest.mark.parametrize("route", ["gram", "hat", "cheaper"])
@pytest.mark.parametrize("widths, wanted, n, t, folds, seeds", CASES)
def test_the_model_counts_what_the_program_does(route, widths, wanted, n, t, folds, seeds):
    settings = Settings(folds=folds, seeds=seeds, subsets=wanted, protocol="paper")
    plan = make_plan(tasks_of(widths, n, t), settings, CPU, route)
    (piece,) = plan.chunks[0]
    program = dataclasses.replace(plan.program(piece, False), on_host=False)
    shares = program.gram, program.hat
    expected = cost.ridge_cost(*shares, n, t, folds, seeds, on_host=False).operations
    assert counted_study(program, plan, piece) == pytest.approx(expected, rel=1e-12)
    planned = cost.ridge_cost(*shares, n, t, folds, seeds, on_host=True).operations
    assert plan.work([piece]).operations == pytest.approx(planned, rel=1e-12)


@pytest.mark.parametrize("route", ["gram", "hat"])
@pytest.mark.parametrize("n, widths", [(50, [3, 2]), (24, [20, 30])])  # moments kept, and not kept
def test_the_model_counts_folds_that_leave_rows_out_twice(route, n, widths):
    """A buffer, where what folds leave out does not add up to the table."""
    rng = np.random.default_rng(n)
    embeddings = {name: rng.normal(size=(n, w)) for name, w in zip("ab", widths, strict=True)}
    lat, lon = rng.uniform(0, 2, (2, n))
    tasks = align_arrays(embeddings, {"y": Task(rng.normal(size=n), lat=lat, lon=lon)})
    settings = Settings(
        split="spatial", folds=4, seeds=2, block_km=30, buffer_km=20, protocol="paper"
    )
    plan = make_plan(tasks, settings, CPU, route)
    (piece,) = plan.chunks[0]
    program = dataclasses.replace(plan.program(piece, False), on_host=False)
    (folds,) = plan.folds
    held = cost.Held(0, 0, folds.held_out.shape[2], folds.scored.shape[2], divided=False)
    expected = cost.ridge_cost(program.gram, program.hat, n, 1, 4, 2, False, held).operations
    assert counted_study(program, plan, piece) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize(
    "widths, wanted, t", [([8, 4, 2, 1], (), 1), ([300, 129, 7], ("a+c", "b"), 3)]
)
def test_the_model_counts_what_the_host_does(monkeypatch, widths, wanted, t, seeds):
    n, folds = 60, 4
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
    lattice = build_lattice(widths, requested("abcdef"[: len(widths)], wanted))
    rng = np.random.default_rng(0)
    blocks, y = [rng.normal(size=(n, width)) for width in widths], rng.normal(size=(n, t))
    held_out = random_folds(n, folds, range(seeds)).held_out
    host.fit(blocks, y, held_out, np.array(1.0), lattice, False)
    steps = cost.host_fit(lattice, n, t, folds, seeds)
    assert sum(done) == pytest.approx(sum(step.operations for step in steps), rel=1e-12)


def frames_by(tasks, settings, route):
    results = compute(tasks, settings, CPU, Silent(), route)
    return frames_of(columns_of(results, settings.predictions), ())


def test_both_routes_and_any_mixture_give_the_same_tables(monkeypatch):
    tasks = tasks_of([9, 4, 6, 2], 60, 2)
    settings = Settings(folds=7, seeds=2, predictions=True, protocol="paper")
    by_gram, by_hat = (frames_by(tasks, settings, route) for route in ("gram", "hat"))
    mixture = ((8, 0, 5, 2, 11), (14, 1, 3, 4, 6, 7, 9, 10, 12, 13))
    monkeypatch.setattr(cost, "share_out", lambda *_: mixture)
    mixed = frames_by(tasks, settings, "cheaper")
    for table in ("scores", "folds", "index", "targets", "predictions"):
        for other in (by_hat, mixed):
            pd.testing.assert_frame_equal(by_gram[table], other[table], rtol=1e-11, atol=1e-11)


def test_more_seeds_send_more_subsets_to_the_hat_route():
    lattice = build_lattice([512, 256, 128, 64], requested("abcd"))
    shares = [cost.share_out(lattice, 3500, 1, 20, seeds, True)[1] for seeds in (1, 50, 100, 1000)]
    assert len(shares[0]) < len(shares[1]) <= len(shares[2]) <= len(shares[3])
    assert len(shares[-1]) >= 8  # a fold has 175 rows, and these subsets from 256 columns on
    # On many rows, the fold's own rows are dearer than the columns.
    assert cost.share_out(lattice, 200_000, 1, 5, 1000, True)[1] == ()


def test_the_wider_subsets_are_those_of_the_hat_route():
    lattice = build_lattice([300, 200, 40, 10], requested("abcd"))
    gram, hat = cost.share_out(lattice, 2000, 1, 10, 50, True)
    assert sorted([*gram, *hat]) == list(range(15))
    width = [len(lattice.columns(subset)) for subset in lattice.subsets]
    if gram and hat:
        assert max(width[i] for i in gram) < min(width[i] for i in hat)
    parts = [part_of(lattice, share) for share in (gram, hat)]
    best = cost.ridge_cost(*parts, 2000, 1, 10, 50, True).seconds
    everything = part_of(lattice, range(15))
    assert best <= cost.ridge_cost(everything, None, 2000, 1, 10, 50, True).seconds
    assert best <= cost.ridge_cost(None, everything, 2000, 1, 10, 50, True).seconds
