"""Float32 with refinement against one float64 fit at a time."""

import json

import jax
import numpy as np
import pytest
import reference
from quick import quickly_compiled

import ecjax
from ecjax import refine, ridge
from ecjax.arrays import align_arrays
from ecjax.plan import make_plan
from ecjax.precision import DeviceFacts
from ecjax.settings import Settings
from ecjax.subsets import build_lattice, requested

BOUND = 1e-7  # on R² and, relative to their standard deviation, on predictions


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quickly_compiled():
        yield


def normal(rng, n, widths):
    return {f"e{i}": rng.normal(size=(n, w)) for i, w in enumerate(widths)}


def with_constants(rng, n, widths):
    """Offsets, scales, and a constant column in each embedding."""
    embeddings = normal(rng, n, widths)
    for x in embeddings.values():
        x *= 10.0 ** rng.uniform(-6, 6, x.shape[1])
        x += 1e4 * x.std(0) * rng.choice([0, 1], x.shape[1])
        x[:, -1] = 0.1
    return embeddings


def ill_conditioned(rng, n, widths):
    """Singular values of the whole table from 1 to 1e-5, the first far above λ."""
    p = sum(widths)
    rank = min(n, p)
    left = np.linalg.qr(rng.normal(size=(n, rank)))[0]
    right = np.linalg.qr(rng.normal(size=(p, rank)))[0]
    x = 100 * np.sqrt(n) * (left * np.logspace(0, -5, rank)) @ right.T
    return {f"e{i}": part for i, part in enumerate(np.split(x, np.cumsum(widths)[:-1], axis=1))}


def twins(rng, n, widths):
    """Every embedding's second half is its first but for 1 part in 10⁴."""
    embeddings = normal(rng, n, widths)
    for x in embeddings.values():
        half = x.shape[1] // 2
        x[:, half : 2 * half] = x[:, :half] * (1 + 1e-4 * rng.normal(size=(n, half)))
    return embeddings


def targets_of(rng, embeddings, t):
    """(n, t): some of every embedding, and noise."""
    n = len(embeddings["e0"])
    signal = sum(x[:, :1] / x[:, :1].std() for x in embeddings.values())
    return 3 * (signal + rng.normal(size=(n, t))) + 10


def assert_matches_reference(embeddings, y, folds, ridge_lambda):
    found = ecjax.evaluate(
        embeddings,
        {"y": y},
        folds=folds,
        ridge_lambda=ridge_lambda,
        precision="float32",
        predictions=True,
        protocol="paper",
    )
    scores = found.scores.query("metric == 'r2'").set_index("subset")
    by_fold = found.folds.query("metric == 'r2'").set_index("subset")
    names = [f"y_{j}" for j in range(y.shape[1])] if y.shape[1] > 1 else ["y"]
    for subset in reference.all_subsets(embeddings):
        one = reference.ridge(embeddings, subset, y, folds, ridge_lambda=ridge_lambda)
        r2 = by_fold.loc[subset, "score"].to_numpy()
        assert np.abs(r2 - one.r2).max() <= BOUND * np.abs(one.r2).max(initial=1)
        assert abs(scores.loc[subset, "pooled"] - one.pooled) <= BOUND
        rows = found.predictions.query("subset == @subset")
        predicted = np.stack([rows[rows["target"] == name]["prediction"] for name in names], 1)
        expected = one.predictions * y.std(0) + y.mean(0)
        error = np.abs(predicted - expected).max(0) / expected.std(0)
        assert (error <= BOUND).all(), (subset, error)


@pytest.mark.parametrize(
    "make, n, widths, t, folds, ridge_lambda",
    [
        (normal, 203, [17, 5, 9], 3, 5, 1.0),  # folds of 40 and 41 rows
        (with_constants, 101, [6, 12], 1, 4, 1.0),
        (normal, 90, [130, 40], 2, 7, 1.0),
        (ill_conditioned, 160, [150, 60, 30], 2, 5, 1.0),
        (ill_conditioned, 700, [60, 30], 1, 5, 1e-3),
        (twins, 500, [40, 20], 2, 5, 1e-4),
    ],
)
def test_every_fold_of_every_subset_equals_scikit_learn(make, n, widths, t, folds, ridge_lambda):
    rng = np.random.default_rng([n, t])
    embeddings = make(rng, n, widths)
    assert_matches_reference(embeddings, targets_of(rng, embeddings, t), folds, ridge_lambda)


def test_rows_in_several_chunks_equal_scikit_learn(monkeypatch):
    """Chunks that divide neither the rows nor a fold's."""
    monkeypatch.setattr(refine, "CACHED_ROWS", 16)
    rng = np.random.default_rng(4)
    embeddings = normal(rng, 119, [7, 4])
    assert refine._chunk_rows(119, 1, 1) == 15
    assert_matches_reference(embeddings, targets_of(rng, embeddings, 2), 3, 1.0)


def test_without_refinement_single_precision_shows(monkeypatch):
    """The comparison can tell: with the first solve alone it fails."""
    monkeypatch.setattr(refine, "TOLERANCE", 1.0)
    rng = np.random.default_rng(5)
    embeddings = ill_conditioned(rng, 150, [60, 30])
    with pytest.raises(AssertionError):
        assert_matches_reference(embeddings, targets_of(rng, embeddings, 1), 5, 1.0)


def test_what_does_not_converge_is_null_and_says_so(monkeypatch):
    monkeypatch.setattr(refine, "MOST_STEPS", 1)
    rng = np.random.default_rng(6)
    embeddings = {"plain": rng.normal(size=(160, 5)), **ill_conditioned(rng, 160, [150])}
    y = targets_of(rng, embeddings, 1)
    arguments = {"folds": 4, "ridge_lambda": 1e-3, "predictions": True}
    found = ecjax.evaluate(embeddings, {"y": y}, precision="float32", protocol="paper", **arguments)
    scores = found.scores.set_index(["subset", "metric"])
    for metric in ("r2", "mse"):
        assert np.isnan(scores.loc[("e0", metric), "score"])
        assert "--precision=float64" in scores.loc[("e0", metric), "reason"]
    assert found.undefined
    assert found.index["eci"].isna().all()
    assert found.index["reason"].str.contains("did not converge").all()
    assert found.predictions.query("subset == 'e0'")["prediction"].isna().any()
    whole = ecjax.evaluate(embeddings, {"y": y}, protocol="paper", **arguments)
    assert not whole.undefined


def test_a_matrix_that_rounding_makes_indefinite_is_factored_with_a_shift():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(3000, 8))
    gram = np.block([[x.T @ x] * 2] * 2)
    gram[:8, :8] -= 0.5 * np.eye(8)  # far more than rounding: the first shifts do not do
    lattice = build_lattice([16], [(0,)])
    with jax.enable_x64(True):
        (factor,) = jax.jit(lambda g: refine._factor(g, np.float64(1e-6), lattice, 1))(gram)
        plain = ridge.lattice_factor(gram.astype(np.float32), np.float64(1e-6), lattice)
    assert not np.isfinite(plain[0].inverse).all()
    assert np.isfinite(factor.inverse).all()


@pytest.mark.parametrize("wanted, at_once", [([], 1), ([], 3), (["a+c+e", "b+d"], 1)])
def test_a_factorisation_serves_several_right_hand_sides(wanted, at_once):
    rng = np.random.default_rng(8)
    widths = [7, 5, 3, 2, 1]
    lattice = build_lattice(widths, requested("abcde", wanted))
    x = rng.normal(size=(40, 18))
    gram, rhs = x.T @ x, rng.normal(size=(len(lattice.subsets), 18, 2))
    with jax.enable_x64(True):
        factors = jax.jit(lambda g: ridge.lattice_factor(g, np.float64(0.7), lattice, at_once))(
            gram
        )
        found = jax.jit(lambda f, b: ridge.factor_solve(f, b, lattice))(factors, rhs)
        found = np.asarray(found)
    for i, subset in enumerate(lattice.subsets):
        c = lattice.columns(subset)
        expected = np.linalg.solve(gram[np.ix_(c, c)] + 0.7 * np.eye(len(c)), rhs[i, c])
        np.testing.assert_allclose(found[i, c], expected, rtol=0, atol=1e-10)
        assert (found[i, np.setdiff1d(np.arange(18), c)] == 0).all()


@pytest.mark.parametrize(
    "asked, used", [("auto", "float64"), ("float64", "float64"), ("float32", "float32")]
)
def test_what_was_computed_in_is_said_everywhere(asked, used, tmp_path, capsys):
    rng = np.random.default_rng(9)
    embeddings, y = normal(rng, 40, [3]), rng.normal(size=40)
    arguments = {"folds": 4, "require_platform": "cpu", "out": tmp_path / "out"}
    ecjax.evaluate(
        embeddings, {"y": y}, precision=asked, progress=True, protocol="paper", **arguments
    )
    assert f"cpu, {used}" in capsys.readouterr().err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["precision"] == manifest["study"]["precision"] == used
    assert manifest["arguments"]["precision"] == asked
    other = {"float64": "float32", "float32": "float64"}[used]
    with pytest.raises(ecjax.InputError, match="precision"):
        ecjax.evaluate(embeddings, {"y": y}, precision=other, protocol="paper", **arguments)


@pytest.mark.parametrize("kind, used", [("NVIDIA A100-SXM4-80GB", True), ("NVIDIA L4", False)])
def test_a_plan_for_a_device_elsewhere_takes_its_precision(kind, used):
    rng = np.random.default_rng(10)
    tasks = align_arrays(normal(rng, 400, [90, 50]), {"y": rng.normal(size=400)})
    device = DeviceFacts("gpu", kind, 2**34)
    plan = make_plan(tasks, Settings(seeds=50, protocol="paper"), device)
    assert plan.precision == ("float64" if used else "float32")
    assert bool(plan.hat[0]) == used  # many seeds: the hat route, which is float64's alone
