"""Targets that are changed before they are fitted: what is refused, what is scored and shown."""

import numpy as np
import pandas as pd
import pytest
from make_tables import labels, study, write

import ecjax
from ecjax.align import align
from ecjax.arrays import Task, align_arrays
from ecjax.errors import InputError
from ecjax.notes import in_words
from ecjax.study import read_study
from ecjax.transforms import back, forward

N = 48
LOG = 'transform = "log1p"'


def test_there_and_back():
    values = np.array([-0.999, 0.0, 1e-12, 3.0, 1e9, np.nan])
    found = forward("log1p", values, np.arange(6), "t")
    np.testing.assert_allclose(found, np.log1p(values), rtol=0)
    np.testing.assert_allclose(back("log1p", found), values, rtol=1e-13)
    assert forward("none", values, np.arange(6), "t") is values is back("none", values)
    assert np.isinf(back("log1p", np.array([800.0]))).all()


def test_a_study_says_it_for_a_task(tmp_path):
    task = labels().assign(height=lambda t: np.exp(t["height"]))
    task.loc[3, "height"] = np.nan
    write(task, tmp_path / "labels.csv")
    path = study(tmp_path, task_keys=LOG)
    assert read_study(path).tasks["t"].transform == "log1p"
    assert read_study(study(tmp_path)).tasks["t"].transform == "none"
    (found,) = align(read_study(study(tmp_path, task_keys=LOG)))
    np.testing.assert_array_equal(found.y[:, 0], np.log1p(task["height"].dropna()))
    (note,) = [note for note in found.notes if "log" in note.reason]
    assert (note.task, note.count, note.first) == ("t", 1, "height")
    assert "1 target taken as log(1 + target): scores are of that" in in_words(note)
    assert found.transform == "log1p"


@pytest.mark.parametrize(
    ("kind", "target", "keys", "words"),
    [
        ("regression", "height", 'transform = "log"', ('value of transform "log"', '"log1p"?')),
        ("regression", "height", "transform = true", ("transform must be text",)),
        ("classification", "crop", LOG, ('"log1p" is for regression', "remove transform")),
    ],
)
def test_what_a_study_may_not_say(tmp_path, kind, target, keys, words):
    with pytest.raises(InputError) as caught:
        read_study(study(tmp_path, target=target, kind=kind, task_keys=keys))
    assert all(word in str(caught.value) for word in ("[tasks.t]", *words)), str(caught.value)


def test_a_value_without_a_logarithm(tmp_path):
    task = labels().assign(height=1.0)
    task.loc[[4, 9], "height"] = -1.0, -2.5
    write(task, tmp_path / "labels.csv")
    with pytest.raises(InputError) as caught:
        align(read_study(study(tmp_path, task_keys=LOG)))
    message = str(caught.value)
    for word in ("labels.csv", 'target "height"', "2 values", "-1 at id", '"104"', "remove tr"):
        assert word in message, message


def test_arrays_that_cannot_be_transformed():
    x, y = np.random.default_rng(0).normal(size=(N, 2)), np.ones(N)
    with pytest.raises(InputError, match='transform "sqrt"'):
        align_arrays({"a": x}, {"t": Task(y, transform="sqrt")})
    with pytest.raises(InputError, match="for regression"):
        align_arrays({"a": x}, {"t": Task(["u", "v"] * (N // 2), transform="log1p")})


@pytest.mark.parametrize("of", [np.log1p, np.asarray])
def test_the_target_is_a_leak_before_and_after(of):
    y = np.exp(3 * np.random.default_rng(0).normal(size=8))
    x = np.stack([of(y), np.random.default_rng(1).normal(size=8)], axis=1)
    with pytest.raises(InputError, match=r'"a\[0\]" is the target t'):
        align_arrays({"a": x}, {"t": Task(y, transform="log1p")})


@pytest.fixture(scope="module")
def both():
    """A skewed target told to be transformed, and the same transformed by hand."""
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=(N, 3)), rng.normal(size=(N, 2))
    y = np.exp(4 + np.stack([a[:, 0] + b[:, 0], a[:, 1]], 1) + 0.3 * rng.normal(size=(N, 2)))
    told = {"t": Task(y, transform="log1p")}
    options = {"folds": 4, "predictions": True}
    found = ecjax.evaluate({"a": a, "b": b}, told, protocol="paper", **options)
    return (
        y,
        found,
        ecjax.evaluate({"a": a, "b": b}, {"t": np.log1p(y)}, protocol="paper", **options),
    )


def test_scores_are_of_the_transformed_target(both):
    _, found, by_hand = both
    for name in ("scores", "folds", "index", "targets", "gains", "shapley"):
        pd.testing.assert_frame_equal(found.tables[name], by_hand.tables[name])
    assert found.manifest["tasks"]["t"]["transform"] == "log1p"
    assert by_hand.manifest["tasks"]["t"]["transform"] == "none"


def test_predictions_are_in_the_targets_own_units(both):
    y, found, by_hand = both
    own, log = found.predictions, by_hand.predictions
    np.testing.assert_allclose(own["prediction"], np.expm1(log["prediction"]), rtol=1e-12)
    first = own[(own["subset"] == "a") & (own["target"] == "t_1")].sort_values("id")
    np.testing.assert_allclose(first["y"], y[:, 1], rtol=1e-12)
    error = (own["y"] - own["prediction"]) ** 2
    np.testing.assert_allclose(own["squared_error"], error, rtol=1e-12)


def test_the_summary_says_so(both):
    _, found, by_hand = both
    assert "r2 (log1p)" in str(found) and "scores are of log(1 + target)" in str(found)
    assert "log" not in str(by_hand)


def test_a_directory_keeps_to_one_transform(tmp_path):
    x = {"a": np.random.default_rng(0).normal(size=(N, 2))}
    y = np.random.default_rng(1).uniform(size=N)
    ecjax.evaluate(
        x, {"t": Task(y, transform="log1p")}, folds=4, out=tmp_path / "out", protocol="paper"
    )
    with pytest.raises(InputError, match=r"transforms\.t \(there: log1p; now: not set\)"):
        ecjax.evaluate(x, {"t": y}, folds=4, out=tmp_path / "out", protocol="paper")
