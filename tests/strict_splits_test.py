"""Protocol `strict` under every split, from flags to tables, against loops and plain formulas.

Folds are of unequal sizes, drop rows, are one or two, or lack a class among their training rows.
"""

import math

import numpy as np
import pytest
import reference
from nested_logistic_test import default_grid as logistic_grid
from nested_test import default_grid as ridge_grid
from quick import quickly_compiled
from scipy import stats

import ecjax
from ecjax.host_folds import STEP
from ecjax.nested_logistic import STEP as STEP_OF_C

N, WIDTHS = 72, {"a": 3, "b": 2}
WIDTHS_OF_SETS = WIDTHS | {"a+b": 5}
GROUPS = np.repeat(list("opqrstu"), [22, 15, 12, 9, 7, 4, 3])
Z = stats.norm.ppf(0.975)

# of each case: what a fold is made of, and flags
CASES = {
    "one group left out": {"split": "group", "folds": 0},
    "groups": {"split": "group", "folds": 4, "seeds": 2},
    "blocks and a buffer": {"split": "spatial", "folds": 4, "block_km": 60, "buffer_km": 25},
    "train and test": {"split": "column", "seeds": 2},
    "a fold for each value": {"split": "column", "inner_folds": 2},
    "two folds": {"folds": 2, "seeds": 2},
}
WITH_CLASSES = ("one group left out", "blocks and a buffer", "train and test")


def world(case):
    """Rows sorted by id: ids, embeddings, targets (n, 2), labels, groups, places and parts."""
    rng = np.random.default_rng(11)
    embeddings = {name: rng.normal(3, 10, size=(N, width)) for name, width in WIDTHS.items()}
    signal = sum((x[:, :1] - 3) / 10 for x in embeddings.values())
    labels = np.digitize(signal[:, 0] + 0.5 * rng.normal(size=N), [-0.7, 0.7])
    group = GROUPS[rng.permutation(N)]
    # The last class lives in one group only.
    labels[np.flatnonzero(group == "q")[::2]] = 3
    centre = np.column_stack([rng.uniform(-2, 2, 12), rng.uniform(178, 182, 12)])
    lat, lon = (centre[rng.integers(0, 12, N)] + 0.2 * rng.normal(size=(N, 2))).T
    part = np.where(rng.random(N) < 0.4, "test", "train")
    if case == "a fold for each value":
        part = rng.choice(list("vwxyz"), N, p=[0.4, 0.25, 0.2, 0.1, 0.05])
    return {
        "id": np.sort(rng.choice(1000, N, replace=False)),
        "embeddings": embeddings,
        "y": 3 * (signal * [1, 0.4] + rng.normal(size=(N, 2))) + 10,
        "labels": labels,
        "group": group,
        "lat": lat,
        "lon": (lon + 180) % 360 - 180,
        "split": part,
    }


def evaluated(data, kind, **arguments):
    """Strict, of rows in another order than that of their ids."""
    order = np.random.default_rng(1).permutation(N)
    columns = {name: data[name][order] for name in ("id", "lat", "lon", "group", "split")}
    y = data["y"] if kind == "regression" else data["labels"]
    task = ecjax.Task(y[order], kind=kind, **columns)
    embeddings = {name: x[order] for name, x in data["embeddings"].items()}
    how = {"protocol": "strict", "bootstrap_unit": "row", "predictions": True}
    return ecjax.evaluate(embeddings, {"t": task}, **how, **arguments)


def folds_of(data, result, case):
    """Of each seed (fold of each row, [(training, tested) of each fold]), the rows sorted by id.

    The folds are those of the predictions; what each of them is trained on follows from the split.
    """
    km = reference.great_circle_km(
        data["lat"][:, None], data["lon"][:, None], data["lat"], data["lon"]
    )
    for seed, own in result.predictions.groupby("seed"):
        fold_of_id = own.drop_duplicates("id").set_index("id")["fold"]
        fold_of_row = fold_of_id.reindex(data["id"]).fillna(-1).astype(int).to_numpy()
        pairs = []
        for fold in range(fold_of_row.max() + 1):
            tested = np.flatnonzero(fold_of_row == fold)
            training = np.flatnonzero(fold_of_row != fold)
            if "buffer" in case:
                training = np.flatnonzero(km[:, tested].min(1) > 25)
            pairs.append((training, tested))
        yield seed, fold_of_row, pairs


def assert_split_as_asked(data, result, case):
    for _, fold_of_row, pairs in folds_of(data, result, case):
        sizes = np.array([len(tested) for _, tested in pairs])
        if case == "one group left out":
            assert sorted(sizes) == [3, 4, 7, 9, 12, 15, 22]
        if "group" in case:
            assert all(len(set(fold_of_row[data["group"] == g])) == 1 for g in set(GROUPS))
        if case == "train and test":
            assert ((fold_of_row == 0) == (data["split"] == "test")).all() and sizes[0] < N
        if case == "a fold for each value":
            assert sizes.max() > 3 * sizes.min()
        if "buffer" in case:
            assert max(N - len(training) - len(tested) for training, tested in pairs) > 5


def with_training(losses, slopes):
    """{subset: (r, n)} losses with what rows do to others, whose mean is left out."""
    return {
        subset: of - slopes[subset] + slopes[subset].mean(1, keepdims=True)
        for subset, of in losses.items()
    }


def assert_index_row(row, losses, inner_loss, folds, trained=None, columns=WIDTHS_OF_SETS):
    """The index, its intervals and `p_better` of one row.

    Args:
      losses: {subset: (r, n) of the scored rows}.
      inner_loss: {subset: (r, k)}.
      folds: (r, n) of these rows.
      trained: losses that standard errors rest on; those themselves, where None.
      columns: of each subset, that count.
    """
    trained = losses if trained is None else trained
    members = row.subset.split("+")
    best, chosen, composite = [], [], []
    for r, fold_of_row in enumerate(folds):
        if fold_of_row.max() < 2:
            names = [
                min(members, key=lambda m: inner_loss[m][r, k])  # noqa: B023
                for k in range(fold_of_row.max() + 1)
            ]
        else:
            of_seed = {subset: values[r] for subset, values in losses.items()}
            _, names, _ = reference.strict_index(of_seed, fold_of_row, row.subset, members)
        chosen += names
        own = [names[fold] for fold in fold_of_row]
        best.append(sum(losses[m][r, i] for i, m in enumerate(own)))
        composite.append([trained[m].mean(0)[i] for i, m in enumerate(own)])
    fused = losses[row.subset].mean(0)
    eci = 1 - fused.sum() / np.mean(best)
    assert row.eci == row.eci_pooled == pytest.approx(eci, abs=1e-8)
    assert row.best_single == max(members, key=chosen.count)
    assert row.best_single_share == pytest.approx(chosen.count(row.best_single) / len(chosen))
    rows = {subset: of.mean(0) for subset, of in trained.items()}
    of_set, p = rows[row.subset], columns[row.subset]
    ratios = [math.log(fused.sum() / losses[m].mean(0).sum()) for m in members]
    errors = [reference.ratio_error(of_set, rows[m], max(p, columns[m])) for m in members]
    pairs = list(zip(ratios, errors, strict=True))
    assert row.p_better == pytest.approx(max(stats.norm.cdf(r / s) for r, s in pairs), abs=1e-7)
    low = min(eci, *(1 - math.exp(r + Z * s) for r, s in pairs))
    error = reference.ratio_error(of_set, np.mean(composite, axis=0), p)
    high = 1 - math.exp(math.log(1 - eci) - Z * error)
    high = max(high, *reference.ends_over_the_best(rows, row.subset, members, columns, Z, Z))
    assert row.eci_low == pytest.approx(low, abs=1e-7)
    assert row.eci_high == pytest.approx(high, abs=1e-7)
    assert len(set(chosen)) in (1, 2)
    return len(set(chosen))


def assert_ends_around_the_index(index):
    known = index[index["eci_pooled"].notna() & index["eci_low"].notna()]
    assert len(known)
    ends = known[["eci_low_simultaneous", "eci_low", "eci_pooled", "eci_high",
                  "eci_high_simultaneous"]].to_numpy()  # fmt: skip
    assert (np.diff(ends, axis=1) >= 0).all()


@pytest.mark.parametrize("case", CASES)
def test_ridge(case):
    data, arguments = world(case), CASES[case]
    found = evaluated(data, "regression", **arguments)
    assert_split_as_asked(data, found, case)
    y = reference.StandardScaler().fit_transform(data["y"])
    by_fold = found.folds[found.folds["metric"] == "r2"].set_index(["subset", "seed"]).sort_index()
    losses, slopes, columns, inner_loss, folds = {}, {}, {}, {}, []
    for seed, fold_of_row, pairs in folds_of(data, found, case):
        scored = fold_of_row >= 0
        folds.append(fold_of_row[scored])
        for subset in reference.all_subsets(WIDTHS):
            asked = arguments.get("inner_folds", 5)
            expected = reference.nested_ridge(
                data["embeddings"], subset, y, pairs, seed, asked, ridge_grid, STEP
            )
            rows = by_fold.loc[[(subset, seed)]].sort_values("fold")
            np.testing.assert_allclose(rows["chosen_ridge_lambda"], expected.chosen, rtol=1e-12)
            assert rows["n_train"].tolist() == [len(training) for training, _ in pairs]
            left = y - expected.predictions
            slope = 2 / STEP * left * (expected.predictions - expected.further)
            losses.setdefault(subset, []).append(left[scored] ** 2)
            slopes.setdefault(subset, []).append(slope[scored])
            relative = expected.chosen / [len(training) for training, _ in pairs]
            kept = WIDTHS_OF_SETS[subset] * ((1 + relative) ** -4.0).mean()
            columns.setdefault(subset, []).append(kept)
            inner_loss.setdefault(subset, []).append(expected.inner_loss)
    losses = {subset: np.array(values) for subset, values in losses.items()}  # (r, n, t)
    slopes = {subset: np.array(values) for subset, values in slopes.items()}
    columns = {subset: np.mean(values) for subset, values in columns.items()}
    inner_loss = {subset: np.array(values) for subset, values in inner_loss.items()}
    index = found.index[found.index["metric"] == "r2"]
    whole, of_all = ({s: values.sum(2) for s, values in of.items()} for of in (losses, slopes))
    for row in index[index["target"].isna()].itertuples():
        trained = with_training(whole, of_all)
        assert_index_row(row, whole, inner_loss, np.array(folds), trained, columns)
    if max(map(max, folds)) > 1:  # else the inner loss of a target chooses
        for t, target in enumerate(index["target"].dropna().unique()):
            own, of_own = ({s: v[:, :, t] for s, v in of.items()} for of in (losses, slopes))
            (row,) = index[index["target"] == target].itertuples()
            trained = with_training(own, of_own)
            assert_index_row(row, own, None, np.array(folds), trained, columns)
    assert_ends_around_the_index(found.index)
    assert_gains_and_shares(found, y, folds_of(data, found, case))


def assert_gains_and_shares(found, y, folds):
    """Gains agree with the scores; Shapley values add up from the training rows' means."""
    scores = found.scores[found.scores["metric"] == "r2"].set_index("subset")
    gains = found.gains[(found.gains["metric"] == "r2") & found.gains["target"].isna()]
    assert gains["over"].tolist() == ["a", "b"]
    for row in gains.itertuples():
        difference = scores["score"][row.subset] - scores["score"][row.over]
        assert row.score_difference == pytest.approx(difference, abs=1e-12)
        gain = 1 - (1 - scores["pooled"][row.subset]) / (1 - scores["pooled"][row.over])
        assert row.eci_pooled == pytest.approx(gain, abs=1e-9)
        assert row.eci_low < gain < row.eci_high
    empty = [
        1 - ((y[tested] - y[training].mean(0)) ** 2).sum() / (y[tested].var(0) * len(tested)).sum()
        for _, _, pairs in folds
        for training, tested in pairs
    ]
    values = found.shapley[(found.shapley["metric"] == "r2") & found.shapley["target"].isna()]
    total = scores["score"]["a+b"] - np.mean(empty)
    assert values["value"].sum() == pytest.approx(total, abs=1e-10)
    assert (values["low"] < values["value"]).all() and (values["value"] < values["high"]).all()


@pytest.mark.parametrize("case", WITH_CLASSES)
def test_logistic(case):
    data, arguments = world(case), CASES[case] | {"seeds": 1}
    with quickly_compiled():
        found = evaluated(data, "classification", logistic_tolerance=1e-9, **arguments)
    assert_split_as_asked(data, found, case)
    by_fold = found.folds[found.folds["metric"] == "log_loss"].set_index("subset")
    ((seed, fold_of_row, pairs),) = folds_of(data, found, case)
    scored, labels = fold_of_row >= 0, data["labels"]
    losses, slopes, inner_loss = {"accuracy": {}, "log_loss": {}}, {}, {}
    for subset in reference.all_subsets(WIDTHS):
        expected = reference.nested_logistic(
            data["embeddings"], subset, labels, pairs, seed, 3, logistic_grid, -STEP_OF_C
        )
        rows = by_fold.loc[[subset]].sort_values("fold")
        np.testing.assert_allclose(rows["chosen_logistic_c"], expected.chosen, rtol=1e-12)
        own = found.predictions.query("subset == @subset")
        wide = own.pivot(index="id", columns="target", values="prediction").to_numpy()
        np.testing.assert_allclose(wide, expected.predictions[scored], atol=2e-6, rtol=0)
        with np.errstate(divide="ignore", invalid="ignore"):  # of a class that is absent
            probabilities = expected.predictions, expected.further
            loss, further = (-np.log(of[np.arange(N), labels]) for of in probabilities)
            slopes[subset] = (further - loss)[None, scored] / STEP_OF_C
        mean = np.array([loss[tested].mean() for _, tested in pairs])
        mean = np.where(np.isinf(mean), np.nan, mean)
        np.testing.assert_allclose(rows["score"], mean, atol=1e-8, rtol=0)
        missed = (expected.predictions.argmax(1) != labels).astype(float)
        losses["accuracy"][subset] = missed[None, scored]
        losses["log_loss"][subset] = loss[None, scored]
        inner_loss[subset] = expected.inner_loss[None]
    index = found.index.set_index("metric", drop=False)
    folds = fold_of_row[None, scored]
    (accuracy,) = index.loc[["accuracy"]].itertuples()
    assert_index_row(accuracy, losses["accuracy"], inner_loss, folds)
    absent = any(set(labels[tested]) - set(labels[training]) for training, tested in pairs)
    assert absent == (case == "one group left out")
    if absent:
        undefined = index.loc["log_loss", ["score", "eci", "eci_low", "eci_high", "p_better"]]
        assert undefined.isna().all()
        assert "a class is absent from the training rows of fold" in index.loc["log_loss", "reason"]
    else:
        (log_loss,) = index.loc[["log_loss"]].itertuples()
        trained = with_training(losses["log_loss"], slopes)
        assert_index_row(log_loss, losses["log_loss"], inner_loss, folds, trained)
    assert_ends_around_the_index(found.index)


def test_the_seed_deals_what_is_left_of_one_fold():
    """Two seeds test the same rows; only their inner folds differ."""
    data = world("train and test")
    found = evaluated(data, "regression", split="column", seeds=2)
    (first, second) = (found.folds.query("seed == @seed and metric == 'r2'") for seed in (42, 43))
    assert first["n_test"].tolist() == second["n_test"].tolist()
    with pytest.raises(ecjax.UsageError, match="seeds=2.*alike for every seed"):
        evaluated(world("a fold for each value"), "regression", split="column", seeds=2)
    with pytest.raises(ecjax.UsageError, match="seeds=3.*alike for every seed"):
        evaluated(data, "regression", split="group", folds=0, seeds=3)


def test_one_training_row_is_too_few():
    data = world("train and test")
    data["split"] = np.where(np.arange(N) == 5, "train", "test")
    with pytest.raises(ecjax.InputError, match="fold 0 of seed 42 trains on one row"):
        evaluated(data, "regression", split="column")
