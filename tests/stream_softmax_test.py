"""Sums over runs of rows are those of `softmax` on all rows with masks; Hessians those of JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecjax import stream_softmax
from ecjax.softmax import Problem, Scaling, forward, gradient_of, largest_entry
from ecjax.stream_softmax import Bundle, Curvature, Rows

N, P, C, Q = 90, 4, 3, 3
COLUMNS = np.array([0, 1, 3])  # of the table's, which do not follow one another


@pytest.fixture(scope="module")
def made():
    """A bundle of three fits, rows in two batches, and the same as a `softmax.Problem`."""
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(N, P)), rng.integers(C, size=N)
    cells = rng.integers(4, size=N)
    labels[(cells == 1) & (labels == 2)] = 0  # the last fit lacks a class
    member = np.array([[1, 1, 1, 0], [1, 0, 1, 1], [0, 1, 0, 0]], bool)
    training = member[:, cells]
    count = training.sum(1)
    onehot = (labels == np.arange(C)[:, None]) * 1.0
    present = training @ onehot.T > 0
    mean, scale = rng.normal(size=(Q, 3)) / 5, rng.uniform(0.5, 2, (Q, 3))
    scale[1, 2] = 0  # a column that is constant among a fit's rows
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    penalty = np.array([0.1, 0.01, 0.2])
    bundle = Bundle(0, COLUMNS, 0, np.arange(Q), member, count, present, penalty, mean, inverse)
    ends = (np.zeros((Q, 1)), np.ones((Q, 1)), np.zeros((Q, 1)))
    scaling = Scaling(
        *(np.hstack(own) for own in zip((mean, inverse, scale**2), ends, strict=True))
    )
    problem = Problem(onehot, training / count[:, None], present, penalty, scaling)
    halves = [slice(0, 40), slice(40, N)]
    batches = [stream_softmax.sorted_rows(z[h], labels[h], cells[h]) for h in halves]
    weights = stream_softmax.centred(rng.normal(size=(Q, C, 4)), bundle)
    return bundle, batches, weights, problem, np.vstack([z[:, COLUMNS].T, np.ones(N)]), scale


def in_table(bundle: Bundle, weights: np.ndarray) -> np.ndarray:
    own = weights[..., :-1] * bundle.inverse[:, None]
    last = weights[..., -1:] - (own * bundle.mean[:, None]).sum(2, keepdims=True)
    return np.concatenate([own, last], axis=2)


def test_losses_and_gradients(made):
    bundle, batches, weights, problem, x, scale = made
    parts = [stream_softmax.sums(bundle, weights, rows) for rows in batches]
    loss, gradient = (sum(own) for own in zip(*parts, strict=True))
    value, gradient = stream_softmax.objective(bundle, weights, loss, gradient, bundle.count)
    with jax.enable_x64(True):
        table = jnp.asarray(in_table(bundle, weights))
        problem = jax.tree.map(jnp.asarray, problem)
        expected, residuals = forward(jnp.einsum("qcp,pn->qcn", table, x), problem)
        slopes = gradient_of(jnp.asarray(x), table, residuals, problem)
        norm = np.array(largest_entry(slopes, problem))
        expected, slopes = np.array(expected), np.array(slopes)
    squares = ((weights[..., :-1]) ** 2).sum((1, 2))
    np.testing.assert_allclose(value, expected + 0.5 * bundle.penalty * squares, rtol=1e-12)
    own = (slopes[..., :-1] - slopes[..., -1:] * bundle.mean[:, None]) * bundle.inverse[:, None]
    np.testing.assert_allclose(gradient[..., :-1], own, atol=1e-13)
    np.testing.assert_allclose(gradient[..., -1], slopes[..., -1], atol=1e-13)
    np.testing.assert_allclose(np.abs(gradient).max((1, 2)), norm, rtol=1e-12)


def test_curvature_is_the_derivative_of_the_gradient(made):
    bundle, batches, weights, *_ = made
    rows = batches[0]
    curvature = Curvature(bundle, weights, rows, whole=True)
    rng = np.random.default_rng(1)
    direction = stream_softmax.centred(rng.normal(size=weights.shape), bundle)

    def gradient(step):
        at = weights + step * direction
        return stream_softmax.objective(
            bundle, at, *stream_softmax.sums(bundle, at, rows), curvature.count
        )[1]

    expected = (gradient(1e-5) - gradient(-1e-5)) / 2e-5
    np.testing.assert_allclose(curvature.times(direction), expected, atol=1e-9)
    solved = curvature.solve(curvature.times(direction), 1e-10, 200)
    # The sum of all intercepts has no curvature, and is none of a centred direction.
    np.testing.assert_allclose(solved, direction, atol=1e-7)


def test_a_sample_that_is_not_all_rows_has_a_little_more_curvature(made):
    bundle, batches, weights, *_ = made
    times = [
        Curvature(bundle, weights, batches[0], whole).times(weights) for whole in (True, False)
    ]
    more = ((times[1] - times[0]) * weights).sum((1, 2))
    assert (more > 0).all()


def test_log_probabilities_of_rows_that_are_held_out(made):
    bundle, batches, weights, *_ = made
    rows = batches[1]
    found = np.full((Q, C, len(rows.labels)), np.nan)
    parts = stream_softmax.log_probabilities(bundle, weights, rows, ~bundle.member)
    for members, inside, log_probability in parts:
        found[members, :, inside] = log_probability.swapaxes(0, 1)
    table = in_table(bundle, weights)
    logits = np.einsum("qcp,np->qcn", table[..., :-1], rows.z[:, COLUMNS]) + table[..., -1:]
    logits[~bundle.present] = -np.inf
    expected = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    held_out = ~bundle.member[:, _cells(rows)]
    for q in range(Q):
        np.testing.assert_allclose(
            found[q][:, held_out[q]], expected[q][:, held_out[q]], atol=1e-12
        )
        assert np.isnan(found[q][:, ~held_out[q]]).all()
    assert np.isinf(found[2, 2][held_out[2]]).all()


def _cells(rows: Rows) -> np.ndarray:
    return np.concatenate([np.full(after - first, cell) for cell, first, after in rows.runs])


def test_rows_of_blocks_are_scaled_and_sorted():
    rng = np.random.default_rng(2)
    blocks = [rng.normal(5, 2, (30, 2)).astype(np.float32), rng.normal(size=(30, 1))]
    cells, labels = rng.integers(-1, 3, 30), rng.integers(3, size=30)
    mean, inverse = np.array([5.0, 4, 0]), np.array([0.5, 0, 1])
    rows = stream_softmax.rows_of_blocks(blocks, labels, cells, mean, inverse)
    x = (np.hstack(blocks) - mean) * inverse
    for cell, first, after in rows.runs:
        assert (cells[rows.order[first:after]] == cell).all()
        np.testing.assert_array_equal(rows.labels[first:after], labels[rows.order[first:after]])
        np.testing.assert_allclose(rows.z[first:after], x[rows.order[first:after]], rtol=1e-12)
    assert sum(after - first for _, first, after in rows.runs) == (cells >= 0).sum()
