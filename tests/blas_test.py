"""BLAS in place against NumPy; its threads are one inside and what they were afterwards."""

import threading

import numpy as np
import pytest

from ecjax import blas


class Library:
    """A stand-in for OpenBLAS."""

    def __init__(self, threads):
        self.threads = threads

    def get(self):
        return self.threads

    def put(self, threads):
        self.threads = threads


@pytest.fixture
def library(monkeypatch):
    library = Library(6)
    monkeypatch.setattr(blas, "_functions", lambda: (library.get, library.put))
    return library


def test_one_thread_inside_and_as_many_as_before_afterwards(library):
    with blas.one_thread():
        assert library.threads == 1
        with blas.one_thread():
            assert library.threads == 1
        assert library.threads == 1
    assert library.threads == 6


def test_an_error_restores_the_number_too(library):
    with pytest.raises(ValueError, match="inside"), blas.one_thread():
        raise ValueError("inside")
    assert library.threads == 6


def test_calls_that_overlap_restore_it_once(library):
    inside, leave = threading.Event(), threading.Event()

    def other():
        with blas.one_thread():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    with blas.one_thread():
        thread.start()
        inside.wait()
    assert library.threads == 1  # the other one still runs
    leave.set()
    thread.join()
    assert library.threads == 6


def test_nothing_happens_without_the_library(monkeypatch):
    monkeypatch.setattr(blas, "_functions", lambda: (None, None))
    with blas.one_thread():
        pass


def test_the_library_that_scipy_brings_obeys():
    get, _ = blas._functions()
    if get is None:
        return
    before = get()
    with blas.one_thread():
        assert get() == 1
    assert get() == before


def parts(rng, *shapes):
    """Arrays that are parts of larger ones: their rows are longer than they are wide."""
    return [rng.normal(size=(rows + 2, columns + 3))[1:-1, 2:-1] for rows, columns in shapes]


def lower(a):
    return np.tril(a)


@pytest.mark.parametrize("m, n, k", [(4, 7, 3), (1, 5, 2), (6, 1, 4), (5, 3, 1), (1, 1, 1)])
def test_products(m, n, k):
    rng = np.random.default_rng([m, n, k])
    for transpose_a in (False, True):
        for transpose_b in (False, True):
            a, b, out = parts(rng, (m, k), (k, n), (m, n))
            before = out.copy()
            given_a, given_b = (
                x.T.copy() if yes else x for x, yes in ((a, transpose_a), (b, transpose_b))
            )
            blas.multiply(given_a, given_b, out, transpose_a, transpose_b)
            np.testing.assert_allclose(out, a @ b, rtol=1e-14, atol=1e-14)
            out[...] = before
            blas.multiply(given_a, given_b, out, transpose_a, transpose_b, subtract=True)
            np.testing.assert_allclose(out, before - a @ b, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("q, k", [(5, 3), (1, 4), (6, 1)])
def test_symmetric_products_and_factorisations(q, k):
    rng = np.random.default_rng([q, k])
    rows, panel, state = parts(rng, (k, q), (q, k), (q, q))
    before = state.copy()
    blas.subtract_gram(state, rows)
    np.testing.assert_allclose(lower(state), lower(before - rows.T @ rows), atol=1e-13)
    state[...] = before
    blas.subtract_outer(state, panel)
    np.testing.assert_allclose(lower(state), lower(before - panel @ panel.T), atol=1e-13)
    blas.gram(rows, state)
    np.testing.assert_allclose(lower(state), lower(rows.T @ rows), atol=1e-13)
    positive = before @ before.T + np.eye(q)
    state[...] = positive
    blas.cholesky(state)
    factor = np.linalg.cholesky(positive)
    np.testing.assert_allclose(lower(state), factor, atol=1e-12)
    (right,) = parts(rng, (q, k))
    expected = np.linalg.solve(factor.T, right)
    blas.solve_transposed(state, right)
    np.testing.assert_allclose(right, expected, atol=1e-12)
    (below,) = parts(rng, (k, q))
    expected = below @ np.linalg.inv(factor).T
    divided = below.copy()
    blas.divide_transposed(divided, state)
    np.testing.assert_allclose(divided, expected, atol=1e-12)
    blas.invert(state)
    np.testing.assert_allclose(lower(state), np.linalg.inv(factor), atol=1e-12)
    blas.multiply_transposed(below, state)
    np.testing.assert_allclose(below, expected, atol=1e-12)


def test_what_is_not_positive_definite_becomes_not_a_number():
    matrix = np.array([[1.0, 0.0], [2.0, 1.0]])
    blas.cholesky(matrix)
    assert np.isnan(matrix).all()
    matrix = np.zeros((2, 2))
    blas.invert(matrix)
    assert np.isnan(matrix).all()


def test_other_arrays_are_refused():
    """BLAS would read them as something else."""
    for given in (np.zeros((2, 2), np.float32), np.zeros((3, 3), order="F")):
        with pytest.raises(AssertionError):
            blas.cholesky(given)
