"""Ridge regression of all subsets against one scikit-learn fit at a time."""

import dataclasses
import re

import jax
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

import ecjax
from ecjax import engine, ridge
from ecjax.align import AlignedTask
from ecjax.plan import make_plan
from ecjax.program import Penalties
from ecjax.settings import Settings
from ecjax.subsets import build_lattice, requested

# widths, rows, targets, folds: M 1–5, widths 1–60, wide tables too, folds 2–20
SHAPES = [
    ([1], 24, 1, 2),
    ([60], 50, 1, 5),
    ([3, 1], 33, 2, 7),
    ([5, 2, 9], 61, 3, 10),
    ([17, 40, 3], 45, 1, 3),
    ([1, 2, 3, 4], 90, 2, 20),
    ([2, 3, 1, 4, 2], 80, 4, 8),
]


def wild(rng, n, widths, plain=False):
    """Embeddings with wild scales and offsets, duplicate and constant columns."""
    embeddings = {}
    for i, width in enumerate(widths):
        x = rng.normal(size=(n, width))
        if not plain:
            scale = 10.0 ** rng.uniform(-6, 6, width)
            x = (x + rng.choice([0, 0, 1e4], width)) * scale
            if width > 2:
                x[:, 1] = x[:, 0]
            if width > 3:
                x[:, 2] = rng.choice([0.0, 0.1, -3e5])
        embeddings[f"e{i}"] = x
    return embeddings


def targets_of(rng, embeddings, t):
    """(n, t): a bit of every embedding, and noise, in different units."""
    n = len(next(iter(embeddings.values())))
    signal = sum(reference.StandardScaler().fit_transform(x)[:, :1] for x in embeddings.values())
    units = 10.0 ** rng.uniform(-3, 3, t)
    return (signal + rng.normal(size=(n, t))) * units + rng.choice([0, 100], t) * units


def assert_same(found, expected, name):
    """Equal to 1e-9, relative where scores are far beyond one."""
    bound = 1e-9 * np.maximum(1, np.abs(expected))
    assert (np.abs(found - expected) <= bound).all(), (name, np.abs(found - expected).max())


def assert_study_matches(embeddings, y, folds, seed, ridge_lambda):
    found = ecjax.evaluate(
        embeddings, {"y": y}, folds=folds, seed=seed, ridge_lambda=ridge_lambda, protocol="paper"
    )
    scores = found.scores.set_index(["subset", "metric"])
    by_fold = found.folds.set_index(["subset", "metric"]).sort_index()
    assert list(found.scores["subset"].unique()) == reference.all_subsets(embeddings)
    for subset in reference.all_subsets(embeddings):
        one = reference.ridge(embeddings, subset, y, folds, seed, ridge_lambda)
        assert_same(by_fold.loc[(subset, "r2"), "score"].to_numpy(), one.r2, subset)
        assert_same(by_fold.loc[(subset, "mse"), "score"].to_numpy(), one.mse, subset)
        assert_same(scores.loc[(subset, "r2"), "score"], one.r2.mean(), subset)
        assert_same(scores.loc[(subset, "r2"), "pooled"], one.pooled, subset)
        for j in range(y.shape[1] if y.shape[1] > 1 else 0):
            rows = found.targets.query(
                f"subset == @subset and metric == 'r2' and target == 'y_{j}'"
            )
            assert_same(rows["score"].item(), one.target_r2[:, j].mean(), (subset, j))


@pytest.mark.parametrize("widths, n, t, folds", SHAPES)
def test_every_fold_of_every_subset_equals_scikit_learn(widths, n, t, folds):
    rng = np.random.default_rng([n, t, folds])
    embeddings = wild(rng, n, widths)
    y = targets_of(rng, embeddings, t)
    assert_study_matches(embeddings, y, folds, seed=int(rng.integers(1000)), ridge_lambda=1.0)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    fold_seed=st.integers(0, 2**31),
    ridge_lambda=st.floats(0.01, 1e4),
    plain=st.booleans(),
)
def test_random_contents_equal_scikit_learn(seed, fold_seed, ridge_lambda, plain):
    rng = np.random.default_rng(seed)
    embeddings = wild(rng, 61, [5, 2, 9], plain)
    y = targets_of(rng, embeddings, 3)
    assert_study_matches(embeddings, y, 10, fold_seed, ridge_lambda)


def test_float32_embeddings_are_computed_in_float64():
    rng = np.random.default_rng(5)
    embeddings = {k: v.astype(np.float32) for k, v in wild(rng, 33, [3, 1], plain=True).items()}
    assert_study_matches(embeddings, targets_of(rng, embeddings, 2), 7, 42, 1.0)


def separate_solves(gram, rhs, ridge_lambda, lattice):
    weights = np.zeros((len(lattice.subsets), *rhs.shape))
    for i, subset in enumerate(lattice.subsets):
        c = lattice.columns(subset)
        shifted = gram[np.ix_(c, c)] + ridge_lambda * np.eye(len(c))
        weights[i, c] = np.linalg.solve(shifted, rhs[c])
    return weights


LATTICES = [
    ([4], [], 0, 1),
    ([5, 3, 3, 1], [], 0, 1),
    ([6, 5, 4, 3, 2, 1], [], 0, 1),
    ([6, 5, 4, 3, 2, 1], [], 2, 4),
    ([7, 2, 2, 5, 1], ["a+c+e", "b+d", "e+d+c+b+a"], 0, 1),
    ([7, 2, 2, 5, 1], ["a+c+e", "b+d", "e+d+c+b+a"], 0, 4),
    ([3, 4, 2], ["b"], 0, 4),
]


@pytest.mark.parametrize("widths, wanted, cap, at_once", LATTICES)
def test_the_lattice_equals_separate_solves(widths, wanted, cap, at_once):
    rng = np.random.default_rng(len(widths) + cap)
    p = sum(widths)
    lattice = build_lattice(widths, requested("abcdef"[: len(widths)], wanted, cap))
    x = rng.normal(size=(p + 5, p))
    gram, rhs = x.T @ x, rng.normal(size=(p, 2))
    # Compiled, because dispatching step by step takes longer; one shape a case.
    with jax.enable_x64(True):
        solve = jax.jit(lambda g, b, lam: ridge.lattice_solve(g, b, lam, lattice, at_once))
        found = np.asarray(solve(gram, rhs, 0.7))
    expected = separate_solves(gram, rhs, 0.7, lattice)
    assert found.shape == (len(lattice.subsets), p, 2)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    left_out = [np.setdiff1d(np.arange(p), lattice.columns(s)) for s in lattice.subsets]
    assert all((found[i, c] == 0).all() for i, c in enumerate(left_out))


@pytest.mark.parametrize("protocol", ["paper", "strict"])
def test_no_lapack_call_of_the_cpu_program_is_batched(protocol):
    """A batched factorisation waits inside the thread pool that it needs, and never returns."""
    rng = np.random.default_rng(0)
    n = 30
    blocks = {"a": rng.normal(size=(n, 3)), "b": rng.normal(size=(n, 2))}
    common = dict(
        ids=np.arange(n), embeddings=blocks, lat=None, lon=None, group=None, sample=0, notes=()
    )
    tasks = (
        AlignedTask(
            "u", "u", "regression", targets=("u",), y=rng.normal(size=(n, 1)), classes=(), **common
        ),
        AlignedTask(
            "w", "w", "classification", targets=("w",), y=rng.integers(0, 3, n).astype(np.int32),
            classes=("x", "y", "z"), **common,
        ),
    )  # fmt: skip
    settings = Settings(protocol=protocol, folds=4, seeds=2)
    plan = make_plan(tasks, settings, jax.devices("cpu")[0])
    (chunk,) = plan.chunks
    programs = tuple(plan.program(piece, False) for piece in chunk)
    if protocol == "strict":  # its compiled form is for other devices, but must be safe here too
        programs = tuple(dataclasses.replace(program, on_host=False) for program in programs)
    data = tuple(plan.data(piece) for piece in chunk)
    with jax.enable_x64(True):
        penalties = Penalties(*(np.float64(v) for v in (1, 1, 1e-5)))
        text = engine.study.lower(programs, data, penalties).as_text()
    calls = re.findall(
        r"@lapack_\w+.*?: \((.*?)\) ->|stablehlo\.(?:cholesky|triangular_solve).*?: \(?(.*?)\)? ->",
        text,
    )  # noqa: E501
    shapes = [shape for call in calls for shape in re.findall(r"tensor<([^>]*)>", "".join(call))]
    assert sum("lapack" in line for line in text.splitlines()) or "triangular_solve" in text
    assert len(shapes) >= 4
    batched = [shape for shape in shapes if len(re.findall(r"\d+x", shape)) > 2]
    assert not batched
