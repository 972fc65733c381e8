"""Measures of a pair equal plain ones, keep what must not change them, and know their error."""

import hypothesis
import likeness
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies
from threadpoolctl import threadpool_limits

from ecjax import overlap_pairs, products, similarity

NAMES = ("cka", "cka_debiased", "cca", "cca_centred", "cca_weighted", "rsa")
few = hypothesis.settings(max_examples=12, deadline=None, derandomize=True)


def groups_of(n, count=overlap_pairs.GROUPS):
    return [np.arange(n)[g::count] for g in range(min(count, n))]


def estimates(x, y, tile=products.TILE, groups=None, confidence=0.95):
    blocks = overlap_pairs.Block("x", x, tile), overlap_pairs.Block("y", y, tile)
    sums = overlap_pairs.sums_of(*blocks, groups or groups_of(len(x)))
    return {estimate.measure: estimate for estimate in overlap_pairs.alike(sums, confidence)}


def values(*arguments, **options):
    return {name: e.value for name, e in estimates(*arguments, **options).items()}


def both(n=80, p=5, other=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) * 10.0 ** rng.uniform(-2, 2, p) + rng.normal(size=p)
    y = x @ rng.normal(size=(p, other)) + 5 * rng.normal(size=(n, other)) + 3
    return x, y


def close(found, wanted, names=NAMES, tolerance=1e-10):
    for name in names:
        assert found[name] == pytest.approx(wanted[name], abs=tolerance), name


@pytest.mark.parametrize("n", [30, 80, 400])
@pytest.mark.parametrize("p, other", [(5, 3), (3, 6), (3, 3)])
def test_values_are_the_plain_ones(n, p, other):
    x, y = both(n, p, other)
    found = values(x, y)
    assert tuple(found) == NAMES
    close(found, likeness.measures(x, y))


def test_wide_embeddings_of_400_rows():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(400, 120)) @ rng.normal(size=(120, 120)) + 1
    y = x[:, :64] + 30 * rng.normal(size=(400, 64))
    found = values(x.astype(np.float32), y)
    with threadpool_limits(1):  # several take a hundred times as long for a QR of this size
        close(found, likeness.measures(x.astype(np.float32).astype(float), y))


@few
@hypothesis.given(seed=strategies.integers(0, 2**32 - 1), tile=strategies.integers(1, 90))
def test_neither_tile_nor_order_of_rows_matters(seed, tile):
    x, y = both(seed=seed)
    order = np.random.default_rng(seed).permutation(80)
    place = np.argsort(order)
    moved = [place[group] for group in groups_of(80)]
    one, two = estimates(x, y), estimates(x[order], y[order], tile=tile, groups=moved)
    for name in NAMES:
        assert one[name][1:4] == pytest.approx(two[name][1:4], abs=1e-10), name


@few
@hypothesis.given(seed=strategies.integers(0, 2**32 - 1), scale=strategies.floats(1e-3, 1e3))
def test_cka_knows_no_rotation_scale_or_shift(seed, scale):
    x, y = both(seed=seed)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(5, 5)))[0]
    close(values(scale * x @ turn + 3, y), values(x, y), ("cka", "cka_debiased"))


@few
@hypothesis.given(seed=strategies.integers(0, 2**32 - 1))
def test_cca_knows_no_invertible_map(seed):
    x, y = both(seed=seed)
    x = x / x.std(axis=0)
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(5, 5)))[0] for _ in range(2))
    mapped = x @ (left * 10.0 ** rng.uniform(-2, 2, 5)) @ right
    names = "cca", "cca_weighted", "cca_centred"
    close(values(mapped, y), values(x, y), names, 1e-9)
    close(values(mapped + 7, y), values(x, y), names[2:], 1e-9)  # the centred form alone


@few
@hypothesis.given(seed=strategies.integers(0, 2**32 - 1))
def test_rsa_knows_no_scale_and_shift_of_rows(seed):
    x, y = both(seed=seed)
    rng = np.random.default_rng(seed)
    moved = x * rng.uniform(0.1, 10, size=(80, 1)) + rng.normal(size=(80, 1))
    close(values(moved, y), values(x, y), ("rsa",), 1e-9)


def test_repeated_columns_change_no_correlation():
    x, y = both()
    doubled = np.column_stack([x, x[:, :2] * 3, np.zeros(80)])
    close(values(doubled, y), values(x, y), ("cca", "cca_centred", "cca_weighted"))
    constant = np.column_stack([x, np.full(80, 0.1)])
    close(values(constant, y), values(x, y), ("cka", "cka_debiased", "cca_centred"))
    raw = likeness.canonical_correlations(np.column_stack([x, np.ones(80)]), y)
    assert values(constant, y)["cca"] == pytest.approx((raw**2).mean(), abs=1e-10)


def reasons(x, y):
    found = estimates(x, y)
    assert all(e.reason and np.isnan(e.low) for e in found.values() if np.isnan(e.value))
    return {name: e.reason for name, e in found.items() if np.isnan(e.value)}


def test_more_columns_than_rows_have_no_canonical_correlations():
    x, y = both(n=60, p=40, other=30)
    why = reasons(x, y)
    assert set(why) == {"cca", "cca_centred", "cca_weighted"}
    assert "70 independent columns together on 60 rows" in why["cca"]
    assert "cca_centred" in reasons(*both(n=60, p=40, other=20))
    assert not reasons(*both(n=60, p=40, other=19))


def test_columns_that_nearly_depend_on_each_other_are_no_guess():
    x, y = both()
    nearly = np.column_stack([x, x[:, 0] + 1e-6 * x[:, 0].std() * np.sin(np.arange(80))])
    why = reasons(nearly, y)
    assert set(why) == {"cca", "cca_centred", "cca_weighted"} and "nearly depend" in why["cca"]


@pytest.mark.parametrize("value", [0.1, 0.0])
def test_constant_embeddings_overlap_with_nothing(value):
    x, y = both()
    why = reasons(x, np.full((80, 3), value))
    assert set(why) == set(NAMES)
    assert why["cka"] == why["cca"] == "all columns of y are constant"
    assert "80 rows of y are the same in all columns" in why["rsa"]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_few_rows(n):
    x, y = both(n=n)
    why = reasons(x, y)
    assert ("cka" in why) == (n < 3)
    if n == 1:
        assert set(why) == set(NAMES) and why["cka"] == "there is only one row"
    assert ("cka_debiased" in why) >= (n < 4) and ("rsa" in why) == (n < 3)
    assert {"cca", "cca_centred", "cca_weighted"} <= set(why)


def test_intervals_need_rows_enough():
    x, y = both(n=39)
    assert all(
        e.reason == overlap_pairs.NO_INTERVAL and np.isnan(e.low) for e in estimates(x, y).values()
    )
    assert all(not e.reason and e.low < e.value < e.high for e in estimates(*both(40)).values())


def test_rows_that_correlate_alike_have_no_rsa():
    x, y = both()
    rng = np.random.default_rng(0)
    same = np.outer(rng.uniform(1, 2, 80), [1, 5, 2]) + rng.normal(size=(80, 1))  # but for rounding
    assert reasons(same, y)["rsa"] == "all rows of an embedding correlate alike"


@pytest.mark.parametrize("row", range(0, 20, 3))
def test_no_interval_where_some_rows_alone_make_a_direction(row):
    x, y = both()
    found = estimates(np.column_stack([x, np.arange(80) == row]).astype(float), y)
    for name, estimate in found.items():
        only = name.startswith("cca")
        assert estimate.value > 0 and np.isnan(estimate.low) == only
        assert estimate.reason == ("undefined without some of the rows" if only else "")


def test_one_column_has_no_correlation_of_rows():
    x, y = both(p=3, other=1)
    assert set(reasons(x, y)) == {"rsa"}


def test_intervals_are_the_jackknife_of_plain_values():
    x, y = both()
    deleted = [likeness.measures(*(np.delete(a, g, 0) for a in (x, y))) for g in groups_of(80)]
    for name, estimate in estimates(x, y, confidence=0.8).items():
        own = np.array([one[name] for one in deleted])
        ends = similarity.jackknife(estimate.value, own, 0.8)
        assert estimate[2:4] == pytest.approx(ends, abs=1e-9), name


RHO = np.array([0.9, 0.6, 0.3])


def planted(rng, n):
    """Gaussian columns of unit variance with canonical correlations RHO, and one that is alone."""
    u, v = rng.normal(size=(n, 3)), rng.normal(size=(n, 4))
    v[:, :3] = RHO * u + np.sqrt(1 - RHO**2) * v[:, :3]
    turns = [np.linalg.qr(rng.normal(size=(k, k)))[0] for k in (3, 4)]
    return u @ turns[0], v @ turns[1]


THEORY = {
    "cka": (RHO**2).sum() / np.sqrt(12),
    "cca_centred": (RHO**2).mean(),
    "cca_weighted": (RHO**4).sum() / (RHO**2).sum(),
}
THEORY |= {"cka_debiased": THEORY["cka"], "cca": THEORY["cca_centred"]}


def test_theory_lies_in_the_intervals_as_often_as_they_say():
    """60 worlds of 2,000 rows: 57 expected, of which at least 53 (p = 0.03) for each measure."""
    rng = np.random.default_rng(11)
    inside = dict.fromkeys(THEORY, 0)
    for _ in range(60):
        for name, e in estimates(*planted(rng, 2000)).items():
            if name in THEORY:
                inside[name] += e.low <= THEORY[name] <= e.high
    assert min(inside.values()) >= 53, inside


def test_predicts_what_theory_says():
    x, y = planted(np.random.default_rng(2), 4000)
    blocks = overlap_pairs.Block("x", x), overlap_pairs.Block("y", y)
    sums = overlap_pairs.sums_of(*blocks, groups_of(4000))
    first, second = overlap_pairs.predicted(sums, 0.99)
    assert first.low < (RHO**2).mean() < first.high  # x, of three columns, from y
    assert second.low < (RHO**2).sum() / 4 < second.high
    assert first.high - first.low < 0.05


def test_participation_ratio():
    x, _ = both()
    found = overlap_pairs.single(overlap_pairs.Block("x", x), groups_of(80), 0.95)
    assert found.value == pytest.approx(likeness.participation_ratio(x), rel=1e-10)
    assert found.low < found.value < found.high
    flat = overlap_pairs.single(overlap_pairs.Block("x", np.full((9, 3), 0.1)), groups_of(9), 0.95)
    assert np.isnan(flat.value) and flat.reason == "all columns of x are constant"
    one = overlap_pairs.single(overlap_pairs.Block("x", x[:1]), groups_of(1), 0.95)
    assert np.isnan(one.value) and one.reason == "there is only one row"
    two = overlap_pairs.single(overlap_pairs.Block("x", x[:2]), groups_of(2), 0.95)
    assert np.isnan(two.value) and two.reason == "of two rows it is 1 whatever they hold"


def test_the_papers_rows(paper_data):
    """AlphaEarth and GeoCLIP on the biomass rows; n × n forms on a sixth of them."""
    folder = paper_data / "data"
    tables = [
        pd.read_csv(folder / "alphaearth_centre" / "biomass_alphaearth_centre.csv"),
        pd.read_parquet(folder / "geoclip" / "biomass_geoclip.parquet"),
    ]
    labels = pd.read_csv(folder / "downstream_tasks" / "biomass_cleaned_centre.csv")
    known = [set(table["id"]) for table in tables]
    ids = [i for i in labels["index"] if all(i in own for own in known)]
    x, y = (t.set_index("id").filter(like="emb_").loc[ids].to_numpy(float) for t in tables)
    assert len(x) == 4581
    found = values(x, y, groups=groups_of(4581, 2))  # few, to be quick: intervals are no matter
    assert found["cca"] == pytest.approx(0.381753, abs=1e-6)  # as the paper computes it
    assert found["cca_centred"] == pytest.approx(0.372563, abs=1e-6)
    few_rows = values(x[::6], y[::6], groups=groups_of(764, 2))
    with threadpool_limits(1):
        squares = likeness.canonical_correlations(x, y) ** 2
        close(few_rows, likeness.measures(x[::6], y[::6]), tolerance=1e-8)
    assert found["cca"] == pytest.approx(squares.mean(), abs=1e-8)
