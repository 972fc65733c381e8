"""Studies for protocol `strict`, as arrays, its grid of λ, and comparisons of sets."""

import numpy as np
import reference

from ecjax import intervals


def default_grid(n_train):
    return n_train * 10.0 ** np.arange(2, -4.5, -0.5)


def study(widths, n, targets, seed=0):
    """Embeddings with offsets and scales, tasks {name: (n, t)} that know a bit of each."""
    rng = np.random.default_rng([seed, n, *widths])
    embeddings = {
        name: (rng.normal(size=(n, w)) + rng.choice([0, 50], w)) * 10.0 ** rng.uniform(-3, 3, w)
        for name, w in zip("abcd", widths, strict=False)
    }
    signal = sum(reference.StandardScaler().fit_transform(x)[:, :1] for x in embeddings.values())
    return embeddings, {
        name: (signal * strength + rng.normal(size=(n, t))) * 10.0 ** rng.uniform(-2, 2, t)
        for name, (t, strength) in targets.items()
    }


def labels_of(embeddings, c, seed=0, shares=None):
    """(n,) codes that the columns tell a bit about."""
    n = len(embeddings["a"])
    rng = np.random.default_rng([seed, c])
    signal = sum(reference.StandardScaler().fit_transform(x)[:, 0] for x in embeddings.values())
    noisy = signal + 0.7 * rng.normal(size=n)
    shares = np.full(c, 1 / c) if shares is None else shares
    return np.searchsorted(np.quantile(noisy, np.cumsum(shares)[:-1]), noisy)


def with_members(moments, members, fused, columns):
    """Every fused set compared with each of its members, one set after the other."""
    fused = np.repeat(fused, [len(own) for own in members])
    return intervals.compare(moments, fused, np.concatenate(members), columns)
