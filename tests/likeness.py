"""Overlap of two embeddings, plainly: n × n matrices and textbook formulas."""

import numpy as np


def centred(x):
    return x - x.mean(axis=0)


def cka(x, y):
    k, m = (centred(a) @ centred(a).T for a in (x, y))
    return (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())


def unbiased_hsic(k, m):
    """Song et al. 2012, equation 5."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    one = np.ones(n)
    products = np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (products - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def cka_debiased(x, y):
    k, m = x @ x.T, y @ y.T  # not centred, which must make no difference
    return unbiased_hsic(k, m) / np.sqrt(unbiased_hsic(k, k) * unbiased_hsic(m, m))


def canonical_correlations(x, y):
    """By QR and singular values (Björck & Golub 1973)."""
    return np.linalg.svd(np.linalg.qr(x)[0].T @ np.linalg.qr(y)[0], compute_uv=False)


def rsa(x, y):
    upper = np.triu_indices(len(x), 1)
    return np.corrcoef(np.corrcoef(x)[upper], np.corrcoef(y)[upper])[0, 1]


def participation_ratio(x):
    values = np.linalg.eigvalsh(np.cov(x.T))
    return values.sum() ** 2 / (values**2).sum()


def measures(x, y):
    """Every measure of a pair but r2, by name."""
    raw, about = canonical_correlations(x, y), canonical_correlations(centred(x), centred(y))
    return {
        "cka": cka(x, y),
        "cka_debiased": cka_debiased(x, y),
        "cca": (raw**2).mean(),
        "cca_centred": (about**2).mean(),
        "cca_weighted": (raw**4).sum() / (raw**2).sum(),
        "rsa": rsa(x, y),
    }
