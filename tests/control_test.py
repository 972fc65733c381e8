"""The control `permuted`, one set at a time."""

import functools

import numpy as np
import pytest
import reference
from make_studies import default_grid, study
from quick import quickly_compiled

import ecjax


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quickly_compiled():
        yield


def permuted(embeddings, kept, seed):
    order = np.random.default_rng([seed, 6]).permutation(len(embeddings[kept]))
    return {name: x if name == kept else x[order] for name, x in embeddings.items()}


def errors(embeddings, subset, y, seed, how):
    """(n,) squared errors of one set, out of fold."""
    if how["protocol"] == "paper":
        found = reference.ridge(embeddings, subset, y, how["folds"], seed)
        return ((found.predictions - y) ** 2).sum(1)
    found = reference.nested_ridge(embeddings, subset, y, how["folds"], seed, 5, default_grid)
    return ((found.predictions - y) ** 2).sum(1)


@pytest.mark.parametrize("protocol", ["paper", "strict"])
def test_the_index_of_permuted_members(protocol):
    embeddings, tasks = study([4, 3, 5], 70, {"u": (2, 1)})
    how = {"protocol": protocol, "folds": 4, "seeds": 2, "seed": 5}
    found = ecjax.evaluate(embeddings, tasks, control="permuted", **how)
    y = reference.StandardScaler().fit_transform(tasks["u"])
    index = found.index.query("target.isna() and metric == 'r2'").set_index("subset")

    @functools.cache
    def alone(model, seed):
        return errors(embeddings, model, y, seed, how)

    @functools.cache
    def beside(kept, subset, seed):
        return errors(permuted(embeddings, kept, seed), subset, y, seed, how)

    for subset, row in index.iterrows():
        members, fused, best = subset.split("+"), [], []
        single = {(m, seed): alone(m, seed) for m in members for seed in (5, 6)}
        pooled = min(members, key=lambda m: single[m, 5].sum() + single[m, 6].sum())
        for seed in (5, 6):
            for _, held_out in reference.splits(70, 4, seed):
                others = np.setdiff1d(np.arange(70), held_out)
                kept = min(members, key=lambda m: single[m, seed][others].sum())
                kept = kept if protocol == "strict" else pooled
                fused.append(beside(kept, subset, seed)[held_out].sum())
                best.append(single[kept, seed][held_out].sum())
        assert row["eci_permuted"] == pytest.approx(1 - sum(fused) / sum(best), abs=1e-9)
        assert row["eci_permuted"] < 0.05


def test_classes_and_single_targets_have_it_too():
    embeddings, tasks = study([4, 3], 80, {"u": (2, 1)})
    labels = np.where(tasks["u"][:, 0] > np.median(tasks["u"][:, 0]), "high", "low")
    both = {**tasks, "w": labels}
    how = {"protocol": "strict", "folds": 4, "logistic_c": [0.01, 0.1]}
    found = ecjax.evaluate(embeddings, both, control="permuted", **how)
    assert found.index["eci_permuted"].notna().all()
    without = ecjax.evaluate(embeddings, both, **how)
    assert without.index["eci_permuted"].isna().all()
    np.testing.assert_array_equal(without.index["eci_pooled"], found.index["eci_pooled"])
    loss = found.index.query("metric == 'log_loss'")["eci_permuted"].item()
    assert loss < found.index.query("metric == 'log_loss'")["eci_pooled"].item()
