"""Measures from sums are those of n × n matrices; what is known of them in theory holds."""

import likeness
import numpy as np
import pytest

from ecjax import similarity
from ecjax.similarity import Moments


def sums(x, origin=0.0):
    own = x - origin
    return Moments(len(x), own.sum(axis=0), own.T @ own)


def both(n=50, p=4, other=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) * [1, 5, 0.1, 2][:p] + rng.normal(size=p)
    y = x[:, :other] @ rng.normal(size=(other, other)) + 2 * rng.normal(size=(n, other)) + 3
    return x, y


def augmented(x, y, origin):
    u = np.concatenate([x, y], axis=1) - origin
    p = x.shape[1]
    norms = [(u[:, :p] ** 2).sum(axis=1), (u[:, p:] ** 2).sum(axis=1)]
    return sums(np.column_stack([u, *norms]))


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_cka_in_both_forms_whatever_the_origin(shift):
    x, y = both()
    origin = np.concatenate([x.mean(0), y.mean(0)]) + shift
    found = sums(np.concatenate([x, y], axis=1), origin)
    assert similarity.cka(found, 4) == pytest.approx(likeness.cka(x, y), rel=1e-12)
    debiased = similarity.cka_debiased(augmented(x, y, origin), 4)
    assert debiased == pytest.approx(likeness.cka_debiased(x, y), rel=1e-11)


def test_the_rows_without_a_part_are_the_others():
    x, y = both()
    origin = np.concatenate([x.mean(0), y.mean(0)])
    whole, part = augmented(x, y, origin), augmented(x[:7], y[:7], origin)
    found = similarity.cka_debiased(whole.less(part), 4)
    assert found == pytest.approx(likeness.cka_debiased(x[7:], y[7:]), rel=1e-10)


def unit(x):
    z = x - x.mean(axis=1, keepdims=True)
    return z / np.linalg.norm(z, axis=1, keepdims=True)


@pytest.mark.parametrize("offset", [0.0, 1e5])  # with it all rows correlate at 1 − 1e-10
def test_rsa(offset):
    x, y = both(p=4)
    x, y = x + offset * np.arange(4), y + np.arange(3)
    z = np.concatenate([unit(x), unit(y)], axis=1)
    found = similarity.rsa(sums(z, z.mean(0)), z.mean(0), 4)
    if not offset:
        assert found == pytest.approx(likeness.rsa(x, y), rel=1e-11)
        assert similarity.rsa(sums(z, 0.3), np.full(7, 0.3), 4) == pytest.approx(found, rel=1e-11)
    else:  # the plain form has lost its digits: correlations as 1 − ‖z_i − z_j‖²/2
        upper = np.triu_indices(len(x), 1)
        gap = [((a[:, None] - a[None]) ** 2).sum(2)[upper] for a in (unit(x), unit(y))]
        assert found == pytest.approx(np.corrcoef(*gap)[0, 1], rel=1e-4)


def test_rsa_of_rows_that_correlate_alike_is_undefined():
    z = np.tile(unit(np.array([[1.0, 2, 4]])), (9, 2))
    assert np.isnan(similarity.rsa(sums(z, z.mean(0)), z.mean(0), 3))


def test_canonical_correlations_of_white_columns():
    x, y = both()
    total = np.concatenate([x, y], axis=1)
    weights = [similarity.whitening(a.T @ a) for a in (x, y)]
    white = np.concatenate([x @ weights[0], y @ weights[1]], axis=1)
    np.testing.assert_allclose(weights[0].T @ (x.T @ x) @ weights[0], np.eye(4), atol=1e-12)
    mean, weighted = similarity.canonical(sums(white).products, 4, 50)
    squares = likeness.canonical_correlations(x, y) ** 2
    assert mean == pytest.approx(squares.mean(), rel=1e-12)
    assert weighted == pytest.approx((squares**2).sum() / squares.sum(), rel=1e-12)
    assert np.isnan(similarity.canonical(sums(total).products, 4, 6)).all()  # 4 + 3 > 6


def test_dependent_columns_add_no_direction():
    x, _ = both()
    doubled = np.column_stack([x, x[:, 0] * 3, x[:, 1] - x[:, 2], np.zeros(50)])
    assert similarity.whitening(doubled.T @ doubled).shape == (7, 4)


def test_dimensions():
    values = np.array([4.0, 2.0, 1.0])
    x = np.linalg.qr(likeness.centred(both(p=3)[0]))[0] * np.sqrt(values)
    assert similarity.participation_ratio(sums(x)) == pytest.approx(49 / 21, rel=1e-12)
    assert np.isnan(similarity.participation_ratio(sums(np.zeros((5, 2)))))


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(1).normal(size=20)
    deleted = (values.sum() - values) / 19
    low, high = similarity.jackknife(values.mean(), deleted, 0.95)
    half = 2.0930240544 * values.std(ddof=1) / np.sqrt(20)  # t of 19 degrees of freedom
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), rel=1e-9)


def test_independent_embeddings_overlap_by_chance_only_in_the_biased_form():
    rng = np.random.default_rng(5)
    found = []
    for _ in range(40):
        x, y = rng.normal(size=(300, 60)), rng.normal(size=(300, 40))
        origin = np.concatenate([x.mean(0), y.mean(0)])
        moments = augmented(x, y, origin)
        found.append((similarity.cka_debiased(moments, 60), similarity.cka(
            moments.of(slice(100)), 60
        )))  # fmt: skip
    debiased, biased = np.array(found).T
    assert (abs(debiased) < 0.01).mean() >= 0.9 and abs(debiased.mean()) < 0.003
    assert debiased.std() < 0.006  # about √2/n
    assert biased.min() > 0.1
