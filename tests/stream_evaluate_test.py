"""Streamed studies have the tables, notes and messages of the same studies in memory."""

import functools

import jax
import numpy as np
import pandas as pd
import pytest
from make_streams import Threads, write_study
from quick import quickly_compiled

import ecjax
from ecjax import analyses, stream_evaluate
from ecjax.align import align
from ecjax.errors import InputError, UsageError
from ecjax.fingerprints import of_rows, of_split
from ecjax.notes import CONSTANT_IN_FOLD, NEAR_IN_TRAINING, SUSPECTED
from ecjax.results import columns_of, frames_of
from ecjax.settings import from_arguments

LITTLE = 2e5  # bytes of the budget, such that batches have some twenty rows
MUCH = 1e9
NOT_LOOKED_FOR = (
    "near neighbours", "identical vectors", NEAR_IN_TRAINING, CONSTANT_IN_FOLD, SUSPECTED,
)  # fmt: skip


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    def write(name, **how):
        return write_study(tmp_path_factory.mktemp(name), **how)

    return {
        "plain": write("plain"),
        "one target": write("one", targets=("u",)),
        "gaps, shuffled": write("gaps", gaps=True, shuffled=True),
        "flat": write("flat", targets=("half", "flat")),
        "tested": write("tested", gaps=True, parts=("train", "test", "train")),
    }


PREDICTED = {"protocol": "paper", "folds": 3, "seeds": 2, "predictions": True}
# study, budget, arguments
CASES = {
    "paper": ("plain", MUCH, {"protocol": "paper", "folds": 4}),
    "paper, gaps": ("gaps, shuffled", LITTLE, PREDICTED),
    "paper, two folds": ("one target", LITTLE, {"protocol": "paper", "folds": 2}),
    "strict": ("one target", MUCH, {"folds": 5}),
    "strict, gaps, seeds": ("gaps, shuffled", LITTLE, {"folds": 4, "seeds": 2}),
    "banded": ("gaps, shuffled", LITTLE, {"folds": 4, "penalty": "banded"}),
    "strict, two folds": ("gaps, shuffled", LITTLE, {"folds": 2, "seeds": 2}),
    "test rows of a column": ("tested", LITTLE, {"split": "column", "penalty": "banded"}),
    "test rows, paper": ("tested", LITTLE, {"split": "column", "protocol": "paper"}),
    "values of a column": ("plain", LITTLE, {"split": "column"}),
    "constant targets": ("flat", MUCH, {"split": "column", "protocol": "paper"}),
    "groups": ("gaps, shuffled", LITTLE, {"folds": 4, "bootstrap_unit": "group"}),
    "blocks, some sets": ("plain", LITTLE, {"folds": 4, "bootstrap_unit": "block",
                          "block_km": 900.0, "subsets": ["a+c", "b"]}),
}  # fmt: skip


def stream(study, budget=LITTLE, **arguments):
    settings = from_arguments({"split": "hash"} | arguments)
    found = stream_evaluate.evaluate(study, settings, budget)
    return found, frames_of_found(found, settings)


def frames_of_found(found, settings):
    """All tables, as `evaluate` makes them."""
    parts = columns_of(found.results, False) | analyses.columns_of(found.results, settings)
    swept = list(found.results[0].setting)
    return analyses.finished(frames_of(parts, swept), swept)


@functools.cache
def _in_memory(path, arguments):
    with quickly_compiled():
        return ecjax.evaluate(ecjax.read_study(path), **dict(arguments))


def in_memory(study, **arguments):
    arguments = {"split": "hash"} | arguments
    hashable = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    return _in_memory(study.path, tuple(hashable.items()))


def assert_equal(ours: pd.DataFrame, theirs: pd.DataFrame, tolerance=1e-9):
    assert list(ours.columns) == list(theirs.columns)
    for name, column in theirs.items():
        if column.dtype.kind != "f":
            pd.testing.assert_series_equal(ours[name], column)
            continue
        # Simultaneous intervals have a z that is rounded up to a grid.
        allowed = 0.02 if name.endswith("simultaneous") else tolerance
        np.testing.assert_allclose(ours[name], column, rtol=allowed, atol=allowed, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_tables_are_those_of_the_study_in_memory(studies, case):
    which, budget, arguments = CASES[case]
    expected = in_memory(studies[which], **arguments)
    found, frames = stream(studies[which], budget, **arguments)
    assert set(frames) == set(expected.tables) - {"maps", "predictions", "points"}
    for name, frame in frames.items():
        assert_equal(frame, expected.tables[name])
    notes = [vars(note) for note in found.notes if note.reason[:9] != "streamed:"]
    told = [n for n in expected.manifest["notes"] if not n["reason"].startswith(NOT_LOOKED_FOR)]
    assert notes == [n for n in told if "range in km" not in n["reason"]]
    assert expected.scores["score_low"].notna().all()  # there was something to compare
    assert expected.scores["score"].isna().any() == (which == "flat")


def test_predictions_come_batch_by_batch(studies):
    study = studies["gaps, shuffled"]
    expected = in_memory(study, **PREDICTED).predictions
    parts = []
    settings = from_arguments({"split": "hash"} | PREDICTED)
    stream_evaluate.evaluate(study, settings, LITTLE, predictions=parts.append)
    assert len(parts) > 5
    keys = ["seed", "subset", "id", "target"]
    ours, theirs = (t.sort_values(keys, ignore_index=True) for t in (pd.concat(parts), expected))
    assert_equal(ours, theirs)


def test_a_sweep_has_every_setting(studies):
    arguments = {"protocol": "paper", "folds": 3, "ridge_lambda": [1.0, 50.0]}
    _, frames = stream(studies["one target"], **arguments)
    assert_equal(frames["index"], in_memory(studies["one target"], **arguments).index)


def test_one_pass_has_the_scores_and_no_intervals(studies):
    settings = from_arguments({"split": "hash", "folds": 4})
    once = stream_evaluate.evaluate(studies["plain"], settings, LITTLE, second_pass=False)
    _, twice = stream(studies["plain"], folds=4)
    frames = frames_of_found(once, settings)
    names = ["score", "sem", "pooled", "chosen_ridge_lambda"]
    assert_equal(frames["scores"][names], twice["scores"][names])
    assert frames["index"][["eci_low", "eci_high"]].isna().all(axis=None)
    assert set(frames["index"]["reason"]) == {"no interval: the rows passed only once"}


def test_errors_that_moments_hardly_know_are_noted(tmp_path):
    study = write_study(tmp_path, targets=("u",))
    labels = pd.read_parquet(tmp_path / "labels.parquet")
    a = pd.read_parquet(tmp_path / "a.parquet")
    first, second = (a[name].astype(float) / a[name].std() for name in ("e0", "e1"))
    labels["u"] = first + second + 1e-5 * labels["u"]
    labels.to_parquet(tmp_path / "labels.parquet", index=False)
    settings = from_arguments({"split": "hash", "folds": 3, "protocol": "paper",
                               "ridge_lambda": 1e-6})  # fmt: skip
    found = stream_evaluate.evaluate(study, settings, MUCH, second_pass=False)
    assert any("fewer than ten digits" in note.reason for note in found.notes)


def test_another_device_finds_the_same(studies):
    settings = from_arguments({"split": "hash", "folds": 4})
    device = jax.devices("cpu")[0]
    found = stream_evaluate.evaluate(studies["one target"], settings, MUCH, device)
    _, frames = stream(studies["one target"], MUCH, folds=4)
    for name, frame in frames_of_found(found, settings).items():
        assert_equal(frame, frames[name])


def test_the_manifest_knows_the_rows_and_is_asked_before_anything_is_fitted(studies):
    settings = from_arguments({"split": "hash", "folds": 4, "bootstrap_unit": "group"})
    seen = []

    def stop(task, digests):
        seen.append((task, digests))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream_evaluate.evaluate(studies["plain"], settings, MUCH, seen=stop)
    done = []
    found = stream_evaluate.evaluate(
        studies["plain"], settings, LITTLE, progress=lambda *of: done.append(of)
    )
    assert done[-1] == ("t: second pass", 420, 420) and done[0][0] == "t: first pass"
    assert seen == [("t", found.digests["t"])]
    (task,) = align(studies["plain"])
    assert found.digests["t"] == of_rows(task) | {"split": of_split(task, "hash")}
    (result,) = found.results
    known = in_memory(studies["plain"], folds=4, bootstrap_unit="group").manifest["tasks"]["t"]
    assert list(known["folds_hash"].values()) == [result.folds_fingerprint]


def test_processes_that_share_the_rows_find_the_same(studies):
    study, arguments = studies["gaps, shuffled"], {"folds": 4, "bootstrap_unit": "group"}
    settings = from_arguments({"split": "hash"} | arguments)

    def work(peer):
        return stream_evaluate.evaluate(study, settings, LITTLE, peers=peer)

    alone, expected = stream(study, **arguments)
    for found in Threads(3).run(work):
        assert found.notes == alone.notes and found.digests == alone.digests
        for name, frame in frames_of_found(found, settings).items():
            assert_equal(frame, expected[name])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"split": "random"}, "use --split=hash or column"),
        ({"control": "permuted"}, "control=permuted needs all rows at once"),
        ({"interval": "nested"}, "interval=nested needs all rows"),
        ({"precision": "float32"}, "leave --precision out"),
        ({"map_by": "cell"}, "leave map_by and map_km out"),
    ],
)
def test_what_no_stream_can_give_is_refused(studies, arguments, words):
    with pytest.raises(UsageError, match=words):
        stream(studies["plain"], **arguments)


def test_a_budget_that_moments_do_not_fit_into_is_refused(studies):
    with pytest.raises(InputError, match="use fewer --folds or --seeds, or raise"):
        stream(studies["plain"], budget=1e4, folds=20)


def test_a_study_is_streamed_only_where_it_must_and_can_be(studies):
    study = studies["plain"]
    size = stream_evaluate.bytes_in_memory(study)
    assert size == 420 * 11 * (4 + 8)
    hashed, dealt = (from_arguments({"split": split}) for split in ("hash", "random"))
    assert not stream_evaluate.must_stream(study, dealt, size)
    assert stream_evaluate.must_stream(study, hashed, size - 1)
    with pytest.raises(InputError, match=r"raise --max_memory_gib .* or use --split=hash --stream"):
        stream_evaluate.must_stream(study, dealt, size - 1)


@pytest.mark.parametrize("change", ["missing", "leak", "alike", "no id", "duplicate", "infinite"])
def test_tables_are_refused_with_the_words_of_memory(tmp_path, change):
    study = write_study(tmp_path, targets=("u",))
    frame = pd.read_parquet(tmp_path / "a.parquet")
    if change == "missing":
        frame.loc[10:150, "e3"] = np.nan
    elif change == "leak":
        frame["e3"] = pd.read_parquet(tmp_path / "labels.parquet")["u"].astype("float32") * 3 + 1
    elif change == "alike":
        c = pd.read_csv(tmp_path / "c.csv")
        frame = pd.DataFrame({"id": c["id"], "e0": c["x1"], "e1": c["x2"]})
    elif change == "no id":
        frame["id"] += 10_000
    elif change == "duplicate":
        frame.loc[5, "id"] = frame.loc[4, "id"]
    else:
        frame.loc[7, "e2"] = np.inf
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    arguments = {"folds": 3, "protocol": "paper"}
    with pytest.raises(InputError) as expected:
        in_memory(study, **arguments)
    with pytest.raises(InputError) as found:
        stream(study, **arguments)
    assert str(found.value).split(" (|r| =")[0] == str(expected.value).split(" (|r| =")[0]
