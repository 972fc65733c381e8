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


def made_white(x, y):
    """White moments of both, and `canonical`'s other arguments."""
    white = [similarity.whitening(len(a) * np.cov(a.T, ddof=0), a.mean(0)) for a in (x, y)]
    columns = [likeness.centred(a) @ w.weights for a, w in zip((x, y), white, strict=True)]
    origin = np.concatenate([a.mean(0) @ w.weights for a, w in zip((x, y), white, strict=True)])
    moments = sums(np.concatenate(columns, axis=1))
    return moments, columns[0].shape[1], origin, tuple(w.constant for w in white)


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e4])
def test_canonical_correlations(offset):
    x, y = both()
    x = likeness.centred(x) + offset * np.arange(4)
    found = similarity.canonical(*made_white(x, y))
    raw = likeness.canonical_correlations(x, y) ** 2
    about = likeness.canonical_correlations(*map(likeness.centred, (x, y))) ** 2
    wanted = raw.mean(), about.mean(), (raw**2).sum() / raw.sum()
    assert found == pytest.approx(wanted, rel=1e-11)


def test_an_offset_beyond_all_digits_is_the_constant_itself():
    x, y = both()
    about = likeness.centred(x)
    far = similarity.canonical(*made_white(about + 1e9 * np.array([1, 0, 0, 0]), y))
    # Of the span of X + 1·μᵀ only the direction along μ turns into the constant.
    near = np.column_stack([np.ones(50), about[:, 1:]])
    raw = likeness.canonical_correlations(near, y) ** 2
    assert far[0] == pytest.approx(raw.mean(), rel=1e-5)


def test_a_constant_column_spans_the_constant():
    x, y = both()
    flat = np.column_stack([x, np.full(50, 0.5)])
    found = similarity.canonical(*made_white(flat, y))
    raw = likeness.canonical_correlations(flat, y) ** 2
    assert found[0] == pytest.approx(raw.mean(), rel=1e-11)
    shares = np.exp(x) / np.exp(x).sum(1, keepdims=True)  # which sum to 1
    found = similarity.canonical(*made_white(shares, y))
    raw = likeness.canonical_correlations(shares, y) ** 2
    assert found[0] == pytest.approx(raw.mean(), rel=1e-9)


def test_spans_that_must_meet_have_no_canonical_correlations():
    x, y = both(n=7)
    assert np.isnan(similarity.canonical(*made_white(x, y))).all()  # 4 + 3 + 1 > 7
    assert not np.isnan(similarity.canonical(*made_white(*both(n=8)))).any()


def test_dependent_columns_add_no_direction():
    x, _ = both()
    x = likeness.centred(x)
    doubled = np.column_stack([x, x[:, 0] * 3, x[:, 1] - x[:, 2], np.zeros(50)])
    white = similarity.whitening(doubled.T @ doubled, np.zeros(7))
    assert white.weights.shape == (7, 4) and not white.doubtful and not white.constant
    scaled = white.weights.T @ (doubled.T @ doubled) @ white.weights
    np.testing.assert_allclose(scaled, np.eye(4), atol=1e-12)
    nearly = np.column_stack([x, x[:, 0] * (1 + 1e-6 * np.sin(np.arange(50)))])
    assert similarity.whitening(nearly.T @ nearly, np.zeros(5)).doubtful


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
