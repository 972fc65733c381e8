"""The plan of a run against the run itself: what it calls and compiles, and what it cuts."""

import jax
import numpy as np
import pytest
from quick import quickly_compiled
from watch import watched

import ecjax
from ecjax import host, logistic_cost
from ecjax.arrays import align_arrays
from ecjax.evaluate import Run
from ecjax.precision import DeviceFacts
from ecjax.progress import Silent
from ecjax.run_plan import plan_run
from ecjax.scaled_plan import duration
from ecjax.settings import from_arguments

N = 60
BUDGET = 6e-5  # GiB: less than eight seeds of the soils and their predictions take


@pytest.fixture(scope="module", autouse=True)
def quick():
    with quickly_compiled():
        yield


def run_of(swept=None, only=("height", "soils", "land", "crop"), **arguments):
    """Tasks on two samples: height, soils and land share their rows, crop has rows of its own."""
    rng = np.random.default_rng(1)
    shared, own = ({name: rng.normal(size=(n, 3)) for name in "ab"} for n in (N, 40))
    tasks = {
        "height": ecjax.Task(rng.normal(size=N), embeddings=shared),
        "soils": ecjax.Task(rng.normal(size=(N, 2)), embeddings=shared),
        "land": ecjax.Task(rng.choice(list("uvw"), N), embeddings=shared),
        "crop": ecjax.Task(rng.choice(list("xy"), 40), embeddings=own),
    }
    aligned = align_arrays({}, {name: tasks[name] for name in only})
    settings = from_arguments(
        {"protocol": "paper", "folds": 4, "logistic_tolerance": 1e-2} | arguments
    )
    return Run("made", aligned, settings, swept or {}, Silent())


def test_what_is_done_on_each_sample():
    first, second = run_of(seeds=2).plan().samples
    assert first.tasks == ("height", "soils", "land") and second.tasks == ("crop",)
    assert (first.rows, first.columns, first.targets, first.classes) == (N, 6, 3, (3,))
    assert (second.rows, second.columns, second.targets, second.classes) == (40, 6, 0, (2,))
    assert (first.subsets, first.folds, first.seeds, first.settings) == (3, 4, 2, 1)
    assert first.by_gram + first.by_hat == 3
    assert second.by_gram == second.by_hat == 0


@pytest.mark.parametrize(
    "swept, arguments",
    [
        ({}, {}),
        # Penalties are data; for another λ only the regression is computed again, which is another
        # program.
        ({"ridge_lambda": (0.1, 1.0, 10.0), "seed": (1, 2)}, {"only": ("height", "land")}),
        ({"folds": (4, 5)}, {"only": ("height", "soils")}),
        ({}, {"only": ("soils",), "seeds": 8, "predictions": True, "max_memory_gib": BUDGET}),
    ],
)
def test_calls_and_compilations_are_those_of_the_run(monkeypatch, swept, arguments):
    run = run_of(swept, **arguments)
    jax.clear_caches()  # so that every program that runs is seen
    with watched(monkeypatch) as seen:
        plan = run.plan()
    assert seen.compiled == seen.executed == []
    with watched(monkeypatch) as seen:
        run.evaluate(None)
    assert seen.executed == ["jit(study)"] * plan.calls
    assert seen.compiled == ["jit(study)"] * plan.compilations
    if "max_memory_gib" in arguments:
        assert plan.calls > plan.compilations


REDO = {"protocol": "strict", "bootstrap_choices": "redo"}


@pytest.mark.parametrize(
    "interval, programs",
    [
        ({"interval": "refit", "bootstraps": 75}, {"jit(fit)": 2}),
        ({"interval": "nested", "seeds": 2}, {"jit(fit)": 2}),
        ({"interval": "refit", "bootstraps": 75, **REDO}, {"jit(fit)": 2, "jit(choose)": 2}),
        ({"interval": "refit", "bootstraps": 20, "split": "hash", "penalty": "banded", **REDO},
         {"jit(fit)": 2, "jit(choose)": 2}),
    ],
)  # fmt: skip
def test_fits_that_intervals_repeat_are_counted(monkeypatch, interval, programs):
    alike = {
        key: interval[key] for key in ("protocol", "split", "penalty", "seeds") if key in interval
    }
    plain, run = (run_of(only=("soils",), **given) for given in (alike, interval))
    plan = run.plan()
    jax.clear_caches()
    with watched(monkeypatch) as seen:
        run.evaluate(None)
    assert len(seen.executed) == plan.calls > 2
    calls = (plan.calls - 1) // len(programs)
    assert [seen.executed.count(name) for name in programs] == [calls] * len(programs)
    assert {name: seen.compiled.count(name) for name in programs} == programs
    assert len(seen.compiled) == plan.compilations
    assert plan.operations > 4 * plain.plan().operations  # of as many seeds
    assert plan.seconds > plain.plan().seconds
    if "bootstrap_choices" in interval:  # nearly the whole evaluation again for each of them
        kept = run_of(only=("soils",), **interval | {"bootstrap_choices": "keep"}).plan()
        share = (plan.operations - kept.operations) / plain.plan().operations
        assert 0.4 < share / interval["bootstraps"] < 1.1
    own = plan.repeated
    assert own.calls == plan.calls - 1 and plain.plan().repeated is None
    assert own.operations == pytest.approx(plan.operations - plain.plan().operations)
    assert own.seconds == pytest.approx(plan.seconds - plain.plan().seconds)
    line = plan.as_text().splitlines()[-1]
    number = interval.get("bootstraps")
    what = f"{number} replicates" if interval["interval"] == "refit" else "nested cross-validation"
    assert line.startswith(f"refits      {what}, which take of this {own.calls} calls, ")
    assert "refits" not in plain.plan().as_text()


def test_a_setting_that_changes_nothing_is_not_computed_again():
    plan = run_of({"ridge_lambda": (0.1, 1.0, 10.0)}).plan()
    assert [(s.tasks, s.settings) for s in plan.samples] == [
        (("height", "soils", "land"), 1), (("crop",), 1), (("height", "soils"), 2),
    ]  # fmt: skip
    alone = run_of(only=("height", "soils")).plan()
    assert plan.samples[2].operations == 2 * alone.operations
    assert plan.operations == sum(sample.operations for sample in plan.samples)
    assert plan.swept == {"ridge_lambda": (0.1, 1.0, 10.0)}


def test_a_budget_cuts_the_run_and_keeps_every_call_within_it(monkeypatch):
    monkeypatch.setattr(host, "available_cores", lambda: 2)
    whole = run_of(only=("soils",), seeds=8, predictions=True).plan()
    cut = run_of(only=("soils",), seeds=8, predictions=True, max_memory_gib=BUDGET).plan()
    assert whole.calls == 1 < cut.calls
    assert cut.peak_bytes <= cut.budget_bytes == BUDGET * 2**30 < whole.peak_bytes


def test_time_is_not_known_on_a_device_that_was_never_measured():
    run = run_of()
    gpu = DeviceFacts("gpu", "NVIDIA H100", 80 * 2**30)
    plan = plan_run(run._steps(), gpu)
    assert plan.seconds is None and {sample.seconds for sample in plan.samples} == {None}
    assert plan.operations > 0
    text = plan.as_text()
    assert "not known: the estimate was fitted on a CPU, in float64; this is gpu" in text
    assert " s " not in text.split("time ")[-1] and "GiB" in text


def test_a_tighter_tolerance_is_assumed_to_take_longer():
    loose, tight = (run_of(logistic_tolerance=value).plan() for value in (1e-3, 1e-9))
    assert tight.evaluations == 3 * loose.evaluations
    assert tight.seconds > loose.seconds and tight.operations > loose.operations
    assert run_of(only=("height",)).plan().evaluations is None


def test_operations_of_logistic_fits_by_hand():
    n, c, folds, seeds, evaluations = 50, 3, 7, 2, 11
    found = logistic_cost.logistic_cost([4], n, c, folds, seeds, 5, evaluations)
    p = 4 + 1  # the intercept
    fits = 2 * (2 * 4) + 1  # two batches of four folds, one of them empty, and the whole table
    products = fits * evaluations * (2 * (2 * n * p * c) + 2 * p * p * c)
    assert found.operations == products + (c + 1) * (2 * n * p**2 + 4 * p**3)
    assert found.seconds > 0


@pytest.mark.parametrize(
    "seconds, text",
    [(0.2, "< 1 s"), (1.26, "1.3 s"), (9.97, "10 s"), (119, "119 s"), (150, "2.5 min"),
     (7100, "118 min"), (7200, "2.0 h"), (3.6e6, "1,000 h")],
)  # fmt: skip
def test_durations_in_words(seconds, text):
    assert duration(seconds) == text
