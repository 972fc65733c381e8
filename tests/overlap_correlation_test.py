"""Overlap against the index: plain ranks and permutations, planted studies, what is undefined."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ecjax import overlap_correlation
from ecjax.overlap_correlation import EQUAL, FEW, MEASURES, NO_TASK

SYMMETRIC = MEASURES[:-1]


def symmetric(rng, m):
    values = rng.normal(size=(m, m))
    return values + values.T


def overlaps(matrices, names, sample="s"):
    """A table of overlaps, from {measure: (m, m)}, of `r2` both directions, and one model's."""
    rows = [(sample, names[0], None, "participation_ratio", 3.0)]
    for measure, values in matrices.items():
        for i, j in itertools.permutations(range(len(names)), 2):
            if measure == "r2" or i < j:
                rows.append((sample, names[i], names[j], measure, values[i, j]))
    return pd.DataFrame(rows, columns=["sample", "model_a", "model_b", "measure", "value"])


def indices(values, names, task="t", target=None, metric="r2"):
    """A table of indices of the pairs (m, m), and of the set of all."""
    pairs = itertools.combinations(range(len(names)), 2)
    rows = [("+".join((names[i], names[j])), values[i, j]) for i, j in pairs]
    found = pd.DataFrame([*rows, ("+".join(names), 9.0)], columns=["subset", "eci"])
    return found.assign(task=task, target=target, metric=metric)


def every(values):
    return dict.fromkeys(MEASURES, values)


def plain(tasks):
    """Mean rho and p over every relabelling, one after the other; tasks: (overlap, index)."""
    m = len(tasks[0][0])
    upper = np.triu_indices(m, 1)

    def mean(order):
        moved = (overlap[np.ix_(order, order)][upper] for overlap, _ in tasks)
        gains = (index[upper] for _, index in tasks)
        return np.mean([stats.spearmanr(a, b).statistic for a, b in zip(moved, gains, strict=True)])

    found = np.array([mean(order) for order in itertools.permutations(range(m))])
    return found[0], np.mean(np.abs(found) >= abs(found[0]) - 1e-9)


@settings(deadline=None, max_examples=12, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 5]), st.booleans())
def test_every_relabelling_is_counted(seed, m, ties):
    rng = np.random.default_rng(seed)
    names = list("abcde"[:m])
    likeness = {measure: symmetric(rng, m) for measure in SYMMETRIC}
    both = rng.normal(size=(m, m))  # differs by direction
    gain = symmetric(rng, m)
    if ties:
        likeness, gain = {k: np.round(v) for k, v in likeness.items()}, np.round(gain)
    table = overlaps(likeness | {"r2": both}, names)
    found = overlap_correlation.correlate(table, {"t": "s"}, indices(gain, names))
    own, pooled = found[found["task"] == "t"], found[found["task"].isna()]
    assert own["measure"].tolist() == pooled["measure"].tolist() == list(MEASURES)
    for row, measure in zip(own.itertuples(), MEASURES, strict=True):
        values = (both + both.T) / 2 if measure == "r2" else likeness[measure]
        rho, p = plain([(values, gain)])
        assert row.rho == pytest.approx(rho, abs=1e-12)
        assert row.p_value == pytest.approx(p, abs=1e-12)
        assert (row.n_pairs, row.n_models, row.n_tasks) == (m * (m - 1) // 2, m, 1)
    assert pooled["rho"].tolist() == own["rho"].tolist()  # the mean of one task


def test_all_tasks_are_relabelled_alike_each_with_the_overlap_of_its_own_sample():
    rng = np.random.default_rng(3)
    names = list("abcde")
    likeness = {sample: symmetric(rng, 5) for sample in ("s", "x")}
    tasks = {"t": "s", "u": "s", "v": "x"}
    gains = {task: -likeness[sample] + symmetric(rng, 5) for task, sample in tasks.items()}
    table = pd.concat([overlaps(every(values), names, s) for s, values in likeness.items()])
    index = pd.concat([indices(gain, names, task) for task, gain in gains.items()])
    found = overlap_correlation.correlate(table, tasks, index)
    for task in tasks:
        row = found[found["task"] == task].iloc[0]
        rho, p = plain([(likeness[tasks[task]], gains[task])])
        assert (row["rho"], row["p_value"]) == (pytest.approx(rho), pytest.approx(p))
    row = found[found["task"].isna()].iloc[0]
    rho, p = plain([(likeness[tasks[task]], gains[task]) for task in tasks])
    assert (row["rho"], row["p_value"]) == (pytest.approx(rho), pytest.approx(p))
    assert row["n_tasks"] == 3 and row["metric"] == "r2" and pd.isna(row["target"])


@pytest.mark.parametrize("m", [4, 6, 9])
def test_an_index_of_one_less_overlap_has_the_smallest_p(m):
    likeness = symmetric(np.random.default_rng(1), m)
    names = [f"model{i}" for i in range(m)]
    table, index = overlaps(every(likeness), names), indices(1 - likeness, names)
    found = overlap_correlation.correlate(table, {"t": "s"}, index)
    least = 1 / math.factorial(m) if m < 8 else 1 / 10_001
    assert found["rho"].to_numpy() == pytest.approx(-1)
    assert found["p_value"].to_numpy() == pytest.approx(least, rel=1e-12)
    assert found["p_adjusted"].to_numpy() == pytest.approx(least, rel=1e-12)


def test_one_model_unlike_all_others_is_not_as_many_pairs():
    """Its five pairs differ in both; Student's t would take them for independent."""
    likeness = np.ones((6, 6))
    likeness[0] = likeness[:, 0] = 0
    names = list("abcdef")
    likeness += 1e-3 * symmetric(np.random.default_rng(0), 6)
    gain = 1 - likeness.round() + 1e-3 * symmetric(np.random.default_rng(1), 6)
    table, index = overlaps(every(likeness), names), indices(gain, names)
    row = overlap_correlation.correlate(table, {"t": "s"}, index).iloc[0]
    upper = np.triu_indices(6, 1)
    student = stats.spearmanr(likeness[upper], gain[upper]).pvalue
    assert student < 0.01 and row["p_value"] > 0.1


@pytest.mark.parametrize("m", [5, 8])
def test_the_order_of_models_does_not_matter(m):
    rng = np.random.default_rng(m)
    likeness, gain = symmetric(rng, m), symmetric(rng, m)
    names = list("hgfedcba"[:m])
    order = rng.permutation(m)
    moved = [names[i] for i in order]
    one, two = (
        overlap_correlation.correlate(
            overlaps(every(a), own), {"t": "s"}, indices(b, own)
        )
        for a, b, own in (
            (likeness, gain, names),
            (likeness[np.ix_(order, order)], gain[np.ix_(order, order)], moved),
        )
    )  # fmt: skip
    pd.testing.assert_frame_equal(one, two, rtol=1e-12)
    assert 0.01 < one["p_value"].iloc[0] < 1


def test_p_of_independent_matrices_is_as_small_as_it_says():
    rng = np.random.default_rng(5)
    p_values = []
    for _ in range(300):
        both = overlap_correlation.Matrices(*(symmetric(rng, 5) for _ in range(2)))
        p_values.append(overlap_correlation.mantel([both])["p_value"])
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p_values) <= level) == pytest.approx(level, abs=level / 2)


def test_whole_tasks_targets_and_all_tasks_are_families_and_settings_apart():
    rng = np.random.default_rng(2)
    names = list("abcd")
    table = overlaps({measure: symmetric(rng, 4) for measure in MEASURES}, names)
    rows = [
        indices(symmetric(rng, 4), names, task, target).assign(ridge_lambda=setting)
        for setting in (0.1, 1.0)
        for task, target in (("t", None), ("t", "one"), ("t", "two"), ("u", None))
    ]
    index = pd.concat([*rows, indices(symmetric(rng, 4), names, metric="mse")])
    found = overlap_correlation.correlate(table, {"t": "s", "u": "s"}, index, ["ridge_lambda"])
    assert list(found) == ["ridge_lambda", *overlap_correlation.COLUMNS]
    assert len(found) == 2 * (4 + 1) * 7 and (found["metric"] == "r2").all()
    sizes = []
    keys = [found["ridge_lambda"], found["task"].isna(), found["target"].isna()]
    for _, own in found.groupby(keys):
        sizes.append(len(own))
        adjusted = multipletests(own["p_value"], method="fdr_bh")[1]
        np.testing.assert_allclose(own["p_adjusted"], adjusted, rtol=1e-12)
    assert sorted(sizes) == [7, 7, 14, 14, 14, 14]


def test_models_with_unknown_pairs_are_left_out():
    rng = np.random.default_rng(4)
    likeness, gain = symmetric(rng, 6), symmetric(rng, 6)
    names = list("abcdef")
    lacks = likeness.copy()
    lacks[2] = lacks[:, 2] = np.nan  # c overlaps with none, as a constant embedding does
    index = indices(gain, names)
    index.loc[index["subset"] == "b+e", "eci"] = np.nan
    table = overlaps({"cka": likeness, "cca": lacks}, names)
    table = pd.concat(
        [table, overlaps(dict.fromkeys(set(MEASURES) - {"cka", "cca"}, lacks), names)]
    )
    found = overlap_correlation.correlate(table, {"t": "s"}, index)
    found = found[found["task"] == "t"].set_index("measure")
    for measure, known in (("cka", [0, 2, 3, 4, 5]), ("cca", [0, 3, 4, 5])):
        rho, p = plain([(likeness[np.ix_(known, known)], gain[np.ix_(known, known)])])
        row = found.loc[measure]
        assert (row["rho"], row["p_value"]) == (pytest.approx(rho), pytest.approx(p))
        assert row["n_models"] == len(known) and pd.isna(row["reason"])


def test_undefined_is_null_with_a_reason():
    rng = np.random.default_rng(4)
    names, likeness = list("abcd"), symmetric(rng, 4)
    one_way = likeness.copy()
    one_way[0, 1] = np.nan  # of both directions one: no mean
    matrices = every(likeness) | {"cka": np.ones((4, 4)), "r2": one_way}
    table = overlaps(matrices, names)
    index = indices(symmetric(rng, 4), names)
    found = overlap_correlation.correlate(table, {"t": "s"}, index).set_index(["measure"])
    own, pooled = found[found["task"] == "t"], found[found["task"].isna()]
    undefined = ["cka", "r2"]
    assert own.loc[undefined, "reason"].tolist() == [EQUAL, FEW]
    assert pooled.loc[undefined, "reason"].tolist() == [NO_TASK, NO_TASK]
    assert found.loc[undefined, ["rho", "p_value", "p_adjusted"]].isna().all(axis=None)
    known = found.drop(undefined)
    assert known["reason"].isna().all() and known["p_adjusted"].notna().all()
    of_three = indices(likeness[:3, :3], names[:3])
    few = overlap_correlation.correlate(overlaps(every(likeness), names), {"t": "s"}, of_three)
    assert (few["reason"][:7] == FEW).all() and (few["n_pairs"][:7] == 3).all()
    one = overlap_correlation.correlate(overlaps({}, ["a"]), {"t": "s"}, index[:0])
    assert len(one) == 7 and (one["reason"] == NO_TASK).all()


def test_a_task_without_a_rho_does_not_undo_the_mean_of_the_others():
    rng = np.random.default_rng(6)
    names, likeness = list("abcd"), symmetric(rng, 4)
    gains = {"t": symmetric(rng, 4), "u": symmetric(rng, 4), "flat": np.zeros((4, 4))}
    index = pd.concat([indices(gain, names, task) for task, gain in gains.items()])
    index.loc[index["task"] == "u", "metric"] = "accuracy"
    samples = dict.fromkeys(gains, "s")
    found = overlap_correlation.correlate(overlaps(every(likeness), names), samples, index)
    row = found[found["task"].isna()].iloc[0]
    rho, p = plain([(likeness, gains["t"]), (likeness, gains["u"])])
    assert (row["rho"], row["p_value"]) == (pytest.approx(rho), pytest.approx(p))
    assert row["n_tasks"] == 2 and pd.isna(row["metric"])
    assert (found[found["task"] == "flat"]["reason"] == EQUAL).all()
