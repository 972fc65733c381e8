"""Intervals of kinds `refit` and `nested` against plain loops, from the tables of whole studies."""

import functools

import numpy as np
import pandas as pd
import pytest
import reference
from scipy import stats

import ecjax
from ecjax import bootstrap, engine, inner, rechosen

N, K, B = 64, 4, 21
SUBSETS = ("a+b", "a+b+c")
NAMES = ("a", "b", "c", *SUBSETS)
WIDTHS = {"a": 3, "b": 4, "c": 2}
Z = stats.norm.ppf(0.975)
CASES = {
    "rows, two seeds": {"seeds": 2},
    "banded": {"penalty": "banded"},
    "paper": {"protocol": "paper", "ridge_lambda": 5.0},
    "groups": {"split": "group"},
    "blocks": {"split": "spatial", "block_km": 1500},
}
REDO = {"bootstrap_choices": "redo"}
REDONE = {
    "two groups": {"inner_folds": 2},
    "banded": {"penalty": "banded", "ridge_lambda": [100, 20, 4]},
    "a buffer": {"split": "spatial", "block_km": 1500, "buffer_km": 900},
}


@functools.cache
def made():
    rng = np.random.default_rng(0)
    x = {c: rng.normal(size=(N, w)) for c, w in WIDTHS.items()}
    y = x["a"][:, :2] + x["b"][:, :2] * [1, 0.3] + rng.normal(size=(N, 2)) * [1, 30]
    group = np.array([f"g{i}" for i in rng.integers(0, 14, size=N)])
    place = {"lat": rng.uniform(-40, 40, size=N), "lon": rng.uniform(-60, 60, size=N)}
    return x, ecjax.Task(y, group=group, **place), y


class Study:
    """What the tables say about fits, and the same fits again, one at a time."""

    def __init__(self, **arguments):
        x, task, y = made()
        self.strict = arguments.get("protocol") != "paper"
        self.found = ecjax.evaluate(
            x, {"y": task}, folds=K, subsets=SUBSETS, predictions=True, seed=3, **arguments
        )
        self.y = (y - y.mean(0)) / y.std(0)
        rows = self.found.predictions
        first = rows[(rows["subset"] == "a") & (rows["target"] == rows["target"].iloc[0])]
        self.seeds = sorted(set(first["seed"]))
        self.fold_of_row = np.stack(
            [first[first["seed"] == seed].sort_values("id")["fold"] for seed in self.seeds]
        )
        tested = [[np.flatnonzero(fold == j) for j in range(K)] for fold in self.fold_of_row]
        buffer_km = arguments.get("buffer_km", 0)
        self.outer = [[(training_of(rows, buffer_km), rows) for rows in own] for own in tested]
        self.unit_of_row = np.arange(N)
        if "split" in arguments:
            self.unit_of_row = np.unique(units(arguments["split"]), return_inverse=True)[1]
        self.units = self.unit_of_row.max() + 1
        self.quantile = Z if self.units == N else stats.t.ppf(0.975, self.units - 1)

    def blocks(self, subset):
        return [made()[0][c] for c in subset.split("+")]

    def penalties(self, subset, seed):
        """Of each fold, one for each embedding."""
        rows = self.found.folds.query("subset == @subset and metric == 'r2' and seed == @seed")
        names = subset.split("+")
        if not self.strict:
            return [[5.0] * len(names)] * K
        if "chosen_lambda_a" in rows:
            return rows[[f"chosen_lambda_{c}" for c in names]].to_numpy()
        return np.repeat(rows[["chosen_ridge_lambda"]].to_numpy(), len(names), axis=1)

    def singles(self, losses, subset):
        """(r, k) names of the singles of each fold, from losses {subset: (r, n)}."""
        return [
            reference.strict_index({s: of[r] for s, of in losses.items()}, fold, subset,
                                   subset.split("+"))[1]
            for r, fold in enumerate(self.fold_of_row)
        ]  # fmt: skip


def training_of(tested, buffer_km):
    """Rows of other folds, and no nearer than that to the tested ones."""
    training = np.setdiff1d(np.arange(N), tested)
    if not buffer_km:
        return training
    _, task, _ = made()
    places = task.lat[training, None], task.lon[training, None], task.lat[tested], task.lon[tested]
    return training[reference.great_circle_km(*places).min(1) > buffer_km]


def units(split):
    _, task, _ = made()
    if split == "group":
        return task.group
    from ecjax import sphere

    return sphere.equal_area_cells(task.lat, task.lon, 1500)


def usual_errors(study):
    """{subset: (r, n)} out of fold, summed over targets."""
    return {
        subset: np.stack([
            reference.fits_without(
                study.blocks(subset), study.y, outer, study.penalties(subset, seed), study.strict
            )[0]
            for seed, outer in zip(study.seeds, study.outer, strict=True)
        ])
        for subset in NAMES
    }  # fmt: skip


def check_tables(study, error_of_ratio, error_of_score):
    """Gains, indices and scores of R² against standard errors that are functions of sets.

    error_of_ratio: of a set and of another, or of None, its composite single.
    """
    found = study.found
    gains = found.gains.query("metric == 'r2' and target.isna()")
    assert len(gains) == 6
    for row in gains.itertuples():
        r, wide = np.log(1 - row.eci_pooled), study.quantile * error_of_ratio(row.subset, row.over)
        assert row.eci_low == pytest.approx(1 - np.exp(r + wide), abs=1e-8)
        assert row.eci_high == pytest.approx(1 - np.exp(r - wide), abs=1e-8)
    for row in found.index.query("metric == 'r2' and target.isna()").itertuples():
        members = gains[(gains["subset"] == row.subset) & gains["over"].isin(list(WIDTHS))]
        assert row.eci_low == min(members["eci_low"].min(), row.eci_pooled)
        if study.strict:
            wide = study.quantile * error_of_ratio(row.subset, None)
            high = 1 - (1 - row.eci_pooled) * np.exp(-wide)
            # Or that over a member that is tied with the best one, which intervals_test is about.
            ends = [high, *members["eci_high"][members["eci_high"] > high]]
            assert min(abs(row.eci_high - end) for end in ends) < 1e-8
        assert row.eci_low_simultaneous <= row.eci_low
        assert row.eci_high_simultaneous >= row.eci_high
    for row in found.scores.query("metric == 'r2'").itertuples():
        wide = study.quantile * error_of_score(row.subset)
        assert row.score_low == pytest.approx(row.pooled - wide, abs=1e-8)
        assert row.score_high == pytest.approx(min(row.pooled + wide, 1), abs=1e-8)


def kept_losses(study, subset, counts, seed, outer):
    given = study.penalties(subset, seed), study.strict
    return reference.kept_losses(study.blocks(subset), study.y, counts, outer, *given)


def redone_losses(study, subset, counts, seed, outer, inner_folds, banded):
    own = np.array(REDONE["banded"]["ridge_lambda"])
    grids = [own if banded else len(training) * inner.RIDGE_LAMBDA for training, _ in outer]
    given = outer, reference.inner_splits(outer, seed, inner_folds), grids, banded
    return reference.redone_losses(made()[0], subset, study.y, counts, *given)[0]


@pytest.mark.parametrize("case", CASES)
def test_refit_is_the_spread_of_fits_to_repeated_rows(case):
    check_refits(Study(interval="refit", bootstraps=B, **CASES[case]), kept_losses)


@pytest.mark.parametrize("case", REDONE)
def test_refits_that_choose_anew_are_those_of_a_table_of_repeated_rows(case):
    how = {"interval": "refit", "bootstraps": B, "bootstrap_choices": "redo"}
    study = Study(**how, **REDONE[case])
    if "buffer_km" in REDONE[case]:
        assert all(len(training) + len(tested) < N - 2 for training, tested in study.outer[0])
    given = {"inner_folds": REDONE[case].get("inner_folds", 5), "banded": case == "banded"}
    check_refits(study, functools.partial(redone_losses, **given))
    with pytest.raises(AssertionError):  # the choices of some replicates are others
        check_refits(study, kept_losses)


def check_refits(study, losses_of):
    """losses_of: a study, a set, how often each row was drawn, a seed and its folds → (k, t)."""
    drawn = bootstrap.counts(study.units, 0, 3)[:B][:, study.unit_of_row]
    losses = usual_errors(study) if study.strict else {}
    singles = {subset: study.singles(losses, subset) for subset in SUBSETS} if losses else {}
    replicates = []
    for counts in drawn:
        of_folds = {
            subset: np.stack([
                losses_of(study, subset, counts, seed, outer).sum(1)
                for seed, outer in zip(study.seeds, study.outer, strict=True)
            ])
            for subset in NAMES
        }  # (r, k)  # fmt: skip
        one = {subset: of.sum() / len(study.seeds) for subset, of in of_folds.items()}
        for subset, of_seeds in singles.items():
            kept = [of_folds[c][r, k] for r, own in enumerate(of_seeds) for k, c in enumerate(own)]
            one[subset, None] = sum(kept) / len(study.seeds)
        rows = study.y[np.repeat(np.arange(N), counts)]
        replicates.append(one | {"spread": ((rows - rows.mean(0)) ** 2).sum()})

    def error(statistic):
        few = np.sqrt(study.units / (study.units - 1))
        return np.std([statistic(one) for one in replicates], ddof=1) * few

    def of_ratio(subset, over):
        return error(lambda one: np.log(one[subset] / one[over or (subset, None)]))

    check_tables(study, of_ratio, lambda subset: error(lambda one: one[subset] / one["spread"]))


@pytest.mark.parametrize("case", CASES)
def test_nested_is_nested_cross_validation(case):
    study = Study(interval="nested", **CASES[case])
    usual, inner, mean = {}, {}, {}
    for subset in NAMES:
        found = [
            reference.fits_without(
                study.blocks(subset), study.y, outer, study.penalties(subset, seed), study.strict
            )
            for seed, outer in zip(study.seeds, study.outer, strict=True)
        ]
        usual[subset], inner[subset] = (np.stack(part) for part in zip(*found, strict=True))
        mean[subset] = usual[subset].mean(0)
    before = dict(usual)
    for subset in SUBSETS if study.strict else ():
        names = study.singles(before, subset)
        own = [[of[k] for k in fold] for of, fold in zip(names, study.fold_of_row, strict=True)]
        places = [(r, i, c) for r, of in enumerate(own) for i, c in enumerate(of)]
        key, shape = (subset, None), (len(own), N)
        usual[key] = np.array([usual[c][r, i] for r, i, c in places]).reshape(shape)
        each = np.array([inner[c][r, :, i] for r, i, c in places])
        inner[key] = each.reshape(*shape, K).swapaxes(1, 2)
        # As in `intervals`, a composite's rows are of losses averaged over seeds.
        mean[key] = np.array([mean[c][i] for _, i, c in places]).reshape(shape).mean(0)
    spread = (study.y**2).sum(1)
    rest = study.fold_of_row, study.unit_of_row

    def between(parts):
        error, naive = reference.nested_error(*parts, *rest)
        assert naive <= error <= np.sqrt(K) * naive * (1 + 1e-12)
        return error

    def of_ratio(subset, over):
        f, m = subset, over or (subset, None)
        low, high = 1 / mean[f].mean(), 1 / mean[m].mean()
        return between([part[f] * low - part[m] * high for part in (usual, inner, mean)])

    def of_score(subset):
        share = mean[subset].mean() / spread.mean()
        parts = [part[subset] - share * spread for part in (usual, inner, mean)]
        return between([part / spread.mean() for part in parts])

    check_tables(study, of_ratio, of_score)


def every_set(**arguments):
    x, task, _ = made()
    return ecjax.evaluate(x, {"y": task}, folds=K, **arguments)


@pytest.fixture(scope="module")
def plain():
    return every_set()


@pytest.mark.parametrize(
    "arguments", [{"interval": "nested"}, {"interval": "refit", "bootstraps": 20}]
)
def test_estimates_and_tests_stay_those_of_ratio(plain, arguments):
    found = every_set(**arguments)
    for column in ("eci", "eci_pooled", "p_better", "p_better_adjusted", "best_single"):
        assert found.index[column].equals(plain.index[column])
    assert (found.index["eci_low"] != plain.index["eci_low"]).any()
    assert not found.shapley[["low", "high"]].isna().any(axis=None)
    assert not found.targets[["score_low", "score_high"]].isna().any(axis=None)
    assert f"by {arguments['interval']}" in str(found)


@pytest.mark.parametrize(
    "arguments",
    [
        {"folds": 2, "seeds": 2, "seed": 7, "inner_folds": 3},
        {"folds": 2, "penalty": "banded"},
        {"folds": 5, "seeds": 2, "inner_folds": 0, "subsets": "a+c"},
        {"split": "group", "folds": 0},
        {"split": "column", "seeds": 2},
        {"split": "spatial", "folds": K, "buffer_km": 900, "penalty": "banded"},
    ],
)
def test_rows_that_are_all_drawn_once_choose_what_the_evaluation_chose(arguments, monkeypatch):
    x, task, y = made()
    kinds = np.where(np.arange(N) % 3, "train", "test")
    columns = {"group": task.group, "lat": task.lat, "lon": task.lon, "split": kinds}
    tasks = {"u": ecjax.Task(y[:, :1], **columns), "y": ecjax.Task(y, **columns)}
    found, choose = [], rechosen.choose

    def seen(how, *arrays):
        found.append((np.asarray(choose(how, *arrays)), arrays[-1]))
        return found[-1][0]

    monkeypatch.setattr(rechosen, "choose", seen)
    monkeypatch.setattr(bootstrap, "counts", lambda units, *_: np.ones((64, units), int))
    ecjax.evaluate(x, tasks, interval="refit", bootstraps=20, **REDO, **arguments)
    assert [len(places) for places, _ in found] == [16, 4]
    for places, original in found:
        np.testing.assert_array_equal(places, np.broadcast_to(original, places.shape))
    assert len(np.unique(original)) > 3


def test_choices_from_a_grid_of_one_are_kept():
    for more in ({}, {"penalty": "banded"}):
        how = {"interval": "refit", "bootstraps": 20, "ridge_lambda": 7.0, **more}
        kept, redone = (every_set(**how, bootstrap_choices=way) for way in ("keep", "redo"))
        for name in ("index", "gains", "scores", "shapley"):
            pd.testing.assert_frame_equal(kept.tables[name], redone.tables[name], rtol=1e-9)
        assert redone.manifest["arguments"]["bootstrap_choices"] == "redo"


def test_tasks_beside_change_no_choice_and_some_sets_may_be_left_out():
    x, _, y = made()
    how = {"folds": K, "interval": "refit", "bootstraps": 20, "bootstrap_choices": "redo"}
    alone = ecjax.evaluate(x, {"y": y[:, :1]}, **how)
    both = ecjax.evaluate(x, {"u": y[:, 1], "y": y[:, :1]}, **how, subsets="a+c")
    one, all_sets = both.index[both.index["task"] == "y"], alone.index.set_index("subset")
    for column in ("eci_low", "eci_high"):
        for row in one.itertuples():
            assert getattr(row, column) == pytest.approx(all_sets.loc[row.subset, column].iloc[0])


def test_neither_their_number_nor_tasks_beside_change_replicates():
    x, task, y = made()
    how = {"folds": K, "interval": "refit", "protocol": "paper", "subsets": "a+b"}
    alone = ecjax.evaluate(x, {"y": y[:, :1]}, bootstraps=20, **how)
    both = ecjax.evaluate(x, {"u": y[:, 1], "y": y[:, :1]}, bootstraps=20, **how)
    one = both.index[both.index["task"] == "y"]
    for column in ("eci_low", "eci_high"):
        np.testing.assert_allclose(one[column], alone.index[column], rtol=1e-11)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"interval": "refit"}, ecjax.UsageError, "bootstraps=200"),
        ({"interval": "refit", "bootstraps": 1}, ecjax.UsageError, "how replicates differ"),
        ({"interval": "refit", "bootstraps": 19}, ecjax.UsageError, "give 20 or more"),
        ({"interval": "nested", "bootstraps": 9}, ecjax.UsageError, "has no replicates"),
        (REDO, ecjax.UsageError, "interval=ratio has no refits; give --interval=refit"),
        (REDO | {"bootstraps": 20}, ecjax.UsageError, "interval=bootstrap has no refits"),
        (REDO | {"interval": "nested"}, ecjax.UsageError, "interval=nested has no refits"),
        (
            REDO | {"interval": "refit", "bootstraps": 20, "protocol": "paper"},
            ecjax.UsageError,
            "they are fixed; give --protocol=strict",
        ),
        ({"bootstrap_choices": "again"}, ecjax.UsageError, "accepted: keep, redo"),
        ({"interval": "nested", "folds": 2}, ecjax.InputError, "needs 3 folds, and there are 2"),
        ({"interval": "nested", "bootstrap_unit": "group"}, ecjax.InputError, "in several folds"),
        ({"interval": "nested", "split": "group", "folds": 0}, ecjax.InputError, "has one group"),
        ({"interval": "nested", "probe": lambda *a: a}, ecjax.UsageError, "a probe of your own"),
    ],
)
def test_what_they_are_not_for(arguments, error, says):
    x, task, _ = made()
    with pytest.raises(error, match=says):
        ecjax.evaluate(x, {"y": task}, **({"folds": K} | arguments))


@pytest.mark.parametrize("interval", [{"interval": "nested"},
                                      {"interval": "refit", "bootstraps": 20}])  # fmt: skip
def test_classes_are_refused_before_anything_is_fitted(interval, monkeypatch):
    x, _, y = made()
    tasks = {"y": y, "kind": np.where(y[:, 0] > 0, "high", "low")}
    monkeypatch.setattr(engine, "study", lambda *_: pytest.fail("fitted"))
    with pytest.raises(ecjax.InputError, match='"kind".* repeats ridge fits, .* has classes'):
        ecjax.evaluate(x, tasks, folds=K, **interval)
