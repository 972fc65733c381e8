"""Penalties chosen anew by weighted rows against loops over repeated rows, on host and compiled."""

import functools
import itertools

import jax
import numpy as np
import pytest
import reference
from kept_test import SUBSETS, WIDTHS, K, N, dealt, outer_of, table
from quick import quickly_compiled

from ecjax import blas, bootstrap, inner, rechosen
from ecjax.folds import random_folds
from ecjax.subsets import build_lattice

GRID = np.array([3e3, 300.0, 100.0, 20.0, 1.5, 0.1])
GRIDS = (1 + np.arange(K))[:, None] * GRID
NAMES = "abc"
BANDS = (1, 2, 0)  # in another order than the lattice's
TARGETS, ONE_TASK = ((0, 1), (1, 2)), ((0, 2),)


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quickly_compiled():
        yield


def run(made, counts, bands=(), tasks=TARGETS, on_host=True, asked=None, grid=GRID, subsets=SUBSETS,
        kept=0):  # fmt: skip
    """Places (c, r, k, s, t, b) on a grid that is (1 + k) times `grid` in fold k."""
    blocks, y = table()
    seeds = range(1, 1 + len(made.held_out))
    rows = inner.choices("regression", made, None, asked, seeds).rows
    groups, r, b = (), len(made.held_out), len(bands) or 1
    if rows is None:
        count = inner.group_count(made.count, asked, "regression")
        groups = tuple(map(tuple, inner.groups_of_folds(made.count, count).tolist()))
        rows = made.held_out
    grids = (1 + np.arange(made.count))[:, None] * grid
    grids = np.broadcast_to(grids, (r, *grids.shape))
    places = np.full((1, r, made.count, len(subsets), 2, b), kept, np.int32)
    how = rechosen.How(build_lattice(WIDTHS, subsets), groups, tasks, bands, on_host, 1)
    with blas.one_thread(), jax.enable_x64(True):
        arrays = tuple(blocks), y, counts.astype(float), rows, grids, places
        found = jax.device_get(rechosen.choose(how, *arrays))
    assert found.dtype == np.int32 and found.shape == (len(counts), *places.shape[1:])
    return found


def drawn(replicates=2):
    return bootstrap.counts(N, 0, 3)[:replicates]


@functools.cache
def expected(bands, buffered):
    """Folds, counts with a fold of which no row is drawn, and the penalties as `rechosen` gives
    their places, from loops over repeated rows; NaN where no row of a fold was drawn."""
    blocks, y = table()
    scaled = (y - y.mean(0)) / y.std(0)
    made, counts = dealt(buffered=buffered), drawn()
    counts[1, outer_of(made, 0)[1][1]] = 0
    names = [NAMES[j] for j in bands] or NAMES
    embeddings = dict(sorted(zip(names, blocks, strict=True)))
    found = np.full((2, 2, K, len(SUBSETS), 2, len(bands) or 1), np.nan)
    for c, r, (i, subset) in itertools.product(range(2), range(2), enumerate(SUBSETS)):
        outer = outer_of(made, r)
        fits = reference.inner_splits(outer, 1 + r, 3)
        text = "+".join(sorted(names[j] for j in subset))
        columns = sorted(subset, key=lambda j: bands[j]) if bands else [0]
        for start, stop in ONE_TASK if bands else TARGETS:
            given = scaled[:, start:stop], counts[c], outer, fits, GRIDS
            _, chosen = reference.redone_losses(embeddings, text, *given, bool(bands))
            for t in range(start, stop):
                found[c, r, :, i, t, columns] = chosen.T
    return made, counts, found


@pytest.mark.parametrize("on_host", [True, False])
@pytest.mark.parametrize("buffered", [False, True])
@pytest.mark.parametrize("bands", [(), BANDS])
def test_equals_choices_by_repeated_rows(bands, buffered, on_host):
    made, counts, penalties = expected(bands, buffered)
    assert made.divided != buffered
    found = run(made, counts, bands, ONE_TASK if bands else TARGETS, on_host)
    by_place = np.where(found < 0, np.nan, GRIDS[np.arange(K)[:, None, None, None], found])
    known = ~np.isnan(penalties).all((3, 4, 5))
    assert known.sum() == 15
    np.testing.assert_allclose(by_place[known], penalties[known], rtol=1e-12)
    assert (found[0] != found[1]).mean() > 0.1  # there is something to choose


@pytest.mark.parametrize("bands", [(), BANDS])
@pytest.mark.parametrize("folds", ["divided", "buffered", "two"])
def test_the_compiled_route_chooses_the_same(folds, bands):
    made = dealt(buffered=folds == "buffered")
    if folds == "two":
        made = random_folds(N, 2, (1, 2))
    given = made, drawn(4), bands
    found = [run(*given, on_host=on_host, asked=2) for on_host in (True, False)]
    np.testing.assert_array_equal(*found)
    assert len(np.unique(found)) > 3


@pytest.mark.parametrize("on_host", [True, False])
def test_rows_drawn_once_choose_as_the_fits_of_the_study_do(on_host):
    """Twice as often each, too: then the losses are doubled, and the penalties weigh half."""
    made = dealt(1)
    once = run(made, np.ones((1, N), int), on_host=on_host)
    twice = run(made, np.full((1, N), 2), on_host=on_host, grid=2 * GRID)
    np.testing.assert_array_equal(once, twice)
    half = run(made, np.full((1, N), 2), on_host=on_host)
    assert (once != half).any()


def test_neither_company_nor_order_changes_a_choice():
    made, counts = dealt(), drawn(5)
    whole = run(made, counts)
    np.testing.assert_array_equal(run(made, counts[[4, 2]]), whole[[4, 2]])


@pytest.mark.parametrize("on_host", [True, False])
@pytest.mark.parametrize(("bands", "buffered"), [((), False), (BANDS, True)])
def test_where_fewer_than_two_groups_have_rows_the_original_choice_stays(bands, buffered, on_host):
    made = dealt(1, buffered)
    tested = [rows for _, rows in outer_of(made, 0)]
    counts = np.zeros((2, N), int)
    counts[0, tested[2]] = 2  # all rows are of one fold
    counts[1, np.concatenate(tested[:2])] = 1  # so that two folds have one group, two have two
    found = run(made, counts, bands, on_host=on_host, kept=-7)
    stays = (found == -7).all((1, 3, 4, 5))
    assert stays.tolist() == [[True] * K, [True, True, False, False]]
    assert ((found == -7).any((1, 3, 4, 5)) == stays).all()


@pytest.mark.parametrize("on_host", [True, False])
@pytest.mark.parametrize("bands", [(), BANDS])
def test_a_block_in_no_set_changes_nothing(bands, on_host):
    made, counts = dealt(1), drawn()
    some = [0, 2, 3]
    found = run(made, counts, bands, on_host=on_host, subsets=tuple(SUBSETS[i] for i in some))
    np.testing.assert_array_equal(found, run(made, counts, bands)[:, :, :, some])
