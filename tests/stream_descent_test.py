"""Descents reach the minimum with a rough Hessian, and give up where there is no way down."""

import numpy as np

from ecjax.stream_descent import LINE_SEARCH_TRIALS, Descent

Q, C, P = 3, 2, 5


def quadratics(seed=0):
    """Hessians (q, cp, cp) and minima (q, cp)."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(Q, C * P, 3 * C * P))
    return factors @ factors.swapaxes(1, 2) / (3 * C * P), rng.normal(size=(Q, C * P))


def descend(own: Descent, hessian, minimum, solve, tolerance, scale=1.0, most=60):
    """Evaluations until all are done."""
    for count in range(most):
        some = own.unfinished(tolerance)
        if not len(some):
            return count
        gap = own.trials(some).reshape(len(some), -1) - minimum[some]
        slope = np.einsum("qij,qj->qi", hessian[some], gap)
        loss = 0.5 * (slope * gap).sum(1)
        turned = own.take(some, scale * loss, scale * slope.reshape(-1, C, P))
        still = np.intersect1d(turned, own.unfinished(tolerance))
        if len(still):
            own.turn(still, lambda right: solve(right, still))  # noqa: B023
    return most


def test_the_true_hessian_takes_two_evaluations():
    hessian, minimum = quadratics()

    def solve(right, some):
        flat = right.reshape(len(some), -1, 1)
        return np.linalg.solve(hessian[some], flat).reshape(right.shape)

    own = Descent(np.zeros((Q, C, P)))
    assert descend(own, hessian, minimum, solve, 1e-10) == 2
    np.testing.assert_allclose(own.weights.reshape(Q, -1), minimum, atol=1e-9)


def test_pairs_make_up_for_a_hessian_of_a_sample():
    hessian, minimum = quadratics()
    rng = np.random.default_rng(1)
    root = np.linalg.cholesky(hessian)
    sample = rng.normal(size=(Q, C * P, 60))
    rough = root @ (sample @ sample.swapaxes(1, 2) / 60) @ root.swapaxes(1, 2)

    def solve(right, some):
        flat = right.reshape(len(some), -1, 1)
        return np.linalg.solve(rough[some], flat).reshape(right.shape)

    own = Descent(np.zeros((Q, C, P)))
    evaluations = descend(own, hessian, minimum, solve, 1e-8)
    assert evaluations < 20 and (own.evaluations <= evaluations).all() and not own.stalled.any()
    np.testing.assert_allclose(own.weights.reshape(Q, -1), minimum, atol=1e-6)


def test_steps_that_are_far_too_long_are_shortened():
    hessian, minimum = quadratics()
    own = Descent(np.zeros((Q, C, P)))
    descend(own, hessian, minimum, lambda right, some: 1e3 * right, 1e-6, most=200)
    np.testing.assert_allclose(own.weights.reshape(Q, -1), minimum, atol=1e-3)


def test_a_fit_that_finds_no_decrease_gives_up():
    own = Descent(np.zeros((1, C, P)))
    every = np.array([0])
    count = 0
    while len(own.unfinished(1e-9)):
        # The gradient says down, and the loss goes up.
        loss = np.array([float(own.trials(every).any())])
        if len(own.take(every, loss, np.ones((1, C, P)))) and len(own.unfinished(1e-9)):
            own.turn(every, lambda right: right)
        count += 1
    assert own.stalled.all() and count == 1 + LINE_SEARCH_TRIALS
    assert not own.weights.any()
