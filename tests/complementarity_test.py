"""The index: the published tables follow from the published scores."""

import numpy as np
import pandas as pd
import pytest

from ecjax.complementarity import PERFECT_SINGLE, complementarity_index, index_of
from ecjax.scores import Scores

SUBSETS = ((0,), (1,), (0, 1))


@pytest.mark.parametrize("tables, count", [("main_tasks", 42), ("lc_classes", 63)])
def test_published_index_follows_from_published_scores(paper_data, tables, count):
    scores = pd.read_csv(paper_data / "outputs" / f"r2_scores_{tables}.csv", index_col=0)
    published = pd.read_csv(paper_data / "outputs" / f"complementarity_{tables}.csv", index_col=0)
    singles = [row for row in scores.index if "+" not in row and row != "All GFMs"]
    assert len(singles) == 4 and published.size == count
    for row in published.index:
        members = singles if row == "All GFMs" else row.split(" + ")
        found = complementarity_index(scores.loc[row], scores.loc[members].max())
        np.testing.assert_allclose(found, published.loc[row], rtol=0, atol=1e-12)


def scores_of(metric, folds, loss):
    fold = np.array(folds, float)[None]  # (1, s, k)
    return Scores(metric, fold, fold.mean(2), np.array(loss, float), "", lost=None, among=None)


def test_best_single_by_mean_score_and_by_pooled_loss_may_differ():
    scores = scores_of("r2", [[0.5, 0.5], [0.2, 0.6], [0.7, 0.9]], [5.0, 4.0, 3.0])
    index = index_of(scores, SUBSETS)
    assert index.best_single.tolist() == [0]
    np.testing.assert_allclose(index.eci, [(0.8 - 0.5) / 0.5])
    np.testing.assert_allclose(index.eci_pooled, [1 - 3 / 4])


def test_errors_are_better_when_smaller():
    scores = scores_of("mse", [[2.0, 2.2], [1.0, 1.1], [0.5, 0.7]], [4.0, 2.0, 1.0])
    index = index_of(scores, SUBSETS)
    assert index.best_single.tolist() == [1]
    np.testing.assert_allclose(index.eci, [1 - 0.6 / 1.05])
    assert index.p_value[0] == 0.25  # both differences positive: the least of two folds


def test_perfect_single_gives_null_with_a_reason():
    scores = scores_of("accuracy", [[1.0, 1.0], [0.5, 0.6], [1.0, 1.0]], [0.0, 0.4, 0.0])
    index = index_of(scores, SUBSETS)
    assert np.isnan(index.eci).all() and np.isnan(index.eci_pooled).all()
    assert index.reason == [PERFECT_SINGLE]
