"""The demo: one compiled call for 15 subsets × 6 tasks, and the planted truth is found."""

import logging

import jax
import numpy as np
import pandas as pd
import pytest

import ecjax
from ecjax import demo, engine, world
from ecjax.arrays import align_arrays
from ecjax.evaluate import Run
from ecjax.progress import Silent
from ecjax.settings import Settings

SEED = 42


class CompiledNames(logging.Handler):
    """Names of the programs that JAX compiles, from its own log."""

    def __init__(self):
        super().__init__()
        self.names = []

    def emit(self, record):
        text = record.getMessage()
        if text.startswith("Finished XLA compilation of "):
            self.names.append(text.split()[4])


@pytest.fixture(scope="module")
def demo_run():
    """The demo's evaluation, the programs compiled in it, and the calls of the study program."""
    made = world.make_world(SEED)
    drawn = demo.draw_samples(made, SEED)
    run = Run("demo", align_arrays(None, world.as_tasks(drawn)), Settings(), {}, Silent())
    calls = []
    study = engine.study

    def counted(*arguments):
        calls.append(arguments)
        return study(*arguments)

    jax.clear_caches()  # so that every program that runs must first be compiled, and seen
    handler = CompiledNames()
    logger = logging.getLogger("jax")
    engine.study = counted
    logger.addHandler(handler)
    try:
        with jax.log_compiles():
            result = run.evaluate(None)
    finally:
        engine.study = study
        logger.removeHandler(handler)
    return made, result, handler.names, calls


def test_one_program_is_compiled_and_called_once(demo_run):
    _, _, compiled, calls = demo_run
    assert compiled == ["jit(study)"]
    assert len(calls) == 1


def test_all_subsets_and_tasks_with_the_papers_shapes(demo_run):
    _, result, _, _ = demo_run
    assert result.manifest["embeddings"] == {
        "alphaearth": 64, "tessera": 128, "geoclip": 512, "satclip": 256
    }  # fmt: skip
    tasks = result.manifest["tasks"]
    assert {name: len(task["targets"]) for name, task in tasks.items()} == {
        "crops": 1, "biomass": 1, "land_cover": 9, "bioclimatic": 19,
        "pop_density": 1, "road_distance": 1,
    }  # fmt: skip
    assert len(tasks["crops"]["classes"]) == 18
    assert all(task["rows"] >= 2000 for task in tasks.values())
    whole = result.scores[result.scores["metric"].isin(["r2", "accuracy"])]
    assert len(whole) == 15 * 6 and whole["score"].notna().all()
    assert result.folds["fold"].nunique() == 20
    assert result.folds["converged"].dropna().all()


def test_the_planted_truth_is_found(demo_run):
    made, result, _, _ = demo_run
    index = demo.add_truth(result.index, made, Settings(), Silent())
    whole = index[index["target"].isna() & index["metric"].isin(["r2", "accuracy"])]
    assert len(whole) == 66
    # Looser than the standard errors of single indices would ask for: a wrong truth or a wrong
    # index is off by tenths.
    far = whole[(whole["eci_pooled"] - whole["eci_true"]).abs() > 0.1]
    assert len(far) <= 6, far[["task", "subset", "eci_pooled", "eci_true"]]
    clear = whole[whole["eci_true"].abs() > 0.15]
    assert len(clear) >= 20
    assert (np.sign(clear["eci_pooled"]) == np.sign(clear["eci_true"])).all()


def test_the_written_study_runs_as_it_is(tmp_path):
    drawn = demo.draw_samples(world.make_world(SEED), SEED)
    demo.write_study(tmp_path, drawn["biomass"])
    study = ecjax.read_study(tmp_path / "study.toml")
    result = ecjax.evaluate(study, subsets=["alphaearth", "tessera"], folds=5)
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
