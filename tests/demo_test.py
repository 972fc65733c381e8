"""The demo: one compiled call for 15 subsets × 6 tasks, and the planted truth is found."""

import contextlib

import jax
import numpy as np
import pandas as pd
import pytest
from quick import quickly_compiled
from watch import watched

import ecjax
from ecjax import demo, truth, world
from ecjax.evaluate import Result
from ecjax.progress import Silent
from ecjax.settings import from_arguments
from ecjax.world import SAMPLES

SEED = 42


@pytest.fixture(scope="module", params=["quick", pytest.param("whole", marks=pytest.mark.long)])
def demo_run(request):
    """The demo, its tables, and what was compiled and executed for them.

    With one C of the demo's three, that which it chooses most: fits take most of the time, and the
    truth is of the C that was chosen. Where it is to be quick, folds are fewer and fits not
    finished, and their truth, which takes as long again, is left out.
    """
    arguments = demo.ARGUMENTS | {"seed": SEED, "logistic_c": 0.003}
    how = contextlib.nullcontext()
    if request.param == "quick":
        arguments |= {"folds": 3, "logistic_tolerance": 1e-3}
        how = quickly_compiled()
    made = demo.make_demo(from_arguments(arguments), Silent())
    jax.clear_caches()  # so that every program that runs is seen
    with pytest.MonkeyPatch.context() as patch, watched(patch) as seen, how:
        result = made.evaluate()
    return made, result, seen


def test_one_program_is_compiled_and_executed_once(demo_run):
    _, _, seen = demo_run
    assert seen.compiled == ["jit(study)"]
    assert seen.executed == ["jit(study)"]  # and nothing else, however trivial


def test_all_subsets_and_tasks_with_the_papers_shapes(demo_run):
    made, result, _ = demo_run
    assert result.manifest["embeddings"] == {
        "alphaearth": 64, "tessera": 128, "geoclip": 512, "satclip": 256
    }  # fmt: skip
    tasks = result.manifest["tasks"]
    assert {name: len(task["targets"]) for name, task in tasks.items()} == {
        "crops": 1, "biomass": 1, "land_cover": 9, "bioclimatic": 19,
        "pop_density": 1, "road_distance": 1,
    }  # fmt: skip
    assert len(tasks["crops"]["classes"]) == 18
    transforms = {name: task["transform"] for name, task in tasks.items()}
    assert transforms.pop("pop_density") == "log1p" and set(transforms.values()) == {"none"}
    assert all(task["rows"] >= 2000 for task in tasks.values())
    whole = result.scores[result.scores["metric"].isin(["r2", "accuracy"])]
    assert len(whole) == 15 * 6 and whole["score"].notna().all()
    assert result.folds["fold"].nunique() == made.run.settings.folds
    assert result.folds["converged"].dropna().all()


def test_the_planted_truth_is_found(demo_run, monkeypatch):
    made, result, _ = demo_run
    tasks = 6
    if made.run.settings.logistic_tolerance > 1e-5:
        tasks = 5
        index = result.index[result.index["task"] != "crops"]
        result = Result(**(result.tables | {"index": index}), manifest=result.manifest)
        monkeypatch.setattr(truth, "SAMPLES", tuple(s for s in SAMPLES if s != "cropharvest"))
    with quickly_compiled():  # the truth's own fits, of which nothing else is asked
        found = demo.compare_with_truth(made.with_truth(result))
    assert len(found) == 11 * tasks
    assert (found["standard_error"] > 0).all() and found["standard_error"].median() < 0.05
    far = found[~found["within"]]
    assert len(far) <= tasks, far
    assert found["inside"].sum() >= 9.5 * tasks, found[~found["inside"]]
    clear = found[found["clear"]]
    assert len(clear) >= 20 and clear["same_sign"].all()


def test_the_written_study_runs_as_it_is(tmp_path):
    drawn = demo.draw_samples(world.make_world(SEED), SEED)
    demo.write_study(tmp_path, drawn["biomass"])
    study = ecjax.read_study(tmp_path / "study.toml")
    result = ecjax.evaluate(study, subsets=["alphaearth", "tessera"], protocol="paper", folds=5)
    assert set(result.scores["subset"]) == {"alphaearth", "tessera"}
    assert result.scores["score"].notna().all()
    edited = (tmp_path / "study.toml").read_text() + "# mine\n"
    (tmp_path / "study.toml").write_text(edited)
    demo.write_study(tmp_path, drawn["biomass"])
    assert (tmp_path / "study.toml").read_text() == edited


def test_worlds_differ_by_seed_and_repeat():
    rng = [np.random.default_rng(1) for _ in range(3)]
    first, again, other = (
        pd.DataFrame(world.make_world(seed).draw("biomass", 50, r).embeddings["tessera"])
        for seed, r in zip((1, 1, 2), rng, strict=True)
    )
    assert first.equals(again)
    assert not np.allclose(first, other)
