"""Columns of few values are told apart from features that have few by nature."""

import numpy as np
import pytest

from ecjax import codes, near_copies

N = 800


def odd(columns, others):
    matrix = np.column_stack([*columns, others]).astype(np.float32)
    return codes.odd_columns(near_copies.table_of(matrix))


def continuous(p=12, seed=0):
    return np.random.default_rng(seed).normal(size=(N, p))


def quantised(p=12, seed=0):
    """All columns have their values of the same 256."""
    return np.round(40 * continuous(p, seed)) / 127.5


def own_bytes(p=12, seed=0):
    """Each column has 256 values of its own."""
    return np.round(30 * continuous(p, seed)) * np.random.default_rng(1).uniform(0.1, 9, p)


@pytest.mark.parametrize("others", [continuous, quantised, own_bytes])
def test_which_columns_are_odd(others):
    rng = np.random.default_rng(3)
    one_hot = (rng.integers(0, 5, (N, 1)) == np.arange(3)).T * 1.0  # that know of each other
    several = rng.normal(size=9)[rng.integers(0, 9, N)]
    found = odd([*one_hot, several, np.ones(N)], others())
    assert [column.j for column in found] == [0, 1, 2, 3]
    assert (found[3].values[found[3].code] == several.astype(np.float32)).all()
    assert odd([], others()) == []


def test_which_are_not():
    rng = np.random.default_rng(0)
    assert odd([rng.integers(0, 3, N), rng.integers(0, 2, N)], rng.integers(0, 4, (N, 8))) == []
    sparse = np.where(rng.random((2, N)) < 0.03, rng.normal(size=(2, N)), 0)  # values of their own
    assert odd(sparse, continuous()) == []
    assert odd(np.round(0.5 * quantised(3).T * 127.5) / 127.5, quantised()) == []  # a calm region


def column(code, values=None):
    values = np.arange(code.max() + 1.0) if values is None else values
    return [codes.Column(4, values, code)]


@pytest.mark.parametrize("form", ["mean", "standardised", "rounded"])
def test_means_of_the_target(form):
    rng = np.random.default_rng(0)
    code = rng.integers(0, 12, N)
    y = rng.normal(size=12)[code] + 2 * rng.normal(size=N)
    mean = np.bincount(code, y) / np.bincount(code)
    values = {"mean": mean, "standardised": 3 * mean - 1, "rounded": np.round(mean, 4)}[form]
    (found,) = codes.means(column(code, values), {"noise": rng.normal(size=N), "y": y})
    assert (found.j, found.what) == (4, "y") and found.measure > 0.999
    # Linear in the target but for noise, as a feature is.
    assert codes.means(column(code, values), {"y": values[code] + 0.1 * rng.normal(size=N)}) == []
    assert codes.means(column(code, values), {"y": values[code], "flat": np.ones(N)}) == []


def test_blocks_along_the_ids():
    rng = np.random.default_rng(0)
    order = rng.permutation(N)
    code = np.searchsorted([0.1, 0.4, 0.8], order / N)
    found = codes.blocks(column(code), {"row": np.arange(N), "id": order})
    assert [(one.j, one.what) for one in found] == [(4, "id")]
    rare = (np.arange(N) == 17) * 1  # one row of its own makes few blocks in every order
    assert codes.blocks(column(rare), {"id": order}) == []


def test_functions_of_a_group():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 20, N)
    code = rng.integers(0, 2, 20)[group]
    (found,) = codes.functions(column(code), {"other": rng.permutation(group), "group": group})
    assert found.what == "group"
    code[5] = 1 - code[5]
    assert codes.functions(column(code), {"group": group}) == []
    assert codes.functions(column(code), {"id": np.arange(N)}) == []  # every code is one


def test_codes_that_tell():
    rng = np.random.default_rng(0)
    code = rng.integers(0, 4, N)
    y, noise = code + rng.normal(size=N), rng.normal(size=N)
    assert [one.what for one in codes.telling(column(code), {"y": y, "n": noise})] == ["y"]
    labels = np.where(rng.random(N) < 0.5, code, rng.integers(0, 6, N))
    (found,) = codes.telling_class(column(code), labels, "the class")
    table = np.array([[((code == i) & (labels == j)).sum() for j in range(6)] for i in range(4)])
    expected = np.outer(table.sum(1), table.sum(0)) / N
    assert found.measure == pytest.approx(((table - expected) ** 2 / expected).sum() / (3 * N))
    assert codes.telling_class(column(code), rng.integers(0, 6, N), "the class") == []
