"""Fits with kept penalties against a loop over repeated rows, on the host and compiled."""

import jax
import numpy as np
import pytest
import reference
from quick import quickly_compiled

from ecjax import blas, bootstrap, folds, kept
from ecjax.subsets import build_lattice

N, K, WIDTHS = 60, 4, (5, 3, 4)
SUBSETS = ((0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2))


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quickly_compiled():
        yield


def table(seed=0):
    """Blocks, targets, and a sparse column that is constant but in a few rows of one fold."""
    rng = np.random.default_rng(seed)
    blocks = [rng.normal(size=(N, w)) * [1, 30, 0.2][j] + j for j, w in enumerate(WIDTHS)]
    blocks[0][:, 1] = 7.1
    blocks[0][reference.splits(N, K, 1)[2][1][:3], 1] = [1e3, 2e3, -5e3]
    y = blocks[0][:, :2] + blocks[1][:, :2] / 30 + rng.normal(size=(N, 2))
    return blocks, y


def dealt(seeds=2, buffered=False):
    """Folds of two seeds; buffered ones leave out two rows more."""
    made = folds.random_folds(N, K, tuple(range(1, 1 + seeds)))
    if not buffered:
        return made
    spare = [[(rows[rows < N][:2] + 1) % N for rows in of_seed] for of_seed in made.held_out]
    spare = [[np.setdiff1d(more, rows) for more, rows in zip(*pair, strict=True)]
             for pair in zip(spare, made.held_out, strict=True)]  # fmt: skip
    return folds.as_folds(made.fold_of_row(), K, spare)


def outer_of(made, seed):
    rows = [(left[left < N], test[test < N])
            for left, test in zip(made.held_out[seed], made.tested[seed], strict=True)]  # fmt: skip
    return [(np.setdiff1d(np.arange(N), left), test) for left, test in rows]


def penalties_of(made, bands, rng, replicates=1):
    """A grid, and random places on it."""
    r, k, s, t = made.held_out.shape[0], K, len(SUBSETS), 2
    grid = (
        np.broadcast_to([300.0, 20.0, 1.5, 0.1], (replicates, r, k, 4))
        * (1 + np.arange(k))[:, None]
    )
    places = rng.integers(4, size=(replicates, r, k, s, t, len(WIDTHS) if bands else 1))
    if bands:
        for i, subset in enumerate(SUBSETS):
            absent = [j for j in range(len(WIDTHS)) if j not in subset]
            places[..., i, :, absent] = -1
    return grid, places


def run(how, made, counts, grid, places, blocks, y):
    arrays = counts.astype(float), made.tested, made.held_out, grid, places
    with blas.one_thread(), jax.enable_x64(True):
        return jax.device_get(kept.fit(how, tuple(blocks), y, *arrays))


def how(made, own_scale=True, row_error=False, on_host=True):
    lattice = build_lattice(WIDTHS, SUBSETS)
    return kept.How(lattice, made.divided, own_scale, row_error, on_host, 1)


@pytest.mark.parametrize("on_host", [True, False])
@pytest.mark.parametrize("buffered", [False, True])
@pytest.mark.parametrize(("bands", "strict"), [(False, True), (True, True), (False, False)])
def test_equals_fits_to_repeated_rows(bands, strict, buffered, on_host):
    blocks, y = table()
    made = dealt(buffered=buffered)
    counts = bootstrap.counts(N, 0, 3)[:2]
    counts[1, outer_of(made, 0)[1][1]] = 0  # a fold without rows
    grid, places = penalties_of(made, bands, np.random.default_rng(5))
    found = run(how(made, strict, True, on_host), made, counts, grid, places, blocks, y)
    scaled = (y - y.mean(0)) / y.std(0)
    for c, r in np.ndindex(2, 2):
        outer = outer_of(made, r)
        for i, subset in enumerate(SUBSETS):
            for t in range(2):
                of = [
                    [grid[0, r, k, places[0, r, k, i, t, j if bands else 0]] for j in subset]
                    for k in range(K)
                ]
                own = [blocks[j] for j in subset]
                expected = reference.kept_losses(own, scaled[:, [t]], counts[c], outer, of, strict)
                np.testing.assert_allclose(
                    found.squared_error[c, r, :, i, t], expected[:, 0], rtol=1e-8, atol=1e-10
                )
        for k, (training, tested) in enumerate(outer):
            rows = np.repeat(training, counts[c][training])
            empty = counts[c][tested] @ (scaled[tested] - scaled[rows].mean(0)) ** 2
            np.testing.assert_allclose(found.squared_error[c, r, k, -1], empty, rtol=1e-10)
            again = np.einsum("n,tns->st", counts[c][tested], found.row_error[c, r][:, tested])
            np.testing.assert_allclose(again, found.squared_error[c, r, k], rtol=1e-10)


def test_neither_company_nor_order_changes_a_replicate():
    blocks, y = table(1)
    made = dealt()
    counts = bootstrap.counts(N, 0, 9)[:5]
    grid, places = penalties_of(made, False, np.random.default_rng(6))
    given = made, counts, grid, places, blocks, y
    whole = run(how(made), *given).squared_error
    for on_host in (True, False):
        part = run(how(made, on_host=on_host), made, counts[3:], *given[2:]).squared_error
        np.testing.assert_allclose(part, whole[3:], rtol=1e-11)
    alone = run(how(made), made, counts[4:], *given[2:]).squared_error
    np.testing.assert_allclose(alone, whole[4:], rtol=1e-13)


@pytest.mark.parametrize("on_host", [True, False])
def test_every_replicate_may_have_penalties_of_its_own(on_host):
    blocks, y = table(2)
    made = dealt(1)
    counts = np.ones((3, N), int)
    grid, places = penalties_of(made, False, np.random.default_rng(7), replicates=3)
    grid = grid[:1]  # that of all of them
    found = run(how(made, on_host=on_host), made, counts, grid, places, blocks, y)
    for c in range(3):
        own = counts[[c]], grid, places[[c]], blocks, y
        one = run(how(made), made, *own)
        np.testing.assert_allclose(found.squared_error[c], one.squared_error[0], rtol=1e-11)


@pytest.mark.parametrize("on_host", [True, False])
def test_no_row_to_train_on_is_not_a_number(on_host):
    blocks, y = table(3)
    made = dealt(1)
    counts = np.zeros((1, N), int)
    counts[0, outer_of(made, 0)[2][1]] = 2  # all drawn rows are of one fold
    grid, places = penalties_of(made, False, np.random.default_rng(8))
    found = run(how(made, on_host=on_host), made, counts, grid, places, blocks, y).squared_error
    assert np.isnan(found[0, 0, 2]).all()
    assert (found[0, 0, [0, 1, 3]] == 0).all()
