"""A penalty for each embedding against loops over scikit-learn, and what it is good for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from make_studies import default_grid, study
from quick import quickly_compiled

import ecjax
from ecjax import banded, engine
from ecjax.arrays import align_arrays
from ecjax.plan import make_plan
from ecjax.program import Penalties
from ecjax.settings import Settings
from ecjax.subsets import build_lattice


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quickly_compiled():
        yield


# widths, rows, {task: (targets, strength)}, arguments of evaluate
CASES = {
    "one task": ([3, 2], 40, {"u": (1, 1)}, {"folds": 5}),
    "tasks on the same rows": ([3, 4], 47, {"u": (2, 1), "v": (1, 0)}, {"folds": 6}),
    "three embeddings": ([2, 5, 3], 52, {"u": (2, 0.5)}, {"folds": 4, "inner_folds": 3}),
    "equal widths": ([3, 3], 41, {"u": (1, 0.5)}, {"folds": 5, "inner_folds": 0}),
    "two folds": ([3, 2], 33, {"u": (2, 0.5), "v": (1, 0)}, {"folds": 2}),
    "two seeds": ([2, 3], 37, {"u": (2, 0.5)}, {"folds": 4, "seeds": 2, "seed": 5}),
    "more columns than rows": ([30, 9], 36, {"u": (1, 1)}, {"folds": 4}),
    "a wide one of little": ([1, 20], 40, {"u": (1, 3)}, {"folds": 5}),
    "own grid": ([3, 2], 40, {"u": (2, 0.3)}, {"folds": 5, "ridge_lambda": [1, 300, 10]}),
    "one penalty": ([3, 2], 40, {"u": (1, 1)}, {"folds": 5, "ridge_lambda": 7.0}),
    "one embedding": ([4], 40, {"u": (1, 1)}, {"folds": 5}),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_loops_over_scikit_learn(case):
    widths, n, targets, arguments = CASES[case]
    embeddings, tasks = study(widths, n, targets)
    given = arguments.get("ridge_lambda")
    own = default_grid if given is None else lambda n_train: np.sort(np.atleast_1d(given))[::-1]
    found = ecjax.evaluate(embeddings, tasks, protocol="strict", penalty="banded", **arguments)
    by_fold = found.folds[found.folds["metric"] == "r2"]
    by_fold = by_fold.set_index(["task", "subset", "seed"]).sort_index(kind="stable")
    first = arguments.get("seed", 42)
    for task, y in tasks.items():
        y = reference.StandardScaler().fit_transform(y)
        for subset in reference.all_subsets(embeddings):
            for seed in range(first, first + arguments.get("seeds", 1)):
                expected = reference.nested_banded(
                    embeddings, subset, y, arguments["folds"], seed,
                    arguments.get("inner_folds", 5), own,
                )  # fmt: skip
                rows = by_fold.loc[(task, subset, seed)]
                names = [f"chosen_lambda_{m}" for m in subset.split("+")]
                np.testing.assert_allclose(rows[names], expected.chosen, rtol=1e-12)
                others = set(embeddings) - set(subset.split("+"))
                assert rows[[f"chosen_lambda_{m}" for m in others]].isna().all(axis=None)
                for (_, held_out), score in zip(
                    reference.splits(n, arguments["folds"], seed), rows["score"], strict=True
                ):
                    r2 = reference.r2_score(
                        y[held_out], expected.predictions[held_out],
                        multioutput="variance_weighted",
                    )  # fmt: skip
                    assert score == pytest.approx(r2, abs=1e-8 * max(1, abs(r2)))
            of_set = found.scores.query("task == @task and metric == 'r2' and subset == @subset")
            median = by_fold.loc[(task, subset)][names].median()
            np.testing.assert_allclose(of_set[names].iloc[0], median, rtol=1e-12)
            lowest = by_fold.loc[(task, subset)][names].min(axis=None)
            assert of_set["chosen_low"].item() == pytest.approx(lowest, rel=1e-12)


def test_the_loops_keep_and_leave_the_shared_penalty():
    """Else the equality above would not tell whether what a further penalty is worth is right."""
    left = []
    for case in ("one task", "a wide one of little"):
        widths, n, targets, arguments = CASES[case]
        embeddings, tasks = study(widths, n, targets)
        y = reference.StandardScaler().fit_transform(tasks["u"])
        how = arguments["folds"], 42, 5, default_grid
        found = reference.nested_banded(embeddings, "a+b", y, *how)
        left += (found.chosen[:, 0] != found.chosen[:, 1]).tolist()
    assert {True, False} == set(left)


def both_routes(embeddings, tasks, **arguments):
    """Sums of the host's BLAS and of the compiled search."""
    settings = Settings(protocol="strict", penalty="banded", **arguments)
    plan = make_plan(align_arrays(embeddings, tasks), settings, jax.devices("cpu")[0])
    (piece,) = plan.chunks[0]
    program = plan.program(piece, True)
    found = []
    with jax.enable_x64(True):
        penalties = Penalties(*(np.float64(v) for v in (np.nan, np.nan, 1e-5)))
        for on_host in (True, False):
            own = dataclasses.replace(program, on_host=on_host)
            found.append(jax.device_get(engine.study((own,), (plan.data(piece),), penalties))[0])
    return [one.regression for one in found]


@pytest.mark.parametrize(("folds", "widths"), [(2, [4, 3, 20]), (4, [4, 1, 30])])
def test_the_compiled_route_has_the_same_numbers(folds, widths):
    embeddings, tasks = study(widths, 70, {"u": (2, 2), "v": (1, 0.2)})
    host, compiled = both_routes(embeddings, tasks, folds=folds, predictions=True)
    whole = host.chosen[:, -1]  # (r, k, t, b)
    apart = whole.min(-1) != whole.max(-1)
    assert apart.any() and not apart.all()
    for name in host._fields:
        a, b = getattr(host, name), getattr(compiled, name)
        atol = 1e-8 if name == "row_slope" else 1e-10  # a difference, divided by its step
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=atol, err_msg=name)


@pytest.fixture
def any_step_pays(monkeypatch):
    """The search alone, without what a further penalty must be worth."""
    monkeypatch.setattr(banded, "WORTH", 0.0)


def test_a_search_ends_where_no_step_is_better_and_takes_the_stronger_of_equals(any_step_pays):
    rng = np.random.default_rng(0)
    grid = 10.0 ** -np.arange(9)
    for _ in range(50):
        worth = rng.integers(0, 30, size=(9, 9)).astype(float)

        def loss(places, worth=worth):
            return worth[places]

        end = banded.descend(loss, (4, 4), grid, 40)
        assert worth[end] <= worth[4, 4]
        for band in range(2):
            for step in (-1, 1):
                place = list(end)
                place[band] += step
                if 0 <= place[band] < 9:
                    assert worth[tuple(place)] > worth[end] or (
                        step == 1 and worth[tuple(place)] == worth[end]
                    )
    assert banded.descend(lambda places: 1.0, (4, 4), grid, 40) == (0, 0)


WORTH = [(2, 400, 0.01), (3, 400, 0.02), (2, 40, 0.1)]  # bands, rows, least share of the loss


@pytest.mark.parametrize(("bands", "rows", "enough"), WORTH)
def test_further_penalties_must_lower_the_loss_by_four_rows_each(bands, rows, enough):
    start, better = (1,) * bands, (0,) + (1,) * (bands - 1)
    for lower, end in ((1.01 * enough, better), (0.99 * enough, start), (0.0, better)):
        losses = {start: 1.0, better: 1.0 - lower}
        found = banded.descend(lambda p: losses.get(p, 9.0), start, np.array([9.0, 3, 1]), rows)  # noqa: B023
        assert found == end


# a grid; the places (a, b) from the shared start on, each with a smaller loss than the one before;
# the two of the least loss, the one to take first. All others' loss is larger.
TIES = {
    "stronger than the start": ([4, 2, 1], [(1, 1)], [(0, 1), (1, 0)]),
    "weaker than the start": ([4, 2, 1], [(0, 0)], [(0, 1), (1, 0)]),
    "steps of several places": ([64, 32, 16, 8, 4], [(0, 0)], [(0, 4), (4, 0)]),
    "equal products": ([81, 27, 9, 3, 1], [(4, 4), (2, 4)], [(1, 4), (2, 3)]),
    "the later gains more": ([99, 11, 10, 9, 1], [(4, 4), (2, 4)], [(2, 3), (1, 4)]),
    "the earlier loses less": ([99, 12, 10, 9, 8, 1], [(4, 4), (2, 4)], [(3, 4), (2, 5)]),
    "λ of 0": ([5, 0], [(1, 1)], [(0, 1), (1, 0)]),
}


@pytest.mark.parametrize("case", TIES)
def test_of_equal_losses_the_larger_product_then_the_earlier_larger_penalty(
    case, monkeypatch, any_step_pays
):
    grid, path, tied = TIES[case]
    table = np.full((len(grid), len(grid)), 9.0)
    for loss, places in enumerate([*path, tied], start=-len(path)):
        table[tuple(np.transpose(places))] = -loss
    expected = tied[0]
    end = banded.descend(lambda places: table[places], path[0], np.array(grid, float), 40)
    assert end == expected

    def weights(system, rhs, penalty, member):
        place = abs(penalty[:, None] - np.array(grid, float)).argmin(1)
        return jnp.asarray(table)[tuple(place)] * rhs

    monkeypatch.setattr(banded, "solve", weights)
    nothing = np.zeros((1, 2, 1))
    rhs = nothing + [[1.0], [0.0]]
    with jax.enable_x64(True):  # the loss is that of the table
        inner = banded.Inner(
            np.zeros((1, 2, 2)), rhs, np.zeros((1, 2, 2)), -0.5 * rhs, nothing[:, 0]
        )
        shared = jnp.full((1, 1), path[0][0])
        lattice = build_lattice([1, 1], [(0, 1)])
        found, loss = banded.choose(
            inner, jnp.array(grid, float), shared, [(0, 1)], lattice, (0, 1), 40
        )
        assert tuple(found[0, 0].tolist()) == expected and loss.item() == 0


def twins(order):
    """Embeddings that hold the same column, one beside constant ones; a task that it tells little.

    Their penalties act as one, of 1/(1/λ₁ + 1/λ₂), and to swap them is to change nothing: what the
    column tells is so little of the loss that rounding cannot tell the two apart. In each fold it
    has a slope of its own, and the rest of the target is orthogonal to it.
    """
    rng = np.random.default_rng(0)
    x, y = np.empty((40, 1)), np.empty((40, 1))
    for slope, (_, rows) in zip([1, 0, 1, 1, 0], reference.splits(40, 5, 42), strict=True):
        both = np.linalg.qr(np.column_stack([np.ones(8), rng.normal(size=(8, 2))])).Q
        x[rows] = both[:, 1:2]
        y[rows] = 1e-4 * slope * x[rows] + both[:, 2:]
    embeddings = {"wide": np.hstack([np.zeros((40, 2)), x]), "narrow": x}
    return {name: embeddings[name] for name in order}, {"u": y}


@pytest.mark.parametrize("order", [("wide", "narrow"), ("narrow", "wide")])
@pytest.mark.parametrize(("low", "high", "shared"), [(16.0, 64.0, 16.0), (14.0, 48.0, 48.0)])
def test_the_earlier_of_twins_has_the_larger_penalty(order, low, high, shared, any_step_pays):
    """Where the slopes agree less (folds 0, 2 and 3), the best are one high and one low λ."""
    embeddings, tasks = twins(order)
    how = {"folds": 5, "ridge_lambda": (low, high)}
    start = ecjax.evaluate(embeddings, tasks, protocol="strict", subsets="wide+narrow", **how)
    chosen = start.folds.set_index(["subset", "metric"]).loc[("+".join(order), "r2")]
    assert chosen["chosen_ridge_lambda"].tolist() == [shared, low, shared, shared, low]
    for sums in both_routes(embeddings, tasks, **how):
        found = sums.chosen[0, 2, :, 0].tolist()
        assert found == [[high, low], [low, low], [high, low], [high, low], [low, low]]


def test_a_penalty_that_changes_no_loss_is_the_largest():
    """That of an embedding which is constant in all inner fits of a fold."""
    embeddings, tasks = study([2], 30, {"u": (1, 1)})
    embeddings["b"] = np.full((30, 2), 0.1)
    embeddings["b"][7] = 5.0
    with_row = next(i for i, (_, f) in enumerate(reference.splits(30, 5, 42)) if 7 in f)
    for sums in both_routes(embeddings, tasks, folds=5):
        alone, both = sums.chosen[0, 0, with_row, 0], sums.chosen[0, 2, with_row, 0]
        np.testing.assert_allclose(both, [alone[0], 24 * 100], rtol=1e-12)
        assert alone[0] < 24 * 100


def test_a_wide_block_of_noise_drowns_no_other():
    rng = np.random.default_rng(3)
    n = 500
    small, noise = rng.normal(size=(n, 10)), rng.normal(size=(n, 200))
    y = small @ rng.normal(size=10) / 3 + rng.normal(size=n)
    results = {
        penalty: ecjax.evaluate(
            {"small": small, "noise": noise}, {"y": y}, protocol="strict", penalty=penalty, folds=5
        )
        for penalty in ("shared", "banded")
    }
    pooled = {
        penalty: result.scores.query("metric == 'r2'").set_index("subset")["pooled"]
        for penalty, result in results.items()
    }
    assert pooled["banded"]["small"] == pooled["shared"]["small"]
    assert pooled["banded"]["small+noise"] > pooled["shared"]["small+noise"] + 0.02
    assert pooled["banded"]["small+noise"] > pooled["banded"]["small"] - 0.02


def test_classes_share_their_penalty():
    embeddings, tasks = study([3, 2], 60, {"u": (1, 1)})
    labels = np.where(tasks["u"][:, 0] > np.median(tasks["u"]), "high", "low")
    found = ecjax.evaluate(
        embeddings, {"u": tasks["u"], "c": labels}, protocol="strict", penalty="banded", folds=4,
        logistic_c=[0.1, 1], logistic_tolerance=1e-9,
    ).folds.query("task == 'c' and metric == 'log_loss'").set_index("subset")  # fmt: skip
    assert found[["chosen_lambda_a", "chosen_lambda_b"]].isna().all(axis=None)
    codes, grid = (labels == "low").astype(int), np.array([0.1, 1])
    for subset in reference.all_subsets(embeddings):
        expected = reference.nested_logistic(embeddings, subset, codes, 4, 42, 3, lambda _: grid)
        assert found.loc[subset, "chosen_logistic_c"].tolist() == expected.chosen.tolist()
        loss = -np.log(expected.predictions[np.arange(60), codes])
        mean = [loss[held_out].mean() for _, held_out in reference.splits(60, 4, 42)]
        np.testing.assert_allclose(found.loc[subset, "score"], mean, atol=1e-6)


def test_chunks_and_the_order_of_embeddings_change_nothing():
    embeddings, tasks = study([4, 2, 4], 50, {"u": (2, 1)})
    how = {"protocol": "strict", "penalty": "banded", "folds": 4, "seeds": 2}
    whole = ecjax.evaluate(embeddings, tasks, **how).scores
    cut = ecjax.evaluate(embeddings, tasks, max_memory_gib=1e-4, **how).scores
    np.testing.assert_allclose(whole["score"], cut["score"], rtol=1e-12)
    turned = ecjax.evaluate(dict(reversed(embeddings.items())), tasks, **how).scores
    turned["subset"] = ["+".join(sorted(name.split("+"))) for name in turned["subset"]]
    both = whole.merge(turned, on=["subset", "metric"])
    assert len(both) == len(whole)
    np.testing.assert_allclose(both["score_x"], both["score_y"], rtol=1e-9)
