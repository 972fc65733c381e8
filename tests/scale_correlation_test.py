"""Rank correlations of scales with scores and indices, as published and by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import special
from statsmodels.stats.multitest import multipletests

from ecjax import scale_correlation

PUBLISHED_KM = (82, 238, 151, 44, 243, 257, 66, 577, 354)
SINGLES = (0.400, 0.450, 0.683, 0.800)
SETS = (0.167, 0.600, 0.817, 0.700, 0.683, 0.633, 0.683)


def scales(ranges, task="land_cover", estimator="paper"):
    """A table of scales of targets 0, 1, …"""
    targets = [str(number) for number in range(len(ranges))]
    return pd.DataFrame(
        {"task": task, "target": targets, "estimator": estimator, "range_km": ranges}
    )


def evaluation(singles, sets, task="land_cover", metric="r2"):
    """Tables of an evaluation, from {subset: values of targets 0, 1, …}."""

    def rows(values, column):
        return pd.DataFrame(
            [
                {"task": task, "target": str(number), "subset": subset, "metric": metric}
                | {"n_models": subset.count("+") + 1, column: value}
                for subset, own in values.items()
                for number, value in enumerate(own)
            ]
        )

    fused = {subset: np.zeros(len(own)) for subset, own in sets.items()}  # not ranked
    whole = {subset: [np.mean(own)] for subset, own in (singles | fused).items()}
    return {
        "scores": rows(whole, "score").drop(columns="target"),
        "targets": rows({k: v for k, v in (singles | fused).items() if len(v) > 1}, "score"),
        "index": rows(sets, "eci"),
    }


def one_sided_p(rho, n):
    """P(T > t) of Student's t with n − 2 degrees of freedom, t = ρ √((n − 2)/(1 − ρ²))."""
    return special.stdtr(n - 2, -rho * np.sqrt((n - 2) / (1 - rho**2)))


def test_published_correlations_follow_from_the_published_tables(paper_data):
    read = {
        name: pd.read_csv(paper_data / "outputs" / f"{file}_lc_classes.csv", index_col=0)
        for name, file in {"score": "r2_scores", "index": "complementarity"}.items()
    }
    singles = dict(zip(read["score"].index[:4], read["score"].to_numpy()[:4], strict=True))
    sets = {
        name.replace(" + ", "+").replace("All GFMs", "a+b+c+d"): own
        for name, own in zip(read["index"].index, read["index"].to_numpy(), strict=True)
    }
    tables = evaluation(singles, sets)
    found = scale_correlation.correlate(scales(PUBLISHED_KM), tables).set_index("kind")
    assert list(found.columns) == scale_correlation.COLUMNS[1:]
    for kind, expected in {"score": SINGLES, "index": SETS}.items():
        own = found.loc[kind]
        assert own["rho"].round(3).tolist() == list(expected)
        p_values = one_sided_p(own["rho"].to_numpy(), 9)
        np.testing.assert_allclose(own["p_value"], p_values, rtol=1e-9)
        adjusted = multipletests(p_values, method="fdr_bh")[1]
        np.testing.assert_allclose(own["p_adjusted"], adjusted, rtol=1e-9)
        assert (own["n_targets"] == 9).all() and own["reason"].isna().all()


def test_targets_of_several_tasks_count_once_each():
    """Tasks of one target have no row in `targets`, and a null target in `index`."""
    tables = evaluation({"a": [0.1, 0.2, 0.4]}, {"a+b": [0.3, 0.1, 0.2]})
    alone = {"task": "biomass", "subset": "a", "metric": "r2", "n_models": 1, "score": 0.3}
    tables["scores"] = pd.concat([tables["scores"], pd.DataFrame([alone])])
    of_set = {"task": "biomass", "target": None, "subset": "a+b", "metric": "r2", "eci": 0.25}
    whole = of_set | {"task": "land_cover", "eci": -9.0}  # all targets together: not one of them
    tables["index"] = pd.concat([tables["index"], pd.DataFrame([of_set, whole])])
    scale = pd.concat([scales([10, 20, 40.0]), scales([30.0], "biomass").assign(target="agb")])
    found = scale_correlation.correlate(scale, tables).set_index("kind")
    assert found["n_targets"].tolist() == [4, 4]
    assert found.loc["score", "rho"] == pytest.approx(1)
    assert found.loc["index", "rho"] == pytest.approx(1 - 6 * (9 + 1 + 4 + 0) / 60)


def test_estimators_and_swept_settings_are_families_of_their_own():
    rng = np.random.default_rng(0)
    tables = evaluation({name: rng.normal(size=8) for name in "abc"}, {"a+b": rng.normal(size=8)})
    for name, frame in tables.items():
        tables[name] = pd.concat([frame.assign(ridge_lambda=0.1), frame.assign(ridge_lambda=1.0)])
    scale = pd.concat([scales(rng.uniform(size=8), estimator=e) for e in ("paper", "variogram")])
    found = scale_correlation.correlate(scale, tables, ["ridge_lambda"])
    assert len(found) == 2 * 2 * (3 + 1)
    for _, own in found.groupby(["ridge_lambda", "estimator", "kind"]):
        adjusted = multipletests(own["p_value"], method="fdr_bh")[1]
        np.testing.assert_allclose(own["p_adjusted"], adjusted, rtol=1e-12)


def test_metrics_do_not_mix():
    """Most targets have R² here; accuracies stay out of the ranks. Then the other way round."""
    tables = evaluation({"a": [0.1, 0.2, 0.4]}, {"a+b": [0.3, 0.1, 0.2]})
    other = evaluation({"a": [0.9]}, {"a+b": [0.9]}, "crops", "accuracy")
    tables = {name: pd.concat([frame, other[name]]) for name, frame in tables.items()}
    scale = pd.concat([scales([10, 20, 40.0]), scales([1.0], "crops")])
    found = scale_correlation.correlate(scale, tables)
    assert found["n_targets"].tolist() == [3, 3]
    assert found["rho"].to_numpy() == pytest.approx([1, -0.5])
    crops = [evaluation({"a": [i]}, {"a+b": [i]}, f"crops{i}", "accuracy") for i in range(3)]
    tables = {name: pd.concat([f, *(one[name] for one in crops)]) for name, f in tables.items()}
    scale = pd.concat([scale, *(scales([1.0 + i], f"crops{i}") for i in range(3))])
    found = scale_correlation.correlate(scale, tables)
    assert found["n_targets"].tolist() == [4, 4]


def test_undefined_is_null_with_a_reason():
    tables = evaluation(
        {"a": [0.1, 0.2, 0.4, 0.5], "b": [0.1, np.nan, 0.2, np.nan], "c": [0.2] * 4},
        {"a+b": [np.nan] * 4},
    )
    found = scale_correlation.correlate(scales([1.0, 2.0, np.nan, 4.0]), tables)
    assert found["n_targets"].tolist() == [3, 1, 3, 0]
    few, equal = scale_correlation.FEW, scale_correlation.EQUAL
    assert found["reason"].fillna("").tolist() == ["", few, equal, few]
    assert found[["rho", "p_value", "p_adjusted"]].isna().all(axis=1).tolist() == [
        False, True, True, True,
    ]  # fmt: skip
    assert found.loc[0, "p_adjusted"] == found.loc[0, "p_value"]  # nulls do not count
