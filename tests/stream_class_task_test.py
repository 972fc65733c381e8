"""Streamed classifications have the tables, notes and messages of the same studies in memory."""

import functools

import numpy as np
import pandas as pd
import pytest
import reference
from make_streams import Threads, write_study
from quick import quickly_compiled

import ecjax
from ecjax import analyses, stream_evaluate
from ecjax.align import align
from ecjax.errors import InputError
from ecjax.notes import CONSTANT_IN_FOLD, NEAR_IN_TRAINING
from ecjax.results import columns_of, frames_of
from ecjax.settings import from_arguments
from ecjax.splits import folds_of

LITTLE = 2e5  # bytes, such that batches have some ten rows and the sample some hundred and fifty
SOME = 2.4e5  # from a sample of four rows in five
MUCH = 1e9  # all rows are in the sample
EXACT = {"split": "hash", "logistic_tolerance": 1e-8}
# What is left open by 1e-8 on the gradient, where curvatures are 1e-2 and larger.
TOLERANCE = 1e-6
NOT_LOOKED_FOR = ("near neighbours", "identical vectors", NEAR_IN_TRAINING, CONSTANT_IN_FOLD)


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    def write(name, target, **how):
        folder = tmp_path_factory.mktemp(name)
        return write_study(folder, targets=(target,), kind="classification", **how)

    return {
        "plain": write("plain", "biome"),
        "gaps, shuffled": write("gaps", "code", gaps=True, shuffled=True),
        "local": write("local", "local"),
        "tested": write("tested", "biome", gaps=True, parts=("train", "test", "train")),
    }


BOTH_SEEDS = {"folds": 4, "seeds": 2, "subsets": ["a+b"], "logistic_c": [0.001, 0.1]}
# study, budget, arguments
CASES = {
    "paper": ("plain", MUCH, {"protocol": "paper", "folds": 4}),
    "paper, few in memory": ("plain", LITTLE, {"protocol": "paper", "folds": 4}),
    "strict": ("plain", MUCH, {"folds": 4}),
    "strict, gaps, seeds": ("gaps, shuffled", SOME, BOTH_SEEDS),
    "strict, two folds": ("gaps, shuffled", MUCH, {"folds": 2, "seeds": 2, "subsets": ["a+b"],
                          "bootstrap_unit": "group"}),
    "a class in one fold": ("local", MUCH, {"split": "column", "subsets": ["a+b"]}),
    "a class in one fold, paper": ("local", MUCH, {"split": "column", "protocol": "paper"}),
    "test rows of a column": ("tested", MUCH, {"split": "column", "subsets": ["a+b"]}),
}  # fmt: skip
# One of them every time: a program in memory takes ten seconds to compile.
EVERY_TIME = "strict, gaps, seeds"


def stream(study, budget=MUCH, **arguments):
    settings = from_arguments(EXACT | arguments)
    found = stream_evaluate.evaluate(study, settings, budget)
    return found, frames_of_found(found, settings)


def frames_of_found(found, settings):
    parts = columns_of(found.results, False) | analyses.columns_of(found.results, settings)
    swept = list(found.results[0].setting)
    return analyses.finished(frames_of(parts, swept), swept)


@functools.cache
def _in_memory(path, arguments):
    with quickly_compiled():
        return ecjax.evaluate(ecjax.read_study(path), **dict(arguments))


def in_memory(study, **arguments):
    arguments = EXACT | arguments
    hashable = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    return _in_memory(study.path, tuple(hashable.items()))


def assert_equal(ours: pd.DataFrame, theirs: pd.DataFrame, tolerance=TOLERANCE):
    assert list(ours.columns) == list(theirs.columns)
    for name, column in theirs.items():
        if column.dtype.kind != "f":
            pd.testing.assert_series_equal(ours[name], column)
        elif name != "gradient_norm":
            # Simultaneous intervals have a z that is rounded up to a grid.
            allowed = 0.02 if name.endswith("simultaneous") else tolerance
            np.testing.assert_allclose(ours[name], column, rtol=allowed, atol=allowed, err_msg=name)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=() if case == EVERY_TIME else pytest.mark.long) for case in CASES],
)
def test_tables_are_those_of_the_study_in_memory(studies, case):
    which, budget, arguments = CASES[case]
    expected = in_memory(studies[which], **arguments)
    found, frames = stream(studies[which], budget, **arguments)
    assert set(frames) == set(expected.tables) - {"maps", "predictions", "points"}
    for name, frame in frames.items():
        assert_equal(frame, expected.tables[name])
    assert frames["folds"]["converged"].all() and frames["folds"]["gradient_norm"].max() <= 1e-8
    notes = [vars(note) for note in found.notes if note.reason[:9] != "streamed:"]
    told = [n for n in expected.manifest["notes"] if n["reason"] not in NOT_LOOKED_FOR]
    assert notes == [n for n in told if "range in km" not in n["reason"]]
    accuracy = expected.scores[expected.scores["metric"] == "accuracy"]
    assert accuracy["score_low"].notna().all()  # there was something to compare
    assert expected.scores["score"].isna().any() == (which == "local")
    passed = any("passes over the rows" in note.reason for note in found.notes)
    assert passed == (budget < MUCH)
    known = expected.manifest["tasks"]["t"]
    assert list(found.results[0].task.classes) == known["classes"]
    assert found.digests["t"]["targets"] == known["targets_hash"]
    assert list(known["folds_hash"].values()) == [found.results[0].folds_fingerprint]


def fits_alone(study, arguments):
    """Of scikit-learn: (k, n, c) probabilities of each fold's fit to the subset a+b, and y."""
    settings = from_arguments(EXACT | arguments)
    (task,) = align(study)
    folds = folds_of(task, settings)
    x = np.column_stack([task.embeddings["a"], task.embeddings["b"]]).astype(float)
    x, every = (x - x.mean(0)) / x.std(0), np.arange(len(x))
    found = []
    for held_out in folds.held_out[0]:
        training = np.setdiff1d(every, held_out)
        how = np.arange(len(task.classes)), training, every, settings.logistic_c[0]
        found.append(reference.logistic_probabilities(x, task.y, *how))
    return np.array(found), task, folds.fold_of_row()[0]


@pytest.mark.parametrize("which", ["plain", "local"])
def test_fits_are_those_of_scikit_learn(studies, which):
    arguments = {"protocol": "paper", "subsets": ["a+b"], "logistic_c": 0.1}
    arguments |= {"folds": 4} if which == "plain" else {"split": "column"}
    probabilities, task, fold_of_row = fits_alone(studies[which], arguments)
    parts = []
    settings = from_arguments(EXACT | arguments | {"predictions": True})
    found = stream_evaluate.evaluate(studies[which], settings, LITTLE, predictions=parts.append)
    assert len(parts) > 5
    ours = pd.concat(parts).query("subset == 'a+b'").set_index(["id", "target"])["prediction"]
    own = probabilities[fold_of_row, np.arange(len(task.ids))]
    for code, label in enumerate(task.classes):
        mine = ours.xs(label, level="target").loc[task.ids]
        np.testing.assert_allclose(mine, own[:, code], atol=TOLERANCE)
    if which == "local":  # the rows of the first fold alone have a class
        frame = frames_of_found(found, settings)["folds"]
        losses = frame[(frame["metric"] == "log_loss") & (frame["subset"] == "a+b")]
        assert losses["score"].isna().tolist() == [True, False, False, False]


@pytest.mark.parametrize("protocol", ["paper", "strict"])
def test_little_memory_changes_no_table(studies, protocol):
    arguments = {"folds": 3, "subsets": ["a+b"], "protocol": protocol,
                 "logistic_c": [0.001, 0.1]}  # fmt: skip
    _, expected = stream(studies["plain"], MUCH, **arguments)
    found, frames = stream(studies["plain"], LITTLE, **arguments)
    for name, frame in frames.items():
        assert_equal(frame, expected[name])
    evaluations = max(result.sums.iterations.max() for result in found.results)
    assert 2 < evaluations < 25  # the sample, a third of the rows, tells nearly all


def test_a_sweep_has_every_setting(tmp_path):
    study = write_study(tmp_path, targets=("biome",), kind="classification")
    path = tmp_path / "study.toml"
    path.write_text(
        path.read_text() + "[sweep]\nfolds = [2, 3]\nseed = [1, 2]\nlogistic_c = [0.1]\n"
    )
    arguments = {"protocol": "paper", "subsets": ["b+c"]}
    settings = from_arguments(EXACT | arguments)
    found = stream_evaluate.evaluate(ecjax.read_study(path), settings, MUCH)
    frame = frames_of_found(found, settings)["scores"]
    assert len(frame) == 4 * 3 * 3
    for (folds, seed), own in frame.groupby(["folds", "seed"]):
        each = {"folds": folds, "seed": seed, "logistic_c": 0.1}
        _, alone = stream(study, **arguments, **each)
        assert_equal(own[alone["scores"].columns].reset_index(drop=True), alone["scores"])


@pytest.mark.parametrize("budget", [LITTLE, MUCH])
def test_no_fit_starts_from_rows_that_it_holds_out(tmp_path, budget):
    study = write_study(
        tmp_path, targets=("biome",), kind="classification", parts=("train", "test")
    )
    arguments = {"split": "column", "protocol": "paper", "predictions": True}
    # So large that fits end where the sample has brought them.
    settings = from_arguments(arguments | {"logistic_tolerance": 0.5})

    def probabilities():
        parts = []
        stream_evaluate.evaluate(study, settings, budget, predictions=parts.append)
        frame = pd.concat(parts).sort_values(["subset", "target", "id"])
        return frame["prediction"].to_numpy()

    before = probabilities()
    labels = pd.read_parquet(tmp_path / "labels.parquet")
    held_out = np.flatnonzero(labels["part"] == "test")
    labels.loc[held_out, "biome"] = labels.loc[held_out[::-1], "biome"].to_numpy()
    labels.to_parquet(tmp_path / "labels.parquet", index=False)
    np.testing.assert_allclose(probabilities(), before, rtol=1e-9)
    assert len(np.unique(before)) > 100  # not the shares of the classes alone


def test_processes_that_share_the_rows_find_the_same(studies):
    study = studies["gaps, shuffled"]
    arguments = {"folds": 3, "subsets": ["a+b"], "logistic_c": [0.01, 0.1],
                 "bootstrap_unit": "group", "inner_folds": 2}  # fmt: skip
    settings = from_arguments(EXACT | arguments)

    def work(peer):
        return stream_evaluate.evaluate(study, settings, SOME, peers=peer)

    alone, expected = stream(study, SOME, **arguments)
    for found in Threads(3).run(work):
        assert found.digests == alone.digests
        for name, frame in frames_of_found(found, settings).items():
            assert_equal(frame, expected[name])


@pytest.mark.parametrize(
    ("budget", "folds", "words"),
    [(2e4, 4, "too few rows in memory .* need 48 of them"), (1e5, 40, "weights of all folds take")],
)
def test_a_budget_that_fits_do_not_fit_into_is_refused(studies, budget, folds, words):
    with pytest.raises(InputError, match=words):
        stream(studies["plain"], budget, folds=folds)


def test_labels_tell_fingerprints_apart(tmp_path):
    study = write_study(tmp_path, targets=("biome",), kind="classification")
    arguments = {"protocol": "paper", "folds": 2, "subsets": ["c"], "logistic_tolerance": 1e-2}
    before = stream(study, **arguments)[0].digests["t"]
    labels = pd.read_parquet(tmp_path / "labels.parquet")
    labels["biome"] = labels["biome"].replace("wood", "woods")
    labels.to_parquet(tmp_path / "labels.parquet", index=False)
    after = stream(study, **arguments)[0].digests["t"]
    assert before["vectors"] == after["vectors"] and before["targets"] != after["targets"]


def test_a_leak_is_refused_with_the_words_of_memory(tmp_path):
    study = write_study(tmp_path, targets=("code",), kind="classification")
    a = pd.read_parquet(tmp_path / "a.parquet")
    a["e3"] = pd.read_parquet(tmp_path / "labels.parquet")["code"].astype("float32") * 3 + 1
    a.to_parquet(tmp_path / "a.parquet", index=False)
    arguments = {"protocol": "paper", "folds": 3}
    with pytest.raises(InputError) as expected:
        in_memory(study, **arguments)
    with pytest.raises(InputError) as found:
        stream(study, SOME, **arguments)
    assert str(found.value).split(" (|r| =")[0] == str(expected.value).split(" (|r| =")[0]
