"""The paper's released tables, read as a user would read them, give scikit-learn's numbers.

Crops and biomass with AlphaEarth and GeoCLIP, as one study, in one call. The expected numbers were
measured with scikit-learn in float64: biomass digit by digit, crops with fits driven to a gradient
of 1e-8.
"""

import numpy as np
import pandas as pd
import pytest
from quick import quickly_compiled
from reference import splits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import ecjax

STUDY = """
name = "better-together"

[embeddings.alphaearth]
path = "{data}/alphaearth_centre/biomass_alphaearth_centre.csv"
[embeddings.geoclip]
path = "{data}/geoclip/biomass_geoclip.parquet"

[tasks.biomass]
path = "{data}/downstream_tasks/biomass_cleaned_centre.csv"
id = "index"
target = "biomass_mean"
kind = "regression"
lat = "lat"
lon = "lon"

[tasks.crops]
path = "{data}/downstream_tasks/{crops}.csv"
id = "index"
target = "label_name"
kind = "classification"
lat = "lat"
lon = "lon"
[tasks.crops.embeddings]
alphaearth = "{data}/alphaearth_centre/cropharvest200_alphaearth_centre.csv"
geoclip = "{data}/geoclip/cropharvest200_geoclip.parquet"
"""
CROPS_TABLE = "cropharvest_cleaned_global_threshold-200-sample"
FUSED = "alphaearth+geoclip"
BIOMASS = {  # score, sem, pooled, to ten digits
    "alphaearth": (0.6750013696, 0.0221361957, 0.6536285337),
    "geoclip": (0.3101597741, 0.0155844399, 0.3105350613),
    FUSED: (0.6368043076, 0.0219911889, 0.6187695649),
}
CROPS = {"alphaearth": (0.568957, 1.078108), "geoclip": (0.588128, 1.433130)}  # accuracy, log-loss


@pytest.fixture(scope="module")
def result(paper_data, tmp_path_factory):
    """The study's tables, from one call."""
    path = tmp_path_factory.mktemp("paper") / "study.toml"
    path.write_text(STUDY.format(data=paper_data / "data", crops=CROPS_TABLE), encoding="utf-8")
    with quickly_compiled():
        return ecjax.evaluate(ecjax.read_study(path), protocol="paper")


def scores_of(result, task):
    """Rows of `scores` by subset and metric."""
    scores = result.scores[result.scores["task"] == task]
    return scores.set_index(["subset", "metric"])


@pytest.mark.parametrize("subset", BIOMASS)
def test_biomass_scores_are_scikit_learns(result, subset):
    found = scores_of(result, "biomass").loc[(subset, "r2")]
    assert found["n_rows"] == 4581
    expected = BIOMASS[subset]
    np.testing.assert_allclose(
        found[["score", "sem", "pooled"]].astype(float), expected, rtol=0, atol=1e-9
    )


def test_every_crops_fit_has_converged_and_says_so(result):
    folds = result.folds[result.folds["task"] == "crops"]
    fits = folds.groupby(["subset", "fold"])["gradient_norm"]
    assert len(fits) == 3 * 20
    assert fits.max().max() <= 1e-5 and fits.min().min() > 0
    assert folds["converged"].all()


@pytest.mark.parametrize("subset", CROPS)
def test_crops_scores_are_those_of_finished_fits(result, subset):
    found = scores_of(result, "crops").loc[subset]
    accuracy, log_loss = CROPS[subset]
    assert (found["n_rows"] == 3596).all()
    assert found.loc["accuracy", "score"] == pytest.approx(accuracy, abs=0.001)
    assert found.loc["log_loss", "score"] == pytest.approx(log_loss, rel=0.001)


@pytest.mark.long
def test_crops_of_both_together_equal_scikit_learn_on_two_folds(result, paper_data):
    """About 40 s for the two fits of scikit-learn, on one thread, which is its fastest here."""
    data = paper_data / "data"
    labels = pd.read_csv(data / "downstream_tasks" / f"{CROPS_TABLE}.csv").set_index("index")
    models = [
        pd.read_csv(data / "alphaearth_centre" / "cropharvest200_alphaearth_centre.csv"),
        pd.read_parquet(data / "geoclip" / "cropharvest200_geoclip.parquet"),
    ]
    models = [table.dropna().set_index("id") for table in models]
    ids = [i for i in labels.index if all(i in table.index for table in models)]
    x = np.concatenate([table.loc[ids].to_numpy(float) for table in models], axis=1)
    x = StandardScaler().fit_transform(x)
    y = labels.loc[ids, "label_name"].to_numpy()
    folds = result.folds[(result.folds["task"] == "crops") & (result.folds["subset"] == FUSED)]
    found = folds[folds["metric"] == "log_loss"].set_index("fold")["score"]
    for fold, (training, held_out) in enumerate(splits(len(y), 20, 42)[:2]):
        with threadpool_limits(1):
            model = LogisticRegression(tol=1e-7, max_iter=20_000).fit(x[training], y[training])
        assert model.n_iter_ < 20_000
        log_probability = model.predict_log_proba(x[held_out])
        true_class = np.searchsorted(model.classes_, y[held_out])
        expected = -log_probability[np.arange(len(held_out)), true_class].mean()
        assert found[fold] == pytest.approx(expected, rel=0.001)
